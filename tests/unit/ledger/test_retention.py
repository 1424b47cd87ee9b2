"""Retention: nothing before its time, everything of what goes, and the log still proves what stood there."""

import asyncio
import json
import shutil
import sqlite3
import threading
from array import array
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.calendar import CHINA, first_moment, has_ended
from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.domain.verdicts import Explanation, NearMiss
from gateway.ledger.index import exports
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.journal import writer as writer_module
from gateway.ledger.journal.entries import Salts, UseEntries, act_entry, china_day, new_run, retain_until
from gateway.ledger.journal.marks import segment_paths
from gateway.ledger.journal.writer import JournalWriter
from gateway.ledger.log import at_rest
from gateway.ledger.log.checkpoints import parse_checkpoint
from gateway.ledger.log.kept import Kept
from gateway.ledger.log.minimum import minimum_index
from gateway.ledger.log.notes import parse_note
from gateway.ledger.log.proofs import Hashes, verify_consistency
from gateway.ledger.process.service import LedgerService
from gateway.ledger.retention.retention import Holds, Pruning, begin_pruning
from gateway.ledger.verify.record import VerificationFailed, verify_export, verify_log, verify_record
from gateway.ledger.witness import mirror as mirroring
from gateway.ledger.witness.mirror import mirror_log
from tests.bench.ledger_decade import decade
from tests.support.gateways import wait_for
from tests.support.ledger import ORIGIN, City, TestSigner, open_ledger

RELEASED = City().released
"""Every grant of the city was disposed of long ago."""


class Clock:
    """A clock that stands where it is set."""

    def __init__(self, moment):
        self.now = moment.timestamp()

    def __call__(self):
        return self.now

    def set(self, moment):
        self.now = moment.timestamp()


def ns(moment):
    return int(moment.timestamp()) * 10**9


def open_at(directory, clock):
    return LedgerService(
        directory / "ledger",
        origin=ORIGIN,
        signer=TestSigner(),
        clock=clock,
        ticks=clock,
        exports=directory / "exports",
        memory_bytes=256 << 20,
    )


def fill(service, moments, *, kind=0, per_moment=400):
    """Uses at each of `moments`, all of one grant."""
    city, made = City(), UseEntries(new_run(ns(moments[0])), Salts())
    for moment in moments:
        entries = []
        for _ in range(per_moment):
            use = city.use(ns(moment), kind=kind)
            record, opened = made.opened(use)
            entries += [opened, made.closed(record, use, city.outcome(use), ns(moment))]
        service.log.commit(entries, {})
        service.index.add(entries)


def apply(service, holds=RELEASED):
    """Plan and apply while the service is at work."""
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        return service.apply_retention(service.plan_retention(holds), holds, "officer-1")
    finally:
        stop.set()
        thread.join()


def prunes(service):
    """What the log says of prunes, in order."""
    size = service.log.size
    first = minimum_index(service.log.files.root)
    entries = (json.loads(service.log.files.entry(leaf, size)) for leaf in range(first, size))
    return [entry for entry in entries if entry["kind"] == "prune"]


def ask_to_show(service, record):
    """As the socket asks."""
    from gateway.ledger.process.answers import Answers  # noqa: PLC0415 - here alone

    return Answers(service).show({"record": record}, lambda _done, _of: None)


LEAP = datetime(2024, 2, 29, 12, tzinfo=CHINA)
LATER = datetime(2024, 6, 1, 12, tzinfo=CHINA)


@given(st.dates(date(2020, 1, 1), date(2035, 12, 31)), st.times(), st.integers(0, 5))
def test_a_record_stays_until_the_end_of_its_last_day(began, at, years):
    """Civil Code Art. 201 to 203: the day of the event is not counted, and the last day counts until its 24:00."""
    moment = ns(datetime.combine(began, at, CHINA))
    last = retain_until(moment, years)
    whole_years = max(3, years)
    assert (last.year - began.year, (last.month, last.day)) == (
        whole_years,
        (3, 1) if (began.month, began.day) == (2, 29) and last.year % 4 else (began.month, began.day),
    )
    midnight = ns(first_moment(last + timedelta(days=1)))
    assert not has_ended(last, china_day(midnight - 1))
    assert has_ended(last, china_day(midnight))


