"""Verifying tokens: numbered steps, every one of them or a refusal.

    1. size, three parts, canonical base64url, one-meaning JSON           (strict.parse_jws; RFC 8725 §2.4, §3.10)
    2. `typ` is exactly what is expected here                              (§3.11, §3.12)
    3. `iss` names a trusted issuer; its keys, and no others, are asked    (§3.8)
    4. claims: `aud`, `exp`, `nbf`, `iat`, `sub`, `client_id`, `jti`       (§3.9; RFC 9068 §4)
    5. the key named by `kid` in that issuer's table; `alg` is that key's  (§3.1)
    6. the signature                                                       (§3.3)

The cheap checks stand before the signature so that a flood of bad tokens costs little; nothing that came before
step 6 is believed, and a caller is told no more than that the credential is not valid, and the step in one of a few
constant sentences. Binding to a certificate or DPoP key is the caller's duty (`caller`), since it is about the
request and not about the token.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from gateway.domain.errors import GatewayError
from gateway.identity.keys.jwk import VerifyingKey
from gateway.identity.strict import Jws, Unreadable, is_text, is_time, parse_jws
from gateway.identity.tokens.issuing import ACCESS_TOKEN_TYPE, OFFICER_TOKEN_TYPE, officer_audience

SKEW_SECONDS = 30
"""How far clocks may differ."""

MAX_LIFETIME_SECONDS = 24 * 3600
"""Longest token that is taken from any issuer: a longer one could not be called short-lived."""

MAX_AUDIENCES = 16


class KeyUnknown(Exception):  # noqa: N818  (a state, answered by asking the issuer for its keys)
    """A token of a trusted external issuer names a key that is not at hand, or is not by the one of that name.

    Args:
        issuer: which issuer to ask.
    """

    def __init__(self, issuer: "TrustedIssuer") -> None:
        super().__init__(issuer.name)
        self.issuer = issuer


class TrustedIssuer(Protocol):
    """An issuer whose tokens are taken."""

    @property
    def name(self) -> str:
        """Its `iss`."""

    @property
    def audience(self) -> str:
        """The `aud` that its tokens must name."""

    @property
    def token_types(self) -> frozenset[str]:
        """The `typ` values of its access tokens."""

    @property
    def may_refresh(self) -> bool:
        """Whether its keys can be asked for anew now; False for keys at hand."""

    def keys(self) -> Mapping[str, VerifyingKey]:
        """Its keys by `kid`, without waiting."""

    def key(self, kid: str) -> VerifyingKey | None:
        """Its key of that name, without waiting."""

    async def refresh(self) -> None:
        """Ask for its keys anew, at a limited rate; never raises: what is not learnt stays unknown."""

    def system_of(self, client_id: str) -> str:
        """The system that its client is registered as."""


class Claims(msgspec.Struct, frozen=True):
    """What a verified token says.

    Args:
        issuer: who signed it.
        subject: the system's or officer's id.
        token_id: its `jti`.
        expires_unix: when it ends, skew not counted.
        key_id: the `kid` that verified it.
        certificate: `cnf.x5t#S256`, if it is bound to a certificate.
        proof_key: `cnf.jkt`, if it is bound to a DPoP key.
        client_key: of a token of this gateway, the thumbprint of the registered key that its client had shown, if any.
        is_own: whether this gateway issued it.
        session: of an officer's token, the session it is of (`sid`).
    """

    issuer: str
    subject: str
    token_id: str
    expires_unix: int
    key_id: str
    certificate: str | None = None
    proof_key: str | None = None
    client_key: str | None = None
    is_own: bool = False
    session: str | None = None


class _TokenKeys(Protocol):
    def token_keys(self, *, eager: bool = False) -> dict[str, VerifyingKey]: ...


class OwnIssuer:
    """This gateway's own issuer, whose keys the key ring holds.

    Args:
        name: its `iss`.
        audience: of its access tokens.
        ring: the key ring.
    """

    may_refresh = False
    token_types = frozenset({ACCESS_TOKEN_TYPE})

    def __init__(self, name: str, audience: str, ring: "_TokenKeys") -> None:
        self.name = name
        self.audience = audience
        self._ring = ring

    def keys(self) -> Mapping[str, VerifyingKey]:
        """As `TrustedIssuer.keys`."""
        return self._ring.token_keys()

    def key(self, kid: str) -> VerifyingKey | None:
        """As `TrustedIssuer.key`, after a look at the ring's folder (a stat).

        A new key is known at once, and one that was withdrawn verifies nothing more once its rotation has returned:
        whoever was told to forget remembered tokens must not find the old key still at hand.
        """
        return self._ring.token_keys(eager=True).get(kid)

    async def refresh(self) -> None:
        """Nothing to ask for: the ring was looked at already."""

    def system_of(self, client_id: str) -> str:
        """A system's id is its `client_id`."""
        return client_id


