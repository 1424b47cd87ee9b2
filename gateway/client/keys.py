"""A client's key: read, named, and used to sign assertions and proofs."""

import base64
import hashlib
import json
import secrets
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from jwt.algorithms import get_default_algorithms

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
ASSERTION_SECONDS = 60


class ClientKey:
    """A private key and its public names.

    Args:
        key: a P-256, P-384, Ed25519 or RSA private key: PEM, or as `cryptography` holds it.
        kid: the name it is registered under; by default its RFC 7638 thumbprint.
    """

    def __init__(self, key: "PrivateKey | str | bytes", kid: str | None = None) -> None:
        self._key = _load(key)
        self.algorithm = _algorithm(self._key)
        self.public: dict[str, Any] = _public(self._key.public_key(), self.algorithm)
        self.thumbprint = _thumbprint(self.public)
        self.kid = kid or self.thumbprint

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
        return jwt.encode(claims, self._key, self.algorithm, headers={"kid": self.kid})

    def proof(self, method: str, uri: str, now: int, *, nonce: str | None, token: str | None) -> str:
        """A DPoP proof (RFC 9449 §4.2) for one request."""
        claims: dict[str, Any] = {"htm": method, "htu": uri, "iat": now, "jti": secrets.token_urlsafe(16)}
        if nonce is not None:
            claims["nonce"] = nonce
        if token is not None:
            claims["ath"] = _base64url(hashlib.sha256(token.encode("ascii")).digest())
        return jwt.encode(claims, self._key, self.algorithm, headers={"typ": "dpop+jwt", "jwk": self.public})


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
    if not isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)):
        raise TypeError("the key must be P-256, P-384, Ed25519 or RSA")
    algorithm = _algorithm(key)
    public = _public(key, algorithm)
    return {**public, "kid": _thumbprint(public), "alg": algorithm, "use": "sig"}


def public_jwk(private_key: "PrivateKey | str | bytes", kid: str | None = None) -> dict[str, Any]:
    """The public JWK to hand to the gateway's operator for `gateway systems key`."""
    return ClientKey(private_key, kid).registration()


def _load(key: "PrivateKey | str | bytes") -> PrivateKey:
    if isinstance(key, str):
        key = key.encode("ascii")
    loaded = load_pem_private_key(key, None) if isinstance(key, bytes) else key
    if not isinstance(loaded, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey)):
        raise TypeError("the private key must be P-256, P-384, Ed25519 or RSA")
    return loaded


def _public(key: PublicKey, algorithm: str) -> dict[str, Any]:
    """The members that a thumbprint is made of (RFC 7638 §3.2)."""
    public = get_default_algorithms()[algorithm].to_jwk(key, as_dict=True)
    names = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}[public["kty"]]
    return {name: public[name] for name in names}


def _thumbprint(public: dict[str, Any]) -> str:
    canonical = json.dumps(public, separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(canonical.encode("ascii")).digest())


def _algorithm(key: PrivateKey | PublicKey) -> str:
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        curves = {"secp256r1": "ES256", "secp384r1": "ES384"}
        if key.curve.name not in curves:
            raise TypeError("the key's curve must be P-256 or P-384")
        return curves[key.curve.name]
    return "EdDSA" if isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)) else "PS256"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
