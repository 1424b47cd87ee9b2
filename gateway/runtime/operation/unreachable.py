"""Interfaces that are registered and cannot be called, and hosts that nobody has confirmed yet: for status."""

from typing import NamedTuple

from gateway.domain.hosts import HostState, Networks
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import Settings
from gateway.runtime.start.exposure import Finding
from gateway.runtime.start.naming import unnamed
from gateway.store import Store

NAMED = 5
"""How many a line names; beyond that it counts them."""


class Unreachable(NamedTuple):
    """What keeps interfaces from being called.

    Args:
        interfaces: `supplier/id: why`, by key.
        inherited: hosts of before hosts were registered.
        unnamed: what to say of hosts that are called although the settings name no network.
    """

    interfaces: tuple[str, ...]
    inherited: tuple[str, ...]
    unnamed: Finding | None = None


def find_unreachable(home: GatewayHome, settings: Settings) -> Unreachable:
    """What the state and the settings of now say of each active interface.

    Raises:
        GatewayError: the state cannot be read.
    """
    networks = Networks(settings.suppliers.networks)
    with Store.open(home.state_url(settings), memory=home.state_memory, migrate_forward=False, read_only=True) as store:
        hosts = {host.id: host for host in store.hosts(standing=True)}
        faults = {host.id: [networks.fault_of(host, address) for address in host.addresses] for host in hosts.values()}
        lost = {id_: next(iter(each), "it was not found") for id_, each in faults.items() if None not in each}
        found = []
        for interface in store.directory().interfaces:
            why = store.reach_fault(interface)
            if why is None and (fault := lost.get(store.upstream_host(interface))) is not None:
                why = f"its host has no address that may be called: {fault}"
            if why is None:
                why = next(
                    (
                        f"its department has no stored certificates `{name[:63]}`"
                        for name in (interface.tls_ca, interface.tls_client)
                        if name is not None and store.certificates(interface.supplier, name) is None
                    ),
                    None,
                )
            shown = interface.credential
            if why is None and shown is not None and store.supplier_credential(interface.supplier, shown) is None:
                why = f"its department has no stored credential `{shown[:63]}`"
            if why is not None:
                found.append(f"{interface.key}: {why}")
        inherited = tuple(host.id for host in hosts.values() if host.state is HostState.INHERITED)
        return Unreachable(tuple(found), inherited, unnamed(hosts.values(), networks))


def named(things: tuple[str, ...]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(things) - NAMED} more" if len(things) > NAMED else ""
    return "; ".join(things[:NAMED]) + more
