"""/v1/records: find, show, prove, export; and the records a demand department files (Decree 809 Art. 29).

Whose records an officer may read the policies say; each reading is itself recorded before it is answered. A data
subject is named by identifier in the request's body and becomes pseudonyms at once: no identifier is stored.
"""

import asyncio
import hashlib
import re
import secrets
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, Response
from pydantic import AwareDatetime, Field
from starlette.concurrency import run_in_threadpool

from gateway.control.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    matter_between,
    matter_of_grant,
    perform,
    require_permit,
)
from gateway.control.bodies import Body, EntryId, Identifier, Slug, Statement, Text, describes, model_of
from gateway.control.directory_import import every
from gateway.control.exporting import Exporting, Progress
from gateway.control.paging import Cursor, Limit, json_response
from gateway.control.record_questions import Asked, Question
from gateway.control.scopes import Scope, scope_of
from gateway.control.services import ControlServices
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.uses import RecordKind
from gateway.ledger.answers import ShownRecord
from gateway.ledger.exports import manifest_path
from gateway.ledger.queries import RecordQuery

router = APIRouter(prefix="/v1/records", tags=["records"])

RecordPath = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9-]{1,64}$", description="the record's id")]
AGAIN_SECONDS = 0.2
EXPORT_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


class ExportFormat(StrEnum):
    """What an export is written as; NDJSON keeps the entries as they stand in the log."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


class FiledKind(StrEnum):
    """What a demand department files about data it obtained."""

    EFFECT = "effect"
    STORAGE = "storage"
    DESTRUCTION = "destruction"


class FiledBody(Body):
    """A record of effect, storage or destruction under a grant."""

    kind: FiledKind
    grant: Identifier
    statement: Statement
    period_from: date | None = None
    period_until: date | None = None
    place: Text = ""
    method: Text = ""
    carried_out_by: Text = ""


class ExportBody(Body):
    """What to export, and as what."""

    format: ExportFormat
    from_: AwareDatetime | None = Field(None, alias="from")
    until: AwareDatetime | None = None
    department: Slug | None = None
    system: Slug | None = None
    supplier: Slug | None = None
    dataset: EntryId | None = None
    interface: str | None = Field(None, max_length=130)
    grant: Identifier | None = None
    purpose: Slug | None = None
    verdict: str | None = Field(None, max_length=16)
    code: str | None = Field(None, max_length=64)
    policy: str | None = Field(None, max_length=128)
    status: int | None = None
    kind: str | None = Field(None, max_length=32)
    officer: Slug | None = None
    subject: str | None = Field(None, max_length=256)


@router.get("", summary="Records you may read")
async def find_records(
    services: Services, officer: SignedIn, asked: Asked, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    """Records, newest first. The reading is recorded."""
    query = await run_in_threadpool(_narrowed, services, officer, Act.CONSULT_RECORDS, asked)
    record = await run_in_threadpool(_consulted, services, officer, Act.CONSULT_RECORDS, query)
    page = await services.ledger.find(query, cursor, limit)
    body = {"items": page.rows, "next": page.cursor, "log_size": page.log_size}
    return json_response(body, headers={"Sharing-Record": record})


@router.post("/search", summary="Records you may read, about one data subject", openapi_extra=describes(ExportBody))
async def search_records(
    services: Services,
    officer: SignedIn,
    body: Annotated[ExportBody, Depends(model_of(ExportBody))],
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """The same with the question in the body: a data subject's identifier never stands in a URL (Art. 37)."""
    return await find_records(services, officer, _question(body), cursor, limit)


