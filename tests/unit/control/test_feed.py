"""The feed tells of changed policies before any worker hears of them, and counts no reading on which that failed."""

import threading
from collections.abc import Sequence

from gateway.control.barrier.feed import Feed
from gateway.domain.changes import Change, ChangeKind
from tests.support.barrier import MemoryFeed
from tests.support.gateways import wait_for


class Listening:
    """The hub's side of a feed, in memory."""

    def __init__(self) -> None:
        self.position = 0
        self.readings = 0

    def start(self, position: int, _history: str = "") -> None:
        self.position = position

    def confirm(self, _asked_at: float, position: int, _changes: Sequence[Change]) -> None:
        self.position = position
        self.readings += 1


def test_policies_that_cannot_be_taken_up_hold_back_the_feed() -> None:
    """While they fail no reading is confirmed, so leases run out (STALE-DENIES); then workers hear of the change."""
    store, hub = MemoryFeed(), Listening()
    told: list[int] = []
    broken = threading.Event()
    broken.set()

    def take_up() -> None:
        told.append(hub.position)
        if broken.is_set():
            raise ConnectionError

    feed = Feed(store, hub, on_policies=take_up)  # type: ignore[arg-type]
    feed.start()
    try:
        assert wait_for(lambda: hub.readings)
        assert told == []
        change = Change(1, ChangeKind.POLICY, "activate", withdraws=True)
        with store.lock:
            store.changes.append(change)
        feed.tell([change])
        assert wait_for(lambda: len(told) >= 2)
        readings = hub.readings
        feed.wake()
        assert wait_for(lambda: len(told) >= 3)
        assert (hub.readings, hub.position) == (readings, 0)
        broken.clear()
        feed.wake()
        assert wait_for(lambda: hub.position == 1)
        assert set(told) == {0}
    finally:
        feed.stop()
