"""DPoP proofs (RFC 9449): a token used only together with the key it was issued to.

The steps of §4.3, cheap ones first: one proof; type, size and one-meaning JSON; `htm`; `htu`; `iat` within 60 s (and
30 s of skew); `nonce` by this cluster (see `nonces`); `ath`; the key is the token's; the signature; and last, `jti` not
used before.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.domain.errors import GatewayError
from gateway.identity.callers.nonces import Nonces
from gateway.identity.callers.security_log import FailureBudget
from gateway.identity.keys.jwk import VerifyingKey, parse_public_jwk, thumbprint
from gateway.identity.strict import Unreadable, is_text, is_time, parse_jws, to_base64url
from gateway.identity.tokens.verify import SKEW_SECONDS

PROOF_TYPE = "dpop+jwt"
ALGORITHMS = ("ES256", "ES384", "EdDSA", "Ed25519", "PS256")
MAX_PROOF_AGE_SECONDS = 60
MAX_URI_CHARACTERS = 4096
MAX_KNOWN_KEYS = 8192

_TYPES = frozenset({PROOF_TYPE})
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class NonceMissing(Unreadable):
    """The proof bears no nonce of this gateway, or an old one: the caller is given a new one and tries again."""


class Proof(msgspec.Struct, frozen=True):
    """What a verified proof says; its `jti` is yet to be used up.

    Args:
        proof_key: the RFC 7638 thumbprint of its key.
        token_id: its `jti`.
        forget_unix: until when its `jti` must be remembered.
    """

    proof_key: str
    token_id: str
    forget_unix: int


class ProofVerifier:
    """Verifies DPoP proofs.

    Args:
        now: the clock, Unix seconds.
        nonces: the nonces proofs must bear; None asks for none.
    """

    def __init__(self, now: Callable[[], float], nonces: Nonces | None) -> None:
        self._now = now
        self.nonces = nonces
        self._known: dict[str, tuple[dict[str, Any], VerifyingKey]] = {}
        self._budget = FailureBudget(now)

    def verify(
        self, proof: bytes, *, method: str, uri: str, token: bytes | None, bound_to: str | None, address: str = ""
    ) -> Proof:
        """What `proof` says.

        Args:
            proof: the value of the one `DPoP` field.
            method: the request's method.
            uri: the request's URI as `canonical_uri` gives it, without query.
            token: the access token it comes with; None at the token endpoint.
            bound_to: the token's `cnf.jkt`; None at the token endpoint.
            address: where it comes from: a thief of a token may make us check so many forged proofs from there.

        Raises:
            NonceMissing: where only a fresh nonce is lacking.
            Unreadable: where it is not valid.
            GatewayError: `rate-limited` where too many proofs by this key have failed from there.
        """
        jws = parse_jws(proof, types=_TYPES, allow_jwk=True)
        claims = jws.payload
        if claims.get("htm") != method:
            raise Unreadable("the proof is for another method")
        target = claims.get("htu")
        if not isinstance(target, str) or (target != uri and canonical_uri(target) != uri):
            raise Unreadable("the proof is for another URI")
        issued, at = claims.get("iat"), self._now()
        if not is_time(issued):
            raise Unreadable("the proof has no `iat`")
        assert isinstance(issued, int)
        if not at - MAX_PROOF_AGE_SECONDS - SKEW_SECONDS < issued <= at + SKEW_SECONDS:
            raise Unreadable("the proof is not of now")
        token_id = claims.get("jti")
        if not is_text(token_id):
            raise Unreadable("the proof has no `jti`")
        if token is not None and claims.get("ath") != to_base64url(hashlib.sha256(token).digest()):
            raise Unreadable("the proof is for another token")
        key = self._key(jws.header.get("jwk"), bound_to)
        # The token endpoint has a budget of its own; there a key is the sender's choice.
        place = f"{address} {key.kid}" if bound_to is not None else None
        if place is not None and self._budget.is_spent(place):
            raise GatewayError("rate-limited", "too many proofs that do not hold came for this token")
        try:
            key.verify_signature(jws.algorithm, jws.signing_input, jws.signature)
        except Unreadable as wrong:
            if place is not None:
                self._budget.spend(place, wrong.cost)
            raise
        # After the signature: who cannot sign is not told what a nonce looks like.
        if self.nonces is not None and not self.nonces.is_current(claims.get("nonce")):
            raise NonceMissing("the proof bears no current nonce")
        return Proof(key.kid, str(token_id), issued + MAX_PROOF_AGE_SECONDS + 2 * SKEW_SECONDS)

    def _key(self, jwk: Any, bound_to: str | None) -> VerifyingKey:
        """The key in a proof's header; parsed once where a token vouches for it."""
        if not isinstance(jwk, dict) or "alg" in jwk or len(jwk) > 8:
            raise Unreadable("the proof bears no key")
        known = self._known.get(bound_to) if bound_to is not None else None
        if known is not None and known[0] == jwk:
            return known[1]
        try:
            name = thumbprint(jwk)
        except (KeyError, TypeError) as error:
            raise Unreadable("the proof's key is malformed") from error
        if bound_to is not None and name != bound_to:
            raise Unreadable("the proof is by another key than the token's")
        key = parse_public_jwk({**jwk, "kid": name})
        if bound_to is not None:
            if len(self._known) >= MAX_KNOWN_KEYS:
                del self._known[next(iter(self._known))]
            self._known[name] = (jwk, key)
        return key


def canonical_uri(uri: str) -> str:
    """`uri` without query and fragment, normalised by syntax and scheme (RFC 9449 §4.3; RFC 3986 §6.2.2, §6.2.3).

    Raises:
        Unreadable: where it is no http(s) URI with a host.
    """
    if len(uri) > MAX_URI_CHARACTERS or not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri:
        raise Unreadable("the URI is malformed")
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Unreadable("the URI is malformed") from error
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
        raise Unreadable("the URI is malformed")
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        place = f"{place}:{port}"
    path = _ESCAPE.sub(_normal_escape, parts.path) or "/"
    return f"{parts.scheme}://{place}{path}"


def _normal_escape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()
