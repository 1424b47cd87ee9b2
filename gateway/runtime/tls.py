"""The TLS of both listeners, as the settings have it."""

import ssl

from gateway.domain.errors import GatewayError
from gateway.proxy.tls import ClientCertificates, caller_context
from gateway.runtime.settings import ControlSettings, DataPlaneSettings
from gateway.runtime.tls_faults import certificate_fault, key_fault


def listener_context(settings: DataPlaneSettings | ControlSettings) -> ssl.SSLContext | None:
    """A listener's TLS context, or None where no certificate is set."""
    if settings.tls_certificate is None:
        return None
    try:
        return caller_context(
            settings.tls_certificate,
            settings.tls_key,
            client_certificates=ClientCertificates(settings.client_certificates),
            client_ca=settings.client_ca,
        )
    except GatewayError as error:
        raise GatewayError("unavailable", tls_fault(settings) or error.detail) from error


def tls_fault(settings: DataPlaneSettings | ControlSettings) -> str:
    """What is wrong with a listener's files, by setting and file; "" where nothing is found."""
    section = "control" if isinstance(settings, ControlSettings) else "data_plane"
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None:
        return ""
    named = f"{section}.tls_certificate" if key is None else f"{section}.tls_key"
    authorities = settings.client_ca
    return (
        certificate_fault(f"{section}.tls_certificate", certificate)
        or key_fault(named, key or certificate, certificate)
        or (certificate_fault(f"{section}.client_ca", authorities) if authorities is not None else None)
        or ""
    )
