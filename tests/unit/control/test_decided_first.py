"""Nothing is told before the decision, and an authority that ended ends its repeats, files and streams."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.control.act.deeds import Deed
from gateway.control.act.examples import CLOSURE, DISPOSAL, DISPUTE, GRANT, LIFT, REPORT, SUSPENSION, TERMINATION
from gateway.control.records import exports
from gateway.domain.officers import Role
from tests.support.control import World, done, refused

ACTS: dict[str, Any] = {
    "/v1/grants/{grant}/suspension": SUSPENSION,
    "/v1/grants/{grant}/suspension/lift": LIFT,
    "/v1/grants/{grant}/termination": TERMINATION,
    "/v1/grants/{grant}/closure": CLOSURE,
    "/v1/grants/{grant}/disposal": DISPOSAL,
    "/v1/grants/{grant}/dispute": DISPUTE,
    "/v1/grants/{grant}/versions": GRANT,
    "/v1/orders/{order}/lift": LIFT,
    "/v1/orders/{order}/report": REPORT,
    "/v1/systems/{system}/revocation": {"reason": "x"},
    "/v1/systems/{system}/keys": {"certificate": "x"},
}
THERE_NOT = {"grant": "g-none", "order": "o-none", "system": "none"}


@pytest.fixture(scope="module")
def one_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    made.furnish()
    made.grant()
    yield made
    made.close()


@pytest.fixture(scope="module")
def known(one_world: World) -> dict[str, str]:
    one_world.app.state.services = one_world.services
    order = done(one_world.post("police", f"/v1/grants/{GRANT['id']}/suspension", SUSPENSION))["order"]["id"]
    return {"grant": GRANT["id"], "order": order, "system": "marriage-registry"}


@pytest.fixture
def world(one_world: World) -> World:
    one_world.app.state.services = one_world.services
    return one_world


@pytest.mark.parametrize("if_match", [None, '"of another state"', "*"])
@pytest.mark.parametrize("path", ACTS)
def test_an_act_on_what_one_may_not_see_tells_no_more_than_on_nothing(
    world: World, known: dict[str, str], path: str, if_match: str | None
) -> None:
    """Whatever its state, its orders and `If-Match`: word for word what is told of what is not there."""
    headers = {} if if_match is None else {"If-Match": if_match}
    for officer in ("market-both", "stranger", "operator"):
        there = world.post(officer, path.format(**known), ACTS[path], headers=headers)
        nowhere = world.post(officer, path.format(**THERE_NOT), ACTS[path], headers=headers)
        document = refused(there, "not-found")
        told = {name: str(value).replace("none", "?") for name, value in refused(nowhere, "not-found").items()}
        asked = next(name for name in known if f"{{{name}}}" in path)
        names = (known[asked], THERE_NOT[asked].replace("none", "?"))
        assert {name: str(value).replace(*names) for name, value in document.items()} == told


def test_a_handler_cannot_read_before_the_decision(world: World) -> None:
    """ASKED-AT-COMMIT by construction: the transaction is given by the decision; without one there is none."""
    registrar = world.store.officer("registrar")
    assert registrar is not None
    with world.store.transaction() as tx:
        deed = Deed(world.services, registrar, tx)
        with pytest.raises(AssertionError, match="decided"):
            _ = deed.tx


@pytest.fixture
def exporting(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, ledger=True)
    made.furnish()
    yield made
    made.close()


def _ended(world: World, officer: str) -> None:
    """The officer keeps the account and loses the role, and signs in again."""
    old = world.store.officer(officer)
    assert old is not None
    with world.store.transaction() as tx:
        tx.put_officer(msgspec.structs.replace(old, roles=(Role.OPERATOR,)))


def test_an_export_is_fetched_by_who_still_may(exporting: World) -> None:
    """File, manifest, progress and the repeated request: none is given once the role is lost, under any session."""
    once = {"Idempotency-Key": "export-0001"}
    made = done(exporting.post("auditor", "/v1/records/export", {"format": "ndjson"}, headers=once))
    for where in ("file", "manifest"):
        assert exporting.get("auditor", made[where]).is_success
    done(exporting.post("auditor", "/v1/records/export", {"format": "ndjson"}, headers=once))
    _ended(exporting, "auditor")
    for where in ("file", "manifest"):
        refused(exporting.get("auditor", made[where]), "not-found")
    refused(exporting.post("auditor", "/v1/records/export", {"format": "ndjson"}, headers=once), "act-not-permitted")


def test_a_repeat_is_decided_as_who_one_is_now(exporting: World) -> None:
    """An act's answer is repeated to who may still act, and about that matter as it stands now."""
    once = {"Idempotency-Key": "grant-0001"}
    done(exporting.post("police", "/v1/grants", GRANT, headers=once))
    again = exporting.post("police", "/v1/grants", GRANT, headers=once)
    assert done(again)
    assert again.headers["Idempotency-Replayed"] == "true"
    _ended(exporting, "police")
    refused(exporting.post("police", "/v1/grants", GRANT, headers=once), "act-not-permitted")


