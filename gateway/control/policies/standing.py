"""What stands in the state, as a comparison of policies reads it (Decree 809 Art. 15: what takes away is shown)."""

from collections.abc import Iterable, Iterator

from gateway.control.act.paging import every
from gateway.domain.directory import Department
from gateway.domain.grants import GrantState
from gateway.domain.state import SliceState
from gateway.store import GrantFilter, Store

STANDING = (GrantState.ISSUED, GrantState.SUSPENDED)


class StandingState:
    """The state of one store, for `gateway.policy.offline.comparing`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def pairs(self) -> Iterator[tuple[str, str]]:
        """(department, dataset) of every grant that stands, each once."""
        seen: set[tuple[str, str]] = set()
        for grant in self._store.every_grant(GrantFilter(states=STANDING)):
            pair = (grant.department, grant.dataset)
            if pair not in seen:
                seen.add(pair)
                yield pair

    def datasets(self) -> Iterator[str]:
        """Ids of the released datasets."""
        for entry in every(lambda cursor: self._store.list_datasets(None, cursor, 1000)):
            yield entry.id

    def departments(self) -> Iterator[Department]:
        """Every department."""
        yield from every(lambda cursor: self._store.list_departments(cursor, 1000))

    def home_of(self, system: str) -> str | None:
        """The department of a system, None where there is no such system."""
        found = self._store.system(system)
        return None if found is None else found.department

    def read(self, department: str, dataset: str) -> SliceState:
        """The state of a pair."""
        return self._store.slice_state(department, dataset)


class PairsOf:
    """What stands for some pairs of department and dataset alone.

    Args:
        whole: everything that stands.
        pairs: the pairs looked at.
    """

    def __init__(self, whole: StandingState, pairs: Iterable[tuple[str, str]]) -> None:
        self._whole = whole
        self._pairs = tuple(pairs)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The pairs."""
        yield from self._pairs

    def datasets(self) -> Iterator[str]:
        """None: without a grant nothing is looked at."""
        yield from ()

    def departments(self) -> Iterator[Department]:
        """None, likewise."""
        yield from ()

    def home_of(self, system: str) -> str | None:
        """The department of a system, None where there is no such system."""
        return self._whole.home_of(system)

    def read(self, department: str, dataset: str) -> SliceState:
        """The state of a pair."""
        return self._whole.read(department, dataset)
