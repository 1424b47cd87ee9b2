"""How the control plane listens: uvicorn, over TLS where the settings name a certificate, and who is at the other end.

The client certificate that TLS has verified stands in the request's scope, where the token endpoint looks for it
(RFC 8705); uvicorn by itself drops it.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.control.sign_in.oauth import CERTIFICATE_SCOPE
from gateway.domain.errors import GatewayError
from gateway.runtime.listeners.tls_faults import authorities_fault
from gateway.runtime.settings import ControlSettings

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""How long a request's head may take, from the connection or its first byte on."""


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the process has them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


_PROBLEM = (
    b'{"type":"/problems/malformed-request","title":"the request is malformed","status":400,'
    b'"detail":"a body cannot come with the field `Upgrade`: send it without (in Java: HttpClient.Version.HTTP_1_1)"}'
)
_UPGRADE_REFUSED = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_PROBLEM), _PROBLEM)
)


def _has_body(fields: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in fields)


class _CertificateProtocol(HttpToolsProtocol):
    """HTTP that tells the application the connection's client certificate (DER), and waits for no head for ever."""

    _certificate: bytes | None = None
    _late: asyncio.TimerHandle | None = None
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope[CERTIFICATE_SCOPE] = self._certificate
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_came()
        # INVARIANT: ONE-MEANING — after a field `Upgrade` the parser reads no body, and the application would see an
        # empty one. Java's client asks for HTTP/2 so with each request over plain HTTP.
        self._is_refused = self.parser.should_upgrade() and _has_body(self.headers)
        if not self._is_refused:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._is_refused:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        if not self._is_refused:
            super().data_received(data)
        if self._is_refused and not self.transport.is_closing():
            self.transport.write(_UPGRADE_REFUSED)
            self.transport.close()

    def _await_head(self) -> None:
        # INVARIANT: BOUNDED — uvicorn bounds the time between requests, not that of a head which drips.
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def own_address(settings: ControlSettings, listener: socket.socket) -> str:
    """Where the other nodes reach this control plane; "" where it listens on every address and none is set."""
    if settings.node_url is not None:
        return settings.node_url
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        log.warning("`control.node_url` is not set: what is asked of this node's records at other nodes is not found")
        return ""
    scheme = "https" if settings.tls_certificate is not None else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def nodes_trust(settings: ControlSettings) -> ssl.SSLContext | None:
    """What other nodes' certificates are checked against; None for the system's authorities."""
    if settings.nodes_ca is None:
        return None
    if fault := authorities_fault("control.nodes_ca", settings.nodes_ca):
        raise GatewayError("unavailable", fault)
    return ssl.create_default_context(cafile=settings.nodes_ca)


def control_server(app: FastAPI, tls: ssl.SSLContext | None) -> uvicorn.Server:
    """The server of `app`; over TLS with `tls`."""
    return _Server(
        uvicorn.Config(
            app,
            http=_CertificateProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
            timeout_graceful_shutdown=5,
        )
    )
