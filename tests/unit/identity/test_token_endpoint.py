"""The token endpoint over HTTP: who gets a token, how it is bound, and how everybody else is told no."""

import asyncio
import base64
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fastapi import Request

from gateway.client.keys import ClientKey, PrivateKey
from gateway.control.sign_in.oauth import CERTIFICATE_SCOPE, certificate_from_proxy, presented_certificate
from gateway.domain.callers import Assurance
from gateway.identity.callers.assertions import ASSERTION_TYPE
from gateway.identity.callers.security_log import FailureBudget
from gateway.identity.keys.jwk import VerifyingKey
from gateway.proxy.ports import Peer
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, House

ENDPOINT = ISSUER + "/oauth/token"
DER = b"a certificate that TLS has verified"
FIELD = f":{base64.b64encode(DER).decode()}:"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def post(
    house: House, form: dict[str, str] | bytes | None = None, *, app: dict[str, Any] | None = None, **options: Any
) -> httpx.Response:
    """One request; by default with a good assertion."""
    if form is None:
        form = credentials(house)
    content = form if isinstance(form, bytes) else urlencode(form).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", **options.pop("headers", {})}

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(house.app(**(app or {})))
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.post(ENDPOINT, content=content, headers=headers)

    return asyncio.run(run())


def get(house: House, path: str) -> httpx.Response:
    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(house.app())) as client:
            return await client.get(ISSUER + path)

    return asyncio.run(run())


def credentials(house: House, **changes: str) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": house.key.assertion("marriage", ISSUER, int(house.now())),
        **changes,
    }


def test_assertion_gets_a_token(house: House) -> None:
    """A signed assertion is answered with an RFC 9068 token of five minutes, which the data plane takes."""
    answer = post(house)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 300)
    header = jwt.get_unverified_header(body["access_token"])
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    assert house.bearer(body["access_token"]).system == "marriage"


def test_any_standard_library_verifies_the_token(house: House) -> None:
    """A stranger with the published keys and PyJWT reads the claims of RFC 9068 §2.2."""
    token = post(house).json()["access_token"]
    keys = jwt.PyJWKSet.from_dict(get(house, "/.well-known/jwks.json").json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)
    assert {"iss", "sub", "aud", "exp", "iat", "jti", "client_id"} <= set(claims)
    assert claims["exp"] - claims["iat"] == 300


def test_proof_binds_the_token(house: House) -> None:
    """With a DPoP proof the token is bound to its key and of type DPoP."""
    proof = house.proof(None, method="POST", uri=ENDPOINT)
    body = post(house, headers={"DPoP": proof}).json()
    assert body["token_type"] == "DPoP"
    token = body["access_token"]
    caller = house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token)))
    assert caller.assurance is Assurance.DPOP


def test_certificate_authenticates_and_binds(house: House) -> None:
    """A registered certificate is client authentication, and the token works with that certificate only."""
    house.register_certificate(DER)
    form = {"grant_type": "client_credentials", "client_id": "marriage"}
    answer = post(house, form, app={"client_certificate": lambda _: DER})
    token = answer.json()["access_token"]
    bound = Peer("192.0.2.7", is_tls=True, certificate_der=DER)
    assert house.bearer(token, peer=bound).assurance is Assurance.MTLS
    other = post(house, form, app={"client_certificate": lambda _: b"another"})
    assert (other.status_code, other.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("trusted", "field", "status"),
    [
        ({"127.0.0.1"}, f":{base64.b64encode(DER).decode()}:", 200),
        ({"192.0.2.1"}, f":{base64.b64encode(DER).decode()}:", 401),
        (set(), f":{base64.b64encode(DER).decode()}:", 401),
        ({"127.0.0.1"}, base64.b64encode(DER).decode(), 401),
        ({"127.0.0.1"}, ":not base64:", 401),
        ({"127.0.0.1"}, "::", 401),
        ({"127.0.0.1"}, f":{base64.b64encode(b'another').decode()}:", 401),
    ],
)
def test_certificate_from_a_proxy_needs_trust(house: House, trusted: set[str], field: str, status: int) -> None:
    """`Client-Cert` (RFC 9440) counts only from proxies that settings trust, and only in its one form."""
    house.register_certificate(DER)
    app = {"client_certificate": certificate_from_proxy(frozenset(trusted))}
    form = {"grant_type": "client_credentials", "client_id": "marriage"}
    assert post(house, form, app=app, headers={"Client-Cert": field}).status_code == status


