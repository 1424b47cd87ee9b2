"""How the control plane listens: uvicorn, over TLS where the settings name a certificate, and who is at the other end.

The client certificate that TLS has verified stands in the request's scope, where the token endpoint looks for it
(RFC 8705); uvicorn by itself drops it.
"""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.control.sign_in.oauth import CERTIFICATE_SCOPE


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the process has them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


class _CertificateProtocol(HttpToolsProtocol):
    """HTTP that tells the application the connection's client certificate (DER)."""

    _certificate: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate = tls.getpeercert(binary_form=True) if tls is not None else None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope[CERTIFICATE_SCOPE] = self._certificate


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
