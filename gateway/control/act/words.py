"""What an officer says in an act: sealed into the state, so that the act's record names it by digest alone."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from gateway.control.act.services import ControlServices
from gateway.domain.free_text import require_no_identity_number
from gateway.domain.texts import sealed, words_of
from gateway.identity.keys.texts import SealedText
from gateway.store import StoreTransaction
from gateway.store.texts import OfficersText

YEARS = 3
"""How long an act's record stays at least, and what it names with it (Decree 809 Art. 29)."""


def without_words(
    services: ControlServices,
    tx: StoreTransaction,
    department: str,
    rows: Sequence[Mapping[str, Any]],
    today: date,
) -> tuple[dict[str, Any], ...]:
    """Records' fields with `sealed:` and a digest in place of each text; the texts stand once `tx` is committed.

    Args:
        services: seals.
        tx: the act's transaction.
        department: of who says it.
        rows: the fields of the act's records; one text in several of them has one digest.
        today: the day of the records.

    Raises:
        GatewayError: `invalid-input` where a text holds a number as identity numbers are.
    """
    said: dict[str, SealedText] = {}
    for field, value in (each for row in rows for each in row.items()):
        for text in words_of(field, value):
            if text not in said:
                require_no_identity_number(text, field)
                said[text] = services.seal_text(text)
    if not said:
        return tuple(map(dict, rows))
    texts = [
        OfficersText(text, each.digest, services.word_of(text), department, each.sealed) for text, each in said.items()
    ]
    tx.add_texts(texts, today, YEARS)
    return tuple({name: _named(name, value, said) for name, value in row.items()} for row in rows)


def _named(name: str, value: Any, said: Mapping[str, SealedText]) -> Any:
    found = words_of(name, value)
    if not found:
        return value
    if isinstance(value, str):
        return sealed(said[value].digest)
    return [sealed(said[each].digest) if each in found else each for each in value]
