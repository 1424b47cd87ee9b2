"""The exchange without sockets: what one call costs in Python alone, and where.

    .venv/bin/python tests/bench/data_plane/in_process.py [--profile]

Transports are stand-ins that keep what is written; the ports answer at once, records are rendered and not written.
The least of several rounds is printed, so that it can be compared between two versions of the code on one machine,
however busy.
"""

import cProfile
import pstats
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import uvloop

from gateway.domain.callers import Assurance, Caller
from gateway.domain.uses import Outcome, Use
from gateway.ledger.journal.entries import Salts, UseEntries, new_run
from gateway.proxy.downstream import CallerConnection
from gateway.proxy.http.upstream import SupplierConnection
from tests.support.proxy_ports import House, interface_for, json_answer, request

CALLER = Caller("s-1", "civil-affairs", Assurance.BEARER, "jti-1", 1 << 40)
TOKEN = "x" * 600
ROW = (
    '{"xm":"张三","gmsfhm":"442000199001011234","hyzk":"10","csrq":"1990-01-01","mz":"01",'
    '"jg":"广东省中山市石岐街道","dz":"广东省中山市石岐街道民权路一号","lxdh":"13800000000"}'
)


class StandIn:
    """A transport that keeps the last write."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written = data

    def set_write_buffer_limits(self, **_: int) -> None: ...
    def get_extra_info(self, _: str) -> Any: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...
    def close(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class AtOnce:
    """A ledger that renders its entries and is durable when asked."""

    def __init__(self) -> None:
        self.done: Any = None
        self.entries = UseEntries(new_run(time.time_ns()), Salts())
        self.kept: list[bytes] = []

    def opened(self, use: Use, done: Any) -> str:
        self.done = done
        record, content = self.entries.opened(use)
        self.kept = [content]
        return record

    def closed(self, record: str, use: Use, outcome: Outcome) -> None:
        self.kept.append(self.entries.closed(record, use, outcome, time.time_ns()))

    def refused(self, use: Use) -> str:
        return "r"


def calibrate() -> int:
    """A fixed piece of Python to compare with on a busy machine."""
    total = 0
    for number in range(1000):
        total += number & 7
    return total


async def rounds(calls: int, *, profile: bool) -> None:
    """Time `calls` calls, five times."""
    house = House(interface_for(1))
    ledger = AtOnce()
    plane = house.plane(ledger=ledger, identify=lambda head, peer: CALLER)
    plane.decide = lambda call: (hash(call), house.verdict)[1]
    caller = CallerConnection(plane)
    caller.connection_made(StandIn())  # type: ignore[arg-type]
    asked = request(fields=f"Accept: */*\r\nUser-Agent: bench\r\nX-Token: {TOKEN}\r\n")
    answered = json_answer(
        '{"code":0,"message":"ok","data":[' + ROW + "]}",
        fields="Server: nginx\r\nDate: Sun, 22 Nov 2026 01:00:00 GMT\r\n",
    )
    caller.data_received(asked)
    plane.turns._next()
    route = plane.route_of(house.interfaces["hukou/person"])
    supplier = SupplierConnection(plane.place_of(route)[1], plane.limits)
    supplier.connection_made(StandIn())  # type: ignore[arg-type]
    plane.place_of(route)[1].give_back(supplier)
    ledger.done(None)
    supplier.data_received(answered)

    def one() -> None:
        caller.data_received(asked)
        ledger.done(None)
        supplier.data_received(answered)
        # What the loop would do in its next turn, here once for each call.
        plane._ask_arrivals()
        plane.turns._next()

    if profile:
        profiler = cProfile.Profile()
        profiler.enable()
    best = unit = 1e9
    for _ in range(40):
        began = time.perf_counter()
        for _ in range(calls):
            one()
        best = min(best, (time.perf_counter() - began) / calls)
        began = time.perf_counter()
        for _ in range(10):
            calibrate()
        unit = min(unit, (time.perf_counter() - began) / 10)
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    assert caller.transport.written.startswith(b"HTTP/1.1 200"), caller.transport.written  # type: ignore[attr-defined]
    print(f"{best * 1e6:.1f} us a call, Python alone; {best / unit:.2f} calibration loops")


if __name__ == "__main__":
    uvloop.run(rounds(400, profile="--profile" in sys.argv))
