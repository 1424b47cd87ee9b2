"""What a client does, as Prometheus counts or OpenTelemetry events: pass one of these as `observe`.

Events: `call`; `renewal`, `renewal-failed` (label: the problem's code); `retry` (label: the status, or `token`);
`refusal`; `token-request`. Neither library is needed by the client itself.
"""

from collections.abc import Callable
from typing import Any

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


def span_events() -> Observer:
    """Adds events to the span that is current, with the library `opentelemetry-api`."""
    from opentelemetry import trace  # noqa: PLC0415 - only who asks for it needs it

    def observe(event: str, label: str) -> None:
        trace.get_current_span().add_event(f"sharing.{event}", {"label": label} if label else {})

    return observe
