"""/v1/retention: what may go from the ledger today, and the act that lets just that go (Decree 809 Art. 29).

Records of a grant stay until three years after what was drawn under it has been disposed of (Art. 27 ¶1), and while it
is under dispute (Art. 28); a grant that still stands keeps all of its records. A dispute keeps refused attempts
near the grant besides.
"""

import logging
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import (
    Answer,
    Choice,
    IdempotencyKey,
    Services,
    SignedIn,
    answer_once,
    china_day,
    matter_of_gateway,
    replay_of,
    require_permit,
)
from gateway.control.act.bodies import Body, describes, model_of
from gateway.control.act.paging import every, json_response
from gateway.control.act.services import ControlServices
from gateway.domain.calendar import has_ended, years_after
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Officer
from gateway.ledger.retention.retention import Holds, RetentionPlan
from gateway.store import GrantFilter

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/retention", tags=["retention"])


RETENTION_YEARS = 3
"""Records are kept not less than three years (Decree 809 Art. 29)."""


class ApplyBody(Body):
    """Which plan to apply: the digest that `GET /v1/retention` gave."""

    plan: str = Field(pattern=r"^[0-9a-f]{64}$")


@router.get("", summary="What may go today, and why no more")
async def plan_retention(services: Services, officer: SignedIn) -> Response:
    """The plan of today; nothing is removed."""
    plan, _ = await _plan(services, officer)
    return json_response(_shown(plan))


@router.post("", summary="Apply just that plan", openapi_extra=describes(ApplyBody))
async def apply_retention(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[ApplyBody, Depends(model_of(ApplyBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Remove what the plan names, from every copy the gateway keeps; the prune is itself a record of the log.

    `texts` counts what callers said in their own words and went with it: once the time of the last record is over that
    could name it, and its department has no grant in dispute.

    A plan is good once, with or without an `Idempotency-Key`: with one, a repeated request is answered alike instead of
    being told that this is not the plan of today any more.
    """
    said = body.model_dump()
    async with services.pruning:
        replayed = await run_in_threadpool(replay_of, services, request, officer, key, said)
        if replayed is not None:
            return replayed
        plan, holds = await _plan(services, officer)
        if plan.digest != body.plan:
            raise GatewayError("precondition-failed", "this is not the plan of today any more: look at it again")
        # Asked where it is done: what was looked through meanwhile took its time.
        officer = await run_in_threadpool(services.sign_in.still, services.store, request)
        decided = [await run_in_threadpool(_permitted, services, officer)]
        pruned = await services.ledger.apply_retention(plan, holds, by=officer.id)
        texts = await run_in_threadpool(_forget_texts, services)
        answer = Answer(
            {"pruned": pruned, "plan": _shown(plan), "texts": texts}, headers={"Sharing-Record": pruned.record}
        )
        try:
            return await run_in_threadpool(answer_once, services, request, officer, key, said, answer, decided)
        except GatewayError as error:
            # The records are gone, and on record: to answer otherwise would be untrue.
            log.warning("the answer of prune `%s` is not remembered: %s", pruned.record, error.code)
            return answer_once(services, request, officer, None, said, answer, decided)


async def _plan(services: ControlServices, officer: Officer) -> tuple[RetentionPlan, Holds]:
    await run_in_threadpool(_permitted, services, officer)
    holds = await run_in_threadpool(holds_of, services)
    return await services.ledger.plan_retention(holds), holds


def _permitted(services: ControlServices, officer: Officer) -> Choice:
    """What applying retention is asked as, once it is permitted: it is a matter of the whole gateway."""
    asked = (Act.APPLY_RETENTION, matter_of_gateway(services.store))
    require_permit(services, officer, *asked)
    return asked


def holds_of(services: ControlServices) -> Holds:
    """The grants whose records may go once their own time is over, and those in dispute."""
    today = china_day(datetime.fromtimestamp(services.now(), UTC))
    disputed = every(lambda cursor: services.store.list_grants(GrantFilter(disputed=True), cursor, 1000))
    return Holds(
        released=frozenset(
            grant
            for grant, day in services.store.destructions(until=today)
            if has_ended(years_after(day, RETENTION_YEARS), today)
        ),
        disputed=frozenset(grant.id for grant in disputed),
    )


def _forget_texts(services: ControlServices) -> int:
    """Let callers' words go with the records that named them; how many went.

    Where the state does not do it now, they go with the next plan: the records are gone already.
    """
    today = china_day(datetime.fromtimestamp(services.now(), UTC))
    disputed = every(lambda cursor: services.store.list_grants(GrantFilter(disputed=True), cursor, 1000))
    try:
        with services.store.transaction() as tx:
            gone = tx.forget_texts(today, {grant.department for grant in disputed})
        services.store.scrub()
    except GatewayError as error:
        log.warning("callers' words whose time is over stay for now: %s", error.code)
        return 0
    return gone


def _shown(plan: RetentionPlan) -> dict[str, Any]:
    return {
        "plan": plan.digest,
        "first": plan.first,
        "end": plan.end,
        "entries": plan.entries,
        "rule": plan.rule,
        "stopped_by": plan.stopped_by,
        "latest": plan.latest,
        "kept": plan.kept,
        "kept_for": plan.kept_for,
        "today": plan.today,
    }
