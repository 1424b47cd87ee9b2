"""Recorded uses, decided again: what a candidate would have refused or let through, and what cannot be known."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.domain.callers import Assurance
from gateway.domain.circles import Circle, Knowing
from gateway.domain.directory import Department, SharingMode
from gateway.domain.grants import GrantState
from gateway.domain.state import SliceState
from gateway.domain.texts import sealed
from gateway.domain.verdicts import Call
from gateway.policy.law.drawn import FACTS_BY_PATH
from gateway.policy.law.layers import Layers, load_layers
from gateway.policy.live.slices import Slice
from gateway.policy.offline.replaying import Recorded, Replay, Replaying, Said, _Book
from tests.policies.cases import NATIONAL, NOON, NOW, call, dataset, department, grant, interface, order, state
from tests.policies.layering import note, root_with

DAY = 86_400
PURPOSES = ("marriage-registration", "other")


class Stands:
    """What stands: the state of one pair after the other, each with its dataset."""

    def __init__(self, *states: SliceState, above: dict[str, str] | None = None) -> None:
        self._states = states
        self._above = above or {}

    def read(self, department: str, dataset: str) -> SliceState:
        for one in self._states:
            if one.department and one.department.id == department and one.dataset and one.dataset.id == dataset:
                return one
        return state(dataset=None)

    def departments(self) -> Iterable[Department]:
        names = {one.department.id for one in self._states if one.department} | set(self._above) | {"county"}
        return [department(name, parent=self._above.get(name)) for name in sorted(names)]


def recorded(of: SliceState, made: Call, at: int = NOW, layers: Layers = NATIONAL, **more: Any) -> Recorded:
    """The record that a use leaves, as the journal writes it: what is empty is left out."""
    verdict = Slice(layers, of).evaluate(made, at)
    said = Said(
        assurance=made.assurance,
        dataset=made.dataset,
        department=made.department,
        interface=made.interface,
        mode=made.mode,
        system=made.system,
        decision=verdict.decision.value,
        code=verdict.code,
        asked=made.items,
        grant=verdict.grant,
        operator="sealed:" if "operator" in made.declared else "",
        parameters=tuple(name for name, _ in made.parameters),
        policy_digest=verdict.policy_digest,
        purpose=made.purpose,
        scenario="sealed:" if "scenario" in made.declared else "",
        items=verdict.items,
    )
    return Recorded(f"r-{at}-{made.dataset}", at, msgspec.structs.replace(said, **more), "subject" in made.declared)


def replayed(
    candidate: Layers,
    standing: Stands,
    uses: Iterable[Recorded],
    before: Iterable[Recorded] = (),
    then: Callable[[int], Layers | None] = lambda _: NATIONAL,
) -> Replay:
    replaying = Replaying(candidate, then, standing, PURPOSES)
    for use in before:
        replaying.before(use)
    for use in uses:
        replaying.again(use)
    return replaying.finish()


def changes(found: Replay) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(kind.change, kind.count, kind.policies) for kind in found.kinds]


def left(found: Replay) -> dict[str, int]:
    return {one.why: one.count for one in found.left_over}


def layer(tmp_path: Path, text: str, name: str = "odd") -> Layers:
    return load_layers(root_with(tmp_path, region=note(name) + text), ["national", "region"])


def forbid(tmp_path: Path, when: str) -> Layers:
    return layer(tmp_path, f'forbid (principal, action in Action::"use", resource) when {{ {when} }};')


def test_the_policies_of_then_decide_everything_as_it_was() -> None:
    """No change, and the very policies of then by their digest."""
    of = state(grants=(grant(), grant("g2", purposes=("other",), items=("address",))))
    uses = [
        recorded(of, call()),
        recorded(of, call(purpose="other", items=None)),
        recorded(of, call(items=("address",))),
        recorded(of, call(mode=SharingMode.BATCH)),
        recorded(of, call(assurance=Assurance.LEGACY)),
    ]
    found = replayed(NATIONAL, Stands(of), uses)
    assert (found.uses, found.permitted, found.same, found.exact) == (5, 3, 5, 5)
    assert not found.kinds
    assert not found.left_over


def test_what_would_have_been_refused_is_told_by_rule(tmp_path: Path) -> None:
    """Counts, departments, records; what had been refused stays refused."""
    of = state()
    uses = [recorded(of, call(), NOW + n) for n in range(7)] + [recorded(of, call(purpose="other"))]
    found = replayed(forbid(tmp_path, 'context.purpose == "marriage-registration"'), Stands(of), uses)
    (kind,) = found.kinds
    assert (kind.change, kind.count, kind.policies, kind.before) == ("refused", 7, ("odd",), "permit")
    assert kind.departments == {"civil-affairs": 7}
    assert kind.examples == [use.id for use in uses[:5]]
    assert found.same == 1


def test_what_would_have_been_let_through_is_told(tmp_path: Path) -> None:
    """A refused use is decided again, too."""
    of = state()
    stricter = forbid(tmp_path / "then", 'context.purpose == "marriage-registration"')
    use = recorded(of, call(), layers=stricter)
    found = replayed(NATIONAL, Stands(of), [use], then=lambda _: stricter)
    assert changes(found) == [("let-through", 1, ("grant:g1:v1",))]
    assert found.kinds[0].before == "not-granted"
    # Without a grant nothing besides may be asked, and no record says whether it was.
    bare = state(grants=())
    more = layer(tmp_path / "more", 'permit (principal is System, action == Action::"query", resource);')
    assert left(replayed(more, Stands(bare), [recorded(bare, call())])) == {"declared": 1}


def test_less_is_told(tmp_path: Path) -> None:
    """A mask takes away, though it permits."""
    of = state()
    masking = layer(tmp_path, 'permit (principal is System, action == Action::"query", resource);', "masks")
    masks = root_with(
        tmp_path / "m",
        region='@id("masks") @article("Decree 809 Art. 25 ¶1") @title("t") @mask("name=hash")\n'
        'permit (principal is System, action == Action::"query", resource);',
    )
    assert not changes(replayed(masking, Stands(of), [recorded(of, call())]))
    found = replayed(load_layers(masks, ["national", "region"]), Stands(of), [recorded(of, call())])
    assert [kind.change for kind in found.kinds] == ["gives-less"]


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ('context.declared.contains("other")', "declared"),
        ('context.unread.contains("body")', "unread"),
        ('context.parameters.contains({name: "region", value: "442000"})', "parameters"),
        ('context.purpose == "secret-purpose"', "purpose"),
        ('context.purpose like "secret-*"', "purpose"),
    ],
)
def test_what_rests_on_what_no_record_holds_is_left_over(when: str, why: str, tmp_path: Path) -> None:
    """Each fact by its name, and never guessed."""
    of = state(grants=(grant(purposes=("marriage-registration", "secret-purpose", "text")),))
    uses = [recorded(of, call(parameters=(("region", "442000"),)))]
    if why == "purpose":
        uses = [recorded(of, call(purpose="secret-purpose"), purpose=sealed("0" * 64))]
    found = replayed(forbid(tmp_path, when), Stands(of), uses)
    assert left(found) == {why: 1}
    assert not found.kinds


def test_what_is_on_record_says_what_it_was(tmp_path: Path) -> None:
    """A parameter that a grant bounds was one that it allows, for the use was permitted; so it is decided."""
    of = state(grants=(grant(parameters={"region": ("442000",)}),))
    uses = [recorded(of, call(parameters=(("region", "442000"),)))]
    when = 'context.parameters.contains({name: "region", value: "442000"})'
    found = replayed(forbid(tmp_path, when), Stands(of), uses)
    assert changes(found) == [("refused", 1, ("odd",))]


def test_what_stood_then_is_not_guessed() -> None:
    """A grant that was suspended since is tried as issued; one whose refusal nothing explains any more is left over."""
    of = state()
    use = recorded(of, call())
    later = state(grants=(grant(state=GrantState.SUSPENDED),), orders=(order(ordered_at=NOON + timedelta(hours=1)),))
    found = replayed(NATIONAL, Stands(later), [use])
    assert (found.same, found.as_of_then) == (1, 1)
    narrowed = state(grants=(grant(items=("address",)),))
    assert left(replayed(NATIONAL, Stands(narrowed), [use])) == {"state": 1}
    refused = recorded(later, call(), NOW + 7_200)
    assert left(replayed(NATIONAL, Stands(of), [refused])) == {"state": 1}
    assert left(replayed(NATIONAL, Stands(), [use])) == {"gone": 1}
    assert left(replayed(NATIONAL, Stands(of), [use], then=lambda _: None)) == {"policies": 1}


def test_what_no_policy_refused_is_counted_apart() -> None:
    """A quota, or an item that there is not."""
    of = state()
    uses = [recorded(of, call(), decision="deny", code=code) for code in ("quota-exhausted", "items-unknown")]
    found = replayed(NATIONAL, Stands(of), uses)
    assert found.otherwise == {"quota-exhausted": 1, "items-unknown": 1}
    assert (found.same, found.left_over) == (0, [])


def test_items_too_many_for_a_record_are_found_where_they_are_all(tmp_path: Path) -> None:
    """Their number and digest are on record; the entry's items have that digest, or it is left over."""
    of = state(grants=(grant(items=("address", "id_number", "name")),))
    use = recorded(of, call(items=("address", "id_number", "name")))
    digest = msgspec.json.encode(("address", "id_number", "name"))
    import hashlib  # noqa: PLC0415

    counted = ("(3 items)", f"sha256:{hashlib.sha256(digest).hexdigest()}")
    kept = msgspec.structs.replace(use, said=msgspec.structs.replace(use.said, asked=counted))
    assert replayed(NATIONAL, Stands(of), [kept]).same == 1
    other = msgspec.structs.replace(use, said=msgspec.structs.replace(use.said, asked=("(2 items)", "sha256:00")))
    assert left(replayed(NATIONAL, Stands(of), [other])) == {"items": 1}


