"""Mistakes that authors of a layer make, and what `gateway policies check` tells them: the page `docs/mistakes.md`.

`python -m tests.policies.mistakes` writes the page; a test makes each mistake and holds the page to what is told.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from typer.testing import CliRunner

from gateway.cli import app

MOST_SHOWN = 3
HEAD = """# Mistakes, and what is told of them

Made by `python -m tests.policies.mistakes`: each is made in a layer that is sound, and `gateway policies check` is run.

| An author wrote | and is told |
|---|---|
"""
PAGE = Path(__file__).parents[2] / "docs" / "mistakes.md"
LAYER = "zhuhai"


class Mistake(NamedTuple):
    """A change of a layer that is sound.

    Args:
        what: what its author did.
        file: where, below the layer's folder.
        old: what stood there; "" for a file of its own, or what is put at the end of one.
        new: what stands there instead.
    """

    what: str
    file: str
    old: str
    new: str


def read_mistakes() -> list[Mistake]:
    """Those of `mistakes.yaml`."""
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return [Mistake(row["what"], row["file"], row.get("old", ""), row["new"]) for row in rows]


def sound(folder: Path) -> Path:
    """A root with the shipped national layer and one of an author, both sound."""
    root = folder / "policies"
    made = CliRunner().invoke(app, ["policies", "new", LAYER, "--root", str(root)])
    assert made.exit_code == 0, made.output
    return root


def told(root: Path) -> tuple[int, str]:
    """Exit status of `policies check`, and what it says, without the folder's name."""
    named = ["--layer", "national", "--layer", LAYER]
    done = CliRunner().invoke(app, ["policies", "check", "--root", str(root), *named], env={"COLUMNS": "1000"})
    return done.exit_code, done.output.replace(f"{root}/", "").strip()


def made(mistake: Mistake, root: Path) -> None:
    """Make a mistake in a root that is sound."""
    path = root / LAYER / mistake.file
    path.parent.mkdir(exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    assert not mistake.old or text.count(mistake.old) >= 1, mistake.what
    changed = text.replace(mistake.old, mistake.new, 1) if mistake.old else text + mistake.new
    path.write_text(changed, encoding="utf-8")


def all_told() -> Iterator[tuple[Mistake, int, str]]:
    """Each mistake, made by itself, and what is told of it."""
    with tempfile.TemporaryDirectory() as folder:
        root = sound(Path(folder))
        whole = Path(folder) / "whole"
        shutil.copytree(root / LAYER, whole)
        for mistake in read_mistakes():
            made(mistake, root)
            yield (mistake, *told(root))
            shutil.rmtree(root / LAYER)
            shutil.copytree(whole, root / LAYER)


def page() -> str:
    """The page of docs."""
    rows = []
    for mistake, status, said in all_told():
        assert status == 1, f"{mistake.what}: {said}"
        faults = [line.strip().removeprefix("field ") for line in said.splitlines() if line.startswith("  field ")]
        faults = sorted(dict.fromkeys(faults))
        shown = [fault.replace("|", "\\|") for fault in faults[:MOST_SHOWN]]
        shown += [f"and {len(faults) - MOST_SHOWN} more"] if len(faults) > MOST_SHOWN else []
        rows.append(f"| {mistake.what} | {'<br>'.join(shown)} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
