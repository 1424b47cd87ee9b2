"""Whatever a hostile caller signs or sends is taken exactly where a second, independent reading of the rules takes it.

Tokens are signed by the gateway's own key, proofs and assertions by the client's own: what is tested is everything but
the signature. Nothing may fail in another way than by a refusal.
"""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.client.keys import ClientKey
from gateway.domain.errors import GatewayError
from gateway.identity.callers.security_log import FailureBudget
from gateway.identity.keys.jwk import parse_public_jwk
from gateway.identity.signer import SoftwareSigner
from gateway.identity.strict import Unreadable
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, part, resigned, unpart
from tests.unit.identity.legacy_kit import Legacy

HOSTILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)
ABSENT = "(absent)"
SAFE = 2**53 - 1

WORDS = st.sampled_from(
    ("", "marriage", "tax", "Marriage", "marriage ", "mar\u200briage", "ｍarriage", ISSUER, AUDIENCE, "a" * 257)
)
SCALARS = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.floats(-1e15, 1e15) | st.text(max_size=6) | WORDS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Legacy:
    house = Legacy(Path(tmp_path_factory.mktemp("house")))
    house.now.at = 1_800_000_000.0
    return house


def is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256 and all("!" <= character <= "~" for character in value)


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= SAFE


def times_hold(claims: Mapping[str, Any], now: int, longest: int) -> bool:
    """The times of a token, read the plain way: RFC 7519 §4.1.4 to §4.1.6 with 30 s of skew."""
    if not is_whole(claims.get("exp")) or not is_whole(claims.get("iat")):
        return False
    if claims.get("nbf") is not None and not is_whole(claims["nbf"]):
        return False
    begins = max(claims["iat"], claims.get("nbf") or 0)
    return begins - 30 <= now < claims["exp"] + 30 and 0 < claims["exp"] - claims["iat"] <= longest


def binding_holds(claims: Mapping[str, Any]) -> bool:
    """Whether the call below, a plain bearer call without certificate, shows what the token is bound to."""
    return "cnf" not in claims


NOW = st.integers(-120, 120) | st.sampled_from([-31, -30, -29, 29, 30, 31, 86_399, 86_400, 86_401])
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "iss": st.just(ABSENT) | ANYTHING,
        "aud": st.just(ABSENT) | ANYTHING | st.lists(WORDS, max_size=20),
        "sub": st.just(ABSENT) | ANYTHING,
        "client_id": st.just(ABSENT) | ANYTHING,
        "jti": st.just(ABSENT) | ANYTHING,
        "exp": st.just(ABSENT) | ANYTHING | NOW.map(lambda seconds: 1_800_000_000 + seconds),
        "iat": st.just(ABSENT) | ANYTHING | NOW.map(lambda seconds: 1_800_000_000 + seconds),
        "nbf": st.just(ABSENT) | ANYTHING | NOW.map(lambda seconds: 1_800_000_000 + seconds),
        "cnf": ANYTHING | st.fixed_dictionaries({"jkt": WORDS}),
    },
)


@HOSTILE
@given(changes=CLAIMS)
def test_claims_are_read_as_the_rules_say(house: Legacy, changes: dict[str, Any]) -> None:
    """Any change of a token's claims, signed by the gateway's own key: RFC 9068 §4 to the letter, or a refusal."""
    at = int(house.now())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "marriage", "client_id": "marriage", "jti": "j"}
    claims = {**claims, "iat": at, "nbf": at, "exp": at + 300, **changes}
    claims = {name: value for name, value in claims.items() if value != ABSENT}
    audiences = [claims.get("aud")] if isinstance(claims.get("aud"), str) else claims.get("aud")
    expected = (
        claims.get("iss") == ISSUER
        and isinstance(audiences, list)
        and len(audiences) <= 16
        and all(isinstance(each, str) for each in audiences)
        and AUDIENCE in audiences
        and claims.get("sub") == claims.get("client_id")
        and claims.get("client_id") in ("marriage", "tax")
        and is_name(claims.get("jti"))
        and times_hold(claims, at, 86_400)
        and binding_holds(claims)
    )
    token = resigned(house, payload=part_of(claims))
    assert is_taken(house, ("authorization", f"Bearer {token}")) is expected


