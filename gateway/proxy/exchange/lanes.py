"""Lanes: what a repeated request means, so that a call under it costs one look-up.

A system asks the same interface in the same words, call after call. Who calls, which interface is meant, what the
policies say and what that is on the wire depend on the header block, the path and the client certificate alone, as
long as nothing changed; a lane remembers them for `LANE_SECONDS`. What differs from call to call (the query, the data
subject, the trace, the record) is no part of it.

INVARIANT: BARRIER: every change of the state that reaches the worker forgets all lanes before it is acknowledged
(`DataPlane.forget`). What is withdrawn without a change (a key file that is gone) is noticed where the lane ends.

A lane is made of a header block that was read before (`heads.BlockReader` bounds those by size and number), of answers
that the ports gave at once, of a permit, and of a credential that is good more than once (a bearer token, or one bound
to the client certificate it came with); never of a DPoP proof or a signature, which differ with every call, and not
where a query parameter decides (`scope_parameters`, places of `request`, or a rule about uses without a grant) or a
body is part of the question.
"""

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingMode
from gateway.domain.verdicts import Call, Verdict
from gateway.proxy.exchange.routes import Plan, Route
from gateway.proxy.http.heads import Block
from gateway.proxy.ports import Peer

LANE_SECONDS = 1
MAX_LANES = 1024

_LASTING = frozenset({Assurance.BEARER, Assurance.MTLS})

LaneKey = tuple[int, bytes, bytes]
"""(identity of the header block, method, path)."""


class Lane:
    """One way through the gateway.

    Args:
        block: the header block; it is held, so that its identity is not given to another.
        certificate_der: of the client certificate it came with, or None.
        caller: who.
        route: where to.
        call: what was decided on.
        verdict: the permit.
        plan: the permit on the wire.
        until_ns: Unix nanoseconds at which the lane ends.
    """

    __slots__ = ("block", "call", "caller", "certificate_der", "fields", "plan", "route", "until_ns", "verdict")

    def __init__(
        self,
        block: Block,
        certificate_der: bytes | None,
        caller: Caller,
        route: Route,
        call: Call,
        verdict: Verdict,
        plan: Plan,
        until_ns: int,
    ) -> None:
        self.block = block
        self.certificate_der = certificate_der
        self.caller = caller
        self.route = route
        self.call = call
        self.verdict = verdict
        self.plan = plan
        self.until_ns = until_ns
        self.fields = plan.fields_for(block)


class Lanes:
    """The lanes of one worker, bounded; the oldest goes first."""

    __slots__ = ("_kept", "followed", "get")

    def __init__(self) -> None:
        self._kept: dict[LaneKey, Lane] = {}
        self.get = self._kept.get
        self.followed = 0
        """Counts calls that followed a lane."""

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self) -> None:
        """Drop every lane."""
        self._kept.clear()

    def keep(
        self,
        key: LaneKey,
        block: Block,
        peer: Peer,
        caller: Caller,
        route: Route,
        call: Call,
        verdict: Verdict,
        plan: Plan,
        now_ns: int,
    ) -> None:
        """Make a lane of a call that was permitted, if it may have one."""
        if (
            caller.assurance not in _LASTING
            or caller.purpose is not None
            or call.mode is SharingMode.VERIFY
            or verdict.grant is None
            or route.interface.scope_parameters
            or route.asks is not None
        ):
            return
        until_ns = min(
            now_ns + LANE_SECONDS * 1_000_000_000, verdict.valid_until_unix * 10**9, caller.expires_unix * 10**9
        )
        if until_ns <= now_ns:
            return
        if len(self._kept) >= MAX_LANES and key not in self._kept:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = Lane(block, peer.certificate_der, caller, route, call, verdict, plan, until_ns)
