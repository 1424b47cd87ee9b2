"""How a streamed answer says that it ends here: by trailers or by a last line, for who asks and for nobody else."""

import asyncio
import base64
import hashlib
import json
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat
from gateway.proxy.exchange.closing import LINE, LINE_BYTES, Closing
from gateway.proxy.exchange.digests import keyed_digest
from tests.support.proxy_ports import (
    DIGEST_KEY,
    CallerSide,
    House,
    Supplier,
    interface_for,
    permit,
    request,
    serving,
    until,
)

SENT = {
    AnswerFormat.NDJSON: b'{"hyzk":"10","xm":"a"}\n{"hyzk":"20","xm":"b"}\n',
    AnswerFormat.CSV: "姓名,婚姻\r\na,10\r\nb,20\r\n".encode(),
    AnswerFormat.OPAQUE: bytes(range(256)) * 9,
}
PLACES = {AnswerFormat.CSV: {"xm": "姓名", "hyzk": "婚姻"}}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n"
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


def answered(
    form: AnswerFormat, fields: str = "", *, answer: Any = None, version: str = "1.1", end: str = "complete"
) -> tuple[dict[str, str], bytes]:
    """Fields of the head and all octets behind it; the record of the use knows nothing of who asked for what."""
    content = SENT[form]

    async def story() -> tuple[dict[str, str], bytes]:
        async with Supplier(answer or CHUNKED % (len(content), content) + b"0\r\n\r\n") as supplier:
            places = PLACES.get(form, {"xm": "/xm", "hyzk": "/hyzk"})
            house = House(interface_for(supplier.port, format=form, places=places))
            house.verdict = permit(all_items=True)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                asked = request(fields=fields + "Connection: close\r\n")
                caller.writer.write(asked.replace(b"HTTP/1.1\r\n", f"HTTP/{version}\r\n".encode(), 1))
                head = (await caller.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
                rest = await caller.reader.read()
                await until(lambda: [each.end for each in house.ledger.outcomes()] == [end])
                outcome = house.ledger.outcomes()[0]
                if end == "complete":
                    digest = keyed_digest(DIGEST_KEY, content).hexdigest()
                    assert (outcome.bytes, outcome.response_digest) == (len(content), digest)
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}, rest

    return uvloop.run(story())


def split_chunks(rest: bytes) -> tuple[bytes, dict[str, str]]:
    """Content and trailer fields of chunks."""
    content = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            trailers = dict(line.split(": ") for line in rest.decode().split("\r\n") if line)
            return content, trailers
        content, rest = content + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


def digest_of(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@pytest.mark.parametrize("form", SENT)
def test_trailers_name_digest_and_rows(form: AnswerFormat) -> None:
    """RFC 9530 behind the last chunk, announced by `Trailer`; opaque content has no rows that were counted."""
    head, rest = answered(form, "TE: deflate;q=0.5, trailers\r\n")
    content, trailers = split_chunks(rest)
    assert content == SENT[form]
    wanted = {"Content-Digest": f"sha-256=:{digest_of(content)}:", "Sharing-Rows": "2"}
    if form is AnswerFormat.OPAQUE:
        del wanted["Sharing-Rows"]
    assert trailers == wanted
    assert head["trailer"] == ", ".join(wanted)
    assert "sharing-closing" not in head


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("form", SENT)
def test_closing_line_stands_behind_the_content(form: AnswerFormat, version: str) -> None:
    """One line more, of at most so many octets, in chunks and up to a connection's end; asked for above trailers."""
    head, rest = answered(form, "Sharing-Closing: line\r\nTE: trailers\r\n", version=version)
    assert head["sharing-closing"] == "line"
    assert "trailer" not in head
    assert ("transfer-encoding" in head) is (version == "1.1")
    whole = split_chunks(rest)[0] if version == "1.1" else rest
    assert whole.startswith(SENT[form])
    line = whole[len(SENT[form]) :]
    assert line.startswith(b"\n")
    assert line.endswith(b"\n")
    assert len(line) <= LINE_BYTES
    rows = {} if form is AnswerFormat.OPAQUE else {"rows": 2}
    assert json.loads(line) == {"sharing-closing": {"sha-256": digest_of(SENT[form]), **rows}}


def test_longest_closing_line_is_within_its_bound() -> None:
    """More rows than any answer has."""
    closing = Closing(LINE, counts_rows=True, is_chunked=False)
    assert len(closing.end(10**18)) <= LINE_BYTES


@pytest.mark.parametrize(
    ("form", "fields", "version", "answer"),
    [
        (AnswerFormat.NDJSON, "", "1.1", None),
        (AnswerFormat.NDJSON, "TE: trailers\r\n", "1.0", None),
        (AnswerFormat.NDJSON, "TE: deflate\r\n", "1.1", None),
        (AnswerFormat.OPAQUE, "TE: trailers\r\nSharing-Closing: line\r\n", "1.1", COUNTED),
    ],
    ids=["nobody asked", "no chunks", "no trailers", "has a length"],
)
def test_nobody_else_is_told(form: AnswerFormat, fields: str, version: str, answer: bytes | None) -> None:
    """Who has not asked, or has the end by the length, gets the content and nothing else."""
    content = SENT[form]
    made = answer % (len(content), content) if answer else None
    head, rest = answered(form, fields, version=version, answer=made)
    assert not {"trailer", "sharing-closing"} & set(head)
    assert (split_chunks(rest) if "transfer-encoding" in head else (rest, {})) == (content, {})


def test_cut_answer_has_no_closing() -> None:
    """A supplier that breaks off: neither line nor trailer nor last chunk."""

    async def half(_: Any, writer: asyncio.StreamWriter, __: bytes) -> bool:
        writer.write(CHUNKED % (len(SENT[AnswerFormat.NDJSON]), SENT[AnswerFormat.NDJSON]))
        await asyncio.sleep(0.05)
        return False

    for asked in ("TE: trailers\r\n", "Sharing-Closing: line\r\n"):
        with pytest.raises((ConnectionError, ValueError)):
            split_chunks(answered(AnswerFormat.NDJSON, asked, answer=half, end="supplier-failed")[1])


@pytest.mark.parametrize("asked", ["Sharing-Closing: trailer\r\n", "Sharing-Closing: line\r\n" * 2])
def test_what_it_asks_has_one_meaning(asked: str) -> None:
    """Another word, or the field twice: refused, and nobody is called."""

    async def story() -> tuple[int, bytes]:
        async with Supplier() as supplier:
            async with serving(House(interface_for(supplier.port))) as (_, port):
                status, _, content = await (await CallerSide.connect(port)).ask(request(fields=asked))
            assert supplier.requests == []
            return status, json.loads(content)["type"]

    assert uvloop.run(story()) == (400, "/problems/malformed-request")
