"""/v1/policies: what is in force, the exact Cedar of one department and dataset, and why a call would be denied."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import Field

from gateway.control.act.acting import Services, SignedIn, matter_between, require_permit
from gateway.control.act.bodies import Body, EntryId, Slug, describes, model_of
from gateway.control.act.paging import every, json_response
from gateway.control.policies.authority import require_changes, require_some_activation
from gateway.control.policies.calls import CallBody, call_of, interface_of
from gateway.control.policies.possible import NEEDED, Possible, told
from gateway.domain.directory import Department, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter
from gateway.domain.policies import PolicySet
from gateway.domain.verdicts import Call
from gateway.policy.law.layers import read_set
from gateway.policy.offline.authority import with_layers_of
from gateway.policy.offline.possible import Asked
from gateway.store import Store

router = APIRouter(prefix="/v1/policies", tags=["policies"])


CALL = {
    "department": "civil-affairs",
    "system": "marriage-registry",
    "supplier": "public-security",
    "interface": "household",
    "purpose": "marriage-registration",
    "items": ["name"],
}


@router.get("", summary="The static layers in force")
def active(services: Services, officer: SignedIn) -> Response:
    """The layers in force, their digest, who put them in force when (null: the settings), each policy and theorem.

    `standing` says of each layer whose region it is, and which step last changed it. The `ETag` is the set's id, which
    an activation may name in `If-Match`. `proved` is what is known of the theorems; null where they were not proved.
    """
    require_permit(
        services,
        officer,
        Act.CONSULT_POLICIES,
        Matter(supplier=officer.department, demand=officer.department, region=officer.region),
    )
    layers = services.engine.layers
    event = services.policies.keeper.now.event
    policies = [
        {
            "id": each.id,
            "layer": each.layer,
            "file": each.file,
            "effect": each.effect,
            "articles": each.articles,
            "title": each.title,
            "title_zh": each.title_zh,
        }
        for each in layers.policies.values()
    ]
    theorems = [
        {"id": each.id, "articles": each.articles, "sentence": each.sentence, "sentence_zh": each.sentence_zh}
        for each in services.policies.theorems()
    ]
    return json_response(
        {
            "layers": layers.names,
            "standing": services.policies.standing(),
            "digest": layers.digest,
            "since": event,
            "proved": services.policies.known(services.policies.keeper.now.policies),
            "theorems": theorems,
            "policies": policies,
        },
        headers={"ETag": f'"{services.policies.keeper.now.policies.id}"'},
    )


@router.get("/activations/{number}/set", summary="The set of policies of one step of the history")
def set_of(services: Services, officer: SignedIn, number: Annotated[int, Path(ge=1, le=1 << 53)]) -> Response:
    """The step, and the set as text: layers in order, and every file by its path. Its id is `set` of the step."""
    require_permit(
        services,
        officer,
        Act.CONSULT_POLICIES,
        Matter(supplier=officer.department, demand=officer.department, region=officer.region),
    )
    event = services.store.policy_event(number)
    found = None if event is None else services.store.policy_set(event.set)
    if event is None or found is None:
        raise GatewayError("not-found", f"there is no step {number}: `gateway policies history` lists them")
    return json_response({"step": event, "layers": found.layers, "files": found.files})


class ComparisonBody(Body):
    """The layers to compare with those in force, or `only` one of them.

    Without files they are taken as they stand in the policies root of this node.

    Unless it shall be `thorough`, what was found within a few seconds is told, and `is_whole` says whether that is all.
    """

    layers: tuple[Slug, ...] = Field(min_length=1, max_length=16)
    files: dict[str, str] | None = None
    only: Slug | None = None
    thorough: bool = False


@router.post(
    "/compare",
    summary="Who gains and who loses by other layers",
    openapi_extra=describes(ComparisonBody, {"layers": ["national", "zhongshan"]}),
)
def compare_layers(
    services: Services, officer: SignedIn, body: Annotated[ComparisonBody, Depends(model_of(ComparisonBody))]
) -> Response:
    """The check of a set, and both sets put to every standing grant: what takes away is shown first (Art. 15)."""
    require_some_activation(services, officer)
    own = body.files is None
    coming = read_set(services.policies_root, body.layers) if own else PolicySet(body.layers, body.files or {})
    present = services.policies.keeper.now.policies
    if body.only is not None:
        coming = with_layers_of(present, coming, [body.only])
    require_changes(services, officer, present, coming)
    now = services.policies.keeper.now.policies
    found = services.policies.examine(coming, now, int(services.now()), thorough=body.thorough)
    assert found.loss is not None, "what is sound was compared"
    return json_response(
        {
            "checked": found.checked,
            "proving": found.proving,
            "comparison": found.loss,
            "takes_away": found.loss.takes_away,
        }
    )


@router.get("/show", summary="The exact Cedar of one department and one dataset")
def show(
    services: Services,
    officer: SignedIn,
    department: Annotated[Slug, Query(description="demand department")],
    dataset: Annotated[EntryId, Query()],
) -> Response:
    """The static and the built policies that govern one department's use of one dataset."""
    entry = services.store.dataset(dataset)
    matter = matter_between(services.store, entry.supplier if entry else None, department, dataset)
    # Built policies say what grants and orders say: who may not consult those reads them here neither.
    for act in (Act.CONSULT_POLICIES, Act.CONSULT_GRANTS):
        require_permit(services, officer, act, matter)
    return Response(services.engine.policies_for(department, dataset), media_type="text/plain; charset=utf-8")


