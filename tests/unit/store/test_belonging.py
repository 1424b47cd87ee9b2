"""A state that was put back is held to the log: whatever an act withdrew is withdrawn again, on both databases."""

import time
from datetime import date
from pathlib import Path

import pytest

from gateway.domain.grants import GrantState
from gateway.domain.officers import Officer, Role
from gateway.domain.uses import RecordKind
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.journal.entries import act_entry
from gateway.ledger.log.tiled_log import TiledLog
from gateway.runtime.start.reconciling import reconcile, settle
from gateway.store import KnownLog, Store
from gateway.store.texts import NewText, StoredText
from tests.support.ledger import ORIGIN, TestSigner
from tests.support.state import fill, grant

RECORD = "0123456789ab-7"

SCOPES = {
    "a grant": ({"kind": "grant", "grant": "g-1", "department": "civil-affairs"}, ("grant", "g-1")),
    "a system": (
        {"kind": "system", "system": "marriage-desk", "department": "civil-affairs"},
        ("system", "marriage-desk"),
    ),
    "an entry": ({"kind": "entry", "dataset": "household", "supplier": "public-security"}, ("dataset", "household")),
    "an interface": ({"kind": "interface", "dataset": "household"}, ("dataset", "household")),
    "a department": ({"kind": "department", "department": "civil-affairs"}, ("department", "civil-affairs")),
    "a supplier": ({"kind": "order", "supplier": "public-security"}, ("supplier", "public-security")),
    "policies": ({"kind": "everything"}, ("supplier", "public-security")),
    "a key": ({"kind": "key", "subject": "token"}, ("supplier", "public-security")),
    "what is not there": ({"kind": "grant", "grant": "g-later"}, None),
}


@pytest.fixture
def store(state_url: str) -> Store:
    with Store.open(state_url) as opened:
        fill(opened)
        with opened.transaction() as tx:
            if tx.grant("g-1") is None:
                tx.insert_grant(grant("g-1"))
        yield opened  # type: ignore[misc]


def logged(ledger: Path, *acts: tuple[str, dict[str, object]]) -> None:
    """A log that holds these acts' records."""
    log = TiledLog(ledger, ORIGIN, TestSigner())
    kept = []
    for record, fields in acts:
        kind = RecordKind(str(fields.pop("kind", "order")))
        kept.append(act_entry(kind, record, {"position": 0, **fields}, "00" * 16, time.time_ns(), years=3))
    log.commit(kept, {})
    log.close()


@pytest.mark.parametrize("name", SCOPES)
def test_what_a_lost_act_withdrew_is_held_until_it_is_lifted(store: Store, tmp_path: Path, name: str) -> None:
    """Each reach by an order of its own, once; a state that was not put back gets a void record instead."""
    scope, expected = SCOPES[name]
    logged(tmp_path, (RECORD, {"act": "suspend", "officer": "lin", "withdraws": [scope]}))
    acts = ActJournal(tmp_path, "control", clock_ns=time.time_ns)
    try:
        found = reconcile(store, acts, tmp_path, ORIGIN, str, put_back=True)
        assert [each.record for each in found.differences] == [RECORD]
        orders = [store.order(id_) for id_ in found.differences[0].orders]
        assert [(o.reach.value, o.target) for o in orders if o] == ([expected] if expected else [])
        assert all(o is not None and o.is_in_force for o in orders)
        if name == "a grant":
            held = store.grant("g-1")
            assert held is not None
            assert held.state is GrantState.SUSPENDED
        assert reconcile(store, acts, tmp_path, ORIGIN, str, put_back=True).differences == ()
        assert len(store.differences()) == 1
    finally:
        acts.close()


def test_what_a_lost_act_erased_is_erased_again(store: Store, tmp_path: Path) -> None:
    """A backup from before an erasure is no way back to the text; one that was not put back keeps what stood."""
    wanted = NewText("m" * 64, "w" * 64, "marriage-desk", "civil-affairs", 3, lambda: ("d" * 64, "sealed"))
    store.keep_texts([wanted], date(2026, 1, 1), 9)
    logged(tmp_path, (RECORD, {"act": "eraseTexts", "kind": "erasure", "officer": "lin", "erases": ["d" * 64]}))
    acts = ActJournal(tmp_path, "control", clock_ns=time.time_ns)
    try:
        found = reconcile(store, acts, tmp_path, ORIGIN, str, put_back=True)
        assert [(each.record, each.outcome, each.orders) for each in found.differences] == [(RECORD, "held", ())]
        assert store.texts(["d" * 64]) == {"d" * 64: StoredText("d" * 64, erased=RECORD)}
        assert reconcile(store, acts, tmp_path, ORIGIN, str, put_back=True).differences == ()
    finally:
        acts.close()


def test_record_of_an_act_that_never_stood_is_voided_once(store: Store, tmp_path: Path) -> None:
    """Noted acts are left alone; one that was voided is not voided again."""
    logged(tmp_path, (RECORD, {"act": "suspend"}), ("0123456789ab-8", {"act": "lift"}))
    with store.transaction() as tx:
        tx.note_acts(["0123456789ab-8"])
        tx.know_log(KnownLog(ORIGIN, 0, bytes(32), 0))
    acts = ActJournal(tmp_path, "control", clock_ns=time.time_ns)
    try:
        assert reconcile(store, acts, tmp_path, ORIGIN, str, put_back=False).voided == (RECORD,)
        assert reconcile(store, acts, tmp_path, ORIGIN, str, put_back=False).voided == ()
    finally:
        acts.close()


def test_officer_dismissed_since_is_dismissed_again(store: Store, tmp_path: Path) -> None:
    """Their powers are no change of the feed: the record says what they were brought to."""
    with store.transaction() as tx:
        tx.put_officer(Officer("gone", "civil-affairs", "442000", (Role.DEMAND,)))
    fields = {"kind": "directory", "act": "manageOfficers", "of": "gone", "state": "dismissed", "roles": ["demand"]}
    logged(tmp_path, (RECORD, fields))
    acts = ActJournal(tmp_path, "control", clock_ns=time.time_ns)
    try:
        reconcile(store, acts, tmp_path, ORIGIN, str, put_back=True)
    finally:
        acts.close()
    found = store.officer("gone")
    assert found is not None
    assert not found.active


def test_state_keeps_the_largest_checkpoint_and_never_a_smaller_one(store: Store, tmp_path: Path) -> None:
    """What it knows is what a log is refused by."""
    logged(tmp_path, *((f"0123456789ab-{n}", {"act": "x"}) for n in range(1, 6)))
    settle(store, tmp_path, ORIGIN)
    known = store.known_log(ORIGIN)
    assert known is not None
    assert (known.size, known.settled) == (5, 5)
    with store.transaction() as tx:
        tx.know_log(KnownLog(ORIGIN, 3, bytes(32), 3))
    assert store.known_log(ORIGIN) == known
    with store.transaction() as tx:
        tx.check_in("home", "one")
        tx.check_in("home", "two")
    home = store.known_home("home")
    assert home is not None
    assert (home.incarnation, home.restored) == ("two", False)
