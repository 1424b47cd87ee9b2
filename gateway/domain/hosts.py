"""Suppliers' hosts: whose an address on the network is, and what of it an interface may reach.

    claimed ──the service shows that it knows──> proved ──the competent department confirms──> confirmed
    inherited: what interfaces used before hosts were registered; it serves those until somebody confirms the host

A host is an address, a port and the name that its certificate bears. Its department claims it, the service proves that
it knows (a nonce at `PROOF_PATH`, or a signature by the key of its certificate), and the registrar of the competent
department confirms. Its network addresses are looked up once, when it is claimed, and nothing else is ever called: a
change of address is a claim again.

A claim stands for `CLAIM_SECONDS`: a nonce that is shown later, or a proof that is confirmed later, may be another's.

INVARIANT: HOST-OWNED: an interface reaches a host only where `may_reach` says that its department may.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

import idna
import msgspec

PROOF_PATH = "/.well-known/sharing-gateway"
"""Where a service shows the nonce of its claim, followed by `/` and the claim's department."""

SKEW_SECONDS = 3600
CLAIM_SECONDS = 14 * 86_400
"""How long a claim may be on its way, until it is confirmed."""

_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#\\]*)(?P<path>/[^?#\\]*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_PATH = re.compile(r"(?:/[A-Za-z0-9\-._~!$&'()*+,=:@%]+)*/?")
_ODD_PATH = re.compile(
    r"/\.{1,2}(?:/|\Z)|%(?![0-9A-Fa-f]{2})|%(?:2[dDeEfF]|5[cCfF]|7[eEfF]|3[0-9bB]|[01][0-9A-Fa-f]|25|[46][1-9A-Fa-f]|"
    r"[57][0-9aA])"
)
"""Dot segments, broken encodings, and the encoding of what needs none or would be read as something else."""


class HostState(StrEnum):
    """Where a claim stands."""

    CLAIMED = "claimed"
    PROVED = "proved"
    CONFIRMED = "confirmed"
    INHERITED = "inherited"


STANDING = frozenset({HostState.CONFIRMED, HostState.INHERITED})
"""States in which a host is called."""


