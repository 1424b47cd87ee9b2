"""`gateway grants suspend | lift | terminate | close | dispose | dispute`: one act on one grant.

Source: Decree 809 Art. 27, 35.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    IfMatch,
    command,
    matching,
    open_api,
    out,
    print_json,
)

GrantId = Annotated[str, typer.Argument(help="The grant's id.")]
Reason = Annotated[str, typer.Option(help="Why, in words; it stands in the act's record.")]


@command
def suspend(
    grant_id: GrantId,
    violation: Annotated[str | None, typer.Option(help="The violation found (Art. 27 ¶2).")] = None,
    rectify_by: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The date set for rectification (Art. 27 ¶2).")
    ] = None,
    incident: Annotated[str | None, typer.Option(help="Instead: the security incident (Art. 35).")] = None,
    report_due: Annotated[
        datetime | None, typer.Option(help="When the report on the incident is due, UTC; default in 24 hours.")
    ] = None,
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Suspend a grant: when this returns, not one more byte leaves under it."""
    body: dict[str, Any] = {"emergency": True, "incident": incident} if incident else {}
    if violation is not None:
        body["violation"] = violation
    if rectify_by is not None:
        body["rectify_by"] = rectify_by.date().isoformat()
    if report_due is not None:
        body["report_due"] = report_due.replace(tzinfo=UTC).isoformat()
    _act(home, officer, grant_id, "suspension", body, if_match, as_json=as_json)


@command
def lift(
    grant_id: GrantId,
    reason: Reason,
    order: Annotated[str | None, typer.Option(help="Which order, where several are in force.")] = None,
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Lift a suspension."""
    _act(home, officer, grant_id, "suspension/lift", _given(reason=reason, order=order), if_match, as_json=as_json)


@command
def terminate(
    grant_id: GrantId,
    *,
    reason: Reason,
    rectification: Annotated[str | None, typer.Option(help="How rectification failed (Art. 27 ¶2).")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Rectification was refused before its date.")] = False,
    consultation: Annotated[str | None, typer.Option(help="Record of consultation (Art. 27 ¶3).")] = None,
    filing: Annotated[str | None, typer.Option(help="Filing reference (Art. 27 ¶3).")] = None,
    dispose_by: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Disposal due on.")] = None,
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Terminate a grant: after a failed rectification, or after consultation and filing."""
    body = _given(
        reason=reason,
        rectification=rectification,
        refused=refused or None,
        consultation=consultation,
        filing=filing,
        dispose_by=dispose_by.date().isoformat() if dispose_by else None,
    )
    _act(home, officer, grant_id, "termination", body, if_match, as_json=as_json)


@command
def close(
    grant_id: GrantId,
    outcome: Annotated[str, typer.Option(help="achieved, impossible or unnecessary (Art. 27 ¶1).")],
    reason: Reason,
    dispose_by: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Disposal due on.")] = None,
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Close a grant whose purpose is over; the duty to dispose of the data opens."""
    due = dispose_by.date().isoformat() if dispose_by else None
    _act(
        home,
        officer,
        grant_id,
        "closure",
        _given(outcome=outcome, reason=reason, dispose_by=due),
        if_match,
        as_json=as_json,
    )


@command
def dispose(
    grant_id: GrantId,
    method: Annotated[str, typer.Option(help="How the data was destroyed.")],
    destroyed_on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="When.")],
    by: Annotated[str, typer.Option(help="Who carried it out.")],
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """File the destruction record of a closed or terminated grant."""
    body = {"method": method, "destroyed_on": destroyed_on.date().isoformat(), "carried_out_by": by}
    _act(home, officer, grant_id, "disposal", body, if_match, as_json=as_json)


@command
def dispute(
    grant_id: GrantId,
    reason: Annotated[str | None, typer.Option(help="What is disputed; opens the dispute.")] = None,
    outcome: Annotated[str | None, typer.Option(help="How it ended; settles the dispute.")] = None,
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Open a dispute with --reason, or settle it with --outcome; the grant's records are held meanwhile."""
    if (reason is None) == (outcome is None):
        raise typer.BadParameter("give either --reason or --outcome")
    if reason is not None:
        _act(home, officer, grant_id, "dispute", {"reason": reason}, if_match, as_json=as_json)
    else:
        _act(home, officer, grant_id, "dispute/settlement", {"outcome": outcome}, if_match, as_json=as_json)


def _act(
    home: Path,
    officer: str | None,
    grant_id: str,
    path: str,
    body: dict[str, Any],
    if_match: str | None,
    *,
    as_json: bool,
) -> None:
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/grants/{grant_id}/{path}", body, headers=matching(if_match))
    if as_json:
        print_json(answer)
        return
    grant = answer["grant"]
    words = f"grant `{grant['id']}` is {grant.get('state', 'issued')}{', disputed' if grant.get('disputed') else ''}"
    held = answer.get("barrier")
    if held:
        words += f"; effective everywhere after {held['milliseconds']} ms"
        words += f" ({len(held['confirmed'])} confirmed, {len(held['out'])} out)"
    out.print(f"{words}; record {answer['record']}", markup=False)
    if answer.get("disposal") and not answer["disposal"].get("destroyed_record"):
        out.print(f"  disposal is due on {answer['disposal']['due_on']}", markup=False)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
