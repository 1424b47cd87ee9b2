"""A session that is bound to a key: its token is worth nothing without a proof by that key (RFC 9449).

What signs in by the command line shows a key with the sign-in; from then on each request bears a proof, for its method
and address, that this node has not seen. What reads a token on its way, or finds it in a log, cannot act by it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from gateway.domain.errors import GatewayError
from gateway.identity.callers.dpop import ALGORITHMS, NonceMissing, ProofVerifier, canonical_uri
from gateway.identity.strict import Unreadable

CHALLENGE = (("WWW-Authenticate", f'Bearer realm="control", DPoP realm="control", algs="{" ".join(ALGORITHMS)}"'),)
_SHOWN_SCOPE = "gateway.proof"


@dataclass(frozen=True, slots=True)
class Possession:
    """Reads the proofs of requests.

    Args:
        proofs: verifies them.
        use_once: remembers them; a node's own memory, since a request may be passed on to the node that it is about.
        base: the control plane's public base URL, which proofs name whatever `Host` says.
    """

    proofs: ProofVerifier
    use_once: Callable[[str, str, int], bool]
    base: str

    def nonce(self) -> dict[str, str]:
        """The header field that hands out what the next proof must bear."""
        return {"DPoP-Nonce": self.proofs.nonces.current()} if self.proofs.nonces is not None else {}

    def shown(self, request: Request, *, token: bytes | None = None, bound_to: str | None = None) -> str | None:
        """The thumbprint of the key that `request` proves to hold; None where it bears no proof.

        Args:
            request: the request; asked twice of one, its proof is used up once.
            token: the token that it comes with.
            bound_to: the key that this token is bound to.

        Raises:
            Unreadable: where the proof does not hold.
            GatewayError: `credential-invalid` with a nonce, where that alone is lacking.
        """
        sent = request.headers.getlist("dpop")
        if not sent:
            return None
        if request.scope.get(_SHOWN_SCOPE) == (sent, token):
            return bound_to
        if len(sent) > 1:
            raise Unreadable("the request bears two proofs")
        path = request.scope.get("raw_path") or request.url.path.encode()
        try:
            proof = self.proofs.verify(
                sent[0].encode("latin-1"),
                method=request.method,
                uri=canonical_uri(self.base.rstrip("/") + path.decode("latin-1")),
                token=token,
                bound_to=bound_to,
            )
        except NonceMissing as error:
            challenge = ("WWW-Authenticate", 'DPoP error="use_dpop_nonce"')
            headers = (challenge, *self.nonce().items())
            raise GatewayError("credential-invalid", str(error), headers=headers) from error
        if not self.use_once("officer", f"{proof.proof_key} {proof.token_id}", proof.forget_unix):
            raise Unreadable("the proof was used before")
        request.scope[_SHOWN_SCOPE] = (sent, token)
        return proof.proof_key

    def required(self, request: Request, token: bytes, bound_to: str) -> None:
        """As `shown`, of a token that is bound; raises `Unreadable` where there is no proof."""
        if self.shown(request, token=token, bound_to=bound_to) is None:
            raise Unreadable("the session is bound to a key, and the request bears no proof by it")

    def offered(self, request: Request) -> dict[str, str] | None:
        """What a new session is bound to: the key that the sign-in shows (`cnf`), if it shows one.

        Raises:
            GatewayError: `credential-invalid`.
        """
        try:
            key = self.shown(request)
        except Unreadable as error:
            raise GatewayError("credential-invalid", str(error), headers=CHALLENGE) from error
        return {"jkt": key} if key is not None else None
