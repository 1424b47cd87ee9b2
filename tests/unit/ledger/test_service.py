"""The ledger process from journal to answer: found, shown, proven, exported, verified."""

import asyncio
import contextlib
import csv
import hashlib
import json
import threading
import time

import duckdb
import msgspec
import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.log.export_names import manifest_path
from gateway.ledger.process.client import LedgerClient
from gateway.ledger.verify.record import VerificationFailed, verify_export, verify_log, verify_record
from tests.support.ledger import City, open_ledger, record_uses


@contextlib.contextmanager
def running(directory):
    """A ledger at work, and a client of it."""
    service = open_ledger(directory / "ledger")
    service.serve_questions(directory / "ledger.sock")
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        yield service, LedgerClient(directory / "ledger.sock")
    finally:
        stop.set()
        thread.join()
        service.close()


async def until_found(client, record, entries=1):
    """Wait until `record` can be shown with so many entries; other refusals than `not-found` are failures."""
    for _ in range(1000):
        try:
            shown = await client.show(record)
            if len(shown.entries) >= entries:
                return shown
            await asyncio.sleep(0.01)
        except GatewayError as error:
            if error.code != "not-found":
                raise
            await asyncio.sleep(0.01)
    raise AssertionError("the record was never found")


def test_a_finished_use_is_found_shown_and_proven(tmp_path):
    """From the data plane's call to a proof anyone can check, through the real processes' parts."""
    city = City()

    async def story(service, client):
        uses = [city.use(time.time_ns()) for _ in range(300)]
        records = await record_uses(tmp_path / "ledger", uses, city)
        shown = await until_found(client, records[-1], entries=2)
        opened, closed = shown.entries
        use = uses[-1]
        assert opened["use"]["grant"] == use.verdict.grant
        assert opened["request"] == use.request_digest
        assert opened["subject"] == use.subject
        assert opened["trace"] == use.trace_id
        assert closed["status"] == 200
        assert closed["id"] == opened["id"] == records[-1]
        key = service.log.key.text()
        for part in ("opened", "closed"):
            proof = await client.prove(records[0], part=part)
            assert verify_record(proof.encode(), key).entries == 1
            for wrong in (proof.replace("index ", "index 1", 1), proof[:60] + "A" + proof[61:]):
                with pytest.raises((VerificationFailed, GatewayError)):
                    verify_record(wrong.encode(), key)
        status = await client.status()
        assert (status.size, status.backlog, status.fault) == (600, 0, "")
        page = await client.find(RecordQuery(grant=use.verdict.grant), limit=5)
        assert all(row.grant == use.verdict.grant for row in page.rows)
        assert sum(group.uses for group in (await client.stats(RecordQuery(), "supplier")).items) == 300
        assert len(await client.tile("tile/0/000")) == 8192
        bundle = await client.tile("tile/entries/000")
        assert (
            hashlib.sha256(b"\x00" + bundle[2 : 2 + int.from_bytes(bundle[:2], "big")]).digest()
            == ((await client.tile("tile/0/000"))[:32])
        )
        for path in ("tile/0/999", "../signer.db"):
            with pytest.raises(GatewayError, match="not-found"):
                await client.tile(path)
        with pytest.raises(GatewayError, match="not-found"):
            await client.show("nobody-1")

    with running(tmp_path) as (service, client):
        asyncio.run(story(service, client))
    assert verify_log(tmp_path / "ledger", service.log.key.text()).size == 600


def test_acts_and_uses_of_many_writers_meet_in_one_log(tmp_path):
    """Every journal's records are in the log once, each writer's in its own order."""
    city = City()
    acts = ActJournal(tmp_path / "ledger", "control", clock_ns=time.time_ns, low_water_bytes=0, segment_bytes=1 << 16)

    async def story(client):
        wanted = []
        for n in range(3):
            wanted += await record_uses(tmp_path / "ledger", [city.use() for _ in range(50)], city, writer=f"w-{n}")
            wanted.append(acts.append(RecordKind.ORDER, {"officer": "li", "act": "suspend", "grant": "G-0001"}))
        for record in wanted:
            await until_found(client, record)
        page = await client.find(RecordQuery(kinds=("order",), officer="li"))
        assert len(page.rows) == 3
        assert {row.act for row in page.rows} == {"suspend"}

    with running(tmp_path) as (service, client):
        asyncio.run(story(client))
        size = service.log.size
        entries = [json.loads(service.log.files.entry(leaf, size)) for leaf in range(size)]
    acts.close()
    assert size == 303
    assert len({(entry["id"], entry["kind"]) for entry in entries}) == size
    for run in {entry["id"].rpartition("-")[0] for entry in entries}:
        numbers = [
            int(e["id"].rpartition("-")[2]) for e in entries if e["id"].startswith(run) and e["kind"] != "use.closed"
        ]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("format_name", ["ndjson", "csv", "parquet"])
