"""HOST-OWNED over the API: a host is claimed, proved by its service, and confirmed by somebody else."""

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.control.act.examples import INTERFACE
from gateway.control.suppliers.checks import HostChecks
from gateway.control.suppliers.probing import FAILURES, SECONDS_A_FAILURE, ProbeBounds
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import CLAIM_SECONDS, Networks
from tests.support.certificates import Authority
from tests.support.control import World, done, refused
from tests.support.gateways import wait_for

Answer = tuple[int, bytes, dict[str, str]]


class Service:
    """A supplier's HTTP service on loopback: `shown` maps a path to its answer; `asked` are the paths asked for."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.shown: dict[str, Answer] = {}
        self.asked: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append(self.path)
                status, content, fields = service.shown.get(self.path, (404, b"", {}))
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def services() -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(context: ssl.SSLContext | None = None) -> Service:
        made.append(Service(context))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return a_world(make_world)


def a_world(make_world: Callable[..., World], **options: Any) -> World:
    looked_up: dict[str, tuple[str, ...]] = {}
    own: set[int] = set()
    waited: list[float] = []
    made = make_world(
        hosts=HostChecks(
            Networks(["127.0.0.0/8", "10.0.0.0/8"]),
            is_own=lambda _address, port: port in own,
            look_up=lambda name, _port: looked_up.get(name, (name,)),
            wait=waited.append,
        ),
        **options,
    )
    made.looked_up, made.own, made.waited = looked_up, own, waited  # type: ignore[attr-defined]
    return made


def claim(world: World, officer: str, **fields: Any) -> dict[str, Any]:
    return done(world.post(officer, "/v1/hosts", {"supplier": "public-security", "tls": False, **fields}))


def path_of(supplier: str, host: str, step: str) -> str:
    return f"/v1/hosts/{supplier}/{host}/{step}"


def test_host_is_claimed_proved_and_confirmed_and_then_reached(world: World, services: Callable[..., Service]) -> None:
    """Three acts, each on record; before the last one no interface leads there."""
    service = services()
    host = f"127.0.0.1:{service.port}"
    leading = {**INTERFACE, "id": "new", "upstream": f"http://{host}/api", "plain_http": True}
    refused(world.post("police", "/v1/interfaces", leading), "invalid-input")
    made = claim(world, "police", address=host)
    assert made["host"]["addresses"] == ["127.0.0.1"]
    service.shown[made["proof_path"]] = (200, made["host"]["nonce"].encode() + b"\n", {})
    refused(world.post("registrar", path_of("public-security", host, "confirmation"), {}), "conflict")
    done(world.post("police", path_of("public-security", host, "proof"), {}))
    refused(world.post("police", "/v1/interfaces", leading), "invalid-input")
    refused(world.post("police", path_of("public-security", host, "confirmation"), {}), "act-not-permitted")
    refused(world.post("stranger", path_of("public-security", host, "confirmation"), {}), "act-not-permitted")
    done(world.post("registrar", path_of("public-security", host, "confirmation"), {}))
    done(world.post("police", "/v1/interfaces", leading))
    listed = done(world.get("police", "/v1/hosts"))["items"]
    assert {(one["address"], one["state"], one["nonce"]) for one in listed} >= {("127.0.0.1", "confirmed", "")}
    assert done(world.get("market-both", "/v1/hosts"))["items"] == []
    done(world.post("police", path_of("public-security", host, "withdrawal"), {"reason": "moved"}))
    assert world.store.host(host) is None


def test_small_department_cannot_serve_from_the_polices_host(world: World, services: Callable[..., Service]) -> None:
    """It may not claim for another, it cannot prove what it does not run, and what stands is not its own."""
    police = services()
    host = f"127.0.0.1:{police.port}"
    refused(
        world.post("market-both", "/v1/hosts", {"supplier": "public-security", "address": host, "tls": False}),
        "act-not-permitted",
    )
    # While nobody has it yet, it may claim, but never prove.
    mine = claim(world, "market-both", supplier="market", address=host)
    said = refused(world.post("market-both", path_of("market", host, "proof"), {}), "host-not-proved")
    assert "404" not in said["detail"]
    assert police.asked == [mine["proof_path"]]
    # The police register it: the claim tells nothing of that, and is proved under no name.
    theirs = claim(world, "police", address=host)
    police.shown[theirs["proof_path"]] = (200, theirs["host"]["nonce"].encode(), {})
    done(world.post("police", path_of("public-security", host, "proof"), {}))
    done(world.post("registrar", path_of("public-security", host, "confirmation"), {}))
    world.looked_up["alias.example"] = ("127.0.0.1",)  # type: ignore[attr-defined]
    for address in (host, f"alias.example:{police.port}", f"ALIAS.example:{police.port}"):
        claim(world, "market-both", supplier="market", address=address)
        refused(world.post("market-both", path_of("market", address.lower(), "proof"), {}), "host-not-proved")
    assert refused(world.post("registrar", path_of("market", host, "confirmation"), {}), "conflict")


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "0.0.0.0:80", "[::1]:80", "192.0.2.1", "2130706433", "0x7f000001", "localhost.", "u@h", "h/p"],
)
def test_addresses_that_may_not_be_called_are_refused_at_the_claim(world: World, address: str) -> None:
    """Nothing is asked of them."""
    refused(world.post("police", "/v1/hosts", {"supplier": "public-security", "address": address}), "invalid-input")


def test_every_address_of_a_name_has_to_be_allowed(world: World) -> None:
    """A name with one good and one bad address is refused whole, and the gateway's own listeners are no supplier."""
    world.looked_up["two.example"] = ("10.0.0.1", "169.254.169.254")  # type: ignore[attr-defined]
    body = {"supplier": "public-security", "address": "two.example"}
    said = refused(world.post("police", "/v1/hosts", body), "invalid-input")
    assert "169.254.169.254" not in str(said)
    world.own.add(8081)  # type: ignore[attr-defined]
    own = {"supplier": "public-security", "address": "127.0.0.1:8081", "tls": False}
    refused(world.post("police", "/v1/hosts", own), "invalid-input")


