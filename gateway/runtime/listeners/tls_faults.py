"""What is wrong with a TLS file that a setting names, in one sentence: which setting, which file, and what.

OpenSSL's own words say neither: nine different mistakes read alike there.
"""

import codecs
import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

LEAST_RSA_BITS = 2048
LEAST_EC_BITS = 224
_PEM = b"-----BEGIN "


def certificate_fault(setting: str, path: Path, now: dt.datetime | None = None) -> str | None:
    """Why the certificates in the file of `setting` cannot be used, or None."""
    content, chain, fault = _certificates(setting, path)
    if fault:
        return fault
    if content.count(_PEM + b"CERTIFICATE-----") != len(chain):
        return f"`{setting}`: `{path}` holds a certificate that is cut off: the chain is not whole"
    at = now or dt.datetime.now(dt.UTC)
    leaf = chain[0]
    weak = _weakness(leaf.public_key())
    if weak:
        return f"`{setting}`: the certificate in `{path}` is too weak: {weak}"
    if leaf.not_valid_after_utc <= at:
        return f"`{setting}`: the certificate in `{path}` expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return None


def authorities_fault(setting: str, path: Path) -> str | None:
    """Why the authorities in the file of `setting` are not all loaded, or are none, or None.

    OpenSSL takes such a file without a word: of one that was cut off what came before, of a server's certificate
    nothing that anybody is checked against. One that signed itself is an authority for itself.
    """
    content, found, fault = _certificates(setting, path)
    if fault:
        return fault
    if content.count(_PEM) != len(found):
        return f"`{setting}`: `{path}` holds a block that is cut off or no certificate: the authorities are not whole"
    for number, each in enumerate(found, 1):
        if not _is_authority(each):
            return f"`{setting}`: certificate {number} in `{path}` is no authority's"
    return None


def _is_authority(certificate: x509.Certificate) -> bool:
    if certificate.issuer == certificate.subject:
        return True
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def key_fault(setting: str, path: Path, certificate: Path | None) -> str | None:
    """Why the private key in the file of `setting` cannot be used with the certificate, or None."""
    content, fault = _read(setting, path)
    if fault:
        return fault
    try:
        key = load_pem_private_key(_key_part(content), None)
    except TypeError:
        return f"`{setting}`: the private key in `{path}` is encrypted: the gateway takes no passphrase for it"
    except (ValueError, UnsupportedAlgorithm):
        if b"ENCRYPTED" in content:
            return f"`{setting}`: the private key in `{path}` is encrypted: the gateway takes no passphrase for it"
        return f"`{setting}`: `{path}` holds no private key that can be read"
    weak = _weakness(key.public_key())
    if weak:
        return f"`{setting}`: the private key in `{path}` is too weak: {weak}"
    if certificate is not None:
        try:
            leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        except (OSError, ValueError):
            return None  # said of the certificate
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if leaf.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
            return f"`{setting}`: the private key in `{path}` is another one than that of `{certificate}`"
    return None


def _certificates(setting: str, path: Path) -> tuple[bytes, list[x509.Certificate], str | None]:
    content, fault = _read(setting, path)
    if fault:
        return content, [], fault
    try:
        return content, x509.load_pem_x509_certificates(content), None
    except ValueError:
        return content, [], f"`{setting}`: `{path}` holds PEM, and no certificate that can be read"


def _read(setting: str, path: Path) -> tuple[bytes, str | None]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b"", f"`{setting}`: `{path}` is not there"
    except PermissionError:
        return b"", f"`{setting}`: there is no permission to read `{path}`"
    except OSError as error:
        return b"", f"`{setting}`: `{path}` cannot be read: {(error.strerror or 'refused').lower()}"
    if not content.strip():
        return b"", f"`{setting}`: `{path}` is empty"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return b"", f"`{setting}`: `{path}` is written in UTF-16: save it as UTF-8 without a byte order mark"
    if _PEM not in content:
        return b"", f"`{setting}`: `{path}` is not PEM: convert it with `openssl x509 -inform DER` or `openssl pkcs12`"
    if b"\n" not in content:
        return b"", f"`{setting}`: `{path}` has no line ends that OpenSSL knows: save it with LF"
    return content, None


def _key_part(content: bytes) -> bytes:
    """The private key of a file that may hold certificates before it."""
    for block in content.split(_PEM)[1:]:
        if b"PRIVATE KEY-----" in block.split(b"\n", 1)[0]:
            return _PEM + block
    return content


def _weakness(key: object) -> str:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        return f"RSA of {key.key_size} bits; {LEAST_RSA_BITS} at least"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < LEAST_EC_BITS:
        return f"an elliptic curve of {key.key_size} bits; {LEAST_EC_BITS} at least"
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA"
    return ""
