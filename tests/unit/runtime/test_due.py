"""What falls due is read from the state, the key ring and the certificates themselves."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.domain.directory import Department, Level
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.identity.keys.keyring import PURPOSES, KeyRing
from gateway.runtime.telemetry.due import Due, certificate_end_unix
from gateway.runtime.telemetry.metrics import MetricSet
from gateway.store import Store

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def write_certificate(path: Path, *ends: datetime) -> None:
    pem = b""
    for end in ends:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(1).not_valid_before(NOW - timedelta(days=1)).not_valid_after(end)
        pem += builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    path.write_bytes(pem)


def test_chain_ends_with_its_first_certificate(tmp_path: Path) -> None:
    """A chain is as good as its shortest member; a file that is no certificate gives no figure."""
    write_certificate(tmp_path / "tls.pem", NOW + timedelta(days=90), NOW + timedelta(days=30))
    assert certificate_end_unix(tmp_path / "tls.pem") == (NOW + timedelta(days=30)).timestamp()
    (tmp_path / "broken.pem").write_text("no certificate", "utf-8")
    assert certificate_end_unix(tmp_path / "broken.pem") is None
    assert certificate_end_unix(tmp_path / "absent.pem") is None


def test_overdue_duties_keys_and_certificates_become_gauges(tmp_path: Path) -> None:
    """A suspension past its rectification date, the keys' making and the listener's certificate are all seen."""
    store = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    ring = KeyRing.create(tmp_path / "keys", now=NOW.timestamp)
    ring.rotate("token", overlap_seconds=600)
    write_certificate(tmp_path / "tls.pem", NOW + timedelta(days=3))
    with store.transaction() as tx:
        tx.put_department(Department("police", "police", "442000", Level.CITY))
        tx.put_order(
            Order(
                id="o1",
                kind=OrderKind.SUSPENSION,
                reach=Reach.SUPPLIER,
                target="police",
                reason="use beyond the purpose",
                ordered_by="chen",
                ordered_at=NOW - timedelta(days=40),
                rectify_by=(NOW - timedelta(days=10)).date(),
            )
        )
    metrics = MetricSet("control")
    due = Due(metrics, store, ring.list, lambda: {"data-plane": tmp_path / "tls.pem"}, NOW.timestamp)
    due.take(due._read())
    assert metrics.gauge("gateway_rectifications_overdue").values[()] == 1
    assert metrics.gauge("gateway_orders_in_force").values["suspension",] == 1
    assert metrics.gauge("gateway_disposals_overdue").values[()] == 0
    assert metrics.gauge("gateway_grants_expiring").values == {("7",): 0, ("30",): 0}
    made = metrics.gauge("gateway_key_made_timestamp_seconds").values
    assert set(made) == {(purpose,) for purpose in PURPOSES}
    assert metrics.gauge("gateway_key_expiry_timestamp_seconds").values == {("token",): NOW.timestamp() + 600}
    ends = metrics.gauge("gateway_certificate_expiry_timestamp_seconds").values
    assert ends == {("data-plane",): (NOW + timedelta(days=3)).timestamp()}
    store.close()
