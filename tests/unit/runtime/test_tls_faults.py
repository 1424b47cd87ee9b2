"""Nine mistakes with TLS files, nine sentences: which setting, which file, and what."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gateway.domain.errors import GatewayError
from gateway.runtime.listeners.control import nodes_trust
from gateway.runtime.listeners.tls import listener_context, tls_fault
from gateway.runtime.operation.session.remote import trust
from gateway.runtime.settings import ControlSettings, DataPlaneSettings

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PRIVATE = serialization.PrivateFormat.PKCS8


def signed(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, days: int = 1, issuer: str = "share.example"
) -> x509.Certificate:
    name, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("share.example", issuer))
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, secret: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    return key.private_bytes(PEM, PRIVATE, how)


OWN = ec.generate_private_key(ec.SECP256R1())
GOOD = signed(OWN).public_bytes(PEM)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    certificate.write_bytes(GOOD)
    key.write_bytes(pem(OWN))
    return certificate, key


def weak_pair() -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(65537, 1024)
    return signed(key).public_bytes(PEM), pem(key)


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        (None, pem(OWN), r"`data_plane.tls_certificate`: `.*server.pem` is not there"),
        (GOOD, None, r"`data_plane.tls_key`: `.*server.key` is not there"),
        (b"", pem(OWN), r"tls_certificate`: .* is empty"),
        (signed(OWN).public_bytes(DER), pem(OWN), r"tls_certificate`: .*server.pem` is not PEM: convert it with"),
        (GOOD, OWN.private_bytes(DER, PRIVATE, serialization.NoEncryption()), r"tls_key`: .*server.key` is not PEM"),
        (GOOD, pem(OWN, b"secret"), r"tls_key`: .* is encrypted"),
        (
            GOOD,
            pem(ec.generate_private_key(ec.SECP256R1())),
            r"tls_key`: .* is another one than that of `.*server.pem`",
        ),
        (GOOD, GOOD, r"tls_key`: .* holds no private key"),
        (pem(OWN), pem(OWN), r"tls_certificate`: .*no certificate that can be read"),
        (*weak_pair(), r"too weak: RSA of 1024 bits"),
        (GOOD.decode().encode("utf-16"), pem(OWN), r"tls_certificate`: .* is written in UTF-16"),
        (GOOD.replace(b"\n", b"\r"), pem(OWN), r"tls_certificate`: .* has no line ends that OpenSSL knows"),
        (b" " + GOOD, pem(OWN), r"`data_plane.tls_certificate`: .* cannot be read with its key"),
    ],
)
def test_each_mistake_has_its_own_sentence(
    files: tuple[Path, Path], certificate: bytes | None, key: bytes | None, said: str
) -> None:
    """A listener with it does not start, and the sentence names setting and file."""
    for path, content in zip(files, (certificate, key), strict=True):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    settings = DataPlaneSettings(tls_certificate=files[0], tls_key=files[1])  # type: ignore[call-arg]
    with pytest.raises(GatewayError, match=said):
        listener_context(settings)


def test_expired_and_foreign_authorities_are_told_and_a_good_pair_is_not(files: tuple[Path, Path]) -> None:
    """What expires keeps running and is said; authorities are looked at too."""
    certificate, key = files
    assert tls_fault(DataPlaneSettings(tls_certificate=certificate, tls_key=key)) == ""  # type: ignore[call-arg]
    certificate.write_bytes(signed(OWN, days=-1).public_bytes(PEM))
    assert "expired on" in tls_fault(DataPlaneSettings(tls_certificate=certificate, tls_key=key))  # type: ignore[call-arg]
    certificate.write_bytes(GOOD + GOOD[:200])
    assert "is cut off" in tls_fault(DataPlaneSettings(tls_certificate=certificate, tls_key=key))  # type: ignore[call-arg]
    certificate.write_bytes(GOOD + pem(OWN))
    (certificate.parent / "ca.pem").write_bytes(b"no authority")
    settings = DataPlaneSettings(  # type: ignore[call-arg]
        tls_certificate=certificate, client_ca=certificate.parent / "ca.pem", client_certificates="required"
    )
    with pytest.raises(GatewayError, match=r"`data_plane.client_ca`: .* is not PEM"):
        listener_context(settings)


@pytest.mark.parametrize(
    ("authorities", "said"),
    [
        (GOOD + GOOD[:200], r"a block that is cut off"),
        (GOOD + pem(OWN), r"a block that is cut off or no certificate"),
        (signed(OWN, issuer="an authority").public_bytes(PEM), r"certificate 1 in .* is no authority's"),
        (GOOD + signed(OWN, issuer="an authority").public_bytes(PEM), r"certificate 2 in .* is no authority's"),
        (pem(OWN), r"no certificate that can be read"),
    ],
)
def test_authorities_are_loaded_whole_or_refused(files: tuple[Path, Path], authorities: bytes, said: str) -> None:
    """Of callers, of other nodes and of an officer's own machine alike: no file does less than it says in silence."""
    path = files[0].with_name("ca.pem")
    path.write_bytes(authorities)
    listener = DataPlaneSettings(  # type: ignore[call-arg]
        tls_certificate=files[0], tls_key=files[1], client_ca=path, client_certificates="optional"
    )
    for use in (
        lambda: listener_context(listener),
        lambda: nodes_trust(ControlSettings(nodes_ca=path)),  # type: ignore[call-arg]
        lambda: trust({"GATEWAY_CA": str(path)}),
    ):
        with pytest.raises(GatewayError, match=said):
            use()
    path.write_bytes(GOOD)
    assert listener_context(listener) is not None
    assert nodes_trust(ControlSettings(nodes_ca=path)) is not None  # type: ignore[call-arg]
    assert trust({"GATEWAY_CA": str(path)}) is not True
