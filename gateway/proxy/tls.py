"""TLS on both sides: contexts for callers' listeners and for suppliers.

A listener's certificate is read again into the same context (`reload_certificate`): connections that stand keep theirs,
new handshakes get the new one. TLS 1.2 and 1.3; for 1.2 only suites with forward secrecy and authenticated encryption.
Session tickets are off: a resumed session would not show the client certificate that identity asks for, and each
ticket key would be state to rotate.

TLS is the loop's own: uvloop's holds nothing of a connection that is closed. MagicStack/uvloop issue 565 reports a
leak; tests/bench/data_plane/tls_connections.py measures one byte a connection over 100,000, with uvloop 0.23 as with
asyncio's.
"""

import ssl
from enum import StrEnum
from pathlib import Path

from gateway.domain.errors import GatewayError

SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"


class ClientCertificates(StrEnum):
    """Whether a listener asks callers for a certificate."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


def caller_context(
    certificate: Path,
    key: Path | None = None,
    *,
    client_certificates: ClientCertificates = ClientCertificates.OFF,
    client_ca: Path | None = None,
) -> ssl.SSLContext:
    """The context of a callers' listener.

    Args:
        certificate: PEM chain, leaf first; may hold the key.
        key: PEM private key, if it is not in `certificate`.
        client_certificates: whether callers may or must present a certificate.
        client_ca: PEM authorities of callers' certificates.

    Raises:
        GatewayError: `unavailable` where a file cannot be read or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    reload_certificate(context, certificate, key)
    if client_certificates is not ClientCertificates.OFF:
        if client_ca is None:
            raise GatewayError("unavailable", "client certificates need the authorities that sign them")
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError):
            raise GatewayError("unavailable", f"the authorities in `{client_ca}` cannot be read") from None
        required = client_certificates is ClientCertificates.REQUIRED
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def reload_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None = None) -> None:
    """Read a listener's certificate again; connections that stand are not touched.

    Raises:
        GatewayError: `unavailable` where it cannot be read or does not fit its key; the old one stays.
    """
    try:
        # A pair that does not fit would leave the context without a key: it is tried on another one first.
        # With a password at hand, OpenSSL asks nobody at a terminal for that of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError):
        raise GatewayError("unavailable", f"the certificate in `{certificate}` cannot be read with its key") from None


def supplier_context(authorities: str | None = None) -> ssl.SSLContext:
    """The context to call a supplier with: always verified, by its own authorities where the entry names some.

    Args:
        authorities: PEM; None are the system's.

    Raises:
        GatewayError: `supplier-unreachable` where they are none.
    """
    try:
        context = ssl.create_default_context(cadata=authorities)
    except (ValueError, ssl.SSLError):
        raise GatewayError("supplier-unreachable", "the interface's authorities cannot be used") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES)
    context.set_alpn_protocols(["http/1.1"])
    return context
