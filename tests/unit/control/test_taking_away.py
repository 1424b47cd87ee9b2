"""BARRIER for each act that can take something away: it reaches the call under way, and no act is without a row.

An act takes away by a change in the feed that `withdraws` and touches the call; what a worker does with such a change,
to an answer that streams and to one whose supplier is slow, is `tests/unit/proxy/test_barrier.py`, for both kinds of
changes: those the policies know of, and those that they do not. The same rows on a running gateway, with what still
leaves counted, are `tests/end_to_end/test_taking_away_running.py`.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gateway.control.act.examples import STANDS_AT
from gateway.control.app.app import create_app
from gateway.control.sign_in.credentials import credentials_router
from gateway.domain.changes import Change
from gateway.domain.hosts import Host, HostState
from gateway.runtime.worker.resolver import is_decided, is_touched
from gateway.store import StoreTransaction
from tests.support.control import ISSUER, World, done
from tests.support.withdrawals import (
    AFTER,
    BEFORE,
    NEEDS_A_SERVICE,
    ROWS,
    TAKES_AWAY,
    TAKES_NOTHING,
    Place,
    Standing,
    settle,
)


class House(World):
    """A control plane with all its routes."""

    day = STANDS_AT.date()

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.app = create_app(self.services)
        self.app.include_router(credentials_router(self.ring))
        self.number = 0

    def ask(self, officer: str | None, method: str, path: str, body: Any = None, **options: Any) -> Any:
        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(base_url=ISSUER, transport=transport) as client:
                headers = {"Authorization": f"Bearer {self.token(officer or '')}"}
                return await client.request(method, path, json=body, headers=headers, **options)

        return done(asyncio.run(run()))

    def write(self, change: Callable[[StoreTransaction], None]) -> None:
        with self.store.transaction() as tx:
            change(tx)

    def place(self, number: int) -> Place:
        address = f"host-{number}.example"
        host = Host("public-security", address, 443, addresses=("192.0.2.7",), state=HostState.CONFIRMED)
        with self.store.transaction() as tx:
            settle(tx, number, host)
        return Place(host)

    def standing(self) -> Standing:
        self.number += 1
        return Standing(self, self.number)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.close()


def test_every_act_of_the_api_has_its_row(house: House) -> None:
    """A new act says what it takes away, or why it takes nothing."""
    acts = {
        f"{method.upper()} {path}"
        for path, methods in house.app.openapi()["paths"].items()
        for method in methods
        if method in {"post", "put", "patch", "delete"}
    }
    assert acts == TAKES_AWAY.keys() | TAKES_NOTHING.keys()


HERE = [(act, what) for act, what in ROWS if act not in NEEDS_A_SERVICE]
LOOKED_UP = ("certificates", "credentials", "departments", "directory", "interfaces", "hosts", "systems", "keys")


@pytest.mark.parametrize(("act", "what"), HERE, ids=[f"{act}: {what}" for act, what in HERE])
def test_barrier_what_takes_away_reaches_calls_under_way(house: House, act: str, what: str) -> None:
    """BARRIER: the act is waited for, by a change that cuts the call; a call of another department goes on where it
    can; and what the policies do not know of ends a call that has not been answered."""
    standing = house.standing()
    number = standing.number
    use: Any = SimpleNamespace(
        call=SimpleNamespace(system=f"s-{number}", department=f"demand-{number}", dataset=f"d.{number}"),
        verdict=SimpleNamespace(grant=f"g-{number}"),
        supplier="public-security",
    )
    BEFORE.get(act, lambda _: None)(standing)
    before = house.store.sequence()
    TAKES_AWAY[act][what](standing)
    changes: list[Change] = house.store.changes_after(before)
    AFTER.get(act, lambda _: None)(standing)
    reaching = [change for change in changes if change.withdraws and is_touched(change, use)]
    assert reaching, changes
    looked_up = act.split("/")[2] in LOOKED_UP
    decided = {is_decided(change) for change in reaching}
    # Departments that change take both: who calls is another's by then, whatever the policies say.
    assert (False in decided) if act.endswith("reorganisations") else (decided == {not looked_up})
