"""What the control plane asks of the network before a supplier's host is believed: where it is, and whether it knows.

Every question goes to a network address that was looked up once and checked (INVARIANT: HOST-OWNED): a name that
resolves to something else a moment later reaches nothing. Redirects are not followed. What a service answers is
compared and never shown.
"""

import base64
import binascii
import http.client
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Host, Networks

CONNECT_SECONDS = 5.0
PROOF_SECONDS = 10.0
"""How long one address may take to prove a claim, whatever it sends."""
PROOF_BYTES = 4096
MAX_ADDRESSES = 16
"""The most network addresses of one host."""


def new_nonce() -> str:
    """What a service shows to prove that it knows of a claim: 256 bits."""
    return secrets.token_hex(32)


def look_up(address: str, port: int) -> tuple[str, ...]:
    """The network addresses of a name, sorted; blocks.

    Raises:
        GatewayError: `invalid-input` where there is none.
    """
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise _fault("address", f"`{address}` has no network address that this gateway can find") from None
    return tuple(sorted({str(each[4][0]) for each in found}))


def trusting_the_system(_host: Host) -> ssl.SSLContext:
    """A context that trusts the system's authorities, whatever the host names."""
    return ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class HostChecks:
    """What hosts are judged by.

    Args:
        networks: where suppliers' hosts may stand.
        is_own: whether an address and port is one of this gateway's own listeners.
        look_up: name and port to network addresses; blocks.
        context: how a host's certificate is verified; raises GatewayError.
    """

    networks: Networks = Networks()  # noqa: RUF009 - immutable
    is_own: Callable[[str, int], bool] = lambda _address, _port: False
    look_up: Callable[[str, int], tuple[str, ...]] = look_up
    context: Callable[[Host], ssl.SSLContext] = trusting_the_system

    def addresses_of(self, address: str, port: int) -> tuple[str, ...]:
        """The network addresses of a host, each of them allowed; blocks.

        Raises:
            GatewayError: `invalid-input` with every address that is not.
        """
        found = self.look_up(address, port)
        faults = [fault for each in found if (fault := self.fault_of(each, port)) is not None]
        if len(found) > MAX_ADDRESSES:
            faults.append(f"`{address}` has more than {MAX_ADDRESSES} network addresses")
        if faults:
            listed = [{"field": "address", "fault": fault} for fault in faults]
            raise GatewayError("invalid-input", f"host `{address}` is not one to be called", faults=listed)
        return found

    def fault_of(self, address: str, port: int) -> str | None:
        """Why no supplier may be called at an address and port; None where one may."""
        fault = self.networks.fault(address)
        if fault is None and self.is_own(address, port):
            return f"{address} port {port} is this gateway itself"
        return fault

    def prove(self, host: Host, signature: str | None) -> str:
        """Have every address of a host show that its service knows of the claim; blocks. Returns the kind of proof.

        Args:
            host: the claim.
            signature: base64 of the nonce signed by the key of the certificate that the host presents (SHA-256;
                ECDSA, RSA-PSS, RSA PKCS #1 v1.5 or Ed25519); without one the nonce is fetched.

        Raises:
            GatewayError: `host-not-proved`, saying which address and what failed.
        """
        context = self.context(host) if host.is_tls else None
        if signature is not None and context is None:
            raise _fault("signature", "a host without TLS has no certificate: show the nonce")
        for address in host.addresses:
            fault = self.fault_of(address, host.port)
            if fault is not None:
                raise GatewayError("host-not-proved", fault)
            with _connection(host, address, context) as connected:
                if signature is None:
                    _require_nonce(connected, host, address)
                else:
                    assert isinstance(connected, ssl.SSLSocket)
                    _require_signature(connected, host, address, signature)
        return "nonce" if signature is None else "certificate"


@contextmanager
def _connection(host: Host, address: str, context: ssl.SSLContext | None) -> Iterator[socket.socket]:
    """A connection to one address of a host, TLS verified, that ends after `PROOF_SECONDS` whatever comes."""
    where = f"{address} port {host.port}"
    try:
        connected = socket.create_connection((address, host.port), CONNECT_SECONDS)
    except OSError:
        raise GatewayError("host-not-proved", f"no connection to {where} could be made") from None
    over = threading.Timer(PROOF_SECONDS, _shut, (connected,))
    over.daemon = True
    over.start()
    try:
        if context is not None:
            try:
                connected = context.wrap_socket(connected, server_hostname=host.certificate_name or host.address)
            except ssl.SSLCertVerificationError as error:
                raise GatewayError(
                    "host-not-proved", f"the certificate of {where} is not valid: {error.verify_message}"
                ) from None
            except OSError:
                raise GatewayError("host-not-proved", f"{where} does not speak TLS as it should") from None
        yield connected
    finally:
        over.cancel()
        connected.close()


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _require_nonce(connected: socket.socket, host: Host, address: str) -> None:
    where = f"http{'s' if host.is_tls else ''}://{host.id}{host.proof_path} (at {address})"
    asking = http.client.HTTPConnection(host.address, host.port)
    asking.sock = connected
    try:
        asking.request("GET", host.proof_path, headers={"Host": host.id, "Accept": "text/plain"})
        answer = asking.getresponse()
        status, content = answer.status, answer.read(PROOF_BYTES)
    except (OSError, http.client.HTTPException, ValueError):
        raise GatewayError("host-not-proved", f"{where} gave no answer in time, or none that is HTTP") from None
    if status != 200:
        raise GatewayError("host-not-proved", f"{where} answered {status} and not 200; a redirect is not followed")
    if not secrets.compare_digest(content.strip(), host.nonce.encode()):
        raise GatewayError("host-not-proved", f"{where} does not show the nonce of this claim, and nothing else")


def _require_signature(connected: ssl.SSLSocket, host: Host, address: str, signature: str) -> None:
    try:
        signed = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise _fault("signature", "is not base64") from None
    presented = connected.getpeercert(binary_form=True)
    assert presented is not None
    key = x509.load_der_x509_certificate(presented).public_key()
    nonce = host.nonce.encode()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signed, nonce, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signed, nonce)
        elif isinstance(key, rsa.RSAPublicKey):
            _verify_rsa(key, signed, nonce)
        else:
            raise GatewayError("host-not-proved", f"the key of the certificate at {address} is of no kind known here")
    except InvalidSignature:
        raise GatewayError(
            "host-not-proved", f"the signature is not by the key of the certificate that {address} presents"
        ) from None


def _verify_rsa(key: rsa.RSAPublicKey, signed: bytes, nonce: bytes) -> None:
    try:
        key.verify(signed, nonce, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        key.verify(signed, nonce, padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO), hashes.SHA256())


def _fault(field: str, fault: str) -> GatewayError:
    return GatewayError("invalid-input", fault, faults=[{"field": field, "fault": fault}])
