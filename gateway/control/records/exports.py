"""/v1/records/export: records as a file with a signed manifest (Decree 809 Art. 29).

**The life of an export.** It is asked for, narrowed to what the officer may export, and written by the ledger process
into this node's spool under a name that nobody can fetch. Then the act is recorded; only now the file and its manifest
get the name that the answer gives, so no export leaves before it is on record. There they stay until retention removes
a record that they hold, or the control process starts anew, which empties the spool.

**A repeated request.** An `Idempotency-Key` remembers the answer, which names the export; the file never is part of it.

    waited for       201: name, signed summary, record and addresses, remembered in the transaction in which the export
                     is recorded. What failed or was cut off before that is not remembered: it is tried anew.
    `respond-async`  202: name and where to watch it, remembered before the export is begun. What becomes of it, also
                     that it failed, is said where it is watched.

**How many.** An officer has a few at once, and the ledger process a few of everybody's; what comes above is
`rate-limited`. One that is waited for is given up when who waits has left, up to the moment it is recorded.

Repeated within a day, the request is answered alike and exports nothing: what the log has gained since would make it
another export, and each is an act with a record of its own. A file that is gone stays gone; its addresses answer
`not-found`, and another export is asked for under a new key. A spool is a node's own: the name bears the node's mark,
and every node passes what is asked of an export on to the one that made it (`nodes`).
"""

import asyncio
import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Scope_

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    answer_once,
    is_permitted,
    matter_between,
    perform,
    replay_of,
)
from gateway.control.act.bodies import describes, model_of
from gateway.control.act.deeds import matter_now
from gateway.control.act.paging import json_response
from gateway.control.act.scopes import Scope
from gateway.control.act.services import ControlServices
from gateway.control.records.exporting import Exporting, Finished, Progress, unless_left
from gateway.control.records.questions import Asked, Question, RecordFilter, looked_past, narrowed, question_of
from gateway.control.records.readings import reading_by
from gateway.control.records.texts import recorded, texts_beside
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.uses import RecordKind
from gateway.ledger.index.exports import Manifest
from gateway.ledger.index.unnamed import Unnamed
from gateway.ledger.log.export_names import manifest_path
from gateway.store import Store, StoreTransaction

router = APIRouter(prefix="/v1/records/export", tags=["records"])

ASKED_SECONDS = 1.0
"""How often, while a file is being fetched, it is asked whether whoever fetches it still may."""
EXPORT_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
ExportPath = Annotated[
    str, PathParameter(pattern=r"^[0-9a-f]{32}-[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})?\.(ndjson|csv|parquet)$")
]
"""Chance, the officer's id (a `Name`) and the format."""


class ExportFormat(StrEnum):
    """What an export is written as; NDJSON keeps the entries as they stand in the log."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


class ExportBody(RecordFilter):
    """What to export, and as what."""

    format: ExportFormat
    subject: str | None = Field(None, max_length=256)


class _Export:
    """One export while it is made: who asks what, and the name it will have."""

    def __init__(
        self, services: ControlServices, request: Request, officer: Officer, asked: Question, format_: ExportFormat
    ) -> None:
        self.services = services
        self.request = request
        self.officer = officer
        self.format = format_
        self.asked = asked
        self.scope, self.query = narrowed(services, officer, Act.EXPORT_RECORDS, asked)
        self.name = f"{services.mark or secrets.token_hex(4)}{secrets.token_hex(12)}-{officer.id}.{format_.value}"

    @property
    def links(self) -> dict[str, str]:
        """Where the file and its manifest will be."""
        where = f"/v1/records/export/{self.name}"
        return {"file": where, "manifest": f"{where}/manifest"}

    async def make(self, key: str | None, said: Any) -> Response:
        """Make it while the request is waited for, in one of the officer's places."""
        with _exporting(self.request).place_of(self.officer.id):
            answer = await self._made(key, said, unless_left(self.request, self._written()))
        told: dict[str, Any] = msgspec.json.decode(answer.body)
        if told.get("export") == self.name:
            _exporting(self.request).made(self.name, told)
        return answer

    async def make_watched(self, progress: Progress) -> Response:
        """Make it whether or not who began it is still there."""
        return await self._made(None, None, self._written(progress))

    @property
    def _spooled(self) -> Path:
        return self.services.spool / f"unrecorded-{self.name}"

    def _written(self, progress: Progress | None = None) -> Awaitable[Manifest]:
        return self.services.ledger.export(
            self.query, self.format.value, self._spooled, progress, allow_partial=self.asked.allow_partial
        )

    async def _made(self, key: str | None, said: Any, written: Awaitable[Manifest]) -> Response:
        """Write it, record it, let it be fetched; or answer what was answered under the key, and keep nothing."""
        try:
            manifest = await written
            is_of_person = self.asked.subject is not None
            unnamed = Unnamed((), None)
            if is_of_person:
                unnamed = await self.services.ledger.unnamed(self.query, allow_partial=self.asked.allow_partial)
            answer = await run_in_threadpool(self._record, key, said, manifest.said(), unnamed)
            if "idempotency-replayed" not in answer.headers:
                _give_name(self._spooled, self.services.spool / self.name)
        finally:
            for path in (self._spooled, manifest_path(self._spooled)):
                path.unlink(missing_ok=True)
        return answer

    def _record(self, key: str | None, said: Any, manifest: dict[str, Any], unnamed: Unnamed) -> Response:
        def work(deed: Deed) -> Answer:
            deed.permit(Act.EXPORT_RECORDS, lambda tx: _matter_of(tx, deed.officer, self.scope))
            _exporting(self.request).decided(self.name, deed.decided)
            deed.record(
                RecordKind.EXPORT,
                **reading_by(deed.officer, self.query),
                question=recorded(self.query),
                of_subject=self.query.subjects is not None,
                format=self.format.value,
                records=manifest["records"],
                sha256=manifest["sha256"],
            )
            made: dict[str, Any] = {"export": self.name, "summary": manifest, **self.links}
            if self.asked.subject is not None:
                made["not_looked_into"] = looked_past(self.services, self.asked, self.scope, unnamed)
            return Answer(made, 201)

        return perform(self.services, self.request, self.officer, key, said, work)


