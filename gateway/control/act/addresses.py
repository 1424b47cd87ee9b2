"""Where a request to the control plane comes from, also behind a proxy: failures are counted and slowed by address."""

import ipaddress
from collections.abc import Callable, Container, Iterable

from fastapi import Request

AddressOf = Callable[[Request], str]
_KNOWN_ADDRESSES = 4096


def direct_address(request: Request) -> str:
    """The address of the connection's other end; "" where there is none."""
    return request.client.host if request.client else ""


class Proxies:
    """The proxies that are believed: addresses and networks.

    Args:
        named: each an address or a network, such as `10.0.0.7` or `10.0.0.0/24`.
    """

    def __init__(self, named: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(each) for each in named)
        self._known: dict[str, bool] = {}

    def __contains__(self, address: object) -> bool:
        """Whether the connection's other end is one of them; an IPv4 address mapped into IPv6 is itself."""
        if not isinstance(address, str):
            return False
        known = self._known.get(address)
        if known is None:
            try:
                parsed = ipaddress.ip_address(address)
            except ValueError:
                return False
            plain = getattr(parsed, "ipv4_mapped", None) or parsed
            known = any(plain in network for network in self._networks if network.version == plain.version)
            if len(self._known) < _KNOWN_ADDRESSES:
                self._known[address] = known
        return known


def address_behind(trusted: Container[str]) -> AddressOf:
    """Of a connection by a proxy in `trusted`, the address that proxy says it serves; of any other, its own.

    The last element of `X-Forwarded-For` is the proxy's own word, and those before it are the caller's. Without this
    all callers behind a proxy would be one address, and one of them could slow down all others.
    """

    def address_of(request: Request) -> str:
        direct = direct_address(request)
        if direct not in trusted:
            return direct
        said = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
        try:
            return str(ipaddress.ip_address(said))
        except ValueError:
            return direct

    return address_of
