"""`gateway policies replay`: what policies that are not in force would have made of the uses on record."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli.policies.shared import NATIONAL
from gateway.cli.shell import DEFAULT_HOME, MOMENTS, AsJson, Home, command, err, out, print_json, print_table
from gateway.domain.calendar import CHINA
from gateway.policy.law.layers import read_set


@command
def replay_(
    *,
    root: Annotated[Path, typer.Argument(help="Policies root to decide by.")],
    since: Annotated[datetime, typer.Option("--since", formats=MOMENTS, help="From, China Standard Time.")],
    until: Annotated[
        datetime | None, typer.Option("--until", formats=MOMENTS, help="Before; default: the end of the log.")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", help="A layer, repeated in order.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Decide at most so many uses.")] = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Decide recorded uses again by ROOT: what would have been refused or let through, and what cannot be known.

    Reads the log and the state of the home, which may be running. What was drawn is counted anew, in the order of the
    records, so that a first convergence rule shows whom it would have refused.
    """
    from gateway.runtime.operation.replay import replay  # noqa: PLC0415 -- checking files needs no gateway

    candidate = read_set(root, layer or [NATIONAL])
    moments = [None if each is None else each.replace(tzinfo=each.tzinfo or CHINA) for each in (since, until)]
    begin, end = moments
    assert begin is not None
    with _progress(quiet=as_json) as progress:
        task = progress.add_task("entries read", total=None)
        found = replay(
            home, candidate, begin, end, limit, lambda done, of: progress.update(task, completed=done, total=of)
        )
    answer = msgspec.to_builtins(found)
    if as_json:
        print_json(answer)
        return
    for line in replay_lines(answer):
        out.print(line, markup=False)
    kinds = answer["replay"]["kinds"]
    if kinds:
        print_table(
            "decided otherwise",
            ("change", "uses", "departments", "before", "after", "by", "for example"),
            (
                (
                    one["change"],
                    one["count"],
                    _departments(one["departments"]),
                    one["before"],
                    one["after"],
                    ", ".join(one["policies"]),
                    ", ".join(one["examples"][:2]),
                )
                for one in kinds
            ),
        )


def replay_lines(answer: dict[str, Any]) -> list[str]:
    """What came of a replay, in lines for people."""
    found = answer["replay"]
    if not found["uses"]:
        lines = ["no use is on record in that time"]
    else:
        lines = [
            f"{found['uses']} uses from {found['first']} to {found['last']}, {found['permitted']} of them permitted"
        ]
        counted = {
            change: sum(one["count"] for one in found["kinds"] if one["change"] == change) for change in _CHANGES
        }
        lines.append(", ".join(f"{counted[change]} {told}" for change, told in _CHANGES.items()))
        lines.append(f"{found['same']} as they were; {sum(found['otherwise'].values())} refused by no policy")
    if found["as_of_then"]:
        lines.append(f"{found['as_of_then']} were decided under their grant and orders of then: what stands differs")
    left = found["left_over"]
    if left:
        lines.append(f"{sum(one['count'] for one in left)} cannot be decided again:")
        for one in left:
            told = _WHY.get(one["why"], f"the record does not hold: {', '.join(one['why'].split('+'))}")
            lines.append(f"  {one['count']}: {told} (for example {one['examples'][0]})")
    if found["drawn_days"]:
        lines.append(
            f"what was drawn is counted from the records of {found['drawn_days']} days before, as if these rules had "
            f"been in force; put in force, they count from then on"
        )
    if answer["gone"]:
        lines.append(f"{answer['gone']} entries are pruned: those uses, and what they drew, are not known")
    if answer["unnamed"]:
        lines.append(f"{answer['unnamed']} were refused before it was known what they asked for")
    if answer["unread"]:
        lines.append(f"{answer['unread']} are on record in words that this version does not know")
    if not answer["is_alone"]:
        lines.append(
            "the state is shared with other nodes: what is on their logs is not looked at, nor counted as drawn"
        )
    if not found["is_whole"]:
        lines.append("the limit was reached: later uses were not looked at")
    return lines


_CHANGES = {
    "refused": "would have been refused",
    "let-through": "let through",
    "gives-less": "given less",
    "gives-more": "given more",
}

_WHY = {
    "state": "what stood then (grants, orders, directory) is not what stands now, and is not kept",
    "gone": "the department, dataset or supplier is not in the directory any more",
    "policies": "the policies of then are not kept, or do not load any more",
    "items": "the record holds but the number of the items asked for",
    "too-many": "they could have been more calls than are tried",
}


def _departments(counted: dict[str, int]) -> str:
    most = sorted(counted.items(), key=lambda pair: -pair[1])
    told = [f"{name} ({count})" for name, count in most[:5]]
    return ", ".join(told + [f"{len(most) - 5} more"] * (len(most) > 5))


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.completed} {task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=err,
        disable=quiet or not err.is_terminal,
        transient=True,
    )