@pytest.mark.parametrize(
    ("today", "goes"),
    [
        (datetime(2027, 3, 1, 23, 59, 59, tzinfo=CHINA), 0),
        (datetime(2027, 3, 1, 16, 0, tzinfo=UTC), 768),
        (datetime(2027, 3, 2, 0, 0, tzinfo=CHINA), 768),
        (datetime(2027, 6, 1, 23, 59, 59, tzinfo=CHINA), 768),
        (datetime(2027, 6, 2, 0, 0, tzinfo=CHINA), 1536),
    ],
)
def test_nothing_goes_before_three_calendar_years(tmp_path, today, goes):
    """Decree 809 Art. 29: by the calendar, in China's days, leap days too; whole bundles alone."""
    service = open_at(tmp_path, Clock(today))
    fill(service, [LEAP, LATER])
    plan = service.plan_retention(RELEASED)
    assert (plan.first, plan.end, plan.entries) == (0, goes, goes)
    service.close()


def test_a_closing_from_after_the_clock_went_back_lets_its_opening_go(tmp_path):
    """The closing lies in a bundle that stays, and on a day before its writer's first: it is found all the same."""
    service = open_at(tmp_path, Clock(LATER.replace(year=2027, day=2)))
    city, made = City(), UseEntries(new_run(ns(LATER)), Salts())
    use = city.use(ns(LEAP), kind=0)
    record, opened = made.opened(use)
    acts = [
        act_entry(RecordKind.EFFECT, f"r-{n}", {"grant": "G-0000"}, "00" * 16, ns(LEAP), years=4 if n == 300 else 3)
        for n in range(510)
    ]
    entries = [opened, *acts[:300], made.closed(record, use, city.outcome(use), ns(LEAP)), *acts[300:]]
    service.log.commit(entries, {})
    service.index.add(entries)
    service.index.flush()
    plan = service.plan_retention(RELEASED)
    assert (plan.end, plan.entries, plan.kept) == (512, 511, 1)
    service.close()


def test_a_longer_rule_keeps_longer(tmp_path):
    """A dataset's own retention, above three years, holds."""
    service = open_at(tmp_path, Clock(datetime(2028, 1, 1, tzinfo=CHINA)))
    entries = [
        act_entry(RecordKind.EFFECT, f"r-{n}", {"grant": "G-0000"}, "00" * 16, ns(LEAP), years=4 if n == 300 else 3)
        for n in range(600)
    ]
    service.log.commit(entries, {})
    plan = service.plan_retention(RELEASED)
    assert (plan.end, plan.entries, plan.kept) == (512, 511, 1)
    assert plan.kept_for == ("1 until the end of 2028-02-29",)
    service.close()


@pytest.mark.parametrize(
    ("holds", "goes"),
    [
        (Holds(released=frozenset({"G-0000"})), 768),
        (Holds(released=frozenset({"G-0000"}), disputed=frozenset({"G-0009"})), 768),
        (Holds(released=frozenset({"G-0000"}), disputed=frozenset({"G-0000"})), 0),
        (Holds(released=frozenset({"G-0009"})), 0),
        (Holds(), 0),
    ],
)
def test_holds_keep_a_grant_s_records(tmp_path, holds, goes):
    """Three years after its disposal a grant's records may go, unless it is disputed; other grants do not matter."""
    service = open_at(tmp_path, Clock(datetime(2027, 3, 2, tzinfo=CHINA)))
    fill(service, [LEAP])
    assert service.plan_retention(holds).end == goes
    service.close()


@pytest.mark.parametrize(
    ("holds", "goes"),
    [
        (Holds(disputed=frozenset({"G-0001"})), 0),
        (Holds(disputed=frozenset({"G-0002"})), 0),
        (Holds(disputed=frozenset({"G-0009"})), 256),
        (Holds(), 256),
    ],
)
def test_a_dispute_holds_the_attempts_that_came_near_its_grant(tmp_path, holds, goes):
    """A refusal is evidence of misuse of any grant it names; that one of them still stands does not hold it."""
    service = open_at(tmp_path, Clock(datetime(2027, 3, 2, tzinfo=CHINA)))
    refused = City().refused(ns(LEAP))
    near = tuple(NearMiss(grant, ("purpose",), ("809-25-1",)) for grant in ("G-0001", "G-0002"))
    verdict = msgspec.structs.replace(refused.verdict, explanation=Explanation(near=near))
    made = UseEntries(new_run(ns(LEAP)), Salts())
    attempt = msgspec.structs.replace(refused, verdict=verdict)
    service.log.commit([made.refused(attempt)[1] for _ in range(256)], {})
    plan = service.plan_retention(holds)
    assert plan.end == goes
    assert goes or "near grant G-000" in plan.stopped_by
    service.close()


