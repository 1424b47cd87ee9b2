"""Step 4 of an exchange: the use and its record, before anybody is called.

A denial is recorded and refused. A permitted call takes its place at the supplier, draws on its quota, opens its use
and goes on once the record of that is durable.
"""

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.texts import Said
from gateway.domain.uses import Use
from gateway.domain.verdicts import Verdict
from gateway.proxy.exchange import states
from gateway.proxy.exchange.admission import Admission
from gateway.proxy.exchange.forwarding import Forwarding
from gateway.proxy.exchange.requests import make_use, request_digest
from gateway.proxy.exchange.routes import Route
from gateway.proxy.guards import ends_exchange


class Recording(Forwarding):
    """The layer of an exchange that admits it and writes what it is, see `exchange`."""

    __slots__ = ()

    def _note_use(self, verdict: Verdict, said: Said) -> None:
        """The use as its record will name it, permitted or denied."""
        body = self.body
        self.use = make_use(
            self._route,
            self._caller,
            self._call,
            verdict,
            said,
            self.trace,
            request_digest(self.plane.digest, self.method, self.target, body.pieces if body.is_whole else ()),
            self._subjects,
            self._started_ns,
            sample_ratio=self.plane.sample_ratio,
        )

    def _deny(self, use: Use) -> None:
        """Record a denial and refuse; it does not wait for the sync, since nothing goes out under it."""
        self.use = use
        # INVARIANT: STALE-DENIES: a denial rests on the state as much as a permit does.
        if not self.plane.is_fresh():
            self.refuse(GatewayError("state-stale"))
            return
        try:
            self._record = self.plane.ledger.refused(use)
        except GatewayError as error:
            self.refuse(error)
            return
        for watch in self.plane.watches:
            watch.denied(self._record, use)
        self.refuse(GatewayError(use.verdict.code or "not-granted"), use.verdict.explanation)

    def _make_plan(self, verdict: Verdict) -> bool:
        """What the permit is on the wire; False where it cannot be told, and the call was refused."""
        try:
            plan = self._plan = self.plane.plan_of(self._route, self._call, verdict)
        except GatewayError as error:
            self.refuse(error)
            return False
        self._fields = b"" if self.question is not None else plan.fields_for(self.block)
        return True

    def _admit(self, route: Route) -> None:
        """Take a place at the supplier, now or when one is free."""
        try:
            admission = self._admission = Admission(self.plane, route, self._call.system)
            if not admission.enter(self._admitted_at_last):
                self.set_deadline(admission.patience_seconds)
                return
        except GatewayError as error:
            self.refuse(error)
            return
        self._admitted()

    @ends_exchange
    def _admitted_at_last(self) -> None:
        """A place has become free: the time to wait for one is over, however close its end was."""
        self.set_deadline(self.plane.limits.port_timeout_seconds)
        self._admitted()

    def _admitted(self) -> None:
        """There is a place: draw on the quota, where there is one."""
        use = self.use
        assert use is not None
        if use.verdict.metered:
            self.wait(self._drawn, self.plane.meter.draw_call, use.verdict)
        else:
            self._open(use)

    def _drawn(self, is_left: bool) -> None:
        """Go on; where the quota is used up, under the next grant that covers the call, if there is one."""
        use = self.use
        assert use is not None
        otherwise = use.verdict.otherwise
        if is_left and use.verdict.guesses_a_day is not None:
            self.wait(self._guessed, self.plane.meter.draw_guess, use)
        elif is_left:
            self._open(use)
        elif otherwise is None:
            self._deny(msgspec.structs.replace(use, verdict=use.verdict.used_up()))
        else:
            self.use = msgspec.structs.replace(use, verdict=otherwise)
            if self._make_plan(otherwise):
                self._admitted()

    def _guessed(self, is_left: bool) -> None:
        """Go on; where too many wrong answers were given about this person, nobody is asked."""
        use = self.use
        assert use is not None
        if is_left:
            self._open(use)
        else:
            self._deny(msgspec.structs.replace(use, verdict=use.verdict.used_up()))

    def _open(self, use: Use) -> None:
        """Write the use; go on once that is durable."""
        self.move(states.ON_ADMITTED)
        self._opened_ns = self.plane.ticks()
        # INVARIANT: BOUNDED: a ledger that never answers holds nobody for longer than any other port.
        self.set_deadline(self.plane.limits.port_timeout_seconds)
        try:
            self._record = self.plane.ledger.opened(use, self._recorded)
        except GatewayError as error:
            self.refuse(error)

    @ends_exchange
    def _recorded(self, error: BaseException | None) -> None:
        if self.state is not states.RECORDING:
            return
        # INVARIANT: RECORD-FIRST.
        # No supplier is called, not even connected to, before the record is durable.
        if error is not None:
            self._record = None
            self.refuse(GatewayError("records-unavailable"))
            return
        self._durable_ns = durable_ns = self.plane.ticks()
        self.plane.counters.recorded.note(durable_ns - self._opened_ns)
        if self._standing.holds(self._forward):
            self._forward()
