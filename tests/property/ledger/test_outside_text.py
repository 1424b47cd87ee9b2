"""Text from outside, whatever it says: it is understood, or refused as a `GatewayError`, and nothing else leaves."""

import base64
import contextlib
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.ledger.index.queries import RecordQuery, days_of, encode_cursor, parse_cursor
from gateway.ledger.log.checkpoints import parse_checkpoint
from gateway.ledger.log.decimals import MAX_NUMBER, parse_decimal
from gateway.ledger.log.notes import ED25519, VerifierKey, parse_note, parse_verifier_key, sign_note
from gateway.ledger.log.proofs import parse_proof
from gateway.ledger.log.record_ids import parse_record_id
from gateway.ledger.log.tiles import parse_tile_path
from gateway.ledger.verify.record import verify_record
from gateway.ledger.witness.witness import Witness, parse_request
from tests.support.ledger import ORIGIN, TestSigner, open_ledger

KEY = VerifierKey(ORIGIN, ED25519, TestSigner().public_bytes)
HASH = base64.b64encode(bytes(32)).decode()
SIGNATURE = sign_note("x\n", ORIGIN, TestSigner()).signatures[0].line()

numbers = st.one_of(
    st.integers().map(str),
    st.integers(0, 1 << 65).map(str),
    st.integers(4301, 6000).map("9".__mul__),
    st.sampled_from(["", "0", "00", "01", "+1", "1_0", " 1", "1\n", "٣", "²", str(MAX_NUMBER), str(MAX_NUMBER + 1)]),
)
words = st.one_of(numbers, st.text(max_size=40), st.just(HASH), st.just(ORIGIN))


def among(*forms: str) -> st.SearchStrategy[str]:
    """Texts of these forms, each `{}` filled with a word."""
    return st.sampled_from(forms).flatmap(
        lambda form: st.tuples(*[words] * form.count("{}")).map(lambda said: form.format(*said))
    )


