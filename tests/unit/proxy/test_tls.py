"""TLS on both sides: verified, reloadable, certificates handed to identity."""

import asyncio
import contextlib
import errno
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.domain.errors import GatewayError
from gateway.proxy import Limits, handshakes
from gateway.proxy.exchange.forwarding import Forwarding
from gateway.proxy.handshakes import Handshake
from gateway.proxy.http.upstream import SupplierConnection
from gateway.proxy.tls import ClientCertificates, caller_context, load_pair, read_pair, supplier_context
from tests.support.certificates import Authority
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, json_answer, request, serving
from tests.support.streaming import EndlessSupplier


class Files:
    """An authority's certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority()
        self.ca = self.authority.write_ca(folder / "ca.pem")
        self.server = self.authority.write("127.0.0.1", folder / "server.pem")
        self.client = self.authority.write("marriage-desk", folder / "client.pem")
        self.supplier = self.authority.write("household.example", folder / "supplier.pem")
        self.other_ca = Authority("other").write_ca(folder / "other.pem")

    def calling(self, client: Path | None = None) -> dict[str, Any]:
        context = ssl.create_default_context(cafile=self.ca)
        if client is not None:
            context.load_cert_chain(client)
        return {"ssl": context, "server_hostname": "127.0.0.1"}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_client_certificate_reaches_identity(files: Files, loop: str) -> None:
    """Optional: identity sees the certificate where there is one, None where there is not."""

    async def story() -> None:
        context = caller_context(files.server, client_certificates=ClientCertificates.OPTIONAL, client_ca=files.ca)
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house, tls=context) as (plane, port):
                for client in (files.client, None):
                    caller = await CallerSide.connect(port, **files.calling(client))
                    assert (await caller.ask(request()))[0] == 200
                    plane.forget()
                    assert (await caller.ask(request()))[0] == 200
                shown = [peer.certificate_der for peer in house.peers]
                assert shown[0] == shown[1]
                assert shown[0] == ssl.PEM_cert_to_DER_cert(files.client.read_text().partition("-----BEGIN PRIV")[0])
                assert shown[2:] == [None, None]
                assert all(peer.is_tls for peer in house.peers)

    (uvloop.run if loop == "uvloop" else asyncio.run)(story())


def test_a_required_certificate_must_be_there(files: Files) -> None:
    """Without one the handshake fails and nothing is read."""

    async def story() -> None:
        context = caller_context(files.server, client_certificates=ClientCertificates.REQUIRED, client_ca=files.ca)
        house = House()
        async with serving(house, tls=context) as (_, port):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await (await CallerSide.connect(port, **files.calling())).ask(request())
            assert house.heads == []

    uvloop.run(story())


def test_old_protocol_versions_are_refused(files: Files) -> None:
    """TLS 1.2 is the least."""
    assert caller_context(files.server).minimum_version is ssl.TLSVersion.TLSv1_2
    assert not [
        suite["name"]
        for suite in caller_context(files.server).get_ciphers()
        if "GCM" not in suite["name"] and "CHACHA20" not in suite["name"]
    ]


def test_a_reload_drops_no_connection(files: Files, tmp_path: Path) -> None:
    """New handshakes see the new certificate; a connection that stands goes on; a bad file changes nothing."""
    renewed = files.authority.write("127.0.0.1", tmp_path / "renewed.pem")

    async def story() -> None:
        context = caller_context(files.server)
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house, tls=context) as (_, port):
                standing = await CallerSide.connect(port, **files.calling())
                assert (await standing.ask(request()))[0] == 200
                (tmp_path / "bad.pem").write_text("no certificate")
                with pytest.raises(GatewayError):
                    read_pair(tmp_path / "bad.pem")
                serials = []
                for path in (files.server, renewed):
                    load_pair(context, read_pair(path))
                    fresh = await CallerSide.connect(port, **files.calling())
                    serials.append(fresh.writer.get_extra_info("peercert")["serialNumber"])
                    assert (await fresh.ask(request()))[0] == 200
                assert serials[0] != serials[1]
                assert (await standing.ask(request()))[0] == 200

    uvloop.run(story())


@pytest.mark.parametrize("asked", [b"GET / HTTP/3.0\r\n\r\n", request(method="POST", fields="Content-Length: 99\r\n")])
def test_a_refusal_over_tls_ends_its_connection_at_once(files: Files, asked: bytes) -> None:
    """Though more of the request may come: the end is said within TLS, and no time-out is awaited."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port), limits=Limits(linger_seconds=300))
            async with serving(house, tls=caller_context(files.server)) as (_, port):
                caller = await CallerSide.connect(port, **files.calling())
                status, fields, _ = await caller.ask(asked)
                assert (status, fields[b"connection"]) == (405 if b"POST" in asked else 505, b"close")
                assert await caller.rest() == 0

    uvloop.run(story())


