"""The TLS of both listeners, as the settings have it, and its certificates when they are read again."""

import asyncio
import logging
import ssl
from pathlib import Path

from gateway.domain.errors import GatewayError
from gateway.proxy.tls import ClientCertificates, caller_context, load_pair, read_pair
from gateway.runtime.listeners.tls_faults import authorities_fault, certificate_fault, key_fault
from gateway.runtime.settings import ChecksSettings, ControlSettings, DataPlaneSettings

log = logging.getLogger(__name__)

Listener = DataPlaneSettings | ControlSettings | ChecksSettings
_SECTIONS = {DataPlaneSettings: "data_plane", ControlSettings: "control", ChecksSettings: "checks"}


class Reloading:
    """A listener's certificate, read again each time that this is called; belongs to one event loop.

    The files are read on a thread, one reading after the other, and what was read last is presented: a disk that does
    not answer holds up no call.

    Args:
        context: the listener's; None where it speaks no TLS.
        settings: that name the files.
    """

    def __init__(self, context: ssl.SSLContext | None, settings: Listener) -> None:
        self._context = context
        self._settings = settings
        self._is_asked = False
        self._reading: asyncio.Task[None] | None = None

    def __call__(self) -> None:
        """Connections that stand are not touched; where the files do not fit, the old certificate stays."""
        if self._context is None or self._settings.tls_certificate is None:
            return
        self._is_asked = True
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read(self._context), name="certificate")

    async def _read(self, context: ssl.SSLContext) -> None:
        own = self._settings
        assert own.tls_certificate is not None
        try:
            while self._is_asked:
                self._is_asked = False
                try:
                    load_pair(context, await asyncio.to_thread(read_pair, own.tls_certificate, own.tls_key))
                except (GatewayError, OSError) as error:
                    detail = await asyncio.to_thread(tls_fault, own) or str(error)
                    log.error("%s; the old one stays", detail)
        finally:
            self._reading = None


def listener_context(settings: Listener) -> ssl.SSLContext | None:
    """A listener's TLS context, or None where no certificate is set."""
    if settings.tls_certificate is None:
        return None
    if settings.client_ca is not None and (fault := authorities_fault(_named(settings), settings.client_ca)):
        raise GatewayError("unavailable", fault)
    try:
        return caller_context(
            settings.tls_certificate,
            settings.tls_key,
            client_certificates=ClientCertificates(settings.client_certificates),
            client_ca=settings.client_ca,
        )
    except GatewayError as error:
        said = f"`{_SECTIONS[type(settings)]}.tls_certificate`: {error.detail}"
        raise GatewayError("unavailable", tls_fault(settings) or said) from error


def _named(settings: Listener) -> str:
    return f"{_SECTIONS[type(settings)]}.client_ca"


def _authorities_fault(settings: Listener, path: Path) -> str | None:
    return authorities_fault(_named(settings), path) or certificate_fault(_named(settings), path)


def tls_fault(settings: Listener) -> str:
    """What is wrong with a listener's files, by setting and file; "" where nothing is found."""
    section = _SECTIONS[type(settings)]
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None:
        return ""
    named = f"{section}.tls_certificate" if key is None else f"{section}.tls_key"
    authorities = settings.client_ca
    return (
        certificate_fault(f"{section}.tls_certificate", certificate)
        or key_fault(named, key or certificate, certificate)
        or (_authorities_fault(settings, authorities) if authorities is not None else None)
        or ""
    )
