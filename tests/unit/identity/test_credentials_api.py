"""Acts on credentials over the control API: decided, recorded, effective at once, and silent about secrets."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.control.act.examples import SYSTEM
from gateway.control.app.app import create_app
from gateway.control.sign_in.credentials import credentials_router
from gateway.domain.uses import RecordKind
from tests.support.control import ISSUER, World, done, refused

SECRET = "294c30aa4c03c8f51dfdb9f6fb99d845"


class Desk(World):
    """A control plane with the routes of credentials, which tells what it records."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.app = create_app(self.services)
        self.app.include_router(credentials_router(self.ring))
        self.recorded: list[tuple[RecordKind, dict[str, Any]]] = []
        append = self.acts.append_all

        def told(kind: RecordKind, rows: Any, **options: Any) -> tuple[str, ...]:
            self.recorded.extend((kind, dict(fields)) for fields in rows)
            return append(kind, rows, **options)

        self.acts.append_all = told  # type: ignore[method-assign]

    def ask(self, officer: str | None, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token(officer)}"} if officer else {}

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(base_url=ISSUER, transport=transport) as client:
                return await client.request(method, path, json=body, headers=headers)

        return asyncio.run(run())


@pytest.fixture(scope="module")
def one_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("desk"))
    done(made.ask("civil", "POST", "/v1/systems", SYSTEM))
    yield made
    made.close()


@pytest.fixture
def desk(one_desk: Desk) -> Desk:
    one_desk.recorded.clear()
    return one_desk


LEGACY = f"/v1/systems/{SYSTEM['id']}/legacy-keys/gjgxjhpt/caller-7"
FAULTY = LEGACY.replace("caller-7", "caller-8")


def test_operator_lists_and_rotates_keys(desk: Desk) -> None:
    """An operator sees names and states, and rotates on record; nobody else does either."""
    before = done(desk.ask("operator", "GET", "/v1/keys"))["keys"]
    assert {key["purpose"] for key in before} == {"token", "log", "witness", "pseudonym", "field"}
    old = desk.ring.token_signer().kid
    answer = desk.ask("operator", "POST", "/v1/keys/token/rotation", {"reason": "yearly"})
    rotation = done(answer)["rotation"]
    assert (rotation["replaced"], rotation["new"]) == (old, desk.ring.token_signer().kid)
    ((kind, fields),) = desk.recorded
    assert kind is RecordKind.KEY
    assert (fields["new"], fields["replaced"], fields["officer"]) == (rotation["new"], old, "operator")
    for officer in ("registrar", "police", "auditor"):
        refused(desk.ask(officer, "GET", "/v1/keys"), "act-not-permitted")
        refused(desk.ask(officer, "POST", "/v1/keys/token/rotation", {"reason": "x"}), "act-not-permitted")


def test_rotation_reaches_the_workers(desk: Desk) -> None:
    """A rotation of the token key stands in the change feed; one without overlap withdraws."""
    sequence = desk.store.sequence()
    done(desk.ask("operator", "POST", "/v1/keys/token/rotation", {"reason": "leaked", "overlap_seconds": 0}))
    (change,) = desk.store.changes_after(sequence)
    assert (change.kind, change.subject, change.withdraws) == ("key", "token", True)
    refused(desk.ask("operator", "POST", "/v1/keys/other/rotation", {"reason": "x"}), "invalid-input")


def test_legacy_key_is_registered_sealed_and_withdrawn(desk: Desk) -> None:
    """A department registers a key for its own system; the secret is sealed, never shown, and ends at once."""
    body = {"purpose": "marriage-registration", "secret": SECRET}
    answer = desk.ask("civil", "PUT", LEGACY, body)
    assert done(answer)["key"]["purpose"] == "marriage-registration"
    stored = desk.store.legacy_key("gjgxjhpt", "caller-7")
    assert stored is not None
    assert desk.ring.field_cipher().unseal(stored.secret.decode(), "legacy/gjgxjhpt/caller-7") == SECRET.encode()
    listed = desk.ask("civil", "GET", LEGACY.rsplit("/", 2)[0])
    assert [key["id"] for key in done(listed)["keys"]] == ["caller-7"]
    sequence = desk.store.sequence()
    done(desk.ask("civil", "DELETE", LEGACY))
    assert any(change.withdraws for change in desk.store.changes_after(sequence))
    assert SECRET not in answer.text + listed.text + str(desk.recorded)


def test_legacy_key_faults_are_told(desk: Desk) -> None:
    """Another department, an unknown purpose, contract or system, a short secret: refused without the secret."""
    body = {"purpose": "marriage-registration", "secret": SECRET}
    refused(desk.ask("police", "PUT", FAULTY, body), "not-found")
    refused(desk.ask("civil", "PUT", FAULTY, {**body, "purpose": "other"}), "invalid-input")
    refused(desk.ask("civil", "PUT", FAULTY.replace("gjgxjhpt", "other"), body), "invalid-input")
    refused(desk.ask("civil", "PUT", FAULTY.replace(str(SYSTEM["id"]), "ghost"), body), "not-found")
    answer = desk.ask("civil", "PUT", FAULTY, {**body, "secret": "too short"})
    refused(answer, "invalid-input")
    assert "too short" not in answer.text
    refused(desk.ask("civil", "DELETE", FAULTY), "not-found")
    assert desk.store.legacy_key("gjgxjhpt", "caller-8") is None
