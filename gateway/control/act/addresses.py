"""Where a request to the control plane comes from, also behind a proxy: failures are counted and slowed by address."""

import ipaddress
from collections.abc import Callable

from fastapi import Request

AddressOf = Callable[[Request], str]


def direct_address(request: Request) -> str:
    """The address of the connection's other end; "" where there is none."""
    return request.client.host if request.client else ""


def address_behind(trusted: frozenset[str]) -> AddressOf:
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
