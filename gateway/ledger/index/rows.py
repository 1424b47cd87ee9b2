"""From entries to index rows: one row a use, opened and closed joined; one row for every other record.

A row is rendered as a line of cells, which DuckDB splits at its own speed; what a verdict fixes is rendered once.
"""

import hashlib
from typing import Any

import msgspec

COLUMNS = {
    "leaf": "UBIGINT",
    "last": "UBIGINT",
    "run": "VARCHAR",
    "seq": "UBIGINT",
    "time_us": "BIGINT",
    "subject": "UBIGINT",
    "besides": "UBIGINT[]",
    "status": "USMALLINT",
    "rows": "UBIGINT",
    "bytes": "UBIGINT",
    "duration_us": "UBIGINT",
    "ending": "VARCHAR",
    "released": "VARCHAR",
    "kind": "VARCHAR",
    "department": "VARCHAR",
    "system": "VARCHAR",
    "supplier": "VARCHAR",
    "dataset": "VARCHAR",
    "interface": "VARCHAR",
    "mode": "VARCHAR",
    "purpose": "VARCHAR",
    "scenario": "VARCHAR",
    "operator": "VARCHAR",
    "grant_id": "VARCHAR",
    "code": "VARCHAR",
    "policies": "VARCHAR",
    "assurance": "VARCHAR",
    "officer": "VARCHAR",
    "act": "VARCHAR",
}
"""The index's columns in order, with DuckDB's types.

`leaf` is the first entry of the record, `last` the last (NULL while a use is open); the record id is `run-seq`;
`subject` is `subject_key` of the pseudonym, `besides` of the others where a use names several; `released` and
`policies` are words joined by spaces.
"""

LAST_NS = 253_402_271_999 * 1_000_000_000
"""The last second of 9999 in China: a later one has no day."""

SEPARATOR = "\x1f"
"""Between the cells of a line: the unit separator of ASCII, which no cell holds."""
USE = "use"
"""The kind of a row that joins `use.opened` with `use.closed` or `recovered`."""


class _Entry(msgspec.Struct):
    id: str
    kind: str
    time: int
    subject: str | None = None
    subjects: tuple[str, ...] = ()
    use: msgspec.Raw = msgspec.Raw()
    status: int = 0
    rows: int = 0
    bytes: int = 0
    duration_us: int = 0
    end: str = ""
    items: tuple[str, ...] = ()


class _Head(msgspec.Struct):
    id: str
    kind: str
    time: int


_decode = msgspec.json.Decoder(_Entry).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_MAX_KEPT = 65_536
_NO_END = SEPARATOR * 7
"""Status to released items, where a use has not ended or there was none."""


def subject_key(pseudonym: str) -> int:
    """64 bits of a pseudonym's hash: what the index holds of it. Among 10^10 uses, one false hit in 10^9 questions."""
    return int.from_bytes(hashlib.blake2b(pseudonym.encode(), digest_size=8).digest(), "big")


def cell(value: object) -> str:
    """One cell; None and "" are empty, which is taken as NULL."""
    text = "" if value is None else str(value)
    return text.replace(SEPARATOR, " ") if SEPARATOR in text else text


