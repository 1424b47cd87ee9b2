"""What is made of an answer: its rows, one by one, or a file of it."""

import codecs
import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from gateway.client.problems import AnswerCut, SharingProblem

Progress = Callable[[int, int | None], None]
"""(bytes so far, bytes of all, where that is known)"""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", re.ASCII)
_ROW_NAMES = ("data", "datas", "rows", "records", "items", "list", "result", "results")


class RowReader:
    """Rows of a JSON, NDJSON or CSV answer, as its octets come.

    Args:
        answer: its head tells the format; once it has been read, it knows how many rows there were, where the gateway
            said so at its end.
    """

    def __init__(self, answer: httpx.Response) -> None:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._is_lines = kind in {"application/x-ndjson", "application/jsonl", "application/ndjson"}
        self._is_csv = kind == "text/csv"
        self._answer = answer
        named = (answer.charset_encoding or "utf-8").lower()
        self._decoder = codecs.getincrementaldecoder("utf-8-sig" if named in {"utf-8", "utf8"} else named)()
        self._rest: list[str] = []
        self._names: list[str] | None = None
        self._count = 0

    def take(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """The rows that end in this part."""
        text = self._decoder.decode(chunk)
        # By LF alone: what else Unicode calls a line's end may stand within a value.
        if "\n" not in text or not (self._is_lines or self._is_csv):
            self._rest.append(text)
            return
        *lines, rest = "".join((*self._rest, text)).split("\n")
        held = ""
        for line in lines:
            held += line + "\n"
            # A row of CSV ends with a line's end outside quotes.
            if not self._is_csv or held.count('"') % 2 == 0:
                yield from self._row(held)
                held = ""
        self._rest = [held + rest]

    def end(self) -> Iterator[dict[str, Any]]:
        """The rows that the answer's end completes.

        Raises:
            AnswerCut: where it ends amid a row, or with another number of them than the gateway sent.
        """
        rest = "".join((*self._rest, self._decoder.decode(b"", final=True)))
        self._rest = []
        if self._is_lines or self._is_csv:
            yield from self._row(rest)
            told = self._answer.extensions.get("sharing_rows")
            if told is not None and self._count != told:
                raise self._cut(f"{self._count} rows came of {told}")
        else:
            yield from self._of_document(rest)

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
            raise self._cut("the answer ends amid a row")
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
            raise self._cut("the answer ends amid a row") from error

    def _counted(self, row: Any) -> dict[str, Any]:
        self._count += 1
        return row if isinstance(row, dict) else {"value": row}

    def _cut(self, words: str) -> AnswerCut:
        return AnswerCut(words, request=self._answer.request)


class Saving:
    """An answer on its way into a file: beside it until it is whole.

    Args:
        path: where it will be.
        progress: told as it grows.
        resumes: how often it is gone on with, or begun anew, where it is cut.
    """

    def __init__(self, path: Path, progress: Progress | None, resumes: int) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._progress = progress
        self._resumes = resumes
        self._have = 0
        self._tag: str | None = None
        self._can_resume = False
        self._of: int | None = None
        self._partial.unlink(missing_ok=True)

    def fields(self, own: Mapping[str, str] | None) -> dict[str, str]:
        """A call's header fields: its own, and what asks for the rest alone, where the answer before allows it.

        Source: RFC 9110 §13.1.5, §14.2.
        """
        if not self._can_resume or not self._have or self._tag is None:
            return dict(own or {})
        return {**(own or {}), "Range": f"bytes={self._have}-", "If-Range": self._tag}

    def begin(self, answer: httpx.Response) -> None:
        """An answer has begun: the rest of what is there (206), or the whole.

        Raises:
            AnswerCut: it is another part than the rest.
        """
        part = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "").strip())
        if answer.status_code == 206:
            if part is None or int(part[1]) != self._have or not self._can_resume:
                self._can_resume = False
                raise AnswerCut("a part came that was not asked for", request=answer.request)
            self._of = int(part[2]) if part[2] != "*" else None
        else:
            self._have = 0
            self._partial.unlink(missing_ok=True)
            # What is saved is decoded; lengths and ranges are of what is sent.
            is_plain = "content-encoding" not in answer.headers
            length = answer.headers.get("content-length", "")
            self._of = int(length) if length.isdecimal() and is_plain else None
            self._can_resume = is_plain and answer.headers.get("accept-ranges", "").lower() == "bytes"
        tag = answer.headers.get("etag")
        self._tag = tag if tag is not None and not tag.startswith("W/") else None
        self._answer, self._from = answer, self._have

    def take(self, chunk: bytes) -> None:
        """More of it."""
        descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(chunk)
        self._have += len(chunk)
        if self._progress is not None:
            self._progress(self._have, self._of)

    def is_over(self, error: Exception) -> bool:
        """Whether `error` is to be raised; else the rest is asked for, or where that cannot be had, the whole anew."""
        if isinstance(error, SharingProblem):
            # There is no such rest (RFC 9110 §15.5.17): the file has become another one.
            if error.status != 416 or not self._can_resume:
                return True
            self._can_resume = False
        self._resumes -= 1
        return self._resumes < 0

    def finish(self) -> str:
        """Give it its name; returns its SHA-256.

        Raises:
            AnswerCut: it is shorter or longer than was said.
        """
        if self._of is not None and self._have != self._of:
            self._can_resume = self._can_resume and self._from < self._have < self._of
            raise AnswerCut(f"{self._have} octets came of {self._of}", request=self._answer.request)
        self._partial.touch(mode=0o600)
        with self._partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._partial.replace(self._path)
        return digest