def test_what_a_name_means_later_is_not_asked(world: World, services: Callable[..., Service]) -> None:
    """No rebinding: the proof goes to the addresses of the claim."""
    mine, victim = services(), services()
    world.looked_up["mine.example"] = ("127.0.0.1",)  # type: ignore[attr-defined]
    made = claim(world, "police", address=f"mine.example:{mine.port}")
    mine.shown[made["proof_path"]] = (200, made["host"]["nonce"].encode(), {})
    world.looked_up["mine.example"] = ("127.0.0.2",)  # type: ignore[attr-defined]
    done(world.post("police", path_of("public-security", f"mine.example:{mine.port}", "proof"), {}))
    assert world.store.claim("public-security", f"mine.example:{mine.port}").addresses == ("127.0.0.1",)  # type: ignore[union-attr]
    assert victim.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda nonce, url: (302, nonce, {"Location": url}),
        lambda nonce, _: (200, b"<html>" + nonce + b"</html>", {}),
        lambda nonce, _: (200, nonce + b"x" * 5000, {}),
        lambda nonce, _: (200, nonce[:-1], {}),
        lambda _nonce, _: (200, b"", {}),
        lambda nonce, _: (401, nonce, {}),
        lambda nonce, _: (200, nonce.upper(), {}),
    ],
)
def test_only_the_nonce_itself_proves(world: World, services: Callable[..., Service], answer: Any) -> None:
    """A page that repeats what it is asked, a redirect to where the nonce is, and other near answers do not."""
    service, other = services(), services()
    host = f"127.0.0.1:{service.port}"
    made = claim(world, "police", address=host)
    nonce = made["host"]["nonce"].encode()
    other.shown[made["proof_path"]] = (200, nonce, {})
    service.shown[made["proof_path"]] = answer(nonce, f"http://127.0.0.1:{other.port}{made['proof_path']}")
    refused(world.post("police", path_of("public-security", host, "proof"), {}), "host-not-proved")
    assert other.asked == []


