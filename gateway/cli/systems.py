"""`gateway systems`: who calls, and by which keys (Decree 809 Art. 34, 35)."""

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli.listing import every, tell_act
from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, print_json, print_table
from gateway.domain.errors import GatewayError

systems = typer.Typer(name="systems", help="Register demand departments' systems and their keys.", no_args_is_help=True)


@systems.command("add")
@command
def add(
    system_id: Annotated[str, typer.Argument(help="The system's id, which is its `client_id`.")],
    department: Annotated[str, typer.Option(help="Its department.")],
    name: Annotated[str, typer.Option(help="Its name, for people; default: its id.")] = "",
    key: Annotated[list[Path] | None, typer.Option(help="File of a key, JWK or PEM; may be given again.")] = None,
    certificate: Annotated[list[str] | None, typer.Option(help="SHA-256 thumbprint, base64url.")] = None,
    replaces: Annotated[
        str | None, typer.Option(help="The id again: it was revoked, and is registered anew with new keys.")
    ] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Register a system of a demand department."""
    body = {
        "id": system_id,
        "department": department,
        "name": name or system_id,
        "keys": [read_key(path) for path in key or ()],
        "certificates": certificate or [],
    }
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/systems?replaces={quote(replaces)}" if replaces else "/v1/systems", body)
    tell_act(answer, f"system `{system_id}` of {department} is registered", as_json=as_json)


@systems.command("key")
@command
def key_(
    system_id: Annotated[str, typer.Argument(help="The system's id.")],
    add_key: Annotated[Path | None, typer.Option("--add", help="File of a key to add, JWK or PEM.")] = None,
    certificate: Annotated[str | None, typer.Option(help="Thumbprint of a certificate to add.")] = None,
    withdraw: Annotated[str | None, typer.Option(help="`kid` or thumbprint to withdraw.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Add or withdraw a key; without either, show the system's keys."""
    with open_api(home, officer) as api:
        if withdraw is not None:
            answer = api.delete(f"/v1/systems/{system_id}/keys/{withdraw}")
            tell_act(answer, f"key `{withdraw}` of system `{system_id}` is withdrawn", as_json=as_json)
        elif add_key is not None or certificate is not None:
            body: dict[str, Any] = {"certificate": certificate} if certificate else {}
            if add_key is not None:
                body["key"] = read_key(add_key)
            answer = api.post(f"/v1/systems/{system_id}/keys", body)
            tell_act(answer, f"system `{system_id}` has a new key", as_json=as_json)
        else:
            shown = api.get(f"/v1/systems/{system_id}")
            if as_json:
                print_json(shown)
            else:
                rows = [("key", each.get("kid")) for each in shown.get("keys", ())]
                rows += [("certificate", each) for each in shown.get("certificates", ())]
                print_table(f"system {system_id}", ("", ""), rows)


@systems.command("list")
@command
def list_systems(
    department: Annotated[str | None, typer.Option(help="Its department.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List the systems you may see."""
    with open_api(home, officer) as api:
        rows = list(every(api, "/v1/systems", department=department))
    if as_json:
        print_json({"items": rows})
        return
    print_table(
        "systems",
        ("id", "department", "name", "keys", "state"),
        (
            (
                row["id"],
                row["department"],
                row["name"],
                len(row.get("keys", ())) + len(row.get("certificates", ())),
                "active" if row.get("active", True) else "revoked",
            )
            for row in rows
        ),
    )


@systems.command("certify")
@command
def certify(
    system_id: Annotated[str, typer.Argument(help="The system's id.")],
    number: Annotated[str | None, typer.Option(help="Number of the certificate or report.")] = None,
    since: Annotated[str | None, typer.Option(help="Its first day, such as 2026-03-01.")] = None,
    until: Annotated[str | None, typer.Option(help="Its last day.")] = None,
    withdraw: Annotated[str | None, typer.Option(help="Withdraw it instead, and why.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Enter that a system is certified, or withdraw that; the competent department's act. Policies may ask for it."""
    with open_api(home, officer) as api:
        if withdraw is not None:
            answer = api.post(f"/v1/systems/{system_id}/certification/withdrawal", {"reason": withdraw})
            tell_act(answer, f"the certification of system `{system_id}` is withdrawn", as_json=as_json)
            return
        said = {"number": number, "since": since, "until": until}
        if missing := [f"--{name}" for name, value in said.items() if value is None]:
            raise GatewayError("invalid-input", f"say {', '.join(missing)}, or `--withdraw` with the reason")
        answer = api.post(f"/v1/systems/{system_id}/certification", said)
    tell_act(answer, f"system `{system_id}` is certified from {since} to {until}", as_json=as_json)


@systems.command("revoke")
@command
def revoke(
    system_id: Annotated[str, typer.Argument(help="The system's id.")],
    reason: Annotated[str, typer.Option(help="Why, in words; it stands in the act's record.")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a system for good: when this returns, nothing more leaves to it. For one key: `systems key --withdraw`."""
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/systems/{system_id}/revocation", {"reason": reason})
    tell_act(answer, f"system `{system_id}` is revoked, for good", as_json=as_json)


def read_key(path: Path) -> dict[str, Any]:
    """The public JWK of a key file: a JWK, the only one of a set, or PEM, of which only the public part is read.

    Raises:
        GatewayError: `invalid-input` if there is none.
    """
    content = path.read_bytes()
    if b"-----BEGIN " in content:
        from gateway.runtime.operation.formats import public_jwk_of  # noqa: PLC0415 -- loads what JWKs do not need

        return public_jwk_of(content)
    try:
        found = json.loads(content)
    except ValueError as error:
        raise GatewayError("invalid-input", f"`{path}` is neither a JWK nor PEM") from error
    keys = found.get("keys") if isinstance(found, dict) else None
    if isinstance(keys, list) and len(keys) == 1:
        found = keys[0]
    if not isinstance(found, dict) or "kty" not in found:
        raise GatewayError("invalid-input", f"`{path}` is neither a JWK nor PEM")
    return found
