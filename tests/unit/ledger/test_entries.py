"""What a record says, as bytes: canonical, salted, and without values."""

import hashlib
import json
from datetime import date, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.calendar import CHINA
from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.texts import sealed
from gateway.domain.uses import Outcome, RecordKind, Use
from gateway.domain.verdicts import Call, Decision, Verdict
from gateway.ledger.journal.entries import Salts, UseEntries, act_entry, new_run, retain_until
from gateway.ledger.log.record_ids import started_unix
from tests.support.ledger import NOON_NS, City

WORDS = st.text(max_size=40)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


def canonical_by_another_hand(content: bytes) -> bytes:
    said = json.loads(content)
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def entries() -> UseEntries:
    return UseEntries(new_run(NOON_NS), Salts())


SAID = st.just("") | DIGESTS.map(lambda digest: sealed(f"{digest:0<64}"[:64]))
"""A caller's words, as a record may name them."""


@given(basis=WORDS, scenario=SAID, operator=SAID, subject=st.none() | WORDS, digest=DIGESTS, end=WORDS, purpose=SAID)
def test_entries_of_uses_are_canonical_json(basis, scenario, operator, subject, digest, end, purpose):
    """Whatever a caller declares, the bytes are the one canonical form of what they say."""
    city = City()
    like = city.use()
    call = Call("s", "d", Assurance.DPOP, "p/i", "x", SharingMode.QUERY, purpose, ("b", "a"))
    verdict = Verdict(Decision.PERMIT, "", ("p1",), "00", 9, grant="g", items=("姓名", "a"), legal_basis=basis)
    caller = Caller("s", "d", Assurance.DPOP, "jti", 0)
    use = Use(caller, call, verdict, "p", scenario, operator, like.trace_id, digest, subject, NOON_NS, purpose=purpose)
    made = entries()
    record, opened = made.opened(use)
    closed = made.closed(record, use, Outcome(200, ("姓名",), 1, 2, digest, 3, end), NOON_NS + 5)
    for content in (opened, closed, made.recovered(record, 3, NOON_NS), made.refused(use)[1]):
        assert content == canonical_by_another_hand(content)
    assert json.loads(opened)["id"] == json.loads(closed)["id"] == record


def test_no_values():
    """INVARIANT: NO-VALUES: of a constrained parameter the name is kept, and never the value."""
    use = City().use()
    call = Call(
        "s",
        "d",
        Assurance.DPOP,
        "p/i",
        "x",
        SharingMode.QUERY,
        "purpose",
        None,
        parameters=(("region", "MARKED-442000"),),
    )
    use = Use(
        use.caller, call, use.verdict, "p", "", "", use.trace_id, use.request_digest, None, NOON_NS, purpose="purpose"
    )
    _, content = entries().opened(use)
    assert b"MARKED" not in content
    assert json.loads(content)["use"]["parameters"] == ["region"]


def test_every_entry_has_a_salt_of_its_own():
    """No two entries share a salt, so that a guessed record cannot be confirmed by its hash."""
    contents = list(City().entries(600))
    salts = [json.loads(content)["salt"] for content in contents]
    assert len(set(salts)) == len(salts)
    assert all(len(salt) == 32 and bytes.fromhex(salt) for salt in salts)


@pytest.mark.parametrize(
    ("moment", "years", "until"),
    [
        (datetime(2026, 3, 1, 0, 30, tzinfo=CHINA), 3, date(2029, 3, 1)),
        (datetime(2024, 2, 29, 12, tzinfo=CHINA), 3, date(2027, 3, 1)),
        (datetime(2024, 2, 29, 12, tzinfo=CHINA), 4, date(2028, 2, 29)),
        (datetime(2026, 1, 1, 3, tzinfo=CHINA), 1, date(2029, 1, 1)),
        (datetime(2025, 12, 31, 23, 59, 59, tzinfo=CHINA), 5, date(2030, 12, 31)),
    ],
)
def test_retention_counts_calendar_years_and_never_fewer_than_three(moment, years, until):
    """Decree 809 Art. 29: three years by the calendar, in China's days, leap days to the first of March."""
    assert retain_until(int(moment.timestamp()) * 1_000_000_000, years) == until