def test_claim_is_not_confirmed_by_who_made_it(world: World, services: Callable[..., Service]) -> None:
    """Four eyes: not even the registrar alone."""
    service = services()
    host = f"127.0.0.1:{service.port}"
    made = claim(world, "registrar", address=host)
    service.shown[made["proof_path"]] = (200, made["host"]["nonce"].encode(), {})
    done(world.post("registrar", path_of("public-security", host, "proof"), {}))
    refused(world.post("registrar", path_of("public-security", host, "confirmation"), {}), "conflict")
    done(world.post("province", path_of("public-security", host, "confirmation"), {}))


def test_a_claim_lapses(world: World, services: Callable[..., Service]) -> None:
    """Neither is an old nonce believed nor an old proof confirmed; the host is claimed again, with another nonce. A
    claim of later than now, or of a time that is not known, is none."""
    service = services()
    host = f"127.0.0.1:{service.port}"

    def claimed() -> dict[str, Any]:
        made = claim(world, "police", address=host)
        service.shown[made["proof_path"]] = (200, made["host"]["nonce"].encode(), {})
        return made

    prove, confirm = (path_of("public-security", host, step) for step in ("proof", "confirmation"))
    first, began = claimed(), world.now()
    for then in (began + CLAIM_SECONDS + 1, began - 2 * 3600):
        world.now = lambda then=then: then
        refused(world.post("police", prove, {}), "host-not-proved")
    assert service.asked == []
    world.now = lambda: began + CLAIM_SECONDS + 1
    assert claimed()["host"]["nonce"] != first["host"]["nonce"]
    done(world.post("police", prove, {}))
    world.now = lambda: began + 2 * CLAIM_SECONDS + 2
    refused(world.post("registrar", confirm, {}), "host-not-proved")
    claimed()
    done(world.post("police", prove, {}))
    stands = world.store.claim("public-security", host)
    assert stands is not None
    with world.store.transaction() as tx:
        tx.put_host(msgspec.structs.replace(stands, claimed_unix=0))
    refused(world.post("registrar", confirm, {}), "host-not-proved")
    with world.store.transaction() as tx:
        tx.put_host(stands)
    done(world.post("registrar", confirm, {}))


def test_a_proof_that_fails_is_on_record(make_world: Callable[..., World], services: Callable[..., Service]) -> None:
    """Who asked, of what, and why it was not believed; each time, also under one key."""
    world = a_world(make_world, ledger=True)
    service = services()
    host = f"127.0.0.1:{service.port}"
    claim(world, "police", address=host)
    headers = {"Idempotency-Key": "the-same-key"}
    for _ in range(2):
        refused(world.post("police", path_of("public-security", host, "proof"), {}, headers=headers), "host-not-proved")

    def failures() -> list[dict[str, Any]]:
        rows = world.get("registrar", "/v1/records", kind="directory").json().get("items", [])
        whole = [done(world.get("registrar", f"/v1/records/{row['record']}"))["entries"][0] for row in rows]
        return [entry for entry in whole if entry["step"] == "host not proved"]

    assert wait_for(lambda: len(failures()) == 2)
    assert {(each["officer"], each["host"]) for each in failures()} == {("police", host)}
    assert "is not proved" in failures()[0]["reason"]
    assert "404" not in failures()[0]["reason"], "who claims reads the record too"


