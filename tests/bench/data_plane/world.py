"""A city's directory, systems and grants, and the requests that its systems make of them: the same for a seed."""

import bisect
import hashlib
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from gateway.client.keys import ClientKey, new_private_key
from gateway.domain.directory import (
    DataItem,
    Dataset,
    Department,
    Interface,
    Level,
    Purpose,
    SharingAttribute,
    SharingMode,
    System,
    UpdateCycle,
)
from gateway.domain.grants import Approval, Grant
from gateway.domain.hosts import Host, HostState
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.tokens.issuing import TokenIssuer
from gateway.runtime.home import GatewayHome
from gateway.store import Store
from gateway.store.directory.file import DirectoryFile
from tests.bench.data_plane.contestants import AUDIENCE, ROW

SUPPLIER = "public-security"
PURPOSE = "marriage-registration"
BODY = json.dumps({"reason": "办理婚姻登记", "filler": "x" * 900}, ensure_ascii=False).encode()

Names = Callable[[int, int], bytes]
"""(system, interface) to the further header fields of one call, each with its CRLF."""


class World(msgspec.Struct, frozen=True):
    """How large a city, and how it asks.

    Args:
        systems: registered systems, spread over the departments.
        departments: demand departments.
        interfaces: interfaces of one supplier, each of a dataset of its own.
        granted: share of the (department, interface) pairs with a grant.
        skewed: whether interfaces are asked for after Zipf (the n-th as often as 1/n), or each as often as another.
        refused: share of the calls that go where their department has no grant.
        row: a row of the supplier's answers.
        rows: how many rows an answer has.
    """

    systems: int
    departments: int
    interfaces: int
    granted: float = 1.0
    skewed: bool = False
    refused: float = 0.0
    row: dict[str, str] = msgspec.field(default_factory=lambda: dict(ROW))
    rows: int = 1

    def department_of(self, system: int) -> int:
        """The department of a system."""
        return system % self.departments

    def is_granted(self, department: int, interface: int) -> bool:
        """Whether the department has the grant for the interface; needs no table."""
        return _share(f"{department}/{interface}") < self.granted

    def pairs(self) -> list[tuple[int, int]]:
        """Every (system, interface) with a grant, in an order that is none."""
        of_departments = {
            number: [each for each in range(self.interfaces) if self.is_granted(number, each)]
            for number in range(self.departments)
        }
        found = [
            (system, each) for system in range(self.systems) for each in of_departments[self.department_of(system)]
        ]
        random.Random(1).shuffle(found)
        return found

    def draws(self, seed: int) -> Iterator[tuple[int, int]]:
        """(system, interface) of one call after the other, without end."""
        chance = random.Random(seed)
        weights = (1 / (number + 1) if self.skewed else 1.0 for number in range(self.interfaces))
        sums = list(itertools.accumulate(weights))
        while True:
            system = chance.randrange(self.systems)
            is_wanted = chance.random() >= self.refused
            while True:
                interface = bisect.bisect_left(sums, chance.random() * sums[-1])
                if self.is_granted(self.department_of(system), interface) is is_wanted:
                    break
            yield system, interface

    def document(self) -> str:
        """The supplier's answer."""
        return json.dumps({"code": 0, "message": "ok", "data": [self.row] * self.rows}, ensure_ascii=False)


MIX = World(200, 50, 20)
CITY = World(
    300,
    50,
    1400,
    granted=0.3,
    skewed=True,
    refused=0.05,
    row={**ROW, "zjlx": "居民身份证", "qfjg": "中山市公安局石岐分局"},
    rows=6,
)
SMALL = World(8, 4, 5)
"""To see that all of it runs."""


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32


