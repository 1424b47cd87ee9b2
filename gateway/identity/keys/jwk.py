"""Public keys: which are taken, what each may verify, and their names.

A key verifies with exactly one algorithm (two names where RFC 9864 gave Ed25519 a second one); a token's `alg` never
chooses how a key is used (RFC 8725 §3.1, §3.2). Weak keys are refused when they are registered, so that no later
check has to be clever.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import jwt.algorithms
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.domain.errors import GatewayError
from gateway.identity.keys import sm2
from gateway.identity.strict import Unreadable, is_text, parse_base64url, to_base64url

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
"""RFC 7518 §3.3 asks 2048 at least; above 4096 a verification becomes a way to keep the gateway busy."""

_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_CURVES: Mapping[str, tuple[ec.EllipticCurve, str]] = {
    "P-256": (ec.SECP256R1(), "ES256"),
    "P-384": (ec.SECP384R1(), "ES384"),
}
_SIGNATURE_BYTES = {"SM2": 64, "ES256": 64, "ES384": 96, "EdDSA": 64, "Ed25519": 64}
_COSTS = {"ES384": 6.0, "SM2": 120.0}
"""A check's time against ES256's 60 µs, of those that take longer: 360 µs, and 7 ms in Python."""
_ALGORITHMS = {
    name: algorithm
    for name, algorithm in jwt.algorithms.get_default_algorithms().items()
    if name in {"ES256", "ES384", "EdDSA", "PS256", "RS256"}
}

# Keys whose private halves are printed in RFC 7515, 7517, 8037 and 9449: people paste examples.
_PUBLISHED_X = frozenset(
    {
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",  # the generator of P-256, private key 1
    }
)
# Encodings of Ed25519 points of small order: a signature under them says nothing (RFC 8032; Cremers and Jackson 2019).
_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for base in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
    for point in (base, base[:-2] + f"{int(base[-2:], 16) | 0x80:02x}")
)
_SMALL_PRIMES = [n for n in range(3, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1))]
_PRIMORIAL = math.prod(_SMALL_PRIMES)
_ROCA_PRIMES = [p for p in _SMALL_PRIMES if p <= 167]


class VerifyingKey(msgspec.Struct, frozen=True):
    """A public key and the one thing it may do.

    Args:
        kid: its name in tokens.
        algorithms: the `alg` values that mean this key's algorithm.
        key: the public key as `cryptography` holds it.
        jwk: its public JWK, with `kid`, `alg` and `use`.
    """

    kid: str
    algorithms: frozenset[str]
    key: Any
    jwk: dict[str, Any]

    def verify_signature(self, algorithm: str, signing_input: bytes, signature: bytes) -> None:
        """Check a signature by this key.

        Raises:
            Unreadable: where the algorithm is not this key's, or the signature is not by it.
        """
        if algorithm not in self.algorithms:
            raise Unreadable("the algorithm is not the key's")
        size = _SIGNATURE_BYTES.get(algorithm, len(signature))
        if len(signature) != size:
            raise Unreadable("the signature has the wrong length")
        name = "EdDSA" if algorithm == "Ed25519" else algorithm
        if algorithm == sm2.ALGORITHM:
            verified = self.key.verify(signing_input, signature)
        else:
            verified = _ALGORITHMS[name].verify(signing_input, self.key, signature)
        if not verified:
            wrong = Unreadable("the signature does not verify")
            wrong.cost = _COSTS.get(algorithm, 1.0)
            raise wrong


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The RFC 7638 SHA-256 thumbprint of a public key, base64url."""
    required = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}[jwk["kty"]]
    canonical = json.dumps({name: jwk[name] for name in required}, separators=(",", ":"), sort_keys=True)
    return to_base64url(hashlib.sha256(canonical.encode("utf-8")).digest())


def check_public_jwk(jwk: Mapping[str, Any], *, allow_rs256: bool = False) -> VerifyingKey:
    """Take a public key for registration, or say what is wrong with it.

    Args:
        jwk: a public JWK (RFC 7517).
        allow_rs256: whether `RS256` may be named, which only external issuers may need (FAPI 2.0 §5.4 does without).

    Raises:
        GatewayError: `invalid-input` with one sentence; the key's material is not repeated.
    """
    try:
        return parse_public_jwk(jwk, allow_rs256=allow_rs256)
    except Unreadable as error:
        raise GatewayError("invalid-input", f"the public key is refused: {error}") from error


def parse_public_jwk(jwk: Mapping[str, Any], *, allow_rs256: bool = False) -> VerifyingKey:
    """As `check_public_jwk`, raising `Unreadable`: for keys that come in a token or from an issuer."""
    if len(jwk) > 16:
        raise Unreadable("it is no JWK")
    if _PRIVATE_MEMBERS.intersection(jwk):
        raise Unreadable("it holds private or symmetric material; register the public half only")
    if jwk.get("use", "sig") != "sig" or not _may_verify(jwk.get("key_ops")):
        raise Unreadable("it is not for signatures")
    kind = jwk.get("kty")
    if kind == "EC":
        key, public, algorithms = _parse_ec(jwk)
    elif kind == "OKP":
        key, public, algorithms = _parse_okp(jwk)
    elif kind == "RSA":
        key, public, algorithms = _parse_rsa(jwk, allow_rs256=allow_rs256)
    else:
        raise Unreadable("its type is not EC, OKP or RSA")
    if public.get("x") in _PUBLISHED_X:
        raise Unreadable("its private half is published")
    named = jwk.get("alg")
    if named is not None:
        if not isinstance(named, str) or named not in algorithms:
            raise Unreadable("its `alg` does not fit its type")
        algorithms = frozenset({"EdDSA", "Ed25519"}) if kind == "OKP" else frozenset({named})
    kid = jwk.get("kid", None)
    if kid is None:
        kid = thumbprint(public)
    elif not is_text(kid):
        raise Unreadable("its `kid` is not 1 to 256 visible ASCII characters")
    shown = named or ("EdDSA" if kind == "OKP" else "PS256" if kind == "RSA" else next(iter(algorithms)))
    return VerifyingKey(kid, algorithms, key, {**public, "kid": kid, "alg": shown, "use": "sig"})


