"""Attacks on access tokens and officers' tokens."""

import hmac
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.identity.callers.certificates import certificate_thumbprint
from gateway.identity.signer import SoftwareSigner
from gateway.identity.strict import to_base64url
from gateway.proxy.ports import Peer
from tests.unit.identity.attack_row import OFFICER_TOKEN, TOKEN, attack, own_jwk
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, House, part, resigned, unpart


def public_pem(house: House) -> bytes:
    key = next(iter(house.ring.token_keys().values())).key
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def forged(house: House, header: dict[str, Any], sign: Callable[[bytes], bytes], **payload: Any) -> str:
    """A token with a header and signature of the attacker's, and the payload of a real one."""
    parts = house.token().split(".")
    real = json.loads(unpart(parts[0]))
    claims = {**json.loads(unpart(parts[1])), **payload}
    message = f"{part({**real, **header})}.{part(claims)}"
    return f"{message}.{to_base64url(sign(message.encode()))}"


# Access tokens: the algorithm.


@attack(TOKEN, "alg none, no signature", "RFC 8725 §3.2", "names no algorithm")
def none(house: House) -> object:
    return house.bearer(forged(house, {"alg": "none"}, lambda _: b""))


@attack(TOKEN, "alg NoNe, signature kept", "RFC 8725 §2.1", "names no algorithm")
def none_in_disguise(house: House) -> object:
    return house.bearer(forged(house, {"alg": "NoNe"}, lambda m: house.ring.token_signer().sign(m)))


@attack(TOKEN, "signature cut off", "RFC 8725 §3.2", "not signed")
def no_signature(house: House) -> object:
    return house.bearer(house.token().rpartition(".")[0] + ".")


@attack(TOKEN, "HS256 with the public key (PEM) as secret", "RFC 8725 §2.1, §3.1", "algorithm is not the key's")
def confusion_pem(house: House) -> object:
    return house.bearer(forged(house, {"alg": "HS256"}, lambda m: hmac.digest(public_pem(house), m, "sha256")))


@attack(TOKEN, "HS256 with the published JWK as secret", "RFC 8725 §2.1, §3.1", "algorithm is not the key's")
def confusion_jwk(house: House) -> object:
    secret = json.dumps(house.ring.jwks()["keys"][0]).encode()
    return house.bearer(forged(house, {"alg": "HS256"}, lambda m: hmac.digest(secret, m, "sha256")))


@attack(TOKEN, "ES384 named for a P-256 key", "RFC 8725 §3.1", "algorithm is not the key's")
def other_curve(house: House) -> object:
    return house.bearer(forged(house, {"alg": "ES384"}, lambda m: house.ring.token_signer().sign(m)))


@attack(TOKEN, "RS256 signed by an RSA key of the attacker", "RFC 8725 §3.1", "algorithm is not the key's")
def own_rsa(house: House) -> object:
    key = rsa.generate_private_key(65537, 2048)
    return house.bearer(forged(house, {"alg": "RS256"}, lambda m: key.sign(m, PKCS1v15(), SHA256())))


@attack(TOKEN, "signed by a P-256 key of the attacker", "RFC 8725 §3.3", "signature does not verify")
def own_key(house: House) -> object:
    return house.bearer(forged(house, {}, SoftwareSigner.generate("ES256").sign))


@attack(TOKEN, "all-zero ECDSA signature (CVE-2022-21449)", "RFC 8725 §3.3", "signature does not verify")
def psychic(house: House) -> object:
    return house.bearer(forged(house, {}, lambda _: bytes(64)))


# Access tokens: keys brought along.


def with_header(**members: Any) -> Callable[[House], object]:
    """A header with members that would bring a key or change processing, signed by the gateway's own key even."""
    return lambda house: house.bearer(resigned(house, header=members))


for _name, _members in {
    "jwk": {"jwk": own_jwk()},
    "jku": {"jku": "https://attacker.test/jwks.json"},
    "x5u": {"x5u": "https://attacker.test/cert.pem"},
    "x5c": {"x5c": ["MIIB"]},
}.items():
    attack(TOKEN, f"key by header `{_name}`", "RFC 8725 §2.9, §3.10", "not accepted")(with_header(**_members))
for _name, _members in {
    "crit": {"crit": ["exp"], "exp": 1},
    "crit with b64": {"crit": ["b64"], "b64": False},
    "zip": {"zip": "DEF"},
    "enc": {"enc": "A256GCM"},
}.items():
    attack(TOKEN, f"header `{_name}`", "RFC 7515 §4.1.11", "not accepted")(with_header(**_members))
for _kid, _reason in {
    "../../../../dev/null": "key is not known",
    "/etc/passwd": "key is not known",
    "' UNION SELECT 'secret' --": "`kid` is malformed",
    "a\u0000b": "`kid` is malformed",
    "": "`kid` is malformed",
    "k" * 300: "`kid` is malformed",
}.items():
    _shown = _kid.replace("\u0000", "\\0") if len(_kid) < 30 else "300 characters"
    attack(TOKEN, f"kid `{_shown}`", "RFC 8725 §3.10", _reason)(with_header(kid=_kid))
