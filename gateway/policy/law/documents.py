"""The YAML beside policies: clocks, articles, theorems, decision tables; and where in it a fault lies."""

import re
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there: ten times as fast, and a check reads every document."""

T = TypeVar("T")
_WHERE = re.compile(r" - at `\$(.*)`$")
_STEP = re.compile(r"\[(\d+)\]|\.(\w+)|\[\.\.\.\]")
_NAMED = re.compile(r"(?:unknown field|required field) `([^`]+)`")


class DocumentError(ValueError):
    """What is wrong with a document.

    Args:
        fault: what.
        line: where, from 1; 0 where that is not known.
        column: where in the line, from 1.
    """

    def __init__(self, fault: str, line: int = 0, column: int = 0) -> None:
        super().__init__(fault)
        self.line, self.column = line, column

    def place(self, file: str) -> str:
        """`file:line:column`, which editors and terminals know how to open."""
        return f"{file}:{self.line}:{self.column}" if self.line else file


class Document:
    """A document: its plain values, and where each of them stands.

    Args:
        text: the document.

    Raises:
        DocumentError: it is none.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            self.value: Any = read_yaml(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = f"is no YAML: {error.problem or error.context}"
            raise (DocumentError(what, mark.line + 1, mark.column + 1) if mark else DocumentError(what)) from error
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise DocumentError(f"is no YAML: {error}") from error

    @cached_property
    def _root(self) -> Any:
        return yaml.compose(self._text, _LOADER)

    def fault(self, what: str, *path: str | int) -> DocumentError:
        """A fault of the value at a path, or of the last one on the way to it that is there."""
        node = self._root
        if node is None:
            return DocumentError(what)
        mark = node.start_mark
        for step in path:
            node, mark = _below(node, step, mark)
            if node is None:
                break
        return DocumentError(what, mark.line + 1, mark.column + 1)

    def place(self, file: str, *path: str | int) -> str:
        """Where the value at a path stands, or the last one on the way to it that is there."""
        return self.fault("", *path).place(file)

    def convert(self, form: type[T], *path: str | int, empty: Any = None) -> T:
        """The value at a path, as a value of `form`; `empty` stands for a document that holds nothing.

        Raises:
            DocumentError: it is none.
        """
        value = self.value if self.value is not None else empty
        for step in path:
            value = value[step]
        try:
            return msgspec.convert(value, form)
        except msgspec.ValidationError as error:
            said = str(error)
            found = _WHERE.search(said)
            steps: list[str | int] = []
            for number, name in _STEP.findall(found[1]) if found else ():
                steps += [int(number)] if number else [name] if name else []
            named = _NAMED.search(said)
            steps += [named[1]] if named else []
            raise self.fault(_WHERE.sub("", said), *path, *steps) from error


def _below(node: Any, step: str | int, mark: Any) -> tuple[Any, Any]:
    """The node one step below, and where it stands: of a mapping's value that is where its name does."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return value, key.start_mark
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark
    return None, mark


def read_yaml(text: str) -> Any:
    """A document's plain values; nothing else can be made by it.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(text, _LOADER)  # noqa: S506 - both loaders are safe ones
