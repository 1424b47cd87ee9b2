"""/v1/reorganisations: departments merge, split, end, are renamed, or hand over what they have (Decree 809 Art. 17).

The plan is what the act does, done and taken back; the act names the plan's digest, so that what is done is what was
read. Each department and each receiver is a matter of its own, and all must be permitted.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.control.act.acting import Answer, Deed, IdempotencyKey, Services, SignedIn, due_in, perform
from gateway.control.act.bodies import Body, Slug, Statement, describes, model_of
from gateway.control.act.examples import REORGANISATION
from gateway.control.act.paging import json_response
from gateway.control.act.problems import invalid
from gateway.control.directory.importing import region_above
from gateway.control.grants.duties import DISPOSAL_WORKING_DAYS
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter
from gateway.domain.reorganisation import (
    MAX_PARTS,
    Part,
    PartKind,
    Reorganisation,
    ReorganisationKind,
    Step,
    digest_of,
    faults_of,
    rules_of,
)
from gateway.domain.uses import RecordKind
from gateway.store import StoreTransaction

router = APIRouter(prefix="/v1/reorganisations", tags=["directory"])

NAMED = 300
"""How many steps a record names; of more it holds the digest, which the plan answers to."""


class PartBody(Body):
    """One thing that goes to another department."""

    thing: PartKind = Field(strict=False)
    id: str = Field(min_length=1, max_length=140)
    to: Slug


class ReorganisationBody(Body):
    """What happens to departments, by which decision, and the digest of the plan that was read."""

    kind: ReorganisationKind = Field(strict=False)
    departments: tuple[Slug, ...] = Field(min_length=1, max_length=100, strict=False)
    document: Statement = Field(description="the reference of the decision that it rests on")
    reason: Statement
    successor: Slug | None = None
    name: Statement | None = None
    parts: tuple[PartBody, ...] = Field((), max_length=MAX_PARTS, strict=False)
    plan: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="digest of the plan, as it was shown")

    def act(self) -> Reorganisation:
        """The act in the domain's terms.

        Raises:
            GatewayError: `invalid-input` with every fault of it.
        """
        parts = tuple(Part(part.thing, part.id, part.to) for part in self.parts)
        said = (self.kind, self.departments, self.document, self.reason, self.successor, self.name, parts)
        faults = faults_of(Reorganisation(*said))
        if faults:
            raise invalid([dict(fault) for fault in faults])
        return Reorganisation(*said)


Wanted = Annotated[ReorganisationBody, Depends(model_of(ReorganisationBody))]


@router.post(
    "/plan", summary="What a reorganisation would do", openapi_extra=describes(ReorganisationBody, REORGANISATION)
)
def plan(services: Services, officer: SignedIn, body: Wanted) -> Response:
    """Each thing that goes, changes or ends, by which rule, and who loses by it: to be read before the act."""
    try:
        with services.store.transaction() as tx:
            deed = Deed(services, officer, tx)
            steps = _reorganise(deed, body.act())
            _take_back()
    except _TakenBack:
        pass
    return json_response(_told(body, steps))


class _TakenBack(Exception):  # noqa: N818 - no error: a plan ends by rolling back
    """A plan has been made."""


def _take_back() -> None:
    raise _TakenBack


@router.post(
    "", summary="Reorganise departments", status_code=201, openapi_extra=describes(ReorganisationBody, REORGANISATION)
)
def reorganise(
    request: Request, services: Services, officer: SignedIn, body: Wanted, key: IdempotencyKey = None
) -> Response:
    """Do what the plan says; where another plan came of it meanwhile, nothing is done."""

    def work(deed: Deed) -> Answer:
        act = body.act()
        steps = _reorganise(deed, act)
        if body.plan is None:
            fault = {"field": "plan", "fault": "is missing: read what it does first, and name the plan's digest"}
            raise GatewayError("invalid-input", fault["fault"], faults=[fault])
        if body.plan != digest_of(act, steps):
            raise GatewayError("conflict", "the plan is another one by now: read it again")
        deed.record(
            RecordKind.DIRECTORY,
            step=act.kind.value,
            department=act.departments[0],
            departments=list(act.departments),
            successor=act.successor or "",
            receivers=list(act.receivers),
            document=act.document,
            reason=act.reason,
            plan=body.plan,
            steps=[f"{step.rule} {step.thing} {step.id} {step.becomes}".rstrip() for step in steps[:NAMED]],
            article="Decree 809 Art. 17",
        )
        return Answer(_told(body, steps), 201)

    return perform(services, request, officer, key, body.model_dump(mode="json"), work)


def _reorganise(deed: Deed, act: Reorganisation) -> tuple[Step, ...]:
    """Decide the act about each department it touches, then do it."""
    deed.permit_all(Act.REORGANISE, lambda tx: _matters(tx, act, deed.officer.region))
    return deed.tx.reorganise(act, deed.now, due_in(deed.today, DISPOSAL_WORKING_DAYS))


def _matters(tx: StoreTransaction, act: Reorganisation, own: str) -> list[Matter]:
    """Every department with each receiver; one that nobody knows lies in the `own` region: its fault tells."""
    receivers = act.receivers or (None,)
    return [_matter(tx, giver, to, own) for giver in act.departments for to in receivers]


def _matter(tx: StoreTransaction, giver: str, to: str | None, own: str) -> Matter:
    def region_of(id_: str) -> str:
        department = tx.department(id_)
        if department is None:
            return own
        # Nobody sees to the own bureau: what becomes of a competent department is for the level above (Art. 8).
        return region_above(department.region) if department.competent else department.region

    return Matter(
        supplier=giver, demand=to, region=region_of(giver), demand_region=region_of(to) if to is not None else None
    )


def _told(body: ReorganisationBody, steps: tuple[Step, ...]) -> dict[str, Any]:
    return {
        "plan": digest_of(body.act(), steps),
        "steps": steps,
        "losing": sum(step.loses for step in steps),
        "rules": rules_of(steps),
    }
