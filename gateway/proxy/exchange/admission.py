"""Whether a call may go to its supplier now: the circuit, the system's share, a slot of the interface.

No supplier that hangs and no system that floods takes another's place: slots are an interface's own, shares a
system's own, and what waits is bounded (RFC 9110 §15.6.4: 503 with `Retry-After`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.domain.errors import GatewayError
from gateway.proxy.exchange.routes import Route

if TYPE_CHECKING:
    from gateway.proxy.plane import DataPlane


class Admission:
    """One call's place at its supplier.

    Args:
        plane: what calls share.
        route: the interface.
        system: the calling system.
    """

    __slots__ = ("_go", "_has_slot", "_is_counted", "_plane", "_slots", "_system", "pool")

    def __init__(self, plane: "DataPlane", route: Route, system: str) -> None:
        self._plane = plane
        self._system = system
        self._go: Callable[[], None] | None = None
        self._has_slot = False
        self._is_counted = False
        self._slots, self.pool = route.place or plane.place_of(route)

    def enter(self, go: Callable[[], None]) -> bool:
        """Take a place: True where it is taken, False where `go` will be called once it is.

        Raises:
            GatewayError: `supplier-unreachable` (the circuit is open), `rate-limited`, `draining` (too many wait).
        """
        plane = self._plane
        if not self.pool.may_try():
            raise GatewayError("supplier-unreachable", "the supplier has failed repeatedly and is left alone for now")
        if not plane.enter_system(self._system):
            plane.counters.turned_away("system")
            raise GatewayError("rate-limited")
        self._is_counted = True
        slots = self._slots
        if slots.in_use < slots.most:
            slots.in_use += 1
            self._has_slot = True
            return True
        self._go = go
        if not self._slots.wait(self._slot_taken):
            self._go = None
            plane.counters.turned_away("queue")
            raise GatewayError("draining", "too many calls wait for this supplier")
        return False

    def _slot_taken(self) -> None:
        self._has_slot = True
        if self._go is not None:
            go, self._go = self._go, None
            go()

    def answered(self) -> None:
        """The supplier has answered whole: it is well, and done with this call, though its caller may not be."""
        self.pool.succeeded()
        if self._has_slot:
            self._has_slot = False
            self._slots.free()

    def free_slot(self) -> None:
        """The supplier is done with this call, though its caller may not be."""
        if self._has_slot:
            self._has_slot = False
            self._slots.free()

    def leave(self) -> None:
        """Give everything back."""
        if self._go is not None:
            self._go = None
            self._slots.leave(self._slot_taken)
        if self._has_slot:
            self.free_slot()
        if self._is_counted:
            self._is_counted = False
            self._plane.leave_system(self._system)
        self.pool.left()
