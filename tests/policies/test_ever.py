"""Whether a dataset can ever be obtained: an example is one, and what is called never is never."""

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import cedarpy
import pytest

from gateway.domain.callers import Assurance
from gateway.domain.directory import Level, Recipients, SharingAttribute, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.grants import GrantState, Hours
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.policy.law.layers import Layers, load_layers, read_set
from gateway.policy.law.world import caller_entities, parse_entities, slice_entities, use_request
from gateway.policy.live.slices import Slice, asked_items
from gateway.policy.offline.possible import Asked
from gateway.policy.proofs import ever
from gateway.policy.proofs.ever import Limits, Possibility, can_ever
from gateway.policy.proofs.never import Uses
from gateway.policy.proofs.proving import Prover
from gateway.policy.proofs.solver import Question, find_tools
from gateway.policy.proofs.theorems import read_theorems
from tests.policies.cases import (
    NATIONAL,
    NOON,
    NOW,
    ROOT,
    ZHONGSHAN,
    call,
    dataset,
    department,
    grant,
    interface,
    order,
    state,
)
from tests.policies.layering import note, root_with

SET = read_set(ROOT, ["national", "zhongshan"])
THEOREMS = read_theorems(SET)
QUERY = Asked(modes=(SharingMode.QUERY,))


@pytest.fixture
def prover() -> Iterator[Prover]:
    try:
        tools = find_tools()
    except GatewayError as error:
        pytest.skip(error.detail)
    with Prover(tools, SET.files["schema.cedarschema"]) as made:
        yield made


def asking(
    layers: Layers, of: SliceState, asked: Asked | None = None, prover: Prover | None = None, seconds: float = 30
) -> Possibility:
    return can_ever(layers, of, asked or Asked(), ("desk",), NOW, Limits.of(seconds), prover, THEOREMS)


def kinds(found: Possibility) -> set[tuple[str, str]]:
    return {(cause.kind, cause.id) for cause in found.causes}


def test_an_example_is_permitted_when_and_as_it_is_told() -> None:
    """A grant that begins in June and holds from nine to ten: the example is then, by a system that there is."""
    held = grant(valid_from=NOON + timedelta(days=100), hours=Hours(540, 600), parameters={"region": ("442000",)})
    found = asking(NATIONAL, state(grants=(held,)))
    assert found.outcome == "possible"
    assert found.example is not None
    assert (found.example.call.system, found.example.without_system) == ("desk", False)
    assert found.example.at_unix >= NOW + 100 * 86_400
    assert Slice(NATIONAL, state(grants=(held,))).evaluate(found.example.call, found.example.at_unix).grant == "g1"
    assert dict(found.example.call.parameters) == {"region": "442000"}


def test_an_example_that_no_registered_system_can_make_says_so() -> None:
    """Nobody of the department is registered, or a grant is for a system that is not: one must be first."""
    for held, systems in ((grant(), ()), (grant(systems=("gone",)), ("desk",))):
        found = can_ever(NATIONAL, state(grants=(held,)), Asked(), systems, NOW, Limits.of(10))
        assert found.example is not None
        assert found.example.without_system


def test_what_may_only_be_compared_is_not_told_as_obtained(prover: Prover) -> None:
    """A city's rule lets non-shareable data be verified: that values leave is another question, proved never."""
    found = asking(ZHONGSHAN, state(grants=()), prover=prover)
    assert found.outcome == "possible"
    assert found.example is not None
    assert found.example.call.mode is SharingMode.VERIFY
    assert found.obtaining is not None
    assert (found.obtaining.outcome, found.obtaining.by) == ("never", "solver")


def test_no_grant_and_no_rule_is_never_without_a_solver() -> None:
    """Cedar denies what nothing permits; a grant's permit is of its modes alone."""
    found = asking(NATIONAL, state(grants=()))
    assert (found.outcome, found.by) == ("never", "no-permit")
    assert kinds(found) == {("grant", ""), ("no-rule", "")}
    found = asking(NATIONAL, state(), Asked(modes=(SharingMode.BATCH,)))
    assert (found.outcome, found.by) == ("never", "no-permit")
    assert kinds(found) == {("grant", "g1"), ("no-rule", "")}


