"""Where in a Cedar file a fault lies: line and column, which Cedar's binding for Python does not tell.

A parser that reads from left to right says of every beginning of a valid text that it ends too early. So the first
token at which it says something else is the one that it does not take; it is found by halving. What Cedar refuses
though its grammar takes it (a reserved name, a scope without `action`) is looked for by the name that it complains of.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import cedarpy
import msgspec

MOST_FAULTS = 20
"""Of one file; who wrote more is told the first."""

_TOKEN = re.compile(
    r"""//[^\n]*                      # a comment
    | "(?:[^"\\]|\\.)*+"?           # a text, or what has no end
    | [A-Za-z_]\w* | [0-9]+          # a name, a number
    | ::|==|!=|<=|>=|&&|\|\|         # an operator of two signs
    | \S                             # any other sign
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_EARLY = "unexpected end of input"
_STAND_INS = {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u3001": ",", "\u3002": ".", "\u3010": "[", "\u3011": "]"}
"""Signs that an input method writes, and that no normalisation turns into those that Cedar knows."""


class Token(msgspec.Struct, frozen=True):
    """A piece of text between white space and comments, and where it begins."""

    at: int
    text: str

    @property
    def end(self) -> int:
        """Where the next begins at the earliest."""
        return self.at + len(self.text)


class Statement(msgspec.Struct, frozen=True):
    """What stands up to a `;` (or to the end): one policy with its annotations, if it is one."""

    tokens: tuple[Token, ...]

    @property
    def at(self) -> int:
        """Where its effect stands, or else where it begins."""
        depth = 0
        for token in self.tokens:
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if depth == 0 and token.text in {"permit", "forbid"}:
                return token.at
        return self.tokens[0].at

    def bears_id(self, name: str) -> bool:
        """Whether its `@id` is `name`."""
        texts = [token.text for token in self.tokens]
        return any(texts[at : at + 5] == ["@", "id", "(", f'"{name}"', ")"] for at in range(len(texts)))

    def where(self, names: Sequence[str]) -> int:
        """Where the last of `names` that stands in it does, as a name or sign, or within a text; else `at`."""
        for name in reversed(names):
            for token in self.tokens:
                if token.text == name:
                    return token.at
            for token in self.tokens:
                if token.text.startswith('"') and name in token.text:
                    return token.at
        return self.at


class Lines:
    """A text's positions, as editors count them: from 1, columns in characters."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, file: str, at: int) -> str:
        """`file:line:column`, which editors and terminals know how to open."""
        line = bisect_right(self._starts, at)
        return f"{file}:{line}:{at - self._starts[line - 1] + 1}"


def statements(text: str) -> list[Statement]:
    """A file's, in order; Cedar counts policies the same way."""
    found: list[Statement] = []
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        if match[0].startswith("//"):
            continue
        tokens.append(Token(match.start(), match[0]))
        if match[0] == ";":
            found.append(Statement(tuple(tokens)))
            tokens = []
    return [*found, Statement(tuple(tokens))] if tokens else found


def comments(text: str) -> list[str]:
    """A file's comments, in order, each from its `//` to the end of its line."""
    return [match[0].rstrip() for match in _TOKEN.finditer(text) if match[0].startswith("//")]


def parse_faults(text: str) -> Iterator[tuple[int, str]]:
    """Where `text` does not parse as Cedar, and what is wrong there; nothing where it does."""
    if _fault(text) is None:
        return
    found = 0
    for statement in statements(text):
        fault = _fault(text[statement.tokens[0].at : statement.tokens[-1].end])
        if fault is not None:
            found += 1
            yield _place(text, statement, fault)
        if found == MOST_FAULTS:
            return
    if not found:
        yield 0, f"does not parse: {_fault(text)}"


def names_in(said: str) -> list[str]:
    """What a message names, the likeliest culprit last."""
    return [*re.findall(r"[`']([^`']+)[`']", said), *re.findall(r": @?(\w+)$", said)]


def _fault(text: str) -> str | None:
    """What Cedar says of it, if it does not parse."""
    try:
        cedarpy.policies_to_json_str(text)
    except ValueError as error:
        return str(error)
    return None


def _place(text: str, statement: Statement, fault: str) -> tuple[int, str]:
    first, tokens = statement.tokens[0].at, statement.tokens
    if fault == _EARLY:
        return tokens[-1].at, "does not parse: it ends here, where more is expected"
    if not _is_of_a_token(fault):
        return statement.where(names_in(fault)), f"does not parse: {fault}"
    low, high = 0, len(tokens) - 1
    while low < high:
        middle = (low + high) // 2
        if _fault(text[first : tokens[middle].end]) in {None, _EARLY}:
            low = middle + 1
        else:
            high = middle
    said = _fault(text[first : tokens[low].end]) or fault
    before = tokens[max(low - 1, 0)]
    if "\n" in before.text:
        return before.at, 'does not parse: the text that begins here goes on over lines: close it with `"`'
    return tokens[low].at, f"does not parse: {said if _is_of_a_token(said) else fault}{_hint(tokens[low].text)}"


def _is_of_a_token(fault: str) -> bool:
    """Whether the grammar refuses a token, and not what is built of it."""
    return fault == "invalid token" or fault.startswith("unexpected token")


def _hint(token: str) -> str:
    """What to write in place of a sign of an East Asian input method."""
    if token.startswith('"') and (len(token) == 1 or token[-1] != '"'):
        return ': the text that begins here has no end, close it with `"`'
    if token.isascii():
        return ""
    plain = _STAND_INS.get(token) or unicodedata.normalize("NFKC", token)
    name = unicodedata.name(token, "a sign without a name").lower()
    return f": `{token}` is {name}" + (f"; write `{plain}`" if plain.isascii() else "")
