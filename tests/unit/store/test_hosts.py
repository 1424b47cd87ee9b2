"""HOST-OWNED: a host is one department's, under every name and address it can be called by."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import insert

from gateway.domain.changes import ChangeKind
from gateway.domain.directory import Department, Level
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Host, HostState, Networks, Upstream, may_reach, parse_prefix, parse_upstream
from gateway.store import Store, schema
from gateway.store.database import Database
from gateway.store.directory.file import DirectoryFile
from gateway.store.directory.writes import interface_columns
from gateway.store.migrate import MIGRATIONS
from tests.support.state import fill, host, interface

POLICE = Host("police", "police.example", 443, addresses=("10.0.0.5",), state=HostState.CONFIRMED)
SHARED = Host(
    "centre",
    "shared.example",
    443,
    addresses=("10.0.0.9",),
    shares={"/police": "police", "/civil": "civil", "/civil/tax": "tax"},
    state=HostState.CONFIRMED,
)

WAYS_ROUND = [
    # an attacker's spelling of the police's host -> the host it is taken for, or None where it is refused outright
    ("https://police.example/api", "police.example:443"),
    ("HTTPS://POLICE.Example:443/api", "police.example:443"),
    ("https://police.example:0443/api", "police.example:443"),
    ("https://ｐｏｌｉｃｅ.example/api", "police.example:443"),
    ("https://police。example/api", "police.example:443"),
    ("https://police.example./api", None),
    ("https://10.0.0.5/api", "10.0.0.5:443"),
    ("https://１０.０.０.５/api", "10.0.0.5:443"),
    ("https://167772165/api", None),
    ("https://0x0a000005/api", None),
    ("https://0xa.0.0.5/api", None),
    ("https://012.0.0.5/api", None),
    ("https://10.5/api", None),
    ("https://10.0.0.5./api", None),
    ("https://[::ffff:10.0.0.5]/api", None),
    ("https://[::ffff:a00:5]/api", None),
    ("https://[fe80::1%25eth0]/api", None),
    ("https://user@police.example/api", None),
    ("https://police.example:443@evil.example/api", None),
    ("https://evil.example\\@police.example/api", None),
    ("https://police.example#@evil.example/", None),
    ("https://police.example?x=/", None),
    ("https://police.example:65536/", None),
    ("https://police.example:/", None),
    ("https://police.example\r\nHost: x/", None),
    ("https://police%2eexample/", None),
    ("https:///police.example/", None),
    ("ftp://police.example/", None),
    ("//police.example/", None),
    ("https://pol ice.example/", None),
    ("https://xn--/", None),
    ("https://-police.example/", None),
]


@pytest.mark.parametrize(("url", "taken_for"), WAYS_ROUND)
def test_each_spelling_of_a_host_is_the_same_host_or_refused(url: str, taken_for: str | None) -> None:
    """Whatever a base URL is written like, it has one meaning, or none."""
    try:
        found = parse_upstream(url)
    except ValueError:
        assert taken_for is None
        return
    assert found.host == taken_for
    if taken_for == "police.example:443":
        assert may_reach(POLICE, "police", found) is None
        assert may_reach(POLICE, "civil", found) is not None


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/police/api", "police"),
        ("/POLICE/api", "police"),
        ("/civil", "civil"),
        ("/civil/a", "civil"),
        ("/civil/tax/x", "tax"),
        ("/civil/taxes", "civil"),
        ("/policeman", "centre"),
        ("/own", "centre"),
    ],
)
def test_part_of_a_shared_host_is_reached_by_whose_it_is_alone(path: str, owner: str) -> None:
    """The longest declared prefix says whose a path is, by whole segments and whatever the case."""
    reaching = {
        department
        for department in ("centre", "police", "civil", "tax", "stranger")
        if may_reach(SHARED, department, Upstream(True, "shared.example", 443, path)) is None
    }
    # `/civil` has another department's part below it, so that what callers append could lead there.
    assert reaching == ({owner} if path != "/civil" else set())


@pytest.mark.parametrize(
    "path", ["", "/..", "/own/../police", "/own/%2e%2e/police", "/own//police", "/%70olice", "/own%2fpolice", "/o;p"]
)
def test_no_path_leads_from_one_part_to_another(path: str) -> None:
    """The root holds everyone's parts, and what a server could read as another path is no path here."""
    try:
        upstream = parse_upstream(f"https://shared.example{path}")
    except ValueError:
        return
    assert path == ""
    assert all(may_reach(SHARED, each, upstream) is not None for each in ("centre", "police", "civil", "tax"))


