"""Callers' words in the state: sealed, by the digest that records name (`gateway.domain.texts`).

A row is written before a record names it, once for all records of one system that say the same; several workers and
nodes may write one at once, and all of them go on with the one that came to stand. What one system may add in a day is
bounded: its rows of the day are counted in the transaction that adds to them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta

import msgspec
from sqlalchemy import Connection, func, select, text, update

from gateway.store import schema
from gateway.store.database import Database

_ADD = text(
    """
    INSERT INTO texts (digest, mark, word, system, department, day, named_until, years, sealed)
    VALUES (:digest, :mark, :word, :system, :department, :day, :named_until, :years, :sealed)
    ON CONFLICT (mark) DO NOTHING
    """
)

NAMED_DAYS = 31
"""How long records may name a text before its row is touched again: one write a month and text that is in use."""
_CHUNK = 500
"""Parameters of one statement; SQLite takes 32,766, and a long list is no faster."""


class NewText(msgspec.Struct, frozen=True):
    """A text on its way into the state.

    Args:
        mark: what tells it again, among what its system says.
        word: what tells it again, whoever says it.
        system: whose it is.
        department: the system's.
        years: how long the record that names it stays.
        seal: makes the digest and the sealed text; called where the text is not there yet.
    """

    mark: str
    word: str
    system: str
    department: str
    years: int
    seal: Callable[[], tuple[str, str]]


class StoredText(msgspec.Struct, frozen=True):
    """A text of the state: whose, and sealed; of one that was erased `erased` is the record of that, and no more."""

    digest: str
    system: str = ""
    department: str = ""
    sealed: str = ""
    erased: str = ""


class Texts:
    """Texts over one `Database`: reads, and the one write of the data plane."""

    _database: Database

    def keep_texts(self, wanted: Sequence[NewText], day: date, limit: int) -> dict[str, str]:
        """The digest by which records of `day` and the next may name each text, by its mark.

        What is not there yet is added while the system has added fewer than `limit` on `day`; a text that is in no row
        of the answer was not taken. Nodes that add at the same moment may together pass the limit by one batch each.

        Durability: what is named stands durably in the state on return; what stood there already costs no write.
        """
        until = (day + timedelta(days=1)).isoformat()
        needed = {each.mark: each for each in wanted}

        def standing(connection: Connection) -> dict[str, tuple[str, str, int]]:
            table = schema.texts
            found = {}
            for chunk in _chunks(sorted(needed)):
                statement = select(table.c.mark, table.c.digest, table.c.named_until, table.c.years)
                for row in connection.execute(statement.where(table.c.mark.in_(chunk))):
                    found[row.mark] = (row.digest, row.named_until, row.years)
            return found

        def is_good(mark: str, found: Mapping[str, tuple[str, str, int]]) -> bool:
            row = found.get(mark)
            return row is not None and row[1] >= until and row[2] >= needed[mark].years

        found = self._database.read(standing)
        if all(is_good(mark, found) for mark in needed):
            return {mark: row[0] for mark, row in found.items()}
        with self._database.writing() as connection:
            found = standing(connection)
            missing = [needed[mark] for mark in sorted(needed) if mark not in found]
            left = {system: limit - _added(connection, system, day) for system in {each.system for each in missing}}
            if not any(count > 0 for count in left.values()) and all(is_good(mark, found) for mark in found):
                return {mark: row[0] for mark, row in found.items()}
            last = (day + timedelta(days=NAMED_DAYS)).isoformat()
            # By mark, in one order on every node, so that two batches cannot wait for each other.
            for mark in sorted(needed):
                each = needed[mark]
                if mark not in found:
                    if left[each.system] <= 0:
                        continue
                    left[each.system] -= 1
                    digest, sealed = each.seal()
                    row = {
                        "digest": digest,
                        "mark": mark,
                        "word": each.word,
                        "system": each.system,
                        "department": each.department,
                    }
                    row |= {"day": day.isoformat(), "named_until": last, "sealed": sealed}
                    connection.execute(_ADD, {**row, "years": each.years})
                elif not is_good(mark, found):
                    years = max(each.years, found[mark][2])
                    changed = {"named_until": max(last, found[mark][1]), "years": years}
                    connection.execute(update(schema.texts).where(schema.texts.c.mark == mark).values(**changed))
            return {mark: row[0] for mark, row in standing(connection).items()}

    def texts(self, digests: Iterable[str]) -> dict[str, StoredText]:
        """The texts of these digests, and those that were erased, by digest; of others nothing is known."""
        wanted = sorted(set(digests))

        def read(connection: Connection) -> dict[str, StoredText]:
            found, table, gone = {}, schema.texts, schema.erased_texts
            for chunk in _chunks(wanted):
                for row in connection.execute(select(gone).where(gone.c.digest.in_(chunk))):
                    found[row.digest] = StoredText(row.digest, erased=row.record)
                for row in connection.execute(select(table).where(table.c.digest.in_(chunk))):
                    found[row.digest] = StoredText(row.digest, row.system, row.department, row.sealed)
            return found

        return self._database.read(read, snapshot=True) if wanted else {}

    def texts_of_word(self, word: str) -> tuple[StoredText, ...]:
        """Every system's text of that word."""
        table = schema.texts
        statement = select(table).where(table.c.word == word).order_by(table.c.digest)
        rows = self._database.read(lambda connection: connection.execute(statement).all())
        return tuple(StoredText(row.digest, row.system, row.department, row.sealed) for row in rows)


def _added(connection: Connection, system: str, day: date) -> int:
    table = schema.texts
    statement = select(func.count()).where(table.c.system == system, table.c.day == day.isoformat())
    return int(connection.execute(statement).scalar_one())


def _chunks(values: list[str]) -> Iterable[list[str]]:
    return (values[at : at + _CHUNK] for at in range(0, len(values), _CHUNK))
