"""`gateway grants propose | approve | decline | proposals`: a grant comes of acts on both sides (Art. 20, 21)."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.grants.issuing import read_rows
from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, out, print_json
from gateway.domain.errors import GatewayError

Proposed = Annotated[str, typer.Argument(help="Id of the grant that was proposed.")]


class Side(StrEnum):
    """Whose approval it is."""

    DEMAND = "demand"
    SUPPLY = "supply"


@command
def propose(
    file: Annotated[Path, typer.Argument(help="The grant, as JSON, without approvals: they are acts.")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Propose a grant, or a next version of one, for your department."""
    rows = read_rows(file)
    if len(rows) != 1:
        raise GatewayError("invalid-input", f"`{file}` holds {len(rows)} grants: one is proposed at a time")
    with open_api(home, officer) as api:
        answer = api.post("/v1/proposals", rows[0])
    _tell(answer, as_json=as_json)


@command
def approve(
    grant: Proposed,
    digest: Annotated[str, typer.Option(help="Of what you read, as `grants proposals` shows it.")],
    side: Annotated[Side, typer.Option(help="Your side; the demand side's comes first.")],
    reference: Annotated[str, typer.Option(help="Number of the approval document.")] = "",
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Approve what was proposed; the supplier's approval issues the grant."""
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/proposals/{grant}/{side}-approval", {"digest": digest, "reference": reference})
    if side is Side.DEMAND or as_json:
        _tell(answer, as_json=as_json)
        return
    out.print(f"issued `{grant}`, version {answer['grant'].get('version', 1)}; record {answer['record']}", markup=False)


@command
def decline(
    grant: Proposed,
    reasons: Annotated[str, typer.Option(help="Why (Decree 809 Art. 21).")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Refuse what was proposed, as the supplier; withdraw it, as the demand department."""
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/proposals/{grant}/refusal", {"reasons": reasons})
    _tell(answer, as_json=as_json)


@command
def proposals(
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List what was proposed by your department, or to it, with the digests that approvals name."""
    with open_api(home, officer) as api:
        found = api.get("/v1/proposals")["items"]
    if as_json:
        print_json({"items": found})
        return
    for each in found:
        _tell(each, as_json=False)


def _tell(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    proposal = answer["proposal"]
    grant = proposal["grant"]
    state = proposal.get("state", "proposed")
    out.print(f"`{proposal['id']}` for {grant['department']} on {grant['dataset']}: {state}", markup=False)
    out.print(f"  digest {answer['digest']}", markup=False)
