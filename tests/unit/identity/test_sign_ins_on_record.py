"""Each sign-in at the control plane as it is wired is in the ledger before its token leaves, by both ways."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.control.sign_in.sign_in import SESSION_COOKIE
from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.identity.officers.passwords import HashingPool
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.process.service import LedgerService
from gateway.runtime.control.control import local_app
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from gateway.runtime.ring import open_ring
from gateway.store import Store
from tests.unit.identity.openid_provider import OpenIdProvider

PASSWORD = "ten cups of oolong tea"
URL = "http://127.0.0.1:8081"
Story = Callable[[httpx.AsyncClient], Any]


class Desk:
    """A home whose control plane serves in this process, with its ledger."""

    def __init__(self, folder: Path, provider: OpenIdProvider) -> None:
        self.provider = provider
        self.home = GatewayHome(folder / "home")
        initialise(self.home, region="442000", department="data-bureau")
        self.settings = self.home.settings()
        with Store.open(self.home.state_url(self.settings)) as store, store.transaction() as tx:
            registrar = tx.officer("registrar")
            assert registrar is not None
            tx.put_officer(registrar, secret_hash=HashingPool().hash(PASSWORD))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        app, lifespan = local_app(self.home, self.settings, URL)
        transport = httpx.ASGITransport(app)
        async with lifespan, httpx.AsyncClient(transport=transport, base_url=URL) as client:
            yield client

    def browse(self, story: Story) -> Any:
        async def run() -> Any:
            async with self.client() as client:
                return await story(client)

        return asyncio.run(run())

    async def by_password(self, client: httpx.AsyncClient, password: str = PASSWORD) -> httpx.Response:
        return await client.post("/sign-in", json={"officer": "registrar", "password": password})

    async def by_provider(self, client: httpx.AsyncClient) -> httpx.Response:
        away = await client.get("/sign-in/provider")
        async with httpx.AsyncClient(trust_env=False) as outside:
            back = await outside.post(
                away.headers["Location"], data={"user": "registrar", "password": self.provider.people["registrar"]}
            )
        return await client.get(back.headers["Location"])


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    made = OpenIdProvider({"registrar": PASSWORD})
    made.redirect_uris.add(f"{URL}/sign-in/provider/answer")
    yield made
    made.close()


@pytest.fixture
def desk(tmp_path: Path, provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch) -> Desk:
    secret = tmp_path / "client-secret"
    secret.write_text(provider.client_secret)
    monkeypatch.setenv("GATEWAY_OFFICERS__PROVIDER", provider.issuer)
    monkeypatch.setenv("GATEWAY_OFFICERS__CLIENT_ID", provider.client_id)
    monkeypatch.setenv("GATEWAY_OFFICERS__CLIENT_SECRET_FILE", str(secret))
    return Desk(tmp_path, provider)


@pytest.fixture
def ledger(desk: Desk) -> Iterator[LedgerService]:
    """The home's ledger, which answers where its control plane asks."""
    origin = desk.home.origin(desk.settings)
    signer = open_ring(desk.home, desk.settings, frozenset({"log"})).log_signer(origin)
    service = LedgerService(desk.home.ledger, origin=origin, signer=signer)
    service.serve_questions(desk.home.ledger_socket)
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    yield service
    stop.set()
    thread.join()
    service.close()


def test_sign_ins_by_both_ways_are_found_by_an_auditor(desk: Desk, ledger: LedgerService) -> None:
    """Who, how, when, of which department: one record each, none of a wrong password, and no secret in any."""

    async def story(client: httpx.AsyncClient) -> tuple[list[str], list[dict[str, Any]]]:
        before = time.time_ns()
        assert (await desk.by_password(client, "a guess at a password")).status_code == 401
        token = (await desk.by_password(client)).json()["access_token"]
        answer = await desk.by_provider(client)
        assert answer.status_code == 303
        after = time.time_ns()
        headers = {"Authorization": f"Bearer {token}"}
        question = {"kind": "consultation", "officer": "registrar"}
        rows: list[dict[str, Any]] = []
        until = time.monotonic() + 10
        while len(rows) < 2 and time.monotonic() < until:
            found = await client.get("/v1/records", params=question, headers=headers)
            assert found.status_code == 200, found.text
            rows = [row for row in found.json()["items"] if row["act"] == "signIn"]
        shown = [await client.get(f"/v1/records/{row['record']}", headers=headers) for row in rows]
        entries = [each.json()["entries"][0] for each in shown]
        assert all(before <= entry["time"] <= after for entry in entries)
        return [token, client.cookies[SESSION_COOKIE]], entries

    secrets, entries = desk.browse(story)
    assert ledger.log.size
    told = ("act", "department", "kind", "method", "officer", "officer_department")
    assert sorted([[entry[name] for name in told] for entry in entries]) == [
        ["signIn", "data-bureau", "consultation", method, "registrar", "data-bureau"]
        for method in ("password", "provider")
    ]
    assert {name for entry in entries for name in entry} == {*told, "id", "retain_until", "salt", "time", "v"}
    kept = b"".join(path.read_bytes() for path in desk.home.ledger.rglob("*") if path.is_file())
    assert b"signIn" in kept
    assert [each for each in (*secrets, PASSWORD) if each.encode() in kept] == []


def test_without_a_record_there_is_no_token(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the record cannot be made durable, both ways end with a problem, and neither token nor cookie leaves."""
    tried: list[object] = []

    def fail(_acts: ActJournal, kind: RecordKind, fields: dict[str, Any], **_: Any) -> str:
        tried.append((kind, fields["method"]))
        raise GatewayError("records-unavailable", "the act could not be recorded")

    monkeypatch.setattr(ActJournal, "append", fail)

    async def story(client: httpx.AsyncClient) -> tuple[list[httpx.Response], list[str]]:
        return [await desk.by_password(client), await desk.by_provider(client)], list(client.cookies)

    answers, cookies = desk.browse(story)
    for answer in answers:
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/records-unavailable")
        assert "access_token" not in answer.text
    assert SESSION_COOKIE not in cookies
    assert tried == [(RecordKind.CONSULTATION, "password"), (RecordKind.CONSULTATION, "provider")]
