"""`httpx` authentication: tokens, proof of possession, declaration of the use, and repeating what is safe."""

import functools
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any

import httpx

from gateway.client import loops
from gateway.client.core import Declared, RetryBudget, TokenState, origin_of
from gateway.client.flow import Flow, GetNonce, GetToken, Read, Send, Wait, call_flow, patience_of
from gateway.client.keys import ClientKey, Key
from gateway.client.source import ASK_SECONDS, TokenSource

DEADLINE_SECONDS = 60.0
_NOTHING: Any = None
Verify = ssl.SSLContext | bool


class SharingAuth(httpx.Auth):
    """Authenticates calls through the gateway; for `httpx.Client` and `httpx.AsyncClient`, shared by threads and tasks.

    A header that a request sets itself (`Sharing-Purpose`, `Sharing-Items`, …) is left as it is, so that one client
    can serve several purposes. Tokens are fetched by a connection of its own, for everybody who waits, and renewed
    before they end (see `source`). What may be sent again is, see `flow`. A connection that fails is left to the
    caller: only `httpx.HTTPTransport(retries=…)` knows whether anything had been sent.

    A token goes to the gateway's origin alone: a request of the same client to any other host is sent as it is.

    Args:
        token_endpoint: URL of the gateway's `/oauth/token`.
        client_id: the system's id.
        private_key: the key whose public half is registered, see `keys.Key`. None where `verify` shows a registered
            certificate: then that is the proof.
        purpose: declared with every call (`Sharing-Purpose`).
        scenario: declared with every call (`Sharing-Scenario`).
        items: the data items asked for (`Sharing-Items`), one or several; None asks for what the grant gives.
        operator: who in the department makes the calls (`Sharing-Operator`).
        kid: the name the key is registered under; by default its RFC 7638 thumbprint.
        password: opens an encrypted key.
        issuer: the audience of assertions; by default the token endpoint.
        dpop: whether tokens are bound to the key, where there is one (RFC 9449). Turn it off only behind mutual TLS.
        gateway: URL of the data plane, the only one that is shown a token; by default that of the first request.
        verify: TLS of the token endpoint: a context with a private authority, or with a client certificate.
        transport: what token requests are sent by, in place of one of its own.
        deadline_seconds: the longest a call may take to its answer's head, waits and repetitions included.
        observe: told of calls, renewals, retries and refusals, by name and label.
        clock: Unix seconds.
    """

    requires_response_body = False

    def __init__(
        self,
        token_endpoint: str,
        client_id: str,
        private_key: "Key | None" = None,
        *,
        purpose: str | None = None,
        scenario: str | None = None,
        items: "str | Sequence[str] | None" = None,
        operator: str | None = None,
        kid: str | None = None,
        password: "str | bytes | None" = None,
        issuer: str | None = None,
        dpop: bool = True,
        gateway: str | None = None,
        verify: Verify = True,
        transport: httpx.BaseTransport | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        observe: Callable[[str, str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        key = ClientKey(private_key, kid, password) if private_key is not None else None
        make_state = functools.partial(
            _state, token_endpoint, client_id, key, issuer or token_endpoint, dpop=dpop, clock=clock
        )
        self.source = TokenSource(make_state, functools.partial(_client, verify, transport), observe)
        self.declared = Declared(purpose, scenario, operator, items)
        self.budget = RetryBudget()
        self._origin = origin_of(httpx.URL(gateway)) if gateway is not None else None
        self._deadline_seconds = deadline_seconds

    def close(self) -> None:
        """Let the connection to the token endpoint go."""
        self.source.close()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As `httpx.Auth` asks: yields requests, is sent their responses."""
        if not self.is_for_gateway(request):
            yield request
            return
        flow, sent = self.flow(request), _NOTHING
        while True:
            try:
                step = flow.send(sent)
            except StopIteration:
                return
            sent = None
            if isinstance(step, GetToken):
                sent = self.source.token(step.seconds)
            elif isinstance(step, Send):
                sent = yield step.request
            elif isinstance(step, Read):
                step.response.read()
            elif isinstance(step, Wait):
                time.sleep(step.seconds)
            elif isinstance(step, GetNonce):
                self.source.refresh_nonce()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As `httpx.Auth` asks: yields requests, is sent their responses."""
        if not self.is_for_gateway(request):
            yield request
            return
        flow, sent = self.flow(request), _NOTHING
        while True:
            try:
                step = flow.send(sent)
            except StopIteration:
                return
            sent = None
            if isinstance(step, GetToken):
                sent = await self.source.token_async(step.seconds)
            elif isinstance(step, Send):
                sent = yield step.request
            elif isinstance(step, Read):
                await step.response.aread()
            elif isinstance(step, Wait):
                await loops.sleep(step.seconds)
            elif isinstance(step, GetNonce):
                await loops.in_thread(self.source.refresh_nonce)

    def flow(self, request: httpx.Request) -> Flow:
        """The steps of one call, for whoever drives it."""
        seconds = float(request.extensions.get("sharing_deadline", self._deadline_seconds))
        return call_flow(self.source, self.declared, self.budget, request, seconds, patience_of(request, seconds))

    def is_for_gateway(self, request: httpx.Request) -> bool:
        origin = origin_of(request.url)
        if self._origin is None:
            self._origin = origin
        return origin == self._origin


def _state(
    endpoint: str, client_id: str, key: ClientKey | None, audience: str, *, dpop: bool, clock: Callable[[], float]
) -> TokenState:
    return TokenState(httpx.URL(endpoint), client_id, key, audience, dpop=dpop, clock=clock)


def _client(verify: Verify, transport: httpx.BaseTransport | None) -> httpx.Client:
    timeout = httpx.Timeout(ASK_SECONDS, connect=ASK_SECONDS / 2)
    # A redirect is not followed: it would carry the assertion to whom it was not made for.
    # Nor is a connection kept: it is needed again in some minutes.
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(
        verify=verify,
        transport=transport,
        timeout=timeout,
        limits=limits,
        follow_redirects=False,
        trust_env=False,  # no token goes through a proxy that the environment names
    )
