"""The HTTP conformance table: what the data plane does with requests and answers, byte for byte.

    .venv/bin/python -m tests.conformance.http.table [--pieces]

prints case | expected | seen and exits with 1 where any differs. `--pieces` sends every request byte by byte. The rules
are those of RFC 9110 and RFC 9112; where the gateway is stricter, the case says so by its name.

What is seen of a request: the status of each answer, a problem's code, and whether the connection takes another
request after it (`open`) or not (`close`).
"""

import asyncio
import json
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from gateway.domain.directory import AnswerFormat
from gateway.proxy import Limits
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, json_answer, permit, request

HOST = "Host: gateway\r\n"
AUTH = "Authorization: Bearer good\r\nSharing-Purpose: marriage-registration\r\n"
GOOD = request()
MALFORMED = "400 malformed-request, close"


@dataclass(frozen=True)
class Case:
    """One line of the table: what is sent, and what must be seen."""

    name: str
    send: bytes
    expected: str
    is_head: bool = False


def head(line: str = "GET /hukou/person/v1 HTTP/1.1", fields: str = "", host: str = HOST) -> bytes:
    """A request head out of its line and fields."""
    return f"{line}\r\n{host}{AUTH}{fields}\r\n".encode()


def post(fields: str, body: bytes) -> bytes:
    """A POST with these framing fields and octets."""
    return head("POST /hukou/person/v1 HTTP/1.1", fields) + body


def target(path: str) -> bytes:
    """A GET of a target."""
    return head(f"GET {path} HTTP/1.1")


def refused_target(name: str, path: str) -> Case:
    """A target that must be refused; its head is well framed."""
    return Case(name, target(path), MALFORMED)


