"""What callers and officers said, for whoever may read the records that name it (`gateway.domain.texts`).

A record of the log names a text by its digest; an answer of the API holds the text while it stands, and says plainly
when it was erased. A digest is read as its own system's or department's alone, so that no record shows another's words.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.control.act.services import ControlServices
from gateway.domain.errors import GatewayError
from gateway.domain.texts import ACT_WORDS, USE_WORDS, digest_in, erased_note, sealed
from gateway.ledger.index.queries import RecordQuery, RecordRow
from gateway.store.texts import StoredText

_AT_ONCE = 500
"""Texts that are opened together."""

GONE = "(the text is no longer in the state)"
UNREADABLE = "(sealed under a key that this node does not have)"


class Owner(NamedTuple):
    """Who said a text: a caller by its system, an officer by department alone."""

    system: str = ""
    department: str = ""


class ToldText(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text as it is told.

    Args:
        text: the text; "" of one that does not stand.
        salt: proves it: SHA-256 over `sharing-gateway/text/v1`, a line feed, the salt and the text is the digest.
        erased: the record of the act that erased it.
        owner: whose it is; None where that is not known.
    """

    text: str = ""
    salt: str = ""
    erased: str = ""
    owner: "Owner | None" = None

    @property
    def shown(self) -> str:
        """What stands in the record's field."""
        if self.erased:
            return erased_note(self.erased)
        return self.text if self.salt else GONE


def told_texts(services: ControlServices, values: Iterable[object]) -> dict[str, ToldText]:
    """Of values of records that name texts: each with its text, as far as it stands. Blocks."""
    wanted = {digest for value in values if (digest := digest_in(value)) is not None}
    found = services.store.texts(wanted)
    return {sealed(digest): _told(services, found.get(digest)) for digest in wanted}


def _told(services: ControlServices, stored: StoredText | None) -> ToldText:
    if stored is None:
        return ToldText()
    if stored.erased:
        return ToldText(erased=stored.erased)
    try:
        opened = services.open_text(stored.digest, stored.sealed)
    except GatewayError:
        return ToldText(UNREADABLE, "-", owner=_owner(stored))
    return ToldText(opened.text, opened.salt, owner=_owner(stored))


def _owner(stored: StoredText) -> Owner:
    return Owner(stored.system) if stored.system else Owner(department=stored.department)


class Words(NamedTuple):
    """What an entry of the log holds of somebody's words.

    Args:
        owner: who said them.
        said: field to what it names; one of several in a field has its number beside it, as `purposes/0`.
    """

    owner: Owner
    said: dict[str, object]


def words_in(entry: Mapping[str, Any]) -> Words:
    """The fields of an entry in which a digest may stand for a text."""
    use = entry.get("use")
    if isinstance(use, dict):
        return Words(Owner(str(use.get("system"))), {name: use.get(name) for name in USE_WORDS})
    said: dict[str, object] = {}
    for name in sorted(ACT_WORDS & entry.keys()):
        value = entry[name]
        said |= {f"{name}/{at}": each for at, each in enumerate(value)} if isinstance(value, list) else {name: value}
    if isinstance(question := entry.get("question"), dict):
        said["question/purpose"] = question.get("purpose")
    return Words(Owner(department=str(entry.get("officer_department"))), said)


def shown_rows(services: ControlServices, rows: Sequence[RecordRow]) -> list[RecordRow]:
    """Rows with the texts that they name. Blocks."""
    told = told_texts(services, (getattr(row, field) for row in rows for field in USE_WORDS))
    if not told:
        return list(rows)
    return [
        msgspec.structs.replace(row, **_shown(told, Owner(row.system or ""), msgspec.structs.asdict(row)))
        for row in rows
    ]


def _shown(told: Mapping[str, ToldText], owner: Owner, said: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for field in USE_WORDS:
        text = told.get(said.get(field) or "")
        if text is not None:
            # Another's digest can only stand in a record from before there were any.
            found[field] = GONE if text.owner not in (None, owner) else text.shown
    return found


def texts_of(services: ControlServices, entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Field to text, salt or the record of its erasure, of the texts that a record's entries name. Blocks."""
    if not entries:
        return {}
    owner, said = words_in(entries[0])
    told = told_texts(services, said.values())
    named = {field: told[value] for field, value in said.items() if isinstance(value, str) and value in told}
    shown = {}
    for field, text in named.items():
        own = text if text.owner in (None, owner) else ToldText()
        body: dict[str, str] = {"text": own.shown}
        if own.erased:
            body["erased"] = own.erased
        elif own.salt and own.text != UNREADABLE:
            body["salt"] = own.salt
        shown[field] = body
    return shown


def texts_beside(services: ControlServices, export: Path) -> Iterator[bytes]:
    """The texts that an export's records name: a line each, with its digest and salt. Blocks.

    A digest that stands in the record of another than its own is left out.
    """
    named: dict[str, set[Owner]] = {}
    for owner, said in _said_in(export):
        for digest in filter(None, map(digest_in, said.values())):
            named.setdefault(digest, set()).add(owner)
    digests = sorted(named)
    for at in range(0, len(digests), _AT_ONCE):
        for digest, stored in sorted(services.store.texts(digests[at : at + _AT_ONCE]).items()):
            told = _told(services, stored)
            if told.salt and told.text != UNREADABLE and told.owner in named[digest]:
                said = {"digest": digest, "salt": told.salt, "text": told.text}
                yield msgspec.json.encode(said) + b"\n"


def _said_in(export: Path) -> Iterator[Words]:
    """What each record in an export holds of somebody's words; a table has columns for those of uses alone."""
    if export.suffix == ".csv":
        with export.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                yield Words(Owner(row["system"]), {field: row[field] for field in USE_WORDS})
        return
    with export.open("rb") as file:
        for line in file:
            yield words_in(msgspec.json.decode(line)["entries"][0])


def shown_keys(services: ControlServices, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figures by purpose, with the texts that their keys name. Blocks."""
    told = told_texts(services, (each.get("key") for each in items))
    return [{**each, "key": told[each["key"]].shown if each.get("key") in told else each.get("key")} for each in items]


def recorded(query: RecordQuery) -> dict[str, Any]:
    """A question as the record of its reading says it: no data subject, no scope, no officer, and no sealed text."""
    named = query.purpose if query.of_purposes is None else query.of_purposes[-1]
    bare = msgspec.structs.replace(
        query,
        subjects=None,
        within_suppliers=None,
        within_departments=None,
        watching=(),
        purpose=named,
        of_purposes=None,
    )
    said: dict[str, Any] = msgspec.to_builtins(bare)
    said.pop("officer", None)
    return said


def with_words(services: ControlServices, query: RecordQuery) -> RecordQuery:
    """A question for a purpose finds also the records that name it by a digest. Blocks."""
    if query.purpose is None:
        return query
    same = services.store.texts_of_word(services.word_of(query.purpose))
    if not same:
        return query
    return msgspec.structs.replace(query, of_purposes=(query.purpose, *(sealed(each.digest) for each in same)))
