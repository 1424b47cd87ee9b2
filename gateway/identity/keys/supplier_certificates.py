"""Certificates that are uploaded for calling suppliers: parsed whole, checked, and written anew.

What is kept is made from what was parsed: no text between the blocks, no line ends of the sender's, no second key.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from gateway.domain.certificates import CertificateUse, StoredCertificates
from gateway.domain.errors import GatewayError

MAX_PEM_BYTES = 256 << 10
MAX_CERTIFICATES = 64
MIN_RSA_BITS = 2048

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]{1,65536}-----END \1-----")

Seal = Callable[[bytes, str], str]
"""What to seal, and what it is bound to."""


def read_certificates(
    supplier: str, name: str, use: CertificateUse, pem: bytes, *, seal: Seal, now_unix: float
) -> StoredCertificates:
    """What an upload holds.

    Args:
        supplier: whose certificates they are.
        name: what they are called.
        use: what they are for.
        pem: certificates; for a client its own first, then its chain, and its private key.
        seal: seals the private key.
        now_unix: the time, for certificates that have ended.

    Raises:
        GatewayError: `invalid-input` with every fault; none repeats anything of a private key.
    """
    faults: list[str] = []
    if len(pem) > MAX_PEM_BYTES:
        raise _refuse([f"larger than {MAX_PEM_BYTES >> 10} KiB"])
    blocks = [(found[1], found[0]) for found in _BLOCK.finditer(pem)]
    if pem.count(b"-----BEGIN ") != len(blocks):
        faults.append("a block is not whole PEM")
    certificates = _certificates([block for kind, block in blocks if kind == b"CERTIFICATE"], faults)
    keys = [block for kind, block in blocks if kind.endswith(b"PRIVATE KEY")]
    for kind, _ in blocks:
        if kind != b"CERTIFICATE" and not kind.endswith(b"PRIVATE KEY"):
            faults.append(f"a block `{kind.decode('ascii')}` has no place here")
    if not certificates and not faults:
        faults.append("holds no certificate")
    for number, certificate in enumerate(certificates, 1):
        faults += _faults_of(certificate, number, now_unix)
    sealed = ""
    found = StoredCertificates(supplier, name, use, "")
    if use is CertificateUse.AUTHORITY:
        faults += ["a private key has no place among authorities"] * bool(keys)
        for number, certificate in enumerate(certificates, 1):
            if not _is_authority(certificate):
                faults.append(f"certificate {number} ({_subject(certificate)}) is no authority's")
    else:
        faults += _chain_faults(certificates)
        key = _key_of(keys, certificates, faults)
        if key is not None and not faults:
            sealed = seal(key, found.key_context)
    if faults:
        raise _refuse(faults)
    return StoredCertificates(
        supplier,
        name,
        use,
        b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates).decode("ascii"),
        sealed,
        tuple(map(_subject, certificates)),
        tuple(each.fingerprint(hashes.SHA256()).hex() for each in certificates),
        int(min(each.not_valid_after_utc for each in certificates).timestamp()),
    )


def _certificates(blocks: Sequence[bytes], faults: list[str]) -> list[x509.Certificate]:
    if len(blocks) > MAX_CERTIFICATES:
        faults.append(f"more than {MAX_CERTIFICATES} certificates")
        return []
    found = []
    for number, block in enumerate(blocks, 1):
        try:
            certificate = x509.load_pem_x509_certificate(block)
            certificate.public_key()
            # Extensions are parsed late; what cannot be parsed must not be met by whoever uses it.
            _ = certificate.extensions
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
            faults.append(f"certificate {number} cannot be read")
        else:
            found.append(certificate)
    return found


def _faults_of(certificate: x509.Certificate, number: int, now_unix: float) -> list[str]:
    faults = []
    ends = certificate.not_valid_after_utc
    if ends <= datetime.fromtimestamp(now_unix, UTC):
        faults.append(f"certificate {number} ({_subject(certificate)}) ended on {ends:%Y-%m-%d}")
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        faults.append(f"certificate {number} has an RSA key of {key.key_size} bits; {MIN_RSA_BITS} are the least")
    if not isinstance(
        key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)
    ):
        faults.append(f"certificate {number} has a key of a kind that TLS does not use")
    return faults


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _chain_faults(certificates: Sequence[x509.Certificate]) -> list[str]:
    faults = []
    for number, (certificate, issuer) in enumerate(pairwise(certificates), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            faults.append(f"certificate {number + 1} has not issued certificate {number}: the client's stands first")
    return faults


def _key_of(keys: Sequence[bytes], certificates: Sequence[x509.Certificate], faults: list[str]) -> bytes | None:
    if len(keys) != 1:
        faults.append(f"holds {len(keys)} private keys; a client certificate comes with its one")
        return None
    try:
        key = serialization.load_pem_private_key(keys[0], None)
    except TypeError:
        faults.append("the private key is encrypted: decrypt it, it is sealed here (`openssl pkey -in KEY`)")
        return None
    except (ValueError, UnsupportedAlgorithm):
        faults.append("the private key cannot be read")
        return None
    public = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if certificates and key.public_key().public_bytes(*public) != certificates[0].public_key().public_bytes(*public):
        faults.append("the private key is not that of the first certificate")
        return None
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _subject(certificate: x509.Certificate) -> str:
    try:
        text = certificate.subject.rfc4514_string()
    except ValueError:
        return "unreadable subject"
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "?", text)[:300]


def _refuse(faults: Sequence[str]) -> GatewayError:
    listed = [{"field": "pem", "fault": fault} for fault in faults]
    return GatewayError("invalid-input", f"the certificates have {len(faults)} fault(s)", faults=listed)
