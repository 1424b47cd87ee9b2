"""What the data plane asks of the house: identify, resolve, decide, record, meter, and whether the state is fresh.

The exchange speaks to these protocols and to `gateway.domain` alone; it knows no SQL, no Cedar and no FastAPI.
Where an answer is at hand it is returned at once; otherwise an awaitable is, so that a hot call costs no task.
All are called on the worker's event loop and must not block it.
"""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from gateway.domain.callers import Caller
from gateway.domain.credentials import Shown
from gateway.domain.directory import Interface
from gateway.domain.texts import Said
from gateway.domain.uses import Outcome, Use
from gateway.domain.verdicts import Call, Verdict


class Peer(msgspec.Struct, frozen=True):
    """The transport a request came on.

    Args:
        address: the caller's IP address.
        is_tls: whether the connection is TLS.
        certificate_der: the verified client certificate (DER), or None.
    """

    address: str
    is_tls: bool = False
    certificate_der: bytes | None = None


class RequestHead(msgspec.Struct, frozen=True):
    """A request's head after framing and hygiene checks: what identity may look at.

    Args:
        method: as sent, upper case.
        path: the raw path, percent-encoded as sent.
        query: the raw query without `?`, possibly empty.
        fields: (lower-case name, value) in order.
        host: the value of `Host`.
    """

    method: bytes
    path: bytes
    query: bytes
    fields: Sequence[tuple[bytes, bytes]]
    host: bytes


class Identify(Protocol):
    """Credential to `Caller`; raises `credential-missing` or `credential-invalid`."""

    def __call__(self, head: RequestHead, peer: Peer) -> Caller | Awaitable[Caller]: ...


class Resolve(Protocol):
    """Supplier and interface id (path segments) to the active `Interface`; raises `interface-unknown`."""

    def __call__(self, supplier: str, interface: str) -> Interface | Awaitable[Interface]: ...


class Credential(Protocol):
    """What an interface's supplier is shown of who calls; see `identity.suppliers`."""

    @property
    def names(self) -> frozenset[bytes]:
        """Header fields that it sets, lower case: a caller's of such a name go no further."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Parameters of the query that it sets: a caller sends none of such a name."""

    def show(self) -> Shown | Awaitable[Shown]:
        """What the next request bears; raises `supplier-refused` or `supplier-unreachable` where there is nothing."""

    def refused(self, shown: Shown) -> None:
        """The supplier did not take what it was shown."""


class Reach(msgspec.Struct, frozen=True):
    """How a supplier is called: prepared elsewhere, so that the loop looks no name up and reads no file.

    Args:
        addresses: IP addresses, checked; at least one. Nothing else is ever connected to (INVARIANT: HOST-OWNED).
        context: the TLS context; None for plain HTTP.
        name: the name that the supplier's certificate must bear.
        credential: what the supplier is shown, where the interface names a credential.
    """

    addresses: tuple[str, ...]
    context: ssl.SSLContext | None
    name: str
    credential: Credential | None = None


class ReachOf(Protocol):
    """How the supplier of an interface is called, at once, for an interface that `Resolve` has just given.

    Raises `supplier-unreachable` where it may not be called, `state-stale` where the interface was changed since.
    """

    def __call__(self, interface: Interface) -> Reach: ...


class Decide(Protocol):
    """The policies' answer for a call now. Never raises for a denial; any error inside is a denial."""

    def __call__(self, call: Call) -> Verdict | Awaitable[Verdict]: ...


class Seal(Protocol):
    """A caller's own words to what its record may hold of them (INVARIANT: NO-VALUES).

    Every text that the answer names by a digest stands durably in the state by then (INVARIANT: RECORD-FIRST); what the
    state took no more of today is `UNKEPT`. Raises `records-unavailable` where the state does not take it now,
    `rate-limited` where too many texts of this system wait.
    """

    def __call__(self, call: Call, scenario: str, operator: str, years: int) -> Said | Awaitable[Said]: ...


class UseLedger(Protocol):
    """Durable use records (INVARIANT: RECORD-FIRST)."""

    def opened(self, use: Use, done: Callable[[BaseException | None], None]) -> str:
        """Write `use.opened` and return its record id; `done(None)` is called on the loop once it is durable.

        `done(error)` is called instead if it cannot be made durable: nothing may be forwarded then.
        Raises `records-unavailable` at once where the journal is poisoned, full or closed.
        """

    def closed(self, record: str, use: Use, outcome: Outcome) -> None:
        """Write `use.closed`; does not wait for the sync. Never raises: what is lost here is recovered at start."""

    def refused(self, use: Use) -> str:
        """Write `use.refused` with the verdict's code and return its record id; does not wait for the sync."""


class Watch(Protocol):
    """Looks on as uses end: for traces and logs. It must return at once and never raise; times are Unix nanoseconds."""

    def used(
        self, record: str, use: Use, outcome: Outcome, opened_ns: int, durable_ns: int, answered_ns: int, ended_ns: int
    ) -> None:
        """A permitted use has ended; `durable_ns` and `answered_ns` (the head of the answer) are 0 if it never was."""

    def denied(self, record: str, use: Use) -> None:
        """A call was denied, and that is written."""


class Meter(Protocol):
    """Counts against a grant's quota, or that of a rule without one, exact across workers (leased blocks)."""

    def draw_call(self, verdict: Verdict) -> bool | Awaitable[bool]:
        """Take one call from the grant's quota of today; False where it is used up."""

    def draw_rows(self, verdict: Verdict, rows: int) -> bool | Awaitable[bool]:
        """Take `rows` from the grant's quota of today before they are released; False where too few are left."""

    def draw_guess(self, use: Use) -> bool | Awaitable[bool]:
        """Take one of the wrong answers that the use's system may get about its person today; False if none is left."""

    def right(self, use: Use) -> None:
        """The answer was right: what `draw_guess` took counts no more."""


class Pseudonym(Protocol):
    """Data-subject identifier to a keyed pseudonym (by year), so that it is never stored (INVARIANT: NO-VALUES)."""

    def __call__(self, identifier: bytes) -> str: ...


class IsFresh(Protocol):
    """Whether the worker's lease on the state still holds (INVARIANT: STALE-DENIES); asked before every release."""

    def __call__(self) -> bool: ...