def test_a_released_list_that_does_not_fit_is_counted():
    """An entry fits a bundle's 16-bit length, whatever the supplier's answer named."""
    use = City().use()
    outcome = Outcome(200, tuple(f"item_{n}" for n in range(20_000)), 1, 1, "", 1, "complete")
    content = entries().closed("r-1", use, outcome, NOON_NS)
    assert len(content) < 65_535
    assert json.loads(content)["items"] == counted_by_another_hand(outcome.released_items)


def counted_by_another_hand(names):
    listed = json.dumps(names, separators=(",", ":"), ensure_ascii=False).encode()
    return [f"({len(names)} items)", f"sha256:{hashlib.sha256(listed).hexdigest()}"]


@pytest.mark.parametrize("count", [5, 700, 1100, 1500, 20_000])
@pytest.mark.parametrize("are_named", [True, False])
def test_use_of_any_number_of_items_is_recorded(count, are_named):
    """What does not fit is counted and its digest kept, the longest list first; what fits stands as it is."""
    use = City().use()
    names = tuple(f"resident_population_item_{n:05d}" for n in range(count))
    call = msgspec.structs.replace(use.call, items=names if are_named else None)
    use = msgspec.structs.replace(use, call=call, verdict=msgspec.structs.replace(use.verdict, items=names))
    whole = len(json.dumps(names))
    for _, content in (entries().opened(use), entries().refused(use)):
        assert len(content) <= 65_535
        assert content == canonical_by_another_hand(content)
        said = json.loads(content)["use"]
        lists = [said[name] for name in ("asked", "items") if name in said]
        assert len(lists) == 1 + are_named
        assert all(each in (list(names), counted_by_another_hand(names)) for each in lists)
        assert (list(names) in lists) == (whole < 60_000)
        if whole * len(lists) < 55_000:
            assert lists == [list(names)] * len(lists)


def test_refusal_by_any_number_of_policies_is_recorded():
    """A refusal is on record too, whatever determined it."""
    use = City().refused()
    policies = tuple(f"zhongshan/order-{n}" for n in range(9000))
    use = msgspec.structs.replace(use, verdict=msgspec.structs.replace(use.verdict, policies=policies))
    _, content = entries().refused(use)
    assert json.loads(content)["use"]["policies"] == counted_by_another_hand(policies)


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"rate": 0.5}, "fractions"), ({"id": "x"}, "set by the ledger"), ({"text": "x" * 70_000}, "at most")],
)
def test_an_act_that_is_no_record_is_refused(fields, why):
    """Floats, reserved names and what is too long never reach the journal."""
    with pytest.raises(GatewayError, match=why):
        act_entry(RecordKind.GRANT, "r-1", fields, "00" * 16, NOON_NS, years=3)


def test_a_run_tells_when_it_began():
    """A record id names the writer's start, sortable by time."""
    early, late = new_run(NOON_NS), new_run(NOON_NS + 10**12)
    assert early < late
    assert started_unix(early) == NOON_NS // 10**9
    assert started_unix("run") == 0


def test_what_callers_say_at_length_is_rendered_and_not_kept() -> None:
    made, city = entries(), City()
    use = city.use()
    for number in range(20):
        items = tuple(f"item-{number}-{place}" for place in range(200))
        asked = msgspec.structs.replace(use, call=msgspec.structs.replace(use.call, items=items))
        record, opened = made.opened(asked)
        assert json.loads(opened)["use"]["asked"] == list(items)
        made.closed(record, asked, Outcome(200, items, 1, 2, "", 3, "complete"), NOON_NS)
    assert (len(made._constants), len(made._latest), len(made._items)) == (0, 0, 0)
    made.opened(use)
    assert len(made._constants) == 1
