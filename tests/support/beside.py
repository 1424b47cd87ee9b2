"""Those who carry calls themselves, for tests: what asks a gateway for checks, and a home that lets it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from gateway.authorizer.askers import digest_of, make_carrier
from gateway.authorizer.authzen.evaluating import Evaluating, Evaluator
from gateway.authorizer.authzen.questions import AuthZen
from gateway.authorizer.desk import Desk
from gateway.domain.directory import Interface, System
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from tests.support.gateways import RunningGateway, served_home
from tests.support.proxy_ports import CallerSide, House

CREDENTIALS = {"front": "f" * 32, "other": "o" * 32, "pdp": "p" * 32, "narrow": "n" * 32}
PATHS = {"/api/person": "hukou/person"}


class MemoryBook:
    """Three systems, of two departments, and the interfaces of a house."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._departments = {"alice": "civil-affairs", "bob": "civil-affairs", "eve": "elsewhere"}

    def system(self, id: str) -> System | None:  # noqa: A002 - the domain's name
        department = self._departments.get(id)
        return None if department is None else System(id, department, id)

    async def systems(self, department: str | None, cursor: str | None, limit: int) -> tuple[list[System], str | None]:
        found = [System(id_, of, id_) for id_, of in sorted(self._departments.items()) if department in {None, of}]
        left = [system for system in found if system.id > (cursor or "")]
        return left[:limit], left[limit - 1].id if len(left) > limit else None

    async def interfaces(
        self, dataset: str | None, cursor: str | None, limit: int
    ) -> tuple[list[Interface], str | None]:
        found = sorted(self._house.interfaces.values(), key=lambda each: each.key)
        left = [each for each in found if dataset in {None, each.dataset} and each.key > (cursor or "")]
        return left[:limit], left[limit - 1].key if len(left) > limit else None


class Asking:
    """A desk over ports in memory, and connections to it."""

    def __init__(self, desk: Desk, port: int, folder: Path) -> None:
        self.desk = desk
        self.port = port
        self.folder = folder

    async def connect(self) -> CallerSide:
        return await CallerSide.connect(self.port)


@contextlib.asynccontextmanager
async def asking(house: House, folder: Path, *, seconds: float = 60, kind: str = "nginx") -> AsyncIterator[Asking]:
    """A desk that carriers `front` (of `kind`) and `other` (Caddy) may ask."""
    plane = house.plane()
    carriers = [
        make_carrier("front", kind, CREDENTIALS["front"].encode(), PATHS),
        make_carrier("other", "caddy", CREDENTIALS["other"].encode(), PATHS),
    ]
    evaluators = (
        Evaluator("pdp", digest_of(CREDENTIALS["pdp"].encode()), frozenset({"civil-affairs"}), frozenset()),
        Evaluator("narrow", digest_of(CREDENTIALS["narrow"].encode()), frozenset(), frozenset({"d-2"})),
    )
    desk = Desk(plane, carriers, AuthZen(Evaluating(plane, MemoryBook(house)), evaluators), seconds)
    listener = _listener()
    CallerSide.planes.append(plane)
    await desk.serve(listener, folder / "closings", "worker-0", "r", None)
    try:
        yield Asking(desk, listener.getsockname()[1], folder)
    finally:
        CallerSide.planes.remove(plane)
        while CallerSide.connected:
            CallerSide.connected.pop().close()
        await asyncio.sleep(0.01)
        await plane.drain(0.2)
        desk.stop()


def _listener() -> socket.socket:
    """A listening socket whose port is free by UDP, too."""
    while True:
        listener = socket.create_server(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lines, contextlib.suppress(OSError):
            lines.bind(listener.getsockname())
            return listener
        listener.close()


def check(
    uri: str = "/api/person/v1?id=1",
    *,
    method: str = "GET",
    credential: str | None = CREDENTIALS["front"],
    caller: str = "Bearer good",
    fields: str = "",
    kind: str = "nginx",
) -> bytes:
    """A check as a carrier sends it."""
    names = ("X-Original-Method", "X-Original-URI") if kind == "nginx" else ("X-Forwarded-Method", "X-Forwarded-Uri")
    shown = "" if credential is None else f"Sharing-Carrier: {credential}\r\n"
    return (
        f"GET /check HTTP/1.1\r\nHost: gateway\r\n{shown}{names[0]}: {method}\r\n{names[1]}: {uri}\r\n"
        f"Authorization: {caller}\r\nSharing-Purpose: marriage-registration\r\n{fields}\r\n"
    ).encode()


def closing(token: str, *, status: str = "200", octets: str = "7", credential: str = CREDENTIALS["front"]) -> bytes:
    """A closing as a carrier sends it."""
    return (
        f"POST /closing HTTP/1.1\r\nHost: gateway\r\nSharing-Carrier: {credential}\r\nSharing-Close: {token}\r\n"
        f"Sharing-Status: {status}\r\nSharing-Bytes: {octets}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


@contextlib.contextmanager
def gateway_with_checks(folder: Path, settings: str, credentials: dict[str, str]) -> Iterator[RunningGateway]:
    """A furnished gateway whose section `checks` has these lines, and the credentials of those who ask."""
    home = GatewayHome(folder)
    made = initialise(home, region=REGION, department="data-bureau")
    file = home.root / "gateway.toml"
    file.write_text(file.read_text("utf-8").replace("\n[checks]\n", f"\n[checks]\n{settings}\n"), "utf-8")
    (home.root / "checks").mkdir(mode=0o700)
    for name, credential in credentials.items():
        (home.root / "checks" / name).write_text(credential, "ascii")
    with served_home(home, made) as gateway:
        yield gateway
