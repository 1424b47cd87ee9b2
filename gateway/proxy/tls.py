"""TLS on both sides: contexts for callers' listeners and for suppliers.

A listener's certificate is read again (`read_pair`, off the loop) and put into the same context (`load_pair`):
connections that stand keep theirs, new handshakes get the new one. TLS 1.2 and 1.3; for 1.2 only suites with forward
secrecy and authenticated encryption. Session tickets are off: a resumed session would not show the client certificate
that identity asks for, and each ticket key would be state to rotate.

TLS is the loop's own: uvloop's holds nothing of a connection that is closed. MagicStack/uvloop issue 565 reports a
leak; tests/bench/data_plane/tls_connections.py measures one byte a connection over 100,000, with uvloop 0.23 as with
asyncio's.
"""

import contextlib
import os
import ssl
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

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
    load_pair(context, read_pair(certificate, key))
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


class Pair(NamedTuple):
    """A certificate chain and its key as they were read: PEM."""

    chain: bytes
    key: bytes | None


def read_pair(certificate: Path, key: Path | None = None) -> Pair:
    """Read a listener's certificate and key, and try that they fit; blocks.

    Raises:
        GatewayError: `unavailable` where they cannot be read or do not.
    """
    try:
        pair = Pair(certificate.read_bytes(), None if key is None else key.read_bytes())
        # A pair that does not fit would leave a context without a key: it is tried on another one first.
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    except (OSError, ssl.SSLError):
        raise GatewayError("unavailable", f"the certificate in `{certificate}` cannot be read with its key") from None
    return pair


def load_pair(context: ssl.SSLContext, pair: Pair) -> None:
    """Have a context present a pair in new handshakes; connections that stand are not touched.

    OpenSSL takes certificates from files alone: these are memory, so that nothing is waited for on a loop.

    Raises:
        OSError, ssl.SSLError: they do not fit.
    """
    with contextlib.ExitStack() as stack:
        chain = stack.enter_context(_in_memory(pair.chain))
        key = stack.enter_context(_in_memory(pair.key)) if pair.key is not None else None
        # With a password at hand, OpenSSL asks nobody at a terminal for that of an encrypted key.
        context.load_cert_chain(chain, key, password="")


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The path of a file that has no place on a disk."""
    with os.fdopen(os.memfd_create("pem", os.MFD_CLOEXEC), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


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
