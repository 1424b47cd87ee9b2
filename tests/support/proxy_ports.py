"""Small real implementations of the data plane's ports, in memory, and a supplier to call: for tests of the proxy."""

import asyncio
import contextlib
import itertools
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar, Self

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import parse_upstream
from gateway.domain.texts import Said
from gateway.domain.uses import Outcome, Use
from gateway.domain.verdicts import Call, Decision, Verdict
from gateway.proxy import DataPlane, Limits
from gateway.proxy.ports import Reach

ITEMS = ("hyzk", "xm")
PLACES = {"xm": "/xm", "hyzk": "/hyzk", "gmsfhm": "/gmsfhm"}


def permit(**changes: Any) -> Verdict:
    """A permit of `ITEMS` under grant `g-1`."""
    fields: dict[str, Any] = {
        "decision": Decision.PERMIT,
        "code": "",
        "policies": ("grant.g-1",),
        "policy_digest": "00" * 32,
        "valid_until_unix": 1 << 40,
        "grant": "g-1",
        "grant_version": 1,
        "items": ITEMS,
    }
    return Verdict(**{**fields, **changes})


def deny(code: str, **changes: Any) -> Verdict:
    """A denial."""
    fields: dict[str, Any] = {
        "decision": Decision.DENY,
        "code": code,
        "policies": (),
        "policy_digest": "00" * 32,
        "valid_until_unix": 1 << 40,
    }
    return Verdict(**{**fields, **changes})


class MemoryLedger:
    """Keeps records in order; `hold` keeps `opened` from becoming durable until `release`; `fail` breaks it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, Any]] = []
        self.hold = False
        self.fail: BaseException | None = None
        self.poisoned = False
        self._held: list[Callable[[BaseException | None], None]] = []
        self._ids = itertools.count(1)

    def opened(self, use: Use, done: Callable[[BaseException | None], None]) -> str:
        if self.poisoned:
            raise GatewayError("records-unavailable")
        record = f"r-{next(self._ids)}"
        self.events.append(("opened", record, use))
        if self.hold:
            self._held.append(done)
        else:
            asyncio.get_running_loop().call_soon(done, self.fail)
        return record

    def release(self) -> None:
        self.hold = False
        for done in self._held:
            done(self.fail)
        self._held.clear()

    def closed(self, record: str, use: Use, outcome: Outcome) -> None:
        self.events.append(("closed", record, outcome))

    def refused(self, use: Use) -> str:
        record = f"r-{next(self._ids)}"
        self.events.append(("refused", record, use))
        return record

    def outcomes(self) -> list[Outcome]:
        return [event[2] for event in self.events if event[0] == "closed"]

    def kinds(self) -> list[str]:
        return [event[0] for event in self.events]


class MemoryMeter:
    """Counts calls and rows against fixed quotas."""

    def __init__(self, calls: int = 1 << 30, rows: int = 1 << 30) -> None:
        self.calls = calls
        self.rows = rows
        self.guesses: dict[Any, int] = {}

    def draw_call(self, verdict: Verdict) -> bool:
        self.calls -= 1
        return self.calls >= 0

    def draw_guess(self, use: Use) -> bool:
        name = (use.verdict.meter, use.caller.system, use.subject)
        self.guesses[name] = self.guesses.get(name, 0) + 1
        return self.guesses[name] <= (use.verdict.guesses_a_day or 0)

    def right(self, use: Use) -> None:
        self.guesses[use.verdict.meter, use.caller.system, use.subject] -= 1

    def draw_rows(self, verdict: Verdict, rows: int) -> bool:
        if rows > self.rows:
            return False
        self.rows -= rows
        return True


DIGEST_KEY = bytes(range(32))


class House:
    """Everything the data plane asks of the house, settable by a test."""

    def __init__(self, *interfaces: Interface, limits: Limits | None = None) -> None:
        self.interfaces = {interface.key: interface for interface in interfaces}
        self.verdict: Verdict = permit()
        self.ledger = MemoryLedger()
        self.meter = MemoryMeter()
        self.fresh = True
        self.limits = limits or Limits()
        self.calls: list[Call] = []
        self.decide_later: Callable[[Call], Awaitable[Verdict]] | None = None
        self.heads: list[Any] = []
        self.peers: list[Any] = []
        self.clock: Callable[[], int] = time.time_ns
        self.supplier_tls: ssl.SSLContext | None = None

    def identify(self, head: Any, peer: Any) -> Caller:
        self.heads.append(head)
        self.peers.append(peer)
        credential = dict(head.fields).get(b"authorization")
        if credential is None:
            raise GatewayError("credential-missing")
        if not credential.startswith(b"Bearer good"):
            raise GatewayError("credential-invalid")
        return Caller("s-1", "civil-affairs", Assurance.BEARER, "jti-1", 1 << 40)

    def resolve(self, supplier: str, interface: str) -> Interface:
        try:
            return self.interfaces[f"{supplier}/{interface}"]
        except KeyError:
            raise GatewayError("interface-unknown") from None

    def reach(self, interface: Interface) -> Reach:
        """Suppliers of tests stand on loopback, at the address that their entry names."""
        upstream = parse_upstream(interface.upstream)
        return Reach((upstream.address,), self.supplier_tls if upstream.is_tls else None, interface.tls_name or "")

    def decide(self, call: Call) -> Verdict | Awaitable[Verdict]:
        self.calls.append(call)
        if self.decide_later is not None:
            return self.decide_later(call)
        return self.verdict

    def seal(self, call: Call, scenario: str, operator: str, _years: int) -> Said | Awaitable[Said]:
        """What was said, as it was: `MemoryLedger` is no log."""
        return Said(call.purpose, scenario, operator)

    def pseudonym(self, identifier: bytes) -> str:
        return f"p{len(identifier)}"

    def plane(self, **changes: Any) -> DataPlane:
        """A data plane on the running loop."""
        ports: dict[str, Any] = {
            "identify": self.identify,
            "resolve": self.resolve,
            "reach": self.reach,
            "decide": self.decide,
            "seal": self.seal,
            "ledger": self.ledger,
            "meter": self.meter,
            "pseudonym": self.pseudonym,
            "is_fresh": lambda: self.fresh,
            "limits": self.limits,
            "digest_key": DIGEST_KEY,
            "clock": self.clock,
        }
        return DataPlane(**{**ports, **changes})


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is no event of this loop's making
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def serving(house: House, **changes: Any) -> AsyncIterator[tuple[DataPlane, int]]:
    """A data plane that listens on loopback, and its port; drained at the end."""
    tls = changes.pop("tls", None)
    plane = house.plane(**changes)
    server = await plane.serve("127.0.0.1", 0, tls=tls)
    CallerSide.planes.append(plane)
    try:
        yield plane, server.sockets[0].getsockname()[1]
    finally:
        CallerSide.planes.remove(plane)
        while CallerSide.connected:
            CallerSide.connected.pop().close()
        await asyncio.sleep(0.01)
        await plane.drain(0.2)


def interface_for(port: int, **changes: Any) -> Interface:
    """An interface `hukou/person` of a supplier on loopback."""
    fields: dict[str, Any] = {
        "id": "person",
        "supplier": "hukou",
        "dataset": "d-1",
        "upstream": f"http://127.0.0.1:{port}/api",
        "places": PLACES,
        "plain_http": True,
    }
    return Interface(**{**fields, **changes})


class Supplier:
    """A supplier on loopback that answers what a test tells it, byte for byte.

    Args:
        answer: bytes for every request, or a coroutine function (reader, writer, request head) that answers itself.
    """

    def __init__(self, answer: Any = None, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.answer = answer or json_answer(
            '{"code":0,"message":"ok","data":[{"xm":"张三","gmsfhm":"442000199001011234","hyzk":"10"}]}'
        )
        self.requests: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def take_slowly(self) -> None:
        """Let the kernel hold little of what is written to this supplier."""
        assert self._server is not None
        self._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                if callable(self.answer):
                    if await self.answer(reader, writer, head) is False:
                        break
                    continue
                self.bodies.append(await read_body(reader, head))
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body behind a request or answer head."""
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        body = b""
        while True:
            size = int((await reader.readuntil(b"\r\n")), 16)
            body += await reader.readexactly(size)
            await reader.readexactly(2)
            if not size:
                return body
    for line in lowered.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.partition(b":")[2]))
    return b""


