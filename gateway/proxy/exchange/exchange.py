"""One exchange: a call on its way from its caller to a supplier and back, as `states` lays down.

It is one object, written in five layers, each a class over the one below it. A layer calls itself and what is under it
and knows no name of those above (mypy holds that), so that they are read from the top:

    exchange    steps 1 to 3: who calls, which interface, what the policies say; the request's body
    recording   step 4: a place at the supplier, the quota, and the record, durable before anybody is called
    forwarding  steps 5 and 6: the request goes to the supplier, its answer to the caller
    endings     every way out, what is said of it on each, and waiting
    course      what an exchange has and where it stands

They are layers and not parts because a part would be one more object for every call and one more look-up at every use
(tests/bench/data_plane/in_process.py).

Every step is a short method; what is at hand goes on at once, what must be waited for goes on in a callback, and a
callback that comes after the exchange has moved on is ignored. Nothing here touches a socket: the caller's connection
(`downstream`) and the supplier's (`upstream`) move the bytes.
"""

import functools

import msgspec

from gateway.domain.callers import Caller
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.texts import Said
from gateway.domain.verdicts import Decision, Verdict
from gateway.proxy.exchange import states
from gateway.proxy.exchange.constrained import is_readable, of_body, of_json
from gateway.proxy.exchange.lanes import Lane
from gateway.proxy.exchange.recording import Recording
from gateway.proxy.exchange.requests import (
    BOUND_ELSEWHERE,
    body_limit_bytes,
    check_question,
    make_call,
    parameters_for,
    with_asked,
    with_body,
)
from gateway.proxy.exchange.routes import Route
from gateway.proxy.exchange.standing import Standing
from gateway.proxy.guards import ends_exchange
from gateway.proxy.http.bodies import NO_BODY
from gateway.proxy.http.heads import malformed, with_own
from gateway.proxy.ports import RequestHead
from gateway.proxy.projection.matching import guessable, parse_question

_PERMIT = Decision.PERMIT
_UNSAID = Said("")


