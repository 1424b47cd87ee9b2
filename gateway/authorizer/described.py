"""A call as a carrier's header fields describe it. Pure.

The carrier's own fields say method, target, host, scheme and address; all others are the caller's, as it sent them.
Each of the carrier's fields stands there once, or the call is refused: one that stood twice could be the caller's. The
target is the caller's own spelling, mapped by the settings to an interface and then held to the data plane's grammar,
so that carrier and gateway cannot mean two paths by it (INVARIANT: ONE-MEANING).

What a body holds is not seen. A call of a method that may have one counts as one with a body that was not read.
"""

from ipaddress import ip_address
from typing import NamedTuple

import msgspec

from gateway.authorizer.askers import Carrier
from gateway.domain.errors import GatewayError
from gateway.proxy.http.heads import KNOWN_METHODS, Block, RequestLine, malformed
from gateway.proxy.http.targets import Target, TargetReader
from gateway.proxy.limits import Limits
from gateway.proxy.ports import Peer, RequestHead

CHECK = b"/check"
"""The path of checks."""
_BODILESS = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Described(NamedTuple):
    """One call.

    Args:
        method: the caller's.
        target: of the data plane.
        block: what the caller's fields say, with a body of unknown length where there may be one.
        head: what identity looks at: the path as the caller sent and signed it.
        peer: the caller's transport, as the carrier tells it; its client certificate is not known here.
    """

    method: bytes
    target: Target
    block: Block
    head: RequestHead
    peer: Peer


def describe(
    carrier: Carrier, line: RequestLine, block: Block, asking: Peer, targets: TargetReader, limits: Limits
) -> Described:
    """The call that a check is about.

    Args:
        carrier: who asks.
        line: the check's own method and target.
        block: the check's header block.
        asking: the carrier's transport.
        targets: reads targets.
        limits: as for a call that comes to the gateway itself.

    Raises:
        GatewayError: `malformed-request`, `method-unknown`, `target-too-long`; `interface-unknown` where the carrier
            may not ask about what the path names, or it names nothing.
    """
    if carrier.method_field:
        method, raw = _one(block, carrier.method_field), _one(block, carrier.target_field)
    else:
        method, raw = line.method, line.target.removeprefix(CHECK)
    if method not in KNOWN_METHODS:
        raise GatewayError("method-unknown")
    if len(raw) > limits.request_line_bytes:
        raise GatewayError("target-too-long")
    path, mark, query = raw.partition(b"?")
    target = targets.read(_mapped(carrier, path) + mark + query, block.host)
    host = _one(block, b"x-forwarded-host", block.host)
    scheme = _one(block, b"x-forwarded-proto", b"https" if asking.is_tls else b"http")
    described = block if method in _BODILESS else msgspec.structs.replace(block, content_length=None)
    head = RequestHead(method, path, query, block.fields, host)
    return Described(method, target, described, head, Peer(_address(block, asking), scheme == b"https"))


def _one(block: Block, name: bytes, default: bytes = b"") -> bytes:
    """The value of a field of the carrier's, which stands there once; `default` where there is none."""
    values = [value for each, value in block.fields if each == name]
    if len(values) > 1:
        raise malformed(f"the field `{name.decode()}` stands twice: the carrier must overwrite what its caller sends")
    if not values and not default:
        raise malformed(f"the field `{name.decode()}` is missing: the carrier does not describe the call")
    return values[0] if values else default


def _mapped(carrier: Carrier, path: bytes) -> bytes:
    """The data plane's path for one of the carrier's."""
    for prefix, interface in carrier.paths:
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {b"", b"/"}:
            return interface + path[len(prefix) :]
    raise GatewayError("interface-unknown", "`checks` maps this path of the carrier to no interface")


def _address(block: Block, asking: Peer) -> str:
    """The caller's address: the one that the carrier itself added, which is the last."""
    told = [value for name, value in block.fields if name == b"x-forwarded-for"]
    last = told[-1].rpartition(b",")[2].strip(b" \t").decode("latin-1") if told else ""
    try:
        return str(ip_address(last))
    except ValueError:
        return asking.address
