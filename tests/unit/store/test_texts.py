"""Texts in the state, on both databases: written once, bounded by day, erased for good, let go after their time."""

import threading
from collections.abc import Iterator
from datetime import date

import pytest

from gateway.domain.changes import ChangeKind
from gateway.domain.errors import GatewayError
from gateway.store import Store
from gateway.store.texts import ERASURE, NAMED_DAYS, NewText, StoredText

DAY = date(2026, 1, 1)


@pytest.fixture
def store(state_url: str) -> Iterator[Store]:
    with Store.open(state_url) as opened:
        yield opened


def new(name: str, system: str = "desk", years: int = 3, department: str = "civil-affairs", by: str = "") -> NewText:
    """A text of that name; `by` tells who has sealed it."""
    return NewText(f"{system}/{name}", name, system, department, years, lambda: (f"{system}/{name}/{by}", "sealed"))


def test_nodes_that_write_one_text_at_once_go_on_with_one(store: Store, state_url: str) -> None:
    """Whoever was first: both name the row that stands, and neither fails."""
    found: list[dict[str, str]] = []
    names = [f"t-{n:02}" for n in range(20)]

    def node(by: str, order: list[str]) -> None:
        with Store.open(state_url) as other:
            found.extend(other.keep_texts([new(name, by=by), new("both", by=by)], DAY, 100) for name in order)

    threads = [threading.Thread(target=node, args=given) for given in (("a", names), ("b", names[::-1]))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 40
    assert len({each[f"desk/{name}"] for name in names for each in found if f"desk/{name}" in each}) == 20
    assert len({each["desk/both"] for each in found}) == 1


def test_what_a_system_may_add_in_a_day_is_bounded(store: Store) -> None:
    """What stands goes on; the bound is the system's and the day's."""
    kept = store.keep_texts([new(f"t-{n}") for n in range(5)], DAY, 3)
    assert len(kept) == 3
    assert store.keep_texts([new("t-0"), new("t-9")], DAY, 3) == {"desk/t-0": kept["desk/t-0"]}
    assert len(store.keep_texts([new("t-9", "other")], DAY, 3)) == 1
    assert len(store.keep_texts([new("t-9")], date(2026, 1, 2), 3)) == 1


def test_erased_is_gone_by_every_way(store: Store) -> None:
    """Digest, mark and word lead nowhere; workers are told by a change that every version knows."""
    digest = store.keep_texts([new("t")], DAY, 9)["desk/t"]
    assert [each.digest for each in store.texts_of_word("t")] == [digest]
    with store.transaction() as tx:
        tx.erase_texts([digest, "never"], "r-1", str)
        tx.erase_texts([digest], "r-2", str)
    assert store.texts([digest]) == {digest: StoredText(digest, erased="r-1")}
    assert store.texts_of_word("t") == ()
    assert {(change.kind, change.subject, change.withdraws) for change in tx.changes} == {
        (ChangeKind.KEY, ERASURE, False)
    }
    assert store.keep_texts([new("t", by="again")], DAY, 9)["desk/t"] != digest
    assert store.scrub()


def test_texts_go_after_the_time_of_the_last_record_that_may_name_them(store: Store) -> None:
    """Not a day before, longer where its records stay longer, and not while its department's are in dispute."""
    store.keep_texts([new("short"), new("long", years=10), new("held", "tax", 3, "tax")], DAY, 9)
    last = date.fromordinal(DAY.toordinal() + NAMED_DAYS).replace(year=2029)

    def gone(today: date, *held: str) -> int:
        with store.transaction() as tx:
            return tx.forget_texts(today, held)

    assert gone(last) == 0
    assert gone(date.fromordinal(last.toordinal() + 1), "tax") == 1
    assert store.texts_of_word("short") == ()
    assert gone(date.fromordinal(last.toordinal() + 1)) == 1
    assert gone(last.replace(year=2036)) == 0
    assert gone(last.replace(year=2037)) == 1


def test_what_keeps_the_log_from_being_cleared_takes_nothing_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of before, or a fault: the erasure stands, and no error is told for it."""
    if not store.database.is_sqlite:
        pytest.skip("PostgreSQL keeps no such log of ours")
    digest = store.keep_texts([new("t")], DAY, 9)["desk/t"]
    with store.database._readers.connect() as reading:
        reading.exec_driver_sql("BEGIN")
        reading.exec_driver_sql("SELECT count(*) FROM texts").fetchall()
        with store.transaction() as tx:
            tx.erase_texts([digest], "r-1", str)
        assert not store.scrub()
        reading.exec_driver_sql("ROLLBACK")
    assert store.scrub()

    def fails() -> bool:
        raise GatewayError("unavailable", "the disk reports an error")

    monkeypatch.setattr(store.database, "clear_log", fails)
    assert not store.scrub()
    assert store.texts([digest])[digest].erased == "r-1"
