"""People's words in the state: sealed, by the digest that records name (`gateway.domain.texts`).

What an officer says is written in the act's own transaction, a row for each act. A caller's row is written before a
record names it, once for all records of one system that say the same; several workers and nodes may write one at once,
and all of them go on with the one that came to stand. What one system may add in a day is bounded: its rows of the day
are counted in the transaction that adds to them.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, Table, delete, func, select, text, update

from gateway.domain.calendar import has_ended, years_after
from gateway.domain.changes import ChangeKind
from gateway.domain.errors import GatewayError
from gateway.domain.texts import ACT_WORDS, erased_note
from gateway.store import schema
from gateway.store.database import Database
from gateway.store.readings import Readings
from gateway.store.transaction import WriteBase

log = logging.getLogger(__name__)

_ADD = text(
    """
    INSERT INTO texts (digest, mark, word, system, department, day, named_until, years, sealed, places)
    VALUES (:digest, :mark, :word, :system, :department, :day, :named_until, :years, :sealed, :places)
    ON CONFLICT (mark) DO NOTHING
    """
)

_ERASED = text("INSERT INTO erased_texts (digest, record) VALUES (:digest, :record) ON CONFLICT (digest) DO NOTHING")

ERASURE = "texts"
"""Subject of the change (of kind `key`, which every version knows) after which nothing seen before is named."""

NAMED_DAYS = 31
"""How long records may name a text before its row is touched again: one write a month and text that is in use."""
_SCRUB_TRIES, _SCRUB_PAUSE_SECONDS = 20, 0.05
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


class OfficersText(msgspec.Struct, frozen=True):
    """What an officer says in an act, on its way into the state.

    Args:
        text: the text; it finds the rows of this transaction in which it stands besides, and goes no further.
        digest: what records name it by.
        word: what tells it again, whoever says it.
        department: the officer's.
        sealed: the text, with the salt that proves it.
    """

    text: str
    digest: str
    word: str
    department: str
    sealed: str


class StoredText(msgspec.Struct, frozen=True):
    """A text of the state: whose, and sealed; of one that was erased `erased` is the record of that, and no more.

    An officer's text has no system: its department is that of who said it.
    """

    digest: str
    system: str = ""
    department: str = ""
    sealed: str = ""
    erased: str = ""


class TextReadings(Readings):
    """Reads of texts: on a `Store` and inside a transaction alike."""

    def texts(self, digests: Iterable[str]) -> dict[str, StoredText]:
        """The texts of these digests, and those that were erased, by digest; of others nothing is known."""
        table, gone = schema.texts, schema.erased_texts
        found: dict[str, StoredText] = {}
        for chunk in _chunks(sorted(set(digests))):
            for row in self._rows(select(table).where(table.c.digest.in_(chunk)), {}):
                found[row.digest] = _stored(row)
            # Last: what was erased between the two readings is erased.
            for row in self._rows(select(gone).where(gone.c.digest.in_(chunk)), {}):
                found[row.digest] = StoredText(row.digest, erased=row.record)
        return found

    def texts_of_word(self, word: str) -> tuple[StoredText, ...]:
        """Every system's text of that word."""
        table = schema.texts
        statement = select(table).where(table.c.word == word).order_by(table.c.digest)
        return tuple(_stored(row) for row in self._rows(statement, {}))


