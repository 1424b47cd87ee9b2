"""The table of articles (`policies/articles.yaml`): what each asks, and what answers it.

A layer may bring the articles of its own region's law in a table of its own (`policies/<layer>/articles.yaml`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from gateway.domain.errors import GatewayError
from gateway.policy.law.documents import Document, DocumentError
from gateway.policy.law.layers import ARTICLES_FILE

_LAWS = r"(Decree 809|Zhongshan)"
_PLACE = r"\d+(?:\(\d+\))?(?: ¶\d+)?"
_CITATION = re.compile(rf"{_LAWS} Art\. ({_PLACE}(?:(?:, | and | to )(?:Art\. )?(?:{_PLACE}|¶\d+))*)")


class Article(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row.

    Args:
        article: the citation, such as `Decree 809 Art. 25 ¶1`.
        duty: what it asks.
        at_call: whether it can be enforced at the moment of a call.
        enforced_by: what answers it.
        through: an article that asks the same, by which it is enforced at a call.
        why: why nothing answers it, where nothing does.
        theorems: ids of the theorems that state it, of whatever layers.
    """

    article: str
    duty: str
    at_call: bool
    enforced_by: tuple[Literal["policy", "built", "record", "clock", "act", "import", "gateway"], ...]
    through: str | None = None
    why: str = ""
    theorems: tuple[str, ...] = ()


def read_articles(root: Path) -> Mapping[str, Article]:
    """The tables below `root`, those of its layers too, by citation.

    Raises:
        GatewayError: `invalid-input`, if one cannot be read as such a table.
    """
    files = {}
    for file in (root / ARTICLES_FILE, *root.glob(f"*/{ARTICLES_FILE}")):
        name = file.relative_to(root).as_posix()
        try:
            files[name] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _no_table(name) from error
    return parse_articles(files)


def parse_articles(files: Mapping[str, str]) -> Mapping[str, Article]:
    """The tables among `files`, by citation; raises as `read_articles`, and where two tables have one article."""
    found: dict[str, Article] = {}
    where: dict[str, str] = {}
    for name in (ARTICLES_FILE, *sorted(name for name in files if name.endswith(f"/{ARTICLES_FILE}"))):
        try:
            document = Document(files[name])
            rows = document.convert(list[Article])
        except KeyError as error:
            raise _no_table(name) from error
        except DocumentError as error:
            raise _no_table(error.place(name), str(error)) from error
        for number, row in enumerate(rows):
            if row.article in found:
                what = f"has a row for `{row.article}`, as `{where[row.article]}` has: an article has one row"
                faults = [{"field": document.place(name, number), "fault": what}]
                raise GatewayError("invalid-input", f"`{name}` {what}", faults=faults)
            found[row.article], where[row.article] = row, name
    return found


def _no_table(name: str, why: str = "") -> GatewayError:
    what = f"is no table of articles{': ' if why else ''}{why}"
    return GatewayError("invalid-input", f"`{name}` {what}", faults=[{"field": name, "fault": what}])


def citations(text: str) -> Iterator[str]:
    """Every article that `text` cites of the two laws, each as a citation of its own.

    `Decree 809 Art. 27 ¶2, ¶3, 35` cites three; a range cites its ends.
    """
    for match in _CITATION.finditer(text):
        law, places = match.groups()
        number = ""
        for place in re.split(r", (?:Art\. )?| and (?:Art\. )?| to (?:Art\. )?", places):
            if place.startswith("¶"):
                place = f"{number} {place}"  # noqa: PLW2901 - a bare paragraph belongs to the article before it
            number = place.partition(" ")[0]
            yield f"{law} Art. {place}"
