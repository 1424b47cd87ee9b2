"""What the docstring of a domain value says of its fields: told once, for bodies, documents and options."""

import re

import msgspec


def field_words(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What the docstring's `Args` say of each field."""
    _, _, arguments = (struct.__doc__ or "").partition("Args:")
    found: dict[str, str] = {}
    for name, text in re.findall(r"^\s+(\w+): ((?:.|\n(?!\s+\w+: ))*)", arguments, re.MULTILINE):
        found[name] = " ".join(text.split())
    return found
