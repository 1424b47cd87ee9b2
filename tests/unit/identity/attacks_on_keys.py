"""Weak and malformed keys, refused when they are registered."""

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.identity.keys.jwk import check_public_jwk
from gateway.identity.strict import to_base64url
from tests.unit.identity.attack_row import KEY, attack, own_jwk
from tests.unit.identity.identity_kit import unpart

# Weak keys.


def rsa_jwk(modulus: int, exponent: int = 65537) -> dict[str, str]:
    def number(value: int) -> str:
        return to_base64url(value.to_bytes((value.bit_length() + 7) // 8))

    return {"kty": "RSA", "n": number(modulus), "e": number(exponent)}


def register(name: str, source: str, reason: str, jwk: Callable[[], dict[str, Any]]) -> None:
    attack(KEY, name, source, reason)(lambda _house: check_public_jwk(jwk()))


def good_modulus(bits: int = 2048) -> int:
    return rsa.generate_private_key(65537, bits).public_key().public_numbers().n


def close_primes() -> dict[str, str]:
    """Two primes next to each other, 1,024 bits each: Fermat's method finds them at once."""
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    candidate = numbers.p + 2
    while not all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5)):
        candidate += 2
    return rsa_jwk(numbers.p * candidate)


def roca_modulus() -> dict[str, str]:
    """A modulus of the form that ROCA's generator makes: a power of 65537 modulo the primorial."""
    primorial = 1
    for prime in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97):
        primorial *= prime
    for prime in (101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167):
        primorial *= prime
    residue, step = pow(65537, 12345, primorial), 2 * primorial
    modulus = residue + primorial * ((1 << 2047) // primorial + 1)
    modulus += primorial * (modulus % 2 == 0)
    small = [n for n in range(169, 2000) if all(n % d for d in range(2, 45))]
    while any(modulus % prime == 0 for prime in small):
        modulus += step
    return rsa_jwk(modulus)


def ed_jwk(point: bytes) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": to_base64url(point)}


def off_curve() -> dict[str, Any]:
    jwk = own_jwk()
    return {**jwk, "y": to_base64url((int.from_bytes(unpart(jwk["y"])) ^ 1).to_bytes(32))}


register("RSA of 1,024 bits", "RFC 7518 §3.3", "2048 to 4096", lambda: rsa_jwk((1 << 1023) + 1155))
register("RSA of 8,192 bits", "ours: no slow keys", "2048 to 4096", lambda: rsa_jwk((1 << 8191) + 1))
register("RSA with exponent 3", "NIST SP 800-56B", "exponent", lambda: rsa_jwk(good_modulus(), 3))
register("RSA with exponent 1", "NIST SP 800-56B", "exponent", lambda: rsa_jwk(good_modulus(), 1))
register("RSA with a small factor", "ours", "small factor", lambda: rsa_jwk(((1 << 2047) // 3 | 1) * 3))
register("RSA with close primes", "CVE-2022-26320", "too close", close_primes)
register("RSA of the ROCA generator", "CVE-2017-15361", "ROCA", roca_modulus)
register(
    "RSA with a leading zero", "RFC 7518 §6.3.1.1", "not minimal", lambda: {**rsa_jwk(good_modulus()), "e": "AAEAAQ"}
)
register("EC point off the curve", "RFC 8725 §3.4", "not on the curve", off_curve)
register("EC curve secp256k1", "ours", "curve is not", lambda: {**own_jwk(), "crv": "secp256k1"})
register("EC coordinate too short", "RFC 7518 §6.2.1.2", "wrong length", lambda: {**own_jwk(), "x": "AAAA"})
register(
    "EC point at infinity", "RFC 8725 §3.4", "not on the curve", lambda: {**own_jwk(), "x": "A" * 43, "y": "A" * 43}
)
register("Ed25519 point of order 1", "RFC 8032; ours", "small order", lambda: ed_jwk(b"\x01" + bytes(31)))
register("Ed25519 point of order 4", "RFC 8032; ours", "small order", lambda: ed_jwk(bytes(32)))
register(
    "Ed25519 point of order 8", "RFC 8032; ours", "small order",
    lambda: ed_jwk(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
)  # fmt: skip
register(
    "key printed in RFC 8037", "ours", "private half is published",
    lambda: {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
)  # fmt: skip
register("symmetric key", "RFC 8725 §3.5", "private or symmetric", lambda: {"kty": "oct", "k": "c2VjcmV0"})
register("private key", "RFC 7517 §9.2", "private or symmetric", lambda: {**own_jwk(), "d": "AAAA"})
register("key for encryption", "RFC 7517 §4.2", "not for signatures", lambda: {**own_jwk(), "use": "enc"})
register("EC key named RS256", "RFC 8725 §3.1", "does not fit", lambda: {**own_jwk(), "alg": "RS256"})
register("RSA key named RS256", "FAPI 2.0 §5.4", "does not fit", lambda: {**rsa_jwk(good_modulus()), "alg": "RS256"})
register("EC key with a list of names", "RFC 7517 §4.4", "does not fit", lambda: {**own_jwk(), "alg": ["ES256"]})
register("SM2 key of a client", "ours: no registered name", "curve is not", lambda: {**own_jwk(), "crv": "SM2"})
register("EC key named none", "RFC 8725 §3.2", "does not fit", lambda: {**own_jwk(), "alg": "none"})
