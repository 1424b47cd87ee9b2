"""Constants of a layer (`<layer>/constants.yaml`): a number, text or list that several of its policies share.

    office-opens: 510                       # 08:30
    sensitive-purposes: [relief, adoption]
    registers: {Dataset: [household, marriage]}
    police: {Department: public-security}

A policy of the same layer writes `Constant::"office-opens"` where the value would stand: that is Cedar, so editors and
`gateway policies fmt` take it. When the layer is read the value is put in its place, and what comes of it is held to
the schema: a constant of the wrong type is a fault of the policy that uses it, a name that the file does not have a
fault where it stands. So what decides, what is shown and what is proved holds the values, and nothing looks one up.
In a comment or a text (`"Constant::…"`) nothing is replaced.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from gateway.policy.law.documents import read_yaml

CONSTANTS_FILE = "constants.yaml"
MAX_CONSTANTS = 1_000

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_KIND = re.compile(r"[A-Z][A-Za-z]*")
_TOKEN = re.compile(r'//[^\n]*|(?<![\w:])Constant\s*::\s*"((?:[^"\\\n]|\\.)*)"|"(?:[^"\\\n]|\\.)*"')
_MOST = (1 << 63) - 1

Constants = Mapping[str, str]
"""Name -> the value, as Cedar writes it."""


def read_constants(text: str) -> dict[str, str]:
    """The constants of a file.

    Raises:
        ValueError: with what is wrong.
    """
    try:
        document = read_yaml(text)
        named = [key.value for key, _ in node.value] if isinstance(node := yaml.compose(text), yaml.MappingNode) else []
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"states no constants: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict) or len(document) > MAX_CONSTANTS:
        raise ValueError(f"states no constants: it holds up to {MAX_CONSTANTS} values by name")
    if twice := sorted({str(name) for name in named if named.count(name) > 1}):
        raise ValueError(f"states {', '.join(f'`{name}`' for name in twice)} twice")
    found = {}
    for name, value in document.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"`{name}` is no name of a constant: small letters and digits, parted by single hyphens")
        try:
            found[name] = _cedar(value)
        except ValueError as error:
            raise ValueError(f"`{name}` {error}") from error
    return found


def _cedar(value: Any) -> str:
    if isinstance(value, dict):
        if len(value) != 1:
            raise ValueError("names no one kind of entity")
        ((kind, names),) = value.items()
        if not isinstance(kind, str) or not _KIND.fullmatch(kind):
            raise ValueError(f"names `{kind}`, which is no kind of entity")
        if isinstance(names, list):
            return f"[{', '.join(f'{kind}::{_text(name)}' for name in _one_kind(names))}]"
        return f"{kind}::{_text(names)}"
    if isinstance(value, list):
        return f"[{', '.join(_plain(each) for each in _one_kind(value))}]"
    return _plain(value)


def _one_kind(values: list[Any]) -> list[Any]:
    if not values or len({type(each) for each in values}) > 1:
        raise ValueError("is a list of nothing, or of more than one kind of value")
    return values


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        if not -_MOST <= value <= _MOST:
            raise ValueError("is a number that Cedar cannot hold")
        return str(value)
    return _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("is no number, text, yes or no, list of one of these, or entity: a date stands in quotes")
    # Of what can be printed, JSON escapes quotes and backslashes alone, as Cedar does.
    return msgspec.json.encode(value).decode()


def with_constants(text: str, constants: Constants) -> tuple[str, list[tuple[int, str]]]:
    """Policies with the values in their places, each on its line; and where names stand that there are not.

    Args:
        text: of one file of policies.
        constants: of its layer.
    """
    unknown: list[tuple[int, str]] = []

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return match[0]
        if name not in constants:
            unknown.append((match.start(), name))
            return match[0]
        return constants[name] + "\n" * match[0].count("\n")

    return _TOKEN.sub(put, text), unknown
