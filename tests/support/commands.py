"""Every command of `gateway`, and something for each word that it asks for."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import typer.main

from gateway.cli import app

WORDS: dict[Any, str] = {int: "1", datetime: "2030-01-01"}
NAMED = {"region": "442000", "level": "city", "role": "demand", "reach": "department"}


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command with its words."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def filled(command: Any, file: Path) -> list[str]:
    """The words that a command asks for; `file` where it is a path."""
    words: list[str] = []
    for each in command.params:
        if each.required:
            kind = each.type_descriptor.annotation
            value = str(file) if "Path" in repr(kind) else WORDS.get(kind, NAMED.get(each.name, "x"))
            words += [value] if each.param_type_name == "argument" else [each.opts[0], value]
    return words


def options_of(command: Any) -> dict[str, Any]:
    """A command's options, by each of their names."""
    return {name: each for each in command.params for name in each.opts}