REQUESTS: tuple[Case, ...] = (
    Case("a plain request", GOOD, "200, open"),
    Case("an empty line before the request line", b"\r\n" + GOOD, "200, open"),
    Case("two pipelined requests", GOOD + GOOD, "200, 200, open"),
    Case("`Connection: close`", head(fields="Connection: close\r\n"), "200, close"),
    Case("HEAD has no content", request(method="HEAD"), "200, open", is_head=True),
    Case("POST with a length", post("Content-Length: 5\r\n", b"hello"), "200, open"),
    Case("POST with chunks", post("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"), "200, open"),
    Case(
        "chunks with extensions and trailers",
        post("Transfer-Encoding: chunked\r\n", b'5;a=b;c="d"\r\nhello\r\n0\r\nX: y\r\n\r\n'),
        "200, open",
    ),
    Case("chunked in another case", post("Transfer-Encoding: CHUNKED\r\n", b"0\r\n\r\n"), "200, open"),
    Case("POST with length 0", post("Content-Length: 0\r\n", b""), "200, open"),
    Case(
        "`Expect: 100-continue` and a body", post("Expect: 100-continue\r\nContent-Length: 2\r\n", b"hi"), "200, open"
    ),
    Case("absolute form that agrees with Host", head("GET http://gateway/hukou/person/v1 HTTP/1.1"), "200, open"),
    # Framing.
    Case(
        "both framing fields",
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        MALFORMED,
    ),
    Case("Content-Length twice, equal", post("Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), MALFORMED),
    Case("Content-Length twice, different", post("Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"), MALFORMED),
    Case("Content-Length as a list", post("Content-Length: 5, 5\r\n", b"hello"), MALFORMED),
    Case("Content-Length with a sign", post("Content-Length: +5\r\n", b"hello"), MALFORMED),
    Case("Content-Length negative", post("Content-Length: -1\r\n", b""), MALFORMED),
    Case("Content-Length in hex", post("Content-Length: 0x5\r\n", b"hello"), MALFORMED),
    Case("Content-Length with a space within", post("Content-Length: 1 0\r\n", b"hello"), MALFORMED),
    Case("Content-Length empty", post("Content-Length: \r\n", b""), MALFORMED),
    Case("Content-Length beyond 18 digits", post(f"Content-Length: {'9' * 30}\r\n", b""), MALFORMED),
    Case("transfer coding gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), MALFORMED),
    Case("transfer coding chunked, gzip", post("Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"), MALFORMED),
    Case("transfer coding identity", post("Transfer-Encoding: identity\r\n", b""), MALFORMED),
    Case("transfer coding chunked twice in a list", post("Transfer-Encoding: chunked, chunked\r\n", b""), MALFORMED),
    Case(
        "Transfer-Encoding twice",
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        MALFORMED,
    ),
    Case("transfer coding with a parameter", post("Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"), MALFORMED),
    Case("transfer coding xchunked", post("Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), MALFORMED),
    Case("transfer coding with a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), MALFORMED),
    Case("chunk size with a sign", post("Transfer-Encoding: chunked\r\n", b"+5\r\nhello\r\n0\r\n\r\n"), MALFORMED),
    Case("chunk size with 0x", post("Transfer-Encoding: chunked\r\n", b"0x5\r\nhello\r\n0\r\n\r\n"), MALFORMED),
    Case("chunk size with a space before CR", post("Transfer-Encoding: chunked\r\n", b"5 \r\nhello\r\n"), MALFORMED),
    Case("chunk size too long", post("Transfer-Encoding: chunked\r\n", b"0000000000005\r\nhello\r\n"), MALFORMED),
    Case("chunk size empty", post("Transfer-Encoding: chunked\r\n", b"\r\nhello\r\n"), MALFORMED),
    Case("chunk line ends with a bare LF", post("Transfer-Encoding: chunked\r\n", b"5\nhello\r\n0\r\n\r\n"), MALFORMED),
    Case("chunk data ends with a bare LF", post("Transfer-Encoding: chunked\r\n", b"5\r\nhello\n0\r\n\r\n"), MALFORMED),
    Case("chunk data longer than its size", post("Transfer-Encoding: chunked\r\n", b"4\r\nhello\r\n"), MALFORMED),
    Case("a bare LF in a chunk extension", post("Transfer-Encoding: chunked\r\n", b"5;a\nx\r\nhello\r\n"), MALFORMED),
    Case("a bare CR in a chunk extension", post("Transfer-Encoding: chunked\r\n", b"5;a\rx\r\nhello\r\n"), MALFORMED),
    Case("a folded trailer", post("Transfer-Encoding: chunked\r\n", b"0\r\nX: y\r\n z\r\n\r\n"), MALFORMED),
    # Lines and fields.
    Case("a bare LF after the request line", GOOD.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n", 1), MALFORMED),
    Case("a bare LF after a field", GOOD.replace(b"gateway\r\n", b"gateway\n", 1), MALFORMED),
    Case("bare LFs only", GOOD.replace(b"\r\n", b"\n"), MALFORMED),
    Case("a bare CR in a value", head(fields="X-A: b\rc\r\n"), MALFORMED),
    Case("a folded field (obs-fold)", head(fields="X-A: b\r\n c\r\n"), MALFORMED),
    Case(
        "a fold in the first field", b"GET /hukou/person/v1 HTTP/1.1\r\n X: y\r\n" + HOST.encode() + b"\r\n", MALFORMED
    ),
    Case("a space before the colon", head(fields="X-A : b\r\n"), MALFORMED),
    Case("a space before Content-Length's colon", post("Content-Length : 5\r\n", b"hello"), MALFORMED),
    Case("a tab before the colon", head(fields="X-A\t: b\r\n"), MALFORMED),
    Case("a field without a colon", head(fields="X-A\r\n"), MALFORMED),
    Case("a field without a name", head(fields=": b\r\n"), MALFORMED),
    Case("a name with parentheses", head(fields="X(A): b\r\n"), MALFORMED),
    Case("a name beyond ASCII", head(fields="X-Ä: b\r\n"), MALFORMED),
    Case("a NUL in a value", head(fields="X-A: b\0c\r\n"), MALFORMED),
    Case("a NUL in a name", head(fields="X\0A: b\r\n"), MALFORMED),
    Case("an escape character in a value", head(fields="X-A: b\x1bc\r\n"), MALFORMED),
    Case("a DEL in a value", head(fields="X-A: b\x7fc\r\n"), MALFORMED),
    Case("octets beyond ASCII in a value", head(fields="X-A: 张\r\n"), "200, open"),
    Case("an empty value", head(fields="X-A:\r\n"), "200, open"),
    Case("Authorization twice", head(fields="Authorization: Bearer other\r\n"), MALFORMED),
    Case("Sharing-Purpose twice", head(fields="Sharing-Purpose: other\r\n"), MALFORMED),
    Case("Sharing-Items with an empty name", head(fields="Sharing-Items: xm,,hyzk\r\n"), MALFORMED),
    Case("Expect for something else", head(fields="Expect: 200-ok\r\n"), MALFORMED),
    Case("Connection names Host", head(fields="Connection: host\r\n"), MALFORMED),
    Case("Connection names Authorization", head(fields="Connection: authorization\r\n"), MALFORMED),
    Case("Connection names Sharing-Purpose", head(fields="Connection: close, Sharing-Purpose\r\n"), MALFORMED),
    # The request line and Host.
    Case("HTTP/1.0", head("GET /hukou/person/v1 HTTP/1.0"), "200, close"),
    Case(
        "HTTP/1.0 that asks to be kept",
        head("GET /hukou/person/v1 HTTP/1.0", "Connection: keep-alive\r\n"),
        "200, close",
    ),
    Case(
        "HTTP/1.0 with chunks",
        head("POST /hukou/person/v1 HTTP/1.0", "Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
        MALFORMED,
    ),
    Case("HTTP/1.2", head("GET /hukou/person/v1 HTTP/1.2"), "505 version-unsupported, close"),
    Case("HTTP/0.9 as a version", head("GET /hukou/person/v1 HTTP/0.9"), "505 version-unsupported, close"),
    Case("HTTP/2.0 in text", head("GET /hukou/person/v1 HTTP/2.0"), "505 version-unsupported, close"),
    Case("HTTP/1.1 in lower case", head("GET /hukou/person/v1 http/1.1"), MALFORMED),
    Case("no version (HTTP/0.9)", b"GET /hukou/person/v1\r\n\r\n", MALFORMED),
    Case("two spaces in the request line", head("GET  /hukou/person/v1 HTTP/1.1"), MALFORMED),
    Case("a tab in the request line", head("GET\t/hukou/person/v1 HTTP/1.1"), MALFORMED),
    Case("a space at the end of the request line", head("GET /hukou/person/v1 HTTP/1.1 "), MALFORMED),
    Case("a method in lower case", head("get /hukou/person/v1 HTTP/1.1"), MALFORMED),
    Case("octets that are no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", MALFORMED),
    Case("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 version-unsupported, close"),
    Case("no Host", head(host=""), MALFORMED),
    Case("Host twice", head(fields="Host: gateway\r\n"), MALFORMED),
    Case("Host twice, different", head(fields="Host: other\r\n"), MALFORMED),
    Case("Host empty", head(host="Host: \r\n"), MALFORMED),
    Case("Host with a path", head(host="Host: gateway/x\r\n"), MALFORMED),
    Case("Host with user information", head(host="Host: a@gateway\r\n"), MALFORMED),
    Case("Host as a list", head(host="Host: gateway, other\r\n"), MALFORMED),
    Case("absolute form that disagrees with Host", head("GET http://other/hukou/person/v1 HTTP/1.1"), MALFORMED),
    Case("Host with a port beyond 65535", head(host="Host: gateway:99999\r\n"), MALFORMED),
    Case("Host with a port", head(host="Host: gateway:65535\r\n"), "200, open"),
    Case("absolute form", head("GET http://gateway/hukou/person/v1 HTTP/1.1"), "200, open"),
    Case("an https target on a plain listener", head("GET https://gateway/hukou/person/v1 HTTP/1.1"), MALFORMED),
    Case("absolute form with user information", head("GET http://a@gateway/hukou/person/v1 HTTP/1.1"), MALFORMED),
    Case("authority form", head("GET gateway:80 HTTP/1.1"), MALFORMED),
    Case("asterisk form", head("OPTIONS * HTTP/1.1"), MALFORMED),
    Case("CONNECT", head("CONNECT gateway:80 HTTP/1.1"), "501 method-unknown, close"),
    Case("TRACE", head("TRACE /hukou/person/v1 HTTP/1.1"), "501 method-unknown, close"),
    Case("a method that HTTP has not", head("BREW /hukou/person/v1 HTTP/1.1"), "501 method-unknown, close"),
    Case("OPTIONS", request(method="OPTIONS"), "405 method-not-allowed, open"),
    Case("a method the interface does not take", request(method="DELETE"), "405 method-not-allowed, open"),
    Case(
        "an upgrade is not followed",
        head(fields="Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        "200, open",
    ),
    Case(
        "an upgrade to h2c is not followed",
        head(fields="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"),
        "200, open",
    ),
    # The target.
    refused_target("a dot segment", "/hukou/person/./v1"),
    refused_target("two dots", "/hukou/person/../v1"),
    refused_target("two dots at the end", "/hukou/person/.."),
    refused_target("an encoded dot", "/hukou/person/%2e%2e/v1"),
    refused_target("an encoded dot in upper case", "/hukou/person/%2E/v1"),
    refused_target("an encoded slash", "/hukou/person%2fv1"),
    refused_target("an encoded backslash", "/hukou/person/%5cv1"),
    refused_target("a backslash", "/hukou/person\\v1"),
    refused_target("an encoded NUL", "/hukou/person/%00"),
    refused_target("an encoded NUL in the query", "/hukou/person/v1?a=%00"),
    refused_target("an encoded line end", "/hukou/person/%0d%0aX"),
    refused_target("double encoding", "/hukou/person/%252e%252e"),
    refused_target("an empty segment", "/hukou//person/v1"),
    refused_target("an empty first segment", "//hukou/person/v1"),
    refused_target("a fragment", "/hukou/person/v1#x"),
    refused_target("a path parameter (stricter)", "/hukou/person;x=1/v1"),
    refused_target("dots behind a path parameter", "/hukou/person/..;/v1"),
    refused_target("a broken percent-encoding", "/hukou/person/%zz"),
    refused_target("a cut percent-encoding", "/hukou/person/%2"),
    refused_target("octets that are not UTF-8", "/hukou/person/%ff"),
    refused_target("an overlong slash", "/hukou/person/%c0%af"),
    refused_target("raw octets beyond ASCII", "/hukou/person/张"),
    refused_target("brackets in the query (stricter)", "/hukou/person/v1?a[0]=1"),
    Case("encoded UTF-8", target("/hukou/person/%E5%BC%A0"), "200, open"),
    Case("a slash at the end", target("/hukou/person/v1/"), "200, open"),
    Case("dots within a segment", target("/hukou/person/a..b"), "200, open"),
    Case("a path of one segment", target("/hukou"), "404 interface-unknown, close"),
    Case("an unknown interface", target("/hukou/nobody"), "404 interface-unknown, open"),
    # Limits.
    Case("a request line beyond 8 KiB", target("/hukou/person/" + "a" * 8200), "414 target-too-long, close"),
    Case("headers beyond 32 KiB", head(fields="X-A: " + "b" * 33000 + "\r\n"), "431 headers-too-large, close"),
    Case("more than 100 fields", head(fields="X-A: b\r\n" * 98), "431 headers-too-large, close"),
    Case("100 fields", head(fields="X-A: b\r\n" * 97), "200, open"),
    Case("a body beyond the interface's limit", post("Content-Length: 200000\r\n", b"x"), "413 body-too-large, close"),
    Case(
        "chunks beyond the interface's limit",
        post("Transfer-Encoding: chunked\r\n", b"20000\r\n" + b"x" * 0x20000 + b"\r\n"),
        "413 body-too-large, close",
    ),
    # Credentials and declarations.
    Case("no credential", b"GET /hukou/person/v1 HTTP/1.1\r\nHost: g\r\n\r\n", "401 credential-missing, open"),
    Case("a bad credential", GOOD.replace(b"Bearer good", b"Bearer bad"), "401 credential-invalid, open"),
    Case("no purpose", GOOD.replace(b"Sharing-Purpose", b"X-Purpose"), "400 purpose-missing, open"),
    Case("a mode the interface does not serve", head(fields="Sharing-Mode: batch\r\n"), "403 mode-not-granted, open"),
)

ROW = '{"code":0,"message":"ok","data":[{"xm":"a","gmsfhm":"secret","hyzk":"10"}]}'
KEPT = {"code": 0, "message": "ok", "data": [{"xm": "a", "hyzk": "10"}]}
_UNREACHABLE = "502 supplier-unreachable"
_LENGTH = f"Content-Length: {len(ROW)}\r\n"
_NOT_FILTERABLE = "502 answer-not-filterable"
_REFUSED = "502 supplier-refused"


def answer(fields: str, body: bytes, line: str = "HTTP/1.1 200 OK") -> bytes:
    """A supplier's answer, byte for byte."""
    return f"{line}\r\nContent-Type: application/json\r\n{fields}\r\n".encode() + body


_BODY = ROW.encode()
_CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(_BODY), _BODY)

ANSWERS: tuple[Case, ...] = (
    Case("an answer with its length", json_answer(ROW), "200 filtered"),
    Case("a chunked answer", answer("Transfer-Encoding: chunked\r\n", _CHUNKED), "200 filtered"),
    Case(
        "a chunked answer with trailers",
        answer("Transfer-Encoding: chunked\r\n", _CHUNKED[:-2] + b"X: y\r\n\r\n"),
        "200 filtered",
    ),
    Case("an answer that ends by close", answer("Connection: close\r\n", _BODY), "200 filtered"),
    Case("an HTTP/1.0 answer", answer("", _BODY, "HTTP/1.0 200 OK"), "200 filtered"),
    Case("interim answers first", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + json_answer(ROW), "200 filtered"),
    Case("100 Continue first", b"HTTP/1.1 100 Continue\r\n\r\n" + json_answer(ROW), "200 filtered"),
    Case("204", b"HTTP/1.1 204 No Content\r\n\r\n", "204"),
    Case("304 without a condition", b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', _REFUSED),
    Case("401", answer('WWW-Authenticate: Basic realm="secret"\r\n' + _LENGTH, _BODY, "HTTP/1.1 401 No"), _REFUSED),
    Case("407", answer("Proxy-Authenticate: Basic\r\n" + _LENGTH, _BODY, "HTTP/1.1 407 No"), _REFUSED),
    Case("403", json_answer(ROW, status="403 Forbidden"), "403 filtered"),
    Case("429", json_answer(ROW, status="429 Too Many"), "429 filtered"),
    Case("503", json_answer(ROW, status="503 Away"), "503 filtered"),
    Case("205", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", "205"),
    Case("205 with content", answer(_LENGTH, _BODY, "HTTP/1.1 205 Reset Content"), _UNREACHABLE),
    Case("a status that HTTP has not", json_answer(ROW, status="600 Six"), _UNREACHABLE),
    Case("an SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n", _UNREACHABLE),
    Case("HTTP/2", b"\0\0\x12\x04\0\0\0\0\0" + bytes(18), _UNREACHABLE),
    Case("no reason phrase", answer(f"Content-Length: {len(_BODY)}\r\n", _BODY, "HTTP/1.1 200 "), "200 filtered"),
    Case("an error with JSON is filtered", json_answer(ROW, status="404 Not Found"), "404 filtered"),
    Case(
        "an error that is no JSON loses its content",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nsecret",
        "500 empty",
    ),
    Case(
        "a redirect",
        b"HTTP/1.1 302 Found\r\nLocation: http://x/secret\r\nContent-Length: 0\r\n\r\n",
        _REFUSED,
    ),
    Case("no rows", json_answer('{"code":1,"message":"none","data":[]}'), "200"),
    Case("rows nowhere (KNOWN-SHAPE)", json_answer('{"code":1,"message":"none"}'), _NOT_FILTERABLE),
    Case("both framing fields", answer("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", _CHUNKED), _UNREACHABLE),
    Case("Content-Length twice", answer("Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), _UNREACHABLE),
    Case("Content-Length as a list", answer("Content-Length: 5, 5\r\n", b"hello"), _UNREACHABLE),
    Case("a transfer coding but chunked", answer("Transfer-Encoding: gzip\r\n", b"hello"), _UNREACHABLE),
    Case("a bare LF in the head", json_answer(ROW).replace(b"OK\r\n", b"OK\n"), _UNREACHABLE),
    Case("a folded field", answer("X: a\r\n b\r\nContent-Length: 2\r\n", b"{}"), _UNREACHABLE),
    Case("a NUL in the head", answer("X: a\0b\r\nContent-Length: 2\r\n", b"{}"), _UNREACHABLE),
    Case("101 without an upgrade", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", _UNREACHABLE),
    Case("no HTTP at all", b"hello\r\n\r\n", _UNREACHABLE),
    Case("a head without an end", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40000, _UNREACHABLE),
    Case("close before the length is reached", answer("Content-Length: 500\r\n", _BODY), _UNREACHABLE),
    Case("close within a chunk", answer("Transfer-Encoding: chunked\r\n", _CHUNKED[:20]), _UNREACHABLE),
    Case("close before the last chunk", answer("Transfer-Encoding: chunked\r\n", _CHUNKED[:-5]), _UNREACHABLE),
    Case("close at once", b"", _UNREACHABLE),
    Case("a broken chunk size", answer("Transfer-Encoding: chunked\r\n", b"zz\r\n"), _UNREACHABLE),
    Case("content that is no JSON", answer("Content-Length: 5\r\n", b"hello"), _NOT_FILTERABLE),
    Case(
        "a content coding that is not read",
        answer("Content-Encoding: br\r\n" + _LENGTH, _BODY),
        _NOT_FILTERABLE,
    ),
    Case(
        "a part of an answer",
        answer(_LENGTH, _BODY, "HTTP/1.1 206 Partial Content"),
        _NOT_FILTERABLE,
    ),
    Case("more behind the answer", json_answer(ROW) + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 filtered"),
)


async def see_request(port: int, case: Case, *, pieces: bool = False) -> str:
    """What is seen of one request case."""
    caller = await CallerSide.connect(port)
    seen: list[str] = []
    try:
        if pieces and len(case.send) < 2000:
            for index in range(len(case.send)):
                caller.writer.write(case.send[index : index + 1])
                await asyncio.sleep(0)
        else:
            caller.writer.write(case.send)
        for _ in range(case.expected.count(",")):
            status, fields, content = await caller.answer(is_head=case.is_head)
            while status == 100:
                status, fields, content = await caller.answer()
            code = ""
            if fields.get(b"content-type") == b"application/problem+json":
                code = " " + json.loads(content)["type"].removeprefix("/problems/")
            seen.append(f"{status}{code}")
        seen.append(await _state_of(caller))
    except (ConnectionError, asyncio.IncompleteReadError):
        seen.append("close")
    finally:
        caller.close()
    return ", ".join(seen)


async def _state_of(caller: CallerSide) -> str:
    """Whether the connection takes another request."""
    try:
        status, _, _ = await caller.ask(GOOD)
    except (ConnectionError, asyncio.IncompleteReadError):
        return "close"
    return "open" if status == 200 else f"open, then {status}"


async def see_answer(port: int, supplier: Supplier, case: Case) -> str:
    """What a caller sees of one supplier's answer; and the next call must not see anything of it."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> bool:
        writer.write(case.send)
        await writer.drain()
        return False

    supplier.answer = serve
    caller = await CallerSide.connect(port)
    status, fields, content = await caller.ask(GOOD)
    supplier.answer = json_answer(ROW)
    again, _, after = await caller.ask(GOOD)
    caller.close()
    if again != 200 or json.loads(after) != KEPT:
        return f"the next call saw {again}"
    if b"secret" in content or b"secret" in b"".join(fields.values()):
        return "a value that is not granted"
    is_problem = fields.get(b"content-type") == b"application/problem+json"
    if fields.get(b"sharing-origin") != (b"gateway" if is_problem else b"supplier"):
        return "an answer of unknown origin"
    if is_problem:
        return f"{status} {json.loads(content)['type'].removeprefix('/problems/')}"
    if content and json.loads(content) == KEPT:
        return f"{status} filtered"
    if status >= 300 and not content and status != 304:
        return f"{status} empty"
    return str(status)


async def run(*, pieces: bool = False) -> list[tuple[str, str, str]]:
    """Every case: (name, expected, seen)."""
    lines = []
    async with Supplier(json_answer(ROW)) as supplier:
        interface = interface_for(supplier.port, methods=("GET", "HEAD", "POST"), body_limit_bytes=100_000)
        house = House(interface, limits=Limits(circuit_failures=1000, linger_seconds=0.5, tick_seconds=0.05))
        plane = house.plane()
        server = await plane.serve("127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        lines += [(case.name, case.expected, await see_request(port, case, pieces=pieces)) for case in REQUESTS]
        if not pieces:
            lines += [
                (f"answer: {case.name}", case.expected, await see_answer(port, supplier, case)) for case in ANSWERS
            ]
        house.verdict = permit(all_items=True)
        house.interfaces["hukou/person"] = interface_for(supplier.port, format=AnswerFormat.OPAQUE)
        await plane.drain(1)
    return lines


def main() -> int:
    """Print the table; 1 where a line differs."""
    import uvloop  # noqa: PLC0415 - only the command runs on uvloop; the tests run on both loops

    pieces = "--pieces" in sys.argv[1:]
    lines = uvloop.run(run(pieces=pieces))
    table = Table("case", "expected", "seen", title="HTTP conformance" + (", byte by byte" if pieces else ""))
    differs = 0
    for name, expected, seen in lines:
        differs += seen != expected
        table.add_row(name, expected, seen if seen == expected else f"[red]{seen}[/red]")
    Console(width=150).print(table)
    print(f"{len(lines)} cases, {differs} differ")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
