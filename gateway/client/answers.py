"""What is made of an answer: its rows, one by one, or a file of it."""

import codecs
import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from gateway.client.problems import AnswerCut

Progress = Callable[[int, int | None], None]
"""(bytes so far, bytes of all, where that is known)"""

_ROW_NAMES = ("data", "datas", "rows", "records", "items", "list", "result", "results")


class RowReader:
    """Rows of a JSON, NDJSON or CSV answer, as its octets come.

    Args:
        answer: its header tells the format, and `Sharing-Rows` how many there are, where it does.
    """

    def __init__(self, answer: httpx.Response) -> None:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._is_lines = kind in {"application/x-ndjson", "application/jsonl", "application/ndjson"}
        self._is_csv = kind == "text/csv"
        self._request = answer.request
        rows = answer.headers.get("Sharing-Rows", "")
        self._expected = int(rows) if rows.isascii() and rows.isdecimal() else None
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._rest = ""
        self._names: list[str] | None = None
        self._count = 0

    def take(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """The rows that end in this part."""
        self._rest += self._decoder.decode(chunk)
        if not self._is_lines and not self._is_csv:
            return
        # A row ends with a line end outside quotes.
        *lines, self._rest = self._rest.splitlines(keepends=True) if self._rest else [""]
        if self._rest.endswith("\n"):
            lines, self._rest = [*lines, self._rest], ""
        held = ""
        for line in lines:
            held += line
            if self._is_csv and held.count('"') % 2:
                continue
            yield from self._row(held)
            held = ""
        self._rest = held + self._rest

    def end(self) -> Iterator[dict[str, Any]]:
        """The rows that the answer's end completes.

        Raises:
            AnswerCut: where it ends amid a row, or before the last one.
        """
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        if self._is_lines or self._is_csv:
            yield from self._row(rest)
        else:
            yield from self._of_document(rest)
        if self._expected is not None and self._count != self._expected:
            raise AnswerCut(f"{self._count} rows came of {self._expected}", request=self._request)

    def _row(self, text: str) -> Iterator[dict[str, Any]]:
        if not text.strip():
            return
        if self._is_lines:
            yield self._counted(self._parsed(text))
            return
        cells = next(csv.reader([text], strict=False))
        if self._names is None:
            self._names = cells
        elif len(cells) != len(self._names):
            raise AnswerCut("the answer ends amid a row", request=self._request)
        else:
            yield self._counted(dict(zip(self._names, cells, strict=True)))

    def _of_document(self, text: str) -> Iterator[dict[str, Any]]:
        value = self._parsed(text)
        for _ in range(3):
            if isinstance(value, dict):
                name = next((each for each in _ROW_NAMES if isinstance(value.get(each), (list, dict))), None)
                if name is None:
                    break
                value = value[name]
        for row in value if isinstance(value, list) else [value]:
            yield self._counted(row)

    def _parsed(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise AnswerCut("the answer ends amid a row", request=self._request) from error

    def _counted(self, row: Any) -> dict[str, Any]:
        self._count += 1
        return row if isinstance(row, dict) else {"value": row}


class Saving:
    """An answer on its way into a file: beside it until it is whole.

    Args:
        path: where it will be.
        progress: told as it grows.
    """

    def __init__(self, path: Path, progress: Progress | None) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._progress = progress
        self._have = 0
        self._tag: str | None = None
        self._can_resume = False
        self._of: int | None = None
        self._partial.unlink(missing_ok=True)

    def range_fields(self) -> dict[str, str]:
        """What asks for the rest alone, where the answer before allows it (RFC 9110 §13.1.5, §14.2)."""
        if not self._can_resume or not self._have or self._tag is None:
            return {}
        return {"Range": f"bytes={self._have}-", "If-Range": self._tag}

    def begin(self, answer: httpx.Response) -> None:
        """An answer has begun: the rest of what is there (206), or the whole."""
        is_rest = answer.status_code == 206 and answer.headers.get("content-range", "").startswith(
            f"bytes {self._have}-"
        )
        if not is_rest:
            self._have = 0
            self._partial.unlink(missing_ok=True)
        length = answer.headers.get("content-length", "")
        self._of = self._have + int(length) if length.isdecimal() else None
        tag = answer.headers.get("etag")
        self._tag = tag if tag is not None and not tag.startswith("W/") else None
        self._can_resume = answer.headers.get("accept-ranges", "").lower() == "bytes" or is_rest

    def take(self, chunk: bytes) -> None:
        """More of it."""
        file = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, chunk)
        finally:
            os.close(file)
        self._have += len(chunk)
        if self._progress is not None:
            self._progress(self._have, self._of)

    def finish(self) -> str:
        """Give it its name; returns its SHA-256."""
        self._partial.touch(mode=0o600)
        with self._partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._partial.replace(self._path)
        return digest
