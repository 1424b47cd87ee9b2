"""The trace exporter: makes OpenTelemetry spans of what workers noted, and sends them to a collector by OTLP/HTTP.

A process of its own, and only where `traces.endpoint` is set: the SDK, protobuf and a collector that hangs are far
from calls. It takes datagrams from `run/spans.sock` (see `spans`), holds at most `MAX_HELD` calls, and sends `BATCH` of
them at a time from one thread. What cannot be held or sent is dropped and counted.

One call is a server span with up to four parts inside:

    decide     from the request's header to the decision: identify, resolve, decide, wait for a place
    record     until the use record is durable
    supplier   until the head of the supplier's answer; its id is the parent that the supplier was told
    release    until the last byte is out

The collector's credentials, certificates, time-out and compression come from the standard `OTEL_EXPORTER_OTLP_*`
variables, further resource attributes from `OTEL_RESOURCE_ATTRIBUTES`.
"""

import asyncio
import contextlib
import logging
import queue
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import __version__
from gateway.domain.errors import GatewayError
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import Settings
from gateway.runtime.telemetry.metrics import MetricSet, Publisher
from gateway.runtime.telemetry.spans import SOCKET, TracedCall

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger("gateway.traces")

MAX_DATAGRAM_BYTES = 1 << 20
MAX_HELD = 20_000
"""Calls that wait for the collector: some 30 MiB."""
BATCH = 500
LINGER_SECONDS = 1.0
"""How long a call waits for others to be sent with it."""
STOP_SECONDS = 5.0
"""How long what is held is still sent at the end."""
FAULTS = frozenset({"internal", "records-unavailable"})
"""Ends that are the gateway's own fault."""


class Exporter:
    """The exporter process.

    Args:
        home: where the gateway lives.
        settings: in force; `traces.endpoint` is set.
    """

    def __init__(self, home: GatewayHome, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._held: queue.Queue[TracedCall | None] = queue.Queue(MAX_HELD)
        self._decode = msgspec.msgpack.Decoder(list[TracedCall]).decode
        self._metrics = MetricSet("exporter")
        self._tally = {"exported": 0, "failed": 0, "dropped": 0}
        self._publishing: asyncio.Task[None] | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._thread: threading.Thread | None = None

    async def start(self) -> dict[str, Any]:
        """Take the socket and begin to send.

        Raises:
            GatewayError: `unavailable` where the extra `otel` is not installed.
        """
        try:
            import requests  # noqa: PLC0415 -- comes with the extra
            from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415 -- an extra
        except ImportError as error:
            advice = "pip install 'sharing-gateway[otel]', or unset it"
            raise GatewayError("unavailable", f"`traces.endpoint` needs the extra `otel`: {advice}") from error
        session = requests.Session()
        session.trust_env = False  # the collector's credentials go through no proxy that the environment names
        collector = trace_exporter.OTLPSpanExporter(endpoint=self._settings.traces.endpoint, session=session)
        path = self._home.run / SOCKET
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        asyncio.get_running_loop().add_reader(self._socket, self._receive)
        self._thread = threading.Thread(target=self._send_on_and_on, args=(collector,), name="send", daemon=True)
        self._thread.start()
        publisher = Publisher(self._metrics, self._home.run / "metrics", [self._fill], time.monotonic)
        self._publishing = asyncio.create_task(publisher.run(), name="metrics")
        return {}

    def _fill(self) -> None:
        for result, count in self._tally.items():
            self._metrics.counter("gateway_traced_calls_total").total(count, (result,))

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                content = self._socket.recv(MAX_DATAGRAM_BYTES)
                try:
                    calls = self._decode(content)
                except msgspec.MsgspecError:
                    # Of a worker of another version, while versions change under one home.
                    log.warning("a worker sent what is not understood")
                    continue
                for call in calls:
                    try:
                        self._held.put_nowait(call)
                    except queue.Full:
                        self._tally["dropped"] += 1

    def _send_on_and_on(self, collector: "SpanExporter") -> None:
        """Send batches until None stands in the queue."""
        from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415 -- an extra

        resource = resource_of(self._home.origin(self._settings))
        works = True
        for batch in self._batches():
            spans = [span for call in batch for span in spans_of(call, resource)]
            try:
                sent = collector.export(spans) is SpanExportResult.SUCCESS
            except Exception:
                # Whatever a collector answers: this thread goes on.
                log.exception("traces could not be sent")
                sent = False
            self._tally["exported" if sent else "failed"] += len(batch)
            if sent is not works:
                log.log(logging.INFO if sent else logging.ERROR, "the collector %s", "answers" if sent else "fails")
            works = sent
        collector.shutdown()

    def _batches(self) -> Iterator[list[TracedCall]]:
        while (first := self._held.get()) is not None:
            batch = [first]
            until = time.monotonic() + LINGER_SECONDS
            while len(batch) < BATCH:
                try:
                    call = self._held.get(timeout=max(until - time.monotonic(), 0))
                except queue.Empty:
                    break
                if call is None:
                    yield batch
                    return
                batch.append(call)
            yield batch

    async def stop(self) -> None:
        """Send what is held, for at most some seconds."""
        if self._thread is None:
            self._socket.close()
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._receive()
        self._socket.close()
        try:
            self._held.put_nowait(None)
        except queue.Full:
            log.warning("%d traced calls are not sent any more", self._held.qsize())
        else:
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)
        if self._publishing is not None:
            self._publishing.cancel()
        (self._home.run / SOCKET).unlink(missing_ok=True)

    def reload(self) -> None:
        """Nothing to read again."""


