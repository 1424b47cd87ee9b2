"""`gateway grants`: issue, look at, suspend, lift, terminate, close, dispose, dispute (Decree 809 Art. 20 to 28)."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import to_builtins
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    IfMatch,
    command,
    err,
    matching,
    out,
    print_json,
    print_table,
)
from gateway.domain.errors import GatewayError
from gateway.domain.lifecycle import LIFECYCLE
from gateway.policy.layers import default_policies_root, load_layers
from gateway.policy.powers import powers
from gateway.runtime.api import Api, open_api
from gateway.runtime.home import GatewayHome

grants = typer.Typer(
    name="grants",
    help="Issue grants, look at them, and stop them: a stop is effective when the command returns.",
    no_args_is_help=True,
)

BATCH = 500
"""Grants sent at once: a second or so for the server, so that progress moves."""

GrantId = Annotated[str, typer.Argument(help="The grant's id.")]
Reason = Annotated[str, typer.Option(help="Why, in words; it stands in the act's record.")]


@grants.command("issue")
@command
def issue(
    file: Annotated[Path, typer.Argument(help="One grant, a list of them, or one a line (NDJSON).")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a file whose issue was cut off; what stands is not repeated.")
    ] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Issue grants from FILE. Every fault of every grant is listed before anything is issued."""
    rows = read_rows(file)
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with open_api(home, officer) as api, _progress(quiet=as_json or len(rows) == 1) as progress:
        if not resume:
            _check(api, batches, progress)
        task = progress.add_task("issuing", total=len(rows))
        for batch in batches:
            body: Any = batch[0] if len(rows) == 1 else batch
            digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
            issued = api.post("/v1/grants", body, headers={"Idempotency-Key": f"issue-{digest[:48]}"})
            progress.advance(task, len(batch))
    if as_json:
        print_json(issued if len(rows) == 1 else {"issued": len(rows)})
    elif len(rows) == 1:
        grant = issued["grant"]
        out.print(
            f"issued `{grant['id']}` to {grant['department']} on {grant['dataset']}, record {issued['record']}",
            markup=False,
        )
    else:
        out.print(f"issued {len(rows)} grants", markup=False)


