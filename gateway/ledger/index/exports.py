"""Exports: the records of a question as a file, with a manifest signed by the log's key.

NDJSON keeps the entries as they stand in the log, so that each can be hashed and proven; CSV and Parquet are flat
tables for people and tools. The manifest is a signed note beside the file (`<file>.manifest`):

    sharing-gateway/export/v1
    {"bytes":…,"format":…,"lowest_leaf":…,"made_unix":…,"origin":…,"query":{…},"records":…,"sha256":…,"size":…,"v":1,
     "verifier_key":…}

Its first line is no origin a log may have, so it cannot be taken for a checkpoint.
"""

import csv
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec

from gateway.domain.calendar import china_time
from gateway.domain.errors import GatewayError
from gateway.domain.formulas import escaped
from gateway.ledger.durable import sync_directory, unlink_all
from gateway.ledger.index.index import Index
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.index.rows import nearest_grant
from gateway.ledger.journal.entries import canonical
from gateway.ledger.log.export_names import MANIFEST_HEADER, manifest_path, partial_path
from gateway.ledger.log.kept import kept_digest
from gateway.ledger.log.minimum import minimum_index
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.log.tiles import WIDTH

FORMATS = ("ndjson", "csv", "parquet")
COLUMNS = (
    "record", "kind", "time", "closed_at", "department", "system", "operator", "supplier", "dataset", "interface",
    "mode", "purpose", "scenario", "legal_basis", "grant", "grant_version", "approver", "asked", "items", "released",
    "decision", "code", "policies", "policy_digest", "assurance", "credential", "subject", "request", "digest",
    "status", "rows", "bytes", "duration_us", "end", "trace", "retain_until", "officer", "act", "leaf", "last",
    "details",
)  # fmt: skip
"""Columns of CSV and Parquet exports, as texts. `time` and `closed_at` are China Standard Time."""

Progress = Callable[[int, int], None]


class Manifest(msgspec.Struct, frozen=True):
    """What an export holds: signed, so that file and question cannot be changed apart.

    Args:
        format: `ndjson`, `csv` or `parquet`.
        query: the question, its data subject by pseudonym only.
        records: how many records.
        bytes: the file's size.
        sha256: of the file, hex.
        origin: the log.
        size: leaves of the log when it was read.
        made_unix: when.
        lowest_leaf: the first leaf of any record in it: retention removes the export when that goes.
        v: format number.
        partial_of: it is a part: so many leaves should have been looked into, and `size` were; None of a whole one.
        set_aside: entries that the index could not take, so that none of them is in any export; None for none.
        kept: it holds records that a prune kept: the digest of what that was; the next prune removes the export.
        verifier_key: the log's, for whoever holds the one that came by another way against it.
    """

    format: str
    query: RecordQuery
    records: int
    bytes: int
    sha256: str
    origin: str
    size: int
    made_unix: int
    lowest_leaf: int | None = None
    v: int = 1
    partial_of: int | None = None
    set_aside: int | None = None
    kept: str | None = None
    verifier_key: str = ""

    def said(self) -> dict[str, Any]:
        """Its fields; those that say that something is missing stand there only where it is."""
        said: dict[str, Any] = msgspec.to_builtins(self)
        for name in ("partial_of", "set_aside", "kept"):
            if said[name] is None:
                del said[name]
        return said

    def text(self) -> str:
        """What is signed."""
        return f"{MANIFEST_HEADER}\n{canonical(self.said()).decode()}\n"


def export_records(
    index: Index,
    log: TiledLog,
    query: RecordQuery,
    format_name: str,
    path: Path,
    *,
    now_unix: int,
    owed: int = 0,
    set_aside: int = 0,
    progress: Progress = lambda _done, _of: None,
) -> Manifest:
    """Write the records of `query` to `path`, and the signed manifest beside it.

    Durability: both files are synced on return.

    Raises:
        GatewayError: `invalid-input` if the format is unknown or the file exists already; `conflict` if retention
            removes a record of it meanwhile. Then nothing is left of it, nor where `progress` raises.
    """
    if format_name not in FORMATS:
        raise GatewayError("invalid-input", f"exports are {', '.join(FORMATS)}; not `{format_name}`")
    if path.exists():
        raise GatewayError("invalid-input", f"`{path}` exists already")
    kept = kept_digest(log.files.root)
    leaves, size = index.leaves(query)
    lowest = min((leaf for leaf, _ in leaves), default=None)

    def advance(done: int, of: int) -> None:
        _require_kept(log, lowest, kept)
        progress(done, of)

    partial = partial_path(path, size if lowest is None else lowest, kept)
    try:
        _write(partial, format_name, _Records(log, leaves, size, advance), index)
        digest, length = _digest(partial)
        manifest = Manifest(
            format_name,
            query,
            len(leaves),
            length,
            digest,
            log.origin,
            size,
            now_unix,
            lowest,
            partial_of=owed if size < owed else None,
            set_aside=set_aside or None,
            kept=kept if lowest is not None and lowest < minimum_index(log.files.root) else None,
            verifier_key=log.key.text(),
        )
        _write_synced(manifest_path(path), log.sign(manifest.text()).encode().encode())
        partial.rename(path)
        sync_directory(path.parent)
        # Only now: a prune that begins later finds the file by its manifest.
        _require_kept(log, lowest, kept)
    except BaseException:
        unlink_all([partial, path, manifest_path(path)])
        # Whatever failed: where retention took bundles or files away, that is why.
        _require_kept(log, lowest, kept)
        raise
    return manifest


