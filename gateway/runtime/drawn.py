"""The policies' book of what departments have lately drawn, kept in the state (Decree 809 Art. 25 ¶2)."""

from datetime import date, timedelta

from gateway.domain.circles import Circle, Knowing
from gateway.store import Store

_EPOCH = date(1970, 1, 1)


class StateDrawnBook:
    """`DrawnBook` over the state: shared by every worker and node. Its methods block.

    Args:
        store: the state.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def drawn(self, department: str, since_day: int, circle: Circle, *, learnt: bool) -> frozenset[str]:
        """Ids of the datasets drawn on `since_day` (days since 1970-01-01, China) or later, for whatever purpose."""
        since = _EPOCH + timedelta(days=since_day)
        if circle is Circle.OWN and not learnt:
            return frozenset(note.dataset for note in self._store.drawn(department, since))
        return self._store.gathered(department, since, circle, learnt=learnt)

    def note(
        self, department: str, dataset: str, purpose: str, day: int, knowing: Knowing, *, in_circles: bool
    ) -> None:
        """Note what the department draws from the dataset on `day`."""
        on = _EPOCH + timedelta(days=day)
        self._store.note_drawn(department, dataset, purpose, on, knowing, in_circles=in_circles)
