"""The change feed's listening end: wakes on commits and hands on every change once, in order, without a gap.

A wakeup only says that there may be something; what there is is always read by sequence. So a wakeup that is lost,
a broken connection or a restarted server delays a change by at most `POLL_SECONDS`, and loses none.

Wakeups: within a process, the committing thread sets an event; on PostgreSQL, each commit notifies the channel
`gateway_changes`; other processes' commits to a SQLite file are found by polling.

The feed is kept whole: a change takes some 200 bytes, and a bulk import writes one for thousands of grants.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gateway.domain.changes import Change
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.store.store import Store

log = logging.getLogger(__name__)

CHANNEL = "gateway_changes"

POLL_SECONDS = 0.25
"""How long a change by another process may go unnoticed where no wakeup comes."""


class Listener:
    """A thread that calls `callback` with the changes after `after`, batch by batch.

    A callback that raises ends nothing: the same batch is handed on again after `POLL_SECONDS`.

    Args:
        store: whose feed.
        callback: gets one or more changes in the feed's order; called on the listener's thread.
        after: the last sequence already known.
    """

    def __init__(self, store: "Store", callback: Callable[[Sequence[Change]], None], after: int) -> None:
        self._store = store
        self._callback = callback
        self._after = after
        self._ended = threading.Event()
        self._woken = threading.Event()
        self._threads = [threading.Thread(target=self._deliver, name="store-feed", daemon=True)]
        if not store.database.is_sqlite:
            self._threads.append(threading.Thread(target=self._hear, name="store-notify", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def position(self) -> int:
        """The last sequence that was handed on."""
        return self._after

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    def close(self) -> None:
        """Stop; no call of `callback` runs when this has returned, unless it is called from within one."""
        self._ended.set()
        self._woken.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _deliver(self) -> None:
        while not self._ended.is_set():
            self._woken.clear()
            try:
                self._catch_up()
            except GatewayError as error:
                log.warning("the change feed cannot be read: %s", error.detail)
            except Exception:
                # A fault in a listener must not deafen it: the same batch comes again.
                log.exception("a listener to the change feed failed")
            self._woken.wait(POLL_SECONDS)

    def _catch_up(self) -> None:
        while not self._ended.is_set():
            found = self._store.changes_after(self._after)
            if not found:
                return
            self._callback(found)
            self._after = found[-1].sequence

    def _hear(self) -> None:
        import psycopg  # noqa: PLC0415 - a state in SQLite needs no PostgreSQL driver

        servers = self._store.database.servers
        assert servers is not None
        while not self._ended.is_set():
            try:
                with servers.connect() as connection:
                    connection.autocommit = True
                    connection.execute(f"LISTEN {CHANNEL}")
                    self.wake()
                    while not self._ended.is_set():
                        for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                            self.wake()
            except psycopg.Error:
                self._ended.wait(POLL_SECONDS)
