"""What a slice permits and denies, by the national and the Zhongshan layers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from gateway.domain.callers import Assurance
from gateway.domain.directory import SharingAttribute, SharingMode
from gateway.domain.grants import GrantState, Hours, Quota
from gateway.domain.orders import OrderKind, Reach
from gateway.domain.verdicts import Decision, Verdict
from gateway.policy.law.layers import Layers, est_document
from gateway.policy.law.settled import EXAMINED
from gateway.policy.law.world import LONG_DOCUMENT
from gateway.policy.live.slices import AT_ONCE, Slice
from tests.policies.cases import (
    NATIONAL,
    NOON,
    NOW,
    ZHONGSHAN,
    call,
    dataset,
    department,
    grant,
    interface,
    order,
    state,
)


def verdict(the_state: Any = None, the_call: Any = None, layers: Layers = NATIONAL, now: int = NOW) -> Verdict:
    return Slice(layers, the_state or state()).evaluate(the_call or call(), now)


def test_a_covered_call_is_permitted_under_its_grant_with_the_asked_items() -> None:
    found = verdict()
    assert found.decision is Decision.PERMIT
    assert found.code == ""
    assert (found.grant, found.grant_version) == ("g1", 1)
    assert found.items == ("name",)
    assert not found.all_items
    assert found.policies == ("grant:g1:v1",)
    assert found.approver == "Wang"
    assert found.legal_basis == "Marriage Registration Regulations Art. 5"
    assert found.valid_until_unix == int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("the_call", "code"),
    [
        (call(purpose="advertising"), "purpose-not-granted"),
        (call(purpose=""), "purpose-not-granted"),
        (call(items=("address",)), "items-not-granted"),
        (call(items=("name", "blood_type")), "items-unknown"),
        (call(mode=SharingMode.BATCH), "mode-not-granted"),
        (call(interface="police/other"), "interface-unknown"),
        (call(department="other"), "not-granted"),
    ],
)
def test_what_the_grant_does_not_cover_is_denied_with_its_code(the_call: Any, code: str) -> None:
    found = verdict(the_call=the_call)
    assert found.decision is Decision.DENY
    assert found.code == code
    assert found.items == ()
    assert found.grant is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"valid_from": NOON + timedelta(seconds=1)}, "grant-not-yet-valid"),
        ({"valid_until": NOON}, "grant-expired"),
        ({"state": GrantState.SUSPENDED}, "suspended"),
        ({"state": GrantState.TERMINATED}, "terminated"),
        ({"state": GrantState.CLOSED}, "grant-closed"),
        ({"systems": ("other-desk",)}, "system-not-granted"),
        ({"interfaces": ("other",)}, "system-not-granted"),
        ({"hours": Hours(0, 60)}, "outside-hours"),
        ({"parameters": {"region": ("442000",)}}, "parameters-not-granted"),
        ({"assurance": Assurance.MTLS}, "assurance-too-low"),
        ({"department": "civil-affairs-branch"}, "not-granted"),
        ({"dataset": "d2"}, "not-granted"),
    ],
)
def test_a_grant_that_does_not_hold_gives_nothing(changes: dict[str, Any], code: str) -> None:
    found = verdict(state(grants=(grant(**changes),)))
    assert found.decision is Decision.DENY
    assert found.code == code


@pytest.mark.parametrize(
    "changes",
    [
        {"valid_from": NOON},
        {"valid_until": NOON + timedelta(seconds=1)},
        {"systems": ("marriage-desk",)},
        {"interfaces": ("people",)},
        {"interfaces": ("police/people",)},
        {"hours": Hours(12 * 60, 12 * 60 + 1)},
        {"assurance": Assurance.DPOP},
        {"quota": Quota(calls_a_day=3)},
    ],
)
def test_a_grant_holds_at_the_edge_of_its_conditions(changes: dict[str, Any]) -> None:
    assert verdict(state(grants=(grant(**changes),))).is_permit


def test_a_parameter_is_borne_exactly_once_with_an_allowed_value() -> None:
    limited = state(grants=(grant(parameters={"region": ("442000", "441900")}),))
    assert verdict(limited, call(parameters=(("region", "442000"),))).is_permit
    for parameters in ((), (("region", "440100"),), (("region", "442000"), ("region", "440100")), (("r", "442000"),)):
        assert not verdict(limited, call(parameters=parameters)).is_permit


def test_granted_items_only_a_grant_of_the_parent_does_not_cover_a_child_department() -> None:
    """Decree 809 Art. 25 ¶1: a subordinate department is a third party until it has a grant of its own."""
    child = department("branch", parent="civil-affairs")
    below = state(department=child, ancestors=(department(),))
    found = verdict(below, call(department="branch"))
    assert found.code == "not-granted"
    assert found.explanation is not None
    assert found.explanation.near == ()


def test_granted_items_only_all_items_is_said_only_where_all_leave() -> None:
    everything = ("address", "id_number", "name")
    wide = state(grants=(grant(items=everything),))
    assert verdict(wide, call(items=everything)).all_items
    assert verdict(wide, call(items=None)).all_items
    assert not verdict(wide, call(items=("name", "address"))).all_items


def test_a_call_without_items_takes_the_narrowest_grant() -> None:
    """Fewer items, then single systems, then single interfaces, then the earlier end, then the smaller id."""
    later = datetime(2028, 1, 1, tzinfo=UTC)
    grants = {
        "e-wide": grant("e-wide", items=("name", "id_number", "address")),
        "d-any": grant("d-any"),
        "c-long": grant("c-long", valid_until=later),
        "b-interface": grant("b-interface", interfaces=("people",), valid_until=later),
        "a-system": grant("a-system", systems=("marriage-desk",), valid_until=later),
        "f-any": grant("f-any"),
    }
    expected = ["a-system", "b-interface", "d-any", "f-any", "c-long", "e-wide"]
    for leading in range(len(expected)):
        left = tuple(grants[name] for name in reversed(expected[leading:]))
        found = verdict(state(grants=left), call(items=None))
        assert found.grant == expected[leading]
        assert found.items == tuple(sorted(grants[expected[leading]].items))


def test_the_narrowest_grant_that_covers_the_asked_items_is_named() -> None:
    grants = (grant("narrow", items=("name",)), grant("wide", items=("name", "address")))
    assert verdict(state(grants=grants), call(items=("name",))).grant == "narrow"
    assert verdict(state(grants=grants), call(items=("address",))).grant == "wide"


@pytest.mark.parametrize(
    ("reach", "target", "changes"),
    [
        (Reach.GRANT, "g1", {}),
        (Reach.SYSTEM, "marriage-desk", {}),
        (Reach.DEPARTMENT, "civil-affairs", {}),
        (Reach.DATASET, "d1", {}),
        (Reach.SUPPLIER, "police", {}),
        (Reach.DEPARTMENT, "civil-affairs", {"supplier": "police"}),
    ],
)
@pytest.mark.parametrize(
    ("kind", "code"),
    [(OrderKind.SUSPENSION, "suspended"), (OrderKind.EMERGENCY, "suspended"), (OrderKind.TERMINATION, "terminated")],
)
def test_forbid_wins_an_order_in_force_stands_above_every_grant(
    reach: Reach, target: str, changes: dict[str, Any], kind: OrderKind, code: str
) -> None:
    found = verdict(state(orders=(order(reach=reach, target=target, kind=kind, **changes),)))
    assert found.code == code
    assert "order:o1" in found.policies


@pytest.mark.parametrize(
    "the_order",
    [
        order(target="g2"),
        order(reach=Reach.SYSTEM, target="other"),
        order(reach=Reach.DEPARTMENT, target="other"),
        order(reach=Reach.DATASET, target="d2"),
        order(reach=Reach.SUPPLIER, target="civil-affairs"),
        order(reach=Reach.DEPARTMENT, target="civil-affairs", supplier="other"),
        order(lifted_at=NOON, lifted_by="officer-1"),
    ],
)
def test_an_order_beside_the_call_or_lifted_forbids_nothing(the_order: Any) -> None:
    assert verdict(state(orders=(the_order,))).is_permit


def test_a_termination_of_one_grant_leaves_another_grant_standing() -> None:
    ended = order(target="g1", kind=OrderKind.TERMINATION)
    assert verdict(state(grants=(grant("g1"), grant("g2")), orders=(ended,))).grant == "g2"


@pytest.mark.parametrize("kind", [OrderKind.SUSPENSION, OrderKind.EMERGENCY])
@pytest.mark.parametrize("mode", list(SharingMode))
def test_stop_reaches_every_road_to_the_data_of_the_suspended_grant(kind: OrderKind, mode: SharingMode) -> None:
    """STOP-REACHES: other grants, and what a region's layer permits without one, in every mode; no other department."""
    every = tuple(SharingMode)
    held = (grant("g1", modes=every), grant("g2", modes=every), grant("g3", department="tax", modes=every))
    open_entry = dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL)
    for layers, grants in ((NATIONAL, held), (ZHONGSHAN, held[:1]), (ZHONGSHAN, held)):
        free = state(grants=grants, dataset=open_entry)
        assert verdict(free, call(mode=mode), layers).is_permit
        stopped = state(grants=grants, dataset=open_entry, orders=(order(target="g1", kind=kind),))
        found = verdict(stopped, call(mode=mode), layers)
        assert found.code == "suspended"
        assert "order:o1" in found.policies
    others = state(grants=held[2:], department=department("tax"), dataset=open_entry)
    assert verdict(others, call(department="tax", mode=mode)).is_permit


