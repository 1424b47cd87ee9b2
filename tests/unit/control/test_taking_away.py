"""BARRIER for each act that can take something away: it reaches the call under way, and no act is without a row here.

An act takes away by a change in the feed that `withdraws` and touches the call; what a worker does with such a change,
to an answer that streams and to one whose supplier is slow, is `tests/unit/proxy/test_barrier.py`, for both kinds of
changes: those the policies know of, and those that they do not.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gateway.client import new_private_key, public_jwk
from gateway.control.act.examples import (
    CERTIFICATES,
    CLOSURE,
    DATASET,
    GRANT,
    INTERFACE,
    SUSPENSION,
    SYSTEM,
    TERMINATION,
)
from gateway.control.app.app import create_app
from gateway.control.sign_in.credentials import credentials_router
from gateway.domain.changes import Change
from gateway.domain.directory import Department, Level
from gateway.domain.hosts import Host, HostState
from gateway.domain.officers import Officer, Role
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from gateway.runtime.resolver import is_decided, is_touched
from tests.policies.layering import note
from tests.support.control import ISSUER, World, done

MOVED = {"name": "部门", "region": "440000", "level": "province"}
FEWER = {"name": "/name", "id_number": "/id_number"}
EMERGENCY = {"kind": "emergency", "reason": "found in a test"}


class House(World):
    """A control plane with all its routes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.app = create_app(self.services)
        self.app.include_router(credentials_router(self.ring))
        self.number = 0

    def ask(self, officer: str | None, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(base_url=ISSUER, transport=transport) as client:
                headers = {"Authorization": f"Bearer {self.token(officer or '')}"}
                return await client.request(method, path, json=body, headers=headers, **options)

        return asyncio.run(run())


class Standing:
    """What one call rests on: a system with two keys and an older contract's key, an entry, an interface, a grant."""

    def __init__(self, house: House) -> None:
        house.number += 1
        self.house = house
        self.number = number = house.number
        self.dataset = {**DATASET, "id": f"d.{number}", "code": f"d/{number}"}
        self.system = {**SYSTEM, "id": f"s-{number}", "department": f"demand-{number}"}
        address = f"host-{number}.example"
        self.host = f"{address}:443"
        self.interface = {
            **INTERFACE,
            "id": f"i-{number}",
            "dataset": f"d.{number}",
            "upstream": f"https://{address}",
            "tls_ca": f"ca-{number}",
        }
        self.grant = {**GRANT, "id": f"g-{number}", "dataset": f"d.{number}", "department": f"demand-{number}"}
        for side in ("demand_approval", "supply_approval"):
            self.grant[side] = {**GRANT[side], "reference": f"{side} {number}"}
        with house.store.transaction() as tx:
            tx.put_department(Department(f"demand-{number}", f"部门{number}", "442000", Level.CITY))
            tx.put_officer(Officer(f"demand-{number}", f"demand-{number}", "442000", (Role.DEMAND,)))
            tx.put_host(Host("public-security", address, 443, addresses=("192.0.2.7",), state=HostState.CONFIRMED))
        self.post("registrar", "/v1/datasets?release=true", self.dataset)
        self.post("police", "/v1/certificates", {**CERTIFICATES, "name": f"ca-{number}"})
        self.post("registrar", "/v1/interfaces", self.interface)
        self.key = public_jwk(new_private_key())
        self.post("registrar", "/v1/systems", {**self.system, "keys": [self.key, public_jwk(new_private_key())]})
        self.legacy = f"/v1/systems/s-{number}/legacy-keys/gjgxjhpt/key-{number}"
        self.ask("registrar", "PUT", self.legacy, {"purpose": "marriage-registration", "secret": "0" * 32})
        self.post("police", "/v1/grants", self.grant)
        self.use: Any = SimpleNamespace(
            call=SimpleNamespace(system=f"s-{number}", department=f"demand-{number}", dataset=f"d.{number}"),
            verdict=SimpleNamespace(grant=f"g-{number}"),
            supplier="public-security",
        )

    def ask(self, officer: str, method: str, path: str, body: Any = None) -> Any:
        return done(self.house.ask(officer, method, path, body))

    def post(self, officer: str, path: str, body: Any = None) -> Any:
        return self.ask(officer, "POST", path, body)

    def act(self, officer: str, act: str, body: Any) -> Any:
        """An act on the grant."""
        return self.post(officer, f"/v1/grants/g-{self.number}/{act}", body)


def new_version(standing: Standing) -> None:
    """A version of the entry that another officer examines: an item is sensitive now."""
    items = [{**item, "sensitive": True} for item in DATASET["items"]]
    standing.post("police", "/v1/datasets", {**standing.dataset, "items": items})
    standing.post("registrar", f"/v1/datasets/{standing.dataset['id']}/versions/2/examination", {"release": True})


def forbid_everything(standing: Standing) -> None:
    """Policies with a forbid more."""
    body = policies_with('forbid (principal, action in Action::"use", resource);')
    standing.post("province", "/v1/policies/activation", body)


def roll_back(standing: Standing) -> None:
    """Away from policies with a permit more."""
    standing.post("province", "/v1/policies/activation", policies_with(PERMIT))
    standing.post("province", "/v1/policies/rollback", {"reason": "a mistake"})


PERMIT = 'permit (principal == System::"nobody", action == Action::"query", resource);'


def policies_with(rule: str) -> dict[str, Any]:
    found = read_set(default_policies_root(), ("national",))
    return {"layers": ["national", "city"], "files": {**found.files, "city/city.cedar": note("city-rule") + rule}}


def renewed(standing: Standing) -> dict[str, Any]:
    sides = {
        side: {**GRANT[side], "reference": f"new {standing.number}"} for side in ("demand_approval", "supply_approval")
    }
    return {**standing.grant, "items": ["name"], **sides}


def order(reach: str, name: str) -> Callable[[Standing], Any]:
    def give(standing: Standing) -> Any:
        target = {"system": standing.system["id"], "department": standing.system["department"]}.get(
            reach, standing.dataset["id"] if reach == "dataset" else "public-security"
        )
        return standing.post(name, "/v1/orders", {**EMERGENCY, "reach": reach, "target": target})

    return give


Act = Callable[[Standing], Any]

TAKES_AWAY: dict[str, dict[str, Act]] = {
    "POST /v1/certificates/{supplier}/{name}/withdrawal": {
        "the authority that a supplier's certificate is checked by": lambda s: s.post(
            "police", f"/v1/certificates/public-security/ca-{s.number}/withdrawal", {"reason": "lost"}
        )
    },
    "POST /v1/datasets/{id}/withdrawal": {
        "the entry": lambda s: s.post("registrar", f"/v1/datasets/d.{s.number}/withdrawal", {"reason": "abolished"})
    },
    "POST /v1/datasets/{id}/versions/{version}/examination": {"an entry's earlier version": new_version},
    "POST /v1/datasets": {
        "an entry's earlier version, released at once": lambda s: s.post(
            "registrar", "/v1/datasets?release=true", {**s.dataset, "purposes": ["social-assistance"]}
        )
    },
    "POST /v1/departments": {
        "a department's region": lambda s: s.post(
            "province",
            "/v1/departments",
            {"id": f"demand-{s.number}", "name": "部门", "region": "441300", "level": "city"},
        )
    },
    "POST /v1/directory": {
        "an interface's place, by a file": lambda s: s.post(
            "registrar",
            "/v1/directory",
            {"interfaces": [{**s.interface, "places": {"name": "/name", "id_number": "/id_number"}}]},
        )
    },
    "POST /v1/interfaces": {
        "an interface's place": lambda s: s.post("police", "/v1/interfaces", {**s.interface, "places": FEWER}),
        "the interface": lambda s: s.post("police", "/v1/interfaces", {**s.interface, "active": False}),
    },
    "POST /v1/hosts/{supplier}/{id}/withdrawal": {
        "the host": lambda s: s.post("registrar", f"/v1/hosts/public-security/{s.host}/withdrawal", {"reason": "sold"})
    },
    "POST /v1/grants/{id}/suspension": {"the grant, for a while": lambda s: s.act("police", "suspension", SUSPENSION)},
    "POST /v1/grants/{id}/termination": {"the grant": lambda s: s.act("police", "termination", TERMINATION)},
    "POST /v1/grants/{id}/closure": {
        "the grant, its purpose achieved": lambda s: s.act(f"demand-{s.number}", "closure", CLOSURE)
    },
    "POST /v1/grants/{id}/versions": {"an item of the grant": lambda s: s.act("police", "versions", renewed(s))},
    "POST /v1/orders": {
        "a system": order("system", "registrar"),
        "a department": order("department", "registrar"),
        "a dataset": order("dataset", "police"),
        "a supplier": order("supplier", "police"),
    },
    "POST /v1/policies/activation": {"what policies permit": forbid_everything},
    "POST /v1/policies/rollback": {"what policies permitted": roll_back},
    "DELETE /v1/systems/{id}/keys/{name}": {
        "a system's key": lambda s: s.ask("registrar", "DELETE", f"/v1/systems/s-{s.number}/keys/{s.key['kid']}")
    },
    "POST /v1/systems/{id}/revocation": {
        "the system": lambda s: s.post("registrar", f"/v1/systems/s-{s.number}/revocation", {"reason": "replaced"})
    },
    "PUT /v1/systems/{id}/legacy-keys/{contract}/{name}": {
        "an older key's purpose": lambda s: s.ask(
            "registrar", "PUT", s.legacy, {"purpose": "social-assistance", "secret": "0" * 32}
        )
    },
    "DELETE /v1/systems/{id}/legacy-keys/{contract}/{name}": {
        "an older key": lambda s: s.ask("registrar", "DELETE", s.legacy)
    },
    "POST /v1/keys/{purpose}/rotation": {
        "the key that tokens are signed with, at once": lambda s: s.post(
            "operator", "/v1/keys/token/rotation", {"reason": "it was seen", "overlap_seconds": 0}
        )
    },
}

TAKES_NOTHING = {
    "POST /v1/certificates": "a name is never given anew",
    "POST /v1/grants": "a grant of its own",
    "POST /v1/grants/{id}/disposal": "of a grant that has ended",
    "POST /v1/grants/{id}/dispute": "the grant stands until it is settled",
    "POST /v1/grants/{id}/dispute/settlement": "what it settles is a version or an end of its own",
    "POST /v1/grants/{id}/suspension/lift": "gives back",
    "POST /v1/hosts": "a claim: interfaces lead where they led",
    "POST /v1/hosts/{supplier}/{id}/proof": "of a claim",
    "POST /v1/interfaces/derivation": "a proposal",
    "POST /v1/interfaces/trial": "a trial",
    "POST /v1/officers": "an officer calls no interface",
    "POST /v1/orders/{id}/lift": "gives back",
    "POST /v1/orders/{id}/report": "a report",
    "POST /v1/policies/compare": "a question",
    "POST /v1/policies/explain": "a question",
    "POST /v1/policies/shadow": "decides nothing",
    "POST /v1/policies/shadow/end": "decides nothing",
    "POST /v1/purposes": "grants name a purpose by its id, and that stays",
    "POST /v1/records": "a record",
    "POST /v1/records/export": "a question",
    "POST /v1/records/search": "a question",
    "POST /v1/retention": "of records",
    "POST /v1/systems": "a system of its own",
    "POST /v1/systems/{id}/keys": "gives a key",
    "POST /witness/add-checkpoint": "of a log",
}
"""Acts that take nothing from a call under way, and why."""

CONFIRMED_ELSEWHERE = {"POST /v1/hosts/{supplier}/{id}/confirmation": "tests/unit/control/test_hosts_api.py"}
"""Acts that need a service to be called; the file that has them."""


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
    assert acts == TAKES_AWAY.keys() | TAKES_NOTHING.keys() | CONFIRMED_ELSEWHERE.keys()


ROWS = [(act, what) for act, rows in TAKES_AWAY.items() for what in rows]
LOOKED_UP = ("certificates", "departments", "directory", "interfaces", "hosts", "systems", "keys")


@pytest.mark.parametrize(("act", "what"), ROWS, ids=[f"{act}: {what}" for act, what in ROWS])
def test_barrier_what_takes_away_reaches_calls_under_way(house: House, act: str, what: str) -> None:
    """BARRIER: the act is waited for, by a change that cuts the call; a call of another department goes on where it
    can; and what the policies do not know of ends a call that has not been answered."""
    standing = Standing(house)
    before = house.store.sequence()
    TAKES_AWAY[act][what](standing)
    changes: list[Change] = house.store.changes_after(before)
    reaching = [change for change in changes if change.withdraws and is_touched(change, standing.use)]
    assert reaching, changes
    looked_up = act.split("/")[2] in LOOKED_UP
    assert all(is_decided(change) is not looked_up for change in reaching)
