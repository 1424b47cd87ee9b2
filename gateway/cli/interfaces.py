"""`gateway interfaces`: try a supplier's interface before callers do."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.listing import write_sample
from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, out, print_json, print_table
from gateway.domain.errors import GatewayError

interfaces = typer.Typer(name="interfaces", help="Try suppliers' interfaces before callers do.", no_args_is_help=True)

AnswerFile = Annotated[
    Path | None, typer.Option("--answer", help="File with an answer of the supplier; default: one call is made.")
]
Query = Annotated[list[str] | None, typer.Option("--query", help="`name=value` of the call; may be given again.")]


@interfaces.command("try")
@command
def try_(
    file: Annotated[Path, typer.Argument(help="The interface as JSON, as for `gateway directory register`.")],
    answer: AnswerFile = None,
    query: Query = None,
    path: Annotated[str, typer.Option(help="What is appended to its base URL for the call.")] = "",
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Show what the entry finds in an answer, and what would leave under which grant; fails where it cannot work."""
    sample = read_sample(answer, query or [], path)
    with open_api(home, officer) as api:
        found: dict[str, Any] = api.post("/v1/interfaces/trial", {"interface": read_interface(file), **(sample or {})})
    if as_json:
        print_json(found)
    else:
        tell(found)
    if found["faults"]:
        raise typer.Exit(1)


@interfaces.command("sample")
@command
def sample(
    file: Annotated[Path, typer.Argument(help="Where to write it, as JSON.")],
    as_json: AsJson = False,
) -> None:
    """Write an interface's entry to look at, and to put your own in its place."""
    from gateway.runtime.operation.formats import interface_sample  # noqa: PLC0415 -- loads what no other command needs

    write_sample(file, interface_sample(), as_json=as_json)


def read_interface(file: Path) -> dict[str, Any]:
    """An interface's file; raises `invalid-input` where it is none."""
    try:
        body = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise GatewayError("invalid-input", f"`{file}` is not JSON") from error
    if not isinstance(body, dict):
        raise GatewayError("invalid-input", f"`{file}` is not a JSON object")
    return body


def read_sample(answer: Path | None, query: list[str] | None, path: str = "") -> dict[str, Any] | None:
    """What an interface is tried with: an answer's text, or the parameters of a call; None where neither was given."""
    if answer is not None:
        return {"path": path, "answer": answer.read_text("utf-8-sig")}
    if query is None:
        return None
    return {"path": path, "query": dict(pair.partition("=")[::2] for pair in query)}


def tell(found: dict[str, Any]) -> None:
    """Print what a trial found."""
    out.print(f"{found['rows']} rows", markup=False)
    print_table("items found", ("item", "rows"), found["found"].items())
    for words, name in (
        ("items without a place", "unplaced"),
        ("fields that are no item and never leave", "unclaimed"),
        ("leaves beside the rows, under every grant", "envelope"),
    ):
        if found[name]:
            out.print(f"{words}: {', '.join(found[name])}", markup=False)
    for grant in found["grants"]:
        lacks = f"; not in the answer: {', '.join(grant['missing'])}" if grant["missing"] else ""
        released = ", ".join(grant["released"]) or "nothing"
        out.print(f"under {grant['grant']} to {grant['department']}: {released}{lacks}", markup=False)
    for fault in found["faults"]:
        out.print(f"cannot work: {fault}", markup=False)