COMBINED = (
    'forbid (principal, action in Action::"use", resource in Dataset::"d2") when '
    '{{ context has drawn && context.drawn.{fact}.contains(Dataset::"d1") }};'
)


def pair_of(name: str, of: str = "civil-affairs") -> SliceState:
    home = department(of)
    return state(
        department=home,
        dataset=dataset(name),
        interfaces=(interface(of=name),),
        grants=(grant(f"g-{of}-{name}", dataset=name, department=of),),
    )


def test_a_first_convergence_rule_shows_whom_it_would_have_refused(tmp_path: Path) -> None:
    """In the order of records: what was drawn before counts, what the rule itself refuses is not drawn."""
    first, second = pair_of("d1"), pair_of("d2")
    rule = layer(tmp_path, COMBINED.format(fact="week"), "together")
    standing = Stands(first, second)

    def use(name: str, day: int) -> Recorded:
        return recorded(first if name == "d1" else second, call(dataset=name), NOW + day * DAY)

    assert not changes(replayed(rule, standing, [use("d2", 0), use("d1", 0)]))
    found = replayed(rule, standing, [use("d2", 0), use("d1", 1), use("d2", 2), use("d2", 30)])
    assert changes(found) == [("refused", 1, ("together",))]
    assert found.kinds[0].examples == [use("d2", 2).id]
    # What lies before the time that is looked at, and within the rule's.
    assert changes(replayed(rule, standing, [use("d2", 5)], before=[use("d1", 1)])) == [("refused", 1, ("together",))]
    assert not changes(replayed(rule, standing, [use("d2", 12)], before=[use("d1", 1)]))
    # Refused then, so not drawn.
    denied = recorded(first, call(dataset="d1", purpose="other"), NOW)
    assert not changes(replayed(rule, standing, [denied, use("d2", 1)]))


