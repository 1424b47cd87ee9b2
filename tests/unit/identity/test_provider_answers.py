"""What an OpenID provider says beyond a good ID token: UserInfo, forged tokens, and how it knows the gateway's keys."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from gateway.identity.officers.oidc import OpenIdSignIn, Provider
from tests.unit.identity.identity_kit import ISSUER, OFFICER, House, part
from tests.unit.identity.test_sign_in import IDP, Office


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(House(tmp_path))


@pytest.mark.parametrize(
    ("userinfo", "status"),
    [
        ({"sub": "u-1", "preferred_username": OFFICER.id}, 303),
        ({"sub": "u-2", "preferred_username": OFFICER.id}, 401),
        ({"preferred_username": OFFICER.id}, 401),
        ({"sub": "u-1"}, 401),
        ({"sub": "u-1", "preferred_username": ["zhang-wei"]}, 401),
        ({"sub": "u-1", "preferred_username": "stranger"}, 401),
        (None, 503),
    ],
)
def test_claim_that_the_id_token_lacks_is_asked_for(
    office: Office, userinfo: dict[str, Any] | None, status: int
) -> None:
    """UserInfo has it (OpenID Connect Core §5.3), and only about the same person (§5.3.2)."""
    office.idp.metadata["userinfo_endpoint"] = IDP + "/userinfo"
    office.idp.claims, office.idp.userinfo = {"preferred_username": None}, userinfo
    assert office.through_provider()[0].status_code == status


def test_claim_of_the_id_token_goes_before_userinfo(office: Office) -> None:
    """What is signed is not asked for again."""
    office.idp.metadata["userinfo_endpoint"] = IDP + "/userinfo"
    office.idp.userinfo = {"sub": "u-1", "preferred_username": "stranger"}
    assert office.through_provider()[0].status_code == 303


def _unsigned(claims: dict[str, Any]) -> str:
    return f"{part({'alg': 'none', 'kid': 'idp-1'})}.{part(claims)}."


def _by_the_secret(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, "client secret".ljust(32), "HS256", headers={"kid": "idp-1"})


def _by_nobody(claims: dict[str, Any]) -> str:
    return f"{part({'alg': 'RS256', 'kid': 'idp-1'})}.{part(claims)}.{'A' * 342}"


def _key_in_the_token(claims: dict[str, Any]) -> str:
    header = {"alg": "RS256", "kid": "idp-1", "jku": "https://attacker.test/keys"}
    return f"{part(header)}.{part(claims)}.{'A' * 342}"


@pytest.mark.parametrize("forge", [_unsigned, _by_the_secret, _by_nobody, _key_in_the_token])
def test_forged_id_token_is_refused(office: Office, forge: Callable[[dict[str, Any]], str]) -> None:
    """`none`, a MAC by what the client shares, no signature, a key that the token names: no session."""
    office.idp.token = forge
    answer, cookies = office.through_provider()
    assert answer.status_code == 401
    assert "__Host-sharing-session" not in cookies


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ({}, ""),
        ({"issuer": "https://attacker.test"}, "not its own"),
        ({"token_endpoint": "http://idp.test/token"}, "not over https"),
        ({"jwks_uri": None}, "not over https"),
        ({"jwks_uri": IDP + "/none"}, "no key"),
    ],
)
def test_provider_is_looked_at_from_the_start(office: Office, metadata: dict[str, Any], fault: str) -> None:
    """Metadata that are another's, unsafe or without keys are told before anybody signs in."""
    office.idp.metadata |= metadata
    transport = httpx.MockTransport(office.idp.serve)

    async def look() -> str:
        async with httpx.AsyncClient(transport=transport) as client:
            provider = Provider(IDP, "sharing-gateway", "client secret", ISSUER + "/sign-in/provider/answer")
            return await OpenIdSignIn(provider, office.house.now, client=client).fault()

    found = asyncio.run(look())
    assert found == fault if not fault else fault in found


def test_metadata_are_asked_for_anew(office: Office) -> None:
    """An endpoint that moves at the provider is met within the hour, without a restart."""
    asked: list[str] = []
    serve = office.idp.serve

    async def heard(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return await serve(request)

    office.idp.serve = heard  # type: ignore[method-assign] - heard on its way
    assert office.through_provider()[0].status_code == 303
    office.idp.metadata["token_endpoint"] = IDP + "/moved"
    assert office.through_provider()[0].status_code == 303
    assert IDP + "/moved" not in asked
    office.house.now.at += 3601
    assert office.through_provider()[0].status_code == 303
    assert IDP + "/moved" in asked
