"""Every metric of the gateway: names, units, labels, buckets and words, after the Prometheus naming conventions.

The answer of `/metrics`, the page `docs/metrics.md`, the alert rules and the dashboard under `deploy/` are held to
this table by tests.
"""

from enum import StrEnum

import msgspec

FAST = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SLOW = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Kind(StrEnum):
    """What kind of number a family holds, and how those of several processes are joined."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    SUM = "sum"
    MAX = "max"
    MIN = "min"


class Family(msgspec.Struct, frozen=True):
    """One metric of the gateway.

    Args:
        name: as scraped, unit included; a counter's ends in `_total`.
        kind: `sum`, `max` and `min` are gauges, joined so over the processes.
        help: one line for people.
        labels: the label names.
        bounds: upper bounds of a histogram's buckets, in the name's unit, rising; `+Inf` is added.
        of_uses: whether it tells of uses: then it is shown in steps, see `coarse`.
        step: in which steps it is shown, where it tells of no use but moves with each: who watches it learns that there
            was one, and when. A counter or histogram in counts, a gauge in its unit; 0 shows it as it is.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    of_uses: bool = False
    step: float = 0.0


def _families(*families: Family) -> dict[str, Family]:
    return {family.name: family for family in families}


FAMILIES = _families(
    # Calls.
    Family(
        "gateway_calls_total",
        Kind.COUNTER,
        "Calls by supplier and interface of the directory, verdict (permit, deny, refused) and reason: "
        "how a permitted use ended, or the problem code.",
        ("supplier", "interface", "verdict", "reason"),
        of_uses=True,
    ),
    Family(
        "gateway_call_duration_seconds",
        Kind.HISTOGRAM,
        "From a call's header to the last byte of its answer.",
        ("supplier",),
        SLOW,
        of_uses=True,
    ),
    Family(
        "gateway_stage_duration_seconds",
        Kind.HISTOGRAM,
        "Time of a call's stages: identify, decide, record (until durable), supplier (until the head of its answer), "
        "release (until the last byte is out).",
        ("stage",),
        (*FAST, *SLOW[10:]),
        of_uses=True,
    ),
    Family(
        "gateway_released_rows_total",
        Kind.COUNTER,
        "Rows released to callers.",
        ("supplier", "interface"),
        of_uses=True,
    ),
    Family(
        "gateway_released_bytes_total",
        Kind.COUNTER,
        "Content bytes sent to callers.",
        ("supplier", "interface"),
        of_uses=True,
    ),
    Family("gateway_waiting_calls", Kind.SUM, "Calls that wait for a free slot at a supplier.", step=10),
    Family("gateway_circuits_open", Kind.SUM, "Suppliers' hosts that a worker leaves alone after repeated failures."),
    Family("gateway_failures_total", Kind.COUNTER, "Calls refused because a part of the gateway failed unforeseen."),
    Family("gateway_cut_exchanges_total", Kind.COUNTER, "Streaming answers cut by an order."),
    Family("gateway_connections", Kind.SUM, "Open connections, by side: caller, supplier.", ("side",), step=10),
    Family("gateway_connections_total", Kind.COUNTER, "Connections accepted from callers.", step=10),
    Family("gateway_exchanges", Kind.SUM, "Calls being served.", step=10),
    Family("gateway_queued_calls", Kind.SUM, "Calls that wait for a worker to begin them.", step=10),
    Family(
        "gateway_open_uses",
        Kind.SUM,
        "Uses that carriers were told to go on with and have not closed; see `checks`.",
        step=10,
    ),
    Family(
        "gateway_evaluations_total",
        Kind.COUNTER,
        "What evaluators asked by AuthZEN: evaluations and searches, and whether anything was permitted.",
        ("evaluator", "kind", "permitted"),
        of_uses=True,
    ),
    Family("gateway_held_bytes", Kind.SUM, "Octets held for callers and suppliers.", step=64 << 20),
    Family(
        "gateway_interface_trouble",
        Kind.MAX,
        "1 for each trouble of an interface in the last minute: slow (its answers), fails, floods (answers larger "
        "than may be held), misfits (answers that its entry does not fit), busy (all places taken), slow callers.",
        ("supplier", "interface", "trouble"),
    ),
    Family(
        "gateway_shed_total",
        Kind.COUNTER,
        "Calls and connections turned away to protect the gateway, by limit: load (more than the worker can do), "
        "connections, handshake (of TLS, before it begins), memory; system (its share), supplier (its share), queue, "
        "wait (for a place at the supplier).",
        ("limit",),
    ),
    Family(
        "gateway_stray_answers_total",
        Kind.COUNTER,
        "Suppliers' connections closed because octets on them answered nobody: behind (the end of an answer), idle (on "
        "a kept connection), unasked (before a request had reached the supplier). Such a supplier mixes answers up.",
        ("supplier", "when"),
    ),
    # Records.
    Family(
        "gateway_journal_sync_duration_seconds",
        Kind.HISTOGRAM,
        "One write and sync of a journal.",
        ("process",),
        (*FAST, 2.5, 10.0),
        step=10,
    ),
    Family(
        "gateway_journal_batch_records",
        Kind.HISTOGRAM,
        "Opened uses made durable by one sync.",
        ("process",),
        BATCH,
        step=10,
    ),
    Family("gateway_journal_free_bytes", Kind.MIN, "Free disk where the journals are.", step=16 << 20),
    Family("gateway_journal_accepts", Kind.MIN, "1 while a worker's journal takes new uses.", ("process",)),
    Family("gateway_log_entries", Kind.MAX, "Entries under the log's last checkpoint.", step=20),
    Family("gateway_witness_faults", Kind.MAX, "Witnesses that last gave no cosignature; `gateway status` says why."),
    Family(
        "gateway_archive_lag_seconds",
        Kind.MAX,
        "Age, at most, of the oldest entry not yet in the object store.",
        step=60,
    ),
    Family("gateway_archive_faults", Kind.MAX, "1 while no entry reaches the object store; `gateway status` says why."),
    Family(
        "gateway_log_integration_lag_seconds", Kind.MAX, "Age of the oldest durable record not yet in the log.", step=10
    ),
    Family("gateway_ledger_set_aside", Kind.MAX, "Entries that the index could not take; they stand in the log."),
    Family(
        "gateway_index_lag_seconds",
        Kind.MAX,
        "Age of the oldest record in the log that no question finds yet.",
        step=10,
    ),
    # Policies and state.
    Family(
        "gateway_slice_requests_total",
        Kind.COUNTER,
        "Questions to the slices: hit (held), miss (built from the state).",
        ("result",),
        step=10,
    ),
    Family("gateway_slices", Kind.SUM, "Slices held, each the policies of one department and dataset.", step=10),
    Family(
        "gateway_verdict_requests_total",
        Kind.COUNTER,
        "Questions to the kept verdicts: hit, miss.",
        ("result",),
        step=10,
    ),
    Family("gateway_verdicts", Kind.SUM, "Verdicts kept.", step=10),
    Family(
        "gateway_evaluation_errors_total",
        Kind.COUNTER,
        "Calls denied because something failed while they were decided.",
    ),
    Family(
        "gateway_barrier_duration_seconds", Kind.HISTOGRAM, "From a withdrawing act's commit to its barrier.", (), SLOW
    ),
    Family("gateway_change_feed_age_seconds", Kind.MAX, "Since a worker last held a lease on the state.", ("process",)),
    Family("gateway_change_feed_sequence", Kind.MAX, "Last change a process has taken.", ("process",)),
    Family("gateway_fresh", Kind.MIN, "1 while a worker's lease on the state holds.", ("process",)),
    Family(
        "gateway_state_trouble",
        Kind.MAX,
        "1 while the state has two primaries or an old one, or keeps nothing that is committed.",
    ),
    # What falls due.
    Family(
        "gateway_certificate_expiry_timestamp_seconds",
        Kind.MIN,
        "When a certificate of the gateway ends.",
        ("certificate",),
    ),
    Family("gateway_key_made_timestamp_seconds", Kind.MAX, "When the active key of a purpose was made.", ("purpose",)),
    Family(
        "gateway_key_expiry_timestamp_seconds",
        Kind.MAX,
        "When the last replaced key of a purpose ends: from then on what it signed is refused.",
        ("purpose",),
    ),
    Family("gateway_grants_in_force", Kind.MAX, "Grants that are issued and within their time."),
    Family("gateway_grants_expiring", Kind.MAX, "Grants in force that end within so many days: 7, 30.", ("days",)),
    Family("gateway_orders_in_force", Kind.MAX, "Suspensions and terminations in force, by kind.", ("kind",)),
    Family("gateway_rectifications_overdue", Kind.MAX, "Suspensions whose rectification date has passed."),
    Family("gateway_reports_overdue", Kind.MAX, "Emergency suspensions whose report is overdue."),
    Family("gateway_disposals_overdue", Kind.MAX, "Closed grants whose data is not disposed of in time."),
    # The processes themselves.
    Family("gateway_process_up", Kind.MIN, "1 while a process lives.", ("process",)),
    Family("gateway_process_restarts_total", Kind.COUNTER, "Restarts of a process that died.", ("process",)),
    Family(
        "gateway_workers_ended_total",
        Kind.COUNTER,
        "Workers ended: lease (it did not cut when that ran out), loop (it stood for more than two seconds).",
        ("process", "reason"),
    ),
    Family("gateway_process_resident_memory_bytes", Kind.MAX, "Resident memory.", ("process",), step=8 << 20),
    Family("gateway_process_cpu_seconds_total", Kind.COUNTER, "Processor time, user and system.", ("process",), step=1),
    Family("gateway_process_open_descriptors", Kind.MAX, "Open file descriptors.", ("process",), step=64),
    Family("gateway_process_tasks", Kind.MAX, "Tasks on the event loop.", ("process",), step=64),
    Family(
        "gateway_traced_calls_total",
        Kind.COUNTER,
        "Sampled calls by what became of their spans: exported, failed (the collector), dropped (no room).",
        ("result",),
        step=10,
    ),
    Family("gateway_snapshot_age_seconds", Kind.MAX, "Since a process last published its figures.", ("process",)),
    Family("gateway_build_info", Kind.MAX, "Always 1; the label tells the version.", ("version",)),
)
"""All families by name, in the order of `/metrics`."""
