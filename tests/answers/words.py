"""What everybody says in the story, and where it stands at its end: nowhere in the log, in the state until erased."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from gateway.identity.keys.texts import OpenText
from gateway.store import schema
from tests.answers.world import FullWorld

_NOBODYS = {"policy_sets"}
"""Tables of texts that are written for all to read, whatever words they have in common with anybody's."""


class Words(NamedTuple):
    """What became of people's own words.

    Args:
        in_log: of what bodies of requests said, not by name, that which the ledger's files hold.
        kept: how many texts of officers the state held sealed.
        standing: where those stood besides: table, column and text.
        left: the same once all of them were erased.
    """

    in_log: set[str]
    kept: int
    standing: set[tuple[str, str, str]]
    left: set[tuple[str, str, str]]


class Heard:
    """Hears what is asked of a world.

    Args:
        world: the world; from now on its requests pass here.
        folder: where it stands.
    """

    def __init__(self, world: FullWorld, folder: Path) -> None:
        self._world, self._folder, self._ask = world, folder, world.ask
        self._said: set[str] = set()
        world.ask = self._hear  # type: ignore[method-assign]

    def _hear(self, officer: str | None, method: str, path: str, body: Any = None, **sent: Any) -> httpx.Response:
        self._said.update(text for text in _texts(body) if not text.isascii() or " " in text.strip())
        return self._ask(officer, method, path, body, **sent)

    def words(self) -> Words:
        """What became of it all; every text is erased."""
        world = self._world
        log = b"".join(path.read_bytes() for path in sorted((self._folder / "ledger").rglob("*")) if path.is_file())
        in_log = {text for text in self._said if text.encode() in log}
        table = schema.texts
        with world.store.transaction() as tx:
            rows = tx._rows(table.select().where(table.c.system == ""), {})
            opened: list[OpenText] = [world.texts.open(row.digest, row.sealed) for row in rows]
        texts = {each.text for each in opened}
        standing = set(self._standing(texts))
        with world.store.transaction() as tx:
            tx.erase_texts([row.digest for row in rows], "r-1", world.services.word_of)
        world.store.scrub()
        return Words(in_log, len(rows), standing, set(self._standing(texts)))

    def _standing(self, texts: set[str]) -> Iterator[tuple[str, str, str]]:
        with sqlite3.connect(f"file:{self._folder / 'state.db'}?mode=ro", uri=True) as state:
            for name in schema.metadata.tables.keys() - _NOBODYS:
                cursor = state.execute(f'SELECT * FROM "{name}"')
                columns = [each[0] for each in cursor.description]
                for row in cursor:
                    for column, cell in zip(columns, row, strict=True):
                        held = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
                        yield from ((name, column, text) for text in texts if text in held)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