@pytest.mark.parametrize(
    ("of", "asked"),
    [
        (state(dataset=None), Asked()),
        (state(department=None), Asked()),
        (state(interfaces=()), Asked()),
        (state(), Asked(item="no-such-item")),
    ],
    ids=["entry", "department", "interface", "item"],
)
def test_what_no_policy_is_asked_about_is_never(of: SliceState, asked: Asked) -> None:
    """The gateway refuses it by itself."""
    found = asking(NATIONAL, of, asked)
    assert (found.outcome, found.by) == ("never", "gateway")
    assert [cause.kind for cause in found.causes] == ["entry"]


NEVER: tuple[tuple[str, SliceState, Asked, set[tuple[str, str]]], ...] = (
    ("item", state(), Asked(item="address"), {("grant", "g1"), ("no-rule", "")}),
    ("purpose", state(), Asked(purpose="other"), {("grant", "g1"), ("no-rule", "")}),
    ("suspended by order", state(orders=(order(),)), Asked(), {("forbid", "order:o1"), ("no-rule", "")}),
    (
        "secret",
        state(dataset=dataset(classification="state-secret")),
        Asked(),
        {("forbid", "national-art3-secrets"), ("theorem", "t3-secrets"), ("no-rule", "")},
    ),
    (
        "expired",
        state(grants=(grant(valid_until=NOON - timedelta(days=1)),)),
        Asked(),
        {("grant", "g1"), ("no-rule", "")},
    ),
    (
        "recipients",
        state(dataset=dataset(recipients=Recipients(levels=(Level.NATIONAL,)))),
        Asked(),
        {("forbid", "national-art15-levels"), ("theorem", "t15-levels"), ("no-rule", "")},
    ),
)


@pytest.mark.parametrize(("of", "asked", "causes"), [row[1:] for row in NEVER], ids=[row[0] for row in NEVER])
def test_never_is_proved_and_says_why(
    of: SliceState, asked: Asked, causes: set[tuple[str, str]], prover: Prover
) -> None:
    """By the solver, with the grant that falls short, the policy that forbids alone, and the theorem that says so."""
    found = asking(NATIONAL, of, asked, prover)
    assert (found.outcome, found.by) == ("never", "solver")
    assert causes <= kinds(found)
    assert asking(NATIONAL, of, asked, seconds=0.2).outcome in ("not-found", "unknown")


def test_without_a_solver_nothing_is_called_never_that_a_permit_could_speak_of() -> None:
    """A look at every kind of call is a look, and what is left out of it is told."""
    assert asking(NATIONAL, state(), Asked(item="address")).outcome == "not-found"
    assert asking(NATIONAL, state(orders=(order(),)), seconds=0).outcome == "unknown"


def test_no_time_is_no_never(prover: Prover) -> None:
    """Neither the look nor the solver says never for want of time."""
    assert asking(NATIONAL, state(orders=(order(),)), prover=prover, seconds=0).outcome == "unknown"


