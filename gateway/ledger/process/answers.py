"""What the ledger process answers: one function a question, served by `questions`."""

from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError
from gateway.ledger.index.exports import Manifest, export_records
from gateway.ledger.index.figures import FiguresAnswer, figures
from gateway.ledger.index.queries import Knows, RecordPage, RecordQuery
from gateway.ledger.index.unnamed import Unnamed
from gateway.ledger.log.minimum import minimum_index
from gateway.ledger.log.proofs import Hashes, TlogProof
from gateway.ledger.log.tiles import parse_tile_path
from gateway.ledger.process.questions import Lane, Progress, QuestionServer
from gateway.ledger.process.service import LedgerService, Pruned, Status
from gateway.ledger.retention.retention import Holds, RetentionPlan
from gateway.ledger.verify.record import verify_record

QUESTIONS = Lane("questions", threads=4, waiting=1024)
FIGURES = Lane("figures", threads=2, waiting=32)
EXPORTS = Lane("exports", threads=2, waiting=16)
RETENTION = Lane("retention plans", threads=1, waiting=8)


class ShownRecord(msgspec.Struct, frozen=True):
    """One record, whole: its entries as they stand in the log.

    Args:
        record: its id.
        leaf: its first entry in the log.
        last: its last entry; None while a use is open.
        entries: one, or two of a use that is closed.
        knows: what was looked into: a use is open as far as that.
    """

    record: str
    leaf: int
    last: int | None
    entries: tuple[dict[str, Any], ...]
    knows: Knows


def serve(service: LedgerService, socket_path: Path) -> QuestionServer:
    """Answer questions about `service` on a Unix socket, on threads of their own."""
    answers = Answers(service)
    return QuestionServer(
        socket_path,
        {
            QUESTIONS: {
                "find": answers.find,
                "unnamed": answers.unnamed,
                "show": answers.show,
                "prove": answers.prove,
                "checkpoint": answers.checkpoint,
                "cosigned": answers.cosigned,
                "minimum_index": answers.minimum_index,
                "tile": answers.tile,
                "status": answers.status,
            },
            FIGURES: {"stats": answers.stats},
            EXPORTS: {"export": answers.export},
            RETENTION: {"plan_retention": answers.plan_retention, "apply_retention": answers.apply_retention},
        },
    )


class Answers:
    """One method a question; arguments are JSON values by name."""

    def __init__(self, service: LedgerService) -> None:
        self._service = service
        self._files = service.log.files

    def find(self, args: dict[str, Any], _: Progress) -> RecordPage:
        """A page of records."""
        owed = self._owed(args)
        page = self._service.index.find(_query(args), args.get("cursor"), int(args.get("limit", 100)))
        return msgspec.structs.replace(page, knows=self._service.knows(owed))

    def unnamed(self, args: dict[str, Any], _: Progress) -> Unnamed:
        """What a question about a person cannot look into."""
        self._owed(args)
        return self._service.index.unnamed(_query(args))

    def show(self, args: dict[str, Any], _: Progress) -> ShownRecord:
        """One record, whole."""
        record = str(args["record"])
        knows = self._service.knows(self._service.require_whole(allow_partial=True))
        leaf, last = self._located(record)
        size = self._service.log.published().size
        leaves = [leaf] if last is None or last == leaf else [leaf, last]
        entries = tuple(msgspec.json.decode(self._files.entry(each, size)) for each in leaves)
        return ShownRecord(record, leaf, last, entries, knows)

    def prove(self, args: dict[str, Any], _: Progress) -> str:
        """A tlog-proof of one entry, on the cosigned checkpoint where that covers it."""
        record = str(args["record"])
        leaf, last = self._located(record)
        if args.get("part") == "closed":
            if last is None or last == leaf:
                raise GatewayError("not-found", "the record has no closing entry")
            leaf = last
        checkpoint = self._service.cosigning.cosigned()
        if leaf >= checkpoint.size:
            checkpoint = self._service.log.published()
        path = Hashes(checkpoint.size, self._files.tile).inclusion(leaf)
        proof = TlogProof(leaf, path, checkpoint.note, self._files.entry(leaf, checkpoint.size)).encode()
        # What was damaged here must not travel as a proof that fails elsewhere.
        verify_record(proof.encode(), self._service.log.key.text(), record=record)
        return proof

    def export(self, args: dict[str, Any], progress: Progress) -> Manifest:
        """Write an export."""
        owed = self._owed(args)
        return export_records(
            self._service.index,
            self._service.log,
            _query(args),
            str(args["format"]),
            Path(str(args["path"])),
            now_unix=self._service.now_unix(),
            owed=owed,
            set_aside=self._service.knows(owed).set_aside,
            progress=progress,
        )

    def stats(self, args: dict[str, Any], _: Progress) -> FiguresAnswer:
        """Figures by group."""
        owed = self._owed(args)
        found = figures(self._service.index, _query(args), str(args["by"]))
        return FiguresAnswer(tuple(found), self._service.knows(owed))

    def _owed(self, args: dict[str, Any]) -> int:
        return self._service.require_whole(allow_partial=bool(args.get("allow_partial", False)))

    def _located(self, record: str) -> tuple[int, int | None]:
        """Where a record stands.

        Raises:
            GatewayError: `record-pruned` where retention removed it, `records-incomplete` where it may stand behind
                what the index knows, or how its use ended may; `not-found` alone says that there is none.
        """
        try:
            leaf, last = self._service.index.locate(record)
        except GatewayError as error:
            if error.code != "not-found":
                raise
            if self._service.index.is_below_what_is_kept(record, minimum_index(self._files.root)):
                raise GatewayError(
                    "record-pruned", "records of that writer and time were removed by retention"
                ) from error
            self._service.require_whole(allow_partial=False)
            raise
        if last is None:
            # Only who knows all says that a use is open still.
            self._service.require_whole(allow_partial=False)
        return leaf, last

    def checkpoint(self, _args: dict[str, Any], _: Progress) -> str:
        """The newest signed checkpoint."""
        return self._files.checkpoint().decode()

    def cosigned(self, _args: dict[str, Any], _: Progress) -> str:
        """The newest cosigned checkpoint; "" if there is none."""
        return self._service.cosigning.cosigned().note.decode()

    def minimum_index(self, _args: dict[str, Any], _: Progress) -> int:
        """The first leaf whose entry is still there."""
        return minimum_index(self._files.root)

    def tile(self, args: dict[str, Any], _: Progress) -> bytes:
        """A hash tile or an entry bundle."""
        level, n, width = parse_tile_path(str(args["path"]))
        return self._files.bundle_bytes(n, width) if level is None else self._files.tile(level, n, width)

    def status(self, _args: dict[str, Any], _: Progress) -> Status:
        """How the ledger stands."""
        return self._service.status()

    def plan_retention(self, args: dict[str, Any], _: Progress) -> RetentionPlan:
        """What may go."""
        return self._service.plan_retention(_holds(args))

    def apply_retention(self, args: dict[str, Any], _: Progress) -> Pruned:
        """Let it go."""
        plan = msgspec.convert(args["plan"], RetentionPlan)
        return self._service.apply_retention(plan, _holds(args), str(args["by"]))


def _query(args: dict[str, Any]) -> RecordQuery:
    return msgspec.convert(args["query"], RecordQuery)


def _holds(args: dict[str, Any]) -> Holds:
    return msgspec.convert(args.get("holds", {}), Holds)