@router.post("/explain", summary="Why a call would be permitted or denied", openapi_extra=describes(CallBody, CALL))
def explain(services: Services, officer: SignedIn, body: Annotated[CallBody, Depends(model_of(CallBody))]) -> Response:
    """The verdict on a call now, or at another time if nothing changed, with the grants that came near and what failed.

    The system must be the department's, registered and not revoked.
    """
    interface = interface_of(services.store, body)
    matter = matter_between(services.store, interface.supplier, body.department, interface.dataset)
    for act in (Act.CONSULT_POLICIES, Act.CONSULT_GRANTS):
        require_permit(services, officer, act, matter)
    call = call_of(services.store, interface, body)
    at = services.now() if body.at is None else body.at.timestamp()
    return json_response({"verdict": services.engine.explain(call, int(at)), "call": _said(call)})


def _said(call: Call) -> dict[str, Any]:
    """The call without its parameters' values."""
    return {"mode": call.mode.value, "dataset": call.dataset, "interface": call.interface, "items": call.items}


@router.get("/possible", summary="Whether a dataset can ever be obtained, as things stand")
def possible(
    services: Services,
    officer: SignedIn,
    dataset: Annotated[EntryId, Query(description="the dataset")],
    department: Annotated[
        Slug | None, Query(description="by whom; without one, by each that may be asked about")
    ] = None,
    item: Annotated[str | None, Query(max_length=200, description="an item that is to be let out")] = None,
    purpose: Annotated[str | None, Query(max_length=200, description="the declared purpose")] = None,
    mode: Annotated[SharingMode | None, Query(description="the sharing mode")] = None,
) -> Response:
    """Never, with why and by what it is proved; or a call that the engine permits, with when and under which grant.

    It is about what is in force and stands now: policies, grants, orders and the directory as they are, from now on.
    `never` is proved of every request there can be, or follows from there being no permit at all. `not-found` is not
    proved: every kind of call was looked at. `unknown`: not all were, in the time there is. Departments that are
    decided alike are told together (`alike`).
    """
    store = services.store
    entry = store.dataset(dataset)
    supplier = None if entry is None else entry.supplier
    matter = matter_between(store, supplier, department or officer.department, dataset)
    if department is not None:
        for act in NEEDED:
            require_permit(services, officer, act, matter)
    asked = Asked(item, purpose, tuple(SharingMode) if mode is None else (mode,))
    question = Possible(services, officer, dataset, asked)
    departments = _departments(store, department)
    shown = question.shown(departments)
    if not shown:
        # Nothing of it is this officer's to ask: by the rule that would let the own department ask.
        for act in NEEDED:
            require_permit(services, officer, act, matter)
    if entry is None or not departments:
        raise GatewayError("not-found", f"there is no {'entry' if entry is None else 'such department'} here")
    answer = question.of(shown)
    return json_response(
        {
            "dataset": dataset,
            "supplier": supplier,
            "item": item,
            "purpose": purpose,
            "mode": mode,
            "at": datetime.fromtimestamp(services.now(), UTC).isoformat(timespec="seconds"),
            "digest": services.engine.layers.digest,
            "found": [told(each, answer.tools) for each in answer.found],
            "not_looked": answer.not_looked,
            "not_shown": len(departments) - len(shown),
        }
    )


def _departments(store: Store, named: str | None) -> list[Department]:
    if named is None:
        return list(every(lambda cursor: store.list_departments(cursor, 1000)))
    found = store.department(named)
    return [] if found is None else [found]
