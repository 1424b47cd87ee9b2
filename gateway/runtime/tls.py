"""The TLS of both listeners, as the settings have it."""

import ssl

from gateway.proxy.tls import ClientCertificates, caller_context
from gateway.runtime.settings import ControlSettings, DataPlaneSettings


def listener_context(settings: DataPlaneSettings | ControlSettings) -> ssl.SSLContext | None:
    """A listener's TLS context, or None where no certificate is set."""
    if settings.tls_certificate is None:
        return None
    return caller_context(
        settings.tls_certificate,
        settings.tls_key,
        client_certificates=ClientCertificates(settings.client_certificates),
        client_ca=settings.client_ca,
    )
