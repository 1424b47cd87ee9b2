"""The control API of a gateway elsewhere, in the session that `gateway sign-in` began there."""

import os
import ssl
import time
from collections.abc import Generator, Mapping
from pathlib import Path

import httpx

from gateway.client.keys import ClientKey
from gateway.domain.errors import GatewayError
from gateway.runtime.listeners.tls_faults import authorities_fault
from gateway.runtime.operation.session.sessions import KeptSession, SessionFolder

WAYS_PATH = "/sign-in"
ACCOUNT_PATH = "/v1/account"
RENEW_SECONDS = 900
"""What is left of a session when a command renews it on its way: half of what it began with."""
CA = "GATEWAY_CA"


class KeyAuth(httpx.Auth):
    """Shows a session's token with a proof by its key (RFC 9449), at the one origin that it is of.

    A nonce is asked for before the first request, so that no body is sent twice.

    Args:
        url: the control plane, as it is reached.
        key: what proofs are signed by.
        issuer: the control plane, as it calls itself and proofs name it.
        session: whose token is shown; None while there is none.
    """

    def __init__(self, url: str, key: ClientKey, *, issuer: str, session: KeptSession | None = None) -> None:
        self._url = url
        self._issuer = issuer
        self._key = key
        self.session = session
        self._nonce: str | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As `httpx.Auth` asks."""
        if not f"{request.url}".startswith((f"{self._url}/", f"{self._url}?")):
            raise GatewayError("unavailable", "a session is shown to the gateway that it was begun at, and no other")
        if self._nonce is None:
            self._learn((yield httpx.Request("GET", f"{self._url}{WAYS_PATH}")))
        answer = yield self._proven(request)
        if answer.status_code in (400, 401) and "use_dpop_nonce" in answer.headers.get("www-authenticate", ""):
            self._learn(answer)
            answer = yield self._proven(request)
        self._learn(answer)

    def _learn(self, answer: httpx.Response) -> None:
        self._nonce = answer.headers.get("dpop-nonce", self._nonce)

    def _proven(self, request: httpx.Request) -> httpx.Request:
        uri = self._issuer + str(request.url.copy_with(query=None, fragment=None)).removeprefix(self._url)
        token = self.session.token if self.session is not None else None
        proof = self._key.proof(request.method, uri, int(time.time()), nonce=self._nonce, token=token)
        request.headers["DPoP"] = proof
        if token is not None:
            request.headers["Authorization"] = f"DPoP {token}"
        return request


class Bearer(httpx.Auth):
    """A token that is bound to nothing."""

    def __init__(self, token: str) -> None:
        self._field = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._field
        yield request


def trust(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext | bool:
    """What a control plane's certificate is checked against: `$GATEWAY_CA`, else the system's authorities."""
    file = environment.get(CA)
    if not file:
        return True
    if fault := authorities_fault(f"${CA}", Path(file)):
        raise GatewayError("unavailable", fault)
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise GatewayError("unavailable", f"`${CA}`: `{Path(file)}` holds no authorities") from error


def kept_session(folder: SessionFolder, url: str) -> KeptSession | None:
    """The session at `url` that still holds; None where there is none."""
    session = folder.find(url)
    return session if session is not None and time.time() < session.expires_unix else None


def auth_of(session: KeptSession, url: str) -> KeyAuth:
    """What shows `session` to its gateway, as it is reached at `url`."""
    return KeyAuth(url, ClientKey(session.key), issuer=session.url, session=session)


def needs_sign_in(url: str) -> GatewayError:
    """What a command says that has no session at `url`."""
    return GatewayError("credential-missing", f"nobody is signed in at {url}: run `gateway sign-in --url {url}`")
