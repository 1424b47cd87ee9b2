"""A client's key: read from wherever it is kept, named, and used to sign assertions and proofs.

Signing is `cryptography`'s; what is signed is compact JWS (RFC 7515) of constant headers, which needs no library.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
    load_pem_public_key,
)

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
ASSERTION_SECONDS = 60
_CURVES = {"secp256r1": ("P-256", "ES256", 32), "secp384r1": ("P-384", "ES384", 48)}
_HASHES: dict[str, Any] = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384()}


@runtime_checkable
class Signer(Protocol):
    """A private key that stays where it is: an HSM by PKCS#11, a KMS, a card."""

    @property
    def algorithm(self) -> str:
        """The JWS `alg` it signs by: ES256, ES384, EdDSA or PS256."""

    @property
    def public(self) -> Mapping[str, Any]:
        """The public JWK's required members: `kty`, `crv`, `x`, `y`; or `kty`, `n`, `e`."""

    def sign(self, message: bytes) -> bytes:
        """The JWS signature over `message` (RFC 7518 §3: ECDSA as R ‖ S). May block."""


Key = PrivateKey | Signer | Mapping[str, Any] | str | bytes | Path
"""PEM or DER (bytes), PEM (text), a path to either, a private JWK, a `cryptography` key, or a `Signer`."""


class SoftwareSigner:
    """A `Signer` whose key is in this process's memory.

    Args:
        private: a P-256, P-384, Ed25519 or RSA private key.
    """

    def __init__(self, private: PrivateKey) -> None:
        self._private = private
        self.algorithm, self.public = _public(private.public_key())

    def sign(self, message: bytes) -> bytes:
        """As `Signer.sign`."""
        key = self._private
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(_HASHES[self.algorithm])))
            size = (key.curve.key_size + 7) // 8
            return r.to_bytes(size) + s.to_bytes(size)
        if isinstance(key, rsa.RSAPrivateKey):
            sha = hashes.SHA256()
            return key.sign(message, padding.PSS(padding.MGF1(sha), sha.digest_size), sha)
        return key.sign(message)

    def __reduce__(self) -> Any:
        """Pickled whole, the private key included: keep what holds it as you keep the key."""
        der = self._private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return _signer_of_der, (der,)

    def __repr__(self) -> str:
        """Never shows the key."""
        return f"SoftwareSigner({self.algorithm})"


