"""Traces: a sampled call's spans reach an OpenTelemetry collector, in the caller's trace, without a value in them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from tests.support.collector import Collector, collector
from tests.support.gateways import RunningGateway, running_gateway, wait_for

PERSONS = "/public-security/persons"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otel` is not installed")
    with collector() as kept:
        yield kept


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, receiver: Collector) -> Iterator[RunningGateway]:
    """A gateway that traces every call that has no trace of its own, and of the others the sampled ones."""
    settings = {"GATEWAY_TRACES__ENDPOINT": receiver.endpoint, "GATEWAY_TRACES__SAMPLE_RATIO": "1"}
    with running_gateway(tmp_path_factory.mktemp("home") / "var", **settings) as running:
        yield running


def call(gateway: RunningGateway, *, trace: str | None = None, flags: str = "01", purpose: str | None = None) -> str:
    """Make a call about a person; the trace id that its record bears."""
    options = {"purpose": purpose} if purpose else {}
    headers = {"traceparent": f"00-{trace}-{CALLER}-{flags}"} if trace else {}
    with gateway.client(**options) as client:
        params = {"id_number": gateway.population.persons[1]["id_number"]}
        record = client.get(PERSONS, params=params, headers=headers).headers["Sharing-Record"]

    def traced() -> str | None:
        with gateway.officer("auditor-he") as api:
            found = [use for use in api.get("/v1/records", limit=500)["items"] if use["record"] == record]
            return str(api.get(f"/v1/records/{record}")["entries"][0]["trace"]) if found else None

    return str(wait_for(traced))


def test_sampled_call_goes_on_in_the_callers_trace(gateway: RunningGateway, receiver: Collector) -> None:
    """One server span under the caller's, its parts under it one after the other, the supplier's as it was told."""
    assert call(gateway, trace=TRACE) == TRACE
    assert wait_for(lambda: len(receiver.of(TRACE)) == 5), receiver.of(TRACE)
    spans = receiver.of(TRACE)
    whole = spans["public-security/persons"]
    assert (whole.parent_id, whole.kind) == (CALLER, "SPAN_KIND_SERVER")
    parts = [spans[name] for name in ("decide", "record", "supplier", "release")]
    assert {part.parent_id for part in parts} == {whole.span_id}
    moments = [whole.start_ns, *(part.end_ns for part in parts)]
    assert [part.start_ns for part in parts] == moments[:-1]
    assert moments == sorted(moments)
    assert moments[-1] == whole.end_ns
    supplier = spans["supplier"]
    assert supplier.kind == "SPAN_KIND_CLIENT"
    assert gateway.suppliers["public-security"].traceparent == f"00-{TRACE}-{supplier.span_id}-01"
    expected = {
        "http.response.status_code": 200,
        "sharing.department": "housing-fund",
        "sharing.system": "housing-fund-approval",
        "sharing.supplier": "public-security",
        "sharing.grant": "G-2026-0001",
        "sharing.purpose": "housing-fund-withdrawal",
        "sharing.end": "complete",
        "sharing.rows": 1,
    }
    assert {name: whole.attributes[name] for name in expected} == expected
    assert whole.resource["service.name"] == "sharing-gateway"
    assert whole.resource["service.instance.id"] == gateway.made["origin"]


def test_call_that_its_caller_did_not_sample_makes_no_span(gateway: RunningGateway, receiver: Collector) -> None:
    """The caller's decision stands, and is passed on; a call without a trace is the gateway's to sample."""
    unsampled = "1" * 32
    assert call(gateway, trace=unsampled, flags="00") == unsampled
    assert gateway.suppliers["public-security"].traceparent.startswith(f"00-{unsampled}-")
    assert gateway.suppliers["public-security"].traceparent.endswith("-00")
    own = call(gateway)
    assert gateway.suppliers["public-security"].traceparent.endswith("-01")
    # What was noted before has been sent by the time a later call's spans are there.
    assert wait_for(lambda: len(receiver.of(own)) == 5)
    assert receiver.of(own)["public-security/persons"].parent_id == ""
    assert receiver.of(unsampled) == {}


def test_denied_call_is_a_span_without_a_supplier(gateway: RunningGateway, receiver: Collector) -> None:
    """It ends with the decision; the purpose that was not granted is the caller's own word and stays out."""
    trace = "2" * 32
    call(gateway, trace=trace, purpose="statistical-survey")
    assert wait_for(lambda: len(receiver.of(trace)) == 2), receiver.of(trace)
    spans = receiver.of(trace)
    assert set(spans) == {"public-security/persons", "decide"}
    attributes = spans["public-security/persons"].attributes
    assert attributes["sharing.end"] == "purpose-not-granted"
    assert "sharing.purpose" not in attributes
    assert not spans["public-security/persons"].is_error