def _matter_of(state: Store | StoreTransaction, officer: Officer, scope: Scope) -> Matter:
    """What an export within `scope` is about: what the policies were asked when it was narrowed."""
    if scope.region is not None:
        return Matter(region=officer.region)
    return matter_between(state, scope.supplier, scope.department)


def _give_name(spooled: Path, path: Path) -> None:
    # Retention may have removed it meanwhile: then its addresses say that it is gone.
    with contextlib.suppress(FileNotFoundError):
        manifest_path(spooled).rename(manifest_path(path))
        spooled.rename(path)


@router.get("", summary="Export records as a file")
async def export_records(
    request: Request,
    services: Services,
    officer: SignedIn,
    asked: Asked,
    format: ExportFormat = ExportFormat.NDJSON,  # noqa: A002
) -> Response:
    """The file; its signed manifest is at the address in `Link` (rel `describedby`)."""
    export = await run_in_threadpool(_Export, services, request, officer, asked, format)
    record = (await export.make(None, None)).headers["Sharing-Record"]
    headers = {"Link": f'<{export.links["manifest"]}>; rel="describedby"', "Sharing-Record": record}
    return _file(request, services, export.name, headers)


@router.post("", summary="Make an export and its manifest", status_code=201, openapi_extra=describes(ExportBody))
async def make_export(
    request: Request,
    services: Services,
    officer: SignedIn,
    body: Annotated[ExportBody, Depends(model_of(ExportBody))],
    prefer: Annotated[str | None, Header(max_length=256, description="`respond-async`: do not wait for it")] = None,
    key: IdempotencyKey = None,
) -> Response:
    """Make an export; the file and its manifest can be fetched by its name until the control process restarts.

    With `Prefer: respond-async` (RFC 7240) the answer is 202 at once, and `progress` says how far it is. Under an
    `Idempotency-Key` the answer is repeated, with the same name, and nothing is exported again: the file is not kept
    any longer for it.
    """
    is_watched = "respond-async" in re.split(r"[\s,;]+", (prefer or "").lower())
    said = _said(services, body, is_watched=is_watched) if key else None
    replayed = await run_in_threadpool(replay_of, services, request, officer, key, said)
    if replayed is not None:
        return replayed
    export = await run_in_threadpool(_Export, services, request, officer, question_of(body, body.subject), body.format)
    if not is_watched:
        return await export.make(key, said)
    return await _begin(export, key, said)


async def _begin(export: _Export, key: str | None, said: Any) -> Response:
    """Begin `export` once the answer that names it is remembered, so that a repeated request begins no second one."""
    may_begin = asyncio.Event()

    async def make(progress: Progress) -> Finished:
        await may_begin.wait()
        answer = await export.make_watched(progress)
        made: dict[str, Any] = msgspec.json.decode(answer.body)
        return made

    exporting = _exporting(export.request)
    exporting.begin(export.name, export.officer.id, make)
    watch = {"export": export.name, "done": 0, "of": 0, "progress": f"/v1/records/export/{export.name}/progress"}
    answer = Answer(watch, 202, {"Preference-Applied": "respond-async"})
    begun = False
    try:
        decided = [(Act.EXPORT_RECORDS, _matter_of(export.services.store, export.officer, export.scope))]
        exporting.decided(export.name, decided)
        response = await run_in_threadpool(
            answer_once, export.services, export.request, export.officer, key, said, answer, decided
        )
        begun = "idempotency-replayed" not in response.headers
    finally:
        if begun:
            may_begin.set()
        else:
            exporting.give_up(export.name)
    return response