def test_only_what_stands_is_reached_and_by_its_own_scheme() -> None:
    """A claim on its way opens nothing, nor does https where http was registered."""
    upstream = parse_upstream("https://police.example")
    assert may_reach(None, "police", upstream) is not None
    for state in (HostState.CLAIMED, HostState.PROVED):
        waiting = Host("police", "police.example", 443, addresses=("10.0.0.5",), state=state)
        assert may_reach(waiting, "police", upstream) is not None
    assert may_reach(POLICE, "police", parse_upstream("http://police.example:443")) is not None


@pytest.mark.parametrize("prefix", ["police", "/", "//x", "/a/../b", "/a%2fb", "/a b", ""])
def test_prefix_that_is_none_is_refused(prefix: str) -> None:
    """A part of a host is a path in one spelling."""
    with pytest.raises(ValueError, match="prefix"):
        parse_prefix(prefix)


NEVER = [
    *("0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "2002::1"),
    *("::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1"),
]
METADATA = ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"]
HERE = ["127.0.0.1", "127.8.8.8", "::1", "169.254.1.1", "fe80::1"]


@pytest.mark.parametrize("address", [*NEVER, *METADATA, *HERE, "localhost", "10.0.0"])
def test_addresses_that_no_supplier_has_are_refused_by_default(address: str) -> None:
    """Loopback, link-local, metadata, multicast, and IPv4 in IPv6 dress; also for a host of an earlier version."""
    assert Networks().fault(address) is not None
    assert Networks().fault_of(host(), address) is not None


def test_named_networks_allow_what_lies_in_them_and_nothing_else() -> None:
    """Loopback where it is named; metadata and the like never. Without any nothing is, and it is said what to name."""
    for address, proposed in (("10.1.2.3", "10.1.2.0/24"), ("2001:db8::1", "2001:db8::/64")):
        said = Networks().fault(address)
        assert said is not None
        assert f'networks = ["{proposed}"]' in said
    beside = Networks(["10.0.0.0/8"]).fault("192.0.2.1")
    assert beside is not None
    assert '"192.0.2.0/24"' in beside
    assert "10.0.0.0" not in beside
    narrow = Networks(["127.0.0.0/8", "10.0.0.0/8", "169.254.0.0/16", "0.0.0.0/0", "::/0"][:3])
    assert narrow.fault("127.0.0.1") is None
    assert narrow.fault("10.9.9.9") is None
    assert narrow.fault("192.0.2.1") is not None
    wide = Networks(["0.0.0.0/0", "::/0"])
    assert all(wide.fault(address) is not None for address in (*NEVER, *METADATA))


def test_host_of_an_earlier_version_is_called_until_a_network_is_named() -> None:
    """An upgrade cuts nobody off; one that was held to the networks once is held to them, also where they are gone."""
    before, since = host(), host(in_networks=True)
    assert Networks().fault_of(before, "192.0.2.7") is None
    assert Networks().fault_of(since, "192.0.2.7") is not None
    for networks, allowed in ((["192.0.2.0/24"], True), (["10.0.0.0/8"], False)):
        for each in (before, since):
            assert (Networks(networks).fault_of(each, "192.0.2.7") is None) is allowed


@pytest.fixture
def store(state_url: str) -> Store:
    found = Store.open(state_url)
    fill(found)
    with found.transaction() as tx:
        tx.put_department(Department("small", "小局", "442000", Level.CITY))
    return found


@pytest.mark.parametrize(
    "same",
    [
        {"address": "household.example"},
        {"address": "other.example", "addresses": ("192.0.2.7",)},
        {"address": "192.0.2.7", "addresses": ("192.0.2.7",)},
        {"address": "many.example", "addresses": ("10.0.0.1", "192.0.2.7")},
    ],
)
def test_no_two_departments_share_a_host_by_name_or_address(store: Store, same: dict[str, object]) -> None:
    """Proved or confirmed: what is another department's already is refused; who only claims is not told of it."""
    with store.transaction() as tx:
        tx.put_host(host(supplier="small", state=HostState.CLAIMED, **same))
    for state in set(HostState) - {HostState.CLAIMED}:
        with store.transaction() as tx, pytest.raises(GatewayError, match="another department"):
            tx.put_host(host(supplier="small", state=state, **same))
    with store.transaction() as tx:
        tx.put_host(host(supplier="small", address="household.example", port=8443))
        # Its own department gives it another name as it likes.
        tx.put_host(host(address="192.0.2.7"))
    store.close()


def test_what_was_inherited_yields_to_what_was_proved(store: Store) -> None:
    """An attacker's interface of old does not keep the owner out, and stops when the owner comes."""
    with store.transaction() as tx:
        tx.remove_host(host())
        tx.put_host(host(state=HostState.INHERITED, addresses=()))
        tx.put_host(host(supplier="small", state=HostState.CLAIMED))
    assert store.host("household.example:443").supplier == "public-security"  # type: ignore[union-attr]
    with store.transaction() as tx:
        tx.put_host(host(supplier="small"))
    assert store.host("household.example:443").supplier == "small"  # type: ignore[union-attr]
    stopped = [change for change in tx.changes if change.kind is ChangeKind.INTERFACE and change.withdraws]
    assert [change.subject for change in stopped] == ["public-security/household-query"]
    assert "is not one of" in str(store.reach_fault(interface()))
    assert store.claim("small", "household.example:443") is None
    store.close()


def test_change_of_a_host_names_each_interface_over_it(store: Store) -> None:
    """BARRIER: what is taken away is withdrawn in the feed, for its department and those it shares with."""
    with store.transaction() as tx:
        tx.remove_host(host())
    assert [(each.subject, each.withdraws) for each in tx.changes] == [("public-security/household-query", True)]
    store.close()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"upstream": "https://nobody.example/api"}, "upstream"),
        ({"upstream": "http://household.example:443/api", "plain_http": True}, "upstream"),
        ({"upstream": "https://u:p@household.example/"}, "upstream"),
        ({"tls_ca": "/etc/shadow"}, "tls_ca"),
        ({"tls_ca": "../../x"}, "tls_ca"),
        ({"tls_ca": "of-nobody"}, "tls_ca"),
        ({"tls_client": "a\r\nb"}, "tls_client"),
        ({"tls_client": "of-nobody"}, "tls_client"),
        ({"tls_name": "evil.example"}, "tls_name"),
        ({"tls_name": "a\r\nb"}, "tls_name"),
    ],
)
def test_interface_over_what_is_not_its_departments_is_refused(
    store: Store, changes: dict[str, object], field: str
) -> None:
    """When it is registered; withdrawn ones lead nowhere and are taken."""
    with store.transaction() as tx, pytest.raises(GatewayError) as refused:
        tx.import_directory(DirectoryFile(interfaces=(interface("new", **changes),)))
    assert {fault["field"] for fault in refused.value.members["faults"]} == {field}
    store.close()


def test_interfaces_of_before_inherit_their_host_where_it_is_one_departments(tmp_path: Path) -> None:
    """A migrated state serves what it served, but for hosts that several departments named."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    leading = (
        interface(),
        interface("a", upstream="http://10.0.0.5:8080/x", plain_http=True),
        interface("b", upstream="https://Both.example"),
        interface("c", supplier="small", upstream="https://both.example:443/"),
        interface("d", upstream="https://167772165/"),
        interface("e", upstream="https://gone.example/", active=False),
    )
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        for one in leading:
            connection.execute(insert(schema.interfaces).values(**interface_columns(one)))
    database.close()
    store = Store.open(url)
    assert {(one.id, one.supplier, one.state, one.is_tls) for one in store.hosts()} == {
        ("10.0.0.5:8080", "public-security", HostState.INHERITED, False),
        ("household.example:443", "public-security", HostState.INHERITED, True),
    }
    assert store.reach_fault(leading[1]) is None
    assert store.reach_fault(leading[2]) is not None
    store.close()
