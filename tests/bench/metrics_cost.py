"""What counting costs a hot call: `python tests/bench/metrics_cost.py` prints nanoseconds a call, best of five."""

import timeit

from gateway.runtime.telemetry.metrics import MetricSet

LABELS = ("civil-affairs", "civil-affairs/marriages", "permit", "complete")
NUMBER = 500_000


def main() -> None:
    """Measure each handle, and all that one call pays."""
    metrics = MetricSet("worker-0")
    add = metrics.counter("gateway_calls_total").add
    observe = metrics.histogram("gateway_stage_duration_seconds").observe
    decide = ("decide",)
    stage = metrics.histogram("gateway_stage_duration_seconds").bound(decide)

    def one_call() -> None:
        add(LABELS)
        stage(0.00001)
        stage(0.00002)
        stage(0.00031)
        stage(0.00241)
        stage(0.00003)

    for name, work in (
        ("count one", lambda: add(LABELS)),
        ("observe one", lambda: observe(0.00031, decide)),
        ("observe one, labels bound", lambda: stage(0.00031)),
        ("one call: one count, five stages", one_call),
    ):
        best = min(timeit.repeat(work, number=NUMBER, repeat=5)) / NUMBER
        print(f"{name:34} {best * 1e9:7.0f} ns")


if __name__ == "__main__":
    main()