def part_of(claims: Mapping[str, Any]) -> bytes:
    return json.dumps(claims, ensure_ascii=True).encode()


def is_taken(house: Legacy, *fields: tuple[str, str]) -> bool:
    """Whether the call is somebody's; any other end than a refused credential fails the test."""
    try:
        house.call(*fields)
    except GatewayError as refusal:
        if refusal.code not in ("credential-invalid", "credential-missing"):
            raise
        return False
    return True


TYPES = ("AT+JWT", "application/at+jwt", "at+jwt ", "officer+jwt", "JWT", "application/application/at+jwt")
ALGORITHMS = ("none", "None", "HS256", "ES384", "es256", "ES256K", "PS256")
PROCESSING = ("crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc", "cty")
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "typ": st.just(ABSENT) | ANYTHING | st.sampled_from(TYPES),
        "alg": st.just(ABSENT) | ANYTHING | st.sampled_from(ALGORITHMS),
        "kid": st.just(ABSENT) | ANYTHING,
        **dict.fromkeys((*PROCESSING, "x5t", "nonce"), ANYTHING),
    },
)


@HOSTILE
@given(changes=HEADERS)
def test_header_cannot_change_how_a_token_is_read(house: Legacy, changes: dict[str, Any]) -> None:
    """Any change of the header: only the type's spellings of RFC 7515 §4.1.9 and members without meaning pass."""
    signer = house.ring.token_signer()
    header = {"alg": "ES256", "kid": signer.kid, "typ": "at+jwt", **changes}
    header = {name: value for name, value in header.items() if value != ABSENT}
    kind = header.get("typ")
    expected = (
        header.get("alg") == "ES256"
        and header.get("kid") == signer.kid
        and isinstance(kind, str)
        and kind.lower() in ("at+jwt", "application/at+jwt")
        and not set(PROCESSING) & set(header)
    )
    token = resigned(house, header=part_of(header))
    assert is_taken(house, ("authorization", f"Bearer {token}")) is expected


URIS = st.sampled_from(
    [
        f"{AUDIENCE}/public-security/household",
        "HTTPS://GATEWAY.test:443/public-security/household",
        f"{AUDIENCE}/public-security/household?id=1#x",
        f"{AUDIENCE}/public%2Dsecurity/household",
        f"{AUDIENCE}/public-security%2Fhousehold",
        f"{AUDIENCE}/public-security/household/",
        f"{AUDIENCE}/public-security/../public-security/household",
        f"{AUDIENCE}//public-security/household",
        f"{AUDIENCE}:80/public-security/household",
        "http://gateway.test/public-security/household",
        "https://gateway.test.attacker.test/public-security/household",
        "https://gateway.test@attacker.test/public-security/household",
        "https://gateway.test\\@attacker.test/public-security/household",
        "https://ｇateway.test/public-security/household",
        "//gateway.test/public-security/household",
        "/public-security/household",
        "",
    ]
)
OWN = [f"{AUDIENCE}/public-security/household", "HTTPS://GATEWAY.test:443/public-security/household"]
OWN += [f"{AUDIENCE}/public-security/household?id=1#x", f"{AUDIENCE}/public%2Dsecurity/household"]

PROOFS = st.fixed_dictionaries(
    {},
    optional={
        "htm": st.just(ABSENT) | ANYTHING | st.sampled_from(["get", "POST", "GET "]),
        "htu": st.just(ABSENT) | ANYTHING | URIS,
        "iat": st.just(ABSENT) | ANYTHING | st.integers(1_799_999_880, 1_800_000_060),
        "jti": st.just(ABSENT) | ANYTHING,
        "ath": st.just(ABSENT) | ANYTHING,
    },
)