def test_a_stream_ends_with_the_right_to_it(exporting: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is on its way is cut off when the officer is dismissed; who reads on gets no more of it."""
    made = done(exporting.post("auditor", "/v1/records/export", {"format": "ndjson"}))
    name = made["export"]
    (exporting.services.spool / name).write_bytes(b"x" * (1 << 20))
    monkeypatch.setattr(exports, "ASKED_SECONDS", 0.0)
    token = exporting.token("auditor")
    received = 0

    async def story() -> None:
        nonlocal received

        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            nonlocal received
            received += len(message.get("body", b""))
            if received and message["type"] == "http.response.body":
                await asyncio.to_thread(_ended, exporting, "auditor")

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": f"/v1/records/export/{name}",
            "raw_path": f"/v1/records/export/{name}".encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(b"authorization", f"Bearer {token}".encode())],
            "client": ("127.0.0.1", 1),
            "server": ("control.example", 80),
            "state": {},
        }
        with pytest.raises(Exception, match="already started"):
            await exporting.app(scope, receive, send)

    asyncio.run(story())
    assert 0 < received < 1 << 20


class Asked:
    """A ledger that counts what it is asked, and has nothing."""

    def __init__(self) -> None:
        self.times = 0

    async def find(self, *_: Any) -> Any:
        self.times += 1
        return Found()


class Found:
    rows: tuple[Any, ...] = ()


@pytest.mark.parametrize("way", ["grants", "disposals"])
def test_the_ledger_is_asked_nothing_for_who_may_not_dispose(tmp_path: Path, way: str) -> None:
    """When data was drawn last is asked once the act is decided, by either of its two routes; and not of what is not
    there, nor for a repeated request."""
    world = World(tmp_path)
    try:
        world.furnish()
        world.grant()
        done(world.post("civil", f"/v1/grants/{GRANT['id']}/closure", CLOSURE))
        cases = done(world.get("civil", "/v1/disposals"))["items"]
        assert len(cases) == 1
        path = {"grants": f"/v1/grants/{GRANT['id']}/disposal", "disposals": f"/v1/disposals/{cases[0]['id']}/report"}[
            way
        ]
        asked = Asked()
        object.__setattr__(world.services, "ledger", asked)
        world.app.state.services = world.services
        known = path.split("/")[3]
        for officer in ("market-both", "stranger", "operator", "police"):
            for asks in (path, path.replace(known, "none")):
                answer = world.post(officer, asks, DISPOSAL)
                assert answer.status_code in {403, 404}, answer.text
        assert asked.times == 0
        once = {"Idempotency-Key": "disposal-0001"}
        for _ in range(2):
            done(world.post("civil", path, DISPOSAL, headers=once))
        assert asked.times == 1
    finally:
        world.close()
