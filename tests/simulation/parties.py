"""Who calls and who is called: callers that read slowly and suppliers of which some misbehave, each on its own machine.

A supplier's rows bear the id of the record that the request came with, and a secret that no grant gives. A caller
compares the rows with the record that its answer names.
"""

import json
from typing import Any, NamedTuple

from tests.simulation.loop import World
from tests.simulation.sockets import Socket

PACES = (1, 1, 15)
"""Some callers read so slowly that what a kernel holds for them lasts longer than a lease."""
MARK = b"xxxxxxxx"
"""What stands in each piece of a row."""
SECRET = b"430802"
_PADDING = MARK * 170
REQUEST = b"%b /supplier/%b/v HTTP/1.1\r\nHost: gateway\r\nAuthorization: %b\r\nSharing-Purpose: p\r\n%b\r\n"
BODY = b"b" * 600
LEAVES_IN = 0.04
"""One call in so many is left by its caller before the answer has come."""


class Said(NamedTuple):
    """What a supplier has answered to one request.

    Args:
        rows: how many; None where the answer has a shape that the interface does not declare.
        is_whole: whether all of it was sent.
    """

    rows: int | None
    is_whole: bool


class SupplierEnd:
    """A supplier's end of a connection: it answers what is asked, well or badly.

    Args:
        history: is told which record it was asked under, and what it said.
        socket: the gateway's end.
    """

    def __init__(self, history: Any, socket: Socket) -> None:
        self._history, self._socket = history, socket
        self._world: World = history.world
        self._unread = b""
        self._last = ""
        self._owed = 0
        self._is_ambiguous = False
        self._is_open = True
        if history.is_rich and self._chance(0.03):
            early = self._world.random.choice([0.0, 0.0004, 0.0008, 0.02])
            self._world.after(early, lambda: self._stray("", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))

    def _chance(self, share: float) -> bool:
        return self._world.random.random() < share

    def _later(self, seconds: float, data: bytes) -> None:
        self._world.after(seconds, lambda: self._socket.receive(data) if self._is_open else None)

    def ended(self) -> None:
        self._is_open = False

    def received(self, data: bytes) -> None:
        self._unread += data
        while self._owed or b"\r\n\r\n" in self._unread:
            if self._owed:
                body = self._unread[: self._owed]
                self._owed -= len(body)
                self._unread = self._unread[len(body) :]
                if not body:
                    return
                continue
            head, self._unread = self._unread.split(b"\r\n\r\n", 1)
            record = head.split(b"Sharing-Record: ", 1)[1].split(b"\r\n", 1)[0].decode()
            path = head.split(b" ", 2)[1]
            self._last = record
            if self._is_ambiguous:
                # Also what follows on this connection: each answer may be taken for that to the next request.
                self._history.ambiguous.add(record)
            self._history.forwarded(record)
            if head.startswith(b"POST"):
                self._owed = len(BODY)
            self._answer(record, is_stream=path.startswith(b"/rows"))

    def _answer(self, record: str, *, is_stream: bool) -> None:
        random = self._world.random
        wait = random.expovariate(100.0)
        if not self._history.is_rich:
            rows = 200
        elif is_stream:
            rows = random.randrange(1, 13)
        else:
            rows = random.randrange(0, 5)
        fault = random.choice(FAULTS_OF_SUPPLIERS) if self._history.is_rich and self._chance(0.25) else ""
        if fault == "silent":
            return
        if is_stream and fault not in {"another shape", "an error"}:
            self._stream(record, rows, wait, fault)
            return
        content = [_row(record, number) for number in range(min(rows, 4))]
        body, status = b'{"code":0,"data":[%b]}' % b",".join(content), b"200 OK"
        said = Said(len(content), is_whole=True)
        if fault == "another shape":
            body, said = random.choice(OTHER_SHAPES) % (content or [b"{}"])[0], Said(None, is_whole=True)
        elif fault == "an error":
            body, status, said = b'{"code":0,"data":[]}', b"500 Oops", Said(None, is_whole=True)
        kind = b"application/json"
        whole = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, kind, len(body), body)
        if fault == "cut short":
            said = said._replace(is_whole=False)
            self._history.said[record] = said
            self._later(wait, whole[: -1 - len(body) // 2])
            self._world.after(wait + 0.01, self._close)
            return
        self._history.said[record] = said
        self._send(record, wait, whole, fault)

    def _stray(self, record: str, data: bytes) -> None:
        """Octets that answer nobody. Once it has had another request nobody could tell them from the answer to that.

        Where that request is on its way, they can be told only by a worker that reads them before it has arrived.
        """
        if record == self._last:
            self._is_ambiguous = self._is_ambiguous or self._socket.held > 0
            self._later(0.0, data)

    def _send(self, record: str, wait: float, whole: bytes, fault: str) -> None:
        """An answer, in pieces; and what a supplier sends behind it."""
        extra = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + b'{"code":0,"data":[]}'
        cut = self._world.random.randrange(len(whole))
        if fault == "two answers":
            whole += extra
        self._later(wait, whole[:cut])
        self._later(wait + 0.003, whole[cut:])
        if fault == "late octets":
            self._world.after(wait + self._world.random.choice([0.01, 0.1]), lambda: self._stray(record, extra))
        elif fault == "closes":
            self._world.after(wait + 0.02, self._close)

    def _stream(self, record: str, rows: int, wait: float, fault: str) -> None:
        """Rows as they come, chunked."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        last = rows // 2 if fault == "cut short" else rows
        self._history.said[record] = Said(last, is_whole=last == rows)
        self._later(wait, head)
        ahead = iter(range(last))

        def another() -> None:
            if not self._is_open:
                return
            if self._socket.is_paused and self._socket.unread:
                self._world.after(0.1, another)
                return
            number = next(ahead, None)
            if number is not None:
                row = _row(record, number)
                self._socket.receive(b"%x\r\n%b\n\r\n" % (len(row) + 1, row))
                self._world.after(self._world.random.uniform(0.02, 0.08), another)
            elif fault == "cut short":
                self._close()
            else:
                self._send(record, 0.001, b"0\r\n\r\n", fault)

        self._world.after(wait + 0.002, another)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._socket.end(is_reset=False)


FAULTS_OF_SUPPLIERS = (
    "silent",
    "another shape",
    "another shape",
    "an error",
    "cut short",
    "two answers",
    "late octets",
    "late octets",
    "closes",
)
OTHER_SHAPES = (
    b'{"code":0,"data":{"records":[%b]}}',
    b'{"code":0,"result":[%b]}',
    b'{"code":0}<!-- %b -->',
    b"<html>%b</html>",
    b'{"code":0,"data":"%%b"}%b',
)


def _row(record: str, number: int) -> bytes:
    return b'{"xm":"%b %d %b","gmsfhm":"%b"}' % (record.encode(), number, _PADDING, SECRET)


class CallerEnd:
    """A caller's end of a connection: it makes one call after another and checks what comes.

    Args:
        worker: whose caller.
        grants: what it calls under, in turn.
        is_bearer: names the caller's credential.
    """

    def __init__(self, worker: Any, grants: list[str]) -> None:
        self.worker = worker
        self.history = worker.node.history
        self._world: World = self.history.world
        self._pace = self._world.random.choice(PACES)
        self._grants = grants
        self.grant = ""
        self.is_open = True
        self.socket = Socket(worker.loop, worker.process, 4 * 1500, self._pause, self._written)
        self.socket.peer = self

    def _pause(self) -> float:
        return self._world.random.uniform(0.04, 0.12) * self._pace if self.is_reading else 0.001

    @property
    def is_reading(self) -> bool:
        """Whether rows are on their way to it, which it takes slowly."""
        return self._is_streaming

    def begin(self) -> None:
        """Send the next request, or go."""
        self._head = b""
        self._body: bytearray | None = None
        self._is_streaming = False
        self._rows_begun = 0
        if not self._grants:
            self._go(is_reset=False)
            return
        self.grant = self._grants.pop()
        random = self._world.random
        name, credential = self.grant.encode(), b"Bearer %d" % random.randrange(2)
        if self.history.is_rich and random.random() < 0.2:
            # A body, which comes in pieces.
            request = REQUEST % (b"POST", name, credential, b"Content-Length: %d\r\n" % len(BODY)) + BODY
            cut = random.randrange(len(request))
            self._world.after(random.uniform(0.002, 0.3), lambda: self.socket.receive(request[cut:]))
        else:
            request = REQUEST % (b"GET", name, credential, b"")
            cut = len(request)
        self._world.after(0.001, lambda: self.socket.receive(request[:cut]))
        if self._world.random.random() < LEAVES_IN:
            call = self.grant, len(self._grants)
            self._world.after(self._world.random.uniform(0.0, 0.6), lambda: self._leave(call))

    def _leave(self, call: tuple[str, int]) -> None:
        if call == (self.grant, len(self._grants)):
            self._go(is_reset=self._world.random.random() < 0.5)

    def _go(self, *, is_reset: bool) -> None:
        if self.is_open:
            self.is_open = False
            self.worker.callers.discard(self)
            self.socket.end(is_reset=is_reset)

    def ended(self) -> None:
        self.is_open = False
        self.worker.callers.discard(self)

    def _written(self, data: bytes) -> None:
        if MARK in data:
            self._is_streaming = True
            self.history.released(self.worker, self.grant)

    def received(self, data: bytes) -> None:
        """Octets arrive: the promises are asked at each piece."""
        if MARK in data:
            self.history.delivered(self.worker, self.grant)
        if SECRET in data:
            self.history.fails("GRANTED-ITEMS-ONLY: what no grant gives reaches a caller")
        if self._body is None:
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            self._head, data = self._head.split(b"\r\n\r\n", 1)
            self._body = bytearray()
        self._body += data
        rows = self._whole()
        if rows is not None:
            self._check(rows)
            if self.is_open:
                self.begin()

    def _field(self, name: bytes) -> str:
        return self._head.split(name + b": ", 1)[1].split(b"\r\n", 1)[0].decode() if name in self._head else ""

    def _whole(self) -> list[str] | None:
        """The rows of the answer, once all of it is here."""
        assert self._body is not None
        length = self._field(b"Content-Length")
        if length:
            if len(self._body) < int(length):
                return None
            if len(self._body) > int(length):
                self.history.fails("ONE-ANSWER: more reaches a caller than its answer")
            told = json.loads(self._body) if self._head.startswith(b"HTTP/1.1 200") else {}
            rows = told.get("data", [])
        else:
            if not self._body.endswith(b"\r\n0\r\n\r\n") and self._body != b"0\r\n\r\n":
                return None
            lines = self._body.replace(b"\r\n", b"\n").split(b"\n")
            rows = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [row.get("xm", "nothing 0") for row in rows]

    def _check(self, rows: list[str]) -> None:
        record = self._field(b"Sharing-Record")
        if self._head.startswith(b"HTTP/1.1 200"):
            self.history.answered(record, self.grant, [row.split(" ")[:2] for row in rows])
        if b"Connection: close" in self._head:
            self._grants.clear()
