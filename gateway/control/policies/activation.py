"""/v1/policies: putting policies in force, taking them back, and trying a candidate in the shadow.

What is put in force is checked first, compared with what is in force over everything that stands, and recorded; when
the call returns, every worker of every node decides by it, and where it can take access away nothing streams any more
that was let out under the old (INVARIANT: BARRIER).
"""

import contextlib
import logging
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    matter_of_gateway,
    perform,
    require_permit,
)
from gateway.control.act.bodies import Body, Slug, Statement, describes, model_of
from gateway.control.act.paging import Limit, json_response
from gateway.control.act.services import ControlServices
from gateway.control.policies.standing import PairsOf, StandingState
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.policies import IN_FORCE_STEPS, PolicyEvent, PolicySet, PolicyStep, Proved
from gateway.domain.uses import EVERY_DEPARTMENT, RecordKind
from gateway.policy.law.layers import parse_layers
from gateway.policy.offline.activating import can_withdraw
from gateway.policy.offline.comparing import compare
from gateway.policy.offline.examining import Loss
from gateway.store import Store, StoreTransaction

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/policies", tags=["policies"])

RECORDED_IDS = 100
"""Grants that lose, named in the record of an activation; all are counted."""

MAX_PAIRS = 200
"""Pairs of department and dataset that may change while a comparison runs, to be compared again under the lock."""

UNRELATED = frozenset({ChangeKind.KEY, ChangeKind.SYSTEM, ChangeKind.POLICY})
"""Kinds of change that no comparison depends on."""


class PolicySetBody(Body):
    """A set of policies: its layers in order, and its files by their path below a policies root."""

    layers: tuple[Slug, ...] = Field(min_length=1, max_length=16)
    files: dict[str, str]


class ActivationBody(PolicySetBody):
    """The set to put in force; with `no_loss` it is refused where anything that stands loses (Art. 15, 39(2)).

    What is lost needs a `reason`; that something flows which did not has to be said (`revives`).
    """

    no_loss: bool = False
    revives: bool = False
    reason: Statement | None = None


class RollbackBody(Body):
    """To which step of the history (`to`), else to the set before the present one, and why.

    With `no_loss` it is refused where anything that stands loses; that something flows which did not, has to be said.
    """

    to: int | None = Field(None, ge=1, le=1 << 53)
    no_loss: bool = False
    revives: bool = False
    reason: Statement | None = None


class ShadowBody(PolicySetBody):
    """The candidate to try in the shadow."""

    reason: Statement | None = None


class EndBody(Body):
    """Why a candidate leaves the shadow."""

    reason: Statement | None = None


SET = {
    "layers": ["national"],
    "files": {"schema.cedarschema": "…", "articles.yaml": "…", "national/art03-secrets.cedar": "…"},
}


@router.get("/activations", summary="What was put in force, newest first")
def history(
    services: Services,
    officer: SignedIn,
    before: Annotated[int | None, Query(ge=1, description="`next` of the page before")] = None,
    limit: Limit = 100,
) -> Response:
    """Every activation, rollback and shadow, with who did it, when, and the act's record."""
    require_permit(
        services,
        officer,
        Act.CONSULT_POLICIES,
        Matter(supplier=officer.department, demand=officer.department, region=officer.region),
    )
    found = services.store.policy_events(before, limit)
    return json_response({"items": found, "next": found[-1].number if len(found) == limit else None})


