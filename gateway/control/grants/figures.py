"""/v1/figures: what stands, what runs out, what is overdue, and with whom (Decree 809 Art. 38)."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response

from gateway.control.act.acting import Services, SignedIn, china_day
from gateway.control.act.bodies import Slug
from gateway.control.act.paging import every, json_response
from gateway.control.act.scopes import Scope, scope_of
from gateway.control.act.services import ControlServices
from gateway.domain.officers import Act
from gateway.store.figures import Figures

router = APIRouter(prefix="/v1/figures", tags=["figures"])

Supplier = Annotated[Slug | None, Query(description="supply department")]
Department = Annotated[Slug | None, Query(description="demand department")]
WithinDays = Annotated[int, Query(ge=0, le=3660, description="what `expiring` looks ahead")]


@router.get("", summary="Grants by state, expiring, overdue")
def figures(
    services: Services,
    officer: SignedIn,
    supplier: Supplier = None,
    department: Department = None,
    within_days: WithinDays = 30,
) -> Response:
    """The figures of what the officer supervises: a region, a supplier's data, or a demand department's grants."""
    scope = scope_of(services, officer, Act.CONSULT_FIGURES, supplier, department)
    return json_response(figures_of(services, scope, within_days))


@router.get("/overdue", summary="Rectifications, reports and disposals that are overdue, one by one")
def overdue(
    services: Services, officer: SignedIn, supplier: Supplier = None, department: Department = None
) -> Response:
    """Overdue: rectifications (Art. 27 ¶2), disposals (¶1) and reports of emergency stops (Art. 35).

    One by one they are orders and grants: figures alone are for more eyes.
    """
    scope = scope_of(services, officer, Act.CONSULT_GRANTS, supplier, department)
    at = datetime.fromtimestamp(services.now(), UTC)
    today = china_day(at)
    suppliers = _suppliers(services, scope)
    return json_response(
        {
            "rectifications": [
                order
                for each in suppliers
                for order in services.store.overdue_rectifications(today, supplier=each, department=scope.department)
            ],
            "reports": [
                order
                for each in suppliers
                for order in services.store.overdue_reports(at, supplier=each, department=scope.department)
            ],
            "disposals": [
                duty
                for each in suppliers
                for duty in services.store.open_disposals(due_before=today, supplier=each, department=scope.department)
            ],
        }
    )


def figures_of(services: ControlServices, scope: Scope, within_days: int) -> Figures:
    """The figures of a scope; those of a region are the sum of its supply departments'."""
    at = datetime.fromtimestamp(services.now(), UTC)
    parts = [
        services.store.figures(at, within_days=within_days, supplier=supplier, department=scope.department)
        for supplier in _suppliers(services, scope)
    ]
    return _sum(parts, at, within_days)


def _suppliers(services: ControlServices, scope: Scope) -> list[str | None]:
    """The supply departments of a scope; None stands for all of them."""
    if not scope.region:
        return [scope.supplier]
    region = scope.region
    departments = list(every(lambda cursor: services.store.list_departments(cursor, 1000)))
    if all(department.region.startswith(region) for department in departments):
        return [None]
    return [department.id for department in departments if department.region.startswith(region)]


def _sum(parts: list[Figures], at: datetime, within_days: int) -> Figures:
    total: dict[str, object] = {"at": at, "within_days": within_days}
    for field in msgspec.structs.fields(Figures):
        values = [getattr(part, field.name) for part in parts]
        if field.name in {"at", "within_days"}:
            continue
        if field.type is int:
            total[field.name] = sum(values)
        else:
            names = dict.fromkeys(name for value in values for name in value)
            total[field.name] = {name: sum(value.get(name, 0) for value in values) for name in names}
    return msgspec.convert(total, Figures)
