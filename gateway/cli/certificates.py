"""`gateway certificates`: what suppliers' interfaces are called with, stored under names."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, out, print_json, print_table
from gateway.domain.errors import GatewayError

certificates = typer.Typer(
    name="certificates",
    help="Store what suppliers are called with: authorities that sign their certificates, client certificates.",
    no_args_is_help=True,
)

Supplier = Annotated[str, typer.Argument(help="The department whose they are.")]
Name = Annotated[str, typer.Argument(help="What they are called; an interface's `tls_ca` or `tls_client` names it.")]


@certificates.command("add")
@command
def add(
    supplier: Supplier,
    name: Name,
    file: Annotated[list[Path], typer.Argument(help="PEM files: certificates, and a client certificate's key.")],
    client: Annotated[bool, typer.Option("--client", help="A client certificate; default: authorities.")] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Store certificates under a name, or others in place of them; a private key is sealed by the key ring."""
    try:
        pem = "\n".join(path.read_text("ascii") for path in file)
    except UnicodeDecodeError as error:
        raise GatewayError(
            "invalid-input", "a file is not PEM (`openssl x509 -inform DER -in FILE` makes it)"
        ) from error
    body = {"supplier": supplier, "name": name, "use": "client" if client else "authority", "pem": pem}
    with open_api(home, officer) as api:
        answer = api.post("/v1/certificates", body)
    if as_json:
        print_json(answer)
        return
    found = answer["certificates"]
    out.print(f"stored as {name} of {supplier}, good until {_day(found['not_after_unix'])}:", markup=False)
    for subject in found["subjects"]:
        out.print(f"  {subject}", markup=False)


@certificates.command("list")
@command
def list_(
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List stored certificates."""
    with open_api(home, officer) as api:
        rows = api.get("/v1/certificates", supplier=supplier)["items"]
    if as_json:
        print_json({"items": rows})
        return
    print_table(
        "certificates",
        ("supplier", "name", "use", "first subject", "good until"),
        ((row["supplier"], row["name"], row["use"], row["subjects"][0], _day(row["not_after_unix"])) for row in rows),
    )


@certificates.command("withdraw")
@command
def withdraw(
    supplier: Supplier,
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, in words; it stands in the act's record.")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw certificates: when this returns, no interface is called with them."""
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/certificates/{supplier}/{name}/withdrawal", {"reason": reason})
    if as_json:
        print_json(answer)
        return
    out.print(f"certificates {name} of {supplier} are withdrawn", markup=False)
    for interface in answer["interfaces"]:
        out.print(f"  {interface} names them and is not called until it names others", markup=False)


def _day(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).date().isoformat()
