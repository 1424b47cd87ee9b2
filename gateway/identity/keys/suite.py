"""Cipher suites: which hash, MAC and cipher the house uses where no wire format fixes them.

    international   SHA-256, HMAC-SHA-256, AES-256-GCM, ES256
    commercial      SM3, HMAC-SM3, SM4-GCM (GM/T 0004, 0002), SM2 signatures (GM/T 0003) where `gmssl` is installed

The suite covers the key ring's secrets, sealed fields and pseudonyms. The log keeps SHA-256 and Ed25519, and tokens
that others must verify keep ES256: their formats (C2SP, RFC 9068) name these and nothing else. Choosing the
commercial suite is a choice of algorithms; it is **no certification** under the Cryptography Law or GB/T 39786:
that takes certified products, which fit behind `Signer`.
"""

import os
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4

from gateway.domain.errors import GatewayError

NONCE_BYTES = 12
TAG_BYTES = 16


class Suite(msgspec.Struct, frozen=True):
    """A choice of algorithms.

    Args:
        name: `international` or `commercial`.
        hash: the hash, for MACs and fingerprints.
        cipher: the block cipher, in GCM.
        key_bytes: length of the cipher's key.
    """

    name: str
    hash: type[hashes.SHA256] | type[hashes.SM3]
    cipher: type[AES] | type[SM4]
    key_bytes: int

    def mac(self, key: bytes, message: bytes) -> bytes:
        """HMAC over `message`, 32 bytes."""
        keyed = hmac.HMAC(key, self.hash())
        keyed.update(message)
        return keyed.finalize()

    def seal(self, key: bytes, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt and authenticate: `nonce ‖ ciphertext ‖ tag`; opens only under the same `context`.

        Nonces are random, 96 bits: rotate a key before 2^32 messages (NIST SP 800-38D §8.3).
        """
        nonce = os.urandom(NONCE_BYTES)
        sealing = Cipher(self.cipher(key[: self.key_bytes]), modes.GCM(nonce)).encryptor()
        sealing.authenticate_additional_data(context)
        return nonce + sealing.update(plaintext) + sealing.finalize() + sealing.tag

    def unseal(self, key: bytes, sealed: bytes, context: bytes) -> bytes:
        """The plaintext of `seal`; `ValueError` where key, context or bytes are not the same."""
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise ValueError("sealed bytes are too short")
        nonce, body, tag = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:-TAG_BYTES], sealed[-TAG_BYTES:]
        opening = Cipher(self.cipher(key[: self.key_bytes]), modes.GCM(nonce, tag)).decryptor()
        opening.authenticate_additional_data(context)
        try:
            return opening.update(body) + opening.finalize()
        except InvalidTag as error:
            raise ValueError("sealed bytes do not open under this key") from error


SUITES: Mapping[str, Suite] = {
    "international": Suite("international", hashes.SHA256, AES, 32),
    "commercial": Suite("commercial", hashes.SM3, SM4, 16),
}


def suite_named(name: str) -> Suite:
    """The suite of that name; raises `invalid-input` for another."""
    try:
        return SUITES[name]
    except KeyError as error:
        raise GatewayError("invalid-input", f"no cipher suite `{name}`: choose international or commercial") from error
