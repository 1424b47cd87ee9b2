"""A use whose bytes somebody else carries: an exchange up to its durable record, and an answer that says so.

What the exchange does behind that step needs the bytes: it reduces answers to items, bounds rows, counts them, compares
values and keeps an answer's shape. A carrier does none of it, so a permit that asks for any is a denial here
(`carrier-cannot-limit`), and on record as one.

INVARIANT: RECORD-FIRST: 200 is said once the record is durable, and to the carrier alone that asked.
INVARIANT: BARRIER: until its last octet has arrived there, a 200 is an answer under its use, and is cut like one. Once
it has arrived, the carrier goes on by itself: no gateway can stop it there (docs/beside.md says what each can promise).
"""

from typing import TYPE_CHECKING

import msgspec

from gateway.authorizer.described import Described, describe
from gateway.authorizer.open_uses import OpenUse
from gateway.authorizer.question import NOWHERE
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.uses import Use
from gateway.domain.verdicts import Call, Decision, Explanation, Verdict
from gateway.proxy.exchange import states
from gateway.proxy.exchange.exchange import Exchange
from gateway.proxy.exchange.refusals import status_line
from gateway.proxy.exchange.requests import make_call
from gateway.proxy.exchange.routes import Plan, Route
from gateway.proxy.http.heads import Block, RequestLine

if TYPE_CHECKING:
    from gateway.authorizer.askers import Carrier
    from gateway.authorizer.connection import AskingConnection
    from gateway.authorizer.desk import Desk

_BEYOND = Explanation(
    articles=("Decree 809 Art. 25 ¶1",),
    next_step="make this call through the gateway itself, which reduces the answer to what the grant gives",
    next_step_zh="请经网关本身发起该调用：由网关将应答裁剪至授权范围",
)


class CarriedUse(Exchange):
    """One check.

    Args:
        desk: what checks share.
        connection: the carrier's.
        carrier: who asks.
        line: the check's own method and target.
        block: its header block, which describes the call.
    """

    __slots__ = ("_carrier", "_described", "_desk", "_is_handed", "_line")

    _described: Described

    def __init__(
        self, desk: "Desk", connection: "AskingConnection", carrier: "Carrier", line: RequestLine, block: Block
    ) -> None:
        super().__init__(desk.plane, connection, line.method, NOWHERE, block, block.trace, is_repeated=False)
        self._desk = desk
        self._carrier = carrier
        self._line = line
        self._is_handed = False

    def begin(self) -> None:
        """Start: who calls? By what the carrier tells of the call, and never by what it shows of itself."""
        try:
            described = self._described = describe(
                self._carrier, self._line, self.block, self.connection.peer, self._desk.targets, self.plane.limits
            )
        except GatewayError as error:
            self.refuse(error)
            return
        self.method, self.target = described.method, described.target
        self.wait(self._identified, self.plane.identify, described.head, described.peer)

    def refuse(self, error: GatewayError, explanation: Explanation | None = None, *, end: str | None = None) -> None:
        """As an exchange does; what is answered is the check, whatever the method of the call."""
        self.method = self._line.method
        super().refuse(error, explanation, end=end)

    def _resolved(self, interface: Interface) -> None:
        self.move(states.ON_RESOLVED)
        plane, call_block = self.plane, self._described.block
        try:
            route = plane.route_of(interface)
            self._take(route)
            self._call, self._subjects = make_call(
                route, self._caller, self.method, self.target, call_block, plane.pseudonym
            )
            require_readable(route, self._call, has_body=call_block.content_length != 0)
        except GatewayError as error:
            self.refuse(error)
            return
        if route.asks is None or self._take_asked(b""):
            self._decide()

    def _make_plan(self, verdict: Verdict) -> bool:
        if not super()._make_plan(verdict):
            return False
        if keeps_to(self._plan):
            return True
        assert self.use is not None
        denied = msgspec.structs.replace(
            verdict,
            decision=Decision.DENY,
            code="carrier-cannot-limit",
            items=(),
            explanation=_BEYOND,
            exhausted=None,
            otherwise=None,
        )
        self._deny(msgspec.structs.replace(self.use, verdict=denied))
        return False

    def _admit(self, route: Route) -> None:  # noqa: ARG002 - as the layer below has it
        # The carrier has its own connections to the supplier, and its own bounds on them.
        self._admitted()

    def _forward(self) -> None:
        """The record is durable, and the permit stands: say so."""
        self.move(states.ON_RELEASED)
        use, record = self.use, self._record
        assert use is not None
        assert record is not None
        since = self._started_ns - self._began_ticks
        open_uses = self._desk.open_uses
        token = open_uses.hand(
            OpenUse(
                record,
                use,
                self._carrier.name,
                self._tally,
                self.plane.now_seconds + open_uses.seconds,
                self._began_ticks,
                self._opened_ns + since,
                self._durable_ns + since,
            )
        )
        self._is_handed = True
        self.status = 200
        self._leave()
        self.connection.send_answer(status_line(200) + told_of(self._plan, use, record, token), b"")

    def _tell(self, end: str, missing_bytes: int = 0) -> None:
        # Who was told to go on says how that ended; whatever became of the answer, it may have been read.
        if self._is_handed:
            self._is_told = True
        else:
            super()._tell(end, missing_bytes)

    def told_status(self, status: int) -> int:
        """As nginx takes it: any refusal but 401 and 403 is a fault there, and its caller would see a 500."""
        is_final = status < 500 or status in {501, 505}
        return 403 if self._carrier.takes_few_statuses and is_final and status != 401 else status


def require_readable(route: Route, call: Call, *, has_body: bool) -> None:
    """Refuse a call that cannot be decided without its body, which stays with the carrier.

    Raises:
        GatewayError: `carrier-cannot-limit`.
    """
    if route.is_asked_by_values(call.mode):
        raise GatewayError("carrier-cannot-limit", "a carrier compares no values")
    # INVARIANT: ONE-MEANING: whom it asks about would stand in a body that nobody here has read.
    if route.asks is not None and route.asks.needs_body and has_body:
        raise GatewayError("carrier-cannot-limit", "the interface's requests are read by their bodies")


def keeps_to(plan: Plan) -> bool:
    """Whether a carrier that passes an answer as it is stays within the permit."""
    # INVARIANT: GRANTED-ITEMS-ONLY.
    verdict = plan.verdict
    return plan.passes_unfiltered and verdict.rows_a_day is None and verdict.guesses_a_day is None


def told_of(plan: Plan, use: Use, record: str, token: str) -> bytes:
    """The fields of a 200: what the carrier sets on the request to the supplier, and by what it closes the use."""
    return (
        b"Cache-Control: no-store\r\nSharing-Origin: gateway\r\n%bSharing-Record: %b\r\n"
        b"traceparent: 00-%b-%b-%b\r\nSharing-Close: %b\r\nContent-Length: 0\r\n"
    ) % (
        plan.told_fields,
        record.encode(),
        use.trace_id.encode(),
        use.span_id.encode(),
        use.trace_flags.encode(),
        token.encode(),
    )
