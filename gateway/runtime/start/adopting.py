"""What interfaces of earlier versions named by paths and by host alone, brought into the state once.

Certificates: `tls_ca` was a path of the machine, `tls_client` a file of the key ring's folder `suppliers`. Each file is
read once here, checked like an upload, and stored under a name of the interface's department. A client certificate that
interfaces of several departments name is nobody's: it is left where it is, and its interfaces are not called.

Hosts: those that the migration let interfaces inherit have no addresses yet; they are looked up once and kept.
"""

import hashlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.control.suppliers.checks import HostChecks
from gateway.domain.certificates import CertificateUse, StoredCertificates
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import HostState
from gateway.identity.keys.supplier_certificates import MAX_PEM_BYTES, Seal, read_certificates
from gateway.store import Store, StoreTransaction

log = logging.getLogger("gateway.control")


def adopt_certificates(store: Store, folder: Path, seal: Seal, now: Callable[[], float]) -> int:
    """Store the files that active interfaces name; how many interfaces name stored certificates since.

    Args:
        store: the state.
        folder: where client certificates lay: `suppliers` in the key ring's folder.
        seal: seals private keys.
        now: Unix seconds.
    """
    named = [one for one in store.directory().interfaces if _is_path(one.tls_ca) or one.tls_client is not None]
    waiting = [
        one for one in named if _is_path(one.tls_ca) or store.certificates(one.supplier, one.tls_client or "") is None
    ]
    if not waiting:
        return 0
    owners: dict[str, set[str]] = {}
    for one in waiting:
        if one.tls_client is not None:
            owners.setdefault(one.tls_client, set()).add(one.supplier)
    adopted = 0
    with store.transaction() as tx:
        for one in waiting:
            changed = one
            try:
                if _is_path(one.tls_ca):
                    changed = msgspec.structs.replace(changed, tls_ca=_authority(tx, one, seal, now()))
                if one.tls_client is not None and tx.certificates(one.supplier, one.tls_client) is None:
                    _client(tx, one, folder if len(owners[one.tls_client]) == 1 else None, seal, now())
            except GatewayError as error:
                log.error("interface `%s` is not called: its certificates: %s", one.key, error.detail)
                continue
            tx.put_interface(changed)
            adopted += 1
    return adopted


def _is_path(name: str | None) -> bool:
    return name is not None and ("/" in name or "." in name)


def _authority(tx: StoreTransaction, one: Interface, seal: Seal, now_unix: float) -> str:
    content = _content(Path(one.tls_ca or ""))
    name = f"authority-{hashlib.sha256(content).hexdigest()[:12]}"
    if tx.certificates(one.supplier, name) is None:
        tx.put_certificates(_read(one.supplier, name, CertificateUse.AUTHORITY, content, seal, now_unix))
    return name


def _client(tx: StoreTransaction, one: Interface, folder: Path | None, seal: Seal, now_unix: float) -> None:
    name = one.tls_client or ""
    if folder is None:
        raise GatewayError("conflict", "several departments' interfaces name its client certificate")
    # A name is a file of that folder and no other: it was not checked when it came.
    if Path(name).name != name:
        raise GatewayError("conflict", "its client certificate's name is a path")
    content = _content(folder / f"{name}.pem")
    tx.put_certificates(_read(one.supplier, name, CertificateUse.CLIENT, content, seal, now_unix))


def _read(
    supplier: str, name: str, use: CertificateUse, content: bytes, seal: Seal, now_unix: float
) -> StoredCertificates:
    return read_certificates(supplier, name, use, content, seal=seal, now_unix=now_unix)


def _content(path: Path) -> bytes:
    """A regular file, at most as long as an upload; anything else is refused without being waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise GatewayError("not-found", "a file of them cannot be opened") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise GatewayError("conflict", "a file of them is no regular file")
        return file.read(MAX_PEM_BYTES + 1)


def pin_inherited(store: Store, checks: HostChecks) -> int:
    """Look up, once, where inherited hosts are; how many were. What may not be called stays without an address."""
    pinned = 0
    for host in store.hosts(standing=True):
        if host.state is not HostState.INHERITED or host.addresses:
            continue
        try:
            addresses = checks.pinned(host)
        except GatewayError as error:
            log.error("host `%s` of `%s` is not called: %s", host.id, host.supplier, error.detail)
            continue
        with store.transaction() as tx:
            if tx.host(host.id) == host:
                try:
                    tx.put_host(msgspec.structs.replace(host, addresses=addresses))
                except GatewayError as error:
                    log.error("host `%s` of `%s` is not called: %s", host.id, host.supplier, error.detail)
                    continue
                pinned += 1
    return pinned