checkpoints = among(f"{ORIGIN}\n{{}}\n{HASH}\n", "{}\n{}\n{}\n", "{}\n{}")
notes = checkpoints.map(lambda text: f"{text}\n{SIGNATURE}")
signed = checkpoints.map(lambda text: sign_note(text, ORIGIN, TestSigner()).encode())
requests = st.tuples(among("old {}", f"old 0\n{HASH}", "{}", "old {}\n{}"), st.one_of(notes, signed)).map("\n\n".join)
proofs = st.tuples(
    among("index {}", f"extra e30=\nindex {{}}\n{HASH}", "extra {}\nindex {}", "{}"), st.one_of(notes, signed)
).map(lambda parts: "c2sp.org/tlog-proof@v1\n" + "\n\n".join(parts))
cursors = st.one_of(
    st.text(max_size=60),
    among("{}.{}", "{}").map(lambda said: base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")),
)


def refused_or_not(work) -> None:
    """Nothing but a `GatewayError` leaves `work`."""
    with contextlib.suppress(GatewayError):
        work()


@given(st.integers(0, MAX_NUMBER))
def test_numbers_come_back(number: int) -> None:
    """Digit for digit, to the last that SQLite and DuckDB can hold."""
    assert parse_decimal(str(number)) == number


@pytest.mark.parametrize(
    "text", ["", "00", "01", "-1", "+1", "1_0", " 1", "1\n", "٣", "²", str(MAX_NUMBER + 1), "9" * 5000]
)
def test_any_other_spelling_is_no_number(text: str) -> None:
    """One meaning: a number has one spelling."""
    with pytest.raises(ValueError, match="not a number"):
        parse_decimal(text)


@given(st.one_of(checkpoints, st.text()))
def test_checkpoints(text: str) -> None:
    """tlog-checkpoint."""
    refused_or_not(lambda: parse_checkpoint(text))


@given(st.one_of(st.binary(max_size=300), st.one_of(notes, signed).map(str.encode)))
def test_notes(content: bytes) -> None:
    """signed-note."""
    refused_or_not(lambda: parse_note(content))


@given(st.one_of(st.text(), among("{}+{}+{}")))
def test_verifier_keys(text: str) -> None:
    """Verifier keys."""
    refused_or_not(lambda: parse_verifier_key(text))


@given(st.one_of(st.binary(max_size=300), proofs.map(str.encode)))
def test_proofs(content: bytes) -> None:
    """tlog-proof, parsed and verified."""
    refused_or_not(lambda: parse_proof(content))
    refused_or_not(lambda: verify_record(content, KEY.text()))


@given(st.one_of(st.text(), among("tile/{}/{}", "tile/0/x{}/{}.p/{}", "tile/entries/{}", "tile/{}/000")))
def test_tile_paths(path: str) -> None:
    """tlog-tiles, also with thousands of groups of digits."""
    refused_or_not(lambda: parse_tile_path(path))
    refused_or_not(lambda: parse_tile_path("tile/0/" + "x999/" * 2000 + "999"))


@given(st.one_of(st.text(), among("{}-{}", "vvvvvvvv-{}", "0000000aaaaa-{}")))
def test_record_ids(record: str) -> None:
    """Record ids, also of runs that began after the end of time."""
    refused_or_not(lambda: parse_record_id(record))


@given(st.one_of(st.none(), st.integers()), st.one_of(st.none(), st.integers()))
def test_times(from_unix: int | None, until_unix: int | None) -> None:
    """Seconds that are on no calendar."""
    refused_or_not(lambda: days_of(RecordQuery(from_unix=from_unix, until_unix=until_unix)))


@pytest.mark.parametrize("year", [1970, 2026, 9999])
def test_times_that_are_on_the_calendar_have_their_day(year: int) -> None:
    """The bounds themselves are taken."""
    moment = int(datetime(year, 12, 31, tzinfo=UTC).timestamp())
    assert [day.year for day in days_of(RecordQuery(from_unix=moment, until_unix=moment)) if day] == [year, year]


@given(cursors)
def test_cursors(cursor: str) -> None:
    """A forged cursor."""
    refused_or_not(lambda: parse_cursor(cursor))


@given(st.integers(0, MAX_NUMBER), st.integers(0, MAX_NUMBER))
def test_cursors_come_back(leaf: int, size: int) -> None:
    """What is given out is taken again."""
    assert parse_cursor(encode_cursor(leaf, size)) == (leaf, size)


@given(st.one_of(st.binary(max_size=300), requests.map(str.encode)))
def test_requests_to_a_witness(content: bytes) -> None:
    """tlog-witness."""
    refused_or_not(lambda: parse_request(content))


def test_a_witness_answers_everything(tmp_path) -> None:
    """Public and without a credential: every body has an answer of the protocol's."""
    witness = Witness(
        tmp_path / "w.db", name="w.example/x", signer=TestSigner(bytes([7]) * 32), logs={ORIGIN: [KEY]}, clock=time.time
    )

    @given(st.one_of(st.binary(max_size=300), requests.map(str.encode)))
    def story(content: bytes) -> None:
        assert witness.add_checkpoint(content).status in {200, 400, 403, 404, 409, 422}

    story()
    witness.close()


def test_an_index_answers_or_refuses(tmp_path) -> None:
    """Cursors, ids and times that parse reach the database, and it has no more to say."""
    service = open_ledger(tmp_path / "ledger")

    @given(cursors, among("{}-{}", "vvvvvvvv-{}"), st.one_of(st.none(), st.integers()))
    def story(cursor: str, record: str, moment: int | None) -> None:
        refused_or_not(lambda: service.index.find(RecordQuery(), cursor, 10))
        refused_or_not(lambda: service.index.find(RecordQuery(from_unix=moment), None, 10))
        refused_or_not(lambda: service.index.locate(record))

    story()
    service.close()