@router.post(
    "/activation",
    summary="Put policies in force",
    openapi_extra=describes(ActivationBody, {**SET, "no_loss": True}),
)
def activate(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[ActivationBody, Depends(model_of(ActivationBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Check the set, say who gains and who loses, and put it in force at once on every worker of every node."""
    policies = PolicySet(body.layers, body.files)
    act = _Activation(services, PolicyStep.ACTIVATE, lambda: policies, body)
    return act.perform(request, officer, key, body)


@router.post(
    "/rollback",
    summary="Put the policies in force that were before",
    openapi_extra=describes(RollbackBody, {"reason": "departments lost what they were granted"}),
)
def roll_back(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[RollbackBody, Depends(model_of(RollbackBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Put a set in force that was before: the one before the present, or that of a step; checked like any other."""
    choose = lambda: _set_before(services.store, body.to)  # noqa: E731
    act = _Activation(services, PolicyStep.ROLL_BACK, choose, body)
    return act.perform(request, officer, key, body)


@router.get("/shadow", summary="What the candidate in the shadow has counted")
def shadow_report(services: Services, officer: SignedIn) -> Response:
    """Verdicts that agree and that differ, over every worker of every node, since the last candidate was put there."""
    require_activation(services, officer)
    found = services.policies.shadow()
    if found is None:
        raise GatewayError("not-found", "no candidate was ever in the shadow")
    return json_response(found)


@router.post("/shadow", summary="Try a candidate in the shadow", openapi_extra=describes(ShadowBody, SET))
def put_in_shadow(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[ShadowBody, Depends(model_of(ShadowBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Let the candidate decide beside the policies in force, on live traffic, and only count; one before it goes."""
    require_activation(services, officer)
    policies = PolicySet(body.layers, body.files)
    checked: dict[str, Any] = {}

    def prepare() -> None:
        found = services.policies.examine(policies, None, int(services.now())).checked
        checked.update(digest=found.digest, policies=found.policies, cases=found.cases)

    def work(deed: Deed) -> Answer:
        deed.permit(Act.ACTIVATE_POLICIES, matter_of_gateway)
        deed.tx.put_policy_set(policies)
        event = _step(deed, PolicyStep.SHADOW, policies.id, checked["digest"], policies.layers, body.reason)
        return Answer({"shadow": event, "checked": checked}, 201)

    return perform(services, request, officer, key, body.model_dump(), work, prepare=prepare, everywhere=True)


@router.post(
    "/shadow/end",
    summary="Take the candidate out of the shadow",
    openapi_extra=describes(EndBody, {"reason": "seen enough"}),
)
def end_shadow(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[EndBody, Depends(model_of(EndBody))],
    key: IdempotencyKey = None,
) -> Response:
    """End shadow mode; what was counted stays to be read until the next candidate."""
    require_activation(services, officer)

    def work(deed: Deed) -> Answer:
        deed.permit(Act.ACTIVATE_POLICIES, matter_of_gateway)
        running = deed.tx.policies_in_shadow()
        if running is None:
            raise GatewayError("conflict", "no candidate is in the shadow")
        event = _step(deed, PolicyStep.SHADOW_END, running.set, running.digest, running.layers, body.reason)
        return Answer({"shadow": event})

    return perform(services, request, officer, key, body.model_dump(), work, prepare=services.policies.gather)


def require_activation(services: ControlServices, officer: Officer) -> None:
    """Raises `act-not-permitted` unless the officer may put policies in force."""
    require_permit(services, officer, Act.ACTIVATE_POLICIES, matter_of_gateway(services.store))


class _Activation:
    """One activation or rollback: its examination before the transaction, and its step within."""

    def __init__(
        self,
        services: ControlServices,
        step: PolicyStep,
        choose: Callable[[], PolicySet],
        said: ActivationBody | RollbackBody,
    ) -> None:
        self._services = services
        self._step = step
        self._choose = choose
        self._said = said

    def perform(self, request: Request, officer: Officer, key: str | None, body: Body) -> Response:
        """Do it; see `gateway.control.act.acting`."""
        require_activation(self._services, officer)
        answer = perform(
            self._services,
            request,
            officer,
            key,
            body.model_dump(),
            self._work,
            prepare=self._prepare,
            everywhere=True,
        )
        with contextlib.suppress(GatewayError):
            # Acts look for themselves; this is for who only reads. What fails here, the feed tries again.
            self._services.policies.keeper.refresh()
        return answer

    def _prepare(self) -> None:
        """What takes long and needs no lock: check and compare."""
        services = self._services
        services.policies.keeper.refresh()
        self._now = services.policies.keeper.now
        self._policies = self._choose()
        if self._policies.id == self._now.policies.id:
            raise GatewayError("conflict", "these policies are in force already")
        self._sequence = services.store.sequence()
        found = services.policies.examine(self._policies, self._now.policies, int(services.now()))
        assert found.loss is not None, "what is sound was compared"
        self._checked, self._loss, self._proving = found.checked, found.loss, found.proving
        self._require_proved()
        # What the examination has parsed is parsed here without harm.
        self._layers = parse_layers(self._policies.files, self._policies.layers)

    def _work(self, deed: Deed) -> Answer:
        deed.permit(Act.ACTIVATE_POLICIES, matter_of_gateway)
        now, loss = self._now, self._loss
        if deed.tx.policies_in_force() != now.event:
            raise GatewayError("conflict", "other policies were put in force meanwhile; try again")
        self._require_said(loss)
        if now.event is None:
            # The set of the settings is kept, so that there is one to go back to.
            deed.tx.put_policy_set(now.policies)
            before = PolicyEvent(
                _next_number(deed.tx),
                PolicyStep.INITIAL,
                now.policies.id,
                now.layers.digest,
                now.layers.names,
                "",
                deed.now,
            )
            deed.tx.add_policy_event(before, withdraws=False)
        deed.tx.put_policy_set(self._policies)
        event = _step(
            deed,
            self._step,
            self._policies.id,
            self._layers.digest,
            self._layers.names,
            self._said.reason,
            withdraws=can_withdraw(now.layers, self._layers),
            previous_digest=now.layers.digest,
            gaining=loss.gaining,
            losing=loss.losing,
            losing_grants=list(loss.grants_losing[:RECORDED_IDS]),
            proved=self._proving.proved,
            ever={one.action: one.change for one in self._proving.ever},
        )
        checked = {"policies": self._checked.policies, "cases": self._checked.cases}
        return Answer(
            {
                "activation": event,
                "before": now.layers.digest,
                "checked": checked,
                "proving": self._proving,
                "loss": _told(loss),
            }
        )

    def _require_proved(self) -> None:
        """What is refuted is put in force for a reason alone, and nothing unproved where that is demanded."""
        proved, demand = self._proving.proved, self._services.policies.proofs
        if demand == "required" and (proved is None or proved.result != "proved"):
            why = "were not proved: " + self._proving.unasked if proved is None else "are not all proved"
            raise GatewayError(
                "conflict",
                f"theorems of these policies {why}; the setting `policies.proofs` asks for proofs",
                proving=msgspec.to_builtins(self._proving),
            )
        if proved is not None and proved.result == "refuted" and self._said.reason is None:
            fault = {"field": "reason", "fault": "is missing: why policies are put in force that break a theorem"}
            raise GatewayError(
                "invalid-input",
                f"refuted: {', '.join(proved.failed)}",
                faults=[fault],
                proving=msgspec.to_builtins(self._proving),
            )

    def _require_said(self, loss: Loss) -> None:
        """Nothing is lost without a reason, or where nothing may be; nothing begins to flow without a word."""
        words = f"{loss.losing} standing grants lose and {loss.unsettled} others may lose"
        if self._said.no_loss and (loss.takes_away or self._takes_away_since()):
            raise GatewayError("conflict", f"{words}, and nothing may (Decree 809 Art. 15, 39(2))", loss=_told(loss))
        if loss.takes_away and self._said.reason is None:
            fault = {"field": "reason", "fault": "is missing: what is taken away is told why"}
            raise GatewayError("invalid-input", f"{words}: give a reason", faults=[fault], loss=_told(loss))
        if loss.gives and not self._said.revives:
            raise GatewayError(
                "conflict",
                f"{loss.gaining} standing grants, or departments without one, obtain what they do not now: look at it, "
                "then say `revives`",
                loss=_told(loss),
            )

    def _takes_away_since(self) -> bool:
        """Whether the set takes anything from what was granted while the comparison ran."""
        services = self._services
        changes = services.store.changes_after(self._sequence, limit=MAX_PAIRS + 1)
        pairs = {_pair(change) for change in changes if change.kind not in UNRELATED}
        if None in pairs or len(changes) > MAX_PAIRS:
            raise GatewayError("conflict", "too much changed while the policies were compared; try again")
        standing = PairsOf(StandingState(services.store), [pair for pair in pairs if pair is not None])
        return compare(self._now.layers, self._layers, standing, int(services.now())).takes_away


def _pair(change: Change) -> tuple[str, str] | None:
    if change.department is None or change.dataset is None:
        return None
    return change.department, change.dataset


def _set_before(store: Store, number: int | None) -> PolicySet:
    """The set that the step of that number put in force, or the one that was in force before the present one."""
    if number is None:
        present = store.policies_in_force()
        before = None if present is None else store.policies_before(present)
        missing = GatewayError("conflict", "no other policies were in force before")
    else:
        before = next((one for one in store.policy_events(number + 1, 1) if one.number == number), None)
        if before is not None and before.step not in IN_FORCE_STEPS:
            before = None
        missing = GatewayError(
            "invalid-input", f"step {number} put no policies in force: `gateway policies history` has those that did"
        )
    found = None if before is None else store.policy_set(before.set)
    if found is None:
        raise missing
    return found


def _step(
    deed: Deed,
    step: PolicyStep,
    policy_set: str,
    digest: str,
    layers: tuple[str, ...],
    reason: str | None,
    *,
    withdraws: bool = False,
    proved: Proved | None = None,
    **recorded: Any,
) -> PolicyEvent:
    """Record the step and take it; the record says what is proved of the set."""
    if withdraws:
        deed.will_withdraw()
    record = deed.record(
        RecordKind.POLICY,
        department=EVERY_DEPARTMENT,
        step=step.value,
        policy_set=policy_set,
        digest=digest,
        layers=list(layers),
        reason=reason or "",
        proved=None if proved is None else msgspec.to_builtins(proved),
        **recorded,
    )
    event = PolicyEvent(
        _next_number(deed.tx), step, policy_set, digest, layers, deed.officer.id, deed.now, reason or "", record, proved
    )
    deed.tx.add_policy_event(event, withdraws=withdraws)
    return event


def _next_number(tx: StoreTransaction) -> int:
    newest = tx.policy_events(limit=1)
    return newest[0].number + 1 if newest else 1


def _told(loss: Loss) -> dict[str, Any]:
    return {name: getattr(loss, name) for name in loss.__struct_fields__}