class ClientKey:
    """A private key and its public names.

    Args:
        key: see `Key`.
        kid: the name it is registered under; by default a JWK's own, else its RFC 7638 thumbprint.
        password: opens an encrypted PEM or DER.

    Raises:
        ValueError: where it cannot be read, or its password is wrong or missing.
        TypeError: where it is of a kind that no gateway takes.
    """

    def __init__(self, key: "Key", kid: str | None = None, password: "str | bytes | None" = None) -> None:
        self._signer = _signer(key, password)
        self.algorithm = self._signer.algorithm
        self.public = dict(self._signer.public)
        self.thumbprint = _thumbprint(self.public)
        named = key.get("kid") if isinstance(key, Mapping) else None
        self.kid = kid or named or self.thumbprint

    @property
    def _key(self) -> Any:
        """The key as `cryptography` holds it; None where a signer keeps it."""
        return getattr(self._signer, "_private", None)

    def registration(self) -> dict[str, Any]:
        """The public JWK to register with the gateway."""
        return {**self.public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def assertion(self, client_id: str, audience: str, now: int) -> str:
        """A client assertion (RFC 7523), good once and for a minute."""
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
            "jti": secrets.token_urlsafe(16),
        }
        return self._signed({"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}, claims)

    def proof(self, method: str, uri: str, now: int, *, nonce: str | None, token: str | None) -> str:
        """A DPoP proof (RFC 9449 §4.2) for one request."""
        claims: dict[str, Any] = {"htm": method, "htu": uri, "iat": now, "jti": secrets.token_urlsafe(16)}
        if nonce is not None:
            claims["nonce"] = nonce
        if token is not None:
            claims["ath"] = _base64url(hashlib.sha256(token.encode("ascii")).digest())
        return self._signed({"alg": self.algorithm, "typ": "dpop+jwt", "jwk": self.public}, claims)

    def _signed(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        parts = (json.dumps(part, separators=(",", ":")).encode("utf-8") for part in (header, claims))
        message = ".".join(_base64url(part) for part in parts)
        return f"{message}.{_base64url(self._signer.sign(message.encode('ascii')))}"


def new_private_key() -> str:
    """A new P-256 private key, PEM (PKCS #8, unencrypted): keep it where only the system reads it."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def public_jwk_of_pem(pem: bytes) -> dict[str, Any]:
    """The public JWK of a key in PEM; of a private key only its public part is told.

    Raises:
        ValueError, TypeError: it is no P-256, P-384, Ed25519 or RSA key, or encrypted.
    """
    if b"PRIVATE KEY" in pem:
        return public_jwk(pem)
    key = load_pem_public_key(pem)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        raise TypeError("the key's curve must be P-256 or P-384")
    if not isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)):
        raise TypeError("the key must be P-256, P-384, Ed25519 or RSA")
    algorithm, public = _public(key)
    return {**public, "kid": _thumbprint(public), "alg": algorithm, "use": "sig"}


def public_jwk(private_key: "Key", kid: str | None = None, password: "str | bytes | None" = None) -> dict[str, Any]:
    """The public JWK to hand to the gateway's operator for `gateway systems key`."""
    return ClientKey(private_key, kid, password).registration()


def _signer(key: "Key", password: "str | bytes | None") -> Signer:
    loaded = _load(key, password.encode("utf-8") if isinstance(password, str) else password)
    if isinstance(loaded, ec.EllipticCurvePrivateKey):
        if loaded.curve.name not in _CURVES:
            raise TypeError("the private key's curve must be P-256 or P-384")
        return SoftwareSigner(loaded)
    if isinstance(loaded, (ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey)):
        return SoftwareSigner(loaded)
    if isinstance(loaded, Signer):
        return loaded
    raise TypeError("the private key must be P-256, P-384, Ed25519 or RSA, or a `Signer`")


def _load(key: Any, password: bytes | None) -> Any:
    if isinstance(key, Mapping):
        return _of_jwk(key)
    if isinstance(key, os.PathLike) or (isinstance(key, str) and "-----BEGIN" not in key and "{" not in key):
        path = Path(key)
        try:
            key = path.read_bytes()
        except OSError as error:
            raise ValueError(
                f"the key file `{path}` cannot be read: {(error.strerror or 'refused').lower()}"
            ) from error
    if isinstance(key, str):
        key = key.encode("utf-8")
    if not isinstance(key, bytes):
        return key
    if key.lstrip().startswith(b"{"):
        return _of_jwk(json.loads(key))
    try:
        load = load_pem_private_key if b"-----BEGIN" in key else load_der_private_key
        return load(key, password)
    except TypeError as error:
        need = "is encrypted: give its password" if password is None else "is not encrypted: leave the password out"
        raise ValueError(f"the private key {need}") from error
    except ValueError as error:
        raise ValueError("the private key cannot be read: no PEM, DER or JWK, or its password is wrong") from error


def _of_jwk(jwk: Mapping[str, Any]) -> PrivateKey:
    """The private key of a JWK (RFC 7517, RFC 7518 §6, RFC 8037)."""

    def number(name: str) -> int:
        return int.from_bytes(_unbase64url(jwk[name]))

    try:
        if jwk.get("kty") == "EC":
            curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
            public = ec.EllipticCurvePublicNumbers(number("x"), number("y"), curves[jwk["crv"]])
            return ec.EllipticCurvePrivateNumbers(number("d"), public).private_key()
        if jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519":
            return ed25519.Ed25519PrivateKey.from_private_bytes(_unbase64url(jwk["d"]))
        if jwk.get("kty") == "RSA":
            n, e, d = number("n"), number("e"), number("d")
            p, q = rsa.rsa_recover_prime_factors(n, e, d)
            dp, dq, iqmp = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
            return rsa.RSAPrivateNumbers(p, q, d, dp, dq, iqmp, rsa.RSAPublicNumbers(e, n)).private_key()
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError("the private key cannot be read: it is no private JWK") from error
    raise TypeError("the private key must be P-256, P-384, Ed25519 or RSA")


def _public(public: PublicKey) -> tuple[str, Mapping[str, Any]]:
    """The JWS algorithm of a public key, and the members that its thumbprint is made of (RFC 7638 §3.2)."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        curve, algorithm, size = _CURVES[public.curve.name]
        numbers = public.public_numbers()
        x, y = (_base64url(number.to_bytes(size)) for number in (numbers.x, numbers.y))
        return algorithm, {"kty": "EC", "crv": curve, "x": x, "y": y}
    if isinstance(public, rsa.RSAPublicKey):
        modulus, exponent = public.public_numbers().n, public.public_numbers().e
        n, e = (_base64url(number.to_bytes((number.bit_length() + 7) // 8)) for number in (modulus, exponent))
        return "PS256", {"kty": "RSA", "n": n, "e": e}
    return "EdDSA", {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public.public_bytes_raw())}


def _thumbprint(public: Mapping[str, Any]) -> str:
    canonical = json.dumps(dict(public), separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(canonical.encode("ascii")).digest())


def _signer_of_der(der: bytes) -> SoftwareSigner:
    key = load_der_private_key(der, None)
    assert isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey))
    return SoftwareSigner(key)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
