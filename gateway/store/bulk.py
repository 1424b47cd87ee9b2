"""Bulk import of grants: checked and sorted by the chunk, written in batches that each are one transaction.

Between two batches other writers get their turn, so a suspension does not wait for a long import to end. A chunk is
written in the order of its slices, so that a batch touches neighbouring pages of the one wide index that is not in the
order of issue. Batches are synced to the disk together, by the import's last transaction.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec
from sqlalchemy import select

from gateway.domain.changes import ChangeKind
from gateway.domain.errors import TAKEN, GatewayError
from gateway.domain.grants import Grant
from gateway.store import schema
from gateway.store.transaction import DAY_SECONDS, Transaction

CHUNK = 50_000
"""Grants checked and sorted at once: some 100 MiB of memory."""

BATCH = 8_000
"""Grants a transaction: some 250 ms of holding the writer's lock."""

NARROW = 64
"""Up to how many pairs of department and dataset a batch names one by one in the feed; above, one wide change."""

_COLUMNS = tuple(column.name for column in schema.grants.columns if column.name != "number")
_ENCODER = msgspec.json.Encoder()
_SQLITE_INSERT = f"INSERT INTO grants ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_SUPPLIERS = select(schema.datasets.c.id, schema.datasets.c.supplier).where(schema.datasets.c.state == "released")
_TAKEN = select(schema.grants.c.id)


def chunks(grants: Iterable[Grant]) -> Iterator[list[Grant]]:
    """Grants in chunks of `CHUNK`, as they come."""
    source = iter(grants)
    while chunk := list(islice(source, CHUNK)):
        yield chunk


def batches(chunk: list[Grant]) -> Iterator[list[Grant]]:
    """A chunk in batches of `BATCH`, in the order of its slices."""
    chunk.sort(key=lambda grant: (grant.dataset, grant.department))
    yield from (chunk[start : start + BATCH] for start in range(0, len(chunk), BATCH))


class BulkWrites(Transaction):
    """A `Transaction` that can also take a batch of new grants."""

    def grant_faults(self, chunk: Sequence[Grant], suppliers: Mapping[str, str]) -> list[dict[str, str]]:
        """Why new grants cannot be stored: unreleased datasets, ids taken, versions above 1, times without a zone."""
        taken = {row[0] for row in self._among(_TAKEN, schema.grants.c.id, (grant.id for grant in chunk))}
        faults = []
        for grant in chunk:
            if grant.dataset not in suppliers:
                faults.append(_fault(grant, "dataset", f"`{grant.dataset}` is not a released dataset"))
            if grant.id in taken:
                faults.append(_fault(grant, "id", TAKEN))
            if grant.version != 1:
                faults.append(_fault(grant, "version", "a new grant has version 1"))
            if grant.valid_from.tzinfo is None or grant.valid_until.tzinfo is None:
                faults.append(_fault(grant, "valid_until", "a time needs a zone"))
            taken.add(grant.id)
        return faults

    def insert_grants(
        self, batch: Sequence[Grant], suppliers: Mapping[str, str], rows: list[tuple[object, ...]]
    ) -> None:
        """Store new grants without faults, all or none.

        Args:
            batch: new grants.
            suppliers: of their datasets, as of this transaction's beginning.
            rows: `rows_of` them, made before the writer's lock was taken.

        Raises:
            GatewayError: `conflict` if another writer took an id meanwhile.
        """
        self._write(rows)
        pairs: set[tuple[str, str, str]] = set()
        for grant in batch:
            pairs.add((grant.department, grant.dataset, suppliers[grant.dataset]))
            if len(pairs) > NARROW:
                self.change(ChangeKind.GRANT, "import")
                return
        for department, dataset, supplier in sorted(pairs):
            self.change(ChangeKind.GRANT, "import", department=department, dataset=dataset, supplier=supplier)

    def issue_grants(self, batch: Sequence[Grant]) -> dict[str, str]:
        """Store new grants, all or none, each named in the feed; the supplier of each of their datasets.

        Raises:
            GatewayError: `invalid-input` with every fault.
        """
        suppliers = self.suppliers(batch)
        faults = self.grant_faults(batch, suppliers)
        if faults:
            raise GatewayError("invalid-input", f"{len(faults)} faults in the grants", faults=faults)
        self._write(rows_of(batch, suppliers))
        for grant in batch:
            self._grant_changed(grant, suppliers[grant.dataset], withdraws=False)
        return suppliers

    def suppliers(self, batch: Sequence[Grant]) -> dict[str, str]:
        """Released dataset to supplier, of those the grants name."""
        return dict(self._among(_SUPPLIERS, schema.datasets.c.id, (grant.dataset for grant in batch)))

    def _write(self, rows: list[tuple[object, ...]]) -> None:
        """Write rows past SQLAlchemy's parameter handling (`tests/bench/store_scale.py` shows what it costs)."""
        if self._connection.dialect.name == "sqlite":
            self._connection.exec_driver_sql(_SQLITE_INSERT, rows)
            return
        cursor = self._connection.connection.cursor()
        with cursor.copy(f"COPY grants ({', '.join(_COLUMNS)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def rows_of(batch: Sequence[Grant], suppliers: Mapping[str, str]) -> list[tuple[object, ...]]:
    """The rows of new grants.

    Raises:
        GatewayError: `conflict` if a dataset is not released any more.
    """
    if any(grant.dataset not in suppliers for grant in batch):
        raise GatewayError("conflict", "an entry was withdrawn during the import")
    return [_row(grant, suppliers[grant.dataset]) for grant in batch]


def _row(grant: Grant, supplier: str) -> tuple[object, ...]:
    """A row in the order of `_COLUMNS`: what `grant_columns` says, without a dictionary a grant."""
    valid_until = int(grant.valid_until.timestamp())
    return (
        grant.id,
        1,
        grant.department,
        grant.dataset,
        supplier,
        grant.state.value,
        int(grant.disputed),
        int(grant.valid_from.timestamp()),
        valid_until,
        valid_until // DAY_SECONDS,
        _ENCODER.encode(grant).decode(),
    )


def _fault(grant: Grant, field: str, fault: str) -> dict[str, str]:
    return {"grant": grant.id, "field": field, "fault": fault}


Progress = Callable[[int], None]
"""Called after each batch with how many grants stand so far."""