def test_forbid_wins_no_grant_overrides_non_shareable() -> None:
    closed = dataset(sharing_attribute=SharingAttribute.NON_SHAREABLE)
    covering = grant(modes=tuple(SharingMode))
    for layers in (NATIONAL, ZHONGSHAN):
        for mode in (SharingMode.QUERY, SharingMode.BATCH, SharingMode.DOWNLOAD):
            found = verdict(state(dataset=closed, grants=(covering,)), call(mode=mode), layers)
            assert found.code == "non-shareable"
            assert "national-art14-non-shareable" in found.policies
    found = verdict(state(dataset=closed, grants=(covering,)), call(mode=SharingMode.VERIFY))
    assert found.code == "non-shareable"


@pytest.mark.parametrize("classification", ["state-secret", "work-secret"])
def test_forbid_wins_secrets_are_shared_by_no_layer(classification: str) -> None:
    secret = dataset(classification=classification, sharing_attribute=SharingAttribute.UNCONDITIONAL)
    for mode in (SharingMode.QUERY, SharingMode.VERIFY):
        found = verdict(state(dataset=secret), call(mode=mode), ZHONGSHAN)
        assert found.code == "non-shareable"


@pytest.mark.parametrize("attribute", [SharingAttribute.NON_SHAREABLE, SharingAttribute.CONDITIONAL])
def test_zhongshan_verifies_without_a_grant_and_lets_nothing_pass_unfiltered(attribute: SharingAttribute) -> None:
    closed = state(dataset=dataset(sharing_attribute=attribute, sharing_modes=()), grants=())
    found = verdict(closed, call(mode=SharingMode.VERIFY, items=None), ZHONGSHAN)
    assert found.is_permit
    assert found.grant is None
    assert found.items == ("address", "id_number", "name")
    assert not found.all_items
    assert found.legal_basis == f"zhongshan-art22-verify: Zhongshan Art. 22 ¶3; {EXAMINED.decision}"
    assert (found.metered, found.calls_a_day, found.guesses_a_day) == (True, 1000, 5)
    assert not verdict(closed, call(mode=SharingMode.VERIFY), NATIONAL).is_permit


