"""What processes share: one-time values, quota blocks, remembered answers, nodes, what was drawn."""

import threading
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.store import Answer, Drawn, Store
from gateway.store.coordination import KEPT_ONE_TIME_SECONDS

DAY = date(2026, 3, 2)


class Clock:
    now = 1_772_000_000.0

    def __call__(self) -> float:
        return self.now


def test_value_is_used_once_until_it_expires(state_url: str) -> None:
    """A replayed value is refused, in this process and in another, until it could no longer be valid anyway."""
    clock = Clock()
    with Store.open(state_url, clock=clock) as store, Store.open(state_url, clock=clock) as other:
        assert store.use_once("jti", "a" * 5000, int(clock.now) + 60)
        assert not store.use_once("jti", "a" * 5000, int(clock.now) + 60)
        assert not other.use_once("jti", "a" * 5000, int(clock.now) + 600)
        assert other.use_once("dpop", "a" * 5000, int(clock.now) + 60)
        clock.now += 60
        assert not other.use_once("jti", "a" * 5000, int(clock.now) + 60), "a clock may be set back"
        clock.now += KEPT_ONE_TIME_SECONDS
        assert other.use_once("jti", "a" * 5000, int(clock.now) + 60)


def test_only_one_of_many_askers_uses_a_value(state_url: str) -> None:
    """Of threads that present the same value at once exactly one gets through."""
    with Store.open(state_url, clock=Clock()) as store:
        wins: list[bool] = []
        threads = [
            threading.Thread(target=lambda: wins.append(store.use_once("jti", "x", 2_000_000_000))) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(wins) == [False] * 11 + [True]


def test_batch_of_values_is_used_once_each(state_url: str) -> None:
    """A batch answers as its values one by one would: twice in a batch, used before, used by another, expired."""
    clock = Clock()
    with Store.open(state_url, clock=clock) as store, Store.open(state_url, clock=clock) as other:
        until = int(clock.now) + 60
        assert store.use_once_each([("dpop", "a", until), ("dpop", "b", until), ("dpop", "a", until)]) == [
            True,
            True,
            False,
        ]
        assert not store.use_once("dpop", "b", until)
        assert other.use_once_each([("dpop", "b", until), ("legacy", "b", until), ("dpop", "c", until)]) == [
            False,
            True,
            True,
        ]
        clock.now += 60 + KEPT_ONE_TIME_SECONDS
        assert other.use_once_each([("dpop", "a", until + 60)]) == [True]


def test_batches_with_values_in_common_let_each_through_once(state_url: str) -> None:
    """Nodes that send overlapping batches at once, in different orders, neither block each other nor agree twice."""
    names = [f"v{number}" for number in range(40)]
    wins: list[str] = []

    def send(turn: int) -> None:
        with Store.open(state_url, clock=Clock()) as store:
            order = names[turn:] + names[:turn]
            fresh = store.use_once_each([("dpop", name, 2_000_000_000) for name in order])
            wins.extend(name for name, is_fresh in zip(order, fresh, strict=True) if is_fresh)

    threads = [threading.Thread(target=send, args=(turn * 7,)) for turn in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == sorted(names)


def test_nonce_secret_is_added_once_and_the_one_before_is_kept(state_url: str) -> None:
    """Of nodes that make the same number one wins; what is older than its predecessor goes."""
    with Store.open(state_url) as store, Store.open(state_url) as other:
        assert store.nonce_secrets() == []
        store.add_nonce_secret(1, "first", 100)
        other.add_nonce_secret(1, "too late", 101)
        assert other.nonce_secrets() == [(1, "first", 100)]
        store.add_nonce_secret(2, "second", 200)
        store.add_nonce_secret(3, "third", 300)
        assert [number for number, _, _ in store.nonce_secrets()] == [2, 3]


def test_expired_things_are_forgotten(state_url: str) -> None:
    """Old one-time values, answers, quota days and drawings go; what still counts stays."""
    clock = Clock()
    with Store.open(state_url, clock=clock) as store:
        now = int(clock.now)
        store.use_once("jti", "old", now)
        store.use_once("jti", "new", now + 100)
        with store.transaction() as tx:
            tx.remember_answer("key", "officer", "digest", 200, b"{}")
        store.lease_quota("g", date(2020, 1, 1), "calls", 1, 5)
        store.note_drawn("d", "s", "p", date(2020, 1, 1))
        assert store.forget_expired(now + 1) == 2, "a used value is known for longer than it is good"
        assert not store.use_once("jti", "old", now)
        assert store.forget_expired(now + KEPT_ONE_TIME_SECONDS + 1) == 1
        assert store.answer_of("key", "officer") is not None
        assert not store.use_once("jti", "new", now + 100)
        assert store.forget_expired(now + 24 * 3600) == 2
        assert store.answer_of("key", "officer") is None


def test_answer_is_remembered_for_its_officer(state_url: str) -> None:
    """An `Idempotency-Key` belongs to the officer who sent it."""
    with Store.open(state_url) as store:
        with store.transaction() as tx:
            tx.remember_answer("key", "zhang", "d1", 201, b'{"id": 1}')
            assert tx.answer_of("key", "zhang") == Answer("d1", 201, b'{"id": 1}')
        assert store.answer_of("key", "zhang") == Answer("d1", 201, b'{"id": 1}')
        assert store.answer_of("key", "li") is None


def test_quota_is_leased_to_its_limit_and_no_further(state_url: str) -> None:
    """Blocks taken by many processes never sum to more than the quota of the day."""
    with Store.open(state_url) as store, Store.open(state_url) as other:
        taken: list[int] = []

        def take(who: Store) -> None:
            while got := who.lease_quota("g", DAY, "calls", 7, 100):
                taken.append(got)

        threads = [threading.Thread(target=take, args=(who,)) for who in (store, other, store, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(taken) == 100
        assert store.lease_quota("g", DAY, "rows", 5, 100) == 5
        assert store.lease_quota("g", date(2026, 3, 3), "calls", 5, 100) == 5
        store.return_quota("g", DAY, "calls", 3)
        assert store.lease_quota("g", DAY, "calls", 7, 100) == 3


def test_shrunk_quota_leases_nothing_more(state_url: str) -> None:
    """A quota that a new version made smaller than what is drawn gives nothing, and never a negative block."""
    with Store.open(state_url) as store:
        assert store.lease_quota("g", DAY, "calls", 50, 100) == 50
        assert store.lease_quota("g", DAY, "calls", 50, 10) == 0


@given(asks=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 100)), max_size=12))
@settings(max_examples=50)
def test_leases_add_up(kept_sqlite: Store, asks: list[tuple[int, int]]) -> None:
    """Whatever is asked under whatever limits, the sum taken never passes the largest limit asked with."""
    used = 0
    for block, limit in asks:
        taken = kept_sqlite.lease_quota("sum", DAY, "calls", block, limit)
        assert taken == max(0, min(block, limit - used))
        used += taken
    kept_sqlite.return_quota("sum", DAY, "calls", used)


def test_nodes_beat_and_acknowledge(state_url: str) -> None:
    """A node's beat and acknowledgement never go back, and an ended node can be forgotten."""
    with Store.open(state_url) as store:
        store.beat("a", 1000.25)
        store.acknowledge("a", 7)
        store.acknowledge("b", 3)
        store.acknowledge("a", 5)
        store.beat("a", 999.0)
        assert store.acknowledged() == {"a": 7, "b": 3}
        assert [(node.id, node.beat_unix) for node in store.nodes()] == [("a", 1000.25), ("b", 0.0)]
        store.forget_node("b")
        assert list(store.acknowledged()) == ["a"]


def test_drawings_are_noted_once_a_day(state_url: str) -> None:
    """What a department has lately drawn, for convergence rules (Decree 809 Art. 25 ¶2)."""
    with Store.open(state_url) as store:
        for _ in range(2):
            store.note_drawn("d", "household", "p", DAY)
        store.note_drawn("d", "marriage", "p", date(2026, 3, 1))
        store.note_drawn("other", "household", "p", DAY)
        assert store.drawn("d", DAY) == (Drawn("household", "p", DAY),)
        assert len(store.drawn("d", date(2026, 1, 1))) == 2


def test_a_quota_of_which_too_little_is_left_is_not_touched(kept_sqlite: Store) -> None:
    """All of what is needed at least, or nothing."""
    assert kept_sqlite.lease_quota("least", DAY, "rows", 70, 100) == 70
    assert kept_sqlite.lease_quota("least", DAY, "rows", 40, 100, 31) == 0
    assert kept_sqlite.lease_quota("least", DAY, "rows", 40, 100, 30) == 30
