"""Counts and spans of the real libraries, of calls through a real data plane."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from gateway.client import AnswerCut, AsyncSharingClient, NotGranted, SharingClient, new_private_key
from gateway.client.observing import Spans, prometheus_counts
from gateway.domain.directory import AnswerFormat
from tests.support.proxy_ports import House, Supplier, deny, interface_for, permit, serving

ASKED = "442000199001011234"


@contextlib.asynccontextmanager
async def serving_house(supplier: Supplier, **interface: Any) -> AsyncIterator[tuple[House, dict[str, Any]]]:
    """A data plane, and what a client of it is made with; its token endpoint fails once, then gives."""
    answers = [httpx.Response(503)]

    def token(_: httpx.Request) -> httpx.Response:
        given = {"access_token": "good", "token_type": "Bearer", "expires_in": 300}
        return answers.pop() if answers else httpx.Response(200, json=given)

    house = House(interface_for(supplier.port, **interface))
    async with serving(house) as (_, port):
        yield house, {
            "gateway": f"http://127.0.0.1:{port}", "token_endpoint": "https://control.example/t", "client_id": "s",
            "key": new_private_key(), "purpose": "p", "token_transport": httpx.MockTransport(token), "environment": {},
        }  # fmt: skip


def test_prometheus_counts_calls_renewals_retries_and_refusals() -> None:
    """By event and by the problem's code; a call that was refused for the moment is a retry."""
    registry = CollectorRegistry()

    async def story() -> None:
        async with (
            Supplier() as supplier,
            serving_house(supplier) as (house, options),
            AsyncSharingClient(observe=prometheus_counts(registry), **options) as sharing,
        ):
            await sharing.call("hukou/person/v1")
            house.ledger.poisoned = True
            asyncio.get_running_loop().call_later(0.02, setattr, house.ledger, "poisoned", False)
            await sharing.call("hukou/person/v1")
            house.verdict = deny("not-granted")
            with pytest.raises(NotGranted):
                await sharing.call("hukou/person/v2")
            with pytest.raises(NotGranted):
                async with sharing.stream("hukou/person/v2"):
                    pass

    asyncio.run(story())

    def count(event: str, label: str = "") -> float | None:
        return registry.get_sample_value("sharing_client_events_total", {"event": event, "label": label})

    assert count("call") == 4
    assert (count("token-request"), count("renewal"), count("retry", "token")) == (2, 1, 1)
    assert (count("retry", "503") or 0) >= 1
    assert count("refusal", "not-granted") == 2


def told_spans(run: Any) -> list[ReadableSpan]:
    """The spans that a client ended, in order."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    asyncio.run(run(Spans(provider)))
    return list(exporter.get_finished_spans())


def test_spans_of_calls_and_tokens_go_on_in_the_gateway() -> None:
    """One a call and one a token, with record, status and code; the trace reaches the gateway; no value is told."""

    async def story(spans: Spans) -> None:
        async with Supplier() as supplier, serving_house(supplier) as (house, options):
            with SharingClient(observe=spans, **options) as sharing:
                await asyncio.to_thread(sharing.call, f"hukou/person/{ASKED}", id=ASKED)
                house.verdict = deny("not-granted")
                with pytest.raises(NotGranted):
                    await asyncio.to_thread(sharing.call, "hukou/person/v1", id=ASKED)
            asked.extend(supplier.requests)

    asked: list[bytes] = []

    token, answered, refused = told_spans(story)
    assert [span.name for span in (token, answered, refused)] == ["token", "GET hukou/person", "GET hukou/person"]
    assert {span.kind for span in (token, answered, refused)} == {SpanKind.CLIENT}
    assert [event.name for event in token.events] == ["sharing.token-request", "sharing.retry", "sharing.token-request"]
    assert dict(answered.attributes or {}) == {"http.response.status_code": 200, "sharing.record": "r-1"}
    assert (refused.status.status_code, (refused.attributes or {})["error.type"]) == (StatusCode.ERROR, "not-granted")
    assert answered.context is not None
    assert b"traceparent: 00-%032x-" % answered.context.trace_id in asked[0]
    assert ASKED not in "".join(span.to_json() for span in (token, answered, refused))


def test_span_of_a_stream_ends_with_it() -> None:
    """What breaks off while it is read is an error of its span; tasks side by side keep their spans apart."""

    async def half(_: Any, writer: asyncio.StreamWriter, __: bytes) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n" + b'{"xm":"a","x":"bcd"}\r\n1\r\n\n\r\n'
        )
        await asyncio.sleep(0.05)
        return False

    async def story(spans: Spans) -> None:
        async with Supplier(half) as supplier, serving_house(supplier, format=AnswerFormat.NDJSON) as (house, options):
            house.verdict = permit()
            async with AsyncSharingClient(observe=spans, **options) as sharing:

                async def read() -> None:
                    with pytest.raises(AnswerCut):
                        _ = [row async for row in sharing.rows("hukou/person/v1")]

                await asyncio.gather(read(), read())

    spans = told_spans(story)[1:]
    assert [dict(span.attributes or {})["error.type"] for span in spans] == ["AnswerCut", "AnswerCut"]
    assert len({span.context.span_id for span in spans if span.context is not None}) == 2