class Rows:
    """Joins entries to rows. Feed it leaf after leaf; take finished lines with `take`.

    Attributes:
        open: record id -> (leaf, the line's beginning, its end) of uses that are open.
    """

    def __init__(self) -> None:
        self.open: dict[str, tuple[int, str, str]] = {}
        self._finished: list[str] = []
        self._constants: dict[bytes, str] = {}
        self._closed: list[int] = []

    def add(self, leaf: int, content: bytes) -> None:
        """Take in the entry of `leaf`."""
        try:
            entry = _decode(content)
        except msgspec.ValidationError:
            # An act's fields are its own: one called `end` or `rows` means something else than a use's.
            self._act(leaf, _decode_head(content), content)
            return
        if not 0 <= entry.time <= LAST_NS:
            raise ValueError("no time of this calendar")
        kind = entry.kind
        if kind == "use.opened":
            self.open[entry.id] = (leaf, self._begin(entry), self._constant(entry.use, USE))
        elif kind == "use.closed":
            self._close(leaf, entry, entry.end, " ".join(entry.items))
        elif kind == "recovered":
            self._close(leaf, entry, "recovered", "")
        elif kind == "use.refused":
            begin = self._begin(entry)
            self._finished.append(f"{leaf}\x1f{leaf}\x1f{begin}{_NO_END}{self._constant(entry.use, kind)}")
        else:
            self._act(leaf, entry, content)

    def take(self) -> tuple[list[str], list[int]]:
        """The finished lines since the last call, and the first leaves of the uses among them."""
        lines, closed = self._finished, self._closed
        self._finished, self._closed = [], []
        return lines, closed

    def open_lines(self) -> list[str]:
        """Lines of the uses that are open."""
        return [f"{leaf}\x1f\x1f{begin}{_NO_END}{end}" for leaf, begin, end in self.open.values()]

    def _begin(self, entry: _Entry) -> str:
        run, _, number = entry.id.rpartition("-")
        subject = "" if entry.subject is None else str(subject_key(entry.subject))
        besides = f"[{','.join(str(subject_key(each)) for each in entry.subjects[1:])}]" if entry.subjects else ""
        return f"{run}\x1f{number}\x1f{entry.time // 1000}\x1f{subject}\x1f{besides}"

    def _close(self, leaf: int, entry: _Entry, end: str, items: str) -> None:
        opened = self.open.pop(entry.id, None)
        if opened is None:
            # Its opening was pruned or lies before a torn tail: the closing entry alone names nobody.
            run, _, number = entry.id.rpartition("-")
            opened = (leaf, f"{run}\x1f{number}\x1f{entry.time // 1000}\x1f\x1f", f"{USE}{SEPARATOR * 15}")
        else:
            self._closed.append(opened[0])
        first, begin, constant = opened
        self._finished.append(
            f"{first}\x1f{leaf}\x1f{begin}\x1f{entry.status}\x1f{entry.rows}\x1f{entry.bytes}\x1f{entry.duration_us}\x1f"
            f"{cell(end)}\x1f{cell(items)}\x1f{constant}"
        )

    def _constant(self, use: msgspec.Raw, kind: str) -> str:
        raw = bytes(use)
        line = self._constants.get(raw)
        if line is None:
            if len(self._constants) > _MAX_KEPT:
                self._constants.clear()
            said: dict[str, Any] = msgspec.json.decode(raw)
            line = self._constants[raw] = _constant_cells(said)
        return f"{kind}\x1f{line}"

    def _act(self, leaf: int, entry: _Entry | _Head, content: bytes) -> None:
        said: dict[str, Any] = msgspec.json.decode(content)
        known = {key: value for key, value in said.items() if isinstance(value, str)}
        if "department" not in known and "supplier" not in known and "officer_department" in known:
            # An act that concerns no department in particular, such as reading across a region, is the actor's own.
            known["department"] = known["officer_department"]
        run, _, number = entry.id.rpartition("-")
        subject = subject_key(known["subject"]) if "subject" in known else ""
        self._finished.append(
            f"{leaf}\x1f{leaf}\x1f{cell(run)}\x1f{number}\x1f{entry.time // 1000}\x1f{subject}\x1f{_NO_END}"
            f"{cell(entry.kind)}\x1f{_constant_cells(known)}"
        )


def nearest_grant(near: object) -> str | None:
    """The grant that a refused attempt came nearest; the list of them may have been shortened to a count."""
    first = near[0] if isinstance(near, list) and near else None
    named = first.get("grant") if isinstance(first, dict) else None
    return named if isinstance(named, str) else None


def _constant_cells(said: dict[str, Any]) -> str:
    fields = (
        said.get("department"),
        said.get("system"),
        said.get("supplier"),
        said.get("dataset"),
        said.get("interface"),
        said.get("mode"),
        said.get("purpose"),
        said.get("scenario"),
        said.get("operator"),
        said.get("grant") or nearest_grant(said.get("near")),
        said.get("code"),
        " ".join(said["policies"]) if isinstance(said.get("policies"), list) else None,
        said.get("assurance"),
        said.get("officer"),
        said.get("act"),
    )
    return SEPARATOR.join(cell(field) for field in fields)
