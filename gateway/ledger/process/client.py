"""What the control process asks the ledger process with."""

import asyncio
import base64
import time
from pathlib import Path
from typing import Any, TypeVar

from gateway.domain.errors import GatewayError
from gateway.ledger.index.exports import Manifest
from gateway.ledger.index.figures import FiguresAnswer
from gateway.ledger.index.queries import RecordPage, RecordQuery
from gateway.ledger.index.unnamed import Unnamed
from gateway.ledger.process.answers import ShownRecord
from gateway.ledger.process.questions import Progress, ask
from gateway.ledger.process.service import Pruned, Status
from gateway.ledger.retention.retention import Holds, RetentionPlan

T = TypeVar("T")

PATIENCE_SECONDS = 3.0
AGAIN_SECONDS = 0.2


class LedgerClient:
    """Asks the ledger process; every method raises `unavailable` where it is not running.

    Whether the asker may ask is decided before, and the question narrowed with `within_suppliers` and
    `within_departments`.

    Args:
        socket_path: where `LedgerService.serve_questions` listens.
    """

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    async def find(
        self, query: RecordQuery, cursor: str | None = None, limit: int = 100, *, allow_partial: bool = False
    ) -> RecordPage:
        """A page of records, newest first; raises `records-incomplete` unless a part is allowed."""
        return await self._ask(RecordPage, "find", query=query, cursor=cursor, limit=limit, allow_partial=allow_partial)

    async def unnamed(self, query: RecordQuery, *, allow_partial: bool = False) -> Unnamed:
        """What a question about a person within the times of `query` cannot look into; refused as `find` is."""
        return await self._ask(Unnamed, "unnamed", query=query, allow_partial=allow_partial)

    async def show(self, record: str) -> ShownRecord:
        """One record, whole; raises `not-found`."""
        return await self._ask(ShownRecord, "show", record=record)

    async def prove(self, record: str, *, part: str = "opened") -> str:
        """A tlog-proof of the record's first entry, or with `part="closed"` of its closing; raises `not-found`."""
        return await self._ask(str, "prove", record=record, part=part)

    async def export(
        self,
        query: RecordQuery,
        format_name: str,
        out_path: Path,
        progress: Progress | None = None,
        *,
        allow_partial: bool = False,
    ) -> Manifest:
        """Write an export and its signed manifest; `progress(done, of)` is called as it goes on."""
        args = {"query": query, "format": format_name, "path": str(out_path), "allow_partial": allow_partial}
        return await self._ask(Manifest, "export", progress, **args)

    async def stats(self, query: RecordQuery, by: str, *, allow_partial: bool = False) -> FiguresAnswer:
        """Figures of the records of `query`, grouped by a key of `figures.GROUPS`."""
        return await self._ask(FiguresAnswer, "stats", query=query, by=by, allow_partial=allow_partial)

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

    async def _ask(self, kind: type[T], op: str, progress: Progress | None = None, **args: Any) -> T:
        """Ask, and again for a while where what is asked about is still on its way into the index."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await ask(self._path, op, args, kind, progress)
            except GatewayError as error:
                if error.code != "records-incomplete" or time.monotonic() > until:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)
