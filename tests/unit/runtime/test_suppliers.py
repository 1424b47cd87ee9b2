"""How suppliers are called: by registered addresses and stored certificates, and nothing an entry names besides."""

import os
import socket
import ssl
from pathlib import Path

import msgspec
import pytest

from gateway.control.suppliers.checks import HostChecks
from gateway.domain.certificates import CertificateUse
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Host, HostState, Networks
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.keys.supplier_certificates import read_certificates
from gateway.proxy.limits import Limits
from gateway.runtime.home import GatewayHome
from gateway.runtime.listeners.nodes import Listeners, OwnListeners, is_this_machine, machine_addresses, machine_mark
from gateway.runtime.operation.checking import look
from gateway.runtime.operation.setup import initialise
from gateway.runtime.operation.status import examine
from gateway.runtime.operation.unreachable import find_unreachable
from gateway.runtime.start.adopting import adopt_certificates, pin_inherited
from gateway.runtime.start.naming import unnamed
from gateway.runtime.suppliers import Contexts, Credentials, SupplierReach
from gateway.store import Node, Store
from tests.support.certificates import Authority
from tests.support.state import fill, host, interface

NOW = 1_760_000_000.0


class State:
    """A store with one interface and its host, a key ring, and how its supplier is reached."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open(f"sqlite:///{folder / 'state.db'}")
        fill(self.store)
        self.ring = KeyRing.create(folder / "keys")
        self.own: set[tuple[str, int]] = set()
        self.networks = Networks()

    def seal(self, secret: bytes, context: str) -> str:
        return self.ring.field_cipher().seal(secret, context)

    def put(self, *hosts: Host) -> None:
        with self.store.transaction() as tx:
            for one in hosts:
                tx.put_host(one)

    def reach(self, **changes: object):  # type: ignore[no-untyped-def]
        contexts = Contexts(self.store.certificates, self.ring.field_cipher)
        credentials = Credentials(self.ring.field_cipher, Limits())
        reach = SupplierReach(self.store, contexts, credentials, self.networks, lambda *at: at in self.own)
        return reach(interface(**changes))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path)


def test_supplier_is_called_at_its_registered_addresses_and_never_looked_up(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HOST-OWNED: whatever a name server says later, the addresses are those of the claim."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    state.put(host(addresses=("192.0.2.7", "192.0.2.8"), certificate_name="records.example"))
    found = state.reach()
    assert found.addresses == ("192.0.2.7", "192.0.2.8")
    assert found.name == "records.example"
    assert found.context.verify_mode is ssl.CERT_REQUIRED
    assert found.context.check_hostname


@pytest.mark.parametrize(
    "changes",
    [
        {"upstream": "https://nobody.example/"},
        {"upstream": "https://household.example:8443/"},
        {"upstream": "http://household.example:443/", "plain_http": True},
        {"upstream": "https://household.example./"},
        {"upstream": "https://192.0.2.7/"},
        {"supplier": "civil-affairs"},
        {"tls_ca": "/etc/ssl/cert.pem"},
        {"tls_ca": "/dev/stdin"},
        {"tls_client": "../suppliers/police"},
        {"tls_client": "of-nobody"},
    ],
)
def test_what_is_not_registered_is_not_called(state: State, changes: dict[str, object]) -> None:
    """Also where it stands in the state as it is: an entry of before, or one written by hand."""
    with pytest.raises(GatewayError, match="supplier-unreachable"):
        state.reach(**changes)


def test_addresses_are_judged_by_the_settings_of_now(state: State) -> None:
    """Networks that were narrowed, and this gateway's own listeners."""
    state.put(host(addresses=("10.0.0.1", "192.0.2.7")))
    state.networks = Networks(["10.0.0.0/8"])
    assert state.reach().addresses == ("10.0.0.1",)
    state.own.add(("10.0.0.1", 443))
    with pytest.raises(GatewayError, match="no address"):
        state.reach()


def test_own_addresses_of_this_machine_are_told_from_others() -> None:
    """By whether they can be bound, whichever interface they are of."""
    assert is_this_machine("127.0.0.1")
    assert not is_this_machine("192.0.2.7")


def test_own_listeners_are_known_before_they_listen(tmp_path: Path) -> None:
    """A claim made on a stopped home is judged by the ports of its settings."""
    home = GatewayHome(tmp_path / "home")
    home.make()
    is_own = OwnListeners(home, home.settings())
    assert is_own("127.0.0.1", 8080)
    assert is_own("127.0.0.3", 8081)
    assert not is_own("127.0.0.1", 8443)
    assert not is_own("192.0.2.7", 8080)


