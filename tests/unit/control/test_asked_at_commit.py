"""Who acts is asked when it is done: between a request's head, its body and its transaction every right can end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.control.act import problems
from gateway.control.act.examples import GRANT
from gateway.domain.officers import Role
from gateway.store import StoreTransaction
from tests.support.control import ISSUER, World, refused

Ending = Callable[[StoreTransaction], object]


def _changed(**fields: Any) -> Ending:
    def end(tx: StoreTransaction) -> None:
        old = tx.officer("police")
        assert old is not None
        tx.put_officer(msgspec.structs.replace(old, **fields))

    return end


ENDINGS: dict[str, tuple[Ending, str]] = {
    "dismissed": (_changed(active=False), "credential-invalid"),
    "moved": (_changed(department="civil-affairs"), "credential-invalid"),
    "another role": (_changed(roles=(Role.DEMAND,)), "credential-invalid"),
    "signed out": (lambda tx: tx.end_sessions("sign-out", officer="police"), "credential-invalid"),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.furnish()
    yield made
    made.close()


def send(world: World, path: str, pieces: Callable[[], AsyncIterator[bytes]]) -> httpx.Response:
    """The answer to a POST of the police's officer whose body comes in pieces."""

    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(app=world.app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {world.token('police')}", "Content-Type": "application/json"}
        async with httpx.AsyncClient(base_url=ISSUER, transport=transport) as client:
            return await client.post(path, content=pieces(), headers=headers)

    return asyncio.run(sent())


def drip(world: World, path: str, body: Any, meanwhile: Callable[[], object]) -> httpx.Response:
    """The answer to a request whose head comes before `meanwhile`, and whose body after it."""
    raw = json.dumps(body).encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield raw[:10]
        meanwhile()
        yield raw[10:]

    return send(world, path, pieces)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("moment", ["before the body", "before the transaction"])
def test_a_right_that_ends_meanwhile_does_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, ending: str, moment: str
) -> None:
    """ASKED-AT-COMMIT: dismissed, moved, another role or signed out with the request on its way: nothing is done."""
    end, code = ENDINGS[ending]
    begun = world.store.transaction

    def ended() -> None:
        with begun() as tx:
            end(tx)

    @contextmanager
    def late(**options: bool) -> Iterator[StoreTransaction]:
        ended()
        with begun(**options) as tx:
            yield tx

    if moment == "before the body":
        answer = drip(world, "/v1/grants", GRANT, ended)
    else:
        monkeypatch.setattr(world.store, "transaction", late)
        answer = world.post("police", "/v1/grants", GRANT)
    refused(answer, code)
    assert world.store.grant(GRANT["id"]) is None


@pytest.mark.parametrize("path", ["/v1/interfaces/derivation", "/v1/records/search"])
def test_a_question_is_asked_as_who_one_is_when_its_body_is_here(world: World, path: str) -> None:
    """What only reads is decided by the officer as registered once the whole body has come, too."""

    def dismissed() -> None:
        with world.store.transaction() as tx:
            ENDINGS["dismissed"][0](tx)

    refused(drip(world, path, {"any": "body that is long enough to be sent in two"}, dismissed), "credential-invalid")


def test_a_body_that_drips_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """BOUNDED: a body has so many seconds, and no more of the process; the answer is a problem."""
    monkeypatch.setattr(problems, "BODY_SECONDS", 0.05)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    refused(send(world, "/v1/grants", pieces), "request-timeout")