def furnish(home: GatewayHome, upstream: int, world: World) -> list[System]:
    """Register the city in a new home; its systems."""
    now = datetime.now(UTC)
    approval = Approval("负责人", now - timedelta(days=2), "1")
    demand = [f"office-{number:02}" for number in range(world.departments)]
    names = tuple(sorted(world.row))
    directory = DirectoryFile(
        purposes=(Purpose(PURPOSE, "婚姻登记"),),
        datasets=tuple(
            Dataset(
                id=f"set-{number}",
                code=f"307010001/{number + 1}",
                name=f"信息资源{number}",
                supplier=SUPPLIER,
                items=tuple(DataItem(name, name) for name in names),
                sharing_attribute=SharingAttribute.CONDITIONAL,
                sharing_modes=(SharingMode.QUERY,),
                update_cycle=UpdateCycle.DAY,
                format="json",
                grade=2,
                classification="personal",
                scope="departments of the city",
                purposes=(PURPOSE,),
                conditions="for the matter at hand",
            )
            for number in range(world.interfaces)
        ),
        interfaces=tuple(
            Interface(
                id=f"i{number}",
                supplier=SUPPLIER,
                dataset=f"set-{number}",
                upstream=f"http://127.0.0.1:{upstream}/api/i{number}",
                places={name: f"/{name}" for name in names},
                methods=("GET", "POST"),
                subject_parameter="gmsfhm",
                plain_http=True,
            )
            for number in range(world.interfaces)
        ),
    )
    systems = [
        System(f"system-{number:03}", demand[world.department_of(number)], f"业务系统{number}")
        for number in range(world.systems)
    ]
    store = Store.open(home.state_url(home.settings()))
    host = Host(SUPPLIER, "127.0.0.1", upstream, is_tls=False, addresses=("127.0.0.1",), state=HostState.CONFIRMED)
    with store.transaction() as tx:
        for each in (SUPPLIER, *demand):
            tx.put_department(Department(each, each, "442000", Level.CITY))
        tx.put_host(host)
        tx.import_directory(directory, release=True)
        for system in systems:
            tx.put_system(system)
    store.import_grants(
        Grant(
            id=f"grant-{department}-{interface}",
            department=demand[department],
            dataset=f"set-{interface}",
            items=names[:3],
            purposes=(PURPOSE,),
            modes=(SharingMode.QUERY,),
            valid_from=now - timedelta(days=1),
            valid_until=now + timedelta(days=300),
            legal_basis="婚姻登记条例",
            scenario="marriage registration",
            scope_of_use="checking identity",
            demand_approval=approval,
            supply_approval=approval,
        )
        for department in range(world.departments)
        for interface in range(world.interfaces)
        if world.is_granted(department, interface)
    )
    store.close()
    return systems


class Asking:
    """Makes requests: the same octets for each contestant but for host and path.

    Args:
        ring: whose token key signs.
        issuer: the `iss` of tokens.
        systems: who calls.
    """

    def __init__(self, ring: KeyRing, issuer: str, systems: list[System]) -> None:
        signing = TokenIssuer(ring, issuer, AUDIENCE, time.time)
        self._key = ClientKey(new_private_key())
        bound = {"jkt": self._key.thumbprint}
        self._tokens = [signing.issue(each)[0] for each in systems]
        self._bound = [signing.issue(each, cnf=bound)[0] for each in systems]
        self._chance = random.Random(5)

    def get(self, base: str, system: int, interface: int, more: bytes = b"") -> bytes:
        """One call about one person, drawn anew."""
        return self._request("GET", base, interface, f"Authorization: Bearer {self._tokens[system]}", more)

    def traced(self, base: str, system: int, interface: int) -> bytes:
        """As `get`, with the trace and the request id that a caller's own libraries add."""
        trace, request = self._chance.getrandbits(128) | 1, self._chance.getrandbits(128)
        more = f"traceparent: 00-{trace:032x}-{trace >> 64 | 1:016x}-01\r\nX-Request-Id: {request:032x}\r\n"
        return self.get(base, system, interface, more.encode())

    def post(self, base: str, system: int, interface: int) -> bytes:
        """One call with a body of 1 KB."""
        more = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(BODY)
        fields = f"Authorization: Bearer {self._tokens[system]}"
        return self._request("POST", base, interface, fields, more) + BODY

    def proved(self, base: str, system: int, interface: int, nonce: str | None) -> bytes:
        """One call with a DPoP proof of its own (RFC 9449)."""
        token = self._bound[system]
        proof = self._key.proof("GET", f"{base}/i{interface}", int(time.time()), nonce=nonce, token=token)
        return self._request("GET", base, interface, f"Authorization: DPoP {token}\r\nDPoP: {proof}", b"")

    def _request(self, method: str, base: str, interface: int, fields: str, more: bytes) -> bytes:
        host, path = base.removeprefix("http://").split("/", 1)
        person = f"44200019{self._chance.randrange(10**10):010}"
        head = (
            f"{method} /{path}/i{interface}?gmsfhm={person} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"
            f"Sharing-Purpose: {PURPOSE}\r\nAccept: application/json\r\nUser-Agent: bench\r\n"
        )
        return head.encode() + more + b"\r\n"
