"""A ledger for tests and benchmarks: a signer, and uses as a city's departments make them."""

import asyncio
import base64
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingMode
from gateway.domain.texts import sealed
from gateway.domain.uses import Outcome, Use
from gateway.domain.verdicts import Call, Decision, Explanation, NearMiss, Verdict
from gateway.ledger.journal.entries import Salts, UseEntries, new_run
from gateway.ledger.journal.uses import UseJournal
from gateway.ledger.process.service import LedgerService
from gateway.ledger.retention.retention import Holds

ORIGIN = "ledger.example/node-1"
SCENARIO = sealed("5c" * 32)
"""What the city's systems say, as records name it."""
NOON_NS = 1_767_240_000_000_000_000
"""2026-01-01 12:00 China Standard Time."""


class TestSigner:
    """An Ed25519 key as the key ring hands it out."""

    __test__ = False

    def __init__(self, seed: bytes = bytes(32)) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public_bytes(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def open_ledger(directory: Path, clock: Callable[[], float] = time.time) -> LedgerService:
    """A ledger service over `directory`, small."""
    return LedgerService(directory, origin=ORIGIN, signer=TestSigner(), clock=clock, memory_bytes=256 << 20)


class City:
    """Makes uses: a few dozen grants of a dozen departments, some callers busier than others.

    Args:
        seed: the same seed makes the same uses.
        people: how many data subjects there are.
    """

    def __init__(self, seed: int = 7, *, people: int = 500_000, grants: int = 60) -> None:
        self.random = random.Random(seed)
        self._people = people
        self.kinds = [self._kind(n) for n in range(grants)]

    @property
    def released(self) -> Holds:
        """What retention is told once every grant of the city was disposed of long ago."""
        return Holds(released=frozenset(verdict.grant for _, _, verdict, _, _ in self.kinds if verdict.grant))

    def use(self, started_unix_ns: int = NOON_NS, kind: int | None = None, subject: str | None = None) -> Use:
        """One permitted use."""
        caller, call, verdict, supplier, scenario = (
            self.kinds[kind] if kind is not None else self.random.choices(self.kinds, self._weights)[0]
        )
        return Use(
            caller=caller,
            call=call,
            verdict=verdict,
            supplier=supplier,
            scenario=scenario,
            operator="",
            trace_id=self.random.randbytes(16).hex(),
            request_digest=self.random.randbytes(32).hex(),
            subject=subject if subject is not None else self.pseudonym(self.random.randrange(self._people)),
            started_unix_ns=started_unix_ns,
            purpose=call.purpose,
        )

    def refused(self, started_unix_ns: int = NOON_NS, code: str = "purpose-not-granted") -> Use:
        """One refused use."""
        use = self.use(started_unix_ns)
        verdict = Verdict(
            decision=Decision.DENY,
            code=code,
            policies=(f"national/{code}",),
            policy_digest=use.verdict.policy_digest,
            valid_until_unix=use.verdict.valid_until_unix,
            explanation=Explanation(near=(NearMiss(use.verdict.grant or "", ("purpose",), ("809-25-1",)),)),
        )
        return msgspec.structs.replace(use, verdict=verdict, scenario="", operator="", subject=None)

    def outcome(self, use: Use, end: str = "complete") -> Outcome:
        """How a use may have ended."""
        rows = self.random.choice((0, 1, 1, 1, 1, 1, 2, 3))
        return Outcome(
            status=200,
            released_items=use.verdict.items if rows else (),
            rows=rows,
            bytes=60 + rows * self.random.randrange(180, 240),
            response_digest=self.random.randbytes(32).hex(),
            duration_us=int(self.random.lognormvariate(9.0, 0.5)),
            end=end,
        )

    def entries(
        self, uses: int, *, start_ns: int = NOON_NS, spacing_ns: int = 4_000_000, open_at_once: int = 64
    ) -> Iterator[bytes]:
        """The entries of `uses` uses in the order one worker would write them, one in fifty refused."""
        made = UseEntries(new_run(start_ns), Salts())
        waiting: list[tuple[str, Use]] = []
        for n in range(uses):
            now = start_ns + n * spacing_ns
            if n % 50 == 49:
                yield made.refused(self.refused(now))[1]
                continue
            use = self.use(now)
            record, content = made.opened(use)
            yield content
            waiting.append((record, use))
            if len(waiting) >= open_at_once:
                record, use = waiting.pop(self.random.randrange(len(waiting)))
                yield made.closed(record, use, self.outcome(use), now)
        for record, use in waiting:
            yield made.closed(record, use, self.outcome(use), start_ns + uses * spacing_ns)

    @staticmethod
    def pseudonym(person: int, year: int = 2026) -> str:
        """A person's pseudonym in a year, as the identity room forms it."""
        digest = hashlib.sha256(f"{year}/{person}".encode()).digest()[:16]
        return f"{year}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"

    def _kind(self, n: int) -> tuple[Caller, Call, Verdict, str, str]:
        department = f"department-{n % 12:02d}"
        system = f"{department}-system-{n % 3}"
        supplier = ("police", "civil-affairs", "market-regulation", "health", "housing")[n % 5]
        dataset = f"30700{n % 5}001.{n % 9:06d}"
        items = tuple(sorted(("name", "id_number", "status", "registered_on", "district")[: 2 + n % 4]))
        caller = Caller(system, department, Assurance.MTLS, f"token-{n:04d}-0f3a", 2_000_000_000)
        call = Call(
            system=system,
            department=department,
            assurance=Assurance.MTLS,
            interface=f"{supplier}/interface-{n % 9}",
            dataset=dataset,
            mode=SharingMode.QUERY,
            purpose=("marriage-registration", "enterprise-licence", "social-assistance")[n % 3],
            items=None,
        )
        verdict = Verdict(
            decision=Decision.PERMIT,
            code="",
            policies=(f"grant/G-{n:04d}", "national/unshared-purpose"),
            policy_digest=hashlib.sha256(str(n).encode()).hexdigest(),
            valid_until_unix=2_000_000_000,
            grant=f"G-{n:04d}",
            grant_version=1,
            items=items,
            legal_basis="《婚姻登记条例》第七条",
            approver=f"officer-{n % 7}",
            retention_years=3,
        )
        return caller, call, verdict, supplier, SCENARIO

    @property
    def _weights(self) -> list[float]:
        return [1 / (n + 1) for n in range(len(self.kinds))]


def ledger_with(directory: Path, entries: Sequence[bytes], *, commit: int = 1000) -> LedgerService:
    """A ledger whose log and index hold `entries`, past the journals."""
    service = open_ledger(directory)
    service.integrator.catch_up()
    for at in range(0, len(entries), commit):
        some = entries[at : at + commit]
        service.log.commit(some, {})
        service.index.add(some)
    return service


async def record_uses(
    directory: Path,
    uses: Sequence[Use],
    city: City,
    *,
    refused: Sequence[Use] = (),
    writer: str = "worker-1",
    close: bool = True,
    **options: Any,
) -> list[str]:
    """Open and close `uses`, 64 at once, and write those `refused`, through one worker's journal.

    Returns the record ids of `uses` in order of opening.
    """
    loop = asyncio.get_running_loop()
    journal = UseJournal(
        directory,
        writer,
        loop=loop,
        clock_ns=time.time_ns,
        on_poisoned=lambda _: None,
        **{"low_water_bytes": 0, "segment_bytes": 1 << 20, **options},
    )
    records: list[str] = []
    gate = asyncio.Semaphore(64)

    async def one(use: Use) -> None:
        async with gate:
            durable = loop.create_future()
            record = journal.opened(use, durable.set_result)
            records.append(record)
            assert await durable is None
            if close:
                journal.closed(record, use, city.outcome(use))

    try:
        await asyncio.gather(*(one(use) for use in uses))
        for use in refused:
            journal.refused(use)
    finally:
        journal.close()
    return records