def test_no_values_in_spans(gateway: RunningGateway, receiver: Collector) -> None:
    """NO-VALUES: neither what was asked for nor what was answered is in anything that the collector got."""
    person = gateway.population.persons[1]
    trace = "3" * 32
    call(gateway, trace=trace)
    assert wait_for(lambda: len(receiver.of(trace)) == 5)
    sent = b"".join(receiver.raw)
    assert b"public-security/persons" in sent
    marks = [person["id_number"], person["name"], person["phone"], person["address"]["city"], "id_number"]
    assert [mark for mark in marks if mark.encode() in sent] == []


def test_dead_exporter_costs_spans_and_no_call(gateway: RunningGateway, receiver: Collector) -> None:
    """While it is away calls go on; it is started again alone, and spans come again."""
    pid = gateway.pid("exporter")
    os.kill(pid, 9)
    for _ in range(3):
        call(gateway)
    assert wait_for(lambda: gateway.pid("exporter") not in {0, pid})
    trace = "4" * 32

    def arrives() -> bool:
        call(gateway, trace=trace)
        return bool(wait_for(lambda: trace in {span.trace_id for span in receiver.spans}, 2))

    assert wait_for(arrives, 20)


@pytest.mark.deep
def test_collector_that_is_away_is_counted_and_said(tmp_path: Path) -> None:
    """Nobody listens at the endpoint: calls are served, /readyz says ready, and the figures say what was lost."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otel` is not installed")
    settings = {
        "GATEWAY_TRACES__ENDPOINT": "http://127.0.0.1:9/v1/traces",
        "GATEWAY_TRACES__SAMPLE_RATIO": "1",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    with running_gateway(tmp_path / "var", **settings) as gateway:
        with gateway.client() as client:
            # The figure moves when it has grown by ten.
            assert {client.get(PERSONS, params={"id_number": "x"}).status_code for _ in range(12)} == {200}

        def failed() -> bool:
            name = 'gateway_traced_calls_total{result="failed"} '
            told = [line for line in gateway.metrics().splitlines() if line.startswith(name)]
            return bool(told) and float(told[0].removeprefix(name)) >= 10

        assert wait_for(failed, 20)
        assert '"message": "the collector fails"' in gateway.log.read_text("utf-8")


def test_missing_extra_is_one_sentence_that_says_what_to_install(tmp_path: Path) -> None:
    """`traces.endpoint` without the packages: the gateway does not start and says why; nothing is left running."""
    home = GatewayHome(tmp_path / "var")
    initialise(home, region="440000", department="data-bureau")
    hide = tmp_path / "hide"
    hide.mkdir()
    # The API alone may be there: other packages bring it.
    (hide / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.exporter'] = None\n", "utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{hide}:{Path(__file__).parents[2]}",
        "GATEWAY_TRACES__ENDPOINT": "http://127.0.0.1:9/v1/traces",
        "GATEWAY_DATA_PLANE__PORT": "0",
        "GATEWAY_CONTROL__PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--home", str(home.root)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == 1
    assert len(said) == 1, said
    assert "sharing-gateway[otel]" in said[0]
    assert not home.is_running()
