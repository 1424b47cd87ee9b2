"""The token endpoint and what describes it.

    POST /oauth/token                              client_credentials (RFC 6749 §4.4)
    GET  /.well-known/oauth-authorization-server   metadata (RFC 8414)
    GET  /.well-known/jwks.json                    public token keys (RFC 7517)

A client proves itself by a signed assertion (`private_key_jwt`, RFC 7523) or by a certificate registered with its
system (`self_signed_tls_client_auth`, RFC 8705 §2.2). The token is bound to whatever key the client shows with the
request: a registered certificate, a DPoP key (RFC 9449), or both. Errors are those of RFC 6749 §5.2, and bear the
members of a problem document besides.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from gateway.control.act.addresses import AddressOf, direct_address
from gateway.domain.directory import System
from gateway.domain.errors import GatewayError, prefers_chinese, problem_document
from gateway.identity.callers.assertions import ASSERTION_TYPE, AssertionVerifier, Client, NotProven
from gateway.identity.callers.certificates import certificate_thumbprint
from gateway.identity.callers.dpop import ALGORITHMS, NonceMissing, Proof, ProofVerifier, canonical_uri
from gateway.identity.callers.security_log import FailureBudget, SecurityLog
from gateway.identity.strict import MAX_TOKEN_BYTES, Unreadable
from gateway.identity.tokens.issuing import TokenIssuer

MAX_FORM_BYTES = 2 * MAX_TOKEN_BYTES
MAX_FORM_FIELDS = 16
JWKS_SECONDS = 300
REFUSAL_SECONDS = 0.05
"""Refused clients are told so at multiples of this after their request began."""
CERTIFICATE_SCOPE = "gateway.client_certificate"
"""Where the connection's verified client certificate (DER) stands in a request's scope."""
TOKEN_PATH = "/oauth/token"  # noqa: S105  (a path)
ASSERTION_ALGORITHMS = ("ES256", "ES384", "EdDSA", "PS256")


@dataclass(frozen=True, slots=True)
class OAuthServices:
    """What the token endpoint needs.

    Args:
        issuer: signs tokens; its `issuer` is the control plane's public base URL.
        assertions: verifies client assertions.
        proofs: verifies DPoP proofs.
        system: the registered system of an id, or None; may block.
        use_once: durable, shared by all processes; may block.
        jwks: the public token keys (`KeyRing.jwks`).
        security: counters and log of refusals.
        budget: how many failing requests an address may make.
        client_certificate: the verified client certificate (DER) of a request, or None.
        address: where a request comes from.
        further: routers that stand beside the token endpoint: officers' sign-in, keys.
    """

    issuer: TokenIssuer
    assertions: AssertionVerifier
    proofs: ProofVerifier
    system: Callable[[str], System | None]
    use_once: Callable[[str, str, int], bool]
    jwks: Callable[[], dict[str, Any]]
    security: SecurityLog
    budget: FailureBudget
    client_certificate: Callable[[Request], bytes | None] = field(default=lambda _request: None)
    address: AddressOf = direct_address
    further: tuple[APIRouter, ...] = ()


class _OAuthError(Exception):
    """An error of RFC 6749 §5.2 on its way to the client."""

    def __init__(
        self, error: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description
        self.status = status
        self.headers = dict(headers or {})
        self.noted = description


def oauth_router(services: OAuthServices) -> APIRouter:
    """The router of the token endpoint, metadata and keys."""
    router = APIRouter(tags=["tokens"])

    @router.post(TOKEN_PATH, openapi_extra=_FORM, summary="Issue an access token to a system")
    async def token(request: Request) -> JSONResponse:
        address, began = services.address(request), time.monotonic()
        try:
            _check_budget(services, address)
            form = await _form(request)
            answer = await run_in_threadpool(_issue, services, request, form)
        except _OAuthError as error:
            if error.error not in ("use_dpop_nonce", "temporarily_unavailable"):
                services.security.note(error.noted, address)
                services.budget.spend(address)
            if error.error == "invalid_client":
                # What is left of the time that a known client's refusal takes more or less than an unknown one's is
                # drowned: both are told at the same moments.
                await asyncio.sleep(REFUSAL_SECONDS - (time.monotonic() - began) % REFUSAL_SECONDS)
            return _refused(error, request)
        return answer

    @router.get("/.well-known/oauth-authorization-server", summary="Metadata of the token endpoint (RFC 8414)")
    async def metadata() -> JSONResponse:
        return JSONResponse(authorization_server_metadata(services.issuer), headers=_CACHED)

    @router.get("/.well-known/jwks.json", summary="Public keys that verify access tokens (RFC 7517)")
    async def jwks() -> JSONResponse:
        return JSONResponse(services.jwks(), headers=_CACHED)

    for beside in services.further:
        router.include_router(beside)
    return router


def authorization_server_metadata(issuer: TokenIssuer) -> dict[str, Any]:
    """The document of RFC 8414, with the members of RFC 8705 §3.3 and RFC 9449 §5.1."""
    base = issuer.issuer.rstrip("/")
    return {
        "issuer": issuer.issuer,
        "token_endpoint": base + TOKEN_PATH,
        "jwks_uri": base + "/.well-known/jwks.json",
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "scopes_supported": [],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "self_signed_tls_client_auth"],
        "token_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGORITHMS),
        "tls_client_certificate_bound_access_tokens": True,
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
    }


def _check_budget(services: OAuthServices, address: str) -> None:
    if services.budget.is_spent(address):
        raise _OAuthError("temporarily_unavailable", "too many requests that failed", 429, {"Retry-After": "1"})


def certificate_from_proxy(trusted: Container[str]) -> Callable[[Request], bytes | None]:
    """`client_certificate` of a control plane behind a proxy that ends TLS and verified the client there.

    Only requests that come from an address in `trusted` may bear the field `Client-Cert` (RFC 9440 §2.2); of all
    others it is not looked at. The proxy must strip the field from what comes to it (§2.4).
    """

    def certificate_of(request: Request) -> bytes | None:
        fields = request.headers.getlist("client-cert")
        if not fields or request.client is None or request.client.host not in trusted:
            return None
        # One byte sequence of RFC 8941 §3.3.5: base64 between colons.
        value = fields[0].strip(" ")
        if len(fields) > 1 or not (value.startswith(":") and value.endswith(":") and len(value) > 2):
            return None
        try:
            return base64.b64decode(value[1:-1], validate=True)
        except ValueError:
            return None

    return certificate_of


def presented_certificate(trusted: Container[str]) -> Callable[[Request], bytes | None]:
    """`client_certificate` of a control plane that ends TLS itself, or stands behind proxies that do.

    What a proxy in `trusted` shows on its own connection is the proxy's certificate and no client's: of those, only
    the field counts.
    """
    from_proxy = certificate_from_proxy(trusted)

    def certificate_of(request: Request) -> bytes | None:
        if request.client is not None and request.client.host in trusted:
            return from_proxy(request)
        certificate: bytes | None = request.scope.get(CERTIFICATE_SCOPE)
        return certificate

    return certificate_of


async def _form(request: Request) -> dict[str, str]:
    """The form's fields; each at most once (RFC 6749 §3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise _OAuthError("invalid_request", "the body must be application/x-www-form-urlencoded")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise _OAuthError("invalid_request", "the body is too large", 413)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except ValueError as error:
        raise _OAuthError("invalid_request", "the form is malformed") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _OAuthError("invalid_request", "a parameter stands twice")
    return form