def test_what_the_candidate_refuses_is_not_drawn_by_it(tmp_path: Path) -> None:
    """Both rules in the candidate: the first refuses d1, and so the second has nothing to count."""
    first, second = pair_of("d1"), pair_of("d2")
    text = COMBINED.format(fact="week") + note("no-d1")
    text += 'forbid (principal, action in Action::"use", resource in Dataset::"d1");'
    found = replayed(
        layer(tmp_path, text, "together"),
        Stands(first, second),
        [recorded(first, call(dataset="d1")), recorded(second, call(dataset="d2"), NOW + DAY)],
    )
    assert changes(found) == [("refused", 1, ("no-d1",))]


def test_whose_drawing_counts_is_the_rules_to_say(tmp_path: Path) -> None:
    """The same by another department of the family; and verification, where the rule says `learnt`."""
    first, second = pair_of("d1", "market"), pair_of("d2")
    standing = Stands(first, second, above={"market": "county", "civil-affairs": "county"})
    uses = [
        recorded(first, call(dataset="d1", department="market")),
        recorded(second, call(dataset="d2"), NOW + DAY),
    ]
    for number, (fact, expected) in enumerate((("week", 0), ("line.week", 0), ("family.week", 1))):
        rule = layer(tmp_path / str(number), COMBINED.format(fact=fact), "together")
        assert sum(kind.count for kind in replayed(rule, standing, uses).kinds) == expected, fact


def test_the_book_counts_whom_the_state_counts() -> None:
    """A tree, and each circle seen from each of its departments: as `gateway.store.gathering` has it."""
    parents = {"p": None, "a": "p", "b": "p", "a1": "a", "a2": "a", "b1": "b", "x": None}
    expected = {
        Circle.LINE: {"a": {"p", "a", "a1", "a2"}, "a1": {"p", "a", "a1"}, "p": {"p", "a", "b", "a1", "a2", "b1"}},
        Circle.FAMILY: {
            "a": {"p", "a", "b", "a1", "a2", "b1"},
            "a1": {"p", "a", "b", "a1", "a2"},
            "x": {"x"},
        },
    }
    book = _Book(parents)
    for circle, of in expected.items():
        for name, members in of.items():
            assert book._circle(name, circle) == members, (circle, name)
    book.note("a1", "d1", 100, Knowing.COMPARED)
    assert FACTS_BY_PATH["learnt.week"].learnt


def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    """Kinds, slices and verdicts are bounded; what is beyond is counted together."""
    of = state()
    found = replayed(
        forbid(tmp_path, 'context.purpose == "marriage-registration"'),
        Stands(of),
        (recorded(of, call(system=f"s{n}"), NOW + n) for n in range(300)),
    )
    (kind,) = found.kinds
    assert kind.count == 300
    assert len(kind.examples) == 5
