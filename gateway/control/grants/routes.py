"""/v1/grants: issue, renew, list and show. The acts of a grant's later life stand in `life`."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    matter_between,
    matter_of_grant,
    perform,
    require_permit,
    shown_to,
)
from gateway.control.act.bodies import EntryId, Identifier, Slug, body_model, describes, parse, read_json
from gateway.control.act.examples import GRANT
from gateway.control.act.pages import Pages
from gateway.control.act.paging import json_response, whole
from gateway.control.act.preconditions import IfMatch, entity_tag, require_match
from gateway.control.act.problems import invalid
from gateway.control.act.scopes import scope_of
from gateway.control.act.services import ControlServices
from gateway.control.grants.checks import GrantChecks
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, GrantState
from gateway.domain.lifecycle import LIFECYCLE, require_step, standing, step
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.orders import Reach
from gateway.domain.uses import RecordKind
from gateway.policy.live.powers import powers
from gateway.store import GrantFilter, OrderFilter, Store, StoreTransaction

router = APIRouter(prefix="/v1/grants", tags=["grants"])

BATCH = 1000
"""Grants in one request: some 200 ms of holding the writer's lock."""

GrantBody = body_model(
    Grant,
    without=frozenset({"version", "state", "disputed"}),
    forms={"id": Identifier, "department": Slug, "dataset": EntryId},
)
GrantPath = Annotated[Identifier, Path(description="the grant's id")]


class ListedState(StrEnum):
    """What a list can be narrowed to: stored states, and the standings that time alone decides."""

    ISSUED = "issued"
    ACTIVE = "active"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    TERMINATED = "terminated"
    CLOSED = "closed"
    DISPOSED = "disposed"


_BY_TIME = frozenset({ListedState.ACTIVE, ListedState.NOT_YET_VALID, ListedState.EXPIRED})


@router.get("", summary="Grants you may see")
def list_grants(
    services: Services,
    officer: SignedIn,
    state: Annotated[
        list[ListedState] | None,
        Query(description="any of these; one that time decides stands alone; default every newest version"),
    ] = None,
    supplier: Annotated[Slug | None, Query(description="supply department")] = None,
    department: Annotated[Slug | None, Query(description="demand department")] = None,
    dataset: Annotated[EntryId | None, Query()] = None,
    expires_within_days: Annotated[
        int | None, Query(ge=0, le=3660, description="still valid, and not for longer than this many days")
    ] = None,
    disputed: Annotated[bool | None, Query()] = None,
    *,
    pages: Pages,
) -> Response:
    """Newest versions by id, or by expiry where asked by expiry."""
    scope = scope_of(services, officer, Act.CONSULT_GRANTS, supplier, department)
    now = datetime.fromtimestamp(services.now(), UTC)
    narrow = GrantFilter(
        department=scope.department,
        dataset=dataset,
        supplier=scope.supplier,
        region=scope.region,
        disputed=disputed,
        **_moments(state or [], now, expires_within_days),
    )
    page = services.store.list_grants(narrow, pages.cursor, pages.limit)
    return pages.response(page.items, page.cursor)


@router.get("/lifecycle", summary="The table of a grant's states and acts")
def lifecycle(services: Services) -> Response:
    """Which act leads from which states to which, who may do it, what it must state, and by which article.

    Who may is asked of the policies in force.
    """
    now = int(services.now())
    rows = [{**whole(row), "who": powers(services.engine.layers, row.acts, now)} for row in LIFECYCLE]
    return json_response({"items": rows, "next": None})


@router.get("/{id}", summary="A grant")
def show_grant(
    services: Services,
    officer: SignedIn,
    id: GrantPath,  # noqa: A002 - the domain's name
    version: Annotated[int | None, Query(ge=1, description="an earlier version; default the newest")] = None,
) -> Response:
    """A grant with the orders in force on it, its disposal duty and its earlier versions."""
    absent = f"there is no grant `{id}`"
    find = lambda store: store.grant(id, version)  # noqa: E731
    grant = shown_to(services, officer, Act.CONSULT_GRANTS, find, matter_of_grant, absent)
    matter = matter_of_grant(services.store, grant)
    orders = services.store.list_orders(OrderFilter(reach=Reach.GRANT, target=id), limit=1000).items
    body = {
        "grant": grant,
        "standing": standing(grant, datetime.fromtimestamp(services.now(), UTC)),
        "supplier": matter.supplier,
        "orders": orders,
        "disposal": services.store.disposal(id),
        "versions": [each.version for each in services.store.grant_history(id)] + [grant.version],
    }
    return json_response(body, headers={"ETag": entity_tag(grant)})