def test_a_use_s_clock_starts_when_it_closed(tmp_path):
    """The opening of a use stays until its closing may go, however long it ran."""
    service = open_at(tmp_path, Clock(datetime(2027, 3, 2, tzinfo=CHINA)))
    city, made = City(), UseEntries(new_run(ns(LEAP)), Salts())
    use = city.use(ns(LEAP))
    record, opened = made.opened(use)
    others = []
    for _ in range(400):
        other = city.use(ns(LEAP))
        name, content = made.opened(other)
        others += [content, made.closed(name, other, city.outcome(other), ns(LEAP))]
    entries = [*others[:600], opened, *others[600:], made.closed(record, use, city.outcome(use), ns(LATER))]
    service.log.commit(entries, {})
    service.index.add(entries)
    plan = service.plan_retention(RELEASED)
    assert (plan.end, plan.entries, plan.kept) == (768, 767, 1)
    assert plan.kept_for == ("1 of a use that is open, or whose closing is not past its time",)
    service.close()


def test_log_verifies_and_is_mirrored_while_it_is_pruned(tmp_path, monkeypatch):
    """The checkpoint that was read does not yet hold the record of a prune whose bundles are gone already."""
    clock = Clock(datetime(2024, 6, 2, tzinfo=CHINA))
    service = open_at(tmp_path, clock)
    service.prepare()
    fill(service, [LEAP], per_moment=700)
    fill(service, [LATER], per_moment=200)
    service.index.flush()
    tree, mirror, key = tmp_path / "ledger" / "tree", tmp_path / "mirror", service.log.key.text()
    mirror_log(tree, mirror)
    read, due = Path.read_bytes, []

    def read_and_prune(path):
        content = read(path)
        if due and path == tree / "checkpoint":
            clock.set(due.pop())
            apply(service)
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_prune)
    due.append(datetime(2027, 3, 3, tzinfo=CHINA))
    assert any("were pruned" in each for each in verify_log(tmp_path / "ledger", key).checked)
    due.append(datetime(2027, 6, 3, tzinfo=CHINA))
    mirror_log(tree, mirror)
    assert not due
    assert verify_log(mirror, key).size == service.log.size
    assert minimum_index(mirror) == minimum_index(tree) > 1400
    service.close()


