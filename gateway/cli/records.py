"""`gateway records`: find, show, export, count and prove records of use, over the control API (Decree 809 Art. 29)."""

import csv
import json
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.progress import Progress

from gateway.cli.shell import (
    DEFAULT_HOME,
    MOMENTS,
    AsJson,
    AsOfficer,
    Home,
    command,
    err,
    open_api,
    out,
    print_json,
    print_table,
)
from gateway.domain.calendar import CHINA
from gateway.domain.errors import GatewayError
from gateway.domain.formulas import escaped
from gateway.ledger.index.figures import Figure, every_day
from gateway.ledger.log.checkpoints import parse_checkpoint
from gateway.ledger.log.notes import parse_note
from gateway.ledger.log.proofs import parse_proof, verify_inclusion

if TYPE_CHECKING:
    from gateway.runtime.operation.session.api import Api

records = typer.Typer(
    name="records", help="Find, export and prove records of use. Each reading is itself recorded.", no_args_is_help=True
)

REPORTED = ("day", "code", "dataset", "grant", "department")
FIGURES = ("uses", "refused", "rows", "bytes", "subjects", "median_us", "p95_us")

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
Policy = Annotated[str | None, typer.Option(help="A determining policy, such as grant/G-2026-0001.")]
Status = Annotated[int | None, typer.Option(min=0, max=599, help="HTTP status that was sent.")]
ByOfficer = Annotated[str | None, typer.Option("--officer", help="The officer who acted.")]
Kind = Annotated[str | None, typer.Option(help="use, use.refused, order, grant, directory, export, …")]
Subject = Annotated[
    str | None, typer.Option(help="Identifier of a data subject; only a pseudonym of it is looked for, none is kept.")
]
AllowPartial = Annotated[bool, typer.Option("--allow-partial", help="Answer with what is known; it says so.")]
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
    policy: Policy = None,
    status: Status = None,
    by_officer: ByOfficer = None,
    kind: Kind = None,
    subject: Subject = None,
    allow_partial: AllowPartial = False,
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
        policy=policy,
        status=status,
        officer=by_officer,
        kind=kind,
        subject=subject,
        allow_partial=allow_partial or None,
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
    _tell_what_is_missing(page)
    if page["next"]:
        out.print(f"more with --cursor {page['next']}", markup=False)


