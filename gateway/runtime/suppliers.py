"""How suppliers are called: by which addresses, with which TLS context, showing what; made off the data plane's loop.

Everything here blocks. What an interface names is looked up in the state: its host, which must stand (INVARIANT:
HOST-OWNED), and its department's stored certificates and credentials; never in a file that somebody named over the API.
"""

import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gateway.domain.certificates import CertificateUse, StoredCertificates
from gateway.domain.credentials import CredentialKind, SupplierCredential
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Host, Networks, Upstream, may_reach, parse_upstream
from gateway.identity.keys.symmetric import FieldCipher
from gateway.identity.suppliers.showing import Credential, Fixed
from gateway.identity.suppliers.tokens import ClientCredentials
from gateway.proxy.http.asking import ask
from gateway.proxy.limits import Limits
from gateway.proxy.ports import Reach
from gateway.proxy.tls import Pair, load_pair, supplier_context
from gateway.store import Store

MAX_CONTEXTS = 1024
"""TLS contexts kept: one for each pair of authority and client certificate in use."""


TOKEN_SECONDS = 8.0
"""How long a token endpoint may take."""


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


class Credentials:
    """What suppliers are shown, opened and kept by what is stored: a token outlives changes of what it is used for.

    Args:
        cipher: opens sealed secrets; asked each time, since keys are rotated.
        limits: of the connections to token endpoints.
        now: the clock, Unix seconds.
    """

    def __init__(self, cipher: Callable[[], FieldCipher], limits: Limits, now: Callable[[], float] = time.time) -> None:
        self._cipher = cipher
        self._limits = limits
        self._now = now
        self._made: dict[Any, Credential] = {}
        self._lock = threading.Lock()

    def opened(self, stored: SupplierCredential, reach: Callable[[Upstream], Reach]) -> Credential:
        """What is shown of a stored credential; `reach` tells how the department's hosts are called.

        Raises:
            GatewayError: `unavailable` where it cannot be opened, `supplier-unreachable` where its token endpoint may
                not be called.
        """
        endpoint = reach(parse_upstream(stored.token_url)) if stored.kind is CredentialKind.OAUTH else None
        key = (stored, endpoint and (endpoint.addresses, endpoint.context, endpoint.name))
        with self._lock:
            made = self._made.get(key)
            if made is None:
                made = self._make(stored, endpoint)
                if len(self._made) >= MAX_CONTEXTS:
                    self._made.clear()
                self._made[key] = made
            return made

    def _make(self, stored: SupplierCredential, endpoint: Reach | None) -> Credential:
        sealed = [stored.sealed, *([stored.before] if self._now() < stored.before_until_unix else [])]
        secrets = tuple(self._cipher().unseal(each, stored.seal_context) for each in sealed)
        if endpoint is None:
            return Fixed(stored, secrets, self._now)
        port = parse_upstream(stored.token_url).port
        asks = partial(ask, endpoint, port, limits=self._limits, seconds=TOKEN_SECONDS)
        return ClientCredentials(stored, secrets, asks, time.monotonic)


class SupplierReach:
    """`Reach` of interfaces, from the state as it is now.

    Args:
        store: the state.
        contexts: TLS contexts.
        credentials: what suppliers are shown.
        networks: where suppliers' hosts may stand, asked again here: the settings may have been narrowed.
        is_own: whether an address and port is one of this gateway's own listeners.
    """

    def __init__(
        self,
        store: Store,
        contexts: Contexts,
        credentials: Credentials,
        networks: Networks,
        is_own: Callable[[str, int], bool],
    ) -> None:
        self._store = store
        self._contexts = contexts
        self._credentials = credentials
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
        supplier = interface.supplier
        shown = self._shown(supplier, interface.credential)
        host, addresses = self._host(supplier, upstream, "interface")
        authority = interface.tls_ca or (host.authority if host.supplier == supplier else None)
        context = self._contexts.context(supplier, authority, interface.tls_client) if host.is_tls else None
        return Reach(addresses, context, host.certificate_name or host.address, shown)

    def _shown(self, supplier: str, name: str | None) -> Credential | None:
        if name is None:
            return None
        stored = self._store.supplier_credential(supplier, name)
        if stored is None:
            raise GatewayError("supplier-unreachable", "the interface's credential is not stored")
        return self._credentials.opened(stored, partial(self._endpoint, supplier))

    def _endpoint(self, supplier: str, upstream: Upstream) -> Reach:
        host, addresses = self._host(supplier, upstream, "credential")
        authority = host.authority if host.supplier == supplier else None
        context = self._contexts.context(supplier, authority, None) if host.is_tls else None
        return Reach(addresses, context, host.certificate_name or host.address)

    def _host(self, supplier: str, upstream: Upstream, whose: str) -> tuple[Host, tuple[str, ...]]:
        """The host of a base URL of the department's, and the addresses at which it may be called."""
        host = self._store.host(upstream.host)
        # INVARIANT: HOST-OWNED: asked of the state at each look-up, not only when the interface was registered.
        if may_reach(host, supplier, upstream) is not None:
            detail = f"the {whose}'s host is not registered for its department, or not there"
            raise GatewayError("supplier-unreachable", detail)
        assert host is not None
        addresses = tuple(each for each in host.addresses if self._is_allowed(each, host))
        if not addresses:
            raise GatewayError("supplier-unreachable", f"the {whose}'s host has no address that may be called")
        return host, addresses

    def _is_allowed(self, address: str, host: Host) -> bool:
        return self._networks.fault_of(host, address) is None and not self._is_own(address, host.port)
