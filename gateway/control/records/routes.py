"""/v1/records: find, show, prove; and the records a demand department files (Decree 809 Art. 29).

Whose records an officer may read the policies say; each reading is itself recorded before it is answered. A data
subject is named by identifier in the request's body and becomes pseudonyms at once: no identifier is stored.
"""

import asyncio
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    is_permitted,
    matter_between,
    matter_of_department,
    perform,
)
from gateway.control.act.bodies import Body, Identifier, Statement, Text, describes, model_of
from gateway.control.act.nodes import marked_cursor, own_cursor
from gateway.control.act.pages import Pager
from gateway.control.act.paging import Cursor, Limit, json_response
from gateway.control.act.services import ControlServices
from gateway.control.records.exports import ExportBody
from gateway.control.records.questions import Asked, looked_past, narrowed, narrowed_figures, question_of
from gateway.control.records.readings import reading_by, reading_of
from gateway.control.records.texts import recorded, shown_keys, shown_rows, texts_of
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.uses import EVERY_DEPARTMENT, WATCH_MARK, RecordKind
from gateway.ledger.index.queries import Knows, RecordQuery, parse_cursor
from gateway.ledger.log.record_ids import parse_record_id
from gateway.ledger.process.answers import ShownRecord

router = APIRouter(prefix="/v1/records", tags=["records"])

RecordPath = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9-]{1,64}$", description="the record's id")]
AGAIN_SECONDS = 0.2


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


