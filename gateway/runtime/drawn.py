"""The policies' book of what departments have lately drawn, kept in the state (Decree 809 Art. 25 ¶2)."""

from datetime import date, timedelta

from gateway.store import Store

_EPOCH = date(1970, 1, 1)


class StateDrawnBook:
    """`DrawnBook` over the state: shared by every worker and node. Its methods block.

    Args:
        store: the state.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def drawn(self, department: str, since_day: int) -> frozenset[str]:
        """Ids of the datasets drawn on `since_day` (days since 1970-01-01, China) or later, for whatever purpose."""
        notes = self._store.drawn(department, _EPOCH + timedelta(days=since_day))
        return frozenset(note.dataset for note in notes)

    def note(self, department: str, dataset: str, purpose: str, day: int) -> None:
        """Note that the department draws from the dataset on `day`."""
        self._store.note_drawn(department, dataset, purpose, _EPOCH + timedelta(days=day))
