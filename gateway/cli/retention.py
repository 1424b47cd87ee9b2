"""`gateway retention plan|apply`: what may go from the ledger today, and letting just that go."""

from typing import Annotated, Any

import typer

from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, out, print_json

retention = typer.Typer(
    name="retention",
    help="Let records go after their time, and not before (at least three calendar years).",
    no_args_is_help=True,
)


@retention.command("plan")
@command
def plan(home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """Show what may go today, by which rule, and what keeps the rest; removes nothing."""
    with open_api(home, officer, otherwise="operator") as api:
        found = api.get("/v1/retention")
    if as_json:
        print_json(found)
        return
    _tell(found)
    if found["entries"]:
        out.print(f"let it go: gateway retention apply {found['plan']}", markup=False)


@retention.command("apply")
@command
def apply(
    digest: Annotated[str, typer.Argument(metavar="PLAN", help="The plan, as `gateway retention plan` names it.")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Do just that plan: remove what it names from every copy the gateway keeps."""
    with open_api(home, officer, otherwise="operator") as api:
        done, _ = api.post_once("/v1/retention", {"plan": digest})
    if as_json:
        print_json(done)
        return
    pruned = done["pruned"]
    out.print(
        f"{pruned['entries']} entries below {pruned['end']} are gone, {pruned['kept']} stay there, "
        f"{pruned['freed_bytes']} bytes freed; on record as {pruned['record']}",
        markup=False,
    )


def _tell(found: dict[str, Any]) -> None:
    if not found["entries"]:
        out.print(f"nothing may go today: {found['stopped_by']}", markup=False)
        return
    out.print(f"{found['entries']} entries below {found['end']} may go", markup=False)
    out.print(f"  by the rule: {found['rule']}", markup=False)
    out.print(f"  none from {found['end']} on, since: {found['stopped_by']}", markup=False)
    if found["kept"]:
        out.print(f"  {found['kept']} below stay, with their proofs:", markup=False)
        for reason in found["kept_for"]:
            out.print(f"    {reason}", markup=False)
