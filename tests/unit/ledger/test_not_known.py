"""What is not known is not told as none: behind, damaged, set aside, pruned; and what is told says so."""

import json
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from gateway.domain.calendar import CHINA
from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.journal.entries import Salts, UseEntries, new_run
from gateway.ledger.process.answers import Answers
from gateway.ledger.process.horizon import EXPLAINED_SECONDS, Horizon
from gateway.ledger.process.service import LedgerService
from gateway.ledger.verify.record import verify_export
from tests.support.ledger import ORIGIN, City, TestSigner

NOON = datetime(2026, 3, 2, 12, tzinfo=CHINA)
NS = int(NOON.timestamp()) * 10**9
EVERYTHING = msgspec.to_builtins(RecordQuery())


def opened(folder):
    return LedgerService(
        folder / "ledger", origin=ORIGIN, signer=TestSigner(), clock=NOON.timestamp, memory_bytes=256 << 20
    )


def uses(count, **use_fields):
    """Entries of finished uses, and their ids."""
    city, made = City(), UseEntries(new_run(NS), Salts())
    entries, records = [], []
    for _ in range(count):
        use = city.use(NS, kind=0, **use_fields)
        record, opening = made.opened(use)
        entries += [opening, made.closed(record, use, city.outcome(use), NS)]
        records.append(record)
    return entries, records


def ask(service, op, folder, **args):
    answers = Answers(service)
    args = {"query": EVERYTHING, "by": "day", "format": "ndjson", "path": str(folder / "x.ndjson"), **args}
    return getattr(answers, op)(args, lambda _done, _of: None)


def test_what_was_durable_two_seconds_ago_is_owed():
    """Later entries may be on their way; those of the start are owed from the first answer on."""
    now = [0.0]
    horizon = Horizon(7, lambda: now[0])
    horizon.note(lambda: 10)
    assert horizon.owed() == 7
    now[0] = EXPLAINED_SECONDS - 0.01
    horizon.note(lambda: 20)
    assert horizon.owed() == 7
    now[0] = EXPLAINED_SECONDS
    assert horizon.owed() == 10
    now[0] = 2 * EXPLAINED_SECONDS
    assert horizon.owed() == 20


ASKING = {"find", "stats", "export", "show", "prove", "unnamed"}
OF_THE_LOG = {"checkpoint", "cosigned", "minimum_index", "tile", "status", "plan_retention", "apply_retention"}
"""Answered from the log, the journals or how the service stands, and never from the index."""


def test_every_question_is_told_apart():
    """A new question refuses where the index is behind, or is one that does not ask it."""
    asked = {name for name in vars(Answers) if not name.startswith("_")}
    assert asked == ASKING | OF_THE_LOG


def test_nobody_is_told_that_a_use_is_open_whose_end_is_not_known_yet(tmp_path):
    """The opening is known and the closing, which is durable, is not: no record is shown without its end."""
    entries, records = uses(300)
    service = opened(tmp_path)
    service.log.commit(entries[:599], {})
    service.close()
    service = opened(tmp_path)
    service.index.add(entries[:101])
    for op, part in (("show", "opened"), ("prove", "opened"), ("prove", "closed")):
        with pytest.raises(GatewayError, match="records-incomplete: the index knows 101 of 599 leaves"):
            ask(service, op, tmp_path, record=records[50], part=part)
    shown = ask(service, "show", tmp_path, record=records[49])
    assert (shown.last, shown.knows.until, shown.knows.owed) == (99, 101, 599)
    service.prepare()
    assert ask(service, "show", tmp_path, record=records[50]).last == 101
    # The last one's use is open, and that is known.
    shown = ask(service, "show", tmp_path, record=records[299])
    assert (shown.last, shown.knows.until) == (None, 599)
    with pytest.raises(GatewayError, match="not-found"):
        ask(service, "prove", tmp_path, record=records[299], part="closed")
    service.close()


@pytest.mark.parametrize("op", sorted(ASKING))
def test_an_index_that_is_behind_refuses_and_a_part_says_that_it_is_one(tmp_path, op):
    """No question is answered from a part, unless a part is asked for; then file, manifest and answer say so."""
    entries, records = uses(300)
    service = opened(tmp_path)
    service.log.commit(entries, {})
    service.close()
    service = opened(tmp_path)
    service.index.add(entries[:200])
    with pytest.raises(GatewayError, match="records-incomplete: the index knows 200 of 600 leaves"):
        ask(service, op, tmp_path, record=records[250])
    if op in {"find", "stats"}:
        answer = ask(service, op, tmp_path, allow_partial=True)
        assert (answer.knows.until, answer.knows.owed, answer.knows.is_whole) == (200, 600, False)
    elif op == "export":
        made = ask(service, op, tmp_path, allow_partial=True)
        assert (made.size, made.partial_of, made.records) == (200, 600, 100)
        told = verify_export(tmp_path / "x.ndjson", service.log.key.text()).not_checked
        assert "it is a part: 200 of 600 leaves were looked into" in told
        (tmp_path / "x.ndjson").unlink()
        (tmp_path / "x.ndjson.manifest").unlink()
    service.prepare()
    whole = ask(service, op, tmp_path, record=records[250])
    if op in {"find", "stats"}:
        assert whole.knows.is_whole
    if op == "export":
        assert (whole.records, whole.partial_of) == (300, None)
        assert "partial_of" not in (tmp_path / "x.ndjson.manifest").read_text()
    service.close()