@records.command("show")
@command
def show(record_id: RecordId, home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """Show one record, whole, as it stands in the log, and what was said in it beside it."""
    with open_api(home, officer) as api:
        shown = api.get(f"/v1/records/{record_id}")
    if as_json:
        print_json(shown)
        return
    for entry in shown["entries"]:
        print_table(f"{entry['kind']} {shown['record']}", ("", ""), ((k, _said(v)) for k, v in sorted(entry.items())))
    if texts := shown.get("texts"):
        told = ((field, each["text"], each.get("salt", "")) for field, each in sorted(texts.items()))
        print_table(f"what was said {shown['record']}", ("", "text", "salt"), told)
    if shown["last"] is None:
        out.print(f"the use is open, as far as the log is known: below leaf {shown['knows']['until']}", markup=False)


@records.command("prove")
@command
def prove(
    record_id: RecordId,
    file: Annotated[Path | None, typer.Option("--out", help="Where to write it; default: RECORD.tlog-proof.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Write proofs that the record stands in the log; `gateway verify` checks them with the log's public key alone.

    A use that has ended has a second proof, of how it ended: RECORD.closed.tlog-proof.
    """
    target = file or Path(f"{record_id}.tlog-proof")
    closing = target.with_name(f"{target.stem}.closed{target.suffix}")
    is_closed = True
    with open_api(home, officer) as api:
        written, _ = api.download(f"/v1/records/{record_id}/proof", {}, target)
        _check_proof(target, record_id)
        try:
            api.download(f"/v1/records/{record_id}/proof", {"part": "closed"}, closing)
        except GatewayError as error:
            if error.code != "not-found":
                raise
            is_closed = False
        else:
            _check_proof(closing, record_id)
    if as_json:
        print_json({"file": str(target), "bytes": written, "closing": str(closing) if is_closed else None})
        return
    out.print(f"wrote {target}", markup=False)
    if is_closed:
        out.print(f"wrote {closing}, of how the use ended", markup=False)


@records.command("erase")
@command
def erase(
    record_id: RecordId,
    reason: Annotated[str, typer.Option(help="Why; it stands in the record of the act, so do not repeat the words.")],
    field: Annotated[
        list[str] | None, typer.Option(help="operator, reason, statement, …; again for more. Default: all fields.")
    ] = None,
    *,
    everywhere: Annotated[bool, typer.Option(help="Also where others have said just the same.")] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Erase for good what a caller or an officer said in its own words; the record stays (Art. 37; PIPL Art. 47)."""
    body = {"reason": reason, "everywhere": everywhere, **({"fields": field} if field else {})}
    with open_api(home, officer) as api:
        done, _ = api.post_once(f"/v1/records/{record_id}/erasure", body)
    if as_json:
        print_json(done)
        return
    out.print(f"erased {done['erased']} texts; record {done['record']}", markup=False)


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
    policy: Policy = None,
    status: Status = None,
    by_officer: ByOfficer = None,
    kind: Kind = None,
    subject: Subject = None,
    allow_partial: AllowPartial = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Export records with a signed manifest beside them (FILE.manifest)."""
    format_ = file.suffix.removeprefix(".")
    if format_ not in {"ndjson", "csv", "parquet"}:
        raise GatewayError("invalid-input", f"`{file.name}` ends neither in .ndjson, .csv nor .parquet")
    manifest = file.with_name(f"{file.name}.manifest")
    texts = file.with_name(f"{file.name}.texts")
    for path in (file, manifest, texts):
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
        policy=policy,
        status=status,
        officer=by_officer,
        kind=kind,
        subject=subject,
        allow_partial=allow_partial or None,
    )
    with open_api(home, officer) as api:
        made = _watched_export(api, {"format": format_, **question}, quiet=as_json)
        api.download(made["file"], {}, file)
        api.download(made["manifest"], {}, manifest)
        if format_ != "parquet":
            api.download(f"{made['file']}/texts", {}, texts)
    if as_json:
        print_json({"file": str(file), "manifest": str(manifest), **made["summary"], "record": made["record"]})
    else:
        summary = made["summary"]
        out.print(f"wrote {summary['records']} records to {file}, its manifest to {manifest}", markup=False)
        if format_ != "parquet":
            out.print(f"what callers said, with what proves it, to {texts}", markup=False)
        out.print(f"verifier key of the log: {summary['verifier_key']}", markup=False)
        if summary.get("partial_of") is not None:
            summary = {**summary, "partial": True, "knows": {"until": summary["size"], "owed": summary["partial_of"]}}
        _tell_what_is_missing({**summary, "not_looked_into": made.get("not_looked_into", {})})


@records.command("stats")
@command
def stats(
    by: Annotated[
        str, typer.Option(help="day, department, supplier, dataset, interface, grant, purpose, reason, …")
    ] = "day",
    *,
    from_: From = None,
    until: Until = None,
    department: Department = None,
    supplier: Supplier = None,
    dataset: Dataset = None,
    grant: Grant = None,
    purpose: Purpose = None,
    allow_partial: AllowPartial = False,
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
        allow_partial=allow_partial or None,
    )
    with open_api(home, officer) as api:
        found = api.get("/v1/records/stats", by=by, **question)
    if as_json:
        print_json(found)
        return
    _tell_what_is_missing(found)
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


@records.command("report")
@command
def report(
    folder: Annotated[Path, typer.Argument(help="Where to write it; made if it is not there.")],
    *,
    from_: From = None,
    until: Until = None,
    department: Department = None,
    supplier: Supplier = None,
    dataset: Dataset = None,
    grant: Grant = None,
    plots: Annotated[
        str | None, typer.Option(help="svg, png, or none; default: svg where the extra `plots` is installed.")
    ] = None,
    allow_partial: AllowPartial = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Report uses and refusals by day, reason, dataset, grant and department: tables, plots of the first three.

    Days without calls are among the days.
    """
    if plots not in {None, "svg", "png", "none"}:
        raise GatewayError("invalid-input", f"plots are svg, png or none; not `{plots}`")
    question = _question(
        from_=from_, until=until, department=department, supplier=supplier, dataset=dataset, grant=grant
    )
    said = {**question, "allow_partial": True} if allow_partial else question
    with open_api(home, officer) as api:
        answers = {by: api.get("/v1/records/stats", by=by, **said) for by in REPORTED}
    found = {by: answer["items"] for by, answer in answers.items()}
    _tell_what_is_missing(answers["day"])
    # Acts are records too, but neither uses nor refusals.
    figures = {
        by: [each for each in msgspec.convert(items, list[Figure]) if each.uses or each.refused]
        for by, items in found.items()
    }
    figures["day"] = every_day(figures["day"], *_days_asked(from_, until))
    folder.mkdir(parents=True, exist_ok=True)
    files = [_write_table(folder / f"by-{by}.csv", by, found) for by, found in figures.items()]
    if plots is None and find_spec("matplotlib") is None:
        err.print("no plots: they need matplotlib, the extra `plots`", markup=False)
    elif plots != "none":
        about = ", ".join(f"{name} {value}" for name, value in question.items()) or "all records"
        files += _plot(folder, plots or "svg", figures, about)
    if as_json:
        print_json({"files": [str(file) for file in files], "figures": figures})
        return
    for file in files:
        out.print(f"wrote {file}", markup=False)


def _write_table(path: Path, by: str, found: list[Figure]) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((by, *FIGURES))
        writer.writerows((escaped(each.key), *(getattr(each, name) for name in FIGURES)) for each in found)
    return path


def _plot(folder: Path, suffix: str, figures: dict[str, list[Figure]], about: str) -> list[Path]:
    from gateway.ledger.index.plots import plot_days, plot_top  # noqa: PLC0415 - matplotlib is an extra

    files = [folder / f"{name}.{suffix}" for name in ("calls-by-day", "refusals-by-reason", "top-datasets")]
    plot_days(figures["day"], files[0], f"calls by day: {about}")
    plot_top(figures["code"], files[1], f"refusals by reason: {about}", refused=True)
    plot_top(figures["dataset"], files[2], f"top datasets: {about}")
    return files


def _watched_export(api: "Api", question: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Make an export and show how far it is; its summary and addresses."""
    made, _ = api.post_once("/v1/records/export", question, headers={"Prefer": "respond-async"})
    with Progress(console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("exporting", total=None)
        while "summary" not in made:
            made = api.get(made["progress"])
            bar.update(task, completed=made.get("done", 0), total=made.get("of") or None)
    finished: dict[str, Any] = made
    return finished


def _question(*, from_: datetime | None, until: datetime | None, **named: str | int | bool | None) -> dict[str, Any]:
    """The question's fields that were given; times are China Standard Time."""
    said: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if from_ is not None:
        said["from"] = from_.replace(tzinfo=CHINA).isoformat()
    if until is not None:
        said["until"] = until.replace(tzinfo=CHINA).isoformat()
    return said


def _days_asked(from_: datetime | None, until: datetime | None) -> tuple[date | None, date | None]:
    """The first and last day of a question, as far as they were given; no day is reported before it has come."""
    today = datetime.now(CHINA).date()
    first = min(from_.date(), today) if from_ is not None else None
    last = min((until - timedelta(seconds=1)).date(), today) if until is not None else None
    return first, last


def _tell_what_is_missing(answer: dict[str, Any]) -> None:
    """Say on the terminal what the answer could not look into: nothing follows from its not being there."""
    knows, past = answer.get("knows", {}), answer.get("not_looked_into", {})
    if answer.get("partial"):
        known = f"{knows['until']} of {knows['owed']} leaves of the log are known"
        err.print(f"a part: {known}", style="bold", markup=False)
    if set_aside := knows.get("set_aside", answer.get("set_aside")):
        err.print(f"{set_aside} entries of the log are in no answer: `gateway status` names them", markup=False)
    if begins := knows.get("begins"):
        err.print(f"records below leaf {begins} were removed by retention", markup=False)
    if past.get("interfaces"):
        names = ", ".join(past["interfaces"])
        err.print(f"not known for these interfaces, some uses of which name no person: {names}", markup=False)
    if past.get("years"):
        years = ", ".join(map(str, past["years"]))
        err.print(f"not known for these years, whose pseudonym keys are not here: {years}", markup=False)


def _check_proof(path: Path, record_id: str) -> None:
    """A proof that does not prove what it was asked for is no file to keep.

    The signature is for who has the log's key: that of `gateway verify`.
    """
    try:
        proof = parse_proof(path.read_bytes())
        checkpoint = parse_checkpoint(parse_note(proof.checkpoint).text)
        verify_inclusion(proof.index, checkpoint.size, checkpoint.root, proof.extra, proof.path)
        holds = json.loads(proof.extra)["id"] == record_id
    except (GatewayError, ValueError, KeyError, TypeError):
        holds = False
    if not holds:
        path.unlink(missing_ok=True)
        raise GatewayError("conflict", f"the proof that was answered does not hold: `{path}` is not kept")


def _time(unix_us: int) -> str:
    return datetime.fromtimestamp(unix_us / 1_000_000, UTC).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S+08:00")


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
