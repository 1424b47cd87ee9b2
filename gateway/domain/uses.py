"""One use of shared data, as its records name it (Decree 809 Art. 26, 29; Zhongshan Art. 32).

A use is opened before the supplier is called, and closed when the last byte has left or the exchange has failed;
a call that is denied is refused. Records hold names, counts and digests: no personal values, no credentials
(INVARIANT: NO-VALUES).
"""

from enum import StrEnum

import msgspec

from gateway.domain.callers import Caller
from gateway.domain.verdicts import Call, Verdict

EVERY_DEPARTMENT = "*"
"""The department of a record that concerns all of them, such as of a key or the policies: all see it as their own."""


WATCH_MARK = "~"
"""What the department of a record begins with that tells what an auditor has read; the auditor's region follows."""


class RecordKind(StrEnum):
    """What a ledger entry records."""

    USE_OPENED = "use.opened"
    USE_CLOSED = "use.closed"
    USE_REFUSED = "use.refused"
    EFFECT = "effect"
    STORAGE = "storage"
    DESTRUCTION = "destruction"
    ORDER = "order"
    GRANT = "grant"
    PROCESS = "process"
    DIRECTORY = "directory"
    POLICY = "policy"
    KEY = "key"
    EXPORT = "export"
    CONSULTATION = "consultation"
    PRUNE = "prune"
    RECOVERED = "recovered"
    ERASURE = "erasure"


class Use(msgspec.Struct, frozen=True):
    """What is known of a use when it is decided, before the supplier is called.

    Args:
        caller: who.
        call: what for, and under which interface.
        verdict: the decision.
        supplier: the supply department's id.
        scenario: the declared scenario (`Sharing-Scenario`) as its record names it (`Said`), "" if none.
        operator: the declared operator (`Sharing-Operator`), likewise.
        trace_id: the W3C trace id, 32 hex digits: the caller's, where it sent one.
        request_digest: keyed digest (64 hex digits) over method, target and, where it is at hand, body.
        subject: pseudonym of the data subject, if the interface names one and the call bears it.
        started_unix_ns: when the request's header had arrived.
        span_id: the span of the supplier's part, 16 hex digits, as the supplier is told it.
        parent_id: the caller's span, 16 hex digits, "" if it sent none.
        trace_flags: the flags of the trace, two hex digits; the lowest bit says that it is sampled.
        besides: pseudonyms of the other data subjects, where the call asks about several.
        purpose: the declared purpose as its record names it; `call` has it in the caller's own words.
    """

    caller: Caller
    call: Call
    verdict: Verdict
    supplier: str
    scenario: str
    operator: str
    trace_id: str
    request_digest: str
    subject: str | None
    started_unix_ns: int
    span_id: str = ""
    parent_id: str = ""
    trace_flags: str = "00"
    besides: tuple[str, ...] = ()
    purpose: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """How a use ended.

    Args:
        status: the status sent to the caller; 0 if none was.
        released_items: names of the items that left in at least one row.
        rows: rows released.
        bytes: content bytes sent to the caller, and acknowledged by its kernel.
        response_digest: keyed digest (64 hex digits) over the released content, "" if none left.
        duration_us: from the request's header to the last byte, microseconds.
        end: `complete` (the caller's kernel has acknowledged the whole answer); `overrun` (complete, and the supplier
            sent more behind its answer, which went nowhere); `aborted` (the caller went away before), `cut` (by an
            order), `supplier-failed`, `not-filterable` or another short code.
    """

    status: int
    released_items: tuple[str, ...]
    rows: int
    bytes: int
    response_digest: str
    duration_us: int
    end: str