def test_an_export_verifies_until_a_byte_is_changed(tmp_path, format_name):
    """File and question are bound by the manifest: neither can be changed apart, nor another log's key pass."""
    city = City()
    path = tmp_path / f"records.{format_name}"

    async def story(client):
        uses = [city.use(time.time_ns(), kind=n % 3) for n in range(120)]
        records = await record_uses(tmp_path / "ledger", uses, city)
        for record in records:
            await until_found(client, record)
        steps = []
        query = RecordQuery(grant="G-0001")
        manifest = await client.export(query, format_name, path, lambda done, of: steps.append((done, of)))
        assert manifest.records == 40 == steps[-1][0]
        assert manifest.query == query
        with pytest.raises(GatewayError, match="exists already"):
            await client.export(query, format_name, path)
        with pytest.raises(GatewayError, match="exports are"):
            await client.export(query, "exe", tmp_path / "x")

    with running(tmp_path) as (service, client):
        asyncio.run(story(client))
    key = service.log.key.text()
    assert "40 records" in " ".join(verify_export(path, key).checked)
    assert sum(1 for _ in rows_of(path, format_name)) == 40
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with pytest.raises(VerificationFailed, match="not the one"):
        verify_export(path, key)
    path.write_bytes(content)
    beside = manifest_path(path)
    manifest = beside.read_text()
    beside.write_text(manifest.replace("G-0001", "G-0002"))
    with pytest.raises(VerificationFailed, match="does not hold"):
        verify_export(path, key)
    beside.unlink()
    with pytest.raises(GatewayError, match="missing"):
        verify_export(path, key)


def rows_of(path, format_name):
    if format_name == "ndjson":
        for line in path.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            assert said["entries"][0]["use"]["grant"] == "G-0001"
            yield said
    elif format_name == "csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                assert row["grant"] == "G-0001"
                assert row["retain_until"]
                yield row
    else:
        with duckdb.connect() as connection:
            yield from connection.execute(f"SELECT * FROM '{path}' WHERE \"grant\" = 'G-0001'").fetchall()


def test_a_spreadsheet_runs_no_formula_from_a_record(tmp_path):
    """An officer chooses the words of a grant's basis; in CSV they are text and nothing else."""
    city = City()
    use = city.use(time.time_ns(), kind=0)
    verdict = msgspec.structs.replace(use.verdict, legal_basis='=cmd|"/c calc"!A1', approver="@x")
    evil = msgspec.structs.replace(use, verdict=verdict, subject=None)

    async def story(client):
        (record,) = await record_uses(tmp_path / "ledger", [evil], city)
        await until_found(client, record)
        await client.export(RecordQuery(), "csv", tmp_path / "x.csv")

    with running(tmp_path) as (_, client):
        asyncio.run(story(client))
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["legal_basis"].startswith("'=cmd")
    assert row["approver"] == "'@x"


def test_without_a_ledger_the_asker_is_told_so(tmp_path):
    """No ledger process: `unavailable`, not a hang."""
    with pytest.raises(GatewayError, match="does not answer"):
        asyncio.run(LedgerClient(tmp_path / "none.sock").status())


def test_a_dead_worker_s_open_uses_are_recovered_without_it(tmp_path):
    """A writer that does not come back: the ledger process closes its books."""
    city = City()
    records = asyncio.run(record_uses(tmp_path / "ledger", [city.use() for _ in range(5)], city, close=False))
    service = open_ledger(tmp_path / "ledger")
    service.prepare()
    assert "worker-1" in service.integrator.adopt_orphans(time.time_ns)
    assert service.integrator.adopt_orphans(time.time_ns) == []
    service.step()
    rows = service.index.find(RecordQuery(kinds=("use",)), None, 10).rows
    assert sorted(row.record for row in rows) == sorted(records)
    assert {row.ending for row in rows} == {"recovered"}
    service.close()
