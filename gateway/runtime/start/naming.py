"""Networks of suppliers that the settings do not name: said at start, in `check` and in `status`."""

from collections.abc import Iterable

from gateway.domain.hosts import Host, Networks, how_to_name, network_around
from gateway.runtime.start.exposure import Finding

SHOWN = 5
"""How many hosts or networks a sentence names."""


def unnamed(hosts: Iterable[Host], networks: Networks) -> Finding | None:
    """What to say of hosts that are called although no network is named; None where there is none.

    They are those that an earlier version took: an upgrade cuts nobody off, and goes on saying so until it is settled.

    Args:
        hosts: those that stand.
        networks: those that the settings name.
    """
    if networks:
        return None
    called = {
        host.id: addresses
        for host in hosts
        if (addresses := [each for each in host.addresses if networks.fault_of(host, each) is None])
    }
    if not called:
        return None
    names = ", ".join(list(called)[:SHOWN]) + (f" and {len(called) - SHOWN} more" if len(called) > SHOWN else "")
    around = sorted({network_around(each) for addresses in called.values() for each in addresses})
    what = (
        "`suppliers.networks` names no network: no host can be claimed, and what an earlier version took is called as "
        f"before: {names}"
    )
    more = " and more" if len(around) > SHOWN else ""
    advice = f"{how_to_name(*around[:SHOWN])}{more}, as wide or narrow as your suppliers' networks are"
    return Finding("suppliers.networks", what, advice)
