"""The routes of every process, made from its table: what the table says is what the API does.

GET  /v1/{process}                      cases you may see, the newest first
GET  /v1/{process}/lifecycle            the table
POST /v1/{process}                      the step that opens a case
GET  /v1/{process}/{id}                 a case, its history, and what may be done now
POST /v1/{process}/{id}/{step}          a step
POST /v1/{process}/{id}/comments        a comment of either side
POST /v1/{process}/{id}/attachments     a file; GET with its digest
"""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import (
    Answer,
    Deed,
    IdempotencyKey,
    Services,
    SignedIn,
    decided_first,
    is_permitted,
    perform,
    shown_to,
)
from gateway.control.act.bodies import Body, Identifier, Slug, Statement, describes, model_of
from gateway.control.act.examples import EXAMPLES
from gateway.control.act.pages import Pages
from gateway.control.act.paging import json_response
from gateway.control.act.preconditions import IfMatch, entity_tag
from gateway.control.act.problems import invalid
from gateway.control.act.scopes import scope_of
from gateway.control.act.services import ControlServices
from gateway.control.processes.attachments import MAX_FILES, MEDIA_TYPES, attachment_of
from gateway.control.processes.bodies import said_in, step_body
from gateway.control.processes.effects import EFFECTS
from gateway.control.processes.steps import about_case, matter_of_case, open_case, record_step, take_step
from gateway.domain.calendar import china_day
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer
from gateway.domain.processes.cases import Case, Event, possible
from gateway.domain.processes.register import PROCESSES
from gateway.domain.processes.table import Process, Step
from gateway.policy.live.powers import table_of
from gateway.store import CaseFilter, StoreTransaction

CasePath = Annotated[Identifier, Path(description="the case's id")]
DigestPath = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the attachment")]


class CommentBody(Body):
    """What either side, or the competent department, has to say."""

    comment: Statement


def router_of(process: Process) -> APIRouter:
    """The routes of one process."""
    router = APIRouter(prefix=f"/v1/{process.name}", tags=[process.name])
    _add_reading(router, process)
    _add_step(router, process, process.opening)
    for step in process.steps[1:]:
        _add_step(router, process, step)
    _add_talk(router, process)
    return router


def _add_reading(router: APIRouter, process: Process) -> None:
    states = ", ".join(each.name for each in process.states)
    absent = f"there is no {process.singular}"

    @router.get("", summary=f"{process.name.capitalize()} you may see")
    def list_cases(
        services: Services,
        officer: SignedIn,
        state: Annotated[str | None, Query(description=states, max_length=24)] = None,
        supplier: Annotated[Slug | None, Query(description="supply department")] = None,
        department: Annotated[Slug | None, Query(description="demand department")] = None,
        grant: Annotated[Identifier | None, Query(description="that they are about, or are to become")] = None,
        *,
        pages: Pages,
    ) -> Response:
        """Those of your department, or of your region; the newest first."""
        if state is not None and state not in {each.name for each in process.states}:
            raise invalid([{"field": "state", "fault": f"is none of {states}"}])
        scope = scope_of(services, officer, process.sees, supplier, department)
        narrow = CaseFilter(state, scope.supplier, scope.department, scope.region, grant)
        page = services.store.list_cases(process.name, narrow, pages.cursor, pages.limit)
        return pages.response(page.items, page.cursor)

    @router.get("/lifecycle", summary="The table of states and steps")
    def lifecycle(services: Services) -> Response:
        """Which step leads from which states to which, who may take it, what it must state, and by which article.

        Who may is asked of the policies in force, and how long each clock runs.
        """
        return json_response(table_of(services.engine.layers, process, int(services.now())))

    @router.get("/{id}", summary=f"One of the {process.name}")
    def show_case(services: Services, officer: SignedIn, id: CasePath) -> Response:  # noqa: A002
        """A case with its history, its attachments, and the steps that fit it now: those you may take under `yours`."""
        case = shown_to(
            services,
            officer,
            process.sees,
            lambda store: store.case(id, process.name),
            matter_of_case,
            f"{absent} `{id}`",
        )
        effects, store = EFFECTS[process.name], services.store
        fitting = possible(process, case, china_day(services.now()))

        def may(step: Step) -> bool:
            matter = effects.matter_of(store, case, step)
            return any(is_permitted(services, officer, act, matter) for act in step.acts)

        history = store.case_events(id)
        if effects.hidden and not may(process.opening):
            history = tuple(effects.told_to_others(event) for event in history)
        body = {
            process.singular: case,
            "possible": fitting,
            "yours": [name for name in fitting if may(process.step(name))],
            "history": history,
            "attachments": store.case_files(id),
            **effects.shows(store, case),
        }
        return json_response(body, headers={"ETag": entity_tag(case)})


def _said(step: Step) -> Callable[[Request], Any]:
    async def read(request: Request) -> msgspec.Struct:
        return await said_in(request, step)

    return read


