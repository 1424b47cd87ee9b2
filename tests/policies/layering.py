"""Policies roots for tests: the shipped ones with a layer more."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.policies.cases import ROOT

NOTE = '@id("{name}") @article("Decree 809 Art. 25 ¶1") @title("A policy of a test")'


def note(name: str, more: str = "") -> str:
    """The annotations a policy needs."""
    return f"{NOTE.format(name=name)} {more}\n"


def root_with(folder: Path, **layers: str | Mapping[str, str]) -> Path:
    """A copy of the shipped policies with `layers` beside them: name -> Cedar text, or file -> text."""
    root = folder / "policies"
    shutil.copytree(ROOT, root)
    for layer, content in layers.items():
        files = {f"{layer}.cedar": content} if isinstance(content, str) else content
        for file, text in files.items():
            path = root / layer / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return root