def _require_kept(log: TiledLog, lowest: int | None, kept: str) -> None:
    """Raise where a prune may have taken a record from `lowest` on since `kept` was the digest of what stays."""
    root = log.files.root
    if lowest is not None and lowest < minimum_index(root) and kept_digest(root) != kept:
        raise GatewayError("conflict", "retention removed records while they were exported: export what is left")


def _write(partial: Path, format_name: str, records: "_Records", index: Index) -> None:
    if format_name == "ndjson":
        with partial.open("w", encoding="utf-8", newline="") as file:
            _write_ndjson(file, records)
    elif format_name == "csv":
        with partial.open("w", encoding="utf-8-sig", newline="") as file:
            _write_csv(file, records, guard=True)
    else:
        table = partial.with_name(f".csv{partial.name}")
        try:
            with table.open("w", encoding="utf-8", newline="") as file:
                _write_csv(file, records, guard=False)
            index.copy_csv_to_parquet(table, partial, COLUMNS)
        finally:
            table.unlink(missing_ok=True)


class _Records:
    """The entries of each record, read from the log bundle by bundle."""

    def __init__(self, log: TiledLog, leaves: list[tuple[int, int | None]], size: int, progress: Progress) -> None:
        self._files = log.files
        self._leaves = leaves
        self._size = size
        self._progress = progress
        self._bundles: dict[int, list[bytes]] = {}

    def __iter__(self) -> Iterator[tuple[int, int | None, list[bytes]]]:
        for done, (leaf, last) in enumerate(self._leaves):
            entries = [self._entry(leaf)]
            if last is not None and last != leaf:
                entries.append(self._entry(last))
            yield leaf, last, entries
            if not done % 1000:
                self._progress(done, len(self._leaves))
        self._progress(len(self._leaves), len(self._leaves))

    def _entry(self, leaf: int) -> bytes:
        n = leaf // WIDTH
        bundle = self._bundles.get(n)
        if bundle is None:
            if len(self._bundles) >= 8:
                self._bundles.pop(next(iter(self._bundles)))
            bundle = self._bundles[n] = self._files.standing(n, min(WIDTH, self._size - n * WIDTH))
        if not (entry := bundle[leaf % WIDTH]):
            raise GatewayError("not-found", f"the entry of leaf {leaf} was pruned")
        return entry


def _write_ndjson(file: TextIO, records: _Records) -> None:
    for leaf, last, entries in records:
        said = ",".join(entry.decode() for entry in entries)
        file.write(f'{{"entries":[{said}],"last":{"null" if last is None else last},"leaf":{leaf}}}\n')


def _write_csv(file: TextIO, records: _Records, *, guard: bool) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for leaf, last, entries in records:
        row = flat(leaf, last, [msgspec.json.decode(entry) for entry in entries])
        cells = [row.get(column) for column in COLUMNS]
        writer.writerow([escaped(cell) if guard and cell else cell for cell in cells])


def flat(leaf: int, last: int | None, entries: list[dict[str, Any]]) -> dict[str, str]:
    """One record as a row of texts."""
    first, final = entries[0], entries[-1]
    # A use's entry says who and what under `use`; an act's may have a field of that name with anything in it.
    use = first.get("use")
    said: dict[str, Any] = {**first}
    if isinstance(use, dict):
        del said["use"]
        said = {**use, **said}
    if final is not first:
        said["released"] = final.get("items", ())
        said["closed_at"] = china_time(final["time"])
        said["end"] = final.get("end", final["kind"])
        said["retain_until"] = final["retain_until"]
        said |= {key: final[key] for key in ("status", "rows", "bytes", "duration_us", "digest") if key in final}
    kind = "use" if first["kind"] == "use.opened" else first["kind"]
    said["grant"] = said.get("grant") or nearest_grant(said.get("near"))
    said |= {"record": first["id"], "kind": kind, "time": china_time(first["time"]), "leaf": leaf, "last": last}
    spare = {key: value for key, value in said.items() if key not in COLUMNS and key not in {"id", "salt", "v"}}
    if spare:
        said["details"] = msgspec.json.encode(spare, order="sorted").decode()
    return {key: _text(value) for key, value in said.items() if key in COLUMNS and value is not None}


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(str(each) for each in value)
    return str(value)


def _digest(path: Path) -> tuple[str, int]:
    hashing = hashlib.sha256()
    length = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashing.update(block)
            length += len(block)
        os.fsync(file.fileno())
    return hashing.hexdigest(), length


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
