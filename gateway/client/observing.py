"""What a client does, as Prometheus counts or OpenTelemetry spans: pass one of these as `observe`.

Events: `call`; `token-request`; `renewal`, `renewal-failed` (label: the problem's code); `retry` (label: the status,
`connection` or `token`); `refusal` (label: the problem's code). A function of event and label does as well as these.
Neither library is needed by the client itself, and no event or span holds a value that was asked for.
"""

from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self

import httpx

from gateway.client.problems import CredentialRefused, SharingProblem

Observer = Callable[[str, str], None]


def prometheus_counts(registry: Any = None, prefix: str = "sharing_client") -> Observer:
    """Counts events as `<prefix>_events_total{event, label}`, with the library `prometheus-client`."""
    from prometheus_client import REGISTRY, Counter  # noqa: PLC0415 - only who asks for it needs it

    counter = Counter(
        f"{prefix}_events",
        "What the sharing client did.",
        ("event", "label"),
        registry=REGISTRY if registry is None else registry,
    )

    def observe(event: str, label: str) -> None:
        counter.labels(event, label).inc()

    return observe


class Spans:
    """A span for each call, which the gateway goes on with, and for each fetch of a token, by `opentelemetry-api`.

    Args:
        provider: of tracers; by default the process's.
    """

    def __init__(self, provider: Any = None) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - only who asks for it needs it
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace = trace
        self._tracer = trace.get_tracer("gateway.client", tracer_provider=provider)
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, event: str, label: str) -> None:
        """An event of the call or fetch that goes on."""
        self._trace.get_current_span().add_event(f"sharing.{event}", {"label": label} if label else {})

    def begin(self, name: str, headers: "MutableMapping[str, str] | None") -> Any:
        """A span that has begun; what the gateway needs to go on with it stands in `headers`."""
        span = self._tracer.start_span(name, kind=self._trace.SpanKind.CLIENT)
        if headers is not None:
            self._propagator.inject(headers, self._trace.set_span_in_context(span))
        return span

    def current(self, span: Any) -> AbstractContextManager[Any]:
        """While events are those of `span`."""
        return self._trace.use_span(span, record_exception=False, set_status_on_exception=False)

    def end(self, span: Any, answer: httpx.Response | None, error: BaseException | None) -> None:
        """It ends, with what came of it and never with what was asked."""
        if answer is not None:
            span.set_attribute("http.response.status_code", answer.status_code)
            if "Sharing-Record" in answer.headers:
                span.set_attribute("sharing.record", answer.headers["Sharing-Record"])
        if error is not None:
            is_told = isinstance(error, SharingProblem) and error.code
            span.set_attribute("error.type", error.code if is_told else type(error).__name__)  # type: ignore[attr-defined]
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()


class Told:
    """One call, or one fetch of a token, as it is told to whoever observes.

    Args:
        observe: as given to the client.
        name: of the span.
        request: the call; None for a token.
        note: counts an event; None for a token, whose failures its source counts.
    """

    def __init__(
        self, observe: Any, name: str, request: httpx.Request | None = None, note: Observer | None = None
    ) -> None:
        self._spans = observe if isinstance(observe, Spans) else None
        self._note = note
        self._span = None
        self.answer: httpx.Response | None = None
        if self._spans is not None:
            self._span = self._spans.begin(name, request.headers if request is not None else None)

    def sending(self) -> AbstractContextManager[Any]:
        """While it is sent and its answer's head awaited."""
        return self._spans.current(self._span) if self._spans is not None else nullcontext()

    def end(self, error: BaseException | None = None) -> None:
        """It has ended."""
        if isinstance(error, SharingProblem):
            self.answer = error.response
            # Refused credentials are told of each attempt, see `flow`.
            if self._note is not None and not isinstance(error, CredentialRefused):
                with self.sending():
                    self._note("refusal", error.code or str(error.status))
        if self._spans is not None:
            self._spans.end(self._span, self.answer, error)

    def __enter__(self) -> Self:
        self._sending = self.sending()
        self._sending.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sending.__exit__(None, None, None)
        self.end(error)


def name_of(request: httpx.Request) -> str:
    """Method, supplier and interface: what stands further behind may be what was asked."""
    return " ".join((request.method, "/".join(request.url.path.strip("/").split("/")[:2])))
