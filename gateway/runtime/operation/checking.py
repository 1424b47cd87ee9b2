"""Everything that a start needs, looked at without starting: what is right, what is not, and what to do.

Nothing is changed: no schema is moved on, no key made, no port kept. Suppliers' hosts are called as far as their port.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.domain.calendar import china_day
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Networks, how_to_name
from gateway.identity.keys.keyring import PURPOSES
from gateway.ledger.log.notes import ED25519, VerifierKey
from gateway.ledger.verify.beside import verify_signed
from gateway.ledger.witness.mirror import checkpoint_of
from gateway.policy.offline.activating import PolicyKeeper
from gateway.runtime.control.provider import provider_of
from gateway.runtime.control.scraping import ScrapeCredential
from gateway.runtime.home import GatewayHome
from gateway.runtime.listeners.tls import Listener, listener_context, tls_fault
from gateway.runtime.operation.calendar import ADVICE, calendar_reach
from gateway.runtime.policies import initial_policies, settled_by
from gateway.runtime.ring import open_ring
from gateway.runtime.settings import Settings
from gateway.runtime.start.exposure import findings
from gateway.runtime.start.incarnation import require_own_state
from gateway.runtime.start.naming import unnamed
from gateway.runtime.worker.checks import askers_of
from gateway.store import Store
from gateway.store.values import MAX_PAGE

CONNECT_SECONDS = 3.0
AT_ONCE = 16
"""Suppliers' hosts that are called at the same time."""


