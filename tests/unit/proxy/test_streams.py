"""Answers that leave as they come: NDJSON, CSV, opaque; codings, character sets, bounds, backpressure."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import AnswerFormat
from gateway.proxy import Limits
from gateway.proxy.projection.streams import CsvReducer
from tests.support.proxy_ports import (
    CallerSide,
    House,
    Supplier,
    interface_for,
    json_answer,
    permit,
    request,
    serving,
    until,
)

CSV_PLACES = {"xm": "姓名", "hyzk": "婚姻", "gmsfhm": "证号"}
ROWS = '{"xm":"a","gmsfhm":"secret","hyzk":"10"}\n{"xm":"b","hyzk":20.50,"more":{"x":"secret"}}\n'
KEPT = b'{"hyzk":"10","xm":"a"}\n{"hyzk":20.50,"xm":"b"}\n'


def chunked(*pieces: bytes, fields: str = "", end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n".encode() + body + end


def sized(body: bytes, fields: str = "", line: str = "HTTP/1.1 200 OK") -> bytes:
    return f"{line}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


def ask(answer: Any, house_changes: dict[str, Any] | None = None, **interface: Any) -> tuple[int, Any, bytes, House]:
    """One call of an interface; status, fields, content (b"CUT" where the connection broke) and the house."""

    async def story() -> tuple[int, Any, bytes, House]:
        async with Supplier(answer) as supplier:
            changes = dict(house_changes or {})
            house = House(interface_for(supplier.port, **interface), limits=changes.pop("limits", Limits()))
            house.verdict = permit(**changes)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                try:
                    status, fields, content = await caller.ask(request())
                except (asyncio.IncompleteReadError, ConnectionError):
                    return 0, {}, b"CUT", house
                return status, fields, content, house

    return uvloop.run(story())


def test_ndjson_leaves_row_by_row() -> None:
    """Each row keeps the granted items in the supplier's text; rows and items are on record."""
    pieces = [ROWS.encode()[index : index + 7] for index in range(0, len(ROWS), 7)]
    status, fields, content, house = ask(chunked(*pieces), format=AnswerFormat.NDJSON)
    assert (status, content) == (200, KEPT)
    assert fields[b"content-type"] == b"application/x-ndjson"
    outcome = house.ledger.outcomes()[0]
    assert (outcome.rows, outcome.released_items, outcome.bytes) == (2, ("hyzk", "xm"), len(KEPT))


def test_ndjson_without_a_last_line_end_is_whole() -> None:
    """The last row needs no line end."""
    assert ask(sized(ROWS.encode()[:-1]), format=AnswerFormat.NDJSON)[2] == KEPT


