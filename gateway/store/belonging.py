"""What ties the state to its home and its log, so that an older one is known for what it is.

- `acts`: each act's record is noted in the act's own transaction: a record that is not, tells of an act that never
  stood, or that a restored state has lost (`outcome`: done, void, held, lost).
- `logs`: the largest checkpoint of each node's log that was ever published here, and the leaf up to which records
  and acts are known to agree.
- `homes`: the homes that this state serves, and in which of their lives: a copy that was put back by hand differs.
"""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import insert, select, text

from gateway.domain.errors import GatewayError
from gateway.store import schema
from gateway.store.readings import Readings
from gateway.store.transaction import WriteBase

DONE, VOID, HELD, LOST = "done", "void", "held", "lost"

_KNOW_LOG = text(
    """
    INSERT INTO logs (origin, size, root, settled) VALUES (:origin, :size, :root, :settled)
    ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root, settled = excluded.settled
    WHERE logs.size <= excluded.size
    """
)
_CHECK_IN = text(
    """
    INSERT INTO homes (id, incarnation, restored) VALUES (:id, :incarnation, 0)
    ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, restored = 0
    """
)


class KnownLog(msgspec.Struct, frozen=True):
    """What the state knows of a node's log.

    Args:
        origin: the log's name.
        size: leaves at its largest known checkpoint.
        root: over them.
        settled: the leaf before which every act on record is known to stand, or to be void.
    """

    origin: str
    size: int
    root: bytes
    settled: int


class KnownHome(msgspec.Struct, frozen=True):
    """A home that the state serves: its id, the life it is in, and whether the state was put back since."""

    id: str
    incarnation: str
    restored: bool


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """An act that is on record and that the state, restored from a backup, does not have.

    Args:
        record: its record.
        outcome: `held` where what it withdrew is held by orders of the gateway, else `lost`.
        act: what the officer did.
        officer: who.
        time: when, Unix nanoseconds.
        kind: of the record.
        withdraws: what it took away.
        orders: what holds that, each until an officer lifts it.
    """

    record: str
    outcome: str
    act: str
    officer: str
    time: int
    kind: str
    withdraws: tuple[dict[str, str], ...] = ()
    orders: tuple[str, ...] = ()


_difference = msgspec.json.Decoder(Difference).decode


class Belonging(Readings):
    """Reads of what ties the state to home and log."""

    def known_log(self, origin: str) -> KnownLog | None:
        """What the state knows of the log `origin`, or None."""
        rows = self._rows(select(schema.logs).where(schema.logs.c.origin == origin), {})
        return KnownLog(rows[0][0], rows[0][1], bytes.fromhex(rows[0][2]), rows[0][3]) if rows else None

    def known_home(self, id: str) -> KnownHome | None:  # noqa: A002 - the domain's name
        """What the state knows of the home `id`, or None."""
        rows = self._rows(select(schema.homes).where(schema.homes.c.id == id), {})
        return KnownHome(rows[0][0], rows[0][1], bool(rows[0][2])) if rows else None

    def has_acts(self, records: Iterable[str]) -> set[str]:
        """Those of `records` that the state has taken note of."""
        runs: dict[str, dict[int, str]] = {}
        for record in records:
            run, number = _split(record)
            runs.setdefault(run, {})[number] = record
        found = set()
        for run, numbers in runs.items():
            table = schema.acts
            ranges = self._rows(
                select(table.c.first, table.c.count).where(table.c.run == run).order_by(table.c.first), {}
            )
            spans = [(int(first), int(first) + int(count)) for first, count in ranges]
            at = 0
            for number in sorted(numbers):
                while at < len(spans) and spans[at][1] <= number:
                    at += 1
                if at < len(spans) and spans[at][0] <= number:
                    found.add(numbers[number])
        return found

    def differences(self) -> tuple[Difference, ...]:
        """Acts on record that a restored state does not have, oldest first."""
        table = schema.acts
        rows = self._rows(select(table.c.body).where(table.c.outcome.in_((HELD, LOST))), {})
        return tuple(sorted((_difference(row[0]) for row in rows), key=lambda each: (each.time, each.record)))


class BelongingTransaction(Belonging, WriteBase):
    """A transaction that can also say what ties the state to home and log."""

    def note_acts(self, records: Sequence[str], outcome: str = DONE) -> None:
        """Note that the acts these records tell of stand, or what else became of them.

        Args:
            records: ids of one journal, consecutive as `append_all` gave them.
            outcome: done or void.
        """
        run, first = _split(records[0])
        values = {"run": run, "first": first, "count": len(records), "outcome": outcome}
        self._connection.execute(insert(schema.acts).values(**values))

    def suppliers_of_data(self) -> tuple[str, ...]:
        """Every department that has entries in the directory."""
        table = schema.datasets
        rows = self._rows(select(table.c.supplier).distinct().order_by(table.c.supplier), {})
        return tuple(row[0] for row in rows)

    def note_difference(self, difference: Difference) -> None:
        """Note an act on record that this state does not have."""
        run, first = _split(difference.record)
        body = msgspec.json.encode(difference).decode()
        values = {"run": run, "first": first, "count": 1, "outcome": difference.outcome, "body": body}
        self._connection.execute(insert(schema.acts).values(**values))

    def know_log(self, log: KnownLog) -> None:
        """Keep the largest checkpoint of a log; a smaller one than is known changes nothing."""
        values = {"origin": log.origin, "size": log.size, "root": log.root.hex(), "settled": log.settled}
        self._connection.execute(_KNOW_LOG, values)

    def check_in(self, id: str, incarnation: str) -> None:  # noqa: A002 - the domain's name
        """Say that the home `id` begins the life `incarnation` with this state."""
        self._connection.execute(_CHECK_IN, {"id": id, "incarnation": incarnation})


def _split(record: str) -> tuple[str, int]:
    """A record's run and number.

    Raises:
        GatewayError: `invalid-input` if it is no record id.
    """
    run, _, number = record.rpartition("-")
    if not run or not (number.isascii() and number.isdigit()) or len(number) > 18 or len(run) > 64:
        raise GatewayError("invalid-input", "this is no record id")
    return run, int(number)