class Host(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A host that a supply department serves from.

    Args:
        supplier: the id of the department whose it is.
        address: a name in its one spelling (small letters, IDNA), or an IP address.
        port: its TCP port.
        is_tls: whether it speaks TLS.
        certificate_name: the name its certificate bears, if not `address`.
        authority: name of the department's stored authority certificates that sign it; None trusts the system's.
        addresses: the network addresses it had when it was claimed; only these are called.
        shares: path prefix -> id of another department whose part of the host that is.
        state: where the claim stands.
        nonce: what the service shows to prove the claim.
        proof: `nonce` or `certificate`, once it is proved.
        claimed_by: the officer who claimed it.
        confirmed_by: the officer who confirmed it.
        claimed_unix: when it was claimed, Unix seconds; 0 where an earlier version took the claim.
        in_networks: whether its addresses had to lie in `suppliers.networks` when it was claimed or confirmed; False of
            one that an earlier version took.
    """

    supplier: str
    address: str
    port: int
    is_tls: bool = True
    certificate_name: str | None = None
    authority: str | None = None
    addresses: tuple[str, ...] = ()
    shares: dict[str, str] = {}
    state: HostState = HostState.CLAIMED
    nonce: str = ""
    proof: str = ""
    claimed_by: str = ""
    confirmed_by: str = ""
    claimed_unix: int = 0
    in_networks: bool = False

    def has_lapsed(self, now_unix: float) -> bool:
        """Whether its claim is too old to be proved or confirmed; one from the future was made by a wrong clock."""
        return not -CLAIM_SECONDS < self.claimed_unix - now_unix <= SKEW_SECONDS

    @property
    def id(self) -> str:
        """`address:port`, the identity of the host, whoever claims it."""
        return host_id(self.address, self.port)

    @property
    def proof_path(self) -> str:
        """Where the service shows the nonce."""
        return f"{PROOF_PATH}/{self.supplier}"

    @property
    def endpoints(self) -> frozenset[tuple[str, int]]:
        """Each network address with the port."""
        return frozenset((address, self.port) for address in self.addresses)


class Upstream(NamedTuple):
    """A base URL, taken apart into its one meaning.

    Args:
        is_tls: whether it is `https:`.
        address: name or IP address in its one spelling.
        port: given or implied.
        path: from its slash on, without one at the end; empty for the root.
    """

    is_tls: bool
    address: str
    port: int
    path: str

    @property
    def host(self) -> str:
        """The id of its host."""
        return host_id(self.address, self.port)


def host_id(address: str, port: int) -> str:
    """`address:port`, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parse_upstream(url: str) -> Upstream:
    """A base URL in its one meaning.

    Raises:
        ValueError: with a sentence on what is wrong; nothing that two programs could read differently is taken.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("not an `https:` URL without query and fragment")
    if "@" in found["authority"]:
        raise ValueError("holds a user name or password; credentials have no place in a URL")
    is_tls = found["scheme"].lower() == "https"
    address, port = _parse_authority(found["authority"], 443 if is_tls else 80)
    path = found["path"] or ""
    if not _PATH.fullmatch(path) or _ODD_PATH.search(path):
        raise ValueError("the path holds dot segments, `//`, or encodes what needs no encoding")
    return Upstream(is_tls, address, port, path.rstrip("/"))


def parse_host(text: str, *, is_tls: bool) -> tuple[str, int]:
    """The address and port of `name`, `name:port`, an IPv4 address or an IPv6 address in brackets.

    Raises:
        ValueError: with a sentence.
    """
    return _parse_authority(text, 443 if is_tls else 80)


def _parse_authority(authority: str, default_port: int) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise ValueError("its host is no name and no IP address")
    port = int(found["port"] or default_port)
    if not 0 < port <= 65535:
        raise ValueError(f"{port} is no TCP port")
    if found["six"]:
        return _six(found["six"]), port
    return parse_name(found["name"]), port


def _six(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise ValueError("its host is no IPv6 address") from None
    if address.ipv4_mapped is not None:
        raise ValueError(f"an IPv4 address in another dress: write {address.ipv4_mapped}")
    return address.compressed


def parse_name(text: str) -> str:
    """A host's name or IPv4 address in its one spelling.

    Raises:
        ValueError: with a sentence.
    """
    try:
        name = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise ValueError("its host is no name (IDNA 2008)") from None
    if name.endswith("."):
        raise ValueError("its host's name ends in a dot: leave it out")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        # Resolvers take `2130706433`, `0x7f.1` and `0177.0.0.1` for addresses; one address has one spelling here.
        try:
            return IPv4Address(name).compressed
        except ValueError:
            raise ValueError("an IPv4 address is written as four decimal numbers") from None
    if not _NAME.fullmatch(name):
        raise ValueError("its host is no name: letters, digits, `-` and dots")
    return name


def parse_prefix(text: str) -> str:
    """A path prefix of a shared host, in its one spelling.

    Raises:
        ValueError: with a sentence.
    """
    if not re.fullmatch(r"(?:/[^/]+)+/?", text) or not _PATH.fullmatch(text) or _ODD_PATH.search(text):
        raise ValueError("a prefix is a path such as `/household`, without dot segments and needless encodings")
    return text.rstrip("/")


def may_reach(host: Host | None, supplier: str, upstream: Upstream) -> str | None:
    """Why a department's interface may not reach an upstream over the host as it stands; None where it may."""
    name = upstream.host
    if host is None or host.state not in STANDING or supplier not in (host.supplier, *host.shares.values()):
        # Whether another department has such a host is not told.
        return f"host `{name}` is not one of `{supplier}`: claim, prove and confirm it first (`gateway hosts claim`)"
    if upstream.is_tls is not host.is_tls:
        return f"host `{name}` is registered for {'https' if host.is_tls else 'http'}"
    # INVARIANT: HOST-OWNED. Some servers do not tell capitals from small letters, so no two departments' parts do.
    path = upstream.path.casefold()
    owner, longest = host.supplier, -1
    for prefix, department in host.shares.items():
        part = prefix.casefold()
        if _is_below(path, part) and len(part) > longest:
            owner, longest = department, len(part)
    if owner != supplier:
        return f"host `{name}` is another department's at this path"
    for prefix, department in host.shares.items():
        if department != supplier and _is_below(prefix.casefold(), path):
            return f"a part of host `{name}` below this path is another department's: name a longer path"
    return None


def _is_below(path: str, prefix: str) -> bool:
    """Whether a path is a prefix or lies below it, by whole segments."""
    return path == prefix or path.startswith(prefix + "/")


def conflicting(host: Host, standing: Iterable[Host]) -> list[Host]:
    """The hosts of other departments that are the same one, by name or by a network address."""
    return [
        other
        for other in standing
        if other.supplier != host.supplier and (other.id == host.id or other.endpoints & host.endpoints)
    ]


_NEVER = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::/128",
            "ff00::/8",
            "::ffff:0:0/96",
            "::ffff:0:0:0/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "2001::/32",
            "2002::/16",
        ),
    )
)
"""No host's own address: unspecified, multicast, reserved, and IPv4 addresses in IPv6 dress."""
_METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
        ),
    )
)
"""Where clouds tell a machine its credentials: AWS, Azure, Alibaba, Oracle and who follows them."""