def test_a_solver_that_fails_proves_nothing(prover: Prover, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A question that does not parse is `unknown`, and one that is not answered in time is."""
    question = Question("always-denies", "query", "System", "Interface", ("this is no policy",))
    assert prover.one(question).result == "unknown"
    slow = tmp_path / "cvc5"
    slow.write_text('#!/bin/sh\n[ "$1" = --version ] || sleep 60\n')
    slow.chmod(0o755)
    monkeypatch.setenv("CVC5", str(slow))
    with Prover(find_tools(), SET.files["schema.cedarschema"]) as made:
        started = time.monotonic()
        found = asking(NATIONAL, state(orders=(order(),)), prover=made, seconds=3)
        assert time.monotonic() - started < 20
    assert found.outcome == "unknown"


def test_what_the_kinds_leave_out_is_found_by_the_solver(
    tmp_path: Path, prover: Prover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule on what a request declares that no kind of call does: a counterexample does, and the engine permits it."""
    root = root_with(
        tmp_path,
        region=note("odd")
        + """permit (principal is System, action == Action::"query", resource)
        when { context.declared.contains("odd") && context.items == ["address"] && context.minuteOfDay == 601 };""",
    )
    layers = load_layers(root, ["national", "region"])
    of = state(grants=())
    found = asking(layers, of, QUERY, prover)
    assert found.outcome == "possible"
    assert found.example is not None
    assert found.example.call.items == ("address",)
    monkeypatch.setattr(ever, "_refuting", lambda *_: None)
    assert asking(layers, of, QUERY, prover).outcome in ("unknown", "not-found")


BELOW = {"department": department(parent="county"), "ancestors": (department("county"),)}

CLAIMS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    # What the policy permits without a grant; what stands; whether anybody can.
    ('principal in Department::"county"', "possible", BELOW, "lineage"),
    ('principal in Department::"county"', "never", {}, "no lineage"),
    ('principal.department.region in Region::"440000"', "possible", {}, "region"),
    ('principal.department.region in Region::"110000"', "never", {}, "no region"),
    ("principal.department in resource.dataset.supplier", "never", {}, "below the supplier"),
    ('principal.department == Department::"police"', "never", {}, "another department"),
    ('resource.dataset.grade == Grade::"4"', "never", {}, "grade"),
    ('resource.dataset.grade == Grade::"2"', "possible", {}, "this grade"),
    ("resource.dataset.sensitive.isEmpty()", "never", {}, "sensitive"),
    (
        'resource.modes.contains(Mode::"query")',
        "never",
        {"interfaces": (interface(modes=(SharingMode.BATCH,)),)},
        "served",
    ),
    ("context.now < 1000", "never", {}, "the past"),
    ("context.minuteOfDay == 1500", "never", {}, "no such minute"),
    ("context.assurance > 3", "never", {}, "no such assurance"),
    ('context.items.contains("no-such-item")', "never", {}, "no such item"),
    ("context has grant", "never", {"grants": (grant(purposes=("other",)),)}, "a rule under a grant is not the grant"),
    ('principal == System::"nobody-has-it"', "possible", {}, "any system could be registered"),
)


@pytest.mark.parametrize(("when", "outcome", "standing"), [row[:3] for row in CLAIMS], ids=[row[3] for row in CLAIMS])
def test_what_stands_is_known_to_the_solver(
    when: str, outcome: str, standing: dict[str, Any], tmp_path: Path, prover: Prover
) -> None:
    """Lineage, regions, entry, interface, clock: what they rule out is never; and what they do not, is possible."""
    text = f'permit (principal is System, action == Action::"query", resource) when {{ {when} }};'
    layers = load_layers(root_with(tmp_path, region=note("odd") + text), ["national", "region"])
    asked = Asked(purpose="marriage-registration", modes=(SharingMode.QUERY,))
    found = asking(layers, state(**{"grants": (), **standing}), asked, prover)
    assert found.outcome == outcome, found


