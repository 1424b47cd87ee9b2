"""From a worker to the trace exporter: what a sampled call's spans are made of, over a datagram socket.

The life of a span: a use that is sampled has ended; the worker notes its names, codes, counts and times in a list
(one append). Four times a second it sends what it noted to `run/spans.sock` as datagrams and forgets it. The exporter,
a process of its own (`exporter`), makes OpenTelemetry spans of them and sends those to the collector. So a slow or
dead collector, or a dead exporter, costs spans and never a call: what does not fit is dropped and counted.

INVARIANT: NO-VALUES: what is sent holds the directory's names, codes of fixed tables, counts and times. Words of the
caller's own (scenario, operator, a purpose that was not granted, the query, the path) stay out.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.uses import Outcome, Use

SOCKET = "spans.sock"
"""Its name in the home's `run`."""
SEND_SECONDS = 0.25
MAX_WAITING = 1000
"""Calls that a worker notes between two sendings: 4,000 a second. A caller that marks all it sends as sampled gets no
more of the worker's time than that."""
CHUNK = 100
"""Calls in a datagram: about 30 KiB of the 208 KiB that a Linux socket buffer holds."""
SAMPLED = frozenset("13579bdf")
"""Last digits of trace flags with the lowest bit set."""


class TracedCall(msgspec.Struct, frozen=True, array_like=True):
    """One call that has ended, as its spans will tell it. Times are Unix nanoseconds; 0 where it never came to that.

    Args:
        trace_id: 32 hex digits.
        span_id: the supplier's part, as the supplier was told it.
        parent_id: the caller's span, "" if it sent none.
        flags: of the trace.
        record: the use record's id.
        department: demand department.
        system: its system.
        supplier: supply department.
        interface: `supplier/interface`.
        dataset: its dataset.
        mode: sharing mode.
        started_ns: the request's header had arrived.
        ended_ns: the last byte was out, or the call was denied.
        code: the problem code of a denial, else how the use ended.
        purpose: the granted purpose; of a denied call, the caller's own word, none.
        grant: the grant.
        status: sent to the caller; 0 if none was, or where the call was denied.
        rows: released.
        sent_bytes: content sent to the caller.
        opened_ns: it was decided, and its record was handed to the journal.
        durable_ns: the record was durable.
        answered_ns: the head of the supplier's answer had arrived.
    """

    trace_id: str
    span_id: str
    parent_id: str
    flags: str
    record: str
    department: str
    system: str
    supplier: str
    interface: str
    dataset: str
    mode: str
    started_ns: int
    ended_ns: int
    code: str
    purpose: str = ""
    grant: str = ""
    status: int = 0
    rows: int = 0
    sent_bytes: int = 0
    opened_ns: int = 0
    durable_ns: int = 0
    answered_ns: int = 0


def _names(record: str, use: Use) -> dict[str, Any]:
    call = use.call
    return {
        "trace_id": use.trace_id,
        "span_id": use.span_id,
        "parent_id": use.parent_id,
        "flags": use.trace_flags,
        "record": record,
        "department": call.department,
        "system": call.system,
        "supplier": use.supplier,
        "interface": call.interface,
        "dataset": call.dataset,
        "mode": call.mode.value,
        "started_ns": use.started_unix_ns,
    }


_encoder = msgspec.msgpack.Encoder()


class SpanSender:
    """Notes the sampled calls of one worker (a `Watch`) and sends them on. All is called on the worker's loop.

    Args:
        path: the exporter's socket; it may come and go.
        clock_ns: Unix nanoseconds.
    """

    def __init__(self, path: Path, clock_ns: Callable[[], int]) -> None:
        self._path = str(path)
        self._clock_ns = clock_ns
        self._waiting: list[TracedCall] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.dropped = 0
        """Calls whose spans were dropped since the worker started."""

    def used(
        self, record: str, use: Use, outcome: Outcome, opened_ns: int, durable_ns: int, answered_ns: int, ended_ns: int
    ) -> None:
        """A permitted use has ended."""
        if self._notes(use):
            self._waiting.append(
                TracedCall(
                    **_names(record, use),
                    purpose=use.call.purpose,
                    grant=use.verdict.grant or "",
                    code=outcome.end,
                    status=outcome.status,
                    rows=outcome.rows,
                    sent_bytes=outcome.bytes,
                    opened_ns=opened_ns,
                    durable_ns=durable_ns,
                    answered_ns=answered_ns,
                    ended_ns=ended_ns,
                )
            )

    def denied(self, record: str, use: Use) -> None:
        """A call was denied."""
        if self._notes(use):
            self._waiting.append(TracedCall(**_names(record, use), code=use.verdict.code, ended_ns=self._clock_ns()))

    def _notes(self, use: Use) -> bool:
        if use.trace_flags[-1] not in SAMPLED:
            return False
        if len(self._waiting) < MAX_WAITING:
            return True
        self.dropped += 1
        return False

    async def run(self) -> None:
        """Send until cancelled, then once more."""
        try:
            while True:
                await asyncio.sleep(SEND_SECONDS)
                self.send()
        finally:
            self.send()
            self.close()

    def send(self) -> None:
        """Send what waits; where the exporter is away or behind, that is dropped."""
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), CHUNK):
            part = waiting[start : start + CHUNK]
            try:
                self._socket.sendto(_encoder.encode(part), self._path)
            except OSError:
                self.dropped += len(part)

    def close(self) -> None:
        """Let the socket go; what waits is forgotten."""
        self._socket.close()
