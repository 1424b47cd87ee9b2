"""What the control plane asks of the network before a supplier's host is believed: where it is, and whether it knows.

Every question goes to a network address that was looked up once and checked (INVARIANT: HOST-OWNED): a name that
resolves to something else a moment later reaches nothing. Redirects are not followed. What a service answers is
compared and never shown.

Who claims chooses address and port, and is no scanner of the network behind the gateway: whether a port is open, what
speaks there and what a name resolves to are told to nobody but the operator's log. A host is proved or it is not; each
failure has the same words and comes at the same time, and `probing` bounds how many there are.
"""

import base64
import binascii
import http.client
import logging
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from gateway.control.suppliers.probing import ProbeBounds
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Host, Networks, how_to_name

log = logging.getLogger("gateway.control")

PROOF_SECONDS = 10.0
"""How long all addresses of a host together may take to prove a claim, whatever they send; what fails takes as long."""
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
        bounds: how often a department may have the network asked.
        proof_seconds: how long a proof may take, and how long one that fails does take.
        wait: sleeps for that many seconds.
    """

    networks: Networks = Networks()  # noqa: RUF009 - immutable
    is_own: Callable[[str, int], bool] = lambda _address, _port: False
    look_up: Callable[[str, int], tuple[str, ...]] = look_up
    context: Callable[[Host], ssl.SSLContext] = trusting_the_system
    bounds: ProbeBounds = field(default_factory=ProbeBounds)
    proof_seconds: float = PROOF_SECONDS
    wait: Callable[[float], None] = time.sleep

    def addresses_of(self, address: str, port: int) -> tuple[str, ...]:
        """The network addresses of a host that is claimed, each of them allowed; blocks.

        Raises:
            GatewayError: `invalid-input`; of an address that was given it says why. Of a name it does not say what it
                resolves to, or whether it does.
        """
        if not self.networks:
            why = f"no network is named in which suppliers' hosts may stand: {how_to_name()}"
            raise _fault("address", why)
        if _is_address(address):
            found = self.look_up(address, port)
            faults = [fault for each in found if (fault := self.fault_of(each, port)) is not None]
            if faults:
                listed = [{"field": "address", "fault": fault} for fault in faults]
                raise GatewayError("invalid-input", f"host `{address}` is not one to be called", faults=listed)
            return found
        try:
            found = self.look_up(address, port)
            faults = [fault for each in found if (fault := self.fault_of(each, port)) is not None]
            if len(found) > MAX_ADDRESSES:
                faults.append(f"it has more than {MAX_ADDRESSES} network addresses")
        except GatewayError as error:
            found, faults = (), [error.detail]
        if faults:
            log.warning("host `%s` was claimed, and is not one to be called: %s", address, "; ".join(faults[:4]))
            why = (
                f"`{address}` is not known to this gateway's name servers, or stands at an address where no supplier "
                "may be called (`suppliers.networks`): the operator finds in the gateway's log which, and what to do"
            )
            raise _fault("address", why)
        return found

    def pinned(self, host: Host) -> tuple[str, ...]:
        """The network addresses of a host that stands without any, those that may be called; blocks.

        Raises:
            GatewayError: `invalid-input`, for the operator: it says what was found.
        """
        found = self.look_up(host.address, host.port)
        faults = [fault for each in found if (fault := self.standing_fault(host, each)) is not None]
        if len(found) > MAX_ADDRESSES:
            faults.append(f"it has more than {MAX_ADDRESSES} network addresses")
        if faults:
            raise _fault("address", "; ".join(faults[:4]))
        return found

    def fault_of(self, address: str, port: int) -> str | None:
        """Why no supplier may be called at an address and port; None where one may."""
        return self.networks.fault(address) or self._own_fault(address, port)

    def standing_fault(self, host: Host, address: str) -> str | None:
        """Why a host that stands may not be called at an address; None where it may."""
        return self.networks.fault_of(host, address) or self._own_fault(address, host.port)

    def _own_fault(self, address: str, port: int) -> str | None:
        return f"{address} port {port} is this gateway itself" if self.is_own(address, port) else None

    def prove(self, host: Host, signature: str | None) -> str:
        """Have every address of a host show that its service knows of the claim; blocks. Returns the kind of proof.

        Args:
            host: the claim.
            signature: base64 of the nonce signed by the key of the certificate that the host presents (SHA-256;
                ECDSA, RSA-PSS, RSA PKCS #1 v1.5 or Ed25519); without one the nonce is fetched.

        Raises:
            GatewayError: `host-not-proved`, in the same words and after `proof_seconds`, whatever failed;
                `invalid-input` for what is wrong without asking anybody; what `context` raises.
        """
        began = time.monotonic()
        context = self.context(host) if host.is_tls else None
        if signature is not None and context is None:
            raise _fault("signature", "a host without TLS has no certificate: show the nonce")
        signed = _decoded(signature) if signature is not None else None
        for address in host.addresses:
            if (fault := self.fault_of(address, host.port)) is not None:
                raise GatewayError("host-not-proved", fault)
        until = began + self.proof_seconds
        try:
            for address in host.addresses:
                with _connection(host, address, context, until) as connected:
                    if signed is None:
                        _require_nonce(connected, host, address)
                    else:
                        assert isinstance(connected, ssl.SSLSocket)
                        _require_signature(connected, host, address, signed)
        except _NotProvedError as why:
            log.warning("host `%s`, claimed by `%s`, was not proved: %s", host.id, host.supplier, why)
            self.wait(max(0.0, until - time.monotonic()))
            raise GatewayError("host-not-proved", _unproved(host, by_nonce=signed is None)) from None
        return "nonce" if signed is None else "certificate"


class _NotProvedError(Exception):
    """Why a host was not believed, for the operator's log alone."""


def _unproved(host: Host, *, by_nonce: bool) -> str:
    """What who claims is told, and what that person can look at without the gateway."""
    shown = f"answers GET http{'s' if host.is_tls else ''}://{host.id}{host.proof_path} with status 200 and the nonce"
    what = f"it {shown} and nothing else" if by_nonce else "the nonce was signed by the key of its certificate"
    tls = f", that its certificate is valid for `{host.certificate_name or host.address}`" if host.is_tls else ""
    return (
        f"host `{host.id}` is not proved: look that it can be reached from the gateway at each address of the claim"
        f"{tls}, and that {what}; the operator finds in the gateway's log what failed"
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise _fault("signature", "is not base64") from None


@contextmanager
def _connection(host: Host, address: str, context: ssl.SSLContext | None, until: float) -> Iterator[socket.socket]:
    """A connection to one address of a host, TLS verified, that ends at `until` (monotonic) whatever comes."""
    where = f"{address} port {host.port}"
    left = until - time.monotonic()
    if left <= 0:
        raise _NotProvedError(f"no time was left to ask {where}")
    try:
        connected = socket.create_connection((address, host.port), left)
    except OSError:
        raise _NotProvedError(f"no connection to {where} could be made") from None
    over = threading.Timer(max(0.0, until - time.monotonic()), _shut, (connected,))
    over.daemon = True
    over.start()
    try:
        if context is not None:
            try:
                connected = context.wrap_socket(connected, server_hostname=host.certificate_name or host.address)
            except ssl.SSLCertVerificationError as error:
                raise _NotProvedError(f"the certificate of {where} is not valid: {error.verify_message}") from None
            except OSError:
                raise _NotProvedError(f"{where} does not speak TLS as it should") from None
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
        raise _NotProvedError(f"{where} gave no answer in time, or none that is HTTP") from None
    if status != 200:
        raise _NotProvedError(f"{where} answered {status} and not 200; a redirect is not followed")
    if not secrets.compare_digest(content.strip(), host.nonce.encode()):
        raise _NotProvedError(f"{where} does not show the nonce of this claim, and nothing else")


def _require_signature(connected: ssl.SSLSocket, host: Host, address: str, signed: bytes) -> None:
    presented = connected.getpeercert(binary_form=True)
    assert presented is not None
    try:
        key = x509.load_der_x509_certificate(presented).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise _NotProvedError(f"the certificate at {address} is of no kind known here") from None
    nonce = host.nonce.encode()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signed, nonce, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signed, nonce)
        elif isinstance(key, rsa.RSAPublicKey):
            _verify_rsa(key, signed, nonce)
        else:
            raise _NotProvedError(f"the key of the certificate at {address} is of no kind known here")
    except InvalidSignature:
        raise _NotProvedError(f"the signature is not by the key of the certificate that {address} presents") from None


def _verify_rsa(key: rsa.RSAPublicKey, signed: bytes, nonce: bytes) -> None:
    try:
        key.verify(signed, nonce, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        key.verify(signed, nonce, padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO), hashes.SHA256())


def _fault(field: str, fault: str) -> GatewayError:
    return GatewayError("invalid-input", fault, faults=[{"field": field, "fault": fault}])
