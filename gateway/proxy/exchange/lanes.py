"""Lanes: what a repeated request means, so that a call under it costs one look-up.

A system asks the same interface in the same words, call after call. Which interface is meant, what the policies say and
what that is on the wire depend on the header block, the path and who calls alone, as long as nothing changed; a lane
remembers them. What differs from call to call (the query, the data subject, the trace and other ids of the caller's
own, the record) is no part of it.

INVARIANT: BARRIER: every change of the state that reaches the worker forgets all lanes before it is acknowledged
(`DataPlane.forget`). What is withdrawn without a change (a key file that is gone) only the port that identifies can
tell: so it is asked anew for each header block every `SIGHT_SECONDS`, and a lane is followed only where it still names
the same caller.

A lane is made of a header block that was read before (`heads.BlockReader` bounds those by size and number), of answers
that the ports gave at once, of a permit, and of a credential that is good more than once (a bearer token, or one bound
to the client certificate it came with); never of a DPoP proof or a signature, which differ with every call, and not
where a query parameter decides (`scope_parameters`, places of `request`, or a rule about uses without a grant) or a
body is part of the question.
"""

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingMode
from gateway.domain.texts import Said
from gateway.domain.verdicts import Call, Verdict
from gateway.proxy.exchange.routes import Plan, Route
from gateway.proxy.http.heads import Block
from gateway.proxy.ports import Peer

SIGHT_SECONDS = 1
MAX_LANES = 8192
"""About 1 KiB each, and a plan: a department's systems ask a city's interfaces in many pairs."""
MAX_SIGHTS = 1024
"""As many as header blocks are remembered."""
KEPT_FIELDS_BYTES = 1024
"""Longer fields of a request are rendered anew at each call, so that lanes stay small."""
MAX_PATH_BYTES = 512
"""Longer paths have no lane: a lane is named by its path."""
LET_GO_AT_ONCE = 2
"""How many lanes that were forgotten one call lets go of: more than it makes, so that they never pile up."""

_LASTING = frozenset({Assurance.BEARER, Assurance.MTLS})

LaneKey = tuple[int, bytes, bytes]
"""(identity of the header block, method, path)."""


class Sight:
    """Who sends a header block, as it was seen a moment ago.

    Args:
        block: the header block; it is held, so that its identity is not given to another.
        certificate_der: of the client certificate it came with, or None.
        caller: who.
        since_ns: Unix nanoseconds at which it was seen.
        until_ns: from when on it is asked again.
    """

    __slots__ = ("block", "caller", "certificate_der", "since_ns", "until_ns")

    def __init__(self, block: Block, certificate_der: bytes | None, caller: Caller, now_ns: int) -> None:
        self.block = block
        self.certificate_der = certificate_der
        self.caller = caller
        self.seen(now_ns)

    def seen(self, now_ns: int) -> None:
        """The port has named the same caller again, just now."""
        self.since_ns = now_ns
        self.until_ns = now_ns + SIGHT_SECONDS * 1_000_000_000


class Lane:
    """One way through the gateway.

    Args:
        sight: who calls; shared by the lanes of one header block.
        route: where to.
        call: what was decided on.
        verdict: the permit.
        said: the caller's words, as a record may name them.
        plan: the permit on the wire.
        since_ns: Unix nanoseconds at which it was permitted.
        until_ns: Unix nanoseconds at which the lane ends: with the credential, the permit, or what may be named.
    """

    __slots__ = ("_fields", "call", "plan", "route", "said", "sight", "since_ns", "until_ns", "verdict")

    def __init__(
        self,
        sight: Sight,
        route: Route,
        call: Call,
        verdict: Verdict,
        said: Said,
        plan: Plan,
        since_ns: int,
        until_ns: int,
    ) -> None:
        self.sight = sight
        self.route = route
        self.call = call
        self.verdict = verdict
        self.said = said
        self.plan = plan
        self.since_ns = since_ns
        self.until_ns = until_ns
        fields = plan.fields_for(sight.block)
        self._fields = fields if len(fields) <= KEPT_FIELDS_BYTES else b""

    @property
    def fields(self) -> bytes:
        """The fields of the request to the supplier, up to the record's id."""
        return self._fields or self.plan.fields_for(self.sight.block)


class Lanes:
    """The lanes of one worker, bounded; the oldest goes first.

    Forgetting them takes no time, however many there are: they are let go of a few at a time, as calls come.
    """

    __slots__ = ("_forgotten", "_kept", "_sights", "followed", "get")

    def __init__(self) -> None:
        self._kept: dict[LaneKey, Lane] = {}
        self._sights: dict[int, Sight] = {}
        self._forgotten: list[dict[LaneKey, Lane]] = []
        self.get = self._kept.get
        self.followed = 0
        """Counts calls that followed a lane."""

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self) -> None:
        """Drop every lane, and who was seen."""
        if self._kept:
            self._forgotten.append(self._kept)
            self._kept = {}
            self.get = self._kept.get
        self._sights = {}

    def _let_go(self) -> None:
        for _ in range(LET_GO_AT_ONCE):
            if not self._forgotten:
                return
            self._forgotten[-1].popitem()
            if not self._forgotten[-1]:
                self._forgotten.pop()

    def keep(
        self,
        key: LaneKey,
        block: Block,
        peer: Peer,
        caller: Caller,
        route: Route,
        call: Call,
        verdict: Verdict,
        said: Said,
        plan: Plan,
        now_ns: int,
    ) -> None:
        """Make a lane of a call that was permitted just now, if it may have one.

        Args:
            key: names it.
            block: the header block that the key names.
            peer: the transport it came on.
            caller: who calls, as the port has said at once.
            route: where to.
            call: what was decided on.
            verdict: the permit.
            said: the caller's words, as a record may name them.
            plan: the permit on the wire.
            now_ns: Unix nanoseconds at which the call began.
        """
        self._let_go()
        if (
            caller.assurance not in _LASTING
            or caller.purpose is not None
            or call.mode is SharingMode.VERIFY
            or verdict.grant is None
            or route.interface.scope_parameters
            or route.asks is not None
            or len(key[2]) > MAX_PATH_BYTES
        ):
            return
        until_ns = min(min(verdict.valid_until_unix, caller.expires_unix) * 10**9, said.until_unix_ns)
        if until_ns <= now_ns:
            return
        if len(self._kept) >= MAX_LANES and key not in self._kept:
            del self._kept[next(iter(self._kept))]
        sight = self._sight(block, peer.certificate_der, caller, now_ns)
        self._kept[key] = Lane(sight, route, call, verdict, said, plan, now_ns, until_ns)

    def _sight(self, block: Block, certificate_der: bytes | None, caller: Caller, now_ns: int) -> Sight:
        """Who sends the block; other lanes of it know from now on, too."""
        sight = self._sights.get(id(block))
        if sight is None or sight.certificate_der != certificate_der or sight.caller != caller:
            if len(self._sights) >= MAX_SIGHTS and id(block) not in self._sights:
                del self._sights[next(iter(self._sights))]
            sight = self._sights[id(block)] = Sight(block, certificate_der, caller, now_ns)
        else:
            sight.seen(now_ns)
        return sight
