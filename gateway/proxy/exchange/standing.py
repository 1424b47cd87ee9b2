"""Whether what was decided still stands, asked before anything goes to a supplier or to a caller.

A permit rests on what the policies say of the call, on who made it and by which credential, and on the interface as it
was then. The policies are asked anew where they may say something else; a credential cannot be (a proof is used once),
so a call whose credential, system, department or interface was withdrawn ends, and its caller comes again.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.uses import Use
from gateway.domain.verdicts import Call, Decision, Verdict

if TYPE_CHECKING:
    from gateway.proxy.exchange.endings import Ending

_PERMIT = Decision.PERMIT
KEPT_WITHDRAWALS = 256


class Withdrawals:
    """What was withdrawn lately that deciding anew does not tell, for calls that were not decided yet."""

    __slots__ = ("_complete_from", "_kept", "epoch")

    def __init__(self) -> None:
        self.epoch = 0
        self._complete_from = 0
        self._kept: deque[tuple[int, Callable[[Use], bool]]] = deque(maxlen=KEPT_WITHDRAWALS)

    def add(self, epoch: int, matches: Callable[[Use], bool]) -> None:
        """Uses that `matches` rest on something that was withdrawn at `epoch`."""
        if len(self._kept) == KEPT_WITHDRAWALS:
            self._complete_from = self._kept[0][0]
        self._kept.append((epoch, matches))
        self.epoch = epoch

    def reach(self, use: Use, epoch: int) -> bool:
        """Whether anything that the use rests on may have been withdrawn after `epoch`."""
        if epoch < self._complete_from:
            return True
        return any(matches(use) for at, matches in self._kept if at > epoch)


class Standing:
    """The verdict of one exchange, as time goes on and changes come.

    Args:
        exchange: whose.
        call: what is decided on.
        verdict: a permit that stands now, where there is one already.
    """

    __slots__ = ("_again", "_call", "_epoch", "_exchange", "_is_doubtful", "_is_withdrawn", "_then", "_until_ns")

    _then: Callable[[Verdict], None]
    _again: Callable[[], None]

    def __init__(self, exchange: "Ending", call: Call, verdict: Verdict | None = None) -> None:
        self._exchange = exchange
        self._call = call
        self._epoch = exchange.plane.epoch
        self._until_ns = 0 if verdict is None else verdict.valid_until_unix * 1_000_000_000
        self._is_doubtful = self._is_withdrawn = False

    def decide(self, then: Callable[[Verdict], None]) -> None:
        """Ask the policies; a permit from before a change that withdraws is asked for again."""
        exchange = self._exchange
        self._epoch = exchange.plane.epoch
        self._then = then
        exchange.wait(self._decided, exchange.plane.decide, self._call)

    def _decided(self, verdict: Verdict) -> None:
        # INVARIANT: BARRIER: what was decided before a change is not acted on after it.
        if self._epoch != self._exchange.plane.epoch and verdict.decision is _PERMIT:
            self.decide(self._then)
            return
        self._until_ns = verdict.valid_until_unix * 1_000_000_000
        self._then(verdict)

    def doubt(self, *, is_withdrawn: bool = False) -> None:
        """What the use rests on was withdrawn: ask anew before anything more is done under it, or end it."""
        self._is_doubtful = True
        self._is_withdrawn = self._is_withdrawn or is_withdrawn

    def is_certain(self) -> bool:
        """Whether to go on now without asking anybody."""
        plane = self._exchange.plane
        # INVARIANT: STALE-DENIES, BARRIER: as `holds`.
        return plane.is_fresh() and not self._is_doubtful and plane.clock() < self._until_ns

    def holds(self, again: Callable[[], None]) -> bool:
        """Whether to go on now.

        Where it must be asked anew, `again` is called once it still holds (perhaps before this returns False); where
        it does not hold any more, the exchange is refused or cut.
        """
        plane = self._exchange.plane
        # INVARIANT: STALE-DENIES.
        if not plane.is_fresh():
            self._exchange.refuse(GatewayError("state-stale"))
            return False
        # INVARIANT: BARRIER.
        if self._is_withdrawn:
            self._exchange.refuse(GatewayError("state-stale", "what this call rests on was withdrawn"), end="cut")
            return False
        if not self._is_doubtful and plane.clock() < self._until_ns:
            return True
        self._is_doubtful = False
        self._again = again
        self.decide(self._decided_again)
        return False

    def _decided_again(self, verdict: Verdict) -> None:
        exchange, use = self._exchange, self._exchange.use
        assert use is not None
        old = use.verdict
        for each in verdict.in_turn():
            same = (each.items, each.masks, each.grant) == (old.items, old.masks, old.grant)
            if each.decision is _PERMIT and same and exchange.plane.clock() < self._until_ns:
                exchange.use = msgspec.structs.replace(use, verdict=each)
                self._again()
                return
        # A permit of something else asks for another answer: the caller gets it on its next try. One that has ended
        # already, from an engine whose clock is behind, is none.
        code = "state-stale" if verdict.decision is _PERMIT else verdict.code or "not-granted"
        exchange.refuse(GatewayError(code), verdict.explanation, end="cut")
