"""Records that wait: officers' acts, lifecycle records, prunes and consultations, written before the act returns."""

import itertools
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.domain.free_text import require_no_identity_number
from gateway.domain.texts import CITED, Phrase, may_stand, words_of
from gateway.domain.uses import RecordKind
from gateway.ledger.journal.entries import act_entry
from gateway.ledger.journal.writer import LOW_WATER_BYTES, JournalWriter

ACT_SEGMENT_BYTES = 4 << 20
_is_bare = re.compile(r"[!-~]*", re.ASCII).fullmatch
_USE_KINDS = {RecordKind.USE_OPENED, RecordKind.USE_CLOSED, RecordKind.USE_REFUSED, RecordKind.RECOVERED}


_PLACES = ("officer", "officer_department", "department", "supplier", "dataset", "grant")


def void_of(record: str, told: Mapping[str, Any], reason: Phrase) -> dict[str, Any]:
    """The fields of a record that another did not come to stand: who finds that one finds this one too.

    Args:
        record: the other's id.
        told: its fields.
        reason: why it does not stand.
    """
    places = {name: told[name] for name in _PLACES if told.get(name)}
    return {**places, "act": "void", "reason": reason, "voids": record}


def acts_low_water_bytes(uses_bytes: int) -> int:
    """Free disk below which acts are refused where new uses are below `uses_bytes`: what goes on can be stopped."""
    return uses_bytes // 4


class ActJournal:
    """Durable records of acts for one process; thread-safe, and many threads share one sync.

    Args:
        directory: the ledger's folder.
        writer: the process's name, `control` say.
        clock_ns: Unix nanoseconds.
        on_poisoned: called on the journal's thread once nothing can be recorded any more.
        low_water_bytes: free disk below which acts are refused.
        segment_bytes: size of a journal segment.
    """

    def __init__(
        self,
        directory: Path,
        writer: str,
        *,
        clock_ns: Callable[[], int],
        on_poisoned: Callable[[BaseException], None] = lambda _: None,
        low_water_bytes: int = acts_low_water_bytes(LOW_WATER_BYTES),
        segment_bytes: int = ACT_SEGMENT_BYTES,
    ) -> None:
        self._clock_ns = clock_ns
        self._numbers = itertools.count(1)
        self._numbering = threading.Lock()
        self._journal = JournalWriter(
            directory,
            writer,
            clock_ns=clock_ns,
            tell=self._tell,
            on_poisoned=on_poisoned,
            segment_bytes=segment_bytes,
            low_water_bytes=low_water_bytes,
        )

    def append(self, kind: RecordKind, fields: Mapping[str, Any], *, retention_years: int = 3) -> str:
        """Write one record and return its id. Durability: it is synced on return.

        As `append_all`, for one.
        """
        return self.append_all(kind, [fields], retention_years=retention_years)[0]

    def append_all(
        self, kind: RecordKind, rows: Sequence[Mapping[str, Any]], *, retention_years: int = 3
    ) -> tuple[str, ...]:
        """Write records of one act and return their ids in order, consecutive. Durability: all are synced on return.

        `rows` are the record's own: names, counts, references, no values (INVARIANT: NO-VALUES). Of what somebody said
        they hold digests (`gateway.domain.texts`): a text refuses all of them. The keys
        `department`, `system`, `supplier`, `dataset`, `interface`, `grant`, `purpose`, `officer`, `act` and `code`
        can be asked for in questions when they hold text.

        Args:
            kind: any kind but those of a use.
            rows: one or more records' fields: JSON values without floats; a None is left out.
            retention_years: how long it is kept at least, three or more.

        Raises:
            GatewayError: `records-unavailable` if it could not be made durable, `invalid-input` if it is no record.
        """
        if kind in _USE_KINDS:
            raise GatewayError("invalid-input", f"`{kind.value}` is written by the data plane alone")
        for fields in rows:
            _require_no_words(fields)
            if isinstance(question := fields.get("question"), Mapping):
                _require_no_words(question)
                _require_names(question)
        if not self._journal.accepts:
            raise GatewayError("records-unavailable", "the act cannot be recorded, so it is not done")
        waiting = []
        with self._numbering:
            numbers = list(itertools.islice(self._numbers, len(rows)))
        for number, fields in zip(numbers, rows, strict=True):
            record = f"{self._journal.run}-{number}"
            salt = self._journal.salts.next()
            content = act_entry(kind, record, _bare(fields), salt, self._clock_ns(), years=retention_years)
            durable: Future[None] = Future()
            waiting.append((content, durable, record, 0))
        # Only now: a row that is no record refuses all of them.
        for each in waiting:
            self._journal.put(each)
        try:
            for _, durable, _, _ in waiting:
                durable.result()
        except OSError as error:
            raise GatewayError("records-unavailable", "the act could not be recorded") from error
        return tuple(record for _, _, record, _ in waiting)

    def close(self) -> None:
        """Let the journal go."""
        self._journal.close()

    @staticmethod
    def _tell(waiters: list[Any], error: BaseException | None) -> None:
        for durable in waiters:
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)


def _require_no_words(fields: Mapping[str, Any]) -> None:
    """INVARIANT: NO-VALUES: the log is never altered, so nothing enters it that somebody may want erased by law."""
    for name, value in fields.items():
        if name in CITED:
            require_no_identity_number(value, name)
        if any(not may_stand(text) for text in words_of(name, value)):
            raise GatewayError("invalid-input", f"`{name}` is a text: a record holds its digest")


def _require_names(question: Mapping[str, Any]) -> None:
    """INVARIANT: NO-VALUES: a question is asked in names; what has blanks or is no ASCII is a text."""
    for name, value in question.items():
        each = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(text, str) and not _is_bare(text) for text in each):
            raise GatewayError("invalid-input", f"`{name}` of a question is a text: a record holds names")


def _bare(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Phrase) else value for name, value in fields.items()}