def resource_of(origin: str) -> "Resource":
    """What all spans of this node have in common."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- an extra

    return Resource.create(
        {"service.name": "sharing-gateway", "service.version": __version__, "service.instance.id": origin}
    )


def spans_of(call: TracedCall, resource: "Resource") -> Iterator["ReadableSpan"]:
    """The spans of one call, the whole first; a part that the call never came to has none."""
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 -- an extra
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 -- an extra
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags  # noqa: PLC0415 -- an extra

    trace, flags = int(call.trace_id, 16), TraceFlags(int(call.flags, 16))
    scope = InstrumentationScope("sharing-gateway", __version__)

    def context(span: int, *, is_remote: bool = False) -> SpanContext:
        return SpanContext(trace, span, is_remote, flags)

    whole = context(random.getrandbits(64) or 1)
    at_fault = call.status >= 500 or call.code in FAULTS
    yield ReadableSpan(
        call.interface,
        whole,
        context(int(call.parent_id, 16), is_remote=True) if call.parent_id else None,
        resource,
        attributes_of(call),
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR, call.code) if at_fault else Status(),
        start_time=call.started_ns,
        end_time=call.ended_ns,
        instrumentation_scope=scope,
    )
    # Each part ends where the next that the call came to begins.
    began = {
        "decide": call.started_ns,
        "record": call.opened_ns,
        "supplier": call.durable_ns,
        "release": call.answered_ns,
    }
    came_to = [name for name, at in began.items() if at]
    for name, following in zip(came_to, [*came_to[1:], None], strict=True):
        is_supplier = name == "supplier"
        yield ReadableSpan(
            name,
            context(int(call.span_id, 16) if is_supplier else random.getrandbits(64) or 1),
            whole,
            resource,
            {"peer.service": call.supplier} if is_supplier else {},
            kind=SpanKind.CLIENT if is_supplier else SpanKind.INTERNAL,
            start_time=began[name],
            end_time=began[following] if following else call.ended_ns,
            instrumentation_scope=scope,
        )


def attributes_of(call: TracedCall) -> dict[str, str | int]:
    """What the whole call's span says (INVARIANT: NO-VALUES: names, codes and counts)."""
    told: dict[str, str | int] = {
        "http.route": f"/{call.interface}",
        "http.response.status_code": call.status,
        "http.response.body.size": call.sent_bytes,
        "sharing.record": call.record,
        "sharing.department": call.department,
        "sharing.system": call.system,
        "sharing.supplier": call.supplier,
        "sharing.interface": call.interface,
        "sharing.dataset": call.dataset,
        "sharing.mode": call.mode,
        "sharing.purpose": call.purpose,
        "sharing.grant": call.grant,
        "sharing.end": call.code,
        "sharing.rows": call.rows,
    }
    return {name: value for name, value in told.items() if value != ""}