def json_answer(text: str, *, status: str = "200 OK", fields: str = "") -> bytes:
    """A JSON answer with its length."""
    content = text.encode("utf-8")
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{fields}Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def request(path: str = "/hukou/person/v1?id=1", method: str = "GET", fields: str = "", body: bytes = b"") -> bytes:
    """A good request with extra fields."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer good\r\n"
        f"Sharing-Purpose: marriage-registration\r\n{length}{fields}\r\n"
    )
    return head.encode() + body


class CallerSide:
    """A caller's connection: writes bytes, reads answers; `serving` closes what a test leaves open."""

    connected: ClassVar[list["CallerSide"]] = []
    planes: ClassVar[list[DataPlane]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, **options: Any) -> "CallerSide":
        caller = cls(*await asyncio.open_connection("127.0.0.1", port, **options))
        cls.connected.append(caller)
        return caller

    async def answer(self, *, is_head: bool = False) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, fields (lower case) and content of the next answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        lines = head[:-4].split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        content = b""
        if not is_head and status not in {100, 204, 304}:
            content = await asyncio.wait_for(read_body(self.reader, head), 10)
        self._acknowledge()
        return status, fields, content

    def _acknowledge(self) -> None:
        """Let the kernel acknowledge what was read, and the data plane ask for that: so no test need wait for it."""
        raw = self.writer.transport.get_extra_info("socket")
        if raw is not None and not self.writer.transport.is_closing():
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        for plane in self.planes:
            for connection in tuple(plane._connections):
                if connection.leaving.waiting:
                    connection.confirm()

    async def ask(self, data: bytes, *, is_head: bool = False) -> tuple[int, dict[bytes, bytes], bytes]:
        self.writer.write(data)
        return await self.answer(is_head=is_head)

    async def rest(self) -> int:
        """Read to the end, and how much that was; raises where the connection is reset."""
        count = 0
        while data := await asyncio.wait_for(self.reader.read(1 << 20), 10):
            count += len(data)
        return count

    def close(self) -> None:
        """Go away by a reset: an orderly close would look like a half close, after which an answer is still due."""
        raw = self.writer.transport.get_extra_info("socket")
        if raw is not None and not self.writer.transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