def own_public_key(kid: str, jwk: Mapping[str, Any]) -> VerifyingKey:
    """As `parse_public_jwk`, for keys of this gateway's own ring, which may be SM2 keys too."""
    if jwk.get("crv") != sm2.ALGORITHM:
        return parse_public_jwk({**jwk, "kid": kid})
    shown = {**jwk, "kid": kid, "alg": sm2.ALGORITHM, "use": "sig"}
    return VerifyingKey(kid, frozenset({sm2.ALGORITHM}), sm2.Sm2PublicKey.parse(jwk), shown)


def _may_verify(operations: object) -> bool:
    return operations is None or (isinstance(operations, (list, tuple)) and "verify" in operations)


def _coordinate(jwk: Mapping[str, Any], name: str, size: int) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise Unreadable(f"its `{name}` is missing")
    decoded = parse_base64url(value.encode("ascii"))
    if len(decoded) != size:
        raise Unreadable(f"its `{name}` has the wrong length")
    return decoded


def _parse_ec(jwk: Mapping[str, Any]) -> tuple[Any, dict[str, Any], frozenset[str]]:
    name = jwk.get("crv")
    if not isinstance(name, str) or name not in _CURVES:
        raise Unreadable("its curve is not P-256 or P-384")
    curve, algorithm = _CURVES[name]
    size = (curve.key_size + 7) // 8
    x, y = _coordinate(jwk, "x", size), _coordinate(jwk, "y", size)
    try:
        key = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve).public_key()
    except ValueError as error:
        raise Unreadable("its point is not on the curve") from error
    return key, {"kty": "EC", "crv": name, "x": jwk["x"], "y": jwk["y"]}, frozenset({algorithm})


def _parse_okp(jwk: Mapping[str, Any]) -> tuple[Any, dict[str, Any], frozenset[str]]:
    if jwk.get("crv") != "Ed25519":
        raise Unreadable("its curve is not Ed25519")
    point = _coordinate(jwk, "x", 32)
    if point in _SMALL_ORDER:
        raise Unreadable("its point has small order")
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(point)
    except ValueError as error:
        raise Unreadable("its point is not on the curve") from error
    return key, {"kty": "OKP", "crv": "Ed25519", "x": jwk["x"]}, frozenset({"EdDSA", "Ed25519"})


def _parse_rsa(jwk: Mapping[str, Any], *, allow_rs256: bool) -> tuple[Any, dict[str, Any], frozenset[str]]:
    numbers = []
    for name in ("n", "e"):
        value = jwk.get(name)
        if not isinstance(value, str) or not value.isascii() or len(value) > 2048:
            raise Unreadable(f"its `{name}` is missing")
        decoded = parse_base64url(value.encode("ascii"))
        if decoded[:1] in (b"", b"\x00"):
            raise Unreadable(f"its `{name}` is not minimal")
        numbers.append(int.from_bytes(decoded))
    modulus, exponent = numbers
    check_rsa_modulus(modulus, exponent)
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise Unreadable("its numbers are no RSA key") from error
    algorithms = frozenset({"PS256", "RS256"}) if allow_rs256 else frozenset({"PS256"})
    return key, {"kty": "RSA", "n": jwk["n"], "e": jwk["e"]}, algorithms


def check_rsa_modulus(modulus: int, exponent: int) -> None:
    """Refuse RSA keys that are short, slow, or known to factor.

    Source: NIST SP 800-56B rev. 2 §6.2.1 (exponent); CVE-2017-15361 (ROCA); Fermat factoring of close primes.

    Raises:
        Unreadable: naming the weakness.
    """
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise Unreadable("its modulus is not 2048 to 4096 bits")
    if exponent != 65537:
        raise Unreadable("its exponent is not 65537")
    if modulus % 2 == 0 or math.gcd(modulus, _PRIMORIAL) != 1:
        raise Unreadable("its modulus has a small factor")
    if all(modulus % p in _ROCA_RESIDUES[p] for p in _ROCA_PRIMES):
        raise Unreadable("it was made by a generator with the ROCA weakness")
    root = math.isqrt(modulus) + 1
    for candidate in range(root, root + 100):
        rest = candidate * candidate - modulus
        if rest >= 0 and math.isqrt(rest) ** 2 == rest:
            raise Unreadable("its primes are too close together")


def _powers(base: int, modulus: int) -> frozenset[int]:
    seen, value = set(), 1
    while value not in seen:
        seen.add(value)
        value = value * base % modulus
    return frozenset(seen)


_ROCA_RESIDUES = {p: _powers(65537 % p, p) for p in _ROCA_PRIMES}
