"""What the control process asks the ledger process with."""

import base64
from pathlib import Path
from typing import Any, TypeVar

from gateway.ledger.index.exports import Manifest
from gateway.ledger.index.figures import Figure
from gateway.ledger.index.queries import RecordPage, RecordQuery
from gateway.ledger.log.retention import Holds, RetentionPlan
from gateway.ledger.process.answers import ShownRecord
from gateway.ledger.process.questions import Progress, ask
from gateway.ledger.process.service import Pruned, Status

T = TypeVar("T")


class LedgerClient:
    """Asks the ledger process; every method raises `unavailable` where it is not running.

    Whether the asker may ask is decided before, and the question narrowed with `within_suppliers` and
    `within_departments`.

    Args:
        socket_path: where `LedgerService.serve_questions` listens.
    """

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    async def find(self, query: RecordQuery, cursor: str | None = None, limit: int = 100) -> RecordPage:
        """A page of records, newest first."""
        return await self._ask(RecordPage, "find", query=query, cursor=cursor, limit=limit)

    async def show(self, record: str) -> ShownRecord:
        """One record, whole; raises `not-found`."""
        return await self._ask(ShownRecord, "show", record=record)

    async def prove(self, record: str, *, part: str = "opened") -> str:
        """A tlog-proof of the record's first entry, or with `part="closed"` of its closing; raises `not-found`."""
        return await self._ask(str, "prove", record=record, part=part)

    async def export(
        self, query: RecordQuery, format_name: str, out_path: Path, progress: Progress | None = None
    ) -> Manifest:
        """Write an export and its signed manifest; `progress(done, of)` is called as it goes on."""
        args = {"query": query, "format": format_name, "path": str(out_path)}
        return await ask(self._path, "export", args, Manifest, progress)

    async def stats(self, query: RecordQuery, by: str) -> list[Figure]:
        """Figures of the records of `query`, grouped by a key of `figures.GROUPS`."""
        return await self._ask(list[Figure], "stats", query=query, by=by)

    async def checkpoint(self) -> str:
        """The published checkpoint, a signed note."""
        return await self._ask(str, "checkpoint")

    async def cosigned(self) -> str:
        """The newest checkpoint that a witness cosigned; "" if there is none."""
        return await self._ask(str, "cosigned")

    async def minimum_index(self) -> int:
        """The first leaf whose entry is still there."""
        return await self._ask(int, "minimum_index")

    async def tile(self, path: str) -> bytes:
        """A tile or bundle by its tlog-tiles path; raises `not-found`."""
        return base64.b64decode(await self._ask(str, "tile", path=path))

    async def status(self) -> Status:
        """How the ledger stands."""
        return await self._ask(Status, "status")

    async def plan_retention(self, holds: Holds) -> RetentionPlan:
        """What may go today, and why no more."""
        return await self._ask(RetentionPlan, "plan_retention", holds=holds)

    async def apply_retention(self, plan: RetentionPlan, holds: Holds, *, by: str) -> Pruned:
        """Do just `plan`; raises `precondition-failed` if it is not what may go now."""
        return await self._ask(Pruned, "apply_retention", plan=plan, holds=holds, by=by)

    async def _ask(self, kind: type[T], op: str, **args: Any) -> T:
        return await ask(self._path, op, args, kind)
