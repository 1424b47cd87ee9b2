"""`gateway departments merge | split | dissolve | rename | transfer`: shows its plan, then does it (Art. 17)."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.departments import departments
from gateway.cli.listing import tell_act
from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, out, print_json, print_table
from gateway.domain.errors import GatewayError

Document = Annotated[str, typer.Option(help="Reference of the decision that it rests on.")]
Reason = Annotated[str, typer.Option(help="Why, in words.")]
Plan = Annotated[
    str | None,
    typer.Option(help="Digest of the plan that was read: do it. Without it the plan is shown, nothing done."),
]
Parts = Annotated[
    list[str] | None,
    typer.Option(
        "--part",
        help="What goes to whom, as KIND:ID=DEPARTMENT; KIND is entry, interface, system, officer or department.",
    ),
]
Department = Annotated[str, typer.Argument(help="Id of the department.")]


@departments.command("merge")
@command
def merge(
    merged: Annotated[list[str], typer.Argument(help="Ids of the departments that end.")],
    into: Annotated[str, typer.Option(help="Id of the department that takes over.")],
    document: Document,
    reason: Reason,
    plan: Plan = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Merge departments into another: all that they have goes there, and they end."""
    said = {"kind": "merge", "departments": merged, "successor": into, "document": document, "reason": reason}
    _reorganise(said, plan, home, officer, as_json=as_json)


@departments.command("split")
@command
def split(
    department: Department,
    part: Parts,
    document: Document,
    reason: Reason,
    rest: Annotated[
        str | None, typer.Option(help="Id of who gets what no part names; the department ends then.")
    ] = None,
    plan: Plan = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Split a department: each part goes to whom it names."""
    said = {"kind": "split", "departments": [department], "document": document, "reason": reason}
    body = {**said, "successor": rest, "parts": [_part(text) for text in part or ()]}
    _reorganise(body, plan, home, officer, as_json=as_json)


@departments.command("dissolve")
@command
def dissolve(
    department: Department,
    duties: Annotated[str, typer.Option(help="Id of who owes its duties, and answers for its records.")],
    document: Document,
    reason: Reason,
    plan: Plan = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Dissolve a department: its entries, systems and grants end."""
    said = {"kind": "dissolve", "departments": [department], "successor": duties}
    _reorganise({**said, "document": document, "reason": reason}, plan, home, officer, as_json=as_json)


@departments.command("rename")
@command
def rename(
    department: Department,
    name: Annotated[str, typer.Option(help="The new name; the id stays.")],
    document: Document,
    reason: Reason,
    plan: Plan = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Give a department another name."""
    said = {"kind": "rename", "departments": [department], "name": name, "document": document, "reason": reason}
    _reorganise(said, plan, home, officer, as_json=as_json)


@departments.command("transfer")
@command
def transfer(
    department: Department,
    part: Parts,
    document: Document,
    reason: Reason,
    plan: Plan = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Hand over entries, interfaces, systems, persons or subordinate departments; callers keep their paths."""
    said = {"kind": "transfer", "departments": [department], "document": document, "reason": reason}
    _reorganise({**said, "parts": [_part(text) for text in part or ()]}, plan, home, officer, as_json=as_json)


def _part(text: str) -> dict[str, str]:
    thing, colon, rest = text.partition(":")
    id_, equals, to = rest.rpartition("=")
    if not colon or not equals:
        raise GatewayError("invalid-input", f"`{text}` is no part: write KIND:ID=DEPARTMENT")
    return {"thing": thing, "id": id_, "to": to}


def _reorganise(body: dict[str, Any], plan: str | None, home: Path, officer: str | None, *, as_json: bool) -> None:
    """Show the plan, or do it."""
    with open_api(home, officer) as api:
        if plan is not None:
            tell_act(api.post("/v1/reorganisations", {**body, "plan": plan}), "done as planned", as_json=as_json)
            return
        shown = api.post("/v1/reorganisations/plan", body)
    if as_json:
        print_json(shown)
        return
    rows = [
        (step["thing"], step["id"], step.get("becomes", ""), "loses" if step.get("loses") else "", step["rule"])
        for step in shown["steps"]
    ]
    print_table("plan", ("what", "id", "goes to", "", "by rule"), rows)
    for name, words in shown["rules"].items():
        out.print(f"  {name}: {words['en']} ({words['zh']})", markup=False)
    out.print(f"nothing was done; to do it, give the same command with --plan {shown['plan']}", markup=False)