def test_certificates_key_proves_a_host_that_shows_nothing(
    tmp_path: Path, world: World, services: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    """The nonce signed by the key of the certificate presented at the address, under the authority that was named."""
    authority = Authority()
    pem = authority.write("records.example", tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    service = services(context)
    trusting = ssl.create_default_context(cadata=authority.write_ca(tmp_path / "ca.pem").read_text())
    checks = HostChecks(Networks(["127.0.0.0/8"]), context=lambda _host: trusting, wait=lambda _: None)
    object.__setattr__(world.services, "hosts", checks)
    host = f"127.0.0.1:{service.port}"
    made = claim(world, "police", address=host, tls=True, certificate_name="records.example")
    key = serialization.load_pem_private_key(pem.read_bytes()[pem.read_bytes().index(b"-----BEGIN PRIV") :], None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    wrong = ec.generate_private_key(ec.SECP256R1())
    prove = path_of("public-security", host, "proof")
    for signer, nonce, code in (
        (wrong, made["host"]["nonce"], "host-not-proved"),
        (key, "another", "host-not-proved"),
        (key, made["host"]["nonce"], ""),
    ):
        signed = base64.b64encode(signer.sign(nonce.encode(), ec.ECDSA(hashes.SHA256()))).decode()
        answer = world.post("police", prove, {"signature": signed})
        if code:
            refused(answer, code)
        else:
            assert done(answer)["host"]["proof"] == "certificate"
    # Under another name the service is another's: TLS fails before anything is compared.
    claim(world, "police", address=host, tls=True, certificate_name="other.example")
    refused(world.post("police", prove, {}), "host-not-proved")
    assert "certificate" in caplog.text


def test_new_address_is_a_claim_again_and_what_stands_stands(world: World, services: Callable[..., Service]) -> None:
    """Meanwhile interfaces lead where they led."""
    service = services()
    world.looked_up["moving.example"] = ("127.0.0.1",)  # type: ignore[attr-defined]
    host = f"moving.example:{service.port}"
    for addresses in (("127.0.0.1",), ("127.0.0.2",)):
        world.looked_up["moving.example"] = addresses  # type: ignore[attr-defined]
        made = claim(world, "police", address=host)
        if addresses == ("127.0.0.1",):
            service.shown[made["proof_path"]] = (200, made["host"]["nonce"].encode(), {})
            done(world.post("police", path_of("public-security", host, "proof"), {}))
            done(world.post("registrar", path_of("public-security", host, "confirmation"), {}))
    refused(world.post("police", path_of("public-security", host, "proof"), {}), "host-not-proved")
    assert world.store.host(host).addresses == ("127.0.0.1",)  # type: ignore[union-attr]


def unset(world: World, **changes: Any) -> HostChecks:
    """The world's checks without any network, or with other changes."""
    checks = replace(world.services.hosts, **(changes or {"networks": Networks()}))
    object.__setattr__(world.services, "hosts", checks)
    return checks


@pytest.mark.parametrize("address", ["10.1.2.3", "8.8.8.8", "127.0.0.1", "[2001:db8::1]", "records.example"])
def test_no_host_is_claimed_where_no_network_is_named(world: World, address: str) -> None:
    """It is said what to set; no name server is asked."""
    asked: list[str] = []
    unset(world, networks=Networks(), look_up=lambda name, _port: (asked.append(name), (name,))[1])
    said = refused(
        world.post("police", "/v1/hosts", {"supplier": "public-security", "address": address}), "invalid-input"
    )
    assert "suppliers.networks" in said["faults"][0]["fault"]
    assert "networks = [" in said["faults"][0]["fault"]
    assert asked == []


def test_claim_is_not_proved_or_confirmed_once_its_network_is_gone(
    world: World, services: Callable[..., Service]
) -> None:
    """Also one that was proved, or claimed by an earlier version, which asked for no network; nobody is called."""
    service = services()
    host = f"127.0.0.1:{service.port}"
    made = claim(world, "police", address=host)
    service.shown[made["proof_path"]] = (200, made["host"]["nonce"].encode(), {})
    prove, confirm = (path_of("public-security", host, step) for step in ("proof", "confirmation"))
    allowed = world.services.hosts
    unset(world)
    refused(world.post("police", prove, {}), "host-not-proved")
    assert service.asked == []
    object.__setattr__(world.services, "hosts", allowed)
    done(world.post("police", prove, {}))
    unset(world)
    refused(world.post("registrar", confirm, {}), "host-not-proved")
    object.__setattr__(world.services, "hosts", allowed)
    done(world.post("registrar", confirm, {}))
    stands = world.store.host(host)
    assert stands is not None
    assert stands.in_networks


def test_a_proof_that_fails_tells_nothing_of_the_network(world: World, services: Callable[..., Service]) -> None:
    """A closed port, one that answers, one that speaks something else, one that is silent: one answer at one time."""
    checks = unset(world, proof_seconds=1.5, wait=time.sleep)
    answering = services()
    ports = {"answers": answering.port}
    with socket.create_server(("127.0.0.1", 0)) as closed:
        ports["closed"] = closed.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as banner:
        ports |= {"silent": silent.getsockname()[1], "banner": banner.getsockname()[1]}

        def greet() -> None:
            with contextlib.suppress(OSError):
                connected, _ = banner.accept()
                connected.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connected.close()

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        said, took = set(), []
        for port in ports.values():
            for tls in (False, True):
                claim(world, "police", address=f"127.0.0.1:{port}", tls=tls)
                began = time.monotonic()
                proof = world.post("police", path_of("public-security", f"127.0.0.1:{port}", "proof"), {})
                took.append(time.monotonic() - began)
                detail = refused(proof, "host-not-proved")["detail"]
                said.add((tls, detail.replace(str(port), "PORT")))
        assert len(said) == 2, "one for http, one for https"
        assert all(checks.proof_seconds <= each < checks.proof_seconds + 0.7 for each in took), took
        banner.close()


def test_a_name_that_may_not_be_called_does_not_show_what_it_resolves_to(world: World) -> None:
    """Nor whether it does: unknown names, names outside, too many addresses and the gateway's own are told alike."""

    def look_up(name: str, _port: int) -> tuple[str, ...]:
        if name == "unknown.example":
            raise GatewayError("invalid-input", "`unknown.example` has no network address")
        return {
            "outside.example": ("192.0.2.9",),
            "metadata.example": ("169.254.169.254",),
            "many.example": tuple(f"10.0.0.{each}" for each in range(1, 30)),
            "own.example": ("10.9.9.9",),
        }[name]

    unset(world, look_up=look_up, is_own=lambda address, _port: address == "10.9.9.9")
    said = set()
    for name in ("unknown", "outside", "metadata", "many", "own"):
        body = {"supplier": "public-security", "address": f"{name}.example"}
        answer = refused(world.post("police", "/v1/hosts", body), "invalid-input")
        said.add(str((answer["detail"], answer["faults"])).replace(body["address"], "NAME"))
    assert len(said) == 1
    assert "suppliers.networks" in said.pop()


def test_failures_are_bounded_by_department_and_success_costs_nothing(
    world: World, services: Callable[..., Service]
) -> None:
    """Twenty at once, then one a minute, of claims and proofs together; another department is not held by it."""
    clock = [0.0]
    unset(world, bounds=ProbeBounds(lambda: clock[0]))
    service = services()
    host = f"127.0.0.1:{service.port}"
    prove = path_of("public-security", host, "proof")
    for _ in range(FAILURES + 5):
        claim(world, "police", address=host)
    for number in range(FAILURES):
        if number % 2:
            refused(world.post("police", prove, {}), "host-not-proved")
        else:
            body = {"supplier": "public-security", "address": "192.0.2.1"}
            refused(world.post("police", "/v1/hosts", body), "invalid-input")
    asked = len(service.asked)
    for _ in range(3):
        answer = world.post("police", prove, {})
        refused(answer, "rate-limited")
        assert 1 <= int(answer.headers["Retry-After"]) <= SECONDS_A_FAILURE + 1
    assert len(service.asked) == asked
    claim(world, "market-both", supplier="market", address=host)
    clock[0] += SECONDS_A_FAILURE + 1
    refused(world.post("police", prove, {}), "host-not-proved")
    refused(world.post("police", prove, {}), "rate-limited")
    clock[0] += FAILURES * SECONDS_A_FAILURE
    made = claim(world, "police", address=host)
    service.shown[made["proof_path"]] = (200, made["host"]["nonce"].encode(), {})
    done(world.post("police", prove, {}))


def test_one_host_a_department_and_three_in_all_are_asked_at_once() -> None:
    """Who is asked holds a thread of the lane that everything but stops shares."""
    bounds = ProbeBounds()
    with bounds.asking("a"), bounds.asking("b"), bounds.asking("c"):
        for department in ("a", "d"):
            with pytest.raises(GatewayError, match="rate-limited"), bounds.asking(department):
                pytest.fail("asked")
    with bounds.asking("d"):
        """It goes on once the others have ended."""