class Looked(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Args:
        part: what.
        ok: whether it is as it must be.
        detail: one sentence.
        advice: what to do, where it is not.
    """

    part: str
    ok: bool
    detail: str
    advice: str = ""


def look(home: GatewayHome) -> list[Looked]:
    """All of it, in the order of a start.

    Raises:
        GatewayError: `invalid-input` with every fault of the settings: nothing else can be looked at then.
    """
    settings = home.settings()
    seen = [Looked("settings", True, f"`{home.settings_file}` can be taken")]
    seen += _keys(home, settings)
    seen += _tls(home, settings)
    seen += _ports(home, settings)
    seen += _credentials(home, settings)
    seen += _provider(home, settings)
    seen += _state(home, settings)
    return seen


def _keys(home: GatewayHome, settings: Settings) -> Iterator[Looked]:
    try:
        ring = open_ring(home, settings, frozenset(PURPOSES))
    except GatewayError as error:
        yield Looked("keys", False, error.detail, "restore the key ring, or set GATEWAY_PASSPHRASE")
        return
    usable = {each.purpose for each in ring.list() if each.state == "active"}
    lost = [purpose for purpose in PURPOSES if purpose not in usable and purpose not in settings.identity.signers]
    lost += [f"pseudonym of {year}" for year in ring.lost_years()]
    if lost:
        said = f"the key ring has no key to use for: {', '.join(lost)}"
        yield Looked("keys", False, said, "put back what was lost: `gateway restore BACKUP --missing`")
        return
    yield Looked("keys", True, f"{len(ring.list())} keys can be opened")
    signer = home.ledger / "signer.db"
    if signer.exists():
        origin = home.origin(settings)
        newest = checkpoint_of(home.ledger / "tree")
        if newest is not None and newest.origin != origin:
            said = f"the log in `{home.ledger}` is `{newest.origin}`, and the settings name `{origin}`"
            yield Looked(
                "log", False, said, f'a log keeps its name: write `origin = "{newest.origin}"` below `[ledger]`'
            )
            return
        try:
            held = verify_signed(signer, VerifierKey(origin, ED25519, ring.log_signer(origin).public_bytes))
        except GatewayError as error:
            yield Looked("log", False, error.detail, "bring the log of this home and key: docs/operate.md, Restore")
        else:
            yield Looked("log", True, f"{held.size} entries are signed as `{origin}`")


def _tls(home: GatewayHome, settings: Settings) -> Iterator[Looked]:
    for name, listener in _listeners(settings):
        try:
            listener_context(listener)
        except GatewayError as error:
            yield Looked(f"TLS, {name}", False, error.detail, "put the right file there, or name another")
            continue
        fault = tls_fault(listener)
        if fault:
            yield Looked(f"TLS, {name}", False, fault, "put the right file there, or name another")
        elif listener.tls_certificate is not None:
            yield Looked(f"TLS, {name}", True, f"`{listener.tls_certificate}` can be used")
    for each in findings(home, settings):
        yield Looked(each.part, False, each.what, each.advice)


def _listeners(settings: Settings) -> list[tuple[str, Listener]]:
    """Those that would be opened, by name."""
    listeners: list[tuple[str, Listener]] = [("data plane", settings.data_plane), ("control plane", settings.control)]
    return [*listeners, ("checks", settings.checks)] if settings.checks.port is not None else listeners


def _ports(home: GatewayHome, settings: Settings) -> Iterator[Looked]:
    running = home.is_running()
    with ExitStack() as held:
        for name, listener in _listeners(settings):
            where = f"{listener.host}:{listener.port}"
            if running:
                yield Looked(f"port, {name}", True, f"this gateway runs, and has {where}")
                continue
            try:
                family, _, _, _, address = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM)[0]
                # Kept until all are looked at: two listeners of one port are a fault of the settings.
                probe = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen()
            except OSError as error:
                reason = (error.strerror or "refused").lower()
                yield Looked(
                    f"port, {name}", False, f"cannot listen on {where}: {reason}", "choose another, or free it"
                )
            else:
                yield Looked(f"port, {name}", True, f"{where} is free")


def _credentials(home: GatewayHome, settings: Settings) -> Iterator[Looked]:
    """Files with secrets that others show: who scrapes, and who asks for checks."""
    if settings.metrics.credential_file is not None:
        yield _tried("metrics", lambda: ScrapeCredential(home, settings), "the scrape credential can be read")
    if settings.checks.port is not None:
        count = len(settings.checks.carriers) + len(settings.checks.evaluators)
        yield _tried("checks", lambda: askers_of(home, settings.checks), f"{count} may ask, each with a credential")


def _tried(part: str, made: Callable[[], object], said: str) -> Looked:
    """As a start makes it; what it is refused for is what is wrong."""
    try:
        made()
    except GatewayError as error:
        faults = "; ".join(f"{each['field']} {each['fault']}" for each in error.members.get("faults", ()))
        return Looked(
            part, False, f"{error.detail}: {faults}" if faults else error.detail, "correct what is named here"
        )
    return Looked(part, True, said)


def _provider(home: GatewayHome, settings: Settings) -> Iterator[Looked]:
    try:
        provider = provider_of(settings, settings.control.issuer or home.control_url(settings))
    except GatewayError as error:
        yield Looked("OpenID provider", False, error.detail, "correct the settings of `officers`")
        return
    if provider is None:
        return
    fault = asyncio.run(provider.fault())
    if fault:
        yield Looked(
            "OpenID provider", False, fault, "look at `officers.provider`, and at routes, names and certificates"
        )
    else:
        yield Looked("OpenID provider", True, f"{provider.issuer} answers, with keys")


def _state(home: GatewayHome, settings: Settings) -> Iterator[Looked]:
    try:
        if not home.is_running():
            require_own_state(home, settings)
        home.require_state(settings)
        store = Store.open(home.state_url(settings), memory=home.state_memory, migrate_forward=False, read_only=True)
    except GatewayError as error:
        yield Looked(
            "state", False, error.detail, "see docs/operate.md, Restore; an older schema is moved on at a start"
        )
        return
    with store:
        yield Looked("state", True, f"it can be read, and stands at change {store.sequence()}")
        servers = store.database.servers
        if servers is not None and not servers.is_synchronous:
            said = "commits wait for no standby: a failover may lose the last stops"
            yield Looked("state, copies", True, said)
        layers = ", ".join(settings.policies.layers)
        said = "those that were activated" if store.policies_in_force() else f"those of the settings: {layers}"
        keep = partial(PolicyKeeper, store, initial_policies(settings), settled_by(settings))
        yield _tried("policies", keep, f"they load, {said}")
        yield from _calendar(home, settings)
        yield _networks(store, settings)
        yield from _suppliers(store)


def _calendar(home: GatewayHome, settings: Settings) -> Iterator[Looked]:
    try:
        reach = calendar_reach(home, settings, china_day(time.time()))
    except GatewayError:
        return  # the policies do not load: said before
    yield Looked("calendar", not reach.is_short, reach.told(), ADVICE if reach.is_short else "")


def _networks(store: Store, settings: Settings) -> Looked:
    named = settings.suppliers.networks
    if named:
        return Looked("suppliers.networks", True, f"suppliers' hosts may stand in {', '.join(named)}")
    said = unnamed(store.hosts(standing=True), Networks(named))
    if said is None:
        return Looked("suppliers.networks", True, f"none is named, so no host can be claimed yet: {how_to_name()}")
    return Looked(said.part, False, said.what, said.advice)


def _suppliers(store: Store) -> Iterator[Looked]:
    hosts: dict[tuple[str, int], list[str]] = {}
    cursor: str | None = None
    while True:
        page = store.list_interfaces(cursor, MAX_PAGE)
        for each in page.items:
            parts = urlsplit(each.upstream)
            if each.active and parts.hostname:
                port = parts.port or (443 if parts.scheme == "https" else 80)
                hosts.setdefault((parts.hostname, port), []).append(each.key)
        cursor = page.cursor
        if cursor is None:
            break
    if not hosts:
        return
    with ThreadPoolExecutor(min(AT_ONCE, len(hosts)), thread_name_prefix="check") as threads:
        for (place, keys), fault in zip(sorted(hosts.items()), threads.map(_reach, sorted(hosts)), strict=True):
            name = f"supplier {place[0]}:{place[1]}"
            about = f"{len(keys)} interfaces, such as `{keys[0]}`"
            if fault:
                yield Looked(name, False, f"{fault}: {about}", "ask the supplier, or look at routes and names")
            else:
                yield Looked(name, True, f"answers: {about}")


def _reach(place: tuple[str, int]) -> str:
    """Why a host cannot be reached; "" where its port answers."""
    try:
        socket.create_connection(place, CONNECT_SECONDS).close()
    except OSError as error:
        return (error.strerror or str(error) or "it does not answer").lower()
    return ""


def told(seen: list[Looked]) -> dict[str, Any]:
    """`ok`, and what was looked at."""
    return {"ok": all(each.ok for each in seen), "looked": seen}