attack(TOKEN, "kid as a list", "RFC 8725 §3.10", "`kid` is malformed")(with_header(kid=["a"]))


@attack(TOKEN, "kid of a client's own registered key", "RFC 8725 §3.8", "key is not known")
def client_key_as_issuer(house: House) -> object:
    return house.bearer(forged(house, {"kid": house.key.kid}, lambda m: bytes(64)))


# Access tokens: claims.


def with_claims(**claims: Any) -> Callable[[House], object]:
    """Claims that only the gateway's own key could sign, so that nothing but the claim is wrong."""
    return lambda house: house.bearer(resigned(house, payload=claims))


for _name, _claims, _source, _reason in [
    ("other issuer", {"iss": "https://attacker.test"}, "RFC 8725 §3.8", "issuer is not trusted"),
    ("issuer as a list", {"iss": [ISSUER]}, "RFC 8725 §3.8", "issuer is not trusted"),
    ("wrong audience", {"aud": "https://other.test"}, "RFC 8725 §3.9", "another audience"),
    ("no audience", {"aud": None}, "RFC 9068 §2.2", "audience is malformed"),
    ("audience as an object", {"aud": {AUDIENCE: 1}}, "RFC 8725 §3.9", "audience is malformed"),
    ("expired", {"exp": 1_000_000, "iat": 999_900}, "RFC 9068 §4", "has expired"),
    ("never expires", {"exp": None}, "RFC 9068 §2.2", "time is missing"),
    ("expires as text", {"exp": "9999999999"}, "RFC 8725 §2.4", "time is missing"),
    ("expires as a boolean", {"exp": True}, "RFC 7519 §2", "time is missing"),
    ("expires as a float", {"exp": 9999999999.5}, "stricter than RFC 7519 §2", "time is missing"),
    ("lives a year", {"exp": 4_000_000_000}, "ours: a day at most", "lives too long"),
    ("from the future", {"iat": 4_000_000_000, "exp": 4_000_000_100}, "RFC 8725 §3.10", "from the future"),
    ("not yet valid", {"nbf": 4_000_000_000}, "RFC 7519 §4.1.5", "from the future"),
    ("no subject", {"sub": None}, "RFC 9068 §2.2", "subject is not its client"),
    ("subject is not the client", {"sub": "tax"}, "RFC 9068 §2.2", "subject is not its client"),
    ("no client", {"client_id": None}, "RFC 9068 §2.2", "names no client"),
    ("client unknown", {"client_id": "ghost", "sub": "ghost"}, "ours", "not known or revoked"),
    ("no jti", {"jti": None}, "RFC 9068 §2.2", "no `jti`"),
    ("bound in an unknown way", {"cnf": {"jku": "https://attacker.test"}}, "RFC 7800 §3.1", "bound in a way"),
    ("bound to nothing", {"cnf": {}}, "RFC 7800 §3.1", "bound in a way"),
    ("binding that is no thumbprint", {"cnf": {"jkt": "x"}}, "RFC 9449 §6.1", "bound in a way"),
]:
    attack(TOKEN, _name, _source, _reason)(with_claims(**_claims))


@attack(TOKEN, "an officer's token as a system's", "RFC 8725 §3.11, §3.12", "of another type")
def officer_token(house: House) -> object:
    return house.bearer(house.officer_token())


@attack(TOKEN, "an ID token (typ JWT)", "RFC 9068 §4", "of another type")
def id_token(house: House) -> object:
    return house.bearer(resigned(house, header={"typ": "JWT"}))


@attack(OFFICER_TOKEN, "a system's token as an officer's", "RFC 8725 §3.12", "of another type")
def system_token_as_officer(house: House) -> object:
    return house.verifier.verify_officer(house.token().encode())


@attack(OFFICER_TOKEN, "typ changed, audience of the data plane", "RFC 8725 §3.9", "another audience")
def retyped_token(house: House) -> object:
    return house.verifier.verify_officer(resigned(house, header={"typ": "officer+jwt"}).encode())


# Access tokens: bytes.


def mangled(change: Callable[[str], str]) -> Callable[[House], object]:
    return lambda house: house.bearer(change(house.token()))


