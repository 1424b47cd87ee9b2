"""`gateway credentials`: what suppliers are shown of who calls, stored under names."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    command,
    open_api,
    out,
    print_json,
    print_table,
    read_secret,
)
from gateway.domain.credentials import ClientAuth, CredentialKind
from gateway.domain.errors import GatewayError

credentials = typer.Typer(
    name="credentials",
    help="Store what suppliers are shown of who calls: header fields, parameters, passwords, OAuth clients.",
    no_args_is_help=True,
)

Supplier = Annotated[str, typer.Argument(help="The department whose services ask for it.")]
Name = Annotated[str, typer.Argument(help="What it is called; an interface's `credential` names it.")]


@credentials.command("add")
@command
def add(
    supplier: Supplier,
    name: Name,
    *,
    kind: Annotated[CredentialKind, typer.Option("--kind", help="How it is shown.")],
    file: Annotated[
        Path | None, typer.Option("--secret-file", help="File that holds the secret; default: standard input.")
    ] = None,
    field: Annotated[str, typer.Option("--field", help="Header field or parameter that holds it.")] = "",
    prefix: Annotated[str, typer.Option("--prefix", help="What stands before it there, such as `APPCODE `.")] = "",
    user: Annotated[str, typer.Option("--user", help="User of `basic`, `client_id` of `oauth`.")] = "",
    token_url: Annotated[str, typer.Option("--token-url", help="Token endpoint of `oauth`.")] = "",
    scope: Annotated[str, typer.Option("--scope", help="What is asked of the token endpoint.")] = "",
    client_auth: Annotated[
        ClientAuth, typer.Option("--client-auth", help="Where the client shows itself there.")
    ] = ClientAuth.HEADER,
    overlap: Annotated[
        int, typer.Option("--overlap", help="Seconds for which the secret before is tried where this is refused.")
    ] = 0,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Store a credential under a name, or another in place of it; its secret is sealed by the key ring."""
    secret = read_secret("secret") if file is None else _of_file(file)
    body = {
        "supplier": supplier,
        "name": name,
        "kind": kind.value,
        "secret": secret,
        "field": field,
        "prefix": prefix,
        "user": user,
        "token_url": token_url,
        "scope": scope,
        "client_auth": client_auth.value,
        "overlap_seconds": overlap,
    }
    with open_api(home, officer) as api:
        answer = api.post("/v1/credentials", body)
    if as_json:
        print_json(answer)
    else:
        out.print(f"stored as {name} of {supplier}; interfaces that name it show it from now on", markup=False)


@credentials.command("list")
@command
def list_(
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List stored credentials; no secret is shown."""
    with open_api(home, officer) as api:
        rows = api.get("/v1/credentials", supplier=supplier)["items"]
    if as_json:
        print_json({"items": rows})
        return
    print_table(
        "credentials",
        ("supplier", "name", "kind", "field or user"),
        ((row["supplier"], row["name"], row["kind"], row["field"] or row["user"]) for row in rows),
    )


@credentials.command("withdraw")
@command
def withdraw(
    supplier: Supplier,
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, in words; it stands in the act's record.")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a credential: when this returns, nobody is shown it."""
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/credentials/{supplier}/{name}/withdrawal", {"reason": reason})
    if as_json:
        print_json(answer)
        return
    out.print(f"credential {name} of {supplier} is withdrawn", markup=False)
    for interface in answer["interfaces"]:
        out.print(f"  {interface} names it and is not called until it names another, or none", markup=False)


def _of_file(file: Path) -> str:
    """The secret in a file; one line end behind it is none of it."""
    try:
        return file.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise GatewayError("invalid-input", f"`{file}` is not UTF-8") from error