@grants.command("renew")
@command
def renew(
    file: Annotated[Path, typer.Argument(help="The next version of one grant, as JSON, with approvals of its own.")],
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Renew or change a grant: FILE becomes its next version, and the version before is superseded, never edited."""
    rows = read_rows(file)
    if len(rows) != 1:
        raise GatewayError("invalid-input", f"`{file}` holds {len(rows)} grants: one is renewed at a time")
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/grants/{rows[0].get('id')}/versions", rows[0], headers=matching(if_match))
    if as_json:
        print_json(answer)
        return
    grant = answer["grant"]
    out.print(f"grant `{grant['id']}` stands in version {grant['version']}; record {answer['record']}", markup=False)


@grants.command("list")
@command
def list_(
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(help="issued, suspended, terminated, closed, disposed; or one of active, not-yet-valid, expired."),
    ] = None,
    department: Annotated[str | None, typer.Option(help="Demand department.")] = None,
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset.")] = None,
    expires_within: Annotated[int | None, typer.Option(help="Days within which it expires.")] = None,
    disputed: Annotated[bool | None, typer.Option("--disputed/--undisputed", help="Whether disputed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="`next` of the page before.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List the grants you may see."""
    with open_api(home, officer) as api:
        page = api.get(
            "/v1/grants",
            state=state or None,
            department=department,
            supplier=supplier,
            dataset=dataset,
            expires_within_days=expires_within,
            disputed=disputed,
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        print_json(page)
        return
    print_table(
        "grants",
        ("id", "department", "dataset", "items", "purposes", "state", "until"),
        (
            (
                grant["id"],
                grant["department"],
                grant["dataset"],
                ", ".join(grant["items"]),
                ", ".join(grant["purposes"]),
                grant.get("state", "issued") + (", disputed" if grant.get("disputed") else ""),
                grant["valid_until"][:10],
            )
            for grant in page["items"]
        ),
    )
    if page["next"]:
        out.print(f"more with --cursor {page['next']}", markup=False)


@grants.command("show")
@command
def show(grant_id: GrantId, home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """Show a grant, the orders on it, its disposal duty and its versions."""
    with open_api(home, officer) as api:
        body, tag = api.get_tagged(f"/v1/grants/{grant_id}")
    body["etag"] = tag
    if as_json:
        print_json(body)
        return
    grant = body["grant"]
    rows = [("standing", body["standing"]), ("etag", tag), ("supplier", body["supplier"])]
    rows += [(name, _shown(value)) for name, value in grant.items() if name != "id"]
    rows += [
        (
            f"order {order['id']}",
            f"{order['kind']}: {order['reason']}" + (" (lifted)" if order.get("lifted_at") else ""),
        )
        for order in body["orders"]
    ]
    if body["disposal"]:
        rows.append(("disposal due", body["disposal"]["due_on"]))
    print_table(f"grant {grant['id']}", ("", ""), rows)


@grants.command("suspend")
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


@grants.command("lift")
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


@grants.command("terminate")
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


@grants.command("close")
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


@grants.command("dispose")
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


@grants.command("dispute")
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


@grants.command("figures")
@command
def figures(
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    department: Annotated[str | None, typer.Option(help="Demand department.")] = None,
    within: Annotated[int, typer.Option(help="Days that `expiring` looks ahead.")] = 30,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Count grants by state, expiring, and overdue rectifications and disposals (Decree 809 Art. 38)."""
    with open_api(home, officer) as api:
        body = api.get("/v1/figures", supplier=supplier, department=department, within_days=within)
    if as_json:
        print_json(body)
        return
    rows = [(f"grants {state}", count) for state, count in body.pop("grants").items()]
    rows += [(f"orders in force: {kind}", count) for kind, count in body.pop("orders_in_force").items()]
    rows += [(name.replace("_", " "), value) for name, value in body.items() if name != "at"]
    print_table(f"figures of {body['at'][:19]}", ("", ""), rows)


@grants.command("overdue")
@command
def overdue(
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    department: Annotated[str | None, typer.Option(help="Demand department.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List overdue rectifications, reports and disposals one by one (Decree 809 Art. 27, 35)."""
    with open_api(home, officer) as api:
        body = api.get("/v1/figures/overdue", supplier=supplier, department=department)
    if as_json:
        print_json(body)
        return
    rows = [("rectification", order["rectify_by"], _target(order), order["id"]) for order in body["rectifications"]]
    rows += [("report", order["report_due"][:16], _target(order), order["id"]) for order in body["reports"]]
    rows += [("disposal", duty["due_on"], f"grant {duty['grant']}", "") for duty in body["disposals"]]
    print_table("overdue", ("what", "was due", "of", "order"), rows)


@grants.command("lifecycle")
@command
def lifecycle(
    layer: Annotated[
        list[str] | None, typer.Option("--layer", help="A policy layer, repeated in order; default: national.")
    ] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Print the table of a grant's states and acts: who may do each by the policies, and by which article.

    Who may is asked of the policies in force in the home; without a home, or with --layer, of the shipped ones.
    """
    if layer is None and GatewayHome(home).settings_file.exists():
        with open_api(home, officer) as api:
            rows = api.get("/v1/grants/lifecycle")["items"]
    else:
        layers = load_layers(default_policies_root(), layer or ["national"])
        rows = [
            {**row, "who": to_builtins(powers(layers, step.acts, 0))}
            for step, row in zip(LIFECYCLE, to_builtins(LIFECYCLE), strict=True)
        ]
    if as_json:
        print_json(rows)
        return
    print_table(
        "a grant's life",
        ("step", "Cedar action", "who may", "from", "to", "must state", "article", "effect"),
        (
            (
                row["name"],
                " or ".join(act for act in (row["act"], row["or_act"]) if act),
                _who(row),
                ", ".join(row["before"]) or "nothing",
                row["after"] or "unchanged",
                ", ".join(row["states"]) or "nothing",
                row["article"],
                row["effect"],
            )
            for row in rows
        ),
    )


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The grants of a file.

    Raises:
        GatewayError: `invalid-input` if it is neither a JSON object, nor an array of them, nor one a line.
    """
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise GatewayError("invalid-input", f"`{file}` is not UTF-8") from error
    try:
        whole = json.loads(text)
    except ValueError:
        whole = list(_lines(file, text))
    rows = whole if isinstance(whole, list) else [whole]
    faults = [
        {"row": row, "fault": "is no JSON object"} for row, each in enumerate(rows, 1) if not isinstance(each, dict)
    ]
    if faults or not rows:
        raise GatewayError("invalid-input", f"`{file}` holds no list of grants", faults=faults)
    return rows


def _lines(file: Path, text: str) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError as error:
            fault = {"row": number, "fault": "is not JSON"}
            raise GatewayError("invalid-input", f"`{file}` is neither JSON nor NDJSON", faults=[fault]) from error


def _check(api: Api, batches: Sequence[list[dict[str, Any]]], progress: Progress) -> None:
    """Have every grant checked; raises with all faults of the file, by row."""
    faults: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    task = progress.add_task("checking", total=sum(map(len, batches)))
    for number, batch in enumerate(batches):
        offset = number * BATCH
        for row, grant in enumerate(batch, offset + 1):
            first = seen.setdefault(str(grant.get("id")), row)
            if first != row and first <= offset:
                faults.append({"row": row, "field": "id", "fault": f"stands in row {first} already"})
        try:
            api.post("/v1/grants?check=true", batch)
        except GatewayError as error:
            if error.code != "invalid-input":
                raise
            faults += [
                {**fault, "row": offset + int(fault.get("row") or 1)} for fault in error.members.get("faults", ())
            ]
        progress.advance(task, len(batch))
    if faults:
        faults.sort(key=lambda fault: int(fault["row"]))
        what = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise GatewayError("invalid-input", f"the file has {what}; nothing was issued", faults=faults)


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


def _who(row: dict[str, Any]) -> str:
    """Who may, in a cell: one word a side, and for the competent department of whose region if not of both."""
    if not row["act"]:
        return "time"
    found = [power["who"] for power in row["who"]]
    regions = [who for who in found if who.startswith("competent department of ")]
    if len(regions) > 1:
        found = [who for who in found if who not in regions] + ["competent department"]
    return ", ".join(found) or "nobody"


def _target(order: dict[str, Any]) -> str:
    return f"{order['reach']} {order['target']}"


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True)