def test_listeners_of_other_nodes_are_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their addresses and ports; a loopback address means theirs only on this machine, and a book that cannot be
    read is no empty one. What a node tells of itself is what the others hold it to."""
    monkeypatch.setenv("GATEWAY_STATE__URL", "postgresql+psycopg://gateway@/shared?host=/nowhere")
    home = GatewayHome(tmp_path / "home")
    home.make()
    there = Listeners("another", (8080, 8081), ("192.0.2.7", "2001:db8::7"))
    beside = Listeners(machine_mark(), (9080,), ())
    book = [Node("a", 0, 0, listeners=msgspec.json.encode(each).decode()) for each in (there, beside)]
    book.append(Node("of an earlier version", 0, 0))
    is_own = OwnListeners(home, home.settings(), lambda: book)
    assert is_own("192.0.2.7", 8080)
    assert is_own("2001:db8::7", 8081)
    assert is_own("127.0.0.1", 9080)
    for address, port in (("192.0.2.7", 443), ("192.0.2.8", 8080), ("127.0.0.1", 9081)):
        assert not is_own(address, port)
    told = msgspec.json.decode(is_own.told(), type=Listeners)
    assert told == Listeners(machine_mark(), (8080, 8081), ())
    monkeypatch.setenv("GATEWAY_DATA_PLANE__HOST", "0.0.0.0")
    told = msgspec.json.decode(OwnListeners(home, home.settings()).told(), type=Listeners)
    assert set(told.addresses) == set(machine_addresses())
    assert all(is_this_machine(address) for address in told.addresses)
    assert "127.0.0.1" not in told.addresses

    def unreadable() -> list[Node]:
        raise GatewayError("unavailable")

    with pytest.raises(GatewayError):
        OwnListeners(home, home.settings(), unreadable)("192.0.2.7", 8080)


def test_stored_certificates_make_a_context_that_presents_them(state: State, tmp_path: Path) -> None:
    """The key goes from the seal into OpenSSL by a nameless file; the same certificates give the same context."""
    authority = Authority()
    ca = authority.write_ca(tmp_path / "ca.pem").read_bytes()
    client = authority.write("gateway.example", tmp_path / "client.pem").read_bytes()
    with state.store.transaction() as tx:
        for name, use, pem in (("ca", CertificateUse.AUTHORITY, ca), ("client", CertificateUse.CLIENT, client)):
            tx.put_certificates(read_certificates("public-security", name, use, pem, seal=state.seal, now_unix=NOW))
    contexts = Contexts(state.store.certificates, state.ring.field_cipher)
    first = contexts.context("public-security", "ca", "client")
    assert first is contexts.context("public-security", "ca", "client")
    assert first is not contexts.context("public-security", "ca", None)
    assert len(first.get_ca_certs()) == 1
    with pytest.raises(GatewayError, match="client certificates are not stored"):
        contexts.context("public-security", None, "ca")
    with pytest.raises(GatewayError, match="client certificates are not stored"):
        contexts.context("civil-affairs", None, "client")


def test_files_of_earlier_versions_are_adopted_once_and_checked(state: State, tmp_path: Path) -> None:
    """A CA by path and a client certificate of one department are stored; a device, no PEM and a shared one are not."""
    authority = Authority()
    folder = tmp_path / "keys" / "suppliers"
    folder.mkdir()
    authority.write("gateway.example", folder / "police.pem")
    authority.write("gateway.example", folder / "both.pem")
    (tmp_path / "none.pem").write_text("root:x:0:0")
    os.mkfifo(tmp_path / "pipe")
    ca = str(authority.write_ca(tmp_path / "ca.pem"))
    with state.store.transaction() as tx:
        tx.put_interface(interface("good", tls_ca=ca, tls_client="police"))
        tx.put_interface(interface("pipe", tls_ca=str(tmp_path / "pipe")))
        tx.put_interface(interface("none", tls_ca=str(tmp_path / "none.pem")))
        tx.put_interface(interface("gone", tls_ca="/nowhere/ca.pem"))
        tx.put_interface(interface("walks", tls_client="../suppliers/police"))
        tx.put_interface(interface("shared", tls_client="both"))
        tx.put_interface(interface("shared", supplier="civil-affairs", tls_client="both"))
    assert adopt_certificates(state.store, folder, state.seal, lambda: NOW) == 1
    good = state.store.interface("public-security", "good")
    assert good is not None
    assert good.tls_ca is not None
    assert good.tls_ca.startswith("authority-")
    assert {one.name for one in state.store.all_certificates()} == {good.tls_ca, "police"}
    assert state.reach(tls_ca=good.tls_ca, tls_client="police").context is not None
    for name in ("pipe", "none", "gone"):
        unchanged = state.store.interface("public-security", name)
        assert unchanged is not None
        with pytest.raises(GatewayError, match="not stored"):
            state.reach(tls_ca=unchanged.tls_ca)
    before = state.store.sequence()
    assert adopt_certificates(state.store, folder, state.seal, lambda: NOW) == 0
    assert state.store.sequence() == before


def test_inherited_hosts_are_looked_up_once(state: State) -> None:
    """What they are found at stays theirs; what may not be called gets no address."""
    names = {"household.example": ("192.0.2.9",), "inside.example": ("169.254.169.254",)}
    with state.store.transaction() as tx:
        tx.remove_host(host())
        tx.put_host(host(state=HostState.INHERITED, addresses=()))
        tx.put_host(host(address="inside.example", state=HostState.INHERITED, addresses=()))
    with pytest.raises(GatewayError, match="no address"):
        state.reach()
    checks = HostChecks(look_up=lambda name, _port: names[name])
    assert pin_inherited(state.store, checks) == 1
    assert state.reach().addresses == ("192.0.2.9",)
    names["household.example"] = ("192.0.2.10",)
    assert pin_inherited(state.store, checks) == 0
    assert state.reach().addresses == ("192.0.2.9",)


def test_status_names_what_is_registered_and_not_called(tmp_path: Path) -> None:
    """Hosts that are not there, addresses outside the networks, certificates that are gone; and inherited hosts."""
    home = GatewayHome(tmp_path / "home")
    initialise(home, region="442000", department="data-bureau")
    settings = home.settings()
    with Store.open(home.state_url(settings)) as store:
        fill(store)
        assert find_unreachable(home, settings)[:2] == ((), ())
        with store.transaction() as tx:
            tx.put_host(host(address="inside.example", addresses=("127.0.0.1",), state=HostState.INHERITED))
            tx.put_interface(interface("gone", upstream="https://gone.example/"))
            tx.put_interface(interface("inside", upstream="https://inside.example/"))
            tx.put_interface(interface("bare", tls_ca="lost"))
    found = find_unreachable(home, settings)
    assert [each.partition(":")[0] for each in found.interfaces] == [
        "public-security/bare",
        "public-security/gone",
        "public-security/inside",
    ]
    assert found.inherited == ("inside.example:443",)
    assert found.unnamed is not None
    assert "household.example:443" in found.unnamed.what
    seen = examine(home)
    assert any(fault["part"] == "interfaces" and "gone.example" in fault["what"] for fault in seen["faults"])
    assert any(notice["part"] == "hosts" for notice in seen["notices"])
    assert any(notice["part"] == "suppliers.networks" for notice in seen["notices"])


def test_home_that_names_no_network_says_so_and_cuts_nobody_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At start, in `check` and in `status`, with a line to put in; what stood is called, and is not once it is held to
    networks that are gone."""
    home = GatewayHome(tmp_path / "home")
    initialise(home, region="442000", department="data-bureau")
    assert [each.ok for each in look(home) if each.part == "suppliers.networks"] == [True], "nothing stands yet"
    with Store.open(home.state_url(home.settings())) as store:
        fill(store)
        assert SupplierReach(
            store,
            Contexts(store.certificates, lambda: pytest.fail("sealed")),
            Credentials(lambda: pytest.fail("sealed"), Limits()),
            Networks(),
            lambda *_at: False,
        )(interface()).addresses == ("192.0.2.7",)
        with store.transaction() as tx:
            tx.put_host(host(address="since.example", addresses=("192.0.2.9",), in_networks=True))
            tx.put_interface(interface("since", upstream="https://since.example/"))
        said = unnamed(store.hosts(standing=True), Networks())
    assert said is not None
    assert "since.example" not in said.what
    assert 'networks = ["192.0.2.0/24"]' in said.advice
    checked = [each for each in look(home) if each.part == "suppliers.networks"]
    assert [(each.ok, each.detail, each.advice) for each in checked] == [(False, said.what, said.advice)]
    seen = examine(home)
    assert {"part": said.part, "what": said.what, "advice": said.advice} in seen["notices"]
    assert any("since" in fault["what"] for fault in seen["faults"] if fault["part"] == "interfaces")
    monkeypatch.setenv("GATEWAY_SUPPLIERS__NETWORKS", "192.0.2.0/24")
    assert find_unreachable(home, home.settings()) == ((), (), None)
    assert [each.ok for each in look(home) if each.part == "suppliers.networks"] == [True]


def test_init_writes_the_networks_that_it_is_told(tmp_path: Path) -> None:
    """And refuses what is none before it makes anything."""
    home = GatewayHome(tmp_path / "home")
    with pytest.raises(GatewayError, match="CIDR"):
        initialise(home, region="442000", department="data-bureau", networks=["10.20.0.0/16", "10.20.0.1/16"])
    assert not home.root.exists()
    networks = ["10.20.0.0/16", "2001:db8::/32"]
    made = initialise(home, region="442000", department="data-bureau", networks=networks)
    assert made["networks"] == networks
    assert home.settings().suppliers.networks == tuple(networks)