@router.post(
    "", summary="File a record of effect, storage or destruction", status_code=201, openapi_extra=describes(FiledBody)
)
def file_record(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[FiledBody, Depends(model_of(FiledBody))],
    key: IdempotencyKey = None,
) -> Response:
    """File what became of data obtained under a grant (Art. 29)."""

    def work(deed: Deed) -> Answer:
        grant = deed.tx.grant(body.grant)
        if grant is None:
            raise GatewayError("not-found", f"there is no grant `{body.grant}`")
        matter = matter_of_grant(deed.tx, grant)
        deed.permit(Act.FILE_RECORDS, matter)
        deed.record(
            RecordKind(body.kind.value),
            grant=grant.id,
            department=grant.department,
            supplier=matter.supplier or "",
            dataset=grant.dataset,
            statement=body.statement,
            period_from=body.period_from.isoformat() if body.period_from else "",
            period_until=body.period_until.isoformat() if body.period_until else "",
            place=body.place,
            method=body.method,
            carried_out_by=body.carried_out_by,
            article="Decree 809 Art. 29",
        )
        return Answer({"kind": body.kind.value, "grant": grant.id}, 201)

    return perform(services, request, officer, key, body.model_dump(mode="json"), work)


class Grouping(StrEnum):
    """What figures over records are grouped by; a day is one of China Standard Time."""

    DAY = "day"
    DEPARTMENT = "department"
    SYSTEM = "system"
    SUPPLIER = "supplier"
    DATASET = "dataset"
    INTERFACE = "interface"
    GRANT = "grant"
    PURPOSE = "purpose"
    CODE = "code"
    ENDING = "ending"
    KIND = "kind"


@router.get("/stats", summary="Figures over records")
async def record_stats(services: Services, officer: SignedIn, asked: Asked, by: Grouping = Grouping.DAY) -> Response:
    """Uses, refusals, rows, bytes and durations by group (Art. 38); the reading is recorded."""
    query = await run_in_threadpool(_narrowed, services, officer, Act.CONSULT_FIGURES, asked)
    record = await run_in_threadpool(_consulted, services, officer, Act.CONSULT_FIGURES, query)
    found = await services.ledger.stats(query, by.value)
    return json_response({"by": by.value, "items": found, "next": None}, headers={"Sharing-Record": record})


@router.get("/export", summary="Export records as a file")
async def export_records(
    services: Services,
    officer: SignedIn,
    asked: Asked,
    format: ExportFormat = ExportFormat.NDJSON,  # noqa: A002
) -> Response:
    """The file; its signed manifest is at the address in `Link` (rel `describedby`)."""
    name, _, record = await _export(services, officer, asked, format)
    headers = {"Link": f'</v1/records/export/{name}/manifest>; rel="describedby"', "Sharing-Record": record}
    return _file(services, name, headers)


@router.post("/export", summary="Make an export and its manifest", status_code=201, openapi_extra=describes(ExportBody))
async def make_export(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[ExportBody, Depends(model_of(ExportBody))],
    prefer: Annotated[str | None, Header(max_length=256, description="`respond-async`: do not wait for it")] = None,
) -> Response:
    """Make an export; the file and its manifest can be fetched by its name until the control process restarts.

    With `Prefer: respond-async` (RFC 7240) the answer is 202 at once, and `progress` says how far it is.
    """
    if "respond-async" not in re.split(r"[\s,;]+", (prefer or "").lower()):
        name, manifest, record = await _export(services, officer, _question(body), body.format)
        return json_response(_made(name, manifest, record), 201)
    question, format_ = _question(body), body.format
    query = await run_in_threadpool(_narrowed, services, officer, Act.EXPORT_RECORDS, question)
    name = _export_name(officer, format_)

    async def make(progress: Progress) -> tuple[dict[str, Any], str]:
        return await _write_export(services, officer, query, name, format_, progress)

    _exporting(request).begin(name, make)
    watch = {"export": name, "done": 0, "of": 0, "progress": f"/v1/records/export/{name}/progress"}
    return json_response(watch, 202, headers={"Preference-Applied": "respond-async"})


ExportPath = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{32}-[a-z0-9-]{1,63}\.(ndjson|csv|parquet)$")]


@router.get("/export/{name}/progress", summary="How far an export is")
async def export_progress(request: Request, officer: SignedIn, name: ExportPath) -> Response:
    """202 with `done` and `of` records while it is made, 201 with its summary once it is; or what stopped it.

    Waits up to a second for news.
    """
    _require_own(officer, name)
    export = _exporting(request).named(name)
    finished = await export.watch()
    if finished is None:
        watch = {"export": name, "progress": f"/v1/records/export/{name}/progress"}
        return json_response({**watch, "done": export.done, "of": export.of}, 202)
    return json_response(_made(name, *finished), 201)