def test_zhongshan_gives_unconditional_data_without_application() -> None:
    free = state(dataset=dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL), grants=())
    found = verdict(free, call(items=None), ZHONGSHAN)
    assert found.is_permit
    assert found.grant is None
    assert found.items == ("address", "id_number", "name")
    assert found.policies == ("zhongshan-art22-unconditional",)
    assert verdict(free, call(items=None), NATIONAL).code == "not-granted"


@pytest.mark.parametrize("region", ["440000", "440100", "000000"])
def test_zhongshan_binds_its_own_region_alone(region: str) -> None:
    free = dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL)
    demand = state(dataset=free, grants=(), department=department(region=region))
    supply = state(dataset=free, grants=(), supplier=department("police", region=region))
    assert not verdict(demand, layers=ZHONGSHAN).is_permit
    assert not verdict(supply, layers=ZHONGSHAN).is_permit


def test_a_grant_is_named_before_the_regional_rule() -> None:
    free = state(dataset=dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL))
    assert verdict(free, layers=ZHONGSHAN).grant == "g1"
    assert verdict(free, call(items=("address",)), ZHONGSHAN).grant is None


@pytest.mark.parametrize(("grade", "assurance", "code"), [
    (2, Assurance.LEGACY, ""),
    (3, Assurance.LEGACY, "assurance-too-low"),
    (3, Assurance.BEARER, "assurance-too-low"),
    (3, Assurance.DPOP, ""),
    (4, Assurance.BEARER, "assurance-too-low"),
    (4, Assurance.MTLS, ""),
])  # fmt: skip
def test_from_grade_three_a_credential_is_sender_constrained(grade: int, assurance: Assurance, code: str) -> None:
    assert verdict(state(dataset=dataset(grade=grade)), call(assurance=assurance)).code == code


