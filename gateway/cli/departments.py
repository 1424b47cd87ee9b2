"""`gateway departments` and `gateway purposes`: who shares, and what for (Decree 809 Art. 8, 15)."""

from typing import Annotated

import typer

from gateway.cli.listing import every, tell_act
from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, print_json, print_table

departments = typer.Typer(
    name="departments",
    help="Register and list departments; merge, split, dissolve and rename them, and hand over what they have.",
    no_args_is_help=True,
)
purposes = typer.Typer(name="purposes", help="Register and list purposes of use.", no_args_is_help=True)

Identity = Annotated[str, typer.Argument(help="Its id: small letters, digits and `-`.")]


@departments.command("add")
@command
def add_department(
    department: Identity,
    name: Annotated[str, typer.Option(help="The department's name.")],
    region: Annotated[str, typer.Option(help="Division code of six digits (GB/T 2260).")],
    level: Annotated[str, typer.Option(help="national, province, city, county or township.")],
    parent: Annotated[str | None, typer.Option(help="Id of the department it belongs to.")] = None,
    code: Annotated[str | None, typer.Option(help="Unified social credit code.")] = None,
    matter: Annotated[
        list[str] | None, typer.Option(help="Purpose that is a matter of its own, for what a region lets it use.")
    ] = None,
    *,
    revives: Annotated[
        bool, typer.Option("--revives", help="What its grants give again, as it comes to lie in a scope, shall flow.")
    ] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Register a department, or change it."""
    named = {"id": department, "name": name, "region": region, "level": level, "parent": parent, "code": code}
    body = {**named, "matters": matter or []}
    with open_api(home, officer) as api:
        answer = api.post("/v1/departments?revives=true" if revives else "/v1/departments", body)
    tell_act(answer, f"department `{department}` is registered", as_json=as_json)


@departments.command("list")
@command
def list_departments(
    region: Annotated[str, typer.Option(help="Division code, or what it begins with.")] = "",
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List departments."""
    with open_api(home, officer) as api:
        rows = list(every(api, "/v1/departments", region=region))
    if as_json:
        print_json({"items": rows})
        return
    fields = ("id", "name", "region", "level", "parent", "code")
    print_table("departments", fields, ([row.get(field) or "" for field in fields] for row in rows))


@purposes.command("add")
@command
def add_purpose(
    purpose: Identity,
    name: Annotated[str, typer.Option(help="The purpose in words.")],
    basis: Annotated[str, typer.Option(help="The law or duty it serves.")] = "",
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Register a purpose of use, or change it."""
    with open_api(home, officer) as api:
        answer = api.post("/v1/purposes", {"id": purpose, "name": name, "basis": basis})
    tell_act(answer, f"purpose `{purpose}` is registered", as_json=as_json)


@purposes.command("list")
@command
def list_purposes(home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """List purposes of use."""
    with open_api(home, officer) as api:
        rows = api.get("/v1/purposes")["items"]
    if as_json:
        print_json({"items": rows})
        return
    print_table("purposes", ("id", "name", "basis"), ((row["id"], row["name"], row.get("basis", "")) for row in rows))
