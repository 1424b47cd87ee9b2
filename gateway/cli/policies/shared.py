"""What the commands about policies share: how layers are named, and how proofs and strange names are told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.shell import err, out
from gateway.domain.policies import Proved

NATIONAL = "national"

NOT_WHOLE = "not whole: there was no time to compare everything that stands, so a loss is not ruled out; add --thorough"

Root = Annotated[
    Path | None, typer.Option("--root", help="Folder with the schema and the layers; default: the shipped policies.")
]
LayerNames = Annotated[
    list[str] | None,
    typer.Option("--layer", help="A layer, repeated in order; default: national alone, and each other layer on it."),
]


def layer_sets(root: Path, named: list[str] | None) -> list[tuple[str, ...]]:
    """The sets of layers to look at: those named, or national alone and each other layer on top of it."""
    if named:
        return [tuple(named)]
    others = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and any(folder.glob("*.cedar")))
    return [(NATIONAL,), *((NATIONAL, name) for name in others if name != NATIONAL)]


def proved_line(proved: Proved | None) -> str:
    """What is known of a set's theorems, in one line."""
    if proved is None:
        return "not proved here"
    by = " and ".join(proved.tools)
    if proved.failed:
        return f"{proved.result}: {', '.join(proved.failed)}; by {by}"
    return f"proved: {proved.theorems} theorems and {proved.statements} statements about policies, by {by}"


def print_uncounted(names: Sequence[str], *, err_too: bool = False) -> None:
    """Say which rules look at what was drawn, which neither a comparison nor the shadow counts from before."""
    if names:
        (err if err_too else out).print(
            f"note: {', '.join(names)}: what was drawn before is not counted here, so whom this refuses is not seen: "
            "`gateway policies replay ROOT --since DAY` counts it from the records",
            markup=False,
        )


def print_strangers(names: Sequence[str], *, err_too: bool = False) -> None:
    """Say what policies name that the directory does not have."""
    for name in names:
        (err if err_too else out).print(
            f"note: the directory has no {name}: a rule about it holds nobody", markup=False
        )