@HOSTILE
@given(changes=PROOFS)
def test_proof_is_read_as_the_rules_say(house: Legacy, changes: dict[str, Any]) -> None:
    """Any change of a proof's claims, signed by the very key: RFC 9449 §4.3 to the letter, or a refusal."""
    token = house.token(cnf={"jkt": house.key.thumbprint})
    at = int(house.now())
    header, payload, _ = house.proof(token).split(".")
    real = json.loads(unpart(payload))
    claims = {**real, "jti": secrets.token_hex(8), **changes}
    claims = {name: value for name, value in claims.items() if value != ABSENT}
    expected = (
        claims.get("htm") == "GET"
        and claims.get("htu") in OWN
        and is_whole(claims.get("iat"))
        and at - 90 < claims["iat"] <= at + 30
        and is_name(claims.get("jti"))
        and claims.get("ath") == real["ath"]
    )
    message = f"{header}.{part(part_of(claims))}"
    proof = f"{message}.{part(SoftwareSigner(house.key._key).sign(message.encode()))}"
    first = is_taken(house, ("authorization", f"DPoP {token}"), ("dpop", proof))
    # A drawn `jti` may have been drawn before under the same key: then it is a replay, and refused as one.
    assert first is expected or (expected and "jti" in changes)
    assert not is_taken(house, ("authorization", f"DPoP {token}"), ("dpop", proof))


KEYS = [
    ClientKey(ec.generate_private_key(ec.SECP256R1())).registration(),
    ClientKey(ec.generate_private_key(ec.SECP384R1())).registration(),
    ClientKey(ed25519.Ed25519PrivateKey.generate()).registration(),
    ClientKey(rsa.generate_private_key(65537, 2048)).registration(),
]
MEMBERS = st.dictionaries(
    st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops", "kid", "d", "k", "x5c"]),
    ANYTHING | st.sampled_from(["EC", "OKP", "RSA", "P-256", "ES256", "PS256", "sig", "AQAB", "A" * 43, "Ed25519"]),
    max_size=4,
)


@HOSTILE
@given(key=st.sampled_from([{}, *KEYS]), changes=MEMBERS, allow=st.booleans())
def test_any_key_is_taken_whole_or_refused(key: dict[str, Any], changes: dict[str, Any], allow: bool) -> None:
    """Whatever stands where a public key should: what is taken holds no secret and verifies by one algorithm family."""
    try:
        taken = parse_public_jwk({**key, **changes}, allow_rs256=allow)
    except Unreadable:
        return
    assert not {"d", "k", "p", "q", "x5c"} & set(taken.jwk)
    families = ({"ES256"}, {"ES384"}, {"EdDSA", "Ed25519"}, {"PS256"}, {"RS256"}, {"PS256", "RS256"})
    assert set(taken.algorithms) in families[: 4 if not allow else 6]


NOISE = st.text("\t !\"#%&'()*+,-./:;<=>?@[\\]^_`{|}~09AZaz\x7f\x80\xa0\xff", max_size=60)
NAMES = [
    "authorization",
    "dpop",
    "host",
    "gjgxjhpt_rid",
    "gjgxjhpt_sid",
    "gjgxjhpt_rtime",
    "gjgxjhpt_sign",
    "x-tif-paasid",
    "x-tif-timestamp",
    "x-tif-nonce",
    "x-tif-signature",
    "x-bg-date-time",
]
SCHEMES = st.sampled_from(["Bearer", "bearer", "DPoP", "Basic", "Bearer "])
FIELDS = st.lists(
    st.tuples(st.sampled_from(NAMES), NOISE | st.builds("{} {}".format, SCHEMES, NOISE)),
    max_size=6,
)


@HOSTILE
@given(fields=FIELDS)
def test_no_fields_are_a_caller(house: Legacy, fields: list[tuple[str, str]]) -> None:
    """Any header fields that nobody signed are refused, whatever their bytes, in one of two codes."""
    house.identify = house.new_identifier(legacy=house.legacy, budget=FailureBudget(house.now))
    assert not is_taken(house, *fields)