@router.post("", summary="Issue a grant, or many", status_code=201, openapi_extra=describes(GrantBody, GRANT))
async def issue_grants(
    request: Request,
    services: Services,
    officer: SignedIn,
    check: Annotated[bool, Query(description="list every fault; issue nothing")] = False,
    key: IdempotencyKey = None,
) -> Response:
    """Issue one grant (an object), or up to a thousand (an array, or one a line): all of them or none.

    Every reason against every grant is named at once (Decree 809 Art. 21).
    """
    raw = await read_json(request)
    return await run_in_threadpool(_issue, request, services, officer, raw, check=check, key=key)


def _issue(
    request: Request, services: ControlServices, officer: Officer, raw: bytes, *, check: bool, key: str | None
) -> Response:
    rows, is_one = split_rows(raw)
    grants, faults = _parse_rows(rows, is_one=is_one)
    if check or faults:
        for matter in _matters(services.store, officer, grants):
            require_permit(services, officer, Act.ISSUE_GRANT, matter)
        checks = GrantChecks(services.store, datetime.fromtimestamp(services.now(), UTC))
        faults += _faults(checks, grants, is_one=is_one)
        if faults:
            raise invalid(_ordered(faults))
        return json_response({"checked": len(grants)})

    def work(deed: Deed) -> Answer:
        deed.permit_all(Act.ISSUE_GRANT, lambda tx: _matters(tx, deed.officer, grants))
        found = _faults(GrantChecks(deed.tx, deed.now), grants, is_one=is_one)
        if found:
            raise invalid(_ordered(found))
        issued = [grant for _, grant in grants]
        row = step("issue")
        suppliers = deed.tx.issue_grants(issued)
        records = deed.record_each(
            RecordKind.GRANT,
            [
                {**record_of(grant, suppliers[grant.dataset]), "step": row.name, "article": row.article}
                for grant in issued
            ],
        )
        if is_one:
            grant = issued[0]
            return Answer({"grant": grant}, 201, {"ETag": entity_tag(grant), "Location": f"/v1/grants/{grant.id}"})
        return Answer({"issued": len(issued), "records": list(records)}, 201)

    return perform(services, request, officer, key, [grant for _, grant in grants], work)


