"""`gateway records`: find, show, export, count and prove records of use, over the control API (Decree 809 Art. 29)."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, out, print_json, print_table
from gateway.domain.errors import GatewayError
from gateway.runtime.api import open_api

records = typer.Typer(
    name="records", help="Find, export and prove records of use. Each reading is itself recorded.", no_args_is_help=True
)

CHINA = timezone(timedelta(hours=8))
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

From = Annotated[datetime | None, typer.Option("--from", formats=MOMENTS, help="From, China Standard Time.")]
Until = Annotated[datetime | None, typer.Option(formats=MOMENTS, help="Until before, China Standard Time.")]
Department = Annotated[str | None, typer.Option(help="Demand department.")]
System = Annotated[str | None, typer.Option(help="Its system.")]
Supplier = Annotated[str | None, typer.Option(help="Supply department.")]
Dataset = Annotated[str | None, typer.Option(help="Dataset.")]
Interface = Annotated[str | None, typer.Option(help="Interface, as supplier/id.")]
Grant = Annotated[str | None, typer.Option(help="Grant.")]
Purpose = Annotated[str | None, typer.Option(help="Declared purpose.")]
Verdict = Annotated[str | None, typer.Option(help="permit or deny.")]
Code = Annotated[str | None, typer.Option(help="Problem code of a refusal.")]
Kind = Annotated[str | None, typer.Option(help="use, use.refused, order, grant, directory, export, …")]
Subject = Annotated[
    str | None, typer.Option(help="Identifier of a data subject; only a pseudonym of it is looked for, none is kept.")
]
RecordId = Annotated[str, typer.Argument(help="The record's id.")]


@records.command("find")
@command
def find(
    *,
    from_: From = None,
    until: Until = None,
    department: Department = None,
    system: System = None,
    supplier: Supplier = None,
    dataset: Dataset = None,
    interface: Interface = None,
    grant: Grant = None,
    purpose: Purpose = None,
    verdict: Verdict = None,
    code: Code = None,
    kind: Kind = None,
    subject: Subject = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="`next` of the page before.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Find records, newest first."""
    question = _question(
        from_=from_,
        until=until,
        department=department,
        system=system,
        supplier=supplier,
        dataset=dataset,
        interface=interface,
        grant=grant,
        purpose=purpose,
        verdict=verdict,
        code=code,
        kind=kind,
        subject=subject,
    )
    with open_api(home, officer) as api:
        if subject is None:
            page = api.get("/v1/records", **question, limit=limit, cursor=cursor)
        else:
            after = f"&cursor={cursor}" if cursor else ""
            page = api.post(f"/v1/records/search?limit={limit}{after}", {"format": "ndjson", **question})
    if as_json:
        print_json(page)
        return
    print_table(
        "records",
        ("record", "time", "kind", "department", "dataset", "purpose", "grant", "items", "status"),
        (
            (
                row["record"],
                _time(row["time_unix_us"]),
                row.get("act") or row["kind"],
                row.get("department"),
                row.get("dataset"),
                row.get("purpose"),
                row.get("grant"),
                ", ".join(row.get("released", ())),
                row.get("code") or row.get("status") or row.get("ending"),
            )
            for row in page["items"]
        ),
    )
    if page["next"]:
        out.print(f"more with --cursor {page['next']}", markup=False)


@records.command("show")
@command
def show(record_id: RecordId, home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """Show one record, whole, as it stands in the log."""
    with open_api(home, officer) as api:
        shown = api.get(f"/v1/records/{record_id}")
    if as_json:
        print_json(shown)
        return
    for entry in shown["entries"]:
        print_table(f"{entry['kind']} {shown['record']}", ("", ""), ((k, _said(v)) for k, v in sorted(entry.items())))


@records.command("prove")
@command
def prove(
    record_id: RecordId,
    file: Annotated[Path | None, typer.Option("--out", help="Where to write it; default: RECORD.tlog-proof.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Write a proof that the record stands in the log; `gateway verify` checks it with the log's public key alone."""
    target = file or Path(f"{record_id}.tlog-proof")
    with open_api(home, officer) as api:
        written = api.download(f"/v1/records/{record_id}/proof", {}, target)
    if as_json:
        print_json({"file": str(target), "bytes": written})
    else:
        out.print(f"wrote {target}", markup=False)


@records.command("export")
@command
def export(
    file: Annotated[Path, typer.Argument(help="Where to write it: .ndjson, .csv or .parquet.")],
    *,
    from_: From = None,
    until: Until = None,
    department: Department = None,
    system: System = None,
    supplier: Supplier = None,
    dataset: Dataset = None,
    interface: Interface = None,
    grant: Grant = None,
    purpose: Purpose = None,
    verdict: Verdict = None,
    code: Code = None,
    kind: Kind = None,
    subject: Subject = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Export records with a signed manifest beside them (FILE.manifest)."""
    format_ = file.suffix.removeprefix(".")
    if format_ not in {"ndjson", "csv", "parquet"}:
        raise GatewayError("invalid-input", f"`{file.name}` ends neither in .ndjson, .csv nor .parquet")
    manifest = file.with_name(f"{file.name}.manifest")
    for path in (file, manifest):
        if path.exists():
            raise GatewayError("conflict", f"`{path}` exists already")
    question = _question(
        from_=from_,
        until=until,
        department=department,
        system=system,
        supplier=supplier,
        dataset=dataset,
        interface=interface,
        grant=grant,
        purpose=purpose,
        verdict=verdict,
        code=code,
        kind=kind,
        subject=subject,
    )
    with open_api(home, officer) as api:
        made = api.post("/v1/records/export", {"format": format_, **question})
        api.download(made["file"], {}, file)
        api.download(made["manifest"], {}, manifest)
    if as_json:
        print_json({"file": str(file), "manifest": str(manifest), **made["summary"], "record": made["record"]})
    else:
        out.print(f"wrote {made['summary']['records']} records to {file}, its manifest to {manifest}", markup=False)


@records.command("stats")
@command
def stats(
    by: Annotated[
        str, typer.Option(help="day, department, supplier, dataset, interface, grant, purpose, code, …")
    ] = "day",
    *,
    from_: From = None,
    until: Until = None,
    department: Department = None,
    supplier: Supplier = None,
    dataset: Dataset = None,
    grant: Grant = None,
    purpose: Purpose = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Count uses, refusals, rows and bytes by group (Decree 809 Art. 38)."""
    question = _question(
        from_=from_,
        until=until,
        department=department,
        supplier=supplier,
        dataset=dataset,
        grant=grant,
        purpose=purpose,
    )
    with open_api(home, officer) as api:
        found = api.get("/v1/records/stats", by=by, **question)
    if as_json:
        print_json(found)
        return
    print_table(
        f"records by {by}",
        (by, "uses", "refused", "rows", "bytes", "median ms", "p95 ms"),
        (
            (
                row["key"] or "none",
                row["uses"],
                row["refused"],
                row["rows"],
                row["bytes"],
                row["median_us"] / 1000,
                row["p95_us"] / 1000,
            )
            for row in found["items"]
        ),
    )


def _question(*, from_: datetime | None, until: datetime | None, **named: str | None) -> dict[str, Any]:
    """The question's fields that were given; times are China Standard Time."""
    said: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if from_ is not None:
        said["from"] = from_.replace(tzinfo=CHINA).isoformat()
    if until is not None:
        said["until"] = until.replace(tzinfo=CHINA).isoformat()
    return said


def _time(unix_us: int) -> str:
    return datetime.fromtimestamp(unix_us / 1_000_000, UTC).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