def stray_bits(token: str) -> str:
    """The last character of the signature with bits set that decode to nothing: the same bytes, another text."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def other_system(token: str) -> str:
    """The token of one system rewritten to name another, under the signature it had."""
    first, second, third = token.split(".")
    return f"{first}.{part({**json.loads(unpart(second)), 'sub': 'tax', 'client_id': 'tax'})}.{third}"


for _name, _change, _source, _reason in [
    ("signature truncated by a byte", lambda t: t[:-2], "RFC 7518 §3.4", "wrong length"),
    ("signature with stray bits", stray_bits, "RFC 4648 §3.5", "not canonical"),
    ("signature padded with =", lambda t: t + "==", "RFC 7515 §2", "not base64url"),
    ("standard alphabet", lambda t: t[:-3] + "+/+", "RFC 7515 §2", "not base64url"),
    ("signature doubled", lambda t: t + t.rpartition(".")[2], "RFC 7518 §3.4", "wrong length"),
    ("payload of another system", other_system, "RFC 8725 §3.3", "signature does not verify"),
    ("a character put into the payload", lambda t: t.replace(".", ".e", 1), "RFC 7515 §5.2", "not"),
    ("four parts", lambda t: t + ".AAAA", "RFC 7515 §7.1", "three parts"),
    ("five parts (JWE)", lambda t: t + ".AAAA.AAAA", "RFC 7516", "three parts"),
    ("beyond 8 KiB", lambda t: t + "A" * 8192, "ours", "too large"),
]:
    attack(TOKEN, _name, _source, _reason)(mangled(_change))


@attack(TOKEN, "signature re-encoded as DER", "RFC 7518 §3.4", "wrong length")
def der_signature(house: House) -> object:
    message, _, signature = house.token().rpartition(".")
    raw = unpart(signature)
    return house.bearer(f"{message}.{part(encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])))}")


def payload_text(edit: Callable[[str], str]) -> Callable[[House], object]:
    """A payload whose text was edited, then signed by the gateway's own key."""

    def attempt(house: House) -> object:
        text = unpart(house.token().split(".")[1]).decode()
        return house.bearer(resigned(house, payload=edit(text).encode()))

    return attempt


for _name, _edit, _source, _reason in [
    ("claim twice", lambda t: t.replace("{", '{"sub":"tax",', 1), "RFC 7515 §4", "stands twice"),
    ("NaN", lambda t: t.replace("{", '{"x":NaN,', 1), "RFC 8259 §6", "not a JSON number"),
    ("float beyond range", lambda t: t.replace("{", '{"x":1e999,', 1), "RFC 7493 §2.2", "out of range"),
    ("integer of 5,000 digits", lambda t: t.replace("{", '{"x":' + "9" * 5000 + ",", 1), "RFC 7493 §2.2", "out of"),
    ("integer beyond 2^53", lambda t: t.replace("{", '{"x":9007199254740993,', 1), "RFC 7493 §2.2", "out of range"),
    ("nested 2,000 deep", lambda t: t.replace("{", '{"x":' + "[" * 2000 + "]" * 2000 + ",", 1), "ours", "too deeply"),
    ("lone surrogate", lambda t: t.replace("{", '{"x":"\\ud800",', 1), "RFC 7493 §2.1", "not Unicode"),
    ("an array", lambda _: "[]", "RFC 7519 §7.2", "not a JSON object"),
    ("not JSON", lambda t: t + "}", "RFC 7519 §7.2", "not JSON"),
]:
    attack(TOKEN, f"payload: {_name}", _source, _reason)(payload_text(_edit))


@attack(TOKEN, "payload: not UTF-8", "RFC 8725 §3.7", "not JSON")
def not_utf8(house: House) -> object:
    return house.bearer(resigned(house, payload=b'{"iss":"\xff\xfe"}'))


@attack(TOKEN, "header: member twice", "RFC 7515 §4", "stands twice")
def header_twice(house: House) -> object:
    real = unpart(house.token().split(".")[0])
    return house.bearer(resigned(house, header=real.replace(b"{", b'{"alg":"none",', 1)))


# Stolen tokens.


@attack(TOKEN, "stolen, bound to a certificate, none shown", "RFC 8705 §3", "another certificate")
def stolen_without_certificate(house: House) -> object:
    house.register_certificate(b"der")
    return house.bearer(house.token(cnf={"x5t#S256": certificate_thumbprint(b"der")}))


@attack(TOKEN, "stolen, bound to a certificate, the thief's shown", "RFC 8705 §3", "another certificate")
def stolen_with_other_certificate(house: House) -> object:
    house.register_certificate(b"der")
    thief = Peer("192.0.2.66", is_tls=True, certificate_der=b"thief")
    return house.bearer(house.token(cnf={"x5t#S256": certificate_thumbprint(b"der")}), peer=thief)


@attack(TOKEN, "stolen, bound to a DPoP key, sent as Bearer", "RFC 9449 §7.2", "without a proof")
def stolen_as_bearer(house: House) -> object:
    return house.bearer(house.token(cnf={"jkt": house.key.thumbprint}))


@attack(TOKEN, "of a revoked system", "ours", "not known or revoked")
def revoked(house: House) -> object:
    token = house.token()
    house.revoke("marriage")
    return house.bearer(token)


@attack(TOKEN, "two Authorization fields", "RFC 9110 §11.6.2; ours", "two credentials")
def two_credentials(house: House) -> object:
    token = house.token()
    return house.call(("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}"))
