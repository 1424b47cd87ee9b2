"""Credential to `Caller`, on the data plane's event loop: what a request must show before anything is decided.

A token is verified once and then remembered until it expires, its signing key is withdrawn or its system changes,
whichever is first. It is looked up by its SHA-256, so that no comparison's time tells anything of another's token.
What binds a token to its sender (certificate, DPoP proof) is checked at every request.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from gateway.domain.callers import Assurance, Caller
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import System
from gateway.domain.errors import GatewayError
from gateway.identity.callers.certificates import certificate_thumbprint
from gateway.identity.callers.dpop import ALGORITHMS, NonceMissing, ProofVerifier, canonical_uri
from gateway.identity.callers.security_log import FailureBudget, SecurityLog
from gateway.identity.keys.jwk import thumbprint
from gateway.identity.strict import MAX_TOKEN_BYTES, Unreadable
from gateway.identity.tokens.verify import SKEW_SECONDS, Claims, KeyUnknown, TokenVerifier, TrustedIssuer

MAX_REMEMBERED = 65536
"""About 40 MiB: ten systems' tokens a second for more than an hour; the longest known is forgotten first."""

POLL_SECONDS = 1.0
"""How often withdrawn signing keys are looked for."""

_CHALLENGE = f'Bearer realm="sharing", DPoP realm="sharing", algs="{" ".join(ALGORITHMS)}"'
_AUTHORIZATION = b"authorization"
_PROOF = b"dpop"


class Head(Protocol):
    """What is read of a request's head."""

    @property
    def method(self) -> bytes: ...
    @property
    def path(self) -> bytes: ...
    @property
    def query(self) -> bytes: ...
    @property
    def fields(self) -> Sequence[tuple[bytes, bytes]]: ...
    @property
    def host(self) -> bytes: ...


class Peer(Protocol):
    """What is read of a request's transport."""

    @property
    def address(self) -> str: ...
    @property
    def is_tls(self) -> bool: ...
    @property
    def certificate_der(self) -> bytes | None: ...


class LegacyContracts(Protocol):
    """Callers' contracts that are no tokens (see `legacy`)."""

    @property
    def names(self) -> frozenset[bytes]:
        """The header fields, lower case, that they are told by."""

    def identify(self, signed: Mapping[bytes, bytes], head: Head, *, may_look_up: bool) -> Caller | Awaitable[Caller]:
        """The caller; raises `Unreadable`."""

    def forget(self, change: Change) -> None:
        """Drop what `change` touches."""

    def forget_all(self) -> None:
        """Drop everything."""


class _Remembered(msgspec.Struct, frozen=True):
    """A verified token: its caller, or None where its system is revoked."""

    caller: Caller | None
    claims: Claims


