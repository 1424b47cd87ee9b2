"""/v1/policies: putting policies in force, taking them back, and trying a candidate in the shadow.

What is put in force is checked first, compared with what is in force over everything that stands, and recorded; when
the call returns, every worker of every node decides by it, and where it can take access away nothing streams any more
that was let out under the old (INVARIANT: BARRIER).
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    perform,
    require_permit,
)
from gateway.control.act.bodies import Body, Slug, Statement, describes, model_of
from gateway.control.act.deeds import State
from gateway.control.act.paging import Limit, json_response
from gateway.control.act.preconditions import IfMatch
from gateway.control.policies.authority import permitted_changes, require_changes, require_some_activation
from gateway.control.policies.in_force import Activation, kept_set, set_before, take_step
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.policies import PolicyEvent, PolicySet, PolicyStep
from gateway.policy.offline.authority import changes_between, with_layers_of
from gateway.store import StoreTransaction

router = APIRouter(prefix="/v1/policies", tags=["policies"])


class PolicySetBody(Body):
    """A set of policies: its layers in order, and its files by their path below a policies root."""

    layers: tuple[Slug, ...] = Field(min_length=1, max_length=16)
    files: dict[str, str]


class ActivationBody(PolicySetBody):
    """The set to put in force; with `no_loss` it is refused where anything that stands loses (Art. 15, 39(2)).

    What is lost needs a `reason`; that something flows which did not has to be said (`revives`). What cannot be
    compared within a few seconds is put in force only where it shall be, however long that takes (`thorough`). With
    `only` that one layer is taken of the set, and all else stays as it is in force.
    """

    only: Slug | None = None
    no_loss: bool = False
    revives: bool = False
    thorough: bool = False
    reason: Statement | None = None


class RollbackBody(Body):
    """To which step of the history (`to`), else to the set before the present one, and why.

    In one `layer` alone, or in all; an officer who is competent for a region goes back in that region's layers alone.
    With `no_loss` it is refused where anything that stands loses; that something flows which did not, has to be said.
    `thorough` as with an activation.
    """

    to: int | None = Field(None, ge=1, le=1 << 53)
    layer: Slug | None = None
    no_loss: bool = False
    revives: bool = False
    thorough: bool = False
    reason: Statement | None = None


class PolicyApprovalBody(Body):
    """Which proposal is approved: its number in the history, and the id of the set that was looked at."""

    number: int = Field(ge=1, le=1 << 53)
    set: str = Field(pattern="^[0-9a-f]{64}$")


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
    layer: Annotated[Slug | None, Query(description="steps that changed this layer alone")] = None,
    limit: Limit = 100,
) -> Response:
    """Every activation, rollback and shadow, with who did it, when, and the act's record.

    Of one `layer` those that changed it; a step of before this was noted is told if the layer was in its set.
    """
    require_permit(
        services,
        officer,
        Act.CONSULT_POLICIES,
        Matter(supplier=officer.department, demand=officer.department, region=officer.region),
    )
    found = services.store.policy_events(before, limit)
    told = [one for one in found if layer is None or layer in (one.layers if one.changed is None else one.changed)]
    return json_response({"items": told, "next": found[-1].number if len(found) == limit else None})


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
    if_match: IfMatch = None,
) -> Response:
    """Check the set, say who gains and who loses, and put it in force at once on every worker of every node.

    Whoever is competent for a region changes that region's layers alone; what else differs is named and refused.
    """
    policies = PolicySet(body.layers, body.files)

    def choose(present: PolicySet) -> PolicySet:
        if body.only is None:
            return policies
        if body.only not in (*body.layers, *present.layers):
            fault = {"field": "only", "fault": f"`{body.only}` is no layer of the set"}
            raise GatewayError("invalid-input", "there is no such layer", faults=[fault])
        return with_layers_of(present, policies, [body.only])

    act = Activation(services, PolicyStep.ACTIVATE, choose, body, if_match=if_match)
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
    if_match: IfMatch = None,
) -> Response:
    """Put a set in force that was before: the one before the present, or that of a step; checked like any other.

    Who is competent for a region goes back in its layers alone: what others put in force since stays in force.
    """
    choose = lambda present: set_before(services, officer, present, body.to, body.layer)  # noqa: E731
    act = Activation(services, PolicyStep.ROLL_BACK, choose, body, if_match=if_match)
    return act.perform(request, officer, key, body)


@router.post(
    "/approval",
    summary="Approve policies that another person proposed",
    openapi_extra=describes(PolicyApprovalBody, {"number": 12, "set": "0" * 64}),
)
def approve(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[PolicyApprovalBody, Depends(model_of(PolicyApprovalBody))],
    key: IdempotencyKey = None,
) -> Response:
    """Put what was proposed in force, examined anew; who proposed it is another person, and still may.

    Where `policies.two_persons` is set, an activation or rollback only proposes (202).
    """
    require_some_activation(services, officer)
    proposal = services.store.policy_event(body.number)
    if proposal is None or proposal.proposed is None:
        raise GatewayError(
            "not-found", f"step {body.number} proposes no policies: `gateway policies history` has what was proposed"
        )
    if proposal.set != body.set:
        raise GatewayError(
            "conflict", f"step {body.number} proposes another set than `{body.set[:16]}`: look at it again"
        )
    asked = proposal.proposed
    said = ActivationBody.model_construct(
        no_loss=asked.no_loss, revives=asked.revives, thorough=asked.thorough, reason=proposal.reason or None
    )
    choose = lambda _present: kept_set(services.store, proposal)  # noqa: E731
    return Activation(services, asked.step, choose, said, proposal).perform(request, officer, key, body)


@router.get("/shadow", summary="What the candidate in the shadow has counted")
def shadow_report(services: Services, officer: SignedIn) -> Response:
    """Verdicts that agree and that differ, over every worker of every node, since the last candidate was put there."""
    require_some_activation(services, officer)
    begun, _ = services.store.last_shadow()
    found = None if begun is None else services.policies.shadow()
    if begun is None or found is None:
        raise GatewayError("not-found", "no candidate was ever in the shadow")
    _permitted_in_shadow(services, officer, begun, services.store)
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
    require_some_activation(services, officer)
    policies = PolicySet(body.layers, body.files)
    checked: dict[str, Any] = {}

    def prepare() -> None:
        services.policies.keeper.refresh()
        require_changes(services, officer, services.policies.keeper.now.policies, policies)
        found = services.policies.examine(policies, None, int(services.now())).checked
        checked.update(digest=found.digest, policies=found.policies, cases=found.cases)

    def work(deed: Deed) -> Answer:
        def asked(tx: StoreTransaction) -> list[Matter]:
            # One before it goes, so that who puts another there may end it.
            running = tx.policies_in_shadow()
            before = () if running is None else _permitted_in_shadow(services, deed.officer, running, tx)
            return [*_changed(services, deed.officer, policies, tx), *before]

        deed.permit_all(Act.ACTIVATE_POLICIES, asked)
        deed.tx.put_policy_set(policies)
        event = take_step(deed, PolicyStep.SHADOW, policies.id, checked["digest"], policies.layers, body.reason)
        return Answer({"shadow": event, "checked": checked, "uncounted": services.policies.uncounted(policies)}, 201)

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
    require_some_activation(services, officer)

    def work(deed: Deed) -> Answer:
        def asked(tx: StoreTransaction) -> list[Matter]:
            running = tx.policies_in_shadow()
            if running is None:
                raise GatewayError("conflict", "no candidate is in the shadow")
            return _permitted_in_shadow(services, deed.officer, running, tx)

        deed.permit_all(Act.ACTIVATE_POLICIES, asked)
        running = deed.tx.policies_in_shadow()
        assert running is not None, "it was looked at in this transaction"
        event = take_step(deed, PolicyStep.SHADOW_END, running.set, running.digest, running.layers, body.reason)
        return Answer({"shadow": event})

    return perform(services, request, officer, key, body.model_dump(), work, prepare=services.policies.gather)


def _changed(services: Services, officer: Officer, policies: PolicySet, state: State) -> list[Matter]:
    """What a candidate changes of what is in force, all of it permitted to the officer."""
    present = services.policies.keeper.now.policies
    return permitted_changes(services, officer, present, changes_between(present, policies), state)


def _permitted_in_shadow(services: Services, officer: Officer, step: PolicyEvent, state: State) -> list[Matter]:
    return _changed(services, officer, kept_set(state, step), state)