@pytest.mark.parametrize(
    ("trusted", "connection", "field", "expected"),
    [
        (set(), DER, None, DER),
        (set(), DER, FIELD, DER),
        (set(), None, FIELD, None),
        ({"127.0.0.1"}, b"the proxy's own", FIELD, DER),
        ({"127.0.0.1"}, b"the proxy's own", None, None),
        ({"192.0.2.1"}, DER, FIELD, DER),
    ],
)
def test_certificate_of_the_connection_or_of_the_proxy(
    trusted: set[str], connection: bytes | None, field: str | None, expected: bytes | None
) -> None:
    """What TLS has verified counts, except from a trusted proxy: there only what the proxy says does."""
    headers = [(b"client-cert", field.encode())] if field else []
    scope = {"type": "http", "client": ("127.0.0.1", 1), "headers": headers, CERTIFICATE_SCOPE: connection}
    assert presented_certificate(frozenset(trusted))(Request(scope)) == expected


def test_nonce_is_asked_for_without_using_up_the_assertion(tmp_path: Path) -> None:
    """A proof without nonce is answered with one; the same assertion then still gets the token."""
    house = House(tmp_path, nonces=True)
    form = credentials(house)
    first = post(house, form, headers={"DPoP": house.proof(None, method="POST", uri=ENDPOINT, nonce=None)})
    assert (first.status_code, first.json()["error"]) == (400, "use_dpop_nonce")
    nonce = first.headers["DPoP-Nonce"]
    second = post(house, form, headers={"DPoP": house.proof(None, method="POST", uri=ENDPOINT, nonce=nonce)})
    assert second.json()["token_type"] == "DPoP"
    assert second.headers["DPoP-Nonce"] == nonce


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "unsupported_grant_type"),
        ({"scope": "everything"}, 400, "invalid_scope"),
        ({"resource": "https://other.test"}, 400, "invalid_target"),
        ({"client_assertion_type": "saml"}, 401, "invalid_client"),
        ({"client_assertion": "a.b.c"}, 401, "invalid_client"),
        ({"client_assertion": "张"}, 401, "invalid_client"),
        ({"client_id": "tax"}, 401, "invalid_client"),
        ({"client_secret": "hunter2"}, 401, "invalid_client"),
    ],
)
def test_errors_are_those_of_oauth(house: House, changes: dict[str, str], status: int, error: str) -> None:
    """RFC 6749 §5.2 codes, no-store, and the members of a problem besides; nothing sent is repeated."""
    answer = post(house, credentials(house, **changes))
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["type"].startswith("/problems/")
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"grant_type=client_credentials&grant_type=client_credentials", None),
        (b"&".join(b"a%d=1" % n for n in range(40)), None),
        (b"grant_type", None),
        (b"grant_type=%FF", None),
        (b"\xff\xfe", None),
        (b'{"grant_type":"client_credentials"}', "application/json"),
        (b"grant_type=client_credentials&x=" + b"a" * 20_000, None),
    ],
)
def test_malformed_forms_are_refused(house: House, body: bytes, kind: str | None) -> None:
    """Repeated or too many parameters, no form, another media type, or too much."""
    answer = post(house, body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code in (400, 413)
    assert answer.json()["error"] == "invalid_request"


def test_no_authentication_is_no_token(house: House) -> None:
    """A bare client id gets nothing, even of a registered client."""
    answer = post(house, {"grant_type": "client_credentials", "client_id": "marriage"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_replays_at_the_endpoint_are_refused(house: House) -> None:
    """The same assertion, or the same proof with a new assertion, gets no second token."""
    proof = house.proof(None, method="POST", uri=ENDPOINT)
    form = credentials(house)
    assert post(house, form, headers={"DPoP": proof}).status_code == 200
    assert post(house, form).json()["error_description"].endswith("it was used before")
    assert post(house, headers={"DPoP": proof}).json()["error"] == "invalid_dpop_proof"


def test_flood_of_failures_is_answered_with_429(house: House) -> None:
    """An address that keeps failing waits; what it sends is not looked at."""
    budget = FailureBudget(house.now, per_second=1, burst=3)
    for _ in range(3):
        assert post(house, credentials(house, client_assertion="a.b.c"), app={"budget": budget}).status_code == 401
    refused = post(house, app={"budget": budget})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    house.now.at += 5
    assert post(house, app={"budget": budget}).status_code == 200


def test_metadata_describes_what_is_offered(house: House) -> None:
    """RFC 8414: the issuer is the very one in tokens, and every URL is under it."""
    answer = get(house, "/.well-known/oauth-authorization-server")
    document = answer.json()
    assert document["issuer"] == ISSUER
    assert document["token_endpoint"] == ENDPOINT
    assert document["jwks_uri"] == ISSUER + "/.well-known/jwks.json"
    assert document["token_endpoint_auth_methods_supported"] == ["private_key_jwt", "self_signed_tls_client_auth"]
    assert document["tls_client_certificate_bound_access_tokens"] is True
    assert "max-age" in answer.headers["Cache-Control"]


def test_rotated_key_is_published_beside_the_new_one(house: House) -> None:
    """Through the overlap both keys are in the set; no private member ever is."""
    old = house.ring.token_signer().kid
    house.ring.rotate("token")
    published = get(house, "/.well-known/jwks.json").json()["keys"]
    assert {jwk["kid"] for jwk in published} == {old, house.ring.token_signer().kid}
    assert not any("d" in jwk for jwk in published)


def _forged(house: House, client: str, private: PrivateKey, kid: str | None = None) -> dict[str, str]:
    assertion = ClientKey(private, kid).assertion(client, ISSUER, int(house.now()))
    return {**credentials(house), "client_id": client, "client_assertion": assertion}


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "PS256"])
def test_refusal_tells_no_known_client_from_an_unknown_one(
    house: House, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown, revoked, known by another kind of key, by another name, by a forged signature: one answer, one check."""
    made: dict[str, PrivateKey] = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        "PS256": rsa.generate_private_key(65537, 2048),
    }
    thief = made[algorithm]
    house.systems["revoked"] = msgspec.structs.replace(house.systems["tax"], id="revoked", active=False)
    house.systems["keyless"] = msgspec.structs.replace(house.systems["tax"], id="keyless", keys=())
    checks: list[str] = []
    verify = VerifyingKey.verify_signature

    def counted(key: VerifyingKey, algorithm: str, signing_input: bytes, signature: bytes) -> None:
        checks.append(algorithm)
        verify(key, algorithm, signing_input, signature)

    monkeypatch.setattr(VerifyingKey, "verify_signature", counted)
    forms = [_forged(house, client, thief) for client in ("nobody", "revoked", "keyless", "marriage", "tax")]
    forms += [_forged(house, client, thief, house.key.kid) for client in ("marriage", "tax", "nobody")]
    seen = set()
    for form in forms:
        checks.clear()
        answer = post(house, form)
        assert checks == [algorithm], "one signature is checked, whoever is named"
        seen.add((answer.status_code, answer.text, answer.headers["content-type"]))
    assert len(seen) == 1
    assert next(iter(seen))[0] == 401
    assert {"nobody", "marriage"}.isdisjoint(next(iter(seen))[1].split())
    reasons = " ".join(house.security.counters)
    assert "the client is not known" in reasons, "the gateway's own log says why"