@pytest.mark.parametrize(
    ("name", "authority", "status"),
    [("household.example", "ca", 200), ("other.example", "ca", 502), ("household.example", "other_ca", 502)],
)
def test_a_supplier_is_verified_by_its_authority_and_name(files: Files, name: str, authority: str, status: int) -> None:
    """A supplier that cannot prove its name under its own authority is not called."""

    async def story() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.supplier)
        context.load_verify_locations(files.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        async with Supplier(tls=context) as supplier:
            house = House(
                interface_for(
                    supplier.port, upstream=f"https://127.0.0.1:{supplier.port}/api", plain_http=False, tls_name=name
                )
            )
            house.supplier_tls = supplier_context(getattr(files, authority).read_text())
            house.supplier_tls.load_cert_chain(files.client)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                assert (await caller.ask(request()))[0] == status
                assert len(supplier.requests) == (1 if status == 200 else 0)

    uvloop.run(story())


def test_session_tickets_behind_the_handshake_are_no_answer(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supplier of TLS 1.3 sends them at once on each new connection; a call is served also where the loop is late."""
    true = Forwarding._connect_ended

    def late(exchange: Forwarding, task: Any) -> None:
        time.sleep(0.02)  # the tickets arrive meanwhile, and the loop has not read them
        true(exchange, task)

    monkeypatch.setattr(Forwarding, "_connect_ended", late)

    async def story() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 8
        context.load_cert_chain(files.supplier)
        # On threads of its own, so that its tickets come whenever they come.
        supplier = EndlessSupplier(content_type="application/json", context=context)
        supplier.shown["/api?id=1"] = '{"code":0,"message":"m","data":[{"xm":"a"}]}'
        where = {"upstream": f"{supplier.url}/api", "plain_http": False, "tls_name": "household.example"}
        house = House(interface_for(supplier.port, **where))
        house.supplier_tls = supplier_context(files.ca.read_text())
        try:
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                told = [(await caller.ask(request("/hukou/person?id=1")))[0] for _ in range(5)]
        finally:
            supplier.close()
        assert told == [200] * 5

    uvloop.run(story())


def test_tickets_that_come_late_are_no_answer(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supplier under load sends them when the connection had settled: its calls are served all the same."""
    true = SupplierConnection.is_settling
    may_finish, has_finished = threading.Event(), threading.Event()

    def settling(connection: SupplierConnection) -> bool:
        found = true(connection)
        if not found:
            may_finish.set()
            has_finished.wait(10)
            time.sleep(0.02)  # until the tickets are in the gateway's kernel
        return found

    gone, is_gone = SupplierConnection.connection_lost, asyncio.Event()

    def lost(connection: SupplierConnection, error: Exception | None) -> None:
        gone(connection, error)
        is_gone.set()

    monkeypatch.setattr(SupplierConnection, "is_settling", settling)
    monkeypatch.setattr(SupplierConnection, "connection_lost", lost)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.supplier)
    listener = socket.create_server(("127.0.0.1", 0))

    def busy() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as raw:
            came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
            secured = context.wrap_bio(came, goes, server_side=True)
            flights, asked = 0, b""
            while b"\r\n\r\n" not in asked:
                data = raw.recv(65536)
                flights += 1
                if flights == 2:
                    may_finish.wait(10)
                came.write(data)
                with contextlib.suppress(ssl.SSLWantReadError):
                    secured.do_handshake()
                    raw.sendall(goes.read())
                    has_finished.set()
                    asked += secured.read(65536)
                raw.sendall(goes.read())
            secured.write(json_answer('{"code":0,"message":"m","data":[{"xm":"a"}]}'))
            raw.sendall(goes.read())

    async def story() -> None:
        port_of_supplier = listener.getsockname()[1]
        where = {"plain_http": False, "tls_name": "household.example"}
        where["upstream"] = f"https://127.0.0.1:{port_of_supplier}/api"
        house = House(interface_for(port_of_supplier, **where))
        house.supplier_tls = supplier_context(files.ca.read_text())
        async with serving(house) as (_, port):
            assert (await (await CallerSide.connect(port)).ask(request()))[0] == 200
            # The supplier has hung up: a loop is not closed over a transport of TLS that still stands.
            await asyncio.wait_for(is_gone.wait(), 30)

    threading.Thread(target=busy, daemon=True).start()
    try:
        uvloop.run(story())
    finally:
        listener.close()


def test_answer_before_the_request_over_tls_reaches_nobody(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONE-ANSWER: it stands among the session tickets, and the loop reads it before the connection is used."""
    true = Forwarding._connect_ended

    def late(exchange: Forwarding, task: Any) -> None:
        time.sleep(0.02)
        true(exchange, task)

    monkeypatch.setattr(Forwarding, "_connect_ended", late)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.supplier)
    listener = socket.create_server(("127.0.0.1", 0))

    def hasty() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                with context.wrap_socket(raw, server_side=True) as secured:
                    secured.sendall(json_answer('{"code":0,"message":"forged","data":[{"xm":"a"}]}'))
                    secured.recv(65536)

    async def story() -> None:
        port_of_supplier = listener.getsockname()[1]
        where = {"plain_http": False, "tls_name": "household.example"}
        where["upstream"] = f"https://127.0.0.1:{port_of_supplier}/api"
        house = House(interface_for(port_of_supplier, **where))
        house.supplier_tls = supplier_context(files.ca.read_text())
        async with serving(house) as (plane, port):
            for _ in range(3):
                caller = await CallerSide.connect(port)
                status, _, content = await caller.ask(request())
                assert status == 502, (content, plane.counters.strays)
                assert b"forged" not in content

    threading.Thread(target=hasty, daemon=True).start()
    try:
        uvloop.run(story())
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_mistake_with_one_connection_leaves_the_others(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """One handshake that raises, one without a descriptor and one of no TLS end alone; the listener goes on."""
    monkeypatch.setattr(handshakes, "PAUSE_SECONDS", 0.01)

    async def story() -> None:
        async with Supplier() as supplier:
            house = House(interface_for(supplier.port))
            async with serving(house, tls=caller_context(files.server)) as (plane, port):

                def no_descriptor(_: object) -> None:
                    patch.undo()
                    raise OSError(errno.EMFILE, "too many open files")

                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(Handshake, "_shake_hands", lambda _: 1 / 0)
                    with pytest.raises(ConnectionError):
                        await CallerSide.connect(port, **files.calling())
                assert plane.snapshot()["failures"] == 1
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(socket.socket, "accept", no_descriptor)
                    assert (await (await CallerSide.connect(port, **files.calling())).ask(request()))[0] == 200
                plain = await CallerSide.connect(port)
                plain.writer.write(request())
                with contextlib.suppress(ConnectionError):
                    assert await plain.rest() < 16, "an alert at most"
                assert (await (await CallerSide.connect(port, **files.calling())).ask(request()))[0] == 200

    uvloop.run(story())
