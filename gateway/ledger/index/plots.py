"""Plots of figures, for those who would rather look: PNG or SVG by the file's suffix. Needs the extra `plots`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.ledger.index.figures import Figure, every_day

_TOP = 20
_DARK, _LIGHT = "#1f4e79", "#c0504d"


def plot_days(days: Sequence[Figure], path: Path, title: str = "calls by day") -> None:
    """Permitted and refused calls of each day, one on the other; days between without calls have their place."""
    days = every_day(days)
    axes, save = _axes(path, title)
    keys = [day.key for day in days]
    axes.bar(keys, [day.uses for day in days], color=_DARK, label="permitted")
    axes.bar(keys, [day.refused for day in days], bottom=[day.uses for day in days], color=_LIGHT, label="refused")
    axes.set_ylabel("calls")
    axes.set_xticks(range(0, len(keys), max(1, len(keys) // 10)))
    axes.tick_params(axis="x", rotation=45)
    axes.legend()
    save()


def plot_top(groups: Sequence[Figure], path: Path, title: str, *, refused: bool = False) -> None:
    """The largest groups: datasets by use, or with `refused` reasons by refusals."""
    axes, save = _axes(path, title)
    counted = sorted(((each.refused if refused else each.uses, each.key or "(none)") for each in groups), reverse=True)
    largest = [each for each in counted if each[0]][:_TOP][::-1]
    axes.barh([key for _, key in largest], [count for count, _ in largest], color=_LIGHT if refused else _DARK)
    axes.set_xlabel("calls")
    save()


def _axes(path: Path, title: str) -> tuple[Any, Callable[[], None]]:
    if path.suffix not in {".png", ".svg"}:
        raise GatewayError("invalid-input", "a plot is a `.png` or a `.svg`")
    try:
        from matplotlib.figure import Figure as Canvas  # noqa: PLC0415 — an optional extra
    except ImportError as error:
        raise GatewayError("unavailable", "plots need matplotlib: install the extra `plots`") from error
    canvas = Canvas(figsize=(9, 5), layout="constrained")
    axes = canvas.add_subplot()
    axes.set_title(title)

    def save() -> None:
        canvas.savefig(path)

    return axes, save
