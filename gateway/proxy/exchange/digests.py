"""Digests of requests and answers for the use record: keyed, so that a record's reader cannot try values against them.

A plain digest of a target that holds an identity number would give that number away to whoever hashes all of them.
Keyed BLAKE2b (RFC 7693) takes its data piece by piece. Who holds the gateway's key can show that a request or an answer
at hand is the one on record; nobody else learns anything from it (INVARIANT: NO-VALUES).
"""

import hashlib

DIGEST_BYTES = 32


def keyed_digest(key: bytes, data: bytes = b"") -> "hashlib.blake2b":
    """A digest under `key` (32 bytes) that begins with `data`; `.update` takes more, `.hexdigest()` is 64 digits.

    The data plane makes one and copies it for each request and answer: that spares them the key's own block.
    """
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, key=key)
