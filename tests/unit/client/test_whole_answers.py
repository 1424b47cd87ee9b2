"""The client against a real data plane, with a proxy between that ends answers early and in good order."""

import asyncio
import contextlib
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.client import AnswerCut, AsyncSharingClient, SharingClient, SharingProblem, new_private_key
from gateway.domain.directory import AnswerFormat
from tests.support.proxy_ports import House, Supplier, interface_for, permit, serving

ROWS = b'{"hyzk":"1\\n","xm":"a\xe2\x80\xa8b"}\n{"hyzk":"2","xm":"c"}\n'
CSV = '姓名,婚姻\r\na,"1\u2028\n0"\r\nb,20\r\n'.encode()
TEXT = b"0123456789" * 30
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
GIVEN = {
    "ndjson": (AnswerFormat.NDJSON, b"", ROWS),
    "csv": (AnswerFormat.CSV, b"", CSV),
    "opaque": (AnswerFormat.OPAQUE, b"Content-Type: text/plain\r\n", TEXT),
    "gzip": (AnswerFormat.OPAQUE, b"Content-Encoding: gzip\r\n", gzip.compress(TEXT)),
}


def token(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"access_token": "good", "token_type": "Bearer", "expires_in": 300})


class Between:
    """A proxy as nginx is by default: asks in HTTP/1.0, and passes on what comes until the connection ends.

    Args:
        port: the data plane's.

    Attributes:
        version: in which it asks; in HTTP/1.1 all is passed on as it comes.
        most: how many octets of content it passes on.
        is_chunking: whether in chunks, else until the connection ends.
        passed: how many octets of content there were.
        last: all that was last passed on.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.version = b"HTTP/1.0"
        self.most = 1 << 30
        self.is_chunking = True
        self.passed = 0
        self.last = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            asked = await reader.readuntil(b"\r\n\r\n")
            there, to = await asyncio.open_connection("127.0.0.1", self._port)
            with contextlib.closing(to):
                line, _, fields = asked.partition(b" HTTP/1.1\r\n")
                to.write(line + b" " + self.version + b"\r\nConnection: close\r\n" + fields)
                head, _, content = (await there.read(1 << 20)).partition(b"\r\n\r\n")
                while more := await there.read(1 << 20):
                    content += more
            self.passed = len(content)
            content = content[: self.most]
            if self.is_chunking and self.version == b"HTTP/1.0":
                content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
                head += b"\r\nTransfer-Encoding: chunked"
            self.last = head + b"\r\n\r\n" + content
            writer.write(self.last)
            await writer.drain()


@contextlib.asynccontextmanager
async def standing(given: str) -> AsyncIterator[tuple[str, Between, Supplier]]:
    """Supplier, gateway and proxy; the proxy's address."""
    form, fields, content = GIVEN[given]
    async with Supplier(CHUNKED % (fields, len(content), content)) as supplier:
        places = {"xm": "姓名", "hyzk": "婚姻"} if form is AnswerFormat.CSV else {"xm": "/xm", "hyzk": "/hyzk"}
        house = House(interface_for(supplier.port, format=form, places=places))
        house.verdict = permit(all_items=True)
        async with serving(house) as (_, port):
            between = Between(port)
            server = await asyncio.start_server(between.serve, "127.0.0.1", 0)
            try:
                yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", between, supplier
            finally:
                server.close()


def options() -> dict[str, Any]:
    transport = httpx.MockTransport(token)
    return {"token_endpoint": "https://control.example/t", "client_id": "s", "key": new_private_key(),
            "purpose": "marriage-registration", "token_transport": transport, "environment": {}}  # fmt: skip


@pytest.mark.parametrize("is_chunking", [True, False], ids=["chunked", "by close"])
@pytest.mark.parametrize("given", GIVEN)
def test_half_an_answer_is_never_taken_for_all(given: str, is_chunking: bool) -> None:
    """Whole it is read, the closing line left out; ended at any octet before that line's end it is `AnswerCut`."""

    async def story() -> None:
        async with standing(given) as (url, between, _), AsyncSharingClient(url, **options()) as sharing:
            between.is_chunking = is_chunking
            expected = gzip.decompress(GIVEN[given][2]) if given == "gzip" else GIVEN[given][2]
            async with sharing.stream("hukou/person/v1") as answer:
                assert await answer.aread() == expected
            for most in sorted({*range(0, between.passed, 9), *range(between.passed - 3, between.passed - 1)}):
                between.most = most
                with pytest.raises(AnswerCut):
                    await sharing.call("hukou/person/v1")

    asyncio.run(story())


