"""Client authentication at the token endpoint by a signed assertion (`private_key_jwt`).

Source: RFC 7523 §3; RFC 7521 §4.2; FAPI 2.0 §5.3.2.1 (`aud` is the issuer; the endpoint's URL is taken too, as older
clients send it); RFC 8725.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.domain.directory import System
from gateway.domain.errors import GatewayError
from gateway.identity.keys.jwk import VerifyingKey, parse_public_jwk, thumbprint
from gateway.identity.strict import Jws, Unreadable, is_text, parse_jws
from gateway.identity.tokens.verify import SKEW_SECONDS, check_times

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_ASSERTION_SECONDS = 300
"""Longest assertion: its `jti` is remembered that long."""

# RFC 7523 asks no `typ`, and clients in use leave it out; `iss` = `sub` and the audience tell an assertion apart.
_TYPES = frozenset({"", "jwt", "client-authentication+jwt"})

_MODULUS = (
    "9H4rFSU5ifFKd02XvLg8Q9mbPYnXyQts_ENcgWIoMZEJ7Fa6NJZs7NWG0hgDVW-NMNBgIZRJNS-3YlkpuHR2-r"
    "13lBioy_SCMQkRjRFppNOr0c_21Q7-8JguZ0jjd9EqLLkat3KWgEJXwQEB2oPQyXbMCzaZYkt7Tc07fjUS256r"
    "Jjdme6xd3l686jkqVS6Ne6B3kwU5hkmuI7tXoCRXn--C9F9wfpe538iAAHAau9XA7pe42glRQNwMU59c7JIMei"
    "CfozJruPlfOdyCYgHL2ng_hk9nB6luyDRMdOjqRU99ERrRx0FIqSLRRMld87r7nSnBnMTxegmqLvFV723i6w"
)
_DECOYS: Mapping[str, Mapping[str, Any]] = {
    "ES256": {
        "kty": "EC",
        "crv": "P-256",
        "x": "TkGQhuZLQFPAq8Nd08jg4nQQ_ObPOBoguXrq2ceEY_4",
        "y": "jZGMD78mrpfYGzJcUzC32Otw2obUittkuUPeRu9bmVg",
        "kid": "decoy",
    },
    "ES384": {
        "kty": "EC",
        "crv": "P-384",
        "x": "-tSfw-FT8L3C9bVi6jXK0bFQn4W3wqT8k9bK2F84w82KGW9Os4FxKkEIQMA44oNy",
        "y": "YtsRE_a2NsoCTyP52cftYsLHWbsHvvHvDC2qZFgIoQnfLwUmbCAd31a0mUafJ0_b",
        "kid": "decoy",
    },
    "EdDSA": {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "4ldbd2KzUCFVUsmvGf1KOlbPdS4UQleUI6ZHOpQiFvI",
        "kid": "decoy",
    },
    "PS256": {
        "kty": "RSA",
        "e": "AQAB",
        "kid": "decoy",
        "n": _MODULUS,
    },
}
_DECOYS = {**_DECOYS, "Ed25519": _DECOYS["EdDSA"]}
"""A public key of each kind that a client may sign with, whose private half was thrown away when it was made."""

UseOnce = Callable[[str, str, int], bool]
"""(namespace, value, expires_unix) -> whether this is its first use; across processes and restarts."""


class Client(msgspec.Struct, frozen=True):
    """An authenticated client.

    Args:
        system: which system it is.
        key: the RFC 7638 thumbprint of the registered key that it has shown; None where it showed a certificate.
    """

    system: System
    key: str | None


class NotProven(Unreadable):
    """It is not shown that the client made it; why is for the gateway's own log.

    Args:
        reason: why not.
    """

    def __init__(self, reason: Unreadable) -> None:
        super().__init__("no client of that name has registered the key that it is signed with")
        self.reason = str(reason)
        self.cost = reason.cost


class AssertionVerifier:
    """Verifies client assertions; each is good once.

    Args:
        issuer: this gateway's issuer identifier.
        token_endpoint: the token endpoint's URL.
        system: the registered system of an id, or None; may block.
        use_once: remembers `jti`s; durable, shared by all processes; may block.
        now: the clock, Unix seconds.
    """

    def __init__(
        self,
        issuer: str,
        token_endpoint: str,
        system: Callable[[str], System | None],
        use_once: UseOnce,
        now: Callable[[], float],
    ) -> None:
        self._audiences = (issuer, token_endpoint)
        self._system = system
        self._use_once = use_once
        self._now = now

    def verify(self, assertion: bytes, client_id: str | None) -> Client:
        """The client that signed `assertion`.

        Args:
            assertion: as the form field brought it.
            client_id: the form's `client_id`, which may be left out (RFC 7521 §4.2).

        Raises:
            GatewayError: `credential-invalid`, with the reason where it helps an honest client and nobody else.
        """
        try:
            return self._verify(assertion, client_id)
        except Unreadable as error:
            raise GatewayError("credential-invalid", f"the client assertion is refused: {error}") from error

    def _verify(self, assertion: bytes, client_id: str | None) -> Client:
        jws = parse_jws(assertion, types=_TYPES)
        claimed = jws.payload.get("iss")
        if not is_text(claimed) or jws.payload.get("sub") != claimed or client_id not in (None, claimed):
            raise Unreadable("`iss`, `sub` and `client_id` do not name one client")
        self._check_audience(jws.payload.get("aud"))
        expires = check_times({"iat": _issued(jws), **jws.payload}, self._now(), longest=MAX_ASSERTION_SECONDS)
        token_id = jws.payload.get("jti")
        if not is_text(token_id):
            raise Unreadable("it has no `jti`")
        system, key = self._signer(str(claimed), jws)
        # Only a verified assertion is remembered: nobody can burn another client's `jti`, or fill the memory.
        if not self._use_once("assertion", f"{system.id} {token_id}", expires + SKEW_SECONDS):
            raise Unreadable("it was used before")
        return Client(system, thumbprint(key.jwk))

    def _signer(self, client_id: str, jws: Jws) -> tuple[System, VerifyingKey]:
        """The client and the registered key that signed; for everybody else one answer, after one signature's check.

        Whether a client exists, is revoked, has one key or eight, of which kind and under which name, is nobody's
        business who cannot sign as it: what the check of its key would have taken is spent on a key of ours.

        Raises:
            NotProven: where it is not by a key registered for that client.
        """
        if jws.algorithm not in _DECOYS:
            raise Unreadable("its algorithm is not accepted")
        try:
            system, key = _registered(self._system(client_id), jws)
        except Unreadable as error:
            with contextlib.suppress(Unreadable):
                parse_public_jwk(_DECOYS[jws.algorithm]).verify_signature(
                    jws.algorithm, jws.signing_input, jws.signature
                )
            raise NotProven(error) from error
        try:
            key.verify_signature(jws.algorithm, jws.signing_input, jws.signature)
        except Unreadable as error:
            raise NotProven(error) from error
        return system, key

    def _check_audience(self, claimed: object) -> None:
        # One audience only: an assertion that another server takes too could be replayed there (FAPI 2.0 §5.3.2.1).
        name = claimed[0] if isinstance(claimed, list) and len(claimed) == 1 else claimed
        if not isinstance(name, str) or name not in self._audiences:
            raise Unreadable("it is for another audience")


def _issued(jws: Jws) -> Any:
    """`iat` is optional in RFC 7523 §3; without it the assertion counts as issued as long before `exp` as it may be."""
    expires = jws.payload.get("exp")
    return max(expires - MAX_ASSERTION_SECONDS, 0) if isinstance(expires, int) else None


def _registered(system: System | None, jws: Jws) -> tuple[System, VerifyingKey]:
    if system is None or not system.active:
        raise Unreadable("the client is not known")
    key = _key_of(system, jws)
    if jws.algorithm not in key.algorithms:
        raise Unreadable("the algorithm is not the key's")
    return system, key


def _key_of(system: System, jws: Jws) -> VerifyingKey:
    # One key is parsed at most: how many a client has must not show in the time that its refusal takes.
    named = [jwk for jwk in system.keys if jws.key_id is None or jwk.get("kid") == jws.key_id]
    key = _parsed(named[0]) if len(named) == 1 else None
    if key is None:
        raise Unreadable("it does not name one registered key: send its `kid`")
    return key


def _parsed(jwk: Mapping[str, Any]) -> VerifyingKey | None:
    try:
        return parse_public_jwk(jwk)
    except Unreadable:
        return None  # registered before the present rules: as good as not registered