class TextWrites(TextReadings, WriteBase):
    """A transaction that can also erase texts."""

    def erase_texts(self, digests: Iterable[str], record: str, word_of: Callable[[str], str]) -> None:
        """Take texts away for good, with their salts, and where else they stand in the state.

        Args:
            digests: of the texts; those of which nothing is known stay erased should they come back.
            record: of the act; what showed the text says `(erased: record …)`.
            word_of: a text to what tells it again in the state.

        Each worker lets go of them as it hears of the change. In SQLite the octets are overwritten, and `Store.scrub`
        clears its log; PostgreSQL lets go of the row, and of its octets when it vacuums.
        """
        wanted = sorted(set(digests))
        if self._connection.dialect.name == "sqlite":
            self._connection.exec_driver_sql("PRAGMA secure_delete=ON")
        table, note, words = schema.texts, erased_note(record), set[str]()
        places: set[tuple[str, str]] = set()
        for chunk in _chunks(wanted):
            for row in self._rows(select(table.c.word, table.c.places).where(table.c.digest.in_(chunk)), {}):
                words.add(row.word)
                places |= {(name, key) for name, key in msgspec.json.decode(row.places or "[]")}
            self._connection.execute(delete(table).where(table.c.digest.in_(chunk)))

        def is_one(text: str) -> bool:
            return word_of(text) in words

        for name, key in sorted(places):
            there = schema.metadata.tables[name]
            column = there.c[schema.WORDED[name]]
            self._erase_in(there, select(there).where(column == column.type.python_type(key)), is_one, note)
        if words:
            # What is answered to whoever asks again may tell of any earlier act.
            self._erase_in(schema.answers, select(schema.answers), is_one, note)
        for digest in wanted:
            self._connection.execute(_ERASED, {"digest": digest, "record": record})
        self.change(ChangeKind.KEY, ERASURE)

    def _erase_in(self, table: Table, found: Select[Any], is_it: Callable[[str], bool], note: str) -> None:
        """Put a note in place of a text in rows, whichever of their fields it stands in."""
        for row in self._connection.execute(found).mappings().all():
            held = {name: row[name] for name in _WORDED_COLUMNS if name in row}
            changed = {name: new for name, old in held.items() if (new := _without(name, old, is_it, note)) != old}
            if changed:
                same = [column == row[column.name] for column in table.primary_key]
                self._connection.execute(update(table).where(*same).values(**changed))

    def add_texts(self, texts: Iterable[OfficersText], day: date, years: int) -> None:
        """Keep what an officer says in this act; its records may name it on `day` and the next, and stay for `years`.

        Each act has rows of its own, so that no two acts wait for each other, and the log does not tell that two of
        them gave the same reason. They are written last: a row names the others of the act in which its text stands.
        """
        said = tuple(texts)

        def write() -> None:
            days = {"day": day.isoformat(), "named_until": (day + timedelta(days=1)).isoformat(), "years": years}
            rows = []
            for each in said:
                row = {"digest": each.digest, "mark": each.digest, "word": each.word, "sealed": each.sealed, **days}
                places = msgspec.json.encode(self._places_of(each.text)).decode()
                rows.append({**row, "system": "", "department": each.department, "places": places})
            self._connection.execute(_ADD, rows)

        if said:
            self._at_end.append(write)

    def forget_texts(self, today: date, held: Iterable[str]) -> int:
        """Let go of texts once the time of every record that may name them is over; how many went.

        A record's own time is meant: one that stays longer, for a grant that stands, keeps the digest alone. What the
        systems of the departments of `held` have said stays: records of theirs are in dispute.
        """
        table = schema.texts
        gone = 0
        if self._connection.dialect.name == "sqlite":
            self._connection.exec_driver_sql("PRAGMA secure_delete=ON")
        for (years,) in self._rows(select(table.c.years).distinct(), {}):
            due = [
                row.digest
                for row in self._rows(select(table.c.digest, table.c.named_until).where(table.c.years == years), {})
                if has_ended(years_after(date.fromisoformat(row.named_until), years), today)
            ]
            for chunk in _chunks(due):
                ended = table.c.digest.in_(chunk) & table.c.department.not_in(sorted(held))
                gone += self._connection.execute(delete(table).where(ended)).rowcount
        return gone


class Texts(TextReadings):
    """Texts over one `Database`: reads, and the one write of the data plane."""

    _database: Database

    def scrub(self) -> bool:
        """Clear what SQLite's write-ahead log still holds of what was erased; whether it is clear.

        Readers and writers of other processes may keep it: then it goes when they let go, at the latest at a restart.
        What is left there is sealed. Raises nothing: the erasure stands.
        """
        if not self._database.is_sqlite:
            return True
        for _ in range(_SCRUB_TRIES):
            try:
                if self._database.clear_log():
                    return True
            except GatewayError as error:
                log.warning("the state's log is not cleared of what was erased: %s", error.detail)
                return False
            time.sleep(_SCRUB_PAUSE_SECONDS)
        log.warning("the state's log is not cleared of what was erased: others read it; it goes once they let go")
        return False

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
                    connection.execute(_ADD, {**row, "years": each.years, "places": None})
                elif not is_good(mark, found):
                    years = max(each.years, found[mark][2])
                    changed = {"named_until": max(last, found[mark][1]), "years": years}
                    connection.execute(update(schema.texts).where(schema.texts.c.mark == mark).values(**changed))
            return {mark: row[0] for mark, row in standing(connection).items()}


_WORDED_COLUMNS = ("body", "content", "reason")
"""Of the tables of `WORDED`: JSON as text, JSON as bytes, and a text."""
_WORDED_FIELDS = ACT_WORDS - {"purpose", "purposes"} | {"extension_reasons", "lift_reason", "report", "what"}
"""Under these names alone a document holds somebody's words: a state, an id or a day that reads the same is a fact."""
_LEAD = ": "
"""Parts what the gateway says of a text from the text, where both stand in one sentence."""


def _without(column: str, held: Any, is_it: Callable[[str], bool], note: str) -> Any:
    """What a column holds, without a text."""
    if column == "reason":
        return _replaced(held, is_it, note, is_worded=True)
    document = msgspec.json.decode(held)
    changed = _replaced(document, is_it, note, is_worded=False)
    if changed == document:
        return held
    encoded = msgspec.json.encode(changed)
    return encoded if isinstance(held, bytes) else encoded.decode()


def _replaced(value: Any, is_it: Callable[[str], bool], note: str, *, is_worded: bool) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(each, is_it, note, is_worded=name in _WORDED_FIELDS) for name, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, is_it, note, is_worded=is_worded) for each in value]
    if not is_worded or not isinstance(value, str):
        return value
    if is_it(value):
        return note
    lead, part, rest = value.partition(_LEAD)
    return f"{lead}{part}{note}" if rest and is_it(rest) else value


def _stored(row: Any) -> StoredText:
    return StoredText(row.digest, row.system, row.department, row.sealed)


def _added(connection: Connection, system: str, day: date) -> int:
    table = schema.texts
    statement = select(func.count()).where(table.c.system == system, table.c.day == day.isoformat())
    return int(connection.execute(statement).scalar_one())


def _chunks(values: list[str]) -> Iterable[list[str]]:
    return (values[at : at + _CHUNK] for at in range(0, len(values), _CHUNK))
