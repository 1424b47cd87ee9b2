"""Mutual TLS (RFC 8705) from token request to use, over real TLS on both planes of a running gateway."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.client import AsyncSharingClient, GatewayUnavailable, SharingAuth, SharingClient, TokenRefused
from gateway.identity.callers.certificates import certificate_thumbprint
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from tests.support.certificates import Authority
from tests.support.gateways import RunningGateway, running_gateway, wait_for

pytestmark = pytest.mark.deep


@dataclass
class Site:
    """A gateway behind nothing, and certificates of callers."""

    gateway: RunningGateway
    authority: Path
    registered: Path
    other: Path
    foreign: Path

    def client(self, certificate: Path | None, auth: httpx.Auth | None = None) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.authority)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return httpx.Client(base_url=self.gateway.data_plane, verify=context, auth=auth, trust_env=False, timeout=15)

    def auth(self, key: str | None = None, *, dpop: bool = True, certificate: Path | None = None) -> SharingAuth:
        context = ssl.create_default_context(cafile=self.authority)
        if certificate is not None:
            context.load_cert_chain(certificate)
        endpoint = f"{self.gateway.control}/oauth/token"
        return SharingAuth(endpoint, SYSTEM, key, purpose=PURPOSE, dpop=dpop, verify=context)

    def call(self, client: httpx.Client, **headers: str) -> httpx.Response:
        number = self.gateway.population.persons[0]["id_number"]
        return client.get("/public-security/persons", params={"id_number": number}, headers=headers)

    def thumbprint(self, certificate: Path) -> str:
        return certificate_thumbprint(ssl.PEM_cert_to_DER_cert(certificate.read_text().split("-----BEGIN PRIV")[0]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tls")
    authority, foreign = Authority(), Authority("another authority")
    ca = authority.write_ca(folder / "ca.pem")
    server = authority.write("127.0.0.1", folder / "server.pem")
    environment = {
        f"GATEWAY_{plane}__{name}": value
        for plane in ("DATA_PLANE", "CONTROL")
        for name, value in (
            ("TLS_CERTIFICATE", str(server)),
            ("CLIENT_CA", str(ca)),
            ("CLIENT_CERTIFICATES", "optional"),
        )
    }
    callers = [authority.write(name, folder / f"{name}.pem") for name in ("registered", "other")]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with running_gateway(folder / "home") as gateway:
            site = Site(gateway, ca, *callers, foreign.write("registered", folder / "foreign.pem"))
            with gateway.officer() as api:
                api.post(f"/v1/systems/{SYSTEM}/keys", {"certificate": site.thumbprint(site.registered)})
            yield site


def token_of(answer: httpx.Response) -> str:
    scheme, _, token = answer.request.headers["Authorization"].partition(" ")
    assert scheme == "Bearer"
    return token


def test_certificate_alone_gets_a_token_and_uses_it(site: Site) -> None:
    """No key, no proof: the registered certificate is the client's authentication, and what the token is bound to."""
    with site.client(site.registered, site.auth(certificate=site.registered)) as client:
        answer = site.call(client)
    assert answer.status_code == 200, answer.text
    record = answer.headers["Sharing-Record"]
    with site.gateway.officer("auditor-he") as api:
        found = wait_for(lambda: [use for use in api.get("/v1/records", limit=500)["items"] if use["record"] == record])
    assert found[0]["assurance"] == "mtls"


@pytest.mark.parametrize("loop", ["threads", "asyncio", "trio"])
def test_one_line_client_by_private_authority_and_certificate(site: Site, loop: str) -> None:
    """`ca=` and `certificate=`, or an encrypted key and the environment's authority: a token and an answer."""
    number = site.gateway.population.persons[0]["id_number"]
    addresses = {"GATEWAY_URL": site.gateway.data_plane, "GATEWAY_TOKEN_URL": f"{site.gateway.control}/oauth/token"}
    key = load_pem_private_key(site.gateway.key.encode("ascii"), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    ways: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"ca": site.authority, "certificate": str(site.registered)}, {}),
        ({"key": encrypted}, {"GATEWAY_CA": str(site.authority), "GATEWAY_KEY_PASSWORD": "secret"}),
    ]
    for options, environment in ways:
        options |= {"client_id": SYSTEM, "purpose": PURPOSE, "environment": {**addresses, **environment}}

        async def call(options: dict[str, Any] = options) -> httpx.Response:
            async with AsyncSharingClient(**options) as sharing:
                return await sharing.call("public-security/persons", id_number=number)

        if loop == "threads":
            with SharingClient(**options) as sharing:
                assert sharing.call("public-security/persons", id_number=number).json()["data"]
        else:
            assert anyio.run(call, backend=loop).json()["data"]
    distrusting = {**options, "environment": addresses}
    with SharingClient(**distrusting, password="secret") as sharing, pytest.raises(GatewayUnavailable):
        sharing.call("public-security/persons", id_number=number)