def test_records_in_a_journal_at_the_start_are_owed(tmp_path):
    """What was durable before the process began is not "none" until it has been taken in."""
    service = opened(tmp_path)
    service._acts.append(RecordKind.CONSULTATION, {"act": "consultRecords"})
    service.close()
    service = opened(tmp_path)
    with pytest.raises(GatewayError, match="records-incomplete: the index knows 0 of 1 leaves"):
        ask(service, "find", tmp_path)
    service.prepare()
    while service.step():
        pass
    assert len(ask(service, "find", tmp_path).rows) == 1
    service.close()


def other(entry, **fields):
    return json.dumps({**json.loads(entry), **fields}, separators=(",", ":")).encode()


POISON = {
    "a negative duration": lambda entry: other(entry, duration_us=-1_000_000),
    "more bytes than a number holds": lambda entry: other(entry, bytes=2**70),
    "a status that is none": lambda entry: other(entry, status=-1),
    "a time before all time": lambda entry: other(entry, time=-(2**62)),
    "a time beyond the calendar": lambda entry: other(entry, time=2**62 * 1000),
    "no time": lambda entry: other(entry, time="noon"),
    "no id": lambda entry: other(entry, id=None),
    "an id that is none": lambda entry: other(entry, id="r-99999999999999999999999"),
    "an unknown shape": lambda _entry: b"[1,2,3]",
    "no JSON": lambda _entry: b'{"v":1,"kind":"use.closed"',
    "no text": lambda _entry: b"\xff\xfe\x00",
    "nothing": lambda _entry: b"",
    "nested without end": lambda _entry: b"[" * 60_000,
}


@pytest.mark.parametrize("poison", POISON)
def test_an_entry_that_the_index_cannot_take_stops_nothing(tmp_path, poison):
    """It is set aside with its leaf and counted, after a restart and a rebuild too; every other record is found."""
    entries, records = uses(300)
    entries[101] = POISON[poison](entries[101])
    service = opened(tmp_path)
    service.log.commit(entries, {})
    for _ in ("as it comes", "rebuilt"):
        service.prepare()
        assert [each.leaf for each in service.status().set_aside] == [101]
        page = ask(service, "find", tmp_path, limit=1000)
        assert (page.knows.is_whole, page.knows.set_aside) == (True, 1)
        assert {row.record for row in page.rows} >= set(records) - {records[50]}
        # The use itself is found by its opening; how it ended stands in the log alone.
        shown = ask(service, "show", tmp_path, record=records[50])
        assert shown.leaf == 100
        service.index.flush()
        service.close()
        service = opened(tmp_path)
        assert [each.leaf for each in service.status().set_aside] == [101]
        service.index.close()
        service.close()
        for path in sorted((tmp_path / "ledger" / "index").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        service = opened(tmp_path)
    service.close()


def damage(folder: Path, entry: bytes) -> None:
    """Write the log's bundles anew with one entry changed, as a disk or a hand does that knows the form."""
    from gateway.ledger.log import at_rest  # noqa: PLC0415 - the form at rest is this test's alone

    for path in (folder / "ledger" / "tree" / "tile" / "entries").rglob("*"):
        if path.suffix in {".sgb", ".pack"}:
            bundles = at_rest.decode(path.read_bytes(), str(path))
            changed = [bundle.replace(entry, entry[:-1] + b" ") for bundle in bundles]
            if changed != bundles:
                path.write_bytes(at_rest.encode(changed, at_rest.LOOSE_LEVEL))
                return
    raise AssertionError("the entry stands in no bundle")


def test_a_damaged_bundle_is_no_answer(tmp_path):
    """An entry whose hash is not the log's is shown and proven to nobody; a rebuilt index says what is missing."""
    entries, records = uses(300)
    service = opened(tmp_path)
    service.log.commit(entries[:512], {})
    service.log.commit(entries[512:], {})  # a start puts the last commit in place again, from what was signed
    service.prepare()
    service.index.flush()
    service.close()
    damage(tmp_path, entries[100])
    service = opened(tmp_path)
    for op in ("show", "prove", "export"):
        with pytest.raises(GatewayError, match="conflict"):
            ask(service, op, tmp_path, record=records[50])
    assert not (tmp_path / "x.ndjson").exists()
    service.close()
    for path in sorted((tmp_path / "ledger" / "index").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    service = opened(tmp_path)
    service.prepare()
    (aside,) = service.status().set_aside
    assert (aside.leaf, aside.count, aside.is_unreadable) == (0, 256, True)
    for op in ("find", "stats", "export", "show"):
        with pytest.raises(GatewayError, match="records-incomplete: 256 leaves could not be read"):
            ask(service, op, tmp_path, record=records[50])
    page = ask(service, "find", tmp_path, limit=1000, allow_partial=True)
    assert page.knows.set_aside == 256
    assert {row.record for row in page.rows} >= set(records[128:])
    service.close()


def test_a_proof_that_does_not_hold_is_not_handed_out(tmp_path):
    """The ledger checks its own proof: a tile that was changed makes a refusal here and no surprise elsewhere."""
    entries, records = uses(300)
    service = opened(tmp_path)
    service.log.commit(entries, {})
    service.prepare()
    ask(service, "prove", tmp_path, record=records[0])
    tile = next((tmp_path / "ledger" / "tree" / "tile" / "0").rglob("000"))
    content = bytearray(tile.read_bytes())
    content[-1] ^= 1
    tile.write_bytes(content)
    with pytest.raises(GatewayError):
        ask(service, "prove", tmp_path, record=records[0])
    service.close()
