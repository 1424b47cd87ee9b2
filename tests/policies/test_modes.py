"""Every promise in each of the four modes, and each guard alone: by a matrix, since one mode's test holds one mode."""

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.callers import Assurance
from gateway.domain.directory import SharingAttribute, SharingMode
from gateway.domain.grants import GrantState, Hours
from gateway.domain.orders import OrderKind, Reach
from gateway.domain.verdicts import Decision, Verdict
from gateway.policy.law.layers import Layers, load_layers
from gateway.policy.live.slices import Slice
from tests.policies.cases import NATIONAL, NOON, NOW, ZHONGSHAN, call, dataset, grant, interface, order, state
from tests.policies.layering import note, root_with

MODES = tuple(SharingMode)
EVERY = {"dataset": dataset(sharing_modes=MODES), "grants": (grant(modes=MODES),)}


def verdict(the_state: Any, the_call: Any, layers: Layers = NATIONAL) -> Verdict:
    return Slice(layers, the_state).evaluate(the_call, NOW)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    """Layers of which no policy speaks of a call: what is denied under them, the built policies deny."""
    nothing = note("nothing") + "forbid (principal, action, resource) when { false };"
    return load_layers(root_with(Path(tmp_path_factory.mktemp("bare")), bare=nothing), ["bare"])


REACHES: list[tuple[Reach, str, dict[str, Any]]] = [
    (Reach.GRANT, "g1", {}),
    (Reach.SYSTEM, "marriage-desk", {}),
    (Reach.DEPARTMENT, "civil-affairs", {}),
    (Reach.DEPARTMENT, "civil-affairs", {"supplier": "police"}),
    (Reach.DATASET, "d1", {}),
    (Reach.SUPPLIER, "police", {}),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("are_static_layers_off", [False, True])
def test_stop_reaches_every_mode(mode: SharingMode, bare: Layers, *, are_static_layers_off: bool) -> None:
    """FORBID-WINS, STOP-REACHES: an order of any kind and reach stops a call in any mode, by itself alone."""
    layers = bare if are_static_layers_off else NATIONAL
    assert verdict(state(**EVERY), call(mode=mode), layers).is_permit
    for kind, (reach, target, more) in itertools.product(OrderKind, REACHES):
        stopped = state(**EVERY, orders=(order(reach=reach, target=target, kind=kind, **more),))
        found = verdict(stopped, call(mode=mode), layers)
        assert found.decision is Decision.DENY, (kind, reach)
        assert found.code == ("terminated" if kind is OrderKind.TERMINATION else "suspended"), (kind, reach)
        assert found.items == ()


@pytest.mark.parametrize(("reach", "target", "more"), [each for each in REACHES if each[0] is not Reach.GRANT])
def test_stop_reaches_what_a_regional_rule_permits_without_a_grant(
    reach: Reach, target: str, more: dict[str, Any]
) -> None:
    """Verification without a grant, and unconditional data without application, end by an order as well."""
    open_to_all = dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL, sharing_modes=MODES)
    permitted = [
        mode
        for mode in MODES
        if verdict(state(dataset=open_to_all, grants=()), call(mode=mode, items=None), ZHONGSHAN).is_permit
    ]
    assert SharingMode.VERIFY in permitted
    for mode in permitted:
        stopped = state(dataset=open_to_all, grants=(), orders=(order(reach=reach, target=target, **more),))
        assert verdict(stopped, call(mode=mode, items=None), ZHONGSHAN).code == "suspended", mode


@pytest.mark.parametrize("asked", MODES)
def test_a_mode_is_open_only_where_entry_interface_and_grant_each_state_it(asked: SharingMode, bare: Layers) -> None:
    """Each of the three closes each mode that it does not state, and none that it states.

    Entry and grant do so by themselves; that the interface serves a mode, the static layer asks (and the data plane).
    Verification is no mode of obtaining (Art. 22): an entry does not close it.
    """
    for stated in itertools.chain.from_iterable(itertools.combinations(MODES, size) for size in (1, 2, 3)):
        worlds = {
            "entry": state(dataset=dataset(sharing_modes=stated), grants=EVERY["grants"]),
            "interface": state(**EVERY, interfaces=(interface(modes=stated),)),
            "grant": state(dataset=EVERY["dataset"], grants=(grant(modes=stated),)),
        }
        for layers, (where, world) in itertools.product((NATIONAL, bare), worlds.items()):
            if layers is bare and where == "interface":
                continue
            is_open = asked in stated or (where == "entry" and asked is SharingMode.VERIFY)
            found = verdict(world, call(mode=asked), layers)
            assert found.is_permit == is_open, (where, stated)
            assert found.is_permit or found.code == "mode-not-granted", (where, stated)


NOT_HELD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "purpose": ({}, {"purpose": "advertising"}),
    "no purpose": ({}, {"purpose": ""}),
    "item": ({}, {"items": ("address",)}),
    "one item of two": ({}, {"items": ("name", "address")}),
    "department": ({"department": "civil-affairs-branch"}, {}),
    "dataset": ({"dataset": "d2"}, {}),
    "system": ({"systems": ("other-desk",)}, {}),
    "interface": ({"interfaces": ("other",)}, {}),
    "begins": ({"valid_from": NOON + timedelta(seconds=1)}, {}),
    "ends": ({"valid_until": NOON}, {}),
    "hours": ({"hours": Hours(0, 60)}, {}),
    "parameter": ({"parameters": {"region": ("442000",)}}, {}),
    "another parameter": ({"parameters": {"region": ("442000",)}}, {"parameters": (("region", "441900"),)}),
    "assurance": ({"assurance": Assurance.MTLS}, {}),
}


@pytest.mark.parametrize("condition", NOT_HELD)
def test_each_condition_of_a_grant_holds_by_itself_in_every_mode(condition: str, bare: Layers) -> None:
    """With the static layers off a grant still gives only what it says: what is built of it is no less than it."""
    changes, asked = NOT_HELD[condition]
    for mode in MODES:
        world = state(dataset=EVERY["dataset"], grants=(grant(**{"modes": MODES, **changes}),))
        assert verdict(state(**EVERY), call(mode=mode), bare).is_permit
        found = verdict(world, call(mode=mode, **asked), bare)
        assert (found.decision, found.items, found.grant) == (Decision.DENY, (), None), mode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ended", [GrantState.SUSPENDED, GrantState.TERMINATED, GrantState.CLOSED])
def test_a_grant_that_has_ended_gives_nothing_in_any_mode(ended: GrantState, mode: SharingMode) -> None:
    """The state of a grant holds for each mode."""
    world = state(dataset=EVERY["dataset"], grants=(grant(modes=MODES, state=ended),))
    assert verdict(world, call(mode=mode)).decision is Decision.DENY


@pytest.mark.parametrize("mode", MODES)
def test_what_leaves_is_what_was_asked_and_granted_in_every_mode(mode: SharingMode, bare: Layers) -> None:
    """GRANTED-ITEMS-ONLY: without items in the call, those of the grant; all of them only where the grant has all.

    In verify mode nothing is ever said to be whole, so that nothing passes unread.
    """
    for layers in (NATIONAL, bare):
        found = verdict(state(**EVERY), call(mode=mode, items=None), layers)
        assert (found.items, found.all_items) == (("id_number", "name"), False)
        whole = state(dataset=EVERY["dataset"], grants=(grant(modes=MODES, items=("name", "id_number", "address")),))
        assert verdict(whole, call(mode=mode, items=None), layers).all_items == (mode is not SharingMode.VERIFY)
        assert not verdict(whole, call(mode=mode, items=("name",)), layers).all_items
