"""The closed lists that policies speak of, each an enumerated entity type of the schema: a word outside cannot be said.

What a directory holds beside its list (a class that nobody has defined, a grade of 9) is told as `unknown`, which
national policies refuse. A set of policies whose schema has no such types, as it was put in force by an older gateway,
is told the same words as the strings and numbers that it knows.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.domain.classification import CLASSES, class_of, secret_of
from gateway.domain.directory import EntryState, Level, SharingAttribute, SharingMode
from gateway.domain.grants import GrantState
from gateway.domain.officers import Role

UNKNOWN = "unknown"
GRADES = ("1", "2", "3", "4")

WORDS: Mapping[str, tuple[str, ...]] = {
    "Level": tuple(Level),
    "SharingAttribute": tuple(SharingAttribute),
    "Classification": (*CLASSES, "state-secret", "work-secret", UNKNOWN),
    "Grade": (*GRADES, UNKNOWN),
    "EntryState": tuple(EntryState),
    "Mode": tuple(SharingMode),
    "GrantState": tuple(GrantState),
    "Role": tuple(Role),
}
"""Enumerated entity type -> its words; a test holds that the schema lists the same."""

_ENUMERATED = re.compile(r"^entity (\w+) enum \[([^\]]*)\];", re.MULTILINE)


def enumerations(schema: str) -> dict[str, tuple[str, ...]]:
    """The enumerated entity types of a schema's text and their words."""
    return {kind: tuple(re.findall(r'"([^"]*)"', words)) for kind, words in _ENUMERATED.findall(schema)}


def knows_words(schema: str) -> bool:
    """Whether a schema has the closed lists as types; one of an older gateway has none of them."""
    return not WORDS.keys().isdisjoint(enumerations(schema))


def word(kind: str, value: str) -> dict[str, Any]:
    """A word of a closed list, as Cedar's JSON form names it."""
    return {"__entity": {"type": kind, "id": value}}


def words(kind: str, values: Iterable[str]) -> list[dict[str, Any]]:
    """Several of them."""
    return [word(kind, value) for value in values]


def class_word(classification: str) -> dict[str, Any]:
    """The class that an entry names. A word for a secret stays one, so that the law on secrets sees it."""
    known = class_of(classification) or secret_of(classification).replace(" ", "-")
    return word("Classification", known or UNKNOWN)


def grade_word(grade: int) -> dict[str, Any]:
    """The grade of an entry."""
    return word("Grade", str(grade) if str(grade) in GRADES else UNKNOWN)


def in_strings(value: Any) -> Any:
    """The same value as a schema without closed lists knows it: words as strings, grades as numbers."""
    if isinstance(value, list):
        return [in_strings(each) for each in value]
    named = value.get("__entity") if isinstance(value, dict) else None
    if named is None or named["type"] not in WORDS:
        return value
    if named["type"] == "Grade":
        return 0 if named["id"] == UNKNOWN else int(named["id"])
    return named["id"]
