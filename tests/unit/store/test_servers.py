"""Which server of a PostgreSQL state is used: the primary of the newest history, or none."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gateway.domain.changes import ChangeKind
from gateway.domain.errors import GatewayError
from gateway.store import Store
from gateway.store.deadlines import Deadlines
from gateway.store.servers import History, HistoryFile, Host, Servers, Told, judge
from tests.support.pgbouncer import pgbouncer
from tests.support.postgres import Postgres

A, B = Host("db-1", "5432"), Host("db-2", "5432")


def primary(timeline: int, system: str = "7", at: float = 0, since: float = 0) -> Told:
    return Told(History(system, timeline), takes_writes=True, is_synchronous=True, at=at, since=since)


STANDBY = Told(History("7", 0), takes_writes=False, is_synchronous=False, at=0, since=0)


@pytest.mark.parametrize(
    ("told", "known", "used", "trouble"),
    [
        ({A: primary(1), B: STANDBY}, None, A, ""),
        ({A: STANDBY, B: primary(2)}, History("7", 1), B, ""),
        ({B: primary(1)}, History("7", 1), B, ""),
        # Nobody, or nobody that takes writes: that is no trouble of its own, and nothing is used.
        ({}, History("7", 1), None, ""),
        ({A: STANDBY, B: STANDBY}, History("7", 1), None, ""),
        # The old one is back alone: nobody is used, and who asks for a connection is told why.
        ({A: primary(1)}, History("7", 2), None, ""),
        ({A: primary(1), B: STANDBY}, History("7", 2), None, ""),
        # The old one was killed, and has said nothing since the new one began; then it says something again.
        ({A: primary(1, at=9.8), B: primary(2, at=10, since=10)}, History("7", 1), B, ""),
        ({A: primary(1, at=10.2), B: primary(2, at=10, since=10)}, History("7", 1), None, "has two primaries"),
        # Two at once, also where one is older, where both were promoted, and where they are of two clusters.
        ({A: primary(1), B: primary(2)}, History("7", 2), None, "has two primaries, db-1:5432 (timeline 1)"),
        ({A: primary(2), B: primary(2)}, History("7", 1), None, "has two primaries"),
        ({A: primary(1), B: primary(1, "8")}, History("7", 1), None, "has two primaries"),
        # Another cluster than was known at the last start: one put back from a backup.
        ({A: primary(1, "8")}, History("7", 3), A, ""),
    ],
)
def test_the_one_primary_of_the_newest_history_is_used(
    told: dict[Host, Told], known: History | None, used: Host | None, trouble: str
) -> None:
    """ONE-TIMELINE, as a table."""
    judged = judge(told, known)
    assert judged.primary == used
    assert trouble in judged.trouble
    assert bool(judged.trouble) is bool(trouble)


def test_newest_history_is_remembered_by_all_processes_and_never_an_older_one(tmp_path: Path) -> None:
    """Another object is another process: each sees what the other learns, and nothing is unlearnt."""
    one, other = HistoryFile(tmp_path / "history.json"), HistoryFile(tmp_path / "history.json")
    assert one.known() is None
    one.learn(History("7", 2))
    assert other.known() == History("7", 2)
    other.learn(History("7", 1))
    other.learn(History("7", 3))
    other.learn(History("7", 2))
    assert one.known() == other.known() == History("7", 3)
    (tmp_path / "history.json").write_text("{", "utf-8")
    with pytest.raises(GatewayError, match="cannot be read"):
        HistoryFile(tmp_path / "history.json").known()


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql+psycopg://u@db-1:6000/name", ("db-1:6000",)),
        ("postgresql+psycopg://u@/name?host=db-1:6000&host=db-2:6001", ("db-1:6000", "db-2:6001")),
        ("postgresql+psycopg://u@/name?host=/run/a,/run/b&target_session_attrs=read-write", ("/run/a", "/run/b")),
        ("postgresql+psycopg://u@/name", ("the local socket",)),
    ],
)
def test_every_host_of_a_url_is_named(url: str, hosts: tuple[str, ...]) -> None:
    """Also in the errors."""
    assert tuple(map(str, Servers(make_url(url), None).hosts)) == hosts
    with pytest.raises(GatewayError, match="hosts and ports that do not fit"):
        Servers(make_url("postgresql+psycopg://u@/name?host=db-1,db-2&port=6000"), None)


def test_what_does_not_end_in_time_is_ended_and_what_has_ended_is_not() -> None:
    """From another thread, once; and the block waits for it."""
    deadlines, ended = Deadlines(), threading.Event()
    with deadlines.within(0.01, ended.set):
        assert ended.wait(30)
    again = threading.Event()
    with deadlines.within(60, again.set):
        pass
    with deadlines.within(0.01, ended.set):
        assert ended.wait(30)
    assert not again.is_set()


def test_server_of_an_older_history_is_refused_before_anything_is_asked(postgres: Postgres, tmp_path: Path) -> None:
    """A process that starts with what its node remembers; and a server that stands still is given up."""
    url = postgres.url(postgres.create_database())
    memory = tmp_path / "history.json"
    with Store.open(url, memory=memory) as store:
        store.sequence()
        known = HistoryFile(memory).known()
        assert known is not None
        # Another process of the node has seen a promotion: what this one holds open is not used any more either.
        HistoryFile(memory).learn(History(known.system, known.timeline + 1))
        with pytest.raises(GatewayError, match="has begun elsewhere"):
            store.sequence()
    with pytest.raises(GatewayError, match="has begun elsewhere"):
        Store.open(url, memory=memory)


def test_server_that_stands_still_is_given_up(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel goes on acknowledging, so that no network time-out ends the waiting."""
    monkeypatch.setattr("gateway.store.database.ANSWER_SECONDS", 0.2)
    with Store.open(postgres.url(postgres.create_database())) as store:
        before = store.sequence()
        postgres.stand_still(still=True)
        try:
            with pytest.raises(GatewayError, match="does not answer"):
                store.sequence()
        finally:
            postgres.stand_still(still=False)
        assert store.sequence() == before


@pytest.mark.parametrize(("mode", "is_taken"), [("session", True), ("transaction", False), ("statement", False)])
def test_pooler_is_taken_or_refused_by_what_it_lends(postgres: Postgres, mode: str, is_taken: bool) -> None:
    """PgBouncer: whole sessions are as good as a server's; sessions for a transaction are refused in one sentence."""
    name = postgres.create_database()
    Store.open(postgres.url(name)).close()
    with pgbouncer(postgres, mode) as url_of:
        if is_taken:
            with Store.open(url_of(name)) as store:
                heard = threading.Event()
                listener = store.listen(lambda _changes: heard.set())
                for subject in "abcd":  # often enough that statements are prepared
                    with store.transaction() as tx:
                        tx.change(ChangeKind.POLICY, subject)
                assert heard.wait(60)
                listener.close()
                assert store.sequence() == 4
        else:
            with pytest.raises(GatewayError, match="a pooler that lends a session for a transaction"):
                Store.open(url_of(name))
