"""What a step has to state, as a request's body: made from the table, so that route, document and command agree."""

from datetime import date
from functools import cache
from typing import Annotated, Any, get_type_hints

import msgspec
from fastapi import Request
from pydantic import Field

from gateway.control.act.bodies import Body, EntryId, Identifier, Slug, Statement, body_model, parse, read_json
from gateway.control.act.problems import invalid
from gateway.control.grants.proposals import ProposalBody
from gateway.control.grants.routes import GrantBody
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant
from gateway.domain.processes.table import Step
from gateway.domain.proposals import NOBODY

MAX_LISTED = 100
"""Entries of one list in a statement."""

_APPROVALS = ("demand_approval", "supply_approval")
_FORMS: dict[str, Any] = {
    "digest": Annotated[str, Field(pattern="^[0-9a-f]{64}$")],
    "dataset": EntryId,
    "grant": Identifier,
    "record": Annotated[str, Field(pattern="^([0-9a-z][0-9a-z.-]{0,127})?$")],
    "order": Annotated[str, Field(pattern="^([A-Za-z0-9][A-Za-z0-9._:-]{0,63})?$")],
    "department": Slug,
    "entry_version": Annotated[int, Field(ge=1)],
    "shared_on": date,
    "days": Annotated[int, Field(ge=1, le=250)],
}

_REQUIRED_FORMS = frozenset({"dataset", "grant"})
"""Of what is left out where it is not required, and then is any text: what it names is looked up."""


@cache
def step_body(said: type[msgspec.Struct], *, is_shown: bool) -> type[Body]:
    """The body of a step: as the document shows it, or as it is read once a grant in it bears blank approvals."""
    forms: dict[str, Any] = {}
    for field in msgspec.structs.fields(said):
        hint = get_type_hints(said)[field.name]
        if hint is Grant:
            forms[field.name] = ProposalBody if is_shown else GrantBody
        elif field.name in _FORMS and (field.required or field.name not in _REQUIRED_FORMS):
            forms[field.name] = _FORMS[field.name]
        elif hint is str and field.required:
            forms[field.name] = Statement
        elif hint == tuple[str, ...]:
            least = 1 if field.required else 0
            forms[field.name] = Annotated[tuple[Statement, ...], Field(min_length=least, max_length=MAX_LISTED)]
    return body_model(said, name=f"{said.__name__}Body" if is_shown else f"{said.__name__}Read", forms=forms)


async def said_in(request: Request, step: Step) -> msgspec.Struct:
    """What a request states for a step.

    Raises:
        GatewayError: `malformed-request`; `invalid-input` with every fault.
    """
    raw = await read_json(request) or b"{}"
    try:
        document = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError("malformed-request", "the body is no JSON object") from error
    for name, hint in get_type_hints(step.said).items():
        if hint is Grant and isinstance(document.get(name), dict):
            given = [f"{name}.{side}" for side in _APPROVALS if side in document[name]]
            if given:
                raise invalid(
                    [{"field": side, "fault": "is an act of a signed-in person, and no field"} for side in given]
                )
            document[name] |= dict.fromkeys(_APPROVALS, NOBODY)
    return parse(step_body(step.said, is_shown=False), step.said, msgspec.json.encode(document))
