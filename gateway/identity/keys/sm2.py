"""SM2 signatures with SM3 behind the house's own interfaces, where the extra `sm2` (`gmssl`) is installed.

Source: GB/T 32918.2 and .5 (the algorithm, the curve, the signer's identity 1234567812345678), GB/T 32905 (SM3).

What this is not: certified. `gmssl` computes in Python, in variable time and about 15 ms a signature; its own random
numbers are not used, nor its parsing of keys (it cuts leading zeros off a coordinate). Where the law asks commercial
cryptography with certification (GB/T 39786), a certified module does the signing behind `Signer`.

JOSE has no registered names for SM2; `alg` and `crv` are `SM2` here, which only this gateway's own tokens bear, and
which no client's key may name.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes

from gateway.domain.errors import GatewayError
from gateway.identity.strict import Unreadable, parse_base64url, to_base64url

ALGORITHM = "SM2"
_P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
_A = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFC
_B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
_N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
_GX = 0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7
_GY = 0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0
_IDENTITY = b"1234567812345678"


class Sm2PublicKey:
    """A point on the SM2 curve that verifies.

    Args:
        point: x and y, 64 bytes.

    Raises:
        Unreadable: where it is not on the curve.
    """

    def __init__(self, point: bytes) -> None:
        x, y = int.from_bytes(point[:32]), int.from_bytes(point[32:])
        if len(point) != 64 or not (x < _P and y < _P) or (y * y - (x * x * x + _A * x + _B)) % _P:
            raise Unreadable("its point is not on the curve")
        self.point = point

    @classmethod
    def parse(cls, jwk: Mapping[str, Any]) -> "Sm2PublicKey":
        """The key of a JWK as `Sm2Signer.public_jwk` gives it; raises `Unreadable`."""
        coordinates = [jwk.get(name) for name in ("x", "y")]
        if not all(isinstance(each, str) and each.isascii() for each in coordinates):
            raise Unreadable("its point is missing")
        return cls(b"".join(parse_base64url(str(each).encode("ascii")) for each in coordinates))

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` (r and s side by side) over `message` is by this key."""
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
        if len(signature) != 64 or not (1 <= r < _N and 1 <= s < _N):
            return False
        return bool(_library(self.point).verify(signature.hex(), self.digest(message)))

    def digest(self, message: bytes) -> bytes:
        """SM3 over the signer's identity, the curve, the key and the message (GB/T 32918.2 §5.5)."""
        identity = len(_IDENTITY * 8).to_bytes(2) + _IDENTITY
        curve = b"".join(number.to_bytes(32) for number in (_A, _B, _GX, _GY))
        return _sm3(_sm3(identity + curve + self.point) + message)


class Sm2Signer:
    """An SM2 private key in this process's memory: a `Signer`.

    Args:
        secret: the private key, 32 bytes.
    """

    algorithm = ALGORITHM

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 1 <= int.from_bytes(secret) < _N - 1:
            raise ValueError("not an SM2 private key")
        self._secret = secret
        library = _library(bytes(64))
        point = bytes.fromhex(library._kg(int.from_bytes(secret), library.ecc_table["g"]))  # noqa: SLF001 -- no public way
        self._public = Sm2PublicKey(point)
        self.public_jwk: dict[str, Any] = {
            "kty": "EC",
            "crv": ALGORITHM,
            "x": to_base64url(point[:32]),
            "y": to_base64url(point[32:]),
        }
        self.kid = to_base64url(_sm3(point))

    @classmethod
    def generate(cls) -> "Sm2Signer":
        """A new key."""
        return cls((secrets.randbelow(_N - 2) + 1).to_bytes(32))

    @property
    def public_bytes(self) -> bytes:
        """The uncompressed point."""
        return b"\x04" + self._public.point

    def private_bytes(self) -> bytes:
        """The private key: for the key ring's file and nothing else."""
        return self._secret

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`: r and s side by side."""
        return self._sign(message, secrets.randbelow(_N - 1) + 1)

    def _sign(self, message: bytes, number: int) -> bytes:
        library = _library(self._public.point)
        library.private_key = self._secret.hex()
        signature = library.sign(self._public.digest(message), f"{number:064x}")
        # None for one number in some 2^255 (GB/T 32918.2 §6.1 A5, A6): draw another.
        return bytes.fromhex(signature) if signature else self.sign(message)


def _library(point: bytes) -> Any:
    try:
        from gmssl.sm2 import CryptSM2  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise GatewayError("unavailable", "SM2 signatures need the extra `sm2`") from error
    library = CryptSM2(private_key="", public_key="")
    library.public_key = point.hex()
    return library


def _sm3(data: bytes) -> bytes:
    hashing = hashes.Hash(hashes.SM3())
    hashing.update(data)
    return hashing.finalize()