def _is_compatible(address: IPv4Address | IPv6Address) -> bool:
    """Whether an IPv6 address is an IPv4 address behind zeros (RFC 4291 §2.5.5.1); `::1` is itself."""
    return address.version == 6 and 1 < int(address) < 1 << 32


EXAMPLE = "10.20.0.0/16"
"""A network of suppliers, where none can be told from an address."""
_AROUND = {4: 24, 6: 64}
"""How wide a network is proposed around an address, by IP version."""


def network_around(text: str) -> str:
    """The network to name in the settings for an address, as an example; it may be wider or narrower in truth."""
    address = ip_address(text)
    return str(ip_network((address, _AROUND[address.version]), strict=False))


def how_to_name(*networks: str) -> str:
    """What to write in the settings so that suppliers may stand in networks."""
    named = ", ".join(f'"{each}"' for each in networks or (EXAMPLE,))
    return f"set `suppliers.networks` in `gateway.toml` on every node, such as `networks = [{named}]`, and start again"


class Networks:
    """Where suppliers' hosts may stand: nowhere, unless it is said.

    Args:
        allowed: CIDR networks; with none, no host is claimed, proved or confirmed.

    Raises:
        ValueError: one of them is no network.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = tuple(ip_network(text.strip()) for text in allowed)

    def __bool__(self) -> bool:
        """Whether any is named."""
        return bool(self._allowed)

    def fault(self, text: str) -> str | None:
        """Why no supplier may be called at an address; None where one may."""
        if (never := self._never(text)) is not None:
            return never
        address = ip_address(text)
        if any(address in network for network in self._allowed):
            return None
        around = network_around(text)
        if not self._allowed:
            return f"no network is named in which suppliers' hosts may stand: {how_to_name(around)}"
        # Those that are named are no officer's to know.
        return (
            f"{address} lies outside `suppliers.networks`: if suppliers' services stand there, add a network such as "
            f'"{around}" to it in `gateway.toml` on every node, and start again'
        )

    def fault_of(self, host: Host, text: str) -> str | None:
        """Why a standing host may not be called at one of its addresses; None where it may.

        A host that an earlier version took, under which every address but the machine's own was allowed, goes on being
        called while no network is named: an upgrade cuts nobody off. Where one is named, it is held to it like all.
        """
        if self._allowed or host.in_networks:
            return self.fault(text)
        if (never := self._never(text)) is not None:
            return never
        address = ip_address(text)
        if address.is_loopback or address.is_link_local:
            return f"{address} is this machine or its link, and `suppliers.networks` does not name it"
        return None

    @staticmethod
    def _never(text: str) -> str | None:
        try:
            address = ip_address(text)
        except ValueError:
            return f"`{text[:100]}` is no IP address"
        is_other = getattr(address, "scope_id", None) or _is_compatible(address) or address in _METADATA
        if is_other or any(address in each for each in _NEVER):
            return f"{address} is no address of a supplier's service"
        return None