def test_a_bad_first_row_is_refused_and_a_later_one_cuts() -> None:
    """Before release a problem, afterwards a cut: never a row that was not understood."""
    status, _, content, _ = ask(sized(b"[1]\n" + ROWS.encode()), format=AnswerFormat.NDJSON)
    assert (status, json.loads(content)["type"]) == (502, "/problems/answer-not-filterable")

    async def later(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(chunked(ROWS.encode(), end=b""))
        await asyncio.sleep(0.05)
        writer.write(b"6\r\nsecret\r\n2\r\n\n\n\r\n0\r\n\r\n")

    status, _, content, house = ask(later, format=AnswerFormat.NDJSON)
    assert content == b"CUT"
    assert house.ledger.outcomes()[0].end == "answer-not-filterable"
    assert house.ledger.outcomes()[0].rows == 2


def test_an_answer_cut_by_its_supplier_is_cut_for_its_caller() -> None:
    """A caller never takes half an answer for a whole one."""

    async def half(_: Any, writer: asyncio.StreamWriter, __: bytes) -> bool:
        writer.write(chunked(ROWS.encode(), end=b""))
        await asyncio.sleep(0.05)
        return False

    _, _, content, house = ask(half, format=AnswerFormat.NDJSON)
    assert content == b"CUT"
    assert house.ledger.outcomes()[0].end == "supplier-failed"


def test_csv_keeps_granted_columns() -> None:
    """Columns of other items are gone; quotes, commas and line ends within values survive."""
    text = '证号,姓名,婚姻\r\nsecret,"张,""三""\n丰",10\r\nsecret,李四,20\r\n'
    raw = text.encode()
    pieces = [raw[index : index + 5] for index in range(0, len(raw), 5)]
    status, fields, content, house = ask(chunked(*pieces), format=AnswerFormat.CSV, places=CSV_PLACES)
    assert (status, fields[b"content-type"]) == (200, b"text/csv; charset=utf-8")
    assert content.decode() == '姓名,婚姻\r\n"张,""三""\n丰",10\r\n李四,20\r\n'
    assert house.ledger.outcomes()[0].rows == 2


def test_a_cell_may_be_as_long_as_a_row() -> None:
    """Beyond the CSV reader's own bound of 131,072 characters, up to the bound of rows, whatever it is cut into."""
    long = "x" * 200_000
    text = f'证号,姓名,婚姻\r\nsecret,"{long}\n",10\r\n'.encode()
    expected = f'姓名,婚姻\r\n"{long}\n",10\r\n'
    for answer in (sized(text), chunked(*[text[start : start + 30_000] for start in range(0, len(text), 30_000)])):
        assert ask(answer, format=AnswerFormat.CSV, places=CSV_PLACES)[2].decode() == expected
    limits = {"limits": Limits(row_bytes=150_000)}
    status, _, content, _ = ask(sized(text), limits, format=AnswerFormat.CSV, places=CSV_PLACES)
    assert status == 502 or content == b"CUT"


def test_csv_with_a_row_of_another_width_is_not_filterable() -> None:
    """A shifted row would put a value into a granted column."""
    text = "证号,姓名,婚姻\r\n李四,secret\r\n"
    assert ask(sized(text.encode()), format=AnswerFormat.CSV, places=CSV_PLACES)[0] == 502


def test_csv_whose_header_repeats_a_granted_column_is_not_filterable() -> None:
    """Two columns of one name have no one meaning."""
    assert ask(sized("姓名,姓名\r\na,secret\r\n".encode()), format=AnswerFormat.CSV, places=CSV_PLACES)[0] == 502


def test_csv_in_gb18030_is_read() -> None:
    """Character sets of older systems are read whole characters at a time, and leave as they came."""
    raw = "姓名,证号,婚姻\r\n张三,secret,10\r\n".encode("gb18030")
    answer = chunked(*[raw[i : i + 3] for i in range(0, len(raw), 3)], fields="Content-Type: text/csv; charset=GBK\r\n")
    _, fields, content, _ = ask(answer, format=AnswerFormat.CSV, places=CSV_PLACES)
    assert (fields[b"content-type"], content.decode("gbk")) == (b"text/csv; charset=GBK", "姓名,婚姻\r\n张三,10\r\n")


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "utf-7"])
def test_other_character_sets_are_not_filterable(charset: str) -> None:
    """What is not read for sure is not let out."""
    answer = json_answer('{"data":[{"xm":"a"}]}', fields="").replace(b"/json", f"/json; charset={charset}".encode())
    assert ask(answer)[0] == 502


def test_masks_apply_in_every_format() -> None:
    """A masked item leaves masked, in JSON, NDJSON and CSV."""
    changes = {"masks": (("xm", "keep-last-4"), ("hyzk", "year-only"))}
    row = '{"xm":"13800001234","hyzk":"1990-05-01"}'
    assert json.loads(ask(json_answer('{"data":[' + row + "]}"), changes)[2])["data"] == [
        {"xm": "*******1234", "hyzk": "1990"}
    ]
    assert json.loads(ask(sized(row.encode()), changes, format=AnswerFormat.NDJSON)[2])["xm"] == "*******1234"
    text = "姓名,婚姻\r\n13800001234,1990-05-01\r\n"
    masked = ask(sized(text.encode()), changes, format=AnswerFormat.CSV, places=CSV_PLACES)[2]
    assert masked == "姓名,婚姻\r\n*******1234,1990\r\n".encode()


