"""What signs: a key in this process, or one that never leaves an HSM or KMS.

Everything that signs asks a `Signer`; a key in hardware fits by implementing four members over PKCS #11 or a KMS
client, and is named in the settings (`identity.signers`) or handed to `KeyRing.open(..., signers={"token": it})`.
"""

from typing import Any, Protocol

import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from gateway.domain.errors import GatewayError
from gateway.identity.keys.jwk import thumbprint
from gateway.identity.keys.sm2 import Sm2Signer
from gateway.identity.strict import parse_base64url

TOKEN_ALGORITHMS = ("ES256", "EdDSA", "SM2")
"""What a key ring can make token keys for; other parties' libraries verify the first two."""


class Signer(Protocol):
    """A private key's use, wherever the key lives."""

    @property
    def kid(self) -> str:
        """The key's name in tokens."""

    @property
    def algorithm(self) -> str:
        """Its JOSE algorithm."""

    @property
    def public_jwk(self) -> dict[str, Any]:
        """Its public JWK, without `kid`, `alg` and `use`."""

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`, in the form JOSE gives it (for ECDSA: r and s side by side)."""


class SoftwareSigner:
    """A private key held in this process's memory.

    Args:
        key: a P-256 or Ed25519 private key.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
        self._key = key
        self.algorithm = "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "ES256"
        self._signs = jwt.algorithms.get_default_algorithms()[self.algorithm]
        self.public_jwk: dict[str, Any] = self._signs.to_jwk(key.public_key(), as_dict=True)
        self.kid = thumbprint(self.public_jwk)

    @classmethod
    def generate(cls, algorithm: str) -> "SoftwareSigner":
        """A new key for `ES256` or `EdDSA`."""
        if algorithm == "EdDSA":
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def parse(cls, der: bytes) -> "SoftwareSigner":
        """The signer of a PKCS #8 key as `private_bytes` gave it; `ValueError` for any other key."""
        key = load_der_private_key(der, None)
        if not isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
            raise ValueError("not a P-256 or Ed25519 key")  # noqa: TRY004  (the bytes are wrong, not their type)
        return cls(key)

    @property
    def public_bytes(self) -> bytes:
        """The raw public key (32 bytes) of an Ed25519 key; uncompressed point of a P-256 key."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.public_key().public_bytes_raw()
        numbers = self._key.public_key().public_numbers()
        return b"\x04" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)

    def private_bytes(self) -> bytes:
        """PKCS #8, unencrypted: for the key ring's file and nothing else."""
        return self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> bytes:
        """As `Signer.sign`."""
        signature: bytes = self._signs.sign(message, self._key)
        return signature


class LogSigner:
    """A log's or a witness's key under its name (C2SP signed-note).

    Args:
        origin: the name, as it stands in checkpoints and cosignatures.
        signer: the Ed25519 key, here or in an HSM or KMS.

    Raises:
        GatewayError: `unavailable` where the key is none of Ed25519, the algorithm that the notes' format names.
    """

    def __init__(self, origin: str, signer: Signer) -> None:
        public = signer.public_jwk
        if (public.get("kty"), public.get("crv")) != ("OKP", "Ed25519"):
            raise GatewayError("unavailable", f"the key of `{origin}` is no Ed25519 key, and checkpoints name no other")
        self.origin = origin
        self._signer = signer
        self._public = parse_base64url(str(public["x"]).encode("ascii"))

    @property
    def public_bytes(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature over `message`, 64 bytes."""
        return self._signer.sign(message)


RingSigner = SoftwareSigner | Sm2Signer
"""A signer whose key a ring's file can hold."""


def new_signer(algorithm: str) -> RingSigner:
    """A signer with a new key.

    Raises:
        GatewayError: `invalid-input` for an algorithm that is not one of `TOKEN_ALGORITHMS`.
    """
    if algorithm not in TOKEN_ALGORITHMS:
        raise GatewayError("invalid-input", f"no algorithm `{algorithm}`: choose one of {', '.join(TOKEN_ALGORITHMS)}")
    return Sm2Signer.generate() if algorithm == "SM2" else SoftwareSigner.generate(algorithm)


def parse_signer(algorithm: str, private: bytes) -> RingSigner:
    """The signer whose `private_bytes` these are; `ValueError` where they are damaged."""
    return Sm2Signer(private) if algorithm == "SM2" else SoftwareSigner.parse(private)
