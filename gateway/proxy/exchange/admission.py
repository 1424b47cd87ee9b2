"""Whether a call may go to its supplier now: the circuit, the shares, a slot of the interface.

No supplier that hangs and no system that floods takes another's place: slots are an interface's own, shares a
supplier's and a system's own (`shares`), and what waits is bounded in number and time (RFC 9110 §15.6.4: 503 with
`Retry-After`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.domain.errors import GatewayError
from gateway.proxy.exchange.routes import Route

if TYPE_CHECKING:
    from gateway.proxy.plane import DataPlane


class Admission:
    """One call's place at its supplier, and the octets that are held for it.

    Args:
        plane: what calls share.
        route: the interface.
        system: the calling system.

    Attributes:
        patience_seconds: how long it may wait, where it waits.
    """

    __slots__ = (
        "_go",
        "_has_slot",
        "_held_bytes",
        "_is_counted",
        "_is_probe",
        "_plane",
        "_route",
        "_slots",
        "_system",
        "patience_seconds",
        "pool",
    )

    def __init__(self, plane: "DataPlane", route: Route, system: str) -> None:
        self._plane = plane
        self._route = route
        self._system = system
        self._go: Callable[[], None] | None = None
        self._has_slot = False
        self._held_bytes = 0
        self._is_counted = False
        self._is_probe = False
        self._slots, self.pool = route.place or plane.place_of(route)

    def enter(self, go: Callable[[], None]) -> bool:
        """Take a place: True where it is taken, False where `go` will be called once it is.

        Raises:
            GatewayError: `supplier-unreachable` (the circuit is open), `rate-limited`, `supplier-busy` (too many
                wait or run).
        """
        plane = self._plane
        if not self.pool.may_try():
            raise GatewayError("supplier-unreachable", "the supplier has failed repeatedly and is left alone for now")
        self._is_probe = self.pool.is_open
        beyond = plane.shares.enter(self._system, self._route.interface.supplier)
        if beyond:
            self.turned_away(beyond)
            if beyond == "system":
                raise GatewayError("rate-limited")
            raise GatewayError("supplier-busy", "this supplier's calls take their whole share of the gateway")
        self._is_counted = True
        slots = self._slots
        if slots.in_use < slots.most:
            slots.in_use += 1
            self._has_slot = True
            return True
        self.trouble("busy")
        self._go = go
        self.patience_seconds = slots.wait(self._slot_taken, plane.now_seconds)
        if not self.patience_seconds:
            self._go = None
            self.turned_away("queue")
            raise GatewayError("supplier-busy", "too many calls wait for this supplier")
        return False

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a slot."""
        return self._go is not None

    def turned_away(self, limit: str) -> None:
        """Count a call that goes no further for want of room."""
        self._plane.counters.turned_away(limit)
        if limit != "system":
            self.trouble("busy")

    def _slot_taken(self) -> None:
        self._has_slot = True
        if self._go is not None:
            go, self._go = self._go, None
            go()

    def hold(self, octets: int, *, is_sure: bool = False) -> str:
        """Hold so many octets for this call in all; the limit that forbids more than before, or "" (`Shares.hold`)."""
        more = octets - self._held_bytes
        if not more or not self._is_counted:
            return ""
        beyond = self._plane.shares.hold(self._system, self._route.interface.supplier, more, is_sure=is_sure)
        if beyond:
            self.turned_away("memory")
        else:
            self._held_bytes = octets
        return beyond

    def answered(self) -> None:
        """The supplier has answered whole: it is well, and done with this call, though its caller may not be."""
        self.pool.succeeded()
        if self._has_slot:
            self._has_slot = False
            self._slots.free()

    def trouble(self, trouble: str, found: Callable[[], str] = str) -> None:
        """Note a trouble of the interface that `troubles` names, with what `found` tells where it is new."""
        self._plane.troubles.note(self._route.interface, trouble, found)

    def failed(self, trouble: str) -> None:
        """The supplier has failed this call, in a way that `troubles` names."""
        self.pool.failed()
        self.trouble(trouble)

    def leave(self) -> None:
        """Give everything back."""
        if self._go is not None:
            self._go = None
            self._slots.leave(self._slot_taken)
        if self._has_slot:
            self._has_slot = False
            self._slots.free()
        if self._is_counted:
            self.hold(0)
            self._is_counted = False
            self._plane.shares.leave(self._system, self._route.interface.supplier)
        if self._is_probe:
            self.pool.left()