def test_an_entry_forbids_modes_and_purposes_it_does_not_state() -> None:
    """Decree 809 Art. 13, 15: the directory entry stands above a grant."""
    wide = grant(modes=(SharingMode.QUERY, SharingMode.BATCH), purposes=("marriage-registration", "census"))
    narrow = state(dataset=dataset(sharing_modes=(SharingMode.QUERY,), purposes=("marriage-registration",)))
    narrow = state(dataset=narrow.dataset, grants=(wide,))
    assert verdict(narrow).is_permit
    batch = verdict(narrow, call(mode=SharingMode.BATCH))
    assert (batch.code, batch.policies) == ("mode-not-granted", ("entry:d1:v1:modes",))
    census = verdict(narrow, call(purpose="census"))
    assert (census.code, census.policies) == ("purpose-not-granted", ("entry:d1:v1:purposes",))


def test_a_mode_the_interface_does_not_serve_is_denied() -> None:
    only_batch = state(interfaces=(interface(modes=(SharingMode.BATCH,)),))
    assert verdict(only_batch).code == "mode-not-granted"


def test_an_item_that_left_the_directory_leaves_no_more() -> None:
    stale = state(grants=(grant(items=("name", "blood_type")),))
    assert verdict(stale, call(items=None)).items == ("name",)


def test_unknown_department_or_dataset_gives_nothing() -> None:
    for lacking in ({"department": None}, {"dataset": None}, {"supplier": None}):
        assert verdict(state(**lacking)).code == "not-granted"


def test_a_return_flow_grant_with_an_added_condition_permits_nothing() -> None:
    """Decree 809 Art. 24: no additional restrictive conditions."""
    province = department("police", region="440000")
    assert verdict(state(supplier=province, grants=(grant(return_flow=True),))).is_permit
    limited = grant(return_flow=True, quota=Quota(calls_a_day=1))
    assert not verdict(state(supplier=province, grants=(limited,))).is_permit


def test_a_quota_makes_the_verdict_metered() -> None:
    assert verdict(state(grants=(grant(quota=Quota(rows_a_day=10)),))).metered
    assert not verdict().metered


def test_a_verdict_holds_until_the_first_time_limit_in_the_slice() -> None:
    soon = NOON + timedelta(hours=3)
    assert verdict(state(grants=(grant(), grant("g2", valid_from=soon)))).valid_until_unix == NOW + 3 * 3600
    office = grant(hours=Hours(9 * 60, 17 * 60))
    assert verdict(state(grants=(office,))).valid_until_unix == NOW + 5 * 3600
    evening = NOW + 6 * 3600
    found = verdict(state(grants=(office,)), now=evening)
    assert not found.is_permit
    assert found.valid_until_unix == NOW + 12 * 3600, "at midnight the minute of the day falls back to 0"


def test_a_fractional_time_limit_is_kept_to_the_second_that_is_safe() -> None:
    half = timedelta(milliseconds=500)
    early = state(grants=(grant(valid_from=NOON + half),))
    assert not verdict(early).is_permit
    assert verdict(early).valid_until_unix == NOW + 1
    assert verdict(early, now=NOW + 1).is_permit


def test_a_slice_with_very_many_grants_is_decided_like_any_other() -> None:
    """Its entities are parsed with the interpreter released, its policies and requests a few grants at a time."""
    many = tuple(grant(f"g{number:03}", purposes=("census",)) for number in range(120))
    held = grant("held", valid_until=NOON + timedelta(hours=1))
    part = Slice(NATIONAL, state(grants=(*many, held)))
    assert len(est_document(part.built())) > LONG_DOCUMENT
    assert len(part.sets) > 120 // AT_ONCE
    assert part.evaluate(call(), NOW).grant == "held"
    assert part.evaluate(call(purpose="x"), NOW).code == "purpose-not-granted"


MANY = tuple(grant(f"g{number}") for number in range(3 * AT_ONCE))


@pytest.mark.parametrize("number", range(len(MANY)))
def test_a_termination_of_one_of_many_grants_stops_that_grant_alone(number: int) -> None:
    stop = order("o1", Reach.GRANT, f"g{number}", kind=OrderKind.TERMINATION)
    spared = verdict(state(grants=MANY, orders=(stop,)))
    assert spared.grant == ("g1" if number == 0 else "g0")
    only = tuple(grant(one.id, purposes=one.purposes if one.id == f"g{number}" else ("census",)) for one in MANY)
    assert verdict(state(grants=only)).grant == f"g{number}"
    assert verdict(state(grants=only, orders=(stop,))).code == "terminated"
    suspended = order("o1", Reach.GRANT, f"g{number}")
    assert verdict(state(grants=MANY, orders=(suspended,))).code == "suspended"