@router.get("/export/{name}", summary="An export's file")
def export_file(services: Services, officer: SignedIn, name: ExportPath) -> Response:
    """The file, to the officer who made the export."""
    _require_own(officer, name)
    return _file(services, name, {})


@router.get("/export/{name}/manifest", summary="An export's signed manifest")
def export_manifest(services: Services, officer: SignedIn, name: ExportPath) -> Response:
    """The signed note that `gateway verify` checks the file against."""
    _require_own(officer, name)
    path = manifest_path(services.spool / name)
    if not path.is_file():
        raise GatewayError("not-found", "there is no such export any more: make it again")
    return Response(path.read_bytes(), media_type="text/plain; charset=utf-8")


@router.get("/{id}", summary="A record, whole")
async def show_record(services: Services, officer: SignedIn, id: RecordPath) -> Response:  # noqa: A002
    """A record with its entries as they stand in the log. The reading is recorded."""
    shown = await _shown(services, id)
    record = await run_in_threadpool(_opened, services, officer, id, shown.entries)
    return json_response(shown, headers={"Sharing-Record": record})


@router.get("/{id}/proof", summary="A record's proof")
async def prove_record(services: Services, officer: SignedIn, id: RecordPath) -> Response:  # noqa: A002
    """A tlog-proof: `gateway verify` checks it with the log's public key alone."""
    shown = await _shown(services, id)
    record = await run_in_threadpool(_opened, services, officer, id, shown.entries)
    proof = await services.ledger.prove(id)
    return Response(proof, media_type="text/plain; charset=utf-8", headers={"Sharing-Record": record})


async def _shown(services: ControlServices, id: str) -> ShownRecord:  # noqa: A002 - the domain's name
    """The record, or a plain `not-found`: what the ledger says of its files stays inside.

    Asked twice: while the log grows, a partial bundle can be replaced by a wider one between its size being read and
    itself.
    """
    for pause in (AGAIN_SECONDS, 0.0):
        try:
            return await services.ledger.show(id)
        except GatewayError as error:
            if error.code != "not-found":
                raise
        await asyncio.sleep(pause)
    raise GatewayError("not-found", f"there is no record `{id}`")


def _question(body: ExportBody) -> Question:
    said = body.model_dump(exclude={"format"}, exclude_none=True)
    said["from_"] = said.pop("from_", None)
    return Question(**said)


def _narrowed(services: ControlServices, officer: Officer, act: Act, asked: Question) -> RecordQuery:
    """The question as the ledger is asked it: within what the officer may read."""
    scope = scope_of(services, officer, act, asked.supplier, asked.department)
    if asked.grant is not None:
        grant = services.store.grant(asked.grant)
        if grant is not None:
            require_permit(services, officer, act, matter_of_grant(services.store, grant))
    within = _within(services, scope)
    return asked.query(scope, within, services.pseudonyms)


def _within(services: ControlServices, scope: Scope) -> tuple[str, ...] | None:
    """The departments of the scope's region; None where it is not narrowed by region."""
    if not scope.region:
        return None
    region = scope.region
    return tuple(
        department.id
        for department in every(lambda cursor: services.store.list_departments(cursor, 1000, region=region))
    )


def _consulted(services: ControlServices, officer: Officer, act: Act, query: RecordQuery) -> str:
    """Record a reading before it is answered: who asked what; a data subject only as that one was asked for."""
    said = msgspec.to_builtins(
        msgspec.structs.replace(query, subjects=None, within_suppliers=None, within_departments=None)
    )
    said.pop("officer", None)
    return services.acts.append(
        RecordKind.CONSULTATION,
        {
            **{name: said[name] for name in ("department", "supplier", "dataset", "grant") if name in said},
            "act": act.value,
            "officer": officer.id,
            "officer_department": officer.department,
            "question": said,
            "of_subject": query.subjects is not None,
            "of_officer": query.officer or "",
        },
    )