class TokenVerifier:
    """Verifies access tokens and officers' tokens.

    Args:
        own: this gateway's issuer.
        now: the clock, Unix seconds.
        externals: other issuers trusted for access tokens (never for officers' tokens).
    """

    def __init__(self, own: OwnIssuer, now: Callable[[], float], *, externals: Sequence[TrustedIssuer] = ()) -> None:
        self._own = own
        self._issuers: dict[str, TrustedIssuer] = {issuer.name: issuer for issuer in (*externals, own)}
        self._access_types = frozenset(kind for issuer in self._issuers.values() for kind in issuer.token_types)
        self._now = now

    @property
    def issuers(self) -> Mapping[str, TrustedIssuer]:
        """Every trusted issuer, by name."""
        return self._issuers

    def verify_access(self, token: bytes) -> Claims:
        """What an access token says.

        Raises:
            Unreadable: with a constant sentence, where it is not valid.
            KeyUnknown: where an external issuer must be asked for its keys first.
        """
        jws = parse_jws(token, types=self._access_types)
        issuer = self._issuer(jws)
        if str(jws.header.get("typ", "")).lower().removeprefix("application/") not in issuer.token_types:
            raise Unreadable("the token is of another type")
        client_id = jws.payload.get("client_id")
        if not is_text(client_id):
            raise Unreadable("the token names no client")
        subject = jws.payload.get("sub")
        # RFC 9068 §2.2: of client credentials, `sub` is the client; an external issuer may give it a name of its own.
        if not is_text(subject) or (issuer is self._own and subject != client_id):
            raise Unreadable("the token's subject is not its client")
        certificate, proof_key = _confirmation(jws.payload)
        claims = self._claims(jws, issuer, issuer.audience, issuer.system_of(str(client_id)))
        is_own, client_key = issuer is self._own, jws.payload.get("client_key")
        return msgspec.structs.replace(
            claims,
            certificate=certificate,
            proof_key=proof_key,
            client_key=client_key if is_own and isinstance(client_key, str) else None,
            is_own=is_own,
        )

    def verify_officer(self, token: bytes) -> Claims:
        """What an officer's token says; `subject` is the officer's id. Raises `Unreadable`."""
        jws = parse_jws(token, types=_OFFICER)
        if jws.payload.get("iss") != self._own.name:
            raise Unreadable("the token's issuer is not trusted")
        subject = jws.payload.get("sub")
        if not is_text(subject):
            raise Unreadable("the token names no subject")
        claims = self._claims(jws, self._own, officer_audience(self._own.name), str(subject))
        session = jws.payload.get("sid")
        if not is_text(session):
            raise Unreadable("the token names no session")
        certificate, proof_key = _confirmation(jws.payload)
        return msgspec.structs.replace(claims, session=str(session), certificate=certificate, proof_key=proof_key)

    def _issuer(self, jws: Jws) -> TrustedIssuer:
        name = jws.payload.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise Unreadable("the token's issuer is not trusted")
        return issuer

    def _claims(self, jws: Jws, issuer: TrustedIssuer, audience: str, subject: str) -> Claims:
        check_audience(jws.payload.get("aud"), audience)
        expires = check_times(jws.payload, self._now())
        token_id = jws.payload.get("jti")
        if not is_text(token_id):
            raise Unreadable("the token has no `jti`")
        kid = jws.key_id
        if kid is None:
            raise Unreadable("the token names no key")
        key = issuer.key(kid)
        if key is None:
            if issuer.may_refresh:
                raise KeyUnknown(issuer)
            raise Unreadable("the token's key is not known")
        try:
            key.verify_signature(jws.algorithm, jws.signing_input, jws.signature)
        except Unreadable:
            # The issuer may have put another key under that name: it is asked, as often as for unknown names.
            if issuer.may_refresh:
                raise KeyUnknown(issuer) from None
            raise
        return Claims(issuer.name, subject, str(token_id), expires, kid)


_OFFICER = frozenset({OFFICER_TOKEN_TYPE})


def check_audience(claimed: object, expected: str) -> None:
    """Raises `Unreadable` unless `aud` is `expected`, or a short list of strings that has it."""
    names = [claimed] if isinstance(claimed, str) else claimed
    if not isinstance(names, list) or len(names) > MAX_AUDIENCES or not all(isinstance(name, str) for name in names):
        raise Unreadable("the token's audience is malformed")
    if expected not in names:
        raise Unreadable("the token is for another audience")


def check_times(payload: Mapping[str, Any], now: float, *, longest: int = MAX_LIFETIME_SECONDS) -> int:
    """`exp`, after `exp`, `iat` and `nbf` have been checked against `now` with 30 s of skew.

    Raises:
        Unreadable: where a time is missing, no integer, past or future, or the lifetime is beyond `longest` seconds.
    """
    expires, issued, begins = payload.get("exp"), payload.get("iat"), payload.get("nbf")
    if not is_time(expires) or not is_time(issued) or not (begins is None or is_time(begins)):
        raise Unreadable("a time is missing or malformed")
    assert isinstance(expires, int)
    assert isinstance(issued, int)
    if now >= expires + SKEW_SECONDS:
        raise Unreadable("the token has expired")
    if issued > now + SKEW_SECONDS or (isinstance(begins, int) and begins > now + SKEW_SECONDS):
        raise Unreadable("the token is from the future")
    if not 0 < expires - issued <= longest:
        raise Unreadable("the token lives too long")
    return expires


def _confirmation(payload: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """`cnf` as (certificate, proof key); a confirmation method that is not known here cannot be checked: refused."""
    if "cnf" not in payload:
        return None, None
    confirmation = payload["cnf"]
    known = isinstance(confirmation, dict) and 1 <= len(confirmation) <= 2 and set(confirmation) <= _METHODS
    if not known or not all(is_thumbprint(value) for value in confirmation.values()):
        raise Unreadable("the token is bound in a way that is not known here")
    return confirmation.get("x5t#S256"), confirmation.get("jkt")


_METHODS = frozenset({"x5t#S256", "jkt"})
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


def is_thumbprint(value: object) -> bool:
    """Whether `value` is a SHA-256 in base64url: 43 characters, the last of which leaves no stray bits."""
    return isinstance(value, str) and _THUMBPRINT.fullmatch(value) is not None


def refuse(error: Unreadable) -> GatewayError:
    """The refusal a caller sees of a token that is not valid."""
    return GatewayError("credential-invalid", str(error))
