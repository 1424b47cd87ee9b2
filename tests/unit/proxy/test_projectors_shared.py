"""What reduces answers is made once for all permits that give the same, and never for one that gives anything else."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from gateway.domain.callers import Assurance
from gateway.domain.directory import SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.verdicts import Call
from gateway.proxy.exchange import routes
from gateway.proxy.exchange.routes import Plan
from tests.support.proxy_ports import House, interface_for, permit

CALL = Call("s", "d", Assurance.BEARER, "hukou/person", "set", SharingMode.QUERY, "p", None)
ROW = b'{"data":[{"xm":"abcdef","hyzk":"10"}]}'
GIVEN: list[dict[str, Any]] = [
    {"items": ("hyzk", "xm")},
    {"items": ("xm",)},
    {"items": ("hyzk", "xm"), "masks": (("xm", "last-4"),)},
    {"items": ("hyzk", "xm"), "masks": (("xm", "first-2"),)},
    {"items": ("hyzk", "xm"), "bounds": (("hyzk", ("10",)),)},
    {"items": ("hyzk", "xm"), "bounds": (("hyzk", ("20",)),)},
]


def test_granted_items_only_one_for_each_set_of_items_masks_and_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """GRANTED-ITEMS-ONLY. Another grant of the same shares it; another item, mask, bound or entry has its own."""

    async def run() -> None:
        house = House(interface_for(1, scope_items={"hyzk": "hyzk"}))
        plane = house.plane()
        entry = house.interfaces["hukou/person"]
        route = plane.route_of(entry)

        def plan(number: int, given: dict[str, Any]) -> Plan:
            return Plan(route, CALL, permit(grant=f"g{number}", **given), plane.pseudonym, row_bytes=1000)

        for _ in range(2):
            first, second = ([plan(number, given) for given in GIVEN] for number in range(2))
            assert [one.projector for one in first] == [one.projector for one in second]
            assert len({id(one.projector) for one in first}) == len(GIVEN)
            told = [json.loads(one.project(ROW).content)["data"][0] for one in second[:5]]
            assert told == [
                {"xm": "abcdef", "hyzk": "10"},
                {"xm": "abcdef"},
                {"xm": "**cdef", "hyzk": "10"},
                {"xm": "ab****", "hyzk": "10"},
                {"xm": "abcdef", "hyzk": "10"},
            ]
            with pytest.raises(GatewayError, match="outside what the grant allows"):
                second[5].project(ROW)
            # The entry again, as it is read after a change.
            before = first[0].projector
            house.interfaces["hukou/person"] = entry = msgspec.structs.replace(entry)
            route = plane.route_of(entry)
            assert plan(0, GIVEN[0]).projector is not before
        monkeypatch.setattr(routes, "MAX_PROJECTORS", 2)
        route = plane.route_of(msgspec.structs.replace(entry))
        for given in GIVEN:
            plan(0, given)
            assert len(route.projectors) <= 2

    asyncio.run(run())