def _add_step(router: APIRouter, process: Process, step: Step) -> None:
    model = step_body(step.said, is_shown=True)
    said_by = Depends(_said(step))
    effects = EFFECTS[process.name]
    extra = describes(model, EXAMPLES.get(model.__name__))
    ahead = effects.ahead.get(step.name)
    words = f"{step.effect[:1].upper()}{step.effect[1:]} ({step.article})."

    if step is process.opening:

        @router.post("", summary=f"Open: {step.name}", description=words, status_code=201, openapi_extra=extra)
        def open_one(
            request: Request,
            services: Services,
            officer: SignedIn,
            said: Annotated[Any, said_by],
            key: IdempotencyKey = None,
        ) -> Response:
            work: Callable[[Deed], Answer] = lambda deed: open_case(deed, process, effects, said)  # noqa: E731
            return perform(services, request, officer, key, said, work)

    else:

        @router.post(f"/{{id}}/{step.name}", summary=_sentence(step), description=words, openapi_extra=extra)
        def take(
            request: Request,
            services: Services,
            officer: SignedIn,
            id: CasePath,  # noqa: A002 - the domain's name
            said: Annotated[Any, said_by],
            if_match: IfMatch = None,
            key: IdempotencyKey = None,
        ) -> Response:
            found: list[Any] = []

            def work(deed: Deed) -> Answer:
                deed.ahead = found[0] if found else None
                return take_step(deed, process, effects, step, id, said, if_match)

            def prepare() -> None:
                if ahead is not None:
                    case = decided_first(
                        services, officer, lambda deed: about_case(deed, process, effects, id, step, said)
                    )
                    found.append(ahead(services, case))

            return perform(services, request, officer, key, said, work, prepare=prepare)


def _sentence(step: Step) -> str:
    return step.name.replace("-", " ").capitalize()


def _add_talk(router: APIRouter, process: Process) -> None:
    effects = EFFECTS[process.name]

    @router.post("/{id}/comments", summary="Comment", status_code=201, openapi_extra=describes(CommentBody))
    def comment(
        request: Request,
        services: Services,
        officer: SignedIn,
        id: CasePath,  # noqa: A002 - the domain's name
        body: Annotated[CommentBody, Depends(model_of(CommentBody))],
        key: IdempotencyKey = None,
    ) -> Response:
        """A comment of who may take any step of the process; the case stays as it is."""

        def work(deed: Deed) -> Answer:
            case = about_case(deed, process, effects, id, None)
            event = _event(deed.tx, case, deed, "comment", {"comment": body.comment})
            record_step(deed, process, "comment", case, {})
            return Answer({"event": event}, 201)

        return perform(services, request, officer, key, body.model_dump(), work)

    @router.post(
        "/{id}/attachments",
        summary="Attach a file",
        status_code=201,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {each: {"schema": {"type": "string", "format": "binary"}} for each in MEDIA_TYPES},
            }
        },
    )
    async def attach(
        request: Request,
        services: Services,
        officer: SignedIn,
        id: CasePath,  # noqa: A002 - the domain's name
        name: Annotated[str, Query(min_length=1, max_length=120, description="the file's name")],
        key: IdempotencyKey = None,
    ) -> Response:
        """A file of a type that is taken, told by its first bytes; kept under its digest, 16 a case."""
        content = await request.body()
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        return await run_in_threadpool(
            _attach, process, request, services, officer, id, (content, name, media_type), key
        )

    @router.get("/{id}/attachments/{digest}", summary="An attachment")
    def fetch(
        services: Services,
        officer: SignedIn,
        id: CasePath,  # noqa: A002 - the domain's name
        digest: DigestPath,
    ) -> Response:
        """Its content, under the name it came with; never shown in place."""
        absent = f"there is no {process.singular} `{id}` with attachment `{digest}`"
        shown_to(services, officer, process.sees, lambda store: store.case(id, process.name), matter_of_case, absent)
        found = services.store.case_file(id, digest)
        if found is None:
            raise GatewayError("not-found", absent)
        attachment, content = found
        named = f"attachment; filename*=UTF-8''{quote(attachment.name, safe='')}"
        return Response(content, media_type=attachment.media_type, headers={"Content-Disposition": named})


def _attach(
    process: Process,
    request: Request,
    services: ControlServices,
    officer: Officer,
    id_: str,
    file: tuple[bytes, str, str],
    key: str | None,
) -> Response:
    content, name, media_type = file
    effects = EFFECTS[process.name]

    def work(deed: Deed) -> Answer:
        case = about_case(deed, process, effects, id_, None)
        attachment = attachment_of(content, name, media_type, deed.officer.id, deed.now)
        standing = deed.tx.case_files(id_)
        if any(each.digest == attachment.digest for each in standing):
            raise GatewayError("conflict", "this file is attached already")
        if len(standing) >= MAX_FILES:
            raise GatewayError("conflict", f"a case takes {MAX_FILES} attachments, and has them")
        deed.tx.put_case_file(id_, attachment, content)
        _event(deed.tx, case, deed, "attach", {"digest": attachment.digest, "name": attachment.name})
        record_step(deed, process, "attach", case, {"digest": attachment.digest, "size_bytes": attachment.size_bytes})
        place = f"/v1/{process.name}/{id_}/attachments/{attachment.digest}"
        return Answer({"attachment": attachment}, 201, {"Location": place})

    said = [id_, name, media_type, hashlib.sha256(content).hexdigest()]
    return perform(services, request, officer, key, said, work)


def _event(tx: StoreTransaction, case: Case, deed: Deed, step: str, said: dict[str, Any]) -> Event:
    number = tx.next_event_number(case.id)
    by, of = deed.officer.id, deed.officer.department
    event = Event(case.id, number, step, by, of, deed.now, before=case.state, after=case.state, said=said)
    tx.put_case_event(event)
    return event


ROUTERS: tuple[APIRouter, ...] = tuple(router_of(process) for process in PROCESSES.values())
"""In the order of the register."""