class Identifier:
    """Implements the data plane's `Identify`. Belongs to one event loop.

    Args:
        verifier: verifies tokens.
        system: the registered system of an id, or None; may block, so it runs in an executor, once a token.
        now: the clock, Unix seconds.
        proofs: verifies DPoP proofs.
        use_once: remembers proofs' `jti`s among the workers; at once, or by an awaitable.
        origins: this data plane's public origins (`https://gateway.example`), for DPoP's `htu`. Where none is given,
            the origin is what the request's transport and `Host` say, which is right only without a proxy in front.
        legacy: the callers' contracts that are taken, if any.
        security: counters and log of refusals.
        budget: how many failing signatures an address may have checked; None is no limit.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        system: Callable[[str], System | None],
        now: Callable[[], float],
        *,
        proofs: ProofVerifier,
        use_once: Callable[[str, str, int], bool | Awaitable[bool]],
        origins: Sequence[str] = (),
        legacy: LegacyContracts | None = None,
        security: SecurityLog | None = None,
        budget: FailureBudget | None = None,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._verifier = verifier
        self._system = system
        self._now = now
        self._proofs = proofs
        self._use_once = use_once
        named = [canonical_uri(origin).removesuffix("/") for origin in origins]
        self._origins = {origin.partition("://")[2]: origin for origin in reversed(named)}
        self._legacy = legacy
        self._legacy_names = frozenset() if legacy is None else legacy.names
        self.security = security or SecurityLog(now)
        self._budget = budget
        self._max = max_remembered
        self._remembered: dict[bytes, _Remembered] = {}
        self._generation = 0
        self._poll_at = 0.0
        self._keys_seen: Mapping[str, Mapping[str, dict[str, Any]]] = {}

    def __call__(self, head: Head, peer: Peer) -> Caller | Awaitable[Caller]:
        """Who calls.

        Raises:
            GatewayError: `credential-missing`, `credential-invalid`, or `rate-limited` for an address that floods.
        """
        try:
            return self._identify(head, peer)
        except Unreadable as error:
            raise self._refusal(error, peer.address) from None

    def _identify(self, head: Head, peer: Peer) -> Caller | Awaitable[Caller]:
        authorization = proof = None
        signed: dict[bytes, bytes] = {}
        for name, value in head.fields:
            if name == _AUTHORIZATION:
                if authorization is not None:
                    raise Unreadable("the request bears two credentials")
                authorization = value
            elif name == _PROOF:
                if proof is not None:
                    raise Unreadable("the request bears two proofs")
                proof = value
            elif name in self._legacy_names:
                if name in signed:
                    raise Unreadable("the request bears two credentials")
                signed[name] = value
        if signed and self._legacy is not None:
            if authorization is not None:
                raise Unreadable("the request bears two credentials")
            found = self._legacy.identify(signed, head, may_look_up=not self._is_spent(peer))
            return found if isinstance(found, Caller) else self._guarded(found, peer.address)
        if authorization is None:
            raise GatewayError("credential-missing", headers=(("WWW-Authenticate", _CHALLENGE),))
        return self._token(authorization, proof, head, peer)

    def _token(self, authorization: bytes, proof: bytes | None, head: Head, peer: Peer) -> Caller | Awaitable[Caller]:
        scheme, _, rest = authorization.partition(b" ")
        scheme, token = scheme.lower(), rest.strip(b" ")
        if scheme not in (b"bearer", b"dpop") or not token:
            raise Unreadable("the authorization scheme is not Bearer or DPoP")
        if len(token) > MAX_TOKEN_BYTES:
            raise Unreadable("the token is too large")
        at = self._now()
        if at >= self._poll_at:
            self._drop_withdrawn(at)
        digest = hashlib.sha256(token).digest()
        held = self._remembered.get(digest)
        if held is None:
            return self._first_use(digest, scheme, token, proof, head, peer)
        if at >= held.claims.expires_unix + SKEW_SECONDS:
            del self._remembered[digest]
            raise Unreadable("the token has expired")
        return self._bound(held, scheme, token, proof, head, peer)

    def _first_use(
        self, digest: bytes, scheme: bytes, token: bytes, proof: bytes | None, head: Head, peer: Peer
    ) -> Awaitable[Caller]:
        if self._is_spent(peer):
            self.security.note("its address sends too many that do not hold", peer.address)
            raise GatewayError("rate-limited", "too many credentials that do not hold came from this address")
        try:
            known: Claims | TrustedIssuer = self._verifier.verify_access(token)
        except KeyUnknown as unknown:
            known = unknown.issuer
        return self._guarded(self._remember(digest, known, scheme, token, proof, head, peer), peer.address)

    def _is_spent(self, peer: Peer) -> bool:
        return self._budget is not None and self._budget.is_spent(peer.address)

    async def _remember(
        self,
        digest: bytes,
        known: "Claims | TrustedIssuer",
        scheme: bytes,
        token: bytes,
        proof: bytes | None,
        head: Head,
        peer: Peer,
    ) -> Caller:
        if isinstance(known, Claims):
            claims = known
        else:
            await known.refresh()
            try:
                claims = self._verifier.verify_access(token)
            except KeyUnknown as error:
                raise Unreadable("the token's key is not known, or not of that name") from error
        loop = asyncio.get_running_loop()
        while True:
            generation = self._generation
            system = await loop.run_in_executor(None, self._system, claims.subject)
            if generation == self._generation:
                break  # nothing was withdrawn while we asked; otherwise what we were told may be old
        held = _Remembered(_caller(claims, system), claims)
        if len(self._remembered) >= self._max:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = held
        found = self._bound(held, scheme, token, proof, head, peer)
        return found if isinstance(found, Caller) else await found

    def _bound(
        self, held: _Remembered, scheme: bytes, token: bytes, proof: bytes | None, head: Head, peer: Peer
    ) -> Caller | Awaitable[Caller]:
        """The caller, once the sender has shown what the token is bound to."""
        caller, claims = held.caller, held.claims
        if caller is None:
            raise Unreadable("the system or its key is not known or revoked")
        if claims.certificate is not None:
            der = peer.certificate_der
            if der is None or certificate_thumbprint(der) != claims.certificate:
                raise Unreadable("the token is bound to another certificate")
        if claims.proof_key is None:
            # RFC 9449 §7.1: the DPoP scheme is for bound tokens only.
            if scheme != b"bearer":
                raise Unreadable("the token is not bound to a DPoP key")
            return caller
        if scheme != b"dpop" or proof is None:
            raise Unreadable("the token is bound to a DPoP key and comes without a proof")
        found = self._proofs.verify(
            proof,
            method=head.method.decode("latin-1"),
            uri=self._uri(head, peer),
            token=token,
            bound_to=claims.proof_key,
            address=peer.address,
        )
        fresh = self._use_once("dpop", f"{found.proof_key} {found.token_id}", found.forget_unix)
        if isinstance(fresh, bool):
            return _unless_replayed(caller, fresh)
        return self._guarded(_when_fresh(caller, fresh), peer.address)

    def _uri(self, head: Head, peer: Peer) -> str:
        host, path = head.host.decode("latin-1").lower(), head.path.decode("latin-1")
        if self._origins:
            # Several origins may name this data plane; `Host` chooses among them and cannot add one.
            origin = self._origins.get(host) or next(reversed(self._origins.values()))
            if "%" not in path:
                return origin + path
        else:
            origin = f"{'https' if peer.is_tls else 'http'}://{host}"
        return canonical_uri(origin + path)

    async def _guarded(self, found: Awaitable[Caller], address: str) -> Caller:
        try:
            return await found
        except Unreadable as error:
            raise self._refusal(error, address) from None

    def _refusal(self, error: Unreadable, address: str) -> GatewayError:
        reason = str(error)
        if isinstance(error, NonceMissing):
            nonces = self._proofs.nonces
            assert nonces is not None
            challenge = 'DPoP error="use_dpop_nonce", error_description="a current nonce is required"'
            headers = (("WWW-Authenticate", challenge), ("DPoP-Nonce", nonces.current()))
            return GatewayError("credential-invalid", reason, headers=headers)
        self.security.note(error.reason or reason, address)
        if self._budget is not None:
            self._budget.spend(address, error.cost)
        challenge = f'{_CHALLENGE}, error="invalid_token"'
        return GatewayError("credential-invalid", reason, headers=(("WWW-Authenticate", challenge),))

    def forget(self, change: Change) -> None:
        """Drop what `change` touches: a system's tokens, or all where keys or a department changed."""
        if change.kind not in (ChangeKind.SYSTEM, ChangeKind.KEY, ChangeKind.DEPARTMENT):
            return
        self._generation += 1
        system = change.system or (change.subject if change.kind is ChangeKind.SYSTEM else None)
        if system is None:
            self._remembered.clear()
        else:
            kept = {digest: held for digest, held in self._remembered.items() if held.claims.subject != system}
            self._remembered = kept
        if self._legacy is not None:
            self._legacy.forget(change)

    def forget_all(self) -> None:
        """Drop everything: after a break in the feed that cannot be caught up."""
        self._generation += 1
        self._remembered.clear()
        if self._legacy is not None:
            self._legacy.forget_all()

    def _drop_withdrawn(self, at: float) -> None:
        """Drop tokens whose signing key has been withdrawn or has run out since."""
        self._poll_at = at + POLL_SECONDS
        seen, keys = self._keys_seen, self._keys_now()
        if keys != seen:
            self._keys_seen = keys
            # A name that stands for another key now is as good as withdrawn.
            self._remembered = {
                digest: held
                for digest, held in self._remembered.items()
                if (key := keys.get(held.claims.issuer, {}).get(held.claims.key_id)) is not None
                and key == seen.get(held.claims.issuer, {}).get(held.claims.key_id)
            }

    def _keys_now(self) -> dict[str, dict[str, dict[str, Any]]]:
        issuers = self._verifier.issuers.items()
        return {name: {kid: key.jwk for kid, key in issuer.keys().items()} for name, issuer in issuers}