def test_stolen_token_is_worth_nothing(site: Site) -> None:
    """The bound token without a certificate, with another's, or as DPoP is refused; with its own it still holds."""
    with site.client(site.registered, site.auth(certificate=site.registered)) as client:
        token = token_of(site.call(client))
    bearer = {"Authorization": f"Bearer {token}", "Sharing-Purpose": PURPOSE}
    for certificate in (None, site.other):
        with site.client(certificate) as thief:
            for headers in (bearer, {**bearer, "Authorization": f"DPoP {token}"}):
                refused = site.call(thief, **headers)
                assert (refused.status_code, refused.json()["type"]) == (401, "/problems/credential-invalid")
                assert token not in refused.text
            forged = site.call(thief, **bearer, **{"Client-Cert": ":AAAA:"})
            assert forged.status_code == 401
    with site.client(site.registered) as owner:
        assert site.call(owner, **bearer).status_code == 200


def test_key_and_certificate_together_bind_the_token(site: Site) -> None:
    """`private_key_jwt` over mutual TLS binds to the certificate, and to the DPoP key where one is shown."""
    with site.client(site.registered, site.auth(site.gateway.key, dpop=False, certificate=site.registered)) as client:
        token = token_of(site.call(client))
    headers = {"Authorization": f"Bearer {token}", "Sharing-Purpose": PURPOSE}
    with site.client(None) as thief:
        assert site.call(thief, **headers).status_code == 401
    with site.client(site.registered, site.auth(site.gateway.key, certificate=site.registered)) as client:
        answer = site.call(client)
        assert answer.status_code == 200
    with site.client(None) as thief:
        both = {name: answer.request.headers[name] for name in ("Authorization", "DPoP", "Sharing-Purpose")}
        assert site.call(thief, **both).json()["detail"] == "the token is bound to another certificate"


def test_other_certificates_get_no_token(site: Site) -> None:
    """No certificate, one registered with nobody, a field that names one, one of another authority: no token."""
    for certificate in (None, site.other):
        with (
            site.client(certificate, site.auth(certificate=certificate)) as client,
            pytest.raises(TokenRefused) as refused,
        ):
            site.call(client)
        assert refused.value.status == 401
    form = {"grant_type": "client_credentials", "client_id": SYSTEM}
    with site.client(None) as client:
        field = {"Client-Cert": f":{site.thumbprint(site.registered)}:"}
        assert client.post(f"{site.gateway.control}/oauth/token", data=form, headers=field).status_code == 401
    auth = site.auth(certificate=site.foreign)
    with site.client(site.foreign, auth) as client, pytest.raises(GatewayUnavailable):
        site.call(client)


def test_officers_come_over_tls_without_a_certificate(site: Site) -> None:
    """The command line trusts the home's own certificate; the metadata names https throughout."""
    command = [sys.executable, "-m", "gateway", "keys", "list", "--home", str(site.gateway.home.root)]
    assert "token" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with site.client(None) as client:
        document = client.get(f"{site.gateway.control}/.well-known/oauth-authorization-server").json()
        assert document["token_endpoint"].startswith("https://")
        assert document["tls_client_certificate_bound_access_tokens"] is True


def test_withdrawn_certificate_ends_its_tokens_at_once(site: Site) -> None:
    """When the withdrawal has returned, the token is refused at every worker, certificate and all."""
    name = site.thumbprint(site.other)
    with site.gateway.officer() as api:
        api.post(f"/v1/systems/{SYSTEM}/keys", {"certificate": name})
    with site.client(site.other, site.auth(certificate=site.other)) as client:
        token = token_of(site.call(client))
    with site.gateway.officer() as api:
        api.delete(f"/v1/systems/{SYSTEM}/keys/{name}")
    headers = {"Authorization": f"Bearer {token}", "Sharing-Purpose": PURPOSE}
    for _ in range(8):
        with site.client(site.other) as client:
            assert site.call(client, **headers).status_code == 401
