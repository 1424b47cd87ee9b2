"""Who may have an entry's data (Decree 809 Art. 15): Cedar at the call, and Python at the issue of a grant, agree."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.directory import Level, Recipients, SharingMode
from gateway.domain.recipients import bounds_missed, told
from gateway.policy.live.slices import Slice
from tests.policies.cases import NATIONAL, NOW, call, dataset, department, grant, state

CODES = ["000000", "440000", "442000", "442001", "430000", "430100"]
NAMES = ["civil-affairs", "market", "registry"]
MATTERS = ["marriage-registration", "social-assistance"]


def some(of: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(of), max_size=2, unique=True).map(tuple)


@given(
    st.builds(
        Recipients,
        some(NAMES),
        st.lists(st.sampled_from(Level), max_size=2, unique=True).map(tuple),
        some(CODES),
        some(MATTERS),
    ),
    st.sampled_from(CODES),
    st.sampled_from(Level),
    some(MATTERS),
    some(["registry", "other"]),
    st.sampled_from([SharingMode.QUERY, SharingMode.VERIFY]),
)
@settings(max_examples=120)
def test_what_is_compared_at_the_call_is_what_is_compared_at_issue(
    bounds: Recipients, region: str, level: Level, matters: tuple[str, ...], was: tuple[str, ...], mode: SharingMode
) -> None:
    """Of every department and every bound: outside for Cedar is outside for whoever issues, in each mode."""
    home = department(region=region, level=level, matters=matters, succeeds=was)
    entry = dataset(recipients=bounds)
    held = grant(modes=(mode,))
    verdict = Slice(NATIONAL, state(department=home, dataset=entry, grants=(held,))).evaluate(call(mode=mode), NOW)
    assert (verdict.code == "outside-scope") is bool(bounds_missed(entry, home))
    assert verdict.is_permit is not bool(bounds_missed(entry, home))


def test_bounds_are_told_in_both_languages() -> None:
    assert told(Recipients()) == "every department"
    assert told(Recipients(), chinese=True) == "所有部门"
    bounds = Recipients(("a", "b"), (Level.CITY,), ("440000",))
    assert told(bounds) == "departments a, b; levels city; regions 440000"
    assert told(bounds, chinese=True) == "部门 a、b；层级 city；区划 440000"
