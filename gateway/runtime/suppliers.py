"""How suppliers are called: by which addresses and with which TLS context, made off the data plane's loop.

Everything here blocks. What an interface names is looked up in the state: its host, which must stand (INVARIANT:
HOST-OWNED), and its department's stored certificates; never in a file that somebody named over the API.
"""

import ssl
import threading
from collections.abc import Callable
from typing import Any

from gateway.domain.certificates import CertificateUse, StoredCertificates
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Host, Networks, may_reach, parse_upstream
from gateway.identity.keys.symmetric import FieldCipher
from gateway.proxy.ports import Reach
from gateway.proxy.tls import Pair, load_pair, supplier_context
from gateway.store import Store

MAX_CONTEXTS = 1024
"""TLS contexts kept: one for each pair of authority and client certificate in use."""


class Contexts:
    """TLS contexts to call suppliers with, made of stored certificates and kept by what they hold.

    Args:
        find: a department's stored certificates by name.
        cipher: opens sealed private keys; asked each time, since keys are rotated.
    """

    def __init__(
        self, find: Callable[[str, str], StoredCertificates | None], cipher: Callable[[], FieldCipher]
    ) -> None:
        self._find = find
        self._cipher = cipher
        self._made: dict[Any, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def context(self, supplier: str, authority: str | None, client: str | None) -> ssl.SSLContext:
        """The context for those names of a department's certificates.

        Raises:
            GatewayError: `supplier-unreachable` where one is not stored, or is for something else.
        """
        signed_by = self._stored(supplier, authority, CertificateUse.AUTHORITY)
        presented = self._stored(supplier, client, CertificateUse.CLIENT)
        key = (
            signed_by.fingerprints if signed_by else None,
            (supplier, presented.fingerprints, presented.sealed_key) if presented else None,
        )
        with self._lock:
            context = self._made.get(key)
            if context is None:
                context = self._make(signed_by, presented)
                if len(self._made) >= MAX_CONTEXTS:
                    self._made.clear()
                self._made[key] = context
            return context

    def _stored(self, supplier: str, name: str | None, use: CertificateUse) -> StoredCertificates | None:
        if name is None:
            return None
        found = self._find(supplier, name)
        if found is None or found.use is not use:
            raise GatewayError("supplier-unreachable", f"the interface's {use.value} certificates are not stored")
        return found

    def _make(self, signed_by: StoredCertificates | None, presented: StoredCertificates | None) -> ssl.SSLContext:
        context = supplier_context(signed_by.chain if signed_by else None)
        if presented is not None:
            key = self._cipher().unseal(presented.sealed_key, presented.key_context)
            try:
                load_pair(context, Pair(presented.chain.encode(), key))
            except (OSError, ssl.SSLError):
                raise GatewayError(
                    "supplier-unreachable", "the interface's client certificate cannot be used"
                ) from None
        return context


class SupplierReach:
    """`Reach` of interfaces, from the state as it is now.

    Args:
        store: the state.
        contexts: TLS contexts.
        networks: where suppliers' hosts may stand, asked again here: the settings may have been narrowed.
        is_own: whether an address and port is one of this gateway's own listeners.
    """

    def __init__(
        self, store: Store, contexts: Contexts, networks: Networks, is_own: Callable[[str, int], bool]
    ) -> None:
        self._store = store
        self._contexts = contexts
        self._networks = networks
        self._is_own = is_own

    def __call__(self, interface: Interface) -> Reach:
        """How an interface's supplier is called.

        Raises:
            GatewayError: `supplier-unreachable`, with a sentence for the supplier.
        """
        try:
            upstream = parse_upstream(interface.upstream)
        except ValueError:
            raise GatewayError("supplier-unreachable", "the interface's entry has no usable base URL") from None
        host = self._store.host(upstream.host)
        # INVARIANT: HOST-OWNED: asked of the state at each look-up, not only when the interface was registered.
        if may_reach(host, interface.supplier, upstream) is not None:
            raise GatewayError(
                "supplier-unreachable", "the interface's host is not registered for its department, or not there"
            )
        assert host is not None
        addresses = tuple(each for each in host.addresses if self._is_allowed(each, host))
        if not addresses:
            raise GatewayError("supplier-unreachable", "the interface's host has no address that may be called")
        authority = interface.tls_ca or (host.authority if host.supplier == interface.supplier else None)
        context = self._contexts.context(interface.supplier, authority, interface.tls_client) if host.is_tls else None
        return Reach(addresses, context, host.certificate_name or host.address)

    def _is_allowed(self, address: str, host: Host) -> bool:
        return self._networks.fault(address) is None and not self._is_own(address, host.port)
