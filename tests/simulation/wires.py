"""Connections between a worker and its control process: ends of a Unix socket, in order, each in its own time."""

import asyncio
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from gateway.control.barrier.hub_link import HubLink
from tests.simulation.loop import Loop, Process


class Wire(asyncio.Transport):
    """One end of a Unix socket between two processes; what is sent arrives in order, in its own time."""

    def __init__(self, loop: Loop, process: Process) -> None:
        super().__init__()
        self.loop, self.process = loop, process
        self.protocol: Any = None
        self.peer: Wire
        self.is_open = True
        self._arrives = 0.0

    def write(self, data: Any) -> None:
        if self.is_open:
            self._to_peer(lambda: self.peer.protocol.data_received(data))

    def _to_peer(self, what: Callable[[], None]) -> None:
        world = self.process.world
        late = world.random.uniform(0.0, self.process.machine.lateness) if self.process.machine.lateness else 0.0
        self._arrives = max(self._arrives, world.now + late + world.random.expovariate(1000.0))
        peer = self.peer

        def arrive() -> None:
            if not peer.process.is_dead:
                peer.loop.call_soon(lambda: what() if peer.is_open else None)

        world.at(self._arrives, arrive)

    def abort(self) -> None:
        if self.is_open:
            self.is_open = False
            self.loop.call_soon(self.protocol.connection_lost, None)
            self._to_peer(self.peer.lost)

    close = abort

    def lost(self) -> None:
        if self.is_open:
            self.is_open = False
            self.protocol.connection_lost(None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return SimpleNamespace(getsockopt=lambda *_: struct.pack("3i", self.peer.process.pid, 0, 0))


def connect(worker: Any, control: Any, factory: Any) -> Any:
    """Both ends of a new connection."""
    near, far = Wire(worker.loop, worker.process), Wire(control.loop, control.process)
    near.peer, far.peer = far, near
    near.protocol, far.protocol = factory(), HubLink(control.hub)
    for one, other in ((near, far), (far, near)):
        one.process.on_death.append(lambda one=one, other=other: one._to_peer(other.lost) if one.is_open else None)
    near.protocol.connection_made(near)
    control.loop.call_soon(far.protocol.connection_made, far)
    worker.wires.append(near)
    return near, near.protocol