def _opened(services: ControlServices, officer: Officer, id: str, entries: tuple[dict[str, Any], ...]) -> str:  # noqa: A002
    """Decide and record the reading of one record."""
    first = entries[0] if entries else {}
    # A use's entry says who and what under `use`, an act's at its top.
    use = first.get("use")
    first = use if isinstance(use, dict) else first
    supplier, demand = _text(first.get("supplier")), _text(first.get("department"))
    if supplier is None and demand is None:
        acting = services.store.department(_text(first.get("officer_department")) or "")
        matter = Matter(region=acting.region if acting else "000000")
    else:
        matter = matter_between(services.store, supplier, demand)
    require_permit(services, officer, Act.CONSULT_RECORDS, matter)
    concerned = {"supplier": supplier, "department": demand, "grant": _text(first.get("grant"))}
    return services.acts.append(
        RecordKind.CONSULTATION,
        {
            **{name: value for name, value in concerned.items() if value},
            "act": Act.CONSULT_RECORDS.value,
            "officer": officer.id,
            "officer_department": officer.department,
            "of": id,
        },
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


async def _export(
    services: ControlServices, officer: Officer, asked: Question, format_: ExportFormat
) -> tuple[str, dict[str, Any], str]:
    """Make an export in the spool and record it; its name, its manifest and the record."""
    query = await run_in_threadpool(_narrowed, services, officer, Act.EXPORT_RECORDS, asked)
    name = _export_name(officer, format_)
    return name, *await _write_export(services, officer, query, name, format_, None)


def _export_name(officer: Officer, format_: ExportFormat) -> str:
    return f"{secrets.token_hex(16)}-{officer.id}.{format_.value}"


async def _write_export(
    services: ControlServices,
    officer: Officer,
    query: RecordQuery,
    name: str,
    format_: ExportFormat,
    progress: Progress | None,
) -> tuple[dict[str, Any], str]:
    """Write the export `name` into the spool and record it; its manifest and the record."""
    path = services.spool / name
    manifest = msgspec.to_builtins(await services.ledger.export(query, format_.value, path, progress))
    said = msgspec.to_builtins(
        msgspec.structs.replace(query, subjects=None, within_suppliers=None, within_departments=None)
    )
    said.pop("officer", None)
    record = await run_in_threadpool(
        services.acts.append,
        RecordKind.EXPORT,
        {
            **{each: said[each] for each in ("department", "supplier", "dataset", "grant") if each in said},
            "act": Act.EXPORT_RECORDS.value,
            "officer": officer.id,
            "officer_department": officer.department,
            "question": said,
            "of_subject": query.subjects is not None,
            "format": format_.value,
            "records": manifest["records"],
            "sha256": manifest["sha256"],
        },
    )
    return manifest, record


def _made(name: str, manifest: dict[str, Any], record: str) -> dict[str, Any]:
    links = {"file": f"/v1/records/export/{name}", "manifest": f"/v1/records/export/{name}/manifest"}
    return {"export": name, "summary": manifest, "record": record, **links}


def _exporting(request: Request) -> Exporting:
    """The exports of the application that serves `request`."""
    state = request.app.state
    if not hasattr(state, "exporting"):
        state.exporting = Exporting()
    kept: Exporting = state.exporting
    return kept


def _require_own(officer: Officer, name: str) -> None:
    if name.rpartition(".")[0].partition("-")[2] != officer.id:
        raise GatewayError("not-found", "there is no such export any more: make it again")


def _file(services: ControlServices, name: str, headers: dict[str, str]) -> Response:
    path: Path = services.spool / name
    if not path.is_file():
        raise GatewayError("not-found", "there is no such export any more: make it again")
    kind = name.rpartition(".")[2]
    tag = hashlib.sha256(name.encode()).hexdigest()[:12]
    return FileResponse(path, media_type=EXPORT_TYPES[kind], filename=f"records-{tag}.{kind}", headers=headers)
