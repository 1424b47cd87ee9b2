"""BARRIER on a running gateway: each act that takes away, with an answer that streams and a supplier that is slow.

    python -m pytest -m deep -s tests/end_to_end/test_taking_away_running.py      prints the table

Octets are counted that reach the caller after the act has returned; what its kernel held by then had left before.
"""

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.calendar import china_day
from gateway.domain.directory import Purpose
from gateway.domain.hosts import Host, HostState
from gateway.runtime.demo.stage import bearer_token
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from gateway.store import Store, StoreTransaction
from tests.support.barrier import arrived_bytes, read_within
from tests.support.certificates import Authority
from tests.support.control import DEPARTMENTS, OFFICERS
from tests.support.gateways import RunningGateway, served_home
from tests.support.streaming import EndlessSupplier, SlowCaller
from tests.support.withdrawals import AFTER, BEFORE, PURPOSE, ROWS, SECRET, TAKES_AWAY, Place, Standing, settle
from tests.unit.identity.legacy_kit import national

pytestmark = [pytest.mark.deep, pytest.mark.timeout(300)]

MARK = b"married"
ROW = b'{"name":"x","id_number":"440000199001010011","marital_status":"' + MARK + b'"}\n'
ENDS_WITHIN_SECONDS = 2.0
LEGACY = "/legacy-keys/"


class RunningGround:
    """A running gateway on which every row's call can stand: its suppliers serve, its departments are in the state."""

    def __init__(self, home: GatewayHome, folder: Path) -> None:
        self.day = china_day(time.time())
        self.gateway: RunningGateway
        self.table: list[str] = []
        authority = Authority()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.write("127.0.0.1", folder / "supplier.pem"))
        pem = authority.write_ca(folder / "ca.pem").read_text("ascii")
        self.suppliers = [EndlessSupplier(ROW * 64, "application/x-ndjson", context) for _ in ROWS]
        self._places = []
        store = Store.open(home.state_url(home.settings()))
        with store.transaction() as tx:
            for department in DEPARTMENTS:
                tx.put_department(department)
            for officer in (each for each in OFFICERS if tx.officer(each.id) is None):
                tx.put_officer(officer)
            for purpose in (PURPOSE, "social-assistance"):
                tx.put_purpose(Purpose(purpose, purpose))
            for number, supplier in enumerate(self.suppliers):
                where = ("127.0.0.1",)
                host = Host("public-security", where[0], supplier.port, addresses=where, state=HostState.CONFIRMED)
                settle(tx, number, host)
                self._places.append(Place(host, pem, supplier.shown.__setitem__))
        store.close()

    def place(self, number: int) -> Place:
        return self._places[number]

    def ask(self, officer: str, method: str, path: str, body: Any) -> Any:
        with self.gateway.officer(officer) as api:
            if method in ("DELETE", "GET"):
                return {"DELETE": api.delete, "GET": api.get}[method](path)
            return {"POST": api.post, "PUT": api.put}[method](path, body)

    def write(self, change: Callable[[StoreTransaction], None]) -> None:
        store = Store.open(self.gateway.home.state_url(self.gateway.home.settings()), migrate_forward=False)
        with store.transaction() as tx:
            change(tx)
        store.close()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGround]:
    folder = tmp_path_factory.mktemp("home")
    home = GatewayHome(folder / "var")
    made = initialise(home, region="440000", department="province-bureau")
    found = RunningGround(home, folder)
    with served_home(home, made, furnished=False) as found.gateway:
        yield found
        print("\n| act | what it takes | streaming: before | after | slow supplier: status | supplier's octets after |")
        print("|---|---|---|---|---|---|")
        print("\n".join(found.table))
    for supplier in found.suppliers:
        supplier.close()


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[f"{act}: {what}" for act, what in ROWS])
def test_barrier_what_takes_away_is_over_when_it_returns(ground: RunningGround, number: int) -> None:
    """BARRIER: not one octet more of a stream, and nothing of an answer that the supplier gives only then."""
    act, what = ROWS[number]
    gateway, supplier = ground.gateway, ground.suppliers[number]
    standing = Standing(ground, number, grade=1)
    BEFORE.get(act, lambda _: None)(standing)

    def caller(path: str, **options: Any) -> SlowCaller:
        fields = {"Sharing-Purpose": PURPOSE}
        if LEGACY in act:
            fields |= national(time.time(), rid=f"key-{number}", secret=SECRET)
        else:
            token = bearer_token(f"{gateway.control}/oauth/token", standing.private_key, f"s-{number}")
            fields["Authorization"] = f"Bearer {token}"
        path = f"/public-security/i-{number}{path}?id_number=440000199001010011"
        return SlowCaller(gateway, path=path, fields=fields, **options)

    stream = caller("/stream")
    assert stream.status == 200
    slow = caller("/slow", waits=False)
    assert supplier.is_asked_slowly.wait(20), read_within(slow.socket, 1)
    before = arrived_bytes(stream.socket)
    assert before > 0
    TAKES_AWAY[act][what](standing)
    arrived = arrived_bytes(stream.socket)
    supplier.may_answer.set()
    after = len(read_within(stream.socket, ENDS_WITHIN_SECONDS)) - arrived
    answered = read_within(slow.socket, ENDS_WITHIN_SECONDS)
    status = int(answered.split()[1]) if answered else 0
    leaked = answered.count(MARK)
    ground.table.append(f"| {act} | {what} | {arrived} | {after} | {status or 'cut'} | {leaked} |")
    AFTER.get(act, lambda _: None)(standing)
    assert after == 0
    assert leaked == 0
    assert status != 200
