"""Who puts which policies in force: asked of the policies for each difference from what is in force.

About a layer of a region it is asked with that region, and about anything else with the region that holds all
departments of the gateway. Whether a layer opens more than before is known once it was examined; before that, nobody's
set is examined who may not change what it changes.
"""

from collections.abc import Collection, Iterator, Sequence

import msgspec

from gateway.control.act.deeds import State, is_permitted, matter_of_gateway, require_permit
from gateway.control.act.services import ControlServices
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.policies import PolicyEvent, PolicySet
from gateway.policy.law.layers import Layers
from gateway.policy.law.scopes import lies_in
from gateway.policy.offline.activating import set_faults
from gateway.policy.offline.authority import Change, changes_between, knows_regions
from gateway.policy.offline.probing import Words
from gateway.store import Store


def require_activation(services: ControlServices, officer: Officer) -> None:
    """Raises `act-not-permitted` unless the officer may put in force what holds for all."""
    require_permit(services, officer, Act.ACTIVATE_POLICIES, _of_all(services.store))


def require_some_activation(services: ControlServices, officer: Officer) -> None:
    """Raises `act-not-permitted` unless the officer may put in force at least the own region's policies."""
    whole = matter_of_gateway(services.store).region
    require_permit(services, officer, Act.ACTIVATE_POLICIES, Matter(region=officer.region, whole=whole))


def require_changes(
    services: ControlServices, officer: Officer, present: PolicySet, coming: PolicySet
) -> tuple[Change, ...]:
    """In what the coming set differs from the present one, where the officer may change it.

    Raises:
        GatewayError: `act-not-permitted`, naming what else differs; `invalid-input` where it is no set.
    """
    require_some_activation(services, officer)
    faults = set_faults(coming)
    if faults:
        raise GatewayError("invalid-input", "the policies are not sound and are not put in force", faults=faults)
    changes = changes_between(present, coming)
    permitted_changes(services, officer, present, changes, services.store)
    return changes


def permitted_changes(
    services: ControlServices,
    officer: Officer,
    present: PolicySet,
    changes: Sequence[Change],
    state: State,
    widened: Collection[str] = (),
    proposal: PolicyEvent | None = None,
) -> list[Matter]:
    """What is asked for these differences, all of it permitted to the officer.

    Args:
        services: the rooms.
        officer: who puts them in force.
        present: the set in force.
        changes: what differs.
        state: in which departments stand where.
        widened: the layers that open more than before.
        proposal: the step that proposed it, if another did.

    Raises:
        GatewayError: `act-not-permitted`, naming what the officer may not change.
    """
    of_all = _of_all(state)
    by = None if proposal is None else proposal.by
    asked = {
        one: msgspec.structs.replace(about, proposed_by=by) for one, about in _asked(present, changes, of_all, widened)
    } or {Change("policies"): msgspec.structs.replace(of_all, proposed_by=by)}
    refused = [
        one
        for one, matter in asked.items()
        if not is_permitted(services, officer, Act.ACTIVATE_POLICIES, matter, state)
    ]
    if refused:
        first = asked[refused[0]]
        try:
            require_permit(services, officer, Act.ACTIVATE_POLICIES, first, state)
        except GatewayError as error:
            named = ", ".join(f"`{one.what}`" for one in refused)
            raise GatewayError(
                "act-not-permitted",
                f"officer `{officer.id}` may not change {named}, in which these policies differ from those in force",
                **{**error.members, "differs": [one.what for one in refused]},
            ) from error
    return list(asked.values())


def _asked(
    present: PolicySet, changes: Sequence[Change], of_all: Matter, widened: Collection[str]
) -> Iterator[tuple[Change, Matter]]:
    for one in changes:
        if one.layer is None or one.region is None or not knows_regions(present):
            yield one, of_all
        else:
            yield (
                one,
                Matter(region=one.region, layer=one.layer, widens=one.layer in widened, whole=of_all.whole),
            )


def _of_all(state: State) -> Matter:
    about = matter_of_gateway(state)
    return msgspec.structs.replace(about, whole=about.region)


def require_own_data(store: Store, layers: Layers, changes: Sequence[Change]) -> None:
    """Hold that a region's layer that comes names no data of another region: what was drawn of it, it could read.

    Raises:
        GatewayError: `invalid-input`, naming policy and dataset; also one that the directory does not have, where the
            policy looks at what was drawn.
    """
    coming = {one.layer for one in changes if one.layer is not None}
    faults = []
    for policy in layers.policies.values():
        if policy.region is None or policy.layer not in coming:
            continue
        for name in Words.of(policy).entities.get("Dataset", ()):
            owner = store.entry_owner(name)
            home = None if owner is None else store.department(store.heir(owner))
            if home is None and policy.id in layers.convergence_rules:
                faults.append({"field": policy.id, "fault": f"reads of `{name}`, which the directory does not have"})
            elif home is not None and not lies_in(home.region, policy.region):
                faults.append({"field": policy.id, "fault": f"names `{name}`, which is another region's"})
    if faults:
        raise GatewayError("invalid-input", "a region's layer names what is not its region's", faults=faults)