def _issue(services: OAuthServices, request: Request, form: Mapping[str, str]) -> JSONResponse:
    if form.get("grant_type") != "client_credentials":
        raise _OAuthError("unsupported_grant_type", "only client_credentials is offered")
    if form.get("scope"):
        raise _OAuthError("invalid_scope", "no scopes are offered: what a system may do is in its grants")
    if form.get("resource", services.issuer.audience) != services.issuer.audience:
        raise _OAuthError("invalid_target", "the resource is not this gateway's data plane")
    # The proof is checked before the assertion is used up, so that a client without a nonce can try again with it.
    proof = _proof(services, request)
    certificate = services.client_certificate(request)
    presented = certificate_thumbprint(certificate) if certificate is not None else None
    client = _authenticate(services, form, presented)
    system = client.system
    cnf: dict[str, str] = {}
    if presented is not None and presented in system.certificates:
        cnf["x5t#S256"] = presented
    if proof is not None:
        if not services.use_once("dpop", f"{proof.proof_key} {proof.token_id}", proof.forget_unix):
            raise _OAuthError("invalid_dpop_proof", "the proof was used before")
        cnf["jkt"] = proof.proof_key
    token, seconds = services.issuer.issue(system, cnf=cnf, client_key=client.key)
    kind = "DPoP" if proof is not None else "Bearer"
    headers = dict(_NOT_STORED)
    if services.proofs.nonces is not None:
        headers["DPoP-Nonce"] = services.proofs.nonces.current()
    return JSONResponse({"access_token": token, "token_type": kind, "expires_in": seconds}, headers=headers)