def test_what_goes_goes_everywhere_and_the_log_still_proves(tmp_path):
    """Bundles, rows and exports go, on record; hash tiles, older proofs and what is kept stand."""
    clock = Clock(datetime(2024, 6, 2, tzinfo=CHINA))
    service = open_at(tmp_path, clock)
    service.prepare()
    fill(service, [LEAP], per_moment=2500)
    older = service.log.note
    fill(service, [LATER], per_moment=100)
    service.index.flush()
    kept_record = service.index.find(RecordQuery(), None, 1).rows[0].record
    gone_record = json.loads(service.log.files.entry(0, service.log.size))["id"]
    (tmp_path / "exports").mkdir()
    client_exports(service, tmp_path)
    key = service.log.key.text()

    clock.set(datetime(2027, 3, 3, tzinfo=CHINA))
    pruned = apply(service)
    assert (pruned.first, pruned.end) == (0, 4864)
    assert minimum_index(service.log.files.root) == 4864
    assert pruned.freed_bytes > 0
    for n in range(4864 // 256):
        with pytest.raises(GatewayError, match="not-found"):
            service.log.files.bundle(n)
        assert len(service.log.files.tile(0, n)) == 8192
    rows = service.index.find(RecordQuery(), None, 1000).rows
    assert min(row.leaf for row in rows) >= 4864
    assert gone_record not in {row.record for row in rows}
    with pytest.raises(GatewayError, match="record-pruned"):
        ask_to_show(service, gone_record)
    with pytest.raises(GatewayError, match="not-found"):
        ask_to_show(service, f"{kept_record.partition('-')[0]}-999999")
    assert sorted(path.name for path in (tmp_path / "exports").iterdir()) == ["late.ndjson", "late.ndjson.manifest"]
    verify_export(tmp_path / "exports" / "late.ndjson", key)

    size = service.log.size
    record = json.loads(service.log.files.entry(service.index.locate(pruned.record)[0], size))
    assert (record["kind"], record["first"], record["end"], record["officer"]) == ("prune", 0, 4864, "officer-1")
    assert "Art. 29" in record["rule"]
    assert record["step"] == "begun"
    assert [each["step"] for each in prunes(service)] == ["begun", "done"]
    (done,) = (each for each in prunes(service) if each["step"] == "done")
    assert (done["intent"], done["end"], done["freed_bytes"]) == (pruned.record, 4864, pruned.freed_bytes)
    from gateway.ledger.process.answers import Answers  # noqa: PLC0415 — the question as the socket asks it

    proof = Answers(service).prove({"record": kept_record}, lambda _done, _of: None)
    verify_record(proof.encode(), key)
    before = parse_checkpoint(parse_note(older).text)
    now = parse_checkpoint(parse_note(service.log.note).text)
    consistency = Hashes(now.size, service.log.files.tile).consistency(before.size)
    verify_consistency(before.size, before.root, now.size, now.root, consistency)
    service.close()

    report = verify_log(tmp_path / "ledger", key)
    assert report.entries == size - 4864
    assert any("leaves 0 to 4863 were pruned" in each for each in report.checked)
    again = open_at(tmp_path, clock)
    again.prepare()
    assert again.plan_retention(RELEASED).entries == 0
    again.close()


def mixed(service, moments, per_moment=700):
    """Uses at each of `moments`, one in twenty of grant G-0001 and the rest of G-0000; the leaves of G-0001."""
    city, leaves = City(), []
    for moment in moments:
        made, entries = UseEntries(new_run(ns(moment)), Salts()), []
        for n in range(per_moment):
            use = city.use(ns(moment), kind=int(n % 20 == 3))
            record, opened = made.opened(use)
            leaves += [service.log.size + len(entries) + at for at in range(2) if n % 20 == 3]
            entries += [opened, made.closed(record, use, city.outcome(use), ns(moment))]
        service.log.commit(entries, {})
        service.index.add(entries)
    return leaves


def asked(service, op, **args):
    """As the socket asks."""
    from gateway.ledger.process.answers import Answers  # noqa: PLC0415 - the questions as the socket asks them

    return getattr(Answers(service), op)(args, lambda _done, _of: None)


NEVER_CLOSED = Holds(released=frozenset({"G-0000"}))


def test_one_grant_does_not_hold_the_log(tmp_path):
    """Its records stay with their proofs, in every answer and copy; all else goes; once it is disposed of, they go."""
    clock = Clock(LATER)
    service = open_at(tmp_path, clock)
    service.prepare()
    leaves = mixed(service, [LEAP, LATER], per_moment=2250)
    key, tree, mirror = service.log.key.text(), tmp_path / "ledger" / "tree", tmp_path / "mirror"
    contents = {leaf: service.log.files.entry(leaf, service.log.size) for leaf in leaves}
    mirror_log(tree, mirror)
    clock.set(datetime(2027, 3, 3, tzinfo=CHINA))
    plan = service.plan_retention(NEVER_CLOSED)
    below = [leaf for leaf in leaves if leaf < plan.end]
    assert (plan.end, plan.entries, plan.kept) == (4352, 4352 - len(below), len(below))
    assert plan.kept_for == (f"{len(below)} of grant G-0001, which has not been disposed of for three years",)
    pruned = apply(service, NEVER_CLOSED)
    assert (pruned.entries, pruned.kept) == (plan.entries, plan.kept)

    (tmp_path / "exports").mkdir(exist_ok=True)
    size = service.log.size
    assert {leaf: service.log.files.entry(leaf, size) for leaf in leaves} == contents
    for leaf in (0, 1, 4350):
        with pytest.raises(GatewayError, match="not-found"):
            service.log.files.entry(leaf, size)
    rows = service.index.leaves(RecordQuery(kinds=("use",)))[0]
    assert [row for row in rows if row[0] < plan.end] == list(zip(below[::2], below[1::2], strict=True))
    record, gone = json.loads(contents[below[0]])["id"], json.loads(contents[below[0]])["id"].partition("-")[0] + "-1"
    assert asked(service, "show", record=record).leaf == below[0]
    with pytest.raises(GatewayError, match="record-pruned"):
        asked(service, "show", record=gone)
    for part in ("opened", "closed"):
        verify_record(asked(service, "prove", record=record, part=part).encode(), key, record=record)
    path = tmp_path / "exports" / "kept.ndjson"
    made = asked(service, "export", query={"grant": "G-0001"}, format="ndjson", path=str(path))
    assert (made.records, made.lowest_leaf) == (len(leaves) // 2, below[0])
    service.plan_retention(NEVER_CLOSED)
    verify_export(path, key)
    mirror_log(tree, mirror)
    service.close()
    for whole in (tmp_path / "ledger", mirror):
        report = verify_log(whole, key)
        assert report.entries == size - plan.entries
        assert any(f"but for {len(below)} that stay and hash to their leaves" in each for each in report.checked)

    shutil.rmtree(tmp_path / "ledger" / "index")
    again = open_at(tmp_path, clock)
    again.prepare()
    assert again.index.leaves(RecordQuery(kinds=("use",)))[0] == rows
    last = apply(again, RELEASED)
    assert (last.entries, last.kept, last.freed_bytes > 0) == (len(below), 0, True)
    assert not path.exists()
    assert again.log.files.kept_packs() == []
    assert again.index.leaves(RecordQuery(kinds=("use",)))[0] == [row for row in rows if row[0] >= plan.end]
    mirror_log(tree, mirror)
    again.close()
    for whole in (tmp_path / "ledger", mirror):
        assert verify_log(whole, key).entries == again.log.size - plan.end
        assert list(whole.rglob("*.kept")) == []


def test_what_a_clock_set_wrong_wrote_holds_nothing(tmp_path):
    """A few entries of 2044 among those of 2024 stay where they are; the rest goes."""
    service = open_at(tmp_path, Clock(datetime(2027, 3, 2, tzinfo=CHINA)))
    ahead = ns(datetime(2044, 1, 1, tzinfo=CHINA))
    entries = [
        act_entry(RecordKind.POLICY, f"r-{n}", {}, "00" * 16, ahead if n % 100 == 7 else ns(LEAP), years=3)
        for n in range(600)
    ]
    service.log.commit(entries, {})
    plan = service.plan_retention(Holds())
    assert (plan.end, plan.entries, plan.kept) == (512, 506, 6)
    service.close()


def test_what_a_prune_kept_is_missed_where_it_is_lost(tmp_path):
    """Verify names it, and a mirror that may hold the last copy of it is left as it is."""
    clock = Clock(LATER)
    service = open_at(tmp_path, clock)
    service.prepare()
    mixed(service, [LEAP, LATER])
    tree, mirror, key = tmp_path / "ledger" / "tree", tmp_path / "mirror", service.log.key.text()
    clock.set(datetime(2027, 3, 3, tzinfo=CHINA))
    apply(service, NEVER_CLOSED)
    earlier = (tree / "kept").read_bytes()
    mirror_log(tree, mirror)
    clock.set(datetime(2027, 6, 3, tzinfo=CHINA))
    apply(service, NEVER_CLOSED)
    service.close()
    verify_log(tmp_path / "ledger", key)
    before = bytes_below(mirror)
    (path,) = tree.rglob("*.kept")
    without = at_rest.encode([b"", *at_rest.decode(path.read_bytes(), "")[1:]], at_rest.PACK_LEVEL)
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    losses = [(path, None), (path, without), (tree / "kept", None), (tree / "kept", earlier)]
    for where, left in losses:
        held = where.read_bytes()
        where.write_bytes(left) if left else where.unlink()
        with pytest.raises(VerificationFailed):
            verify_log(tmp_path / "ledger", key)
        with pytest.raises(GatewayError, match=r"conflict|not-found"):
            mirror_log(tree, mirror)
        assert bytes_below(mirror) == before
        where.write_bytes(held)
    path.write_bytes(flipped)
    with suppress(GatewayError):
        mirror_log(tree, mirror)
    verify_log(mirror, key)


@pytest.mark.deep
def test_a_mirror_that_is_cut_off_anywhere_after_a_prune_verifies_and_goes_on(tmp_path, monkeypatch):
    """What stays of a pack grows with one prune and goes with the next; each file put or removed may be the last."""
    clock = Clock(LATER)
    service = open_at(tmp_path, clock)
    service.prepare()
    mixed(service, [LEAP, LATER], per_moment=300)
    tree, mirror, key = tmp_path / "ledger" / "tree", tmp_path / "mirror", service.log.key.text()
    mirror_log(tree, mirror)
    cuts = 0
    for day, holds in (((2027, 3, 3), NEVER_CLOSED), ((2027, 6, 3), NEVER_CLOSED), ((2027, 6, 4), RELEASED)):
        clock.set(datetime(*day, tzinfo=CHINA))
        apply(service, holds)
        for cut in range(1, 200):
            work = shutil.copytree(mirror, tmp_path / "cut")
            left = [cut]

            def failing(real, left=left):
                def instead(*args, **options):
                    left[0] -= 1
                    if not left[0]:
                        raise OSError("cut off")
                    return real(*args, **options)

                return instead

            with monkeypatch.context() as cutting:
                cutting.setattr(mirroring, "replace_file", failing(mirroring.replace_file))
                cutting.setattr(Path, "unlink", failing(Path.unlink))
                with suppress(OSError):
                    mirror_log(tree, work)
            verify_log(work, key)
            mirror_log(tree, work)
            assert verify_log(work, key).size == service.log.size
            assert {path.name for path in work.rglob("*.kept")} == {path.name for path in tree.rglob("*.kept")}
            shutil.rmtree(work)
            cuts += 1
            if left[0] > 0:
                break
        mirror_log(tree, mirror)
    assert cuts > 30
    service.close()


@pytest.mark.deep
def test_ten_years_with_one_grant_in_a_hundred_never_closed(tmp_path):
    """What the law asks for stands, and else what was written since; the disk grows by what is kept, and by hashes."""
    years = list(decade(tmp_path / "ledger", 400))
    prunes_a_year = 4 * 2
    for year in years[5:]:
        assert year.owed <= year.standing <= year.owed + 4 * prunes_a_year + 800
    assert years[-1].entries_bytes < 1.2 * years[4].entries_bytes
    service = open_ledger(tmp_path / "ledger", datetime(2036, 1, 1, tzinfo=CHINA).timestamp)
    service.prepare()
    key = service.log.key.text()
    kept = [row for row in service.index.find(RecordQuery(grant="G-0037"), None, 1000).rows if row.kind == "use"]
    assert len(kept) > 5
    for row in kept:
        verify_record(asked(service, "prove", record=row.record).encode(), key, record=row.record)
    service.close()
    assert verify_log(tmp_path / "ledger", key).entries == years[-1].standing


def write(directory, writer, entries):
    """A journal at work that holds `entries`, all durable."""
    told = threading.Semaphore(0)
    journal = JournalWriter(
        directory,
        writer,
        clock_ns=lambda: ns(LEAP),
        tell=lambda waiters, _error: [told.release() for _ in waiters],
        on_poisoned=lambda _: None,
        low_water_bytes=0,
        segment_bytes=1 << 20,
    )
    for entry in entries:
        journal.put((entry, object(), "", 0))
    for _ in entries:
        told.acquire()
    return journal


def bytes_below(directory):
    """Everything that stands in files below a folder, bundles as they are served, in one piece."""
    pieces = []
    for path in directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            pieces += at_rest.decode(content, str(path)) if path.suffix in {".sgb", ".pack"} else [content]
    return b"\n".join(pieces)


def test_every_copy_goes(tmp_path, monkeypatch):
    """Journals, repair copies and what the signer's database has left free hold nothing of a record that went.

    Of a writer at work too, which goes on in a new segment when its old one has stood for a month.
    """
    monkeypatch.setattr(writer_module, "_IDLE_LOOK_SECONDS", 0.01)
    clock = Clock(LEAP)
    service = open_at(tmp_path, clock)
    service.prepare()
    city, made = City(), UseEntries(new_run(ns(LEAP)), Salts())
    entries = []
    for _ in range(600):
        record, opened = made.opened(use := city.use(ns(LEAP)))
        entries += [opened, made.closed(record, use, city.outcome(use), ns(LEAP))]
    write(tmp_path / "ledger", "worker-1", entries[:500]).close()
    at_work = write(tmp_path / "ledger", "worker-2", entries[500:])
    while service.step():
        pass
    service.index.flush()
    (left,) = (tmp_path / "ledger" / "journal" / "worker-1").glob("*.journal")
    left.with_name(f"{left.name}.broken").write_bytes(left.read_bytes())
    salts = [json.loads(entry)["salt"].encode() for entry in entries]
    fill(service, [LATER], per_moment=10)

    clock.set(datetime(2027, 3, 3, tzinfo=CHINA))
    with pytest.raises(GatewayError, match="journal of `worker-2` still holds"):
        apply(service)
    assert minimum_index(service.log.files.root) == 0
    begun, failed = prunes(service)
    assert (begun["step"], failed["step"], failed["intent"]) == ("begun", "failed", begun["id"])
    assert "worker-2" in failed["reason"]
    monkeypatch.setattr(writer_module, "SEGMENT_SECONDS", 0.0)
    assert wait_for(lambda: len(segment_paths(at_work.directory)) == 2)
    everything = bytes_below(tmp_path / "ledger")
    assert all(salt in everything for salt in salts)
    pruned = apply(service)
    assert pruned.end == 1024
    everything = bytes_below(tmp_path / "ledger")
    assert [salt for salt in salts[: pruned.end] if salt in everything] == []
    at_work.close()
    service.close()
    with closing(sqlite3.connect(tmp_path / "ledger" / "signer.db")) as signer:
        assert signer.execute("PRAGMA freelist_count").fetchone() == (0,)
    verify_log(tmp_path / "ledger", service.log.key.text())


def client_exports(service, directory):
    """Two exports in the gateway's keeping: one of everything, one of late records."""
    for name, query in (("all", RecordQuery()), ("late", RecordQuery(from_unix=int(LATER.timestamp())))):
        exports.export_records(
            service.index, service.log, query, "ndjson", directory / "exports" / f"{name}.ndjson", now_unix=1
        )


@pytest.fixture
def aged(tmp_path):
    """A service with 5000 entries that may go, 2000 that may not, and a spool."""
    clock = Clock(datetime(2024, 6, 2, tzinfo=CHINA))
    service = open_at(tmp_path, clock)
    service.prepare()
    fill(service, [LEAP], per_moment=2500)
    fill(service, [LATER], per_moment=1000)
    (tmp_path / "exports").mkdir()
    clock.set(datetime(2027, 3, 3, tzinfo=CHINA))
    yield service
    service.close()


def export(service, path, *, since=None, progress=lambda _done, _of: None):
    """An export of what began after `since`."""
    query = RecordQuery(from_unix=None if since is None else int(since.timestamp()))
    return exports.export_records(service.index, service.log, query, "ndjson", path, now_unix=1, progress=progress)


@pytest.mark.parametrize("stage", ["records", "digest", "rename"])
def test_an_export_under_way_does_not_keep_what_a_prune_removed(tmp_path, aged, monkeypatch, stage):
    """Whenever the prune comes, what was written goes with it, and the export says why it came to nothing."""
    spool = tmp_path / "exports"
    left = []

    def prune_once(*_):
        if not left:
            apply(aged)
            left.append([path.name for path in spool.iterdir()])

    for name in ("_digest", "sync_directory"):
        real = getattr(exports, name)
        if {"_digest": "digest", "sync_directory": "rename"}[name] == stage:
            monkeypatch.setattr(exports, name, lambda path, real=real: (prune_once(), real(path))[1])
    progress = prune_once if stage == "records" else lambda _done, _of: None
    with pytest.raises(GatewayError, match="conflict: retention removed records while they were exported"):
        export(aged, spool / "x.ndjson", progress=progress)
    assert left == [[]]
    assert list(spool.iterdir()) == []


def test_an_export_of_what_stays_goes_on_through_a_prune(tmp_path, aged):
    """Only what holds a record that goes is ended."""
    pruned = []
    path = tmp_path / "exports" / "late.ndjson"
    made = export(
        aged, path, since=LATER, progress=lambda _done, _of: None if pruned else pruned.append(apply(aged).end)
    )
    assert pruned[0] <= made.lowest_leaf
    verify_export(path, aged.log.key.text())


def test_what_a_process_left_in_the_spool_goes(tmp_path, aged):
    """A file that got its name while a prune looked goes at the next plan; one half written, at the next start."""
    spool = tmp_path / "exports"
    export(aged, tmp_path / "aside.ndjson")
    apply(aged)
    for name in ("aside.ndjson", "aside.ndjson.manifest"):
        (tmp_path / name).rename(spool / name)
    (spool / ".x.ndjson.0.part").write_text("half a record")
    (spool / ".y.ndjson.6000.part").write_text("half a record")
    aged.plan_retention(RELEASED)
    assert [path.name for path in spool.iterdir()] == [".y.ndjson.6000.part"]
    LedgerService(tmp_path / "anew", origin=ORIGIN, signer=TestSigner(), exports=spool).close()
    assert list(spool.iterdir()) == []


def test_apply_does_just_the_plan(tmp_path):
    """A plan that is not what may go now is refused, and nothing goes."""
    clock = Clock(datetime(2027, 3, 2, tzinfo=CHINA))
    service = open_at(tmp_path, clock)
    service.prepare()
    fill(service, [LEAP, LATER])
    plan = service.plan_retention(RELEASED)
    with pytest.raises(GatewayError, match="make it again"):
        service.apply_retention(plan, Holds(disputed=frozenset({"G-0000"})), "officer-1")
    clock.set(datetime(2027, 3, 3, tzinfo=CHINA))
    with pytest.raises(GatewayError, match="make it again"):
        service.apply_retention(plan, RELEASED, "officer-1")
    clock.set(datetime(2026, 1, 1, tzinfo=CHINA))
    with pytest.raises(GatewayError, match="removes nothing"):
        service.apply_retention(service.plan_retention(RELEASED), RELEASED, "officer-1")
    assert minimum_index(service.log.files.root) == 0
    service.close()


def test_a_prune_that_was_cut_off_is_finished_at_the_next_start(tmp_path):
    """Once it is on record and begun, a prune is carried through, whatever stopped it."""
    clock = Clock(datetime(2024, 6, 2, tzinfo=CHINA))
    service = open_at(tmp_path, clock)
    service.prepare()
    fill(service, [LEAP], per_moment=2500)
    fill(service, [LATER], per_moment=10)
    clock.set(datetime(2027, 3, 3, tzinfo=CHINA))
    plan = service.plan_retention(RELEASED)
    said = {"first": plan.first, "end": plan.end, "kept": plan.kept_digest}
    entry = act_entry(RecordKind.PRUNE, "r-1", said, "00" * 16, service.now_ns(), years=3)
    service.log.commit([entry], {})
    kept = Kept(plan.end, array("Q"))
    begin_pruning(service.log.files, Pruning(plan.first, plan.end, "r-1", "officer-1", plan.kept_digest), kept)
    service.log.files.drop_bundles(0, Kept(3 * 256, array("Q")))
    service.close()
    again = open_at(tmp_path, clock)
    again.prepare()
    while again.step():
        pass
    assert minimum_index(again.log.files.root) == plan.end == 4864
    assert [(each["step"], each["intent"]) for each in prunes(again) if "step" in each] == [("done", "r-1")]
    assert min(row.leaf for row in again.index.find(RecordQuery(), None, 1000).rows) >= plan.end
    key = again.log.key.text()
    again.close()
    verify_log(tmp_path / "ledger", key)
    shutil.rmtree(tmp_path / "ledger" / "tree" / "tile" / "entries" / "019.p")
    with pytest.raises(VerificationFailed):
        verify_log(tmp_path / "ledger", key)


def test_retention_over_the_socket(tmp_path):
    """Plan and apply as the control room asks for them."""
    from gateway.ledger.process.client import LedgerClient  # noqa: PLC0415 — used here alone

    clock = Clock(datetime(2027, 3, 2, tzinfo=CHINA))
    service = open_at(tmp_path, clock)
    fill(service, [LEAP, LATER])
    service.serve_questions(tmp_path / "ledger.sock")
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()

    async def story():
        client = LedgerClient(tmp_path / "ledger.sock")
        assert (await client.plan_retention(Holds())).entries == 0
        plan = await client.plan_retention(RELEASED)
        pruned = await client.apply_retention(plan, RELEASED, by="officer-2")
        assert pruned.end == plan.end == await client.minimum_index()

    asyncio.run(story())
    stop.set()
    thread.join()
    service.close()


def test_a_clock_that_is_set_forward_lets_nothing_go(tmp_path):
    """Twenty years on by the clock and a second by the machine's own count: nothing goes that could not before."""
    clock = Clock(LATER)
    service = LedgerService(
        tmp_path / "ledger", origin=ORIGIN, signer=TestSigner(), clock=clock, memory_bytes=256 << 20
    )
    service.prepare()
    fill(service, [LEAP])
    clock.set(datetime(2044, 1, 1, tzinfo=CHINA))
    assert service.plan_retention(RELEASED).entries == 0
    service.close()
