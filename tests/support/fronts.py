"""nginx and Envoy as deploy/ configures them, on free ports, before what a test stands behind them."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.deploy_tools import DEPLOY, tool


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / f"{name}.crt", folder / f"{name}.key"
    pem.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pem, private


@contextlib.contextmanager
def running_front(
    kind: str, folder: Path, data_planes: Sequence[int], controls: Sequence[int], ports: tuple[int, int] | None = None
) -> Iterator[tuple[int, int]]:
    """The committed configuration of `nginx` or `envoy` before these nodes; yields its data plane's and control's port.

    Args:
        kind: which proxy.
        folder: holds `control.crt` and `control.key`; the configuration is written there.
        data_planes: ports of the nodes' data planes.
        controls: ports of their control planes, in the same order.
        ports: of the front itself; free ones where none are given.
    """
    plane, control = ports or (free_port(), free_port())
    if kind == "nginx":
        text = nginx_text(folder, data_planes, controls, plane, control)
        # Not root's business here, and a log may lie in a folder that another user cannot write.
        (folder / "nginx.conf").write_text(text.replace("user www-data;", ""), "utf-8")
        (folder / "proxy_control.conf").write_bytes((DEPLOY / "nginx" / "proxy_control.conf").read_bytes())
        command = ["-c", str(folder / "nginx.conf"), "-g", "daemon off;" if os.geteuid() else "daemon off; user root;"]
    else:
        text = envoy_text(folder, data_planes, controls, plane, control)
        (folder / "envoy.yaml").write_text(text, "utf-8")
        command = ["-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--use-dynamic-base-id"]
        command += ["--drain-time-s", "1", "--parent-shutdown-time-s", "2", "-l", "off"]
    found = tool(kind)
    assert found is not None
    with started([found, *command], plane):
        yield plane, control


def nginx_text(folder: Path, data_planes: Sequence[int], controls: Sequence[int], plane: int, control: int) -> str:
    """nginx.conf with these ports and certificates; each further node is one more `server`, as its comments say."""
    text = (DEPLOY / "nginx" / "nginx.conf").read_text("utf-8")
    first = "        server 127.0.0.1:8080 max_fails=2 fail_timeout=5s;\n"
    second = "        # server 10.0.0.12:8080 max_fails=2 fail_timeout=5s;\n"
    assert first + second in text
    servers = "".join(first.replace("8080", str(port)) for port in data_planes)
    text = text.replace(first + second, servers)
    first, second = "        server 127.0.0.1:8081;\n", "        # server 10.0.0.12:8081;\n"
    assert first + second in text
    text = text.replace(first + second, "".join(first.replace("8081", str(port)) for port in controls))
    for old, new in (
        ("/etc/nginx/tls", str(folder)),
        ("listen 443 reuseport", f"listen 127.0.0.1:{plane} reuseport"),
        ("listen 8443 ssl", f"listen 127.0.0.1:{control} ssl"),
        ("/run/nginx.pid", str(folder / "pid")),
        ("/var/log/nginx", str(folder)),
        ("worker_processes auto", "worker_processes 1"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


def envoy_text(folder: Path, data_planes: Sequence[int], controls: Sequence[int], plane: int, control: int) -> str:
    """envoy.yaml with these ports and certificates; each further node is one more endpoint."""
    text = (DEPLOY / "envoy" / "envoy.yaml").read_text("utf-8")
    for shipped, ports in ((8080, data_planes), (8081, controls)):
        endpoint = "              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}\n"
        assert endpoint % shipped in text
        text = text.replace(endpoint % shipped, "".join(endpoint % port for port in ports))
    for old, new in (
        ("/etc/envoy/tls", str(folder)),
        ("0.0.0.0, port_value: 443", f"127.0.0.1, port_value: {plane}"),
        ("0.0.0.0, port_value: 8443", f"127.0.0.1, port_value: {control}"),
        ("port_value: 9901", f"port_value: {free_port()}"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def started(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ}
    )
    try:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                assert process.poll() is None, "it ended at once"
                assert time.monotonic() < until, "it did not start"
                time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