@router.get("/{name}/progress", summary="How far an export is")
async def export_progress(request: Request, services: Services, officer: SignedIn, name: ExportPath) -> Response:
    """202 with `done` and `of` records while it is made, 201 with its summary once it is; or what stopped it.

    Waits up to a second for news.
    """
    _require_own(request, services, officer, name)
    export = _exporting(request).named(name)
    finished = await export.watch()
    if finished is None:
        watch = {"export": name, "progress": f"/v1/records/export/{name}/progress"}
        return json_response({**watch, "done": export.done, "of": export.of}, 202)
    return json_response(finished, 201)


@router.get("/{name}", summary="An export's file")
def export_file(request: Request, services: Services, officer: SignedIn, name: ExportPath) -> Response:
    """The file, to the officer who made the export and still may; asked on while it streams."""
    _require_own(request, services, officer, name)
    return _file(request, services, name, {})


@router.get("/{name}/manifest", summary="An export's signed manifest")
def export_manifest(request: Request, services: Services, officer: SignedIn, name: ExportPath) -> Response:
    """The signed note that `gateway verify` checks the file against."""
    _require_own(request, services, officer, name)
    path = manifest_path(services.spool / name)
    if not path.is_file():
        raise GatewayError("not-found", "there is no such export any more: make it again")
    return Response(path.read_bytes(), media_type="text/plain; charset=utf-8")


@router.get("/{name}/texts", summary="What an export's records name by digest")
def export_texts(request: Request, services: Services, officer: SignedIn, name: ExportPath) -> Response:
    """What callers said in their own words, as far as it stands: a line a text, with its digest and its salt.

    `gateway verify` checks them beside the file. `conflict` of a Parquet export, which is no text to look through.
    """
    _require_own(request, services, officer, name)
    path = services.spool / name
    if not path.is_file():
        raise GatewayError("not-found", "there is no such export any more: make it again")
    if path.suffix == ".parquet":
        raise GatewayError("conflict", "texts are given beside NDJSON and CSV: make the export as one of these")
    return StreamingResponse(texts_beside(services, path), media_type="application/x-ndjson")


def _said(services: ControlServices, body: ExportBody, *, is_watched: bool) -> dict[str, Any]:
    """What an `Idempotency-Key` is bound to: the request, its data subject by pseudonym (INVARIANT: NO-VALUES)."""
    subject = None if body.subject is None else services.pseudonyms(body.subject.encode())
    return {**body.model_dump(mode="json", exclude={"subject"}), "subject": subject, "is_watched": is_watched}


def _exporting(request: Request) -> Exporting:
    """The exports of the application that serves `request`."""
    state = request.app.state
    if not hasattr(state, "exporting"):
        state.exporting = Exporting()
    kept: Exporting = state.exporting
    return kept


def _require_own(request: Request, services: ControlServices, officer: Officer, name: str) -> None:
    """Raises `not-found` unless the officer made the export and may still make it."""
    if name.rpartition(".")[0].partition("-")[2] != officer.id:
        raise GatewayError("not-found", "there is no such export any more: make it again")
    for act, matter in _exporting(request).decisions_of(name):
        if not is_permitted(services, officer, act, matter_now(services.store, matter)):
            raise GatewayError("not-found", "there is no such export any more: make it again")


class _WatchedFile(FileResponse):
    """A file that is cut off within a second of the end of the right to it.

    Args:
        still: raises `GatewayError` once the right has ended; blocks.
        given: of a `FileResponse`.
    """

    def __init__(self, still: Callable[[], object], *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._still = still

    async def __call__(self, scope: Scope_, receive: Receive, send: Send) -> None:
        asked = time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal asked
            if time.monotonic() - asked >= ASKED_SECONDS:
                await run_in_threadpool(self._still)
                asked = time.monotonic()
            await send(message)

        await super().__call__(scope, receive, watched)


def _file(request: Request, services: ControlServices, name: str, headers: dict[str, str]) -> Response:
    path: Path = services.spool / name
    if not path.is_file():
        raise GatewayError("not-found", "there is no such export any more: make it again")
    kind = name.rpartition(".")[2]
    tag = hashlib.sha256(name.encode()).hexdigest()[:12]

    def still() -> None:
        _require_own(request, services, services.sign_in.still(services.store, request), name)

    filename = f"records-{tag}.{kind}"
    return _WatchedFile(still, path, media_type=EXPORT_TYPES[kind], filename=filename, headers=headers)