def random_state(chance: random.Random) -> SliceState:
    grants = tuple(
        grant(
            f"g{number}",
            items=chance.sample(["name", "id_number", "address"], chance.randint(1, 3)),
            purposes=chance.sample(["marriage-registration", "other"], 1),
            modes=tuple(chance.sample(list(SharingMode), chance.randint(1, 3))),
            state=chance.choice([GrantState.ISSUED, GrantState.ISSUED, *GrantState]),
            hours=chance.choice([None, Hours(540, 1020)]),
            systems=chance.choice([(), ("desk",)]),
            valid_from=NOON + timedelta(days=chance.choice([-30, 10])),
            valid_until=NOON + timedelta(days=chance.choice([-1, 20, 300])),
        )
        for number in range(chance.randint(0, 3))
    )
    reaches = [(Reach.GRANT, "g0"), (Reach.SYSTEM, "desk"), (Reach.DEPARTMENT, "county"), (Reach.DATASET, "d1")]
    orders = tuple(
        order(f"o{number}", *chance.choice(reaches), subordinates=chance.random() < 0.5)
        for number in range(chance.choice([0, 0, 1]))
    )
    levels = (Level.PROVINCE,)
    return state(
        department=department(
            region=chance.choice(["442000", "440100"]), competent=chance.random() < 0.3, parent="county"
        ),
        ancestors=(department("county"),),
        dataset=dataset(
            sharing_attribute=chance.choice([*SharingAttribute]),
            grade=chance.choice([1, 2, 3, 4, 9]),
            classification=chance.choice(["population", "sensitive-personal", "state-secret", "odd"]),
            purposes=chance.choice([(), ("marriage-registration",)]),
            recipients=chance.choice([None, None, Recipients(levels=levels), Recipients(regions=("442000",))]),
        ),
        interfaces=(interface(modes=tuple(chance.sample(list(SharingMode), 3))),),
        grants=grants,
        orders=orders,
    )


def random_call(chance: random.Random) -> tuple[Any, int]:
    made = call(
        system=chance.choice(["desk", "other-desk"]),
        assurance=chance.choice(list(Assurance)),
        mode=chance.choice(list(SharingMode)),
        purpose=chance.choice(["marriage-registration", "other"]),
        items=chance.choice([None, ("name",), ("id_number", "name"), ("address",), ("address", "id_number", "name")]),
        parameters=chance.choice([(), (("region", "442000"),)]),
        declared=chance.choice([(), ("operator", "scenario", "subject")]),
    )
    return made, NOW + chance.choice([0, 3_600, 40_000, 86_400 * 11, 86_400 * 100])


@pytest.mark.parametrize("seed", range(8))
def test_what_is_given_holds_of_every_call(seed: int) -> None:
    """No fact that the solver is given is contradicted by a request as the engine puts it: else a proof were none."""
    chance = random.Random(seed)
    for layers in (NATIONAL, ZHONGSHAN):
        of = random_state(chance)
        asked = Asked()
        uses = Uses(layers, of, asked, NOW)
        entities = parse_entities(slice_entities(of, layers.facts))
        for _ in range(12):
            made, at = random_call(chance)
            for case in ((made.mode, each.id if each else None) for each in (*of.grants, None)):
                under = next((each for each in of.grants if each.id == case[1]), None)
                items = asked_items(made, under, of.dataset.item_names if of.dataset else frozenset())
                if not items:
                    continue
                request = use_request(
                    made, at, items, None if under is None else under.id, None, decision=layers.settled.decision
                )
                known = entities.with_added_json_str(caller_entities(made))
                facts = cedarpy.PolicySet.from_str(uses.facts(case) + "permit (principal, action, resource);")
                answer = cedarpy.is_authorized(request, facts, known)
                assert answer.allowed, (answer.diagnostics, uses.facts(case))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.deep) for seed in range(1, 12))])
def test_what_is_never_is_permitted_by_no_call(seed: int, prover: Prover) -> None:
    """States at random: an example is permitted, and where it is never, calls at random are all denied."""
    chance = random.Random(1_000 + seed)
    for layers in (NATIONAL, ZHONGSHAN):
        of = random_state(chance)
        found = asking(layers, of, prover=prover)
        assert found.outcome in ("possible", "never")
        part = Slice(layers, of)
        if found.example is not None:
            assert part.evaluate(found.example.call, found.example.at_unix).is_permit
            continue
        for _ in range(150):
            made, at = random_call(chance)
            verdict = part.evaluate(made, at)
            assert not verdict.is_permit or not (verdict.items or verdict.all_items), (made, at, of)