def _caller(claims: Claims, system: System | None) -> Caller | None:
    if system is None or not system.active or not _is_registered(claims, system):
        return None
    assurance = Assurance.BEARER
    if claims.certificate is not None:
        assurance = Assurance.MTLS
    elif claims.proof_key is not None:
        assurance = Assurance.DPOP
    return Caller(
        system.id,
        system.department,
        assurance,
        claims.token_id,
        claims.expires_unix,
        keepers=system.keepers,
        dates=system.dates,
    )


def _is_registered(claims: Claims, system: System) -> bool:
    """Whether what the client had shown for this token is still registered: a withdrawn key ends its tokens.

    A key is told by its thumbprint: another key registered under the same `kid` is another key.
    """
    if not claims.is_own:
        return True
    if claims.certificate is not None and claims.certificate not in system.certificates:
        return False
    return claims.client_key is None or claims.client_key in {_name(jwk) for jwk in system.keys}


def _name(jwk: Mapping[str, Any]) -> str | None:
    try:
        return thumbprint(jwk)
    except (KeyError, TypeError):
        return None


def _unless_replayed(caller: Caller, fresh: bool) -> Caller:
    if not fresh:
        raise Unreadable("the proof was used before")
    return caller


async def _when_fresh(caller: Caller, fresh: Awaitable[bool]) -> Caller:
    return _unless_replayed(caller, await fresh)