def test_opaque_answers_pass_only_under_a_grant_of_all_items() -> None:
    """GRANTED-ITEMS-ONLY: what cannot be filtered leaves whole or not at all; ranges and tags pass with it."""
    answer = sized(b"\x00\x01PDF", 'ETag: "a"\r\nSet-Cookie: s=secret\r\nX-Owner: secret\r\nContent-Type: x/y\r\n')
    status, fields, content, _ = ask(answer, {"all_items": True}, format=AnswerFormat.OPAQUE)
    assert (status, content, fields[b"etag"], fields[b"content-type"]) == (200, b"\x00\x01PDF", b'"a"', b"x/y")
    assert b"set-cookie" not in fields
    assert b"x-owner" not in fields
    assert ask(answer, format=AnswerFormat.OPAQUE)[0] == 502
    masked = {"all_items": True, "masks": (("xm", "hash"),)}
    assert ask(answer, masked, format=AnswerFormat.OPAQUE)[0] == 502
    partial = sized(b"cd", "Content-Range: bytes 2-3/9\r\n", "HTTP/1.1 206 Partial Content")
    status, fields, content, _ = ask(partial, {"all_items": True}, format=AnswerFormat.OPAQUE)
    assert (status, content, fields[b"content-range"]) == (206, b"cd", b"bytes 2-3/9")


def test_a_filtered_answer_bears_no_tag_of_what_was_not_granted() -> None:
    """An entity tag is a function of the whole answer: it would confirm a guess."""
    answer = json_answer('{"data":[{"xm":"a"}]}', fields='ETag: "x"\r\nContent-MD5: y\r\nLast-Modified: z\r\n')
    _, fields, _, _ = ask(answer)
    assert not {b"etag", b"content-md5", b"last-modified"} & set(fields)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_codings_are_undone(coding: str) -> None:
    """A coded answer is read and sent plain."""
    body = b'{"data":[{"xm":"a","gmsfhm":"secret"}]}' * 1
    coded = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    status, fields, content, _ = ask(sized(coded, f"Content-Encoding: {coding}\r\nContent-Type: application/json\r\n"))
    assert (status, json.loads(content)) == (200, {"data": [{"xm": "a"}]})
    assert b"content-encoding" not in fields
    lines = sized(gzip.compress(ROWS.encode()), "Content-Encoding: gzip\r\n")
    assert ask(lines, format=AnswerFormat.NDJSON)[2] == KEPT


def test_no_zip_bomb() -> None:
    """A coded answer that grows out of proportion, is broken, cut or followed by more is refused."""
    bomb = gzip.compress(b" " * (4 << 20))
    for body in (bomb, gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"x", b"no gzip"):
        assert ask(sized(body, "Content-Encoding: gzip\r\n"))[0] == 502
        assert ask(sized(body, "Content-Encoding: gzip\r\n"), format=AnswerFormat.NDJSON)[0] == 502


def test_a_row_or_an_answer_beyond_its_bound_is_not_filterable() -> None:
    """Memory is bounded: by row for streams, by answer for documents."""
    limits = Limits(row_bytes=1000, collect_bytes=1000)
    long = b'{"xm":"' + b"a" * 2000 + b'"}'
    assert ask(sized(long), {"limits": limits}, format=AnswerFormat.NDJSON)[0] == 502
    assert ask(sized(long), {"limits": limits})[0] == 502
    assert ask(chunked(long[:900], long[900:]), {"limits": limits})[0] == 502
    whole = ask(chunked(long[:900], long[900:]), {"limits": limits, "all_items": True})
    assert (whole[0], whole[2]) == (200, long)