@router.post(
    "/{id}/versions", summary="Renew or change a grant", status_code=201, openapi_extra=describes(GrantBody, GRANT)
)
async def renew_grant(
    request: Request,
    services: Services,
    officer: SignedIn,
    id: GrantPath,  # noqa: A002 - the domain's name
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """The next version of a grant, with approvals of its own; the version before is superseded, never edited."""
    raw = await read_json(request)
    grant = parse(GrantBody, Grant, raw)

    def work(deed: Deed) -> Answer:
        old, matter = deed.about_grant(id, Act.ISSUE_GRANT)
        deed.permit(Act.ISSUE_GRANT, msgspec.structs.replace(matter, valid_days=valid_days(grant)))
        if grant.id != id:
            raise GatewayError("not-found", "the body names another id")
        require_match(old, if_match)
        row = require_step("renew", old)
        faults = GrantChecks(deed.tx, deed.now).renewal(old, grant)
        if faults:
            raise invalid(faults)
        new = deed.tx.insert_grant(msgspec.structs.replace(grant, version=old.version + 1, disputed=old.disputed))
        supplier = matter_of_grant(deed.tx, new).supplier or ""
        deed.record(
            RecordKind.GRANT, **record_of(new, supplier), version=new.version, step=row.name, article=row.article
        )
        return Answer({"grant": new}, 201, {"ETag": entity_tag(new), "Location": f"/v1/grants/{id}"})

    return await run_in_threadpool(perform, services, request, officer, key, grant, work)


def _moments(states: list[ListedState], now: datetime, within_days: int | None) -> dict[str, Any]:
    """States and moments of a filter.

    Raises:
        GatewayError: `invalid-input` where the question cannot be one reading of an index, or has no answer.
    """
    found: dict[str, Any] = {"states": tuple(GrantState(each.value) for each in states if each not in _BY_TIME)}
    if within_days is not None:
        found |= {"expires_after": now, "expires_before": now + timedelta(days=within_days)}
    by_time = _BY_TIME.intersection(states)
    if not by_time:
        return found
    if len(set(states)) > 1:
        raise invalid([{"field": "state", "fault": f"`{min(by_time)}` is decided by time: name it alone"}])
    found["states"] = (GrantState.ISSUED,)
    if ListedState.EXPIRED in by_time:
        if within_days is not None:
            raise invalid([{"field": "expires_within_days", "fault": "what has expired does not expire again"}])
        return {**found, "expires_before": now + timedelta(seconds=1)}
    begins = "begins_after" if ListedState.NOT_YET_VALID in by_time else "begins_before"
    return {"expires_after": now + timedelta(seconds=1), **found, begins: now}


def split_rows(raw: bytes) -> tuple[list[bytes], bool]:
    """The grants of a request as JSON texts, and whether it was a single object.

    Raises:
        GatewayError: `malformed-request` if it is neither an object, nor an array, nor lines of objects;
            `invalid-input` if it holds none or more than `BATCH`.
    """
    text = raw.strip()
    try:
        if text[:1] != b"[":
            return [bytes(msgspec.json.decode(text, type=msgspec.Raw))], True
        rows = msgspec.json.decode(text, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        try:
            rows = msgspec.json.Decoder(msgspec.Raw).decode_lines(text)
        except msgspec.DecodeError as error:
            raise GatewayError("malformed-request", "the body is neither JSON nor one JSON object a line") from error
    if not 1 <= len(rows) <= BATCH:
        raise invalid([{"field": None, "fault": f"a request issues 1 to {BATCH} grants, not {len(rows)}"}])
    return [bytes(each) for each in rows], False


def _parse_rows(rows: list[bytes], *, is_one: bool) -> tuple[list[tuple[int, Grant]], list[dict[str, Any]]]:
    """The grants that could be read with their rows, and the faults of those that could not."""
    grants: list[tuple[int, Grant]] = []
    faults: list[dict[str, Any]] = []
    for row, raw in enumerate(rows, 1):
        try:
            grants.append((row, parse(GrantBody, Grant, raw, row=None if is_one else row)))
        except GatewayError as error:
            if error.code != "invalid-input":
                raise
            faults += error.members["faults"]
    return grants, faults


def _faults(checks: GrantChecks, grants: list[tuple[int, Grant]], *, is_one: bool) -> list[dict[str, Any]]:
    return [
        fault if is_one else {"row": row, "grant": grant.id, **fault}
        for row, grant in grants
        for fault in checks.new(grant)
    ]


def _ordered(faults: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(faults, key=lambda fault: int(fault.get("row") or 0))


def _matters(state: Store | StoreTransaction, officer: Officer, grants: list[tuple[int, Grant]]) -> list[Matter]:
    """One for each pair of departments: a batch of one supplier is one question a demand department."""
    found: dict[tuple[str | None, str], Matter] = {}
    suppliers: dict[str, str | None] = {}
    for _, grant in grants:
        if grant.dataset not in suppliers:
            entry = state.dataset(grant.dataset)
            suppliers[grant.dataset] = entry.supplier if entry else None
        supplier = suppliers[grant.dataset]
        if supplier is not None and (supplier, grant.department) not in found:
            found[supplier, grant.department] = matter_between(state, supplier, grant.department, grant.dataset)
    if found:
        days = max(valid_days(grant) for _, grant in grants)
        return [msgspec.structs.replace(matter, valid_days=days) for matter in found.values()]
    # Every dataset is unknown: who may issue for nobody is told that; who may issue for itself, what is wrong.
    return [matter_between(state, officer.department, None)]


def valid_days(grant: Grant) -> int:
    """For how many days a grant is to hold, the last one counted whole."""
    return -((grant.valid_from - grant.valid_until) // timedelta(days=1))


def record_of(grant: Grant, supplier: str) -> dict[str, Any]:
    """What a grant's record says of it; that it was entered from paper, where no signed-in person approved it."""
    return {
        "grant": grant.id,
        "department": grant.department,
        "supplier": supplier,
        "dataset": grant.dataset,
        "items": list(grant.items),
        "purposes": list(grant.purposes),
        "modes": [mode.value for mode in grant.modes],
        "valid_from": grant.valid_from.isoformat(),
        "valid_until": grant.valid_until.isoformat(),
        "legal_basis": grant.legal_basis,
        "demand_approval": grant.demand_approval.reference or grant.demand_approval.person,
        "supply_approval": grant.supply_approval.reference or grant.supply_approval.person,
        "entered": "" if grant.supply_approval.digest else "paper",
    }
