"""`gateway hosts`: whose the hosts are that interfaces lead to; claim, prove, confirm, withdraw."""

import base64
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

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
    said_again,
)
from gateway.domain.errors import GatewayError

hosts = typer.Typer(
    name="hosts",
    help="Register the hosts of suppliers' services: claim, prove, confirm; then interfaces may lead there.",
    no_args_is_help=True,
)

Supplier = Annotated[str, typer.Argument(help="The department whose host it is.")]
HostId = Annotated[str, typer.Argument(metavar="HOST", help="`address:port`, as `gateway hosts list` has it.")]


@hosts.command("claim")
@command
def claim(
    supplier: Supplier,
    address: Annotated[str, typer.Argument(help="Name or IP address, with :port where it is not 443 (or 80).")],
    plain: Annotated[bool, typer.Option("--plain-http", help="It speaks http, not https.")] = False,
    certificate_name: Annotated[
        str | None, typer.Option(help="The name its certificate bears, if not the address.")
    ] = None,
    authority: Annotated[
        str | None, typer.Option(help="Stored authority certificates that sign it; default: the system's.")
    ] = None,
    share: Annotated[
        list[str] | None, typer.Option(help="`/prefix=department`: whose part of a shared host that is.")
    ] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Claim a host for a department; says what its service has to show. What stands meanwhile goes on standing."""
    shares = {}
    for each in share or ():
        prefix, _, department = each.partition("=")
        if not prefix.startswith("/") or not department:
            raise typer.BadParameter("write `/prefix=department`", param_hint="--share")
        shares[prefix] = department
    body: dict[str, Any] = {"supplier": supplier, "address": address, "tls": not plain, "shares": shares}
    if certificate_name:
        body["certificate_name"] = certificate_name
    if authority:
        body["authority"] = authority
    with open_api(home, officer) as api:
        answer = api.post("/v1/hosts", body)
    if as_json:
        print_json(answer)
        return
    host = answer["host"]
    name = host_id(host)
    scheme = "https" if host["is_tls"] else "http"
    out.print(f"claimed: {name}, at {', '.join(host['addresses'])}", markup=False)
    out.print(f"have its service answer GET {scheme}://{name}{answer['proof_path']} with this text:", markup=False)
    out.print(f"  {host['nonce']}", markup=False)
    out.print("or sign that text with the key of its certificate:", markup=False)
    out.print(f"  printf %s {host['nonce']} | openssl dgst -sha256 -sign server.key -out proof.sig", markup=False)
    out.print(f"then: gateway hosts prove {supplier} {name}{said_again(home, officer)}", markup=False)


@hosts.command("prove")
@command
def prove(
    supplier: Supplier,
    host: HostId,
    signature: Annotated[
        Path | None, typer.Option(help="File with the nonce signed by the certificate's key; default: ask the service.")
    ] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Have the service show that it knows of the claim, at every address it has."""
    body = {} if signature is None else {"signature": base64.b64encode(signature.read_bytes()).decode()}
    with open_api(home, officer) as api:
        answer = api.post(f"{_path(supplier, host)}/proof", body)
    if as_json:
        print_json(answer)
        return
    out.print(f"host {host} is proved by its {answer['host']['proof']}", markup=False)
    out.print(
        f"then, another officer of the competent department: gateway hosts confirm {supplier} {host}", markup=False
    )


@hosts.command("confirm")
@command
def confirm(
    supplier: Supplier, host: HostId, home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False
) -> None:
    """Confirm a proved claim as the competent department; from then on the department's interfaces may lead there."""
    with open_api(home, officer) as api:
        answer = api.post(f"{_path(supplier, host)}/confirmation")
    if as_json:
        print_json(answer)
    else:
        out.print(f"host {host} is confirmed as {supplier}'s", markup=False)


@hosts.command("withdraw")
@command
def withdraw(
    supplier: Supplier,
    host: HostId,
    reason: Annotated[str, typer.Option(help="Why, in words; it stands in the act's record.")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a host and what is claimed of it: when this returns, nothing reaches it by this gateway."""
    with open_api(home, officer) as api:
        answer = api.post(f"{_path(supplier, host)}/withdrawal", {"reason": reason})
    if as_json:
        print_json(answer)
    else:
        out.print(f"host {host} of {supplier} is withdrawn", markup=False)


@hosts.command("list")
@command
def list_(
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List the hosts that stand, and claims on their way."""
    with open_api(home, officer) as api:
        rows = api.get("/v1/hosts", supplier=supplier)["items"]
    if as_json:
        print_json({"items": rows})
        return
    print_table(
        "hosts",
        ("supplier", "host", "state", "proof", "addresses", "shared with"),
        (
            (
                row["supplier"],
                host_id(row),
                row["state"],
                row["proof"],
                ", ".join(row["addresses"]),
                ", ".join(f"{prefix}: {department}" for prefix, department in row["shares"].items()),
            )
            for row in rows
        ),
    )
    inherited = [host_id(row) for row in rows if row["state"] == "inherited"]
    if inherited:
        out.print(
            f"inherited, used before hosts were registered: {', '.join(inherited)}; claim, prove and confirm them",
            markup=False,
        )


def host_id(host: dict[str, Any]) -> str:
    """`address:port`, as the domain writes it."""
    address = host["address"]
    return f"[{address}]:{host['port']}" if ":" in address else f"{address}:{host['port']}"


def _path(supplier: str, host: str) -> str:
    if "/" in host or "/" in supplier:
        raise GatewayError("invalid-input", "a host is written `address:port`, as `gateway hosts list` has it")
    return f"/v1/hosts/{quote(supplier)}/{quote(host, safe=':[]')}"