def test_row_quotas_stop_a_stream() -> None:
    """Rows are drawn before they leave; where too few are left the answer ends."""

    async def story() -> None:
        async def by_row(_: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
            first, *others = [b'{"xm":"a"}\n'] * 5
            writer.write(chunked(first, end=b""))
            await asyncio.sleep(0.02)
            writer.write(b"".join(b"%x\r\n%b\r\n" % (len(row), row) for row in others) + b"0\r\n\r\n")

        async with Supplier(by_row) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.NDJSON))
            house.verdict = permit(metered=True)
            house.meter.rows = 7
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request()))[2] == b'{"xm":"a"}\n' * 5
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await caller.ask(request())
                assert house.ledger.outcomes()[1].end == "quota-exhausted"

    uvloop.run(story())


def test_a_slow_reader_slows_its_supplier_and_nobody_else() -> None:
    """Backpressure: while one caller does not read, the supplier's stream stops and other calls pass."""
    piece = b"x" * 65536

    async def endless(_: Any, writer: asyncio.StreamWriter, head: bytes) -> None:
        if b"/slow" not in head:
            writer.write(sized(b"ok"))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(16384):
            writer.write(piece)
            await writer.drain()
            sent[0] += len(piece)

    sent = [0]

    async def story() -> None:
        async with Supplier(endless) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.OPAQUE))
            house.verdict = permit(all_items=True)
            async with serving(house) as (_, port):
                slow = await CallerSide.connect(port, limit=1024)
                slow.writer.write(request("/hukou/person/slow"))
                await asyncio.sleep(0.3)
                stopped = sent[0]
                await asyncio.sleep(0.2)
                assert sent[0] == stopped
                assert stopped < 64 << 20
                other = await CallerSide.connect(port)
                assert (await other.ask(request()))[2] == b"ok"

    uvloop.run(story())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_byte_order_mark_is_no_part_of_a_column(size: int) -> None:
    """The first column is found behind it, and it goes on, once, however the answer is cut."""
    answer = "\ufeffxm,gmsfhm\r\n\ufeff张三,SECRET\r\n".encode()
    reducer = CsvReducer({"xm": "xm", "gmsfhm": "gmsfhm"}, ("xm",), {}, 1 << 16)
    left = b"".join(reducer.feed(answer[at : at + size]) for at in range(0, len(answer), size)) + reducer.finish()
    assert left.decode() == "\ufeffxm\r\n\ufeff张三\r\n"
    assert (reducer.rows, reducer.items) == (1, {"xm"})


def test_a_caller_of_http_1_0_gets_its_answer_up_to_the_connections_end() -> None:
    """As nginx's default front asks: no chunks, whole answers with their length, streams that end as they do."""

    async def story() -> None:
        async with Supplier(chunked(*[b'{"xm":"a"}\n'] * 5)) as supplier:
            house = House(interface_for(supplier.port, format=AnswerFormat.NDJSON))
            async with serving(house) as (_, port):
                for fields in ("", "Connection: close\r\n", "Expect: 100-continue\r\n"):
                    caller = await CallerSide.connect(port)
                    caller.writer.write(request(fields=fields).replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", 1))
                    head = await caller.reader.readuntil(b"\r\n\r\n")
                    assert b"transfer-encoding" not in head.lower()
                    assert b"Connection: close\r\n" in head
                    assert await caller.reader.read() == b'{"xm":"a"}\n' * 5
                    await until(lambda: [each.end for each in house.ledger.outcomes()][-1:] == ["complete"])

    uvloop.run(story())


def test_a_gzip_of_several_members_is_refused_whole() -> None:
    """What stands behind the first is not left out in silence."""
    two = gzip.compress(b'{"xm":"a"}\n') + gzip.compress(b'{"xm":"b"}\n')
    status, _, content, _ = ask(sized(two, "Content-Encoding: gzip\r\n"), format=AnswerFormat.NDJSON)
    assert status == 502 or content == b"CUT"