def test_rows_are_those_that_were_sent() -> None:
    """One by one through the async client; a value may hold what Unicode calls a line's end."""

    async def story() -> None:
        for given, wanted in (
            ("ndjson", [{"xm": "a\u2028b", "hyzk": "1\n"}, {"xm": "c", "hyzk": "2"}]),
            ("csv", [{"姓名": "a", "婚姻": "1\u2028\n0"}, {"姓名": "b", "婚姻": "20"}]),
        ):
            async with standing(given) as (url, _, _s), AsyncSharingClient(url, **options()) as sharing:
                assert [row async for row in sharing.rows("hukou/person/v1")] == wanted

    asyncio.run(story())


class Ranged:
    """A supplier that has ranges, and breaks off after so many octets each time.

    Args:
        most: how many octets it sends of what it says it sends.
        changes: makes another answer's head of the right one.
    """

    FIELDS = b'\r\nConnection: close\r\nAccept-Ranges: bytes\r\nETag: "v1"\r\nContent-Length: %d\r\n\r\n'

    def __init__(self, most: int, changes: Callable[[bytes], bytes] = lambda head: head) -> None:
        self.most = most
        self.changes = changes
        self.asked: list[bytes] = []

    async def __call__(self, _: Any, writer: asyncio.StreamWriter, head: bytes) -> bool:
        lines = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n"))}
        start = int(lines.get(b"range", b"bytes=0-")[6:-1])
        self.asked.append(lines.get(b"range", b""))
        rest = TEXT[start:]
        part = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d" % (start, len(TEXT) - 1, len(TEXT))
        begin = part if start else b"HTTP/1.1 200 OK"
        fields = b'\r\nConnection: close\r\nAccept-Ranges: bytes\r\nETag: "v1"\r\nContent-Length: %d\r\n\r\n' % len(
            rest
        )
        writer.write(self.changes(begin) + fields + rest[: self.most])
        await writer.drain()
        await asyncio.sleep(0.02)
        return False


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_download_goes_on_from_where_it_broke_off(tmp_path: Path, is_async: bool) -> None:
    """Three times cut by the supplier behind the gateway, `Range` and `If-Range` each time; the file is whole."""
    supplier_answers, seen = Ranged(100), []

    async def story() -> str:
        async with Supplier(supplier_answers) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE))
            house.verdict = permit(all_items=True)
            async with serving(house) as (_, port):
                url, words = f"http://127.0.0.1:{port}", {"progress": lambda have, of: seen.append((have, of))}
                if is_async:
                    async with AsyncSharingClient(url, **options()) as sharing:
                        return await sharing.download("hukou/person/v1", tmp_path / "f", **words)
                with SharingClient(url, **options()) as blocking:
                    return await asyncio.to_thread(blocking.download, "hukou/person/v1", tmp_path / "f", **words)

    assert asyncio.run(story()) == hashlib.sha256(TEXT).hexdigest()
    assert (tmp_path / "f").read_bytes() == TEXT
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert supplier_answers.asked == [b"", b"bytes=100-", b"bytes=200-"]
    assert [have for have, of in seen] == sorted(have for have, of in seen)
    assert {of for _, of in seen} == {len(TEXT)}


def wrong(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda head: head.replace(old, new)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        (wrong(b"bytes 250-", b"bytes 249-"), [b"", b"bytes=250-", b""]),
        (wrong(b"206 Partial Content", b"416 Range Not Satisfiable"), [b"", b"bytes=250-", b""]),
        (wrong(b"/300", b"/301"), [b"", b"bytes=250-", b"bytes=300-", b""]),
        (wrong(b"206 Partial Content", b"403 Forbidden"), [b"", b"bytes=250-"]),
    ],
    ids=["another part", "no such part", "longer than it was", "refused"],
)
def test_wrong_rest_is_no_part_of_the_file(
    tmp_path: Path, changes: Callable[[bytes], bytes], asked: list[bytes]
) -> None:
    """A part that was not asked for, a file that has become another: begun anew, and never put together of two."""
    plane = Ranged(250, changes)

    async def story() -> None:
        async with Supplier(plane) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE))
            house.verdict = permit(all_items=True)
            async with serving(house) as (_, port), AsyncSharingClient(f"http://127.0.0.1:{port}", **options()) as it:
                await it.download("hukou/person/v1", tmp_path / "f", resumes=len(asked) - 1)

    with pytest.raises((AnswerCut, SharingProblem)):
        asyncio.run(story())
    assert plane.asked[: len(asked)] == asked
    assert not (tmp_path / "f").exists()
