"""`gateway grants issue | renew`: grants from files."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gateway.cli.listing import write_sample
from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    IfMatch,
    command,
    err,
    matching,
    open_api,
    out,
    print_json,
)
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.runtime.operation.session.api import Api

BATCH = 500
"""Grants sent at once: a second or so for the server, so that progress moves."""


@command
def sample(
    file: Annotated[Path, typer.Argument(help="Where to write it, as JSON.")],
    as_json: AsJson = False,
) -> None:
    """Write a grant to look at, and to put your own in its place."""
    from gateway.runtime.operation.formats import grant_sample  # noqa: PLC0415 -- loads what no other command needs

    write_sample(file, grant_sample(), as_json=as_json)


@command
def issue(
    file: Annotated[Path, typer.Argument(help="One grant, a list of them, or one a line (NDJSON).")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a file whose issue was cut off; what stands is not repeated.")
    ] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Enter grants approved on paper, from FILE. Every fault of every grant is listed before anything is issued."""
    rows = read_rows(file)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with open_api(home, officer) as api, _progress(quiet=as_json or len(rows) == 1) as progress:
        if not resume:
            _check(api, batches, progress)
        task = progress.add_task("issuing", total=len(rows))
        for batch in batches:
            body: Any = batch[0] if len(rows) == 1 else batch
            digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
            issued = api.post("/v1/grants", body, headers={"Idempotency-Key": f"issue-{digest[:48]}"})
            progress.advance(task, len(batch))
    if as_json:
        print_json(issued if len(rows) == 1 else {"issued": len(rows)})
    elif len(rows) == 1:
        grant = issued["grant"]
        out.print(
            f"issued `{grant['id']}` to {grant['department']} on {grant['dataset']}, record {issued['record']}",
            markup=False,
        )
    else:
        out.print(f"issued {len(rows)} grants", markup=False)


@command
def renew(
    file: Annotated[Path, typer.Argument(help="The next version of one grant, as JSON, with approvals of its own.")],
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Renew or change a grant: FILE becomes its next version, and the version before is superseded, never edited."""
    rows = read_rows(file)
    if len(rows) != 1:
        raise GatewayError("invalid-input", f"`{file}` holds {len(rows)} grants: one is renewed at a time")
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/grants/{rows[0].get('id')}/versions", rows[0], headers=matching(if_match))
    if as_json:
        print_json(answer)
        return
    grant = answer["grant"]
    out.print(f"grant `{grant['id']}` stands in version {grant['version']}; record {answer['record']}", markup=False)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The grants of a file.

    Raises:
        GatewayError: `invalid-input` if it is neither a JSON object, nor an array of them, nor one a line.
    """
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise GatewayError("invalid-input", f"`{file}` is not UTF-8") from error
    try:
        whole = json.loads(text)
    except ValueError:
        whole = list(_lines(file, text))
    rows = whole if isinstance(whole, list) else [whole]
    faults = [
        {"row": row, "fault": "is no JSON object"} for row, each in enumerate(rows, 1) if not isinstance(each, dict)
    ]
    if faults or not rows:
        raise GatewayError("invalid-input", f"`{file}` holds no list of grants", faults=faults)
    return rows


def _lines(file: Path, text: str) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError as error:
            fault = {"row": number, "fault": "is not JSON"}
            raise GatewayError("invalid-input", f"`{file}` is neither JSON nor NDJSON", faults=[fault]) from error


def _check(api: "Api", batches: Sequence[list[dict[str, Any]]], progress: Progress) -> None:
    """Have every grant checked; raises with all faults of the file, by row."""
    faults: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    task = progress.add_task("checking", total=sum(map(len, batches)))
    for number, batch in enumerate(batches):
        offset = number * BATCH
        for row, grant in enumerate(batch, offset + 1):
            first = seen.setdefault(str(grant.get("id")), row)
            if first != row and first <= offset:
                faults.append({"row": row, "field": "id", "fault": f"stands in row {first} already"})
        try:
            api.post("/v1/grants?check=true", batch)
        except GatewayError as error:
            if error.code != "invalid-input":
                raise
            faults += [
                {**fault, "row": offset + int(fault.get("row") or 1)} for fault in error.members.get("faults", ())
            ]
        progress.advance(task, len(batch))
    if faults:
        faults.sort(key=lambda fault: int(fault["row"]))
        what = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise GatewayError("invalid-input", f"the file has {what}; nothing was issued", faults=faults)


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True)