@router.get("", summary="Records you may read")
async def find_records(
    request: Request, services: Services, officer: SignedIn, asked: Asked, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    """Records, newest first. The reading is recorded."""
    pages = Pager(services, request, officer, own_cursor(services.mark, cursor), limit)
    cursor = pages.cursor
    if cursor is not None:
        parse_cursor(cursor)
    scope, query = await run_in_threadpool(narrowed, services, officer, Act.CONSULT_RECORDS, asked)
    record = await run_in_threadpool(_consulted, services, officer, Act.CONSULT_RECORDS, query)
    page = await services.ledger.find(query, cursor, limit, allow_partial=asked.allow_partial)
    body: dict[str, Any] = {
        "items": await run_in_threadpool(shown_rows, services, page.rows),
        "next": marked_cursor(services.mark, pages.sealed(page.cursor)),
        "log_size": page.log_size,
        "knows": _shown_knows(page.knows),
    }
    if not page.knows.is_whole:
        body["partial"] = True
    if asked.subject is not None:
        unnamed = await services.ledger.unnamed(query, allow_partial=asked.allow_partial)
        body["not_looked_into"] = await run_in_threadpool(looked_past, services, asked, scope, unnamed)
    return json_response(body, headers={"Sharing-Record": record})


@router.post("/search", summary="Records you may read, about one data subject", openapi_extra=describes(ExportBody))
async def search_records(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[ExportBody, Depends(model_of(ExportBody))],
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """The same with the question in the body: a data subject's identifier never stands in a URL (Art. 37)."""
    return await find_records(request, services, officer, question_of(body, body.subject), cursor, limit)


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
        grant, matter = deed.about_grant(body.grant, Act.FILE_RECORDS)
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
    """What figures over records are grouped by; a day is one of China Standard Time, a reason is a refusal's code."""

    DAY = "day"
    DEPARTMENT = "department"
    SYSTEM = "system"
    SUPPLIER = "supplier"
    DATASET = "dataset"
    INTERFACE = "interface"
    GRANT = "grant"
    PURPOSE = "purpose"
    CODE = "code"
    REASON = "reason"
    ENDING = "ending"
    KIND = "kind"


@router.get("/stats", summary="Figures over records")
async def record_stats(services: Services, officer: SignedIn, asked: Asked, by: Grouping = Grouping.DAY) -> Response:
    """Uses, refusals, rows, bytes and durations by group (Art. 38); the reading is recorded.

    Who may not read records gets them by `day`, `reason` (or `code`) and `kind`, of whole days (China Standard Time)
    that are over.
    """
    query = await run_in_threadpool(narrowed_figures, services, officer, asked, by.value)
    record = await run_in_threadpool(_consulted, services, officer, Act.CONSULT_FIGURES, query)
    found = await services.ledger.stats(query, by.value, allow_partial=asked.allow_partial)
    items: Any = found.items
    if by is Grouping.PURPOSE:
        items = await run_in_threadpool(shown_keys, services, msgspec.to_builtins(found.items))
    body: dict[str, Any] = {"by": by.value, "items": items, "next": None, "knows": _shown_knows(found.knows)}
    if not found.knows.is_whole:
        body["partial"] = True
    return json_response(body, headers={"Sharing-Record": record})


@router.get("/{id}", summary="A record, whole")
async def show_one(services: Services, officer: SignedIn, id: RecordPath) -> Response:  # noqa: A002
    """A record with its entries as they stand in the log, and the texts that they name. The reading is recorded.

    Of what the caller said in its own words the log holds a digest (`sealed:…`); `texts` has the text of each such
    field, with the `salt` that proves it, or the record of the act that `erased` it.
    """
    shown = await shown_record(services, id)
    record = await run_in_threadpool(_opened, services, officer, id, shown.entries)
    body = {**msgspec.structs.asdict(shown), "knows": _shown_knows(shown.knows)}
    if texts := await run_in_threadpool(texts_of, services, shown.entries):
        body["texts"] = texts
    return json_response(body, headers={"Sharing-Record": record})


class Part(StrEnum):
    """Which entry of a record is proven: its first, or the one that closes a use."""

    OPENED = "opened"
    CLOSED = "closed"


@router.get("/{id}/proof", summary="A record's proof")
async def prove_record(
    services: Services,
    officer: SignedIn,
    id: RecordPath,  # noqa: A002
    part: Annotated[Part, Query(description="`closed` proves how a use ended")] = Part.OPENED,
) -> Response:
    """A tlog-proof: `gateway verify` checks it with the log's public key alone. A closed use has two.

    `not-found` where `part` is `closed` and the record has no closing: the use is open, or it is no use.
    """
    shown = await shown_record(services, id)
    record = await run_in_threadpool(_opened, services, officer, id, shown.entries)
    proof = await services.ledger.prove(id, part=part.value)
    return Response(proof, media_type="text/plain; charset=utf-8", headers={"Sharing-Record": record})


async def shown_record(services: ControlServices, id: str) -> ShownRecord:  # noqa: A002 - the domain's name
    """The record, or a plain `not-found`: what the ledger says of its files stays inside.

    An id that no record can have is `invalid-input`.

    Asked twice: while the log grows, a partial bundle can be replaced by a wider one between its size being read and
    itself.
    """
    parse_record_id(id)
    for pause in (AGAIN_SECONDS, 0.0):
        try:
            return await services.ledger.show(id)
        except GatewayError as error:
            if error.code != "not-found":
                raise
        await asyncio.sleep(pause)
    raise GatewayError("not-found", f"there is no record `{id}`")


def _shown_knows(knows: Knows) -> dict[str, Any]:
    """What an answer looked into, as it is shown: what it owed besides only where that is more."""
    said: dict[str, Any] = msgspec.to_builtins(knows)
    if knows.is_whole:
        del said["owed"]
    return said


def _consulted(services: ControlServices, officer: Officer, act: Act, query: RecordQuery) -> str:
    """Record a reading before it is answered: who asked what; a data subject only as that one was asked for."""
    return services.acts.append(
        RecordKind.CONSULTATION,
        {
            **reading_by(officer, query),
            "act": act.value,
            "officer": officer.id,
            "officer_department": officer.department,
            "question": recorded(query),
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
    act = Act.CONSULT_RECORDS
    if supplier is None and demand is None:
        acting = services.store.department(_text(first.get("officer_department")) or "")
        # As the index has it: what concerns no department in particular is the actor's own.
        matter = matter_of_department(acting) if acting else Matter(region="000000")
    elif demand is not None and demand.startswith(WATCH_MARK):
        act, matter = Act.CONSULT_WATCHING, Matter(region=demand.removeprefix(WATCH_MARK))
    elif demand == EVERY_DEPARTMENT:
        # It concerns all departments: so the officer's own, as whatever the officer is there.
        matter = Matter(officer.department, officer.department, officer.region, None, officer.region)
    else:
        matter = matter_between(services.store, supplier, demand)
    matters = [matter]
    dataset = _text(first.get("dataset"))
    if act is Act.CONSULT_RECORDS and dataset is not None and supplier in services.store.entry_owners(dataset):
        # Who has taken over an entry answers for what was drawn from it before, too.
        matters.append(matter_between(services.store, services.store.entry_owner(dataset), demand))
    # Whether there is such a record is not told to who may not read it.
    if not any(is_permitted(services, officer, act, each) for each in matters):
        raise GatewayError("not-found", f"there is no record `{id}`")
    concerned = {"supplier": supplier, "department": demand, "grant": _text(first.get("grant"))}
    return services.acts.append(
        RecordKind.CONSULTATION,
        {
            **reading_of(officer, {name: value for name, value in concerned.items() if value}),
            "act": Act.CONSULT_RECORDS.value,
            "officer": officer.id,
            "officer_department": officer.department,
            "of": id,
        },
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
