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
    matter_of_gateway,
    perform,
    require_permit,
)
from gateway.control.act.bodies import Body, Slug, Statement, describes, model_of
from gateway.control.act.paging import Limit, json_response
from gateway.control.policies.in_force import Activation, kept_set, require_activation, set_before, take_step
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter
from gateway.domain.policies import PolicySet, PolicyStep

router = APIRouter(prefix="/v1/policies", tags=["policies"])


class PolicySetBody(Body):
    """A set of policies: its layers in order, and its files by their path below a policies root."""

    layers: tuple[Slug, ...] = Field(min_length=1, max_length=16)
    files: dict[str, str]


class ActivationBody(PolicySetBody):
    """The set to put in force; with `no_loss` it is refused where anything that stands loses (Art. 15, 39(2)).

    What is lost needs a `reason`; that something flows which did not has to be said (`revives`). What cannot be
    compared within a few seconds is put in force only where it shall be, however long that takes (`thorough`).
    """

    no_loss: bool = False
    revives: bool = False
    thorough: bool = False
    reason: Statement | None = None


class RollbackBody(Body):
    """To which step of the history (`to`), else to the set before the present one, and why.

    With `no_loss` it is refused where anything that stands loses; that something flows which did not, has to be said.
    `thorough` as with an activation.
    """

    to: int | None = Field(None, ge=1, le=1 << 53)
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
    act = Activation(services, PolicyStep.ACTIVATE, lambda: policies, body)
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
    choose = lambda: set_before(services.store, body.to)  # noqa: E731
    act = Activation(services, PolicyStep.ROLL_BACK, choose, body)
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
    require_activation(services, officer)
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
    choose = lambda: kept_set(services.store, proposal)  # noqa: E731
    return Activation(services, asked.step, choose, said, proposal).perform(request, officer, key, body)


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
    require_activation(services, officer)

    def work(deed: Deed) -> Answer:
        deed.permit(Act.ACTIVATE_POLICIES, matter_of_gateway)
        running = deed.tx.policies_in_shadow()
        if running is None:
            raise GatewayError("conflict", "no candidate is in the shadow")
        event = take_step(deed, PolicyStep.SHADOW_END, running.set, running.digest, running.layers, body.reason)
        return Answer({"shadow": event})

    return perform(services, request, officer, key, body.model_dump(), work, prepare=services.policies.gather)