class Exchange(Recording):
    """One call. `begin` starts it; its two connections tell it the rest."""

    __slots__ = ()

    # Who calls, and for which interface? Or is it all known from a call before?

    def begin(self) -> None:
        """Start: who calls?"""
        plane, connection, now_ns = self.plane, self.connection, self._started_ns
        lane = plane.lanes.get((id(self.block), self.method, self.target.path))
        if (
            lane is not None
            and lane.since_ns <= now_ns < lane.until_ns
            and lane.sight.certificate_der == connection.peer.certificate_der
            and lane.route.place is not None
            and self.body is NO_BODY
        ):
            if lane.sight.since_ns <= now_ns < lane.sight.until_ns:
                self._follow(lane)
                return
            self._lane = lane
        fields = (*self.block.fields, *self._own)
        head = RequestHead(self.method, self.target.path, self.target.query, fields, self.block.host)
        self.wait(self._identified, plane.identify, head, connection.peer)

    def _follow(self, lane: Lane) -> None:
        """What this request means is at hand: go on as if it had been identified, resolved and permitted just now."""
        self.move(states.ON_KNOWN)
        plane, route = self.plane, lane.route
        plane.lanes.followed += 1
        self._caller = lane.sight.caller
        self._call = call = lane.call
        self._fields = lane.fields
        self._plan = lane.plan
        self._take(route)
        self._standing = Standing(self, call, lane.verdict)
        if route.parameter_names:
            try:
                _, self._subjects = parameters_for(route, self.target, plane.pseudonym)
            except GatewayError as error:
                self.refuse(error)
                return
        self._note_use(lane.verdict, lane.said)
        self._admit(route)

    def _take(self, route: Route) -> None:
        """The interface is known: count there, and end within its total time."""
        self._route = route
        self._tally = route.tally
        # INVARIANT: BOUNDED: no exchange without a total.
        total = route.interface.total_timeout_seconds or self.plane.limits.exchange_seconds
        self._total_due = self.plane.now_seconds + total

    def _identified(self, caller: Caller) -> None:
        lane = self._lane
        # INVARIANT: BARRIER: nothing was awaited, so nothing has come between the look-up of the lane and this.
        if lane is not None and self._may_be_known and lane.sight.caller == caller:
            lane.sight.seen(self._started_ns)
            self._follow(lane)
            return
        self.move(states.ON_IDENTIFIED)
        self._known, self.block, self._own = self.block, with_own(self.block, self._own), ()
        self._caller = caller
        target = self.target
        self.wait(self._resolved, self.plane.resolve, target.supplier, target.interface)

    def _resolved(self, interface: Interface) -> None:
        self.move(states.ON_RESOLVED)
        plane, body = self.plane, self.body
        try:
            route = plane.route_of(interface)
            self._take(route)
            self._call, self._subjects = make_call(
                route, self._caller, self.method, self.target, self.block, plane.pseudonym
            )
            if body is not NO_BODY:
                body.limit_bytes = body_limit_bytes(route, self._call.mode)
                body.take(b"")
        except GatewayError as error:
            self.refuse(error)
            return
        asks = route.asks
        if route.is_asked_by_values(self._call.mode):
            self._read_in_turn()
        elif body is not NO_BODY and (
            (asks is not None and asks.needs_body) or (route.sought_names and is_readable(self.block))
        ):
            self._is_reading = True
            body.wanted_bytes = body.limit_bytes
            self._read_in_turn()
        elif asks is None or self._take_asked(b""):
            self._decide()

    def _take_asked(self, body: bytes) -> bool:
        """What the request says of itself, at the entry's places; False where it cannot be read, and was refused."""
        asks, pseudonym = self._route.asks, self.plane.pseudonym
        assert asks is not None
        try:
            asked = self._asked = asks.read(self.block, self.target, body, pseudonym)
            named = [pseudonym(subject.encode()) for subject in asked.subjects]
            self._subjects = tuple(dict.fromkeys((*self._subjects, *named)))
            self._call = with_asked(self._call, self._caller, asked, self.block, self._subjects)
        except GatewayError as error:
            self.refuse(error)
            return False
        return True

    # What do the policies say?

    def _read_in_turn(self) -> None:
        """Read the body now, or when long work may be done."""
        body, long_work = self.body, self.plane.long_work
        if body.is_whole and not long_work.may_go_on(body.held_bytes()):
            long_work.put_off(self, self.read_on)
        else:
            self._read()

    @ends_exchange
    def read_on(self) -> None:
        """Read the body, if it is still waited for."""
        if self._awaits_body():
            self._read()

    def _read(self) -> None:
        if self._is_reading:
            self._read_parameters()
        else:
            self._read_question()

    def _read_question(self) -> None:
        """Verify mode: what is compared, and which items are asked for, stands in the body, so it is read first."""
        body = self.body
        if not self._has_body():
            return
        try:
            question = self.question = parse_question(b"".join(body.pieces))
            check_question(question, self._route)
            if self._call.unread:
                asks = bytes(question.query)
                self._call = with_body(self._call, of_json(self._route, asks) if asks else ())
        except GatewayError as error:
            self.refuse(error)
            return
        if self._route.asks is not None and not self._take_asked(bytes(question.query)):
            return
        if len(self._subjects) > 1:
            self.refuse(malformed("values are compared of one person at a time"))
            return
        declared, subjects = self._call.declared, self._call.subjects
        if bytes(question.query):
            declared = tuple(sorted({*declared, "other"}))
            subjects = subjects if self._asked.tells_subjects else None
        self._call = msgspec.structs.replace(
            self._call,
            items=tuple(sorted(question.values)),
            declared=declared,
            guessable=guessable(question),
            subjects=subjects,
        )
        self._decide()

    def _read_parameters(self) -> None:
        """What grants constrain, or whom it asks about, may stand in the body, so it is read first."""
        if not self._has_body():
            return
        self._is_reading = False
        route, octets = self._route, b"".join(self.body.pieces)
        try:
            if route.sought_names and is_readable(self.block):
                self._call = with_body(self._call, of_body(route, self.block, octets))
        except GatewayError as error:
            self.refuse(error)
            return
        if route.asks is None or self._take_asked(octets):
            self._decide()

    def _has_body(self) -> bool:
        """Whether the body is whole; asks for it where it is not."""
        if self.body.is_whole:
            return True
        self.set_deadline(self.plane.limits.body_progress_seconds)
        if self.block.expects_continue:
            self.connection.send_continue()
        return False

    def _decide(self) -> None:
        self._standing = Standing(self, self._call)
        bound = self._caller.purpose
        if bound is not None and bound != self._call.purpose:
            self._decided(BOUND_ELSEWHERE)
        else:
            self._standing.decide(self._decided)

    def _decided(self, verdict: Verdict) -> None:
        # INVARIANT: BARRIER: it is a use from here on, which a change finds while its words are on their way.
        self._note_use(verdict, _UNSAID)
        block, asked = self.block, self._asked
        self.wait(
            functools.partial(self._worded, verdict),
            self.plane.seal,
            self._call,
            block.scenario or asked.scenario,
            block.operator or asked.operator,
            verdict.retention_years,
        )

    def _worded(self, verdict: Verdict, said: Said) -> None:
        """What the caller has said is kept: its record may name it."""
        use = self.use
        assert use is not None
        # INVARIANT: NO-VALUES: the record names what the state keeps; what it did not keep, no use may rest on.
        if verdict.decision is _PERMIT and not said.is_kept:
            verdict = verdict.unrecordable()
        use = self.use = msgspec.structs.replace(
            use, verdict=verdict, purpose=said.purpose, scenario=said.scenario, operator=said.operator
        )
        if verdict.decision is not _PERMIT:
            self._deny(use)
            return
        plane = self.plane
        # INVARIANT: BARRIER: who calls and by which interface was looked up before this was decided.
        if plane.withdrawals.epoch != self._began_epoch and plane.withdrawals.reach(use, self._began_epoch):
            self.refuse(GatewayError("state-stale", "what this call rests on was withdrawn"), end="cut")
            return
        self.move(states.ON_PERMITTED)
        if not self._make_plan(verdict):
            return
        block, route = self._known, self._route
        if self._may_be_known and self.body is NO_BODY:
            key = (id(block), self.method, self.target.path)
            peer, now_ns = self.connection.peer, self._started_ns
            plane.lanes.keep(key, block, peer, self._caller, route, self._call, verdict, said, self._plan, now_ns)
        self._admit(route)

    # The request's body, as the caller's connection tells it.

    def request_piece(self, data: bytes) -> None:
        """More of the request's body."""
        if self.state >= states.FLUSHING:
            return
        try:
            self.body.take(data)
        except GatewayError as error:
            self.refuse(error)
            return
        if self.state is states.FORWARDING:
            self.moved(len(data), self.plane.limits.body_progress_seconds)

    def request_ended(self) -> None:
        """The request's body is whole."""
        self.body.end()
        if self._awaits_body():
            self._read_in_turn()
        elif self.state is states.FORWARDING:
            self.set_deadline(self._route.interface.first_byte_timeout_seconds)
