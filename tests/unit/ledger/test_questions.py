"""Questions to the ledger process: long ones hold up nothing else, are bounded, and end when their asker leaves."""

import asyncio
import json
import threading

import pytest

from gateway.domain.errors import GatewayError
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.process import answers
from gateway.ledger.process.client import LedgerClient
from gateway.ledger.process.questions import Lane, QuestionServer, ask
from gateway.ledger.retention.retention import Holds
from tests.support.ledger import City, ledger_with


class Gate:
    """A handler that waits to be let go, and says when it began and how it ended."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.ended = threading.Semaphore(0)
        self.outcomes = []

    def __call__(self, args, progress):
        self.begun.release()
        self.open.wait()
        try:
            progress(1, 2)
            self.outcomes.append("answered")
        except BaseException as error:
            self.outcomes.append(type(error).__name__)
            raise
        finally:
            self.ended.release()
        return args["n"]

    async def until_begun(self, times):
        for _ in range(times):
            await asyncio.to_thread(self.begun.acquire)

    async def until_ended(self, times):
        for _ in range(times):
            await asyncio.to_thread(self.ended.acquire)


async def asked(path, op, args):
    """A connection on which a question was asked and nothing read yet."""
    reader, writer = await asyncio.open_unix_connection(path)
    content = json.dumps({"op": op, "args": args}).encode()
    writer.write(len(content).to_bytes(4, "big") + content)
    await writer.drain()
    return reader, writer


async def leave(connection):
    """Close a connection's sending side, and wait until the server has closed the other."""
    reader, writer = connection
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


LONG = Lane("long works", threads=1, waiting=1)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def path(tmp_path, gate):
    """The socket of a server with one gated handler in a lane of two places."""
    server = QuestionServer(tmp_path / "s.sock", {LONG: {"long": gate}})
    yield tmp_path / "s.sock"
    gate.open.set()
    server.close()


def test_with_exports_under_way_other_questions_are_answered(tmp_path, monkeypatch):
    """Every thread of the exports is at work and every place of their queue taken; the rest of the ledger answers."""
    service = ledger_with(tmp_path / "ledger", list(City().entries(300)))
    begun, let_go = threading.Semaphore(0), threading.Event()

    def export(*_args, **_kwargs):
        begun.release()
        let_go.wait()
        raise GatewayError("not-found", "made nothing")

    monkeypatch.setattr(answers, "export_records", export)
    service.serve_questions(tmp_path / "l.sock")
    client = LedgerClient(tmp_path / "l.sock")
    places = answers.EXPORTS.threads + answers.EXPORTS.waiting

    async def story():
        exports = [
            asyncio.create_task(client.export(RecordQuery(), "csv", tmp_path / f"{n}.csv")) for n in range(places + 1)
        ]
        for _ in range(answers.EXPORTS.threads):
            await asyncio.to_thread(begun.acquire)
        (refused,), under_way = await asyncio.wait(exports, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(GatewayError, match="rate-limited: too many exports are under way"):
            refused.result()
        assert (await client.status()).size == service.log.size
        page = await client.find(RecordQuery(), limit=1)
        assert (await client.show(page.rows[0].record)).entries
        assert (await client.stats(RecordQuery(), "kind")).items
        assert (await client.plan_retention(Holds())).first == 0
        assert len(under_way) == places
        let_go.set()
        for export in under_way:
            with pytest.raises(GatewayError, match="made nothing"):
                await export

    try:
        asyncio.run(story())
    finally:
        let_go.set()
        service.close()


def test_what_an_asker_left_ends_where_it_reports_progress(path, gate):
    """One at work is told at its next progress; its place is free again, and the next is answered."""

    async def story():
        left = await asked(path, "long", {"n": 1})
        await gate.until_begun(1)
        await leave(left)
        gate.open.set()
        await gate.until_ended(1)
        assert await ask(path, "long", {"n": 2}, int) == 2

    asyncio.run(story())
    assert gate.outcomes == ["_AskerLeft", "answered"]


def test_what_waits_is_dropped_with_its_asker(path, gate):
    """A question whose asker left before its turn is never begun, and another may wait in its place."""

    async def story():
        first = asyncio.create_task(ask(path, "long", {"n": 1}, int))
        await gate.until_begun(1)
        await leave(await asked(path, "long", {"n": 2}))
        others = {asyncio.create_task(ask(path, "long", {"n": n}, int)) for n in (3, 4)}
        (refused,), (waiting,) = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(GatewayError, match="rate-limited: too many long works are under way"):
            refused.result()
        gate.open.set()
        assert await first == 1
        assert await waiting in {3, 4}

    asyncio.run(story())
    assert gate.outcomes == ["answered", "answered"]


def test_closing_breaks_off_what_is_under_way(tmp_path, gate):
    """A server that closes waits for no export to be finished, only for it to notice."""
    server = QuestionServer(tmp_path / "s.sock", {LONG: {"long": gate}})

    async def story():
        asked = asyncio.create_task(ask(tmp_path / "s.sock", "long", {"n": 1}, int))
        await gate.until_begun(1)
        closing = asyncio.create_task(asyncio.to_thread(server.close))
        with pytest.raises(GatewayError, match="broke off"):
            await asked
        gate.open.set()
        await closing

    asyncio.run(story())
    assert gate.outcomes == ["_AskerLeft"]


def test_what_nobody_foresaw_is_logged_with_its_cause_and_told_to_nobody(tmp_path, caplog):
    """The asker learns that it failed and no text of the exception; the log says what, and where."""

    def fails(_args, _progress):
        raise ZeroDivisionError("a value that nobody may see")

    server = QuestionServer(tmp_path / "s.sock", {LONG: {"long": fails}})
    try:
        with pytest.raises(GatewayError) as failed:
            asyncio.run(ask(tmp_path / "s.sock", "long", {}, int))
    finally:
        server.close()
    assert (failed.value.code, failed.value.detail) == ("internal", "")
    (logged,) = [record for record in caplog.records if record.exc_info]
    assert logged.getMessage() == "a question could not be answered"
    assert logged.exc_info[0] is ZeroDivisionError
