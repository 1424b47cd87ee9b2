"""The change feed: ordered, gapless, and never losing a change, whoever commits when."""

import contextlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.errors import GatewayError
from gateway.store import Store
from tests.support.postgres import Postgres, running_postgres
from tests.support.state import dataset, fill, grant

WAIT_SECONDS = 20.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def commit(store: Store, *subjects: str) -> list[Change]:
    with store.transaction() as tx:
        for subject in subjects:
            tx.change(ChangeKind.POLICY, subject)
    return tx.changes


def test_sequence_is_consecutive_from_one(state_url: str) -> None:
    """The first change has sequence 1, and each commit goes on where the last ended."""
    with Store.open(state_url) as store:
        assert store.sequence() == 0
        assert [change.sequence for change in commit(store, "a", "b")] == [1, 2]
        assert [change.sequence for change in commit(store, "c")] == [3]
        assert store.sequence() == 3
        assert [change.subject for change in store.changes_after(1)] == ["b", "c"]
        assert [change.subject for change in store.changes_after(0, limit=2)] == ["a", "b"]
        assert store.changes_after(3) == []


def test_rolled_back_transaction_leaves_no_gap(state_url: str) -> None:
    """A sequence taken by a transaction that fails is given to the next."""
    with Store.open(state_url) as store:
        commit(store, "a")
        with contextlib.suppress(GatewayError), store.transaction() as tx:
            tx.change(ChangeKind.POLICY, "lost")
            tx.submit_dataset(dataset(supplier="none"))
        commit(store, "b")
        assert [(change.sequence, change.subject) for change in store.changes_after(0)] == [(1, "a"), (2, "b")]


def test_late_commit_loses_no_change(state_url: str) -> None:
    """A transaction that began first and commits late never gets a sequence that a reader has gone past."""
    with Store.open(state_url) as store:
        begun, finish, done = threading.Event(), threading.Event(), threading.Event()

        def late() -> None:
            with store.transaction() as tx:
                tx.change(ChangeKind.POLICY, "late")
                begun.set()
                assert finish.wait(WAIT_SECONDS)

        def quick() -> None:
            commit(store, "quick")
            done.set()

        threads = [threading.Thread(target=late), threading.Thread(target=quick)]
        threads[0].start()
        assert begun.wait(WAIT_SECONDS)
        threads[1].start()
        assert not done.wait(0.2)
        assert store.changes_after(0) == []
        assert store.sequence() == 0
        finish.set()
        for thread in threads:
            thread.join()
        assert [change.subject for change in store.changes_after(0)] == ["late", "quick"]


def test_many_committers_make_one_feed(state_url: str) -> None:
    """Committers and readers at once: a reader that follows by sequence sees each change once, in order."""
    with Store.open(state_url) as store, Store.open(state_url, migrate_forward=False) as other:
        seen: list[Change] = []
        listener = other.listen(seen.extend, after=0)
        each = 25

        def writes(name: int) -> None:
            for number in range(each):
                commit(store if name % 2 else other, f"{name}-{number}")

        threads = [threading.Thread(target=writes, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: listener.position == 4 * each)
        assert [change.sequence for change in seen] == list(range(1, 4 * each + 1))
        for name in range(4):
            of_one = [change.subject for change in seen if change.subject.startswith(f"{name}-")]
            assert of_one == [f"{name}-{number}" for number in range(each)]


def test_reading_includes_the_changes_its_sequence_names(state_url: str) -> None:
    """A slice read while others commit is as new as the sequence it bears."""
    with Store.open(state_url) as store:
        fill(store)
        first = store.sequence()
        stop = threading.Event()

        def writes() -> None:
            for number in range(40):
                with store.transaction() as tx:
                    tx.insert_grant(grant(f"grant-{number}"))
            stop.set()

        thread = threading.Thread(target=writes)
        thread.start()
        while not stop.is_set():
            found = store.slice_state("civil-affairs", "household")
            assert len(found.grants) == found.sequence - first
        thread.join()


def test_failing_callback_gets_its_changes_again(state_url: str) -> None:
    """A listener whose callback raises once loses nothing."""
    with Store.open(state_url) as store:
        seen: list[str] = []
        failures = iter([GatewayError("unavailable", "not now"), ValueError("a fault")])

        def callback(changes: Sequence[Change]) -> None:
            for error in failures:
                raise error
            seen.extend(change.subject for change in changes)

        store.listen(callback)
        commit(store, "a")
        until(lambda: seen == ["a"])


def test_listener_ends_with_the_store(state_url: str) -> None:
    """Closing the store ends its listeners; nothing is handed on afterwards."""
    seen: list[Change] = []
    store = Store.open(state_url)
    store.listen(seen.extend)
    store.close()
    with Store.open(state_url) as other:
        commit(other, "a")
    assert seen == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("store-")]


def test_killed_writer_has_committed_what_it_said(state_url: str, tmp_path: Path) -> None:
    """What a transaction reported as committed is there after the process was killed; what was open is not."""
    program = textwrap.dedent(
        """
        import os, signal, sys
        from gateway.domain.changes import ChangeKind
        from gateway.store import Store
        store = Store.open(sys.argv[1])
        with store.transaction() as tx:
            tx.change(ChangeKind.POLICY, "kept")
        with store.transaction() as tx:
            tx.change(ChangeKind.POLICY, "lost")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    ended = subprocess.run([sys.executable, "-c", program, state_url], cwd=Path.cwd(), check=False)
    assert ended.returncode == -9
    with Store.open(state_url) as store:
        assert [change.subject for change in store.changes_after(0)] == ["kept"]
        assert [change.sequence for change in commit(store, "next")] == [2]


@pytest.mark.parametrize("how", ["SIGINT", "SIGQUIT"])
def test_postgresql_restart_loses_no_change(how: str) -> None:
    """A listener and a writer go on after PostgreSQL was restarted or crashed, and no change is lost."""
    with running_postgres() as server, Store.open(server.url(server.create_database())) as store:
        seen: list[Change] = []
        listener = store.listen(seen.extend)
        commit(store, "before")
        until(lambda: listener.position == 1)
        server.stop(signal.Signals[how])
        with pytest.raises(GatewayError, match="does not answer") as refused:
            commit(store, "while down")
        assert refused.value.code == "unavailable"
        with pytest.raises(GatewayError, match="does not answer"):
            store.sequence()
        server.start()
        assert store.sequence() == 1
        commit(store, "after")
        until(lambda: listener.position == 2)
        assert [change.subject for change in seen] == ["before", "after"]


def test_promoted_standby_is_another_timeline(postgres: Postgres) -> None:
    """A failover is seen although the feed's numbers go on; a restart is none."""
    database = postgres.create_database()
    with postgres.standby() as standby, Store.open(postgres.url(database)) as store:
        before = store.timeline()
        assert before
        assert store.timeline() == before
        standby.promote()
        with Store.open(standby.url(database)) as other:
            assert other.timeline() not in {"", before}


def test_postgresql_notifies_at_once(postgres: Postgres, migrated: str, emptied: str) -> None:
    """A commit wakes listeners of other processes through LISTEN/NOTIFY, not only by the poll."""
    with Store.open(emptied) as store, postgres.connect(migrated) as ear:
        ear.execute("LISTEN gateway_changes")
        commit(store, "a")
        assert len(list(ear.notifies(timeout=WAIT_SECONDS, stop_after=1))) == 1
