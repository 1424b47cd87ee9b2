"""Who holds how much of one worker: every octet and every call, for whom it is held, and the most that may be.

There is one budget, `held_bytes`, for all octets that a worker holds for anybody: what is gathered of answers, what
callers have not taken, what has come of requests. Each octet is counted once in the budget and once for each party
that it is held for: a supplier and a calling system, or `unknown` before it is known who calls. A party may hold an
eighth of the budget at any time (`share`), and up to a quarter for as long as half of the budget is free: so no party
keeps the others from theirs, and a gateway with one supplier is not held to an eighth.

Calls are counted alike: a supplier has at most its share of the connections, whether its calls run or wait; a system
has `system_concurrency` calls, and where others of its calls have filled that, still a share of it at each other
supplier, so that a supplier that hangs does not stop a system's calls to the rest.
"""

from gateway.proxy.limits import Limits

MOST_IDLE = 1024
"""Parties remembered, of each kind, before those that hold nothing are forgotten."""


class Share:
    """What is held for one party.

    Attributes:
        calls: under way or waiting.
        held_bytes: octets.
        at: of a system, its calls by supplier.
    """

    __slots__ = ("at", "calls", "held_bytes")

    def __init__(self) -> None:
        self.calls = 0
        self.held_bytes = 0
        self.at: dict[str, int] = {}


class Shares:
    """What one worker holds, and for whom.

    Args:
        limits: every bound.

    Attributes:
        held_bytes: all of it.
        unknown: of callers that are not yet known.
    """

    __slots__ = (
        "_limits",
        "_most_bytes",
        "_share_bytes",
        "_share_calls",
        "_supplier_calls",
        "_suppliers",
        "_systems",
        "held_bytes",
        "unknown",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most_bytes = limits.held_bytes
        self._share_bytes = limits.held_bytes // limits.share
        self._supplier_calls = max(limits.connections // limits.share, 1)
        self._share_calls = limits.system_concurrency // limits.share
        self._suppliers: dict[str, Share] = {}
        self._systems: dict[str, Share] = {}
        self.unknown = Share()
        self.held_bytes = 0

    # Calls.

    def enter(self, system: str, supplier: str) -> str:
        """Count one more call; the limit that forbids it, or "" where it is counted."""
        there = self._suppliers.get(supplier) or self._begin(supplier, self._suppliers)
        if there.calls >= self._supplier_calls:
            return "supplier"
        here = self._systems.get(system) or self._begin(system, self._systems)
        at = here.at.get(supplier, 0)
        most = self._limits.system_concurrency
        # INVARIANT: BOUNDED: a system's calls that hang at one supplier leave it a share at each other one.
        if here.calls >= most and (at >= self._share_calls or here.calls >= 2 * most):
            return "system"
        here.at[supplier] = at + 1
        here.calls += 1
        there.calls += 1
        return ""

    def leave(self, system: str, supplier: str) -> None:
        """Count one call less."""
        here, there = self._systems[system], self._suppliers[supplier]
        here.calls -= 1
        there.calls -= 1
        here.at[supplier] -= 1

    @staticmethod
    def _begin(name: str, among: dict[str, Share]) -> Share:
        # Who holds nothing is forgotten all at once, and seldom: a busy system comes and goes with every call.
        if len(among) >= MOST_IDLE:
            for idle in [each for each, share in among.items() if not share.calls and not share.held_bytes]:
                del among[idle]
        share = among[name] = Share()
        return share

    def are_held(self) -> bool:
        """Whether anybody holds a call or an octet."""
        parties = (*self._suppliers.values(), *self._systems.values())
        return self.held_bytes > 0 or any(party.calls or party.held_bytes for party in parties)

    # Octets.

    def hold(self, system: str, supplier: str, octets: int, *, is_sure: bool = False) -> str:
        """Count octets of a call that has entered (negative: let them go).

        Args:
            system: whose call.
            supplier: of whom.
            octets: how many more.
            is_sure: they are held already, and less than before came in their stead.

        Returns:
            The limit that forbids it, `memory` or `supplier` or `system`; "" where they are counted.
        """
        here, there = self._systems[system], self._suppliers[supplier]
        if octets > 0 and not is_sure:
            if self.held_bytes + octets > self._most_bytes:
                return "memory"
            if self._is_beyond(there, octets):
                return "supplier"
            if self._is_beyond(here, octets):
                return "system"
        self.held_bytes += octets
        here.held_bytes += octets
        there.held_bytes += octets
        return ""

    def hold_unknown(self, octets: int) -> bool:
        """Count octets of a caller that is not yet known (negative: let them go); False where there are too many."""
        if octets > 0 and (
            self.unknown.held_bytes + octets > self._most_bytes // 2 or self.held_bytes + octets > self._most_bytes
        ):
            return False
        self.held_bytes += octets
        self.unknown.held_bytes += octets
        return True

    def _is_beyond(self, party: Share, octets: int) -> bool:
        # INVARIANT: BOUNDED: one party takes its share, and of what is free no more than leaves others theirs.
        wanted = party.held_bytes + octets
        if wanted <= self._share_bytes:
            return False
        return self.held_bytes + octets > self._most_bytes // 2 or wanted > 2 * self._share_bytes
