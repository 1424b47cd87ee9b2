"""Credentials over the real data plane and a socket: what a client of each kind really sends is understood."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.client import CredentialRefused, SharingAuth, raise_for_problem
from gateway.domain.callers import Assurance
from tests.support import proxy_ports
from tests.support.bridge import Bridge
from tests.support.proxy_ports import Supplier, interface_for, serving
from tests.unit.identity.identity_kit import ISSUER
from tests.unit.identity.legacy_kit import Legacy, guangdong, national, zhejiang

PATH = "/hukou/person/query"


class Plane:
    """A data plane on loopback that identifies by the real `Identifier`."""

    def __init__(self, house: Legacy, ports: proxy_ports.House, port: int, supplier: Supplier) -> None:
        self.house = house
        self.ports = ports
        self.port = port
        self.supplier = supplier

    def old_client(self, fields: Mapping[str, str], path: str = PATH) -> tuple[int, bytes]:
        """A client of an existing platform: the standard library's HTTP, and that platform's headers alone."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=dict(fields))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def new_client(self, **options: object) -> httpx.AsyncClient:
        chosen: dict[str, Any] = {"purpose": "p", "transport": Bridge(self.house.app()), **options}
        auth = SharingAuth(ISSUER + "/oauth/token", "marriage", self.house.key._key, **chosen)
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", auth=auth)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Plane]:
    house = Legacy(folder, nonces=True)
    house.identify = house.new_identifier(legacy=house.legacy, origins=())
    async with Supplier() as supplier:
        ports = proxy_ports.House(interface_for(supplier.port))
        async with serving(ports, identify=house.identify) as (_, port):
            yield Plane(house, ports, port, supplier)


@pytest.mark.parametrize("contract", ["gjgxjhpt", "gjzwfwpt", "zhejiang", "guangdong"])
def test_client_of_an_existing_platform_needs_no_change(tmp_path: Path, contract: str) -> None:
    """Nothing but the platform's own headers: the use is the key's system's, for the key's purpose; once."""

    async def story() -> None:
        async with running(tmp_path) as plane:
            at = plane.house.now()
            fields = {
                "gjgxjhpt": lambda: national(at),
                "gjzwfwpt": lambda: national(at, "gjzwfwpt"),
                "zhejiang": lambda: zhejiang(at, url=PATH + "?b=2&a=1"),
                "guangdong": lambda: guangdong(at),
            }[contract]()
            target = PATH + "?b=2&a=1"
            status, body = await asyncio.to_thread(plane.old_client, fields, target)
            assert (status, json.loads(body)["code"]) == (200, 0)
            (call,) = plane.ports.calls
            assert (call.system, call.purpose) == ("marriage", "marriage-registration")
            assert call.assurance is Assurance.LEGACY
            for name in fields:
                assert name.encode() not in plane.supplier.requests[0].lower()
            status, body = await asyncio.to_thread(plane.old_client, fields, target)
            assert (status, json.loads(body)["type"]) == (401, "/problems/credential-invalid")
            assert plane.ports.ledger.kinds() == ["opened", "closed"]

    asyncio.run(story())


def test_legacy_key_is_for_its_purpose_only(tmp_path: Path) -> None:
    """A caller that declares another purpose than its key's is refused, whatever the policies would say."""

    async def story() -> None:
        async with running(tmp_path) as plane:
            fields = {**national(plane.house.now()), "Sharing-Purpose": "social-assistance"}
            status, body = await asyncio.to_thread(plane.old_client, fields)
            assert (status, json.loads(body)["type"]) == (403, "/problems/purpose-not-granted")
            assert plane.supplier.requests == []

    asyncio.run(story())


def test_sharing_auth_proves_possession(tmp_path: Path) -> None:
    """`gateway.client` gets token and nonces by itself, and every call is bound to its key."""

    async def story() -> None:
        async with running(tmp_path) as plane, plane.new_client() as client:
            for _ in range(3):
                rows = raise_for_problem(await client.get(PATH, params={"id": "1"})).json()["data"]
                assert rows == [{"xm": "张三", "hyzk": "10"}]
            assert {call.assurance for call in plane.ports.calls} == {Assurance.DPOP}
            assert b"dpop" not in b"".join(plane.supplier.requests).lower()

    asyncio.run(story())


def test_stolen_token_is_worth_nothing(tmp_path: Path) -> None:
    """Who copies the token and the proof off the wire gets a refusal with a challenge, and no record is written."""

    async def story() -> None:
        async with running(tmp_path) as plane, plane.new_client() as client:
            first = await client.get(PATH)
            stolen = {name: first.request.headers[name] for name in ("Authorization", "DPoP", "Sharing-Purpose")}
            token = stolen["Authorization"].partition(" ")[2]
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{plane.port}") as thief:
                for headers in (stolen, {**stolen, "Authorization": f"Bearer {token}"}):
                    answer = await thief.get(PATH, headers=headers)
                    assert answer.status_code == 401
                    assert "DPoP" in answer.headers["WWW-Authenticate"]
                    with pytest.raises(CredentialRefused):
                        raise_for_problem(answer)
                    assert token not in answer.text
            assert plane.ports.ledger.kinds() == ["opened", "closed"]

    asyncio.run(story())
