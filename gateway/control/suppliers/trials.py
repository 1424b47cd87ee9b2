"""/v1/interfaces: an interface's entry tried, told what it would let out, and registered.

A sample call reaches a supplier, so it is an act: decided and on record before anybody is called (RECORD-FIRST).
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    matter_between,
    perform,
    require_permit,
)
from gateway.control.act.bodies import Body, describes, model_of, parse
from gateway.control.act.examples import INTERFACE, TRIAL
from gateway.control.act.paging import json_response
from gateway.control.act.preconditions import IfMatch
from gateway.control.act.problems import invalid
from gateway.control.act.services import ControlServices
from gateway.control.directory.routes import Guard, InterfaceBody, import_once
from gateway.control.suppliers.tried import TriedAnswer
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.grants import GrantState
from gateway.domain.hosts import parse_upstream
from gateway.domain.officers import Act, Officer
from gateway.domain.uses import RecordKind
from gateway.store import GrantFilter
from gateway.store.directory.file import DirectoryFile
from gateway.store.directory.validation import validate_interface

router = APIRouter(prefix="/v1/interfaces", tags=["directory"])

GRANTS = 300
"""How many standing grants a trial tells of."""


class Sample(Body):
    """What an interface's entry is tried with: a pasted answer, or one call."""

    answer: str | None = Field(None, max_length=4 << 20, description="an answer; without it the supplier is called")
    path: str = Field("", max_length=1000, pattern=r"^(/[A-Za-z0-9._~-]+)*$", description="appended for the call")
    query: dict[str, str] = Field(default_factory=dict, description="parameters of the call")


class TrialBody(Sample):
    """An interface's entry, and what it is tried with."""

    interface: InterfaceBody  # type: ignore[valid-type]


class RegistrationBody(InterfaceBody):  # type: ignore[valid-type,misc]
    """An interface's entry, and what it is tried with before it is registered."""

    trial: Sample | None = Field(None, description="try it first: one that cannot work is not registered")


@router.post("/trial", summary="Try an interface before it is registered", openapi_extra=describes(TrialBody, TRIAL))
def try_interface(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[TrialBody, Depends(model_of(TrialBody))],
) -> Response:
    """What was found where, what never leaves, and what would be released under each standing grant."""
    told, record = _try(services, request, officer, _interface(body.interface), body)
    return json_response(told, headers={"Sharing-Record": record} if record else None)


@router.post(
    "",
    summary="Register or change an interface",
    openapi_extra=describes(RegistrationBody, {**INTERFACE, "trial": {"answer": TRIAL["answer"]}}),
)
def put_interface(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[RegistrationBody, Depends(model_of(RegistrationBody))],
    if_match: IfMatch = None,
    key: IdempotencyKey = None,
) -> Response:
    """An interface, new or changed, tried first where `trial` says with what; `active: false` withdraws it.

    The answer's `trial` tells what was found, and is null where nothing was tried.
    """
    interface = _interface(body)
    sample: Sample | None = body.trial

    def tried() -> dict[str, Any]:
        if sample is None:
            return {"trial": None}
        told, _ = _try(services, request, officer, interface, sample)
        if told["faults"]:
            raise invalid([{"field": "trial", "fault": fault} for fault in told["faults"]])
        return {"trial": told, "untried": []}

    found = DirectoryFile(interfaces=(interface,))
    guard = Guard(if_match, lambda tx: tx.any_interface(interface.supplier, interface.id))
    said = body.model_dump(mode="json", exclude_unset=True)
    return import_once(request, services, officer, key, found, said, guard=guard, tried=tried)


def _interface(body: Body) -> Interface:
    said = body.model_dump_json(exclude_unset=True, exclude={"trial"})
    return parse(InterfaceBody, Interface, said.encode())


def _try(
    services: ControlServices, request: Request, officer: Officer, interface: Interface, sample: Sample
) -> tuple[dict[str, Any], str]:
    """What a trial tells, and the record of the call that it made; "" where it made none."""
    matter = matter_between(services.store, interface.supplier, None, interface.dataset)
    require_permit(services, officer, Act.MANAGE_INTERFACES, matter)
    trials = services.trials
    if trials is None:
        raise GatewayError("unavailable", "no interface can be tried here")
    dataset = services.store.dataset(interface.dataset)
    if dataset is None:
        raise GatewayError("not-found", f"`{interface.dataset}` is not a released dataset")
    faults = validate_interface(interface, dataset)
    if faults:
        raise invalid(faults)
    status, content, record = 200, (sample.answer or "").encode(), ""
    if sample.answer is None:
        record = _on_record(services, request, officer, interface)
        status, content = trials.call(interface, sample.path, sample.query)
    tried = trials.judge(interface, dataset, content)
    told: dict[str, Any] = {
        **msgspec.to_builtins(tried),
        "status": status,
        "grants": _released(services, interface, tried),
    }
    if status >= 300:
        told["faults"] = [f"the supplier answered {status}", *told["faults"]]
    return told, record


def _on_record(services: ControlServices, request: Request, officer: Officer, interface: Interface) -> str:
    """The record of the call that comes next; the host must be the department's own by then."""

    def work(deed: Deed) -> Answer:
        deed.permit(Act.MANAGE_INTERFACES, deed.between(interface.supplier, None, interface.dataset))
        # INVARIANT: HOST-OWNED.
        fault = deed.tx.reach_fault(interface)
        if fault is not None:
            raise invalid([{"field": "upstream", "fault": fault}])
        deed.record(
            RecordKind.DIRECTORY,
            step="interface tried",
            supplier=interface.supplier,
            dataset=interface.dataset,
            interface=interface.key,
            host=parse_upstream(interface.upstream).host,
        )
        return Answer({})

    return perform(services, request, officer, None, {}, work).headers["Sharing-Record"]


def _released(services: ControlServices, interface: Interface, tried: TriedAnswer) -> list[dict[str, Any]]:
    """Each standing grant of the dataset, with the items of it that such an answer would let out."""
    standing = GrantFilter(dataset=interface.dataset, states=(GrantState.ISSUED,))
    page = services.store.list_grants(standing, None, GRANTS)
    return [
        {
            "grant": grant.id,
            "department": grant.department,
            "released": sorted(set(grant.items) & tried.found.keys()),
            "missing": sorted(set(grant.items) - tried.found.keys()),
        }
        for grant in page.items
        if not grant.interfaces or interface.id in grant.interfaces or interface.key in grant.interfaces
    ]