@pytest.mark.parametrize("reach", [Reach.DATASET, Reach.DEPARTMENT, Reach.SYSTEM, Reach.SUPPLIER])
def test_a_wider_order_stops_every_one_of_many_grants(reach: Reach) -> None:
    target = {Reach.DATASET: "d1", Reach.DEPARTMENT: "civil-affairs", Reach.SYSTEM: "marriage-desk"}
    stop = order("o1", reach, target.get(reach, "police"))
    assert verdict(state(grants=MANY)).is_permit
    assert verdict(state(grants=MANY, orders=(stop,))).code == "suspended"


def test_what_the_entry_forbids_it_forbids_under_every_one_of_many_grants() -> None:
    entry = dataset(purposes=("census",))
    denied = verdict(state(grants=MANY, dataset=entry))
    assert "entry:d1:v1:purposes" in denied.policies
    assert not denied.is_permit


def told(verdict: Verdict) -> list[tuple[str | None, bool]]:
    return [(each.grant, each.metered) for each in verdict.in_turn()]


def test_a_permit_with_a_quota_bears_the_next_narrowest_with_it() -> None:
    """Up to the first without a quota; only grants that cover the call, each with its own items."""
    held = (
        grant("a", items=("name",), quota=Quota(calls_a_day=1)),
        grant("b", items=("name", "id_number"), quota=Quota(calls_a_day=2, rows_a_day=9)),
        grant("c", items=("name", "id_number"), purposes=("census",)),
        grant("d", items=("name", "id_number", "address")),
        grant("e", items=("name", "id_number", "address")),
    )
    part = Slice(NATIONAL, state(grants=held))
    verdict = part.evaluate(call(), NOW)
    assert told(verdict) == [("a", True), ("b", True), ("d", False)]
    assert [each.exhausted is not None for each in verdict.in_turn()] == [True, True, False]
    unnamed = part.evaluate(call(items=None), NOW)
    assert [len(each.items) for each in unnamed.in_turn()] == [1, 2, 3]
    assert told(part.evaluate(call(items=("address",)), NOW)) == [("d", False)]


def test_a_quota_that_is_used_up_is_explained_in_both_languages() -> None:
    held = (grant("a", items=("name",), quota=Quota(1)), grant("b", quota=Quota(2, 9)))
    *_, last = Slice(NATIONAL, state(grants=held)).evaluate(call(), NOW).in_turn()
    denied = last.used_up()
    assert (denied.decision, denied.code, denied.items) == (Decision.DENY, "quota-exhausted", ())
    assert (denied.policy_digest, denied.policies, denied.grant) == (last.policy_digest, last.policies, "b")
    assert denied.explanation is not None
    assert [(near.grant, near.failed) for near in denied.explanation.near] == [("b", ("quota",)), ("a", ("quota",))]
    assert denied.explanation.near[0].detail == ("its quota of today is used up: 2 calls a day, 9 rows a day",)
    assert denied.explanation.near[0].detail_zh == ("当日额度已用尽：每日 2 次调用、每日 9 行数据",)
    assert denied.explanation.articles == ("Decree 809 Art. 15",)
    assert denied.explanation.next_step
    assert denied.explanation.next_step_zh


def test_where_every_quota_is_used_up_a_layer_that_permits_without_a_grant_permits() -> None:
    free = dataset(sharing_attribute=SharingAttribute.UNCONDITIONAL)
    part = Slice(ZHONGSHAN, state(dataset=free, grants=(grant("a", quota=Quota(1)),)))
    assert told(part.evaluate(call(), NOW)) == [("a", True), (None, True)]
    assert told(Slice(NATIONAL, state(grants=(grant("a", quota=Quota(1)),))).evaluate(call(), NOW)) == [("a", True)]


def test_permit_to_verify_bears_the_types_of_what_is_compared() -> None:
    """As the entry states them, for the items asked alone; who obtains values needs none."""
    entry = dataset(items=tuple(msgspec.structs.replace(item, type="date") for item in dataset().items))
    covering = grant(modes=tuple(SharingMode))
    found = verdict(state(dataset=entry, grants=(covering,)), call(mode=SharingMode.VERIFY, items=("name",)))
    assert found.is_permit
    assert found.types == (("name", "date"),)
    assert verdict(state(dataset=entry, grants=(covering,)), call(items=("name",))).types == ()