def _proof(services: OAuthServices, request: Request) -> Proof | None:
    sent = request.headers.getlist("dpop")
    if not sent:
        return None
    if len(sent) > 1:
        raise _OAuthError("invalid_dpop_proof", "the request bears two proofs")
    uri = canonical_uri(services.issuer.issuer.rstrip("/") + TOKEN_PATH)
    try:
        return services.proofs.verify(sent[0].encode("latin-1"), method="POST", uri=uri, token=None, bound_to=None)
    except NonceMissing as error:
        assert services.proofs.nonces is not None
        nonce = {"DPoP-Nonce": services.proofs.nonces.current()}
        raise _OAuthError("use_dpop_nonce", str(error), 400, nonce) from error
    except Unreadable as error:
        raise _OAuthError("invalid_dpop_proof", str(error)) from error


def _authenticate(services: OAuthServices, form: Mapping[str, str], presented: str | None) -> Client:
    """The client, proven by assertion or certificate; never by both at odds (RFC 6749 §2.3)."""
    if "client_secret" in form:
        raise _OAuthError("invalid_client", "client secrets are not taken: use private_key_jwt or a certificate", 401)
    assertion = form.get("client_assertion")
    if assertion is not None:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise _OAuthError("invalid_client", "the client assertion type is not known", 401)
        try:
            return services.assertions.verify(assertion.encode("utf-8"), form.get("client_id"))
        except GatewayError as error:
            if error.code != "credential-invalid":
                raise
            refusal = _OAuthError("invalid_client", error.detail, 401)
            if isinstance(error.__cause__, NotProven):
                refusal.noted = f"the client assertion is refused: {error.__cause__.reason}"
            raise refusal from error
    client_id = form.get("client_id")
    if presented is not None and client_id:
        system = services.system(client_id)
        if system is not None and system.active and presented in system.certificates:
            return Client(system, None)
        raise _OAuthError("invalid_client", "the certificate is not registered with this client", 401)
    raise _OAuthError("invalid_client", "the request bears no client authentication", 401)


def _refused(error: _OAuthError, request: Request) -> JSONResponse:
    code = {401: "credential-invalid", 413: "body-too-large", 429: "rate-limited"}.get(error.status)
    chinese = prefers_chinese(request.headers.get("accept-language", ""))
    problem = problem_document(GatewayError(code or "malformed-request", error.description), chinese=chinese)
    body = {**problem, "status": error.status, "error": error.error, "error_description": error.description}
    return JSONResponse(body, error.status, headers={**_NOT_STORED, **error.headers})


_NOT_STORED = {"Cache-Control": "no-store"}
_CACHED = {"Cache-Control": f"public, max-age={JWKS_SECONDS}"}
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "const": "client_credentials"},
                        "client_id": {"type": "string"},
                        "client_assertion_type": {"type": "string", "const": ASSERTION_TYPE},
                        "client_assertion": {"type": "string", "description": "a signed JWT (RFC 7523)"},
                    },
                }
            }
        },
    }
}
