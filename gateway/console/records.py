"""Records for auditors: questions, a use as a story, its proof, figures, and exports. Each reading is on record.

GET  /console/records                     records by filters
POST /console/records/search              the same about one person, who is named in no address
GET  /console/records/figures             figures by day, department, reason, …
GET  /console/records/{id}                one record as a story
GET  /console/records/{id}/proof          its proof, checked
GET  /console/records/{id}/proof-file     its proof, for `gateway verify`
POST /console/records/export              an export of a question
GET  /console/records/exports/{name}      how far it is, and where it lies
"""

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.console.api import RefusedError
from gateway.console.desk import Desk, linked, segment, typed_of
from gateway.console.terms import N_
from gateway.domain.calendar import CHINA
from gateway.domain.errors import GatewayError

PAGE_ROWS = 50
FILTERS = (
    "from",
    "until",
    "department",
    "supplier",
    "dataset",
    "system",
    "grant",
    "purpose",
    "kind",
    "verdict",
    "code",
    "officer",
)
GROUPS: Mapping[str, str] = {
    "day": N_("by day"),
    "department": N_("by demand department"),
    "dataset": N_("by dataset"),
    "system": N_("by system"),
    "grant": N_("by grant"),
    "reason": N_("by reason of refusal"),
    "kind": N_("by kind"),
}
MOST_BARS = 40
_CEDAR = re.compile(r"\n\n(?=@)")
_ID = re.compile(r'@id\("([^"]+)"\)')
_GRANT = re.compile(r"grant:(?P<grant>.+):v\d+")


async def found(desk: Desk) -> Response:
    """Records by filters."""
    typed = desk.query(*FILTERS)
    if not typed and "from" not in desk.request.query_params:
        # Nothing is read, and no reading recorded, before somebody asks.
        return await _page(desk, typed, None)
    cursor = desk.query("cursor").get("cursor")
    asked = _asked(typed)
    answer = (await desk.api.get("/v1/records", **asked, cursor=cursor, limit=PAGE_ROWS)).json
    next_ = linked("/console/records", **typed, cursor=answer["next"]) if answer["next"] else None
    return await _page(desk, typed, answer, next_=next_, is_first=cursor is None)


async def searched(desk: Desk) -> Response:
    """Records about one person: in the body, so that no address, log or history bears who it is (Art. 37)."""
    typed = typed_of(desk.form, (*FILTERS, "subject"))
    if "subject" not in typed:
        return await _page(desk, typed, None, faults={"subject": "is missing"}, status=422)
    body = {**_asked(typed), "subject": typed["subject"], "format": "ndjson"}
    cursor = desk.form.get("cursor")
    path = "/v1/records/search"
    query = {"limit": PAGE_ROWS, **({"cursor": cursor} if cursor else {})}
    answer = (await desk.api.ask("POST", path, query=query, body=body)).json
    return await _page(desk, typed, answer, more=answer["next"], is_first=not cursor)


async def _page(
    desk: Desk,
    typed: Mapping[str, str],
    answer: Mapping[str, Any] | None,
    *,
    next_: str | None = None,
    more: str | None = None,
    is_first: bool = True,
    faults: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    rows = answer["items"] if answer is not None else []
    return desk.page(
        "records.html",
        status,
        typed=typed,
        answer=answer,
        rows=[{**row, "moment": row["time_unix_us"] / 1_000_000} for row in rows],
        entries=await desk.names("dataset", *(row["dataset"] for row in rows)),
        departments=await desk.names("department", *(row["department"] for row in rows)),
        purposes=await desk.names("purpose", *(row["purpose"] for row in rows)),
        choices=await desk.console.names.departments(desk.api),
        next=next_,
        more=more,
        is_first=is_first,
        first=linked("/console/records", **typed_of(typed, FILTERS)),
        faults=faults or {},
    )


async def figures(desk: Desk) -> Response:
    """Figures over records, as a table and a plot."""
    typed = desk.query(*FILTERS)
    by = desk.query("by").get("by", "day")
    by = by if by in GROUPS else "day"
    rows = (await desk.api.get("/v1/records/stats", by=by, **_asked(typed))).json["items"]
    rows = [row for row in rows if row["key"]]
    kind = {"department": "department", "dataset": "dataset"}.get(by)
    named = await desk.names(kind, *(row["key"] for row in rows[:MOST_BARS])) if kind else {}
    most = max([1, *(row["uses"] + row["refused"] for row in rows)])
    return desk.page(
        "figures.html",
        typed=typed,
        by=by,
        groups=GROUPS,
        rows=rows,
        bars=rows[-MOST_BARS:] if by == "day" else rows[:MOST_BARS],
        most=most,
        named=named,
        links={each: linked("/console/records/figures", **typed, by=each) for each in GROUPS},
    )


async def shown(desk: Desk) -> Response:
    """One record as a story: who, what for, which law, which items, how it ended, and each policy with its article."""
    id_ = desk.request.path_params["id"]
    record = (await desk.api.get(f"/v1/records/{id_}")).json
    first = record["entries"][0] if record["entries"] else {}
    use = first.get("use")
    closed = next((each for each in record["entries"] if each.get("kind") == "use.closed"), None)
    if isinstance(use, dict):
        # What the caller said stands beside the log, where it still stands.
        use = {**use, **{field: each["text"] for field, each in record.get("texts", {}).items()}}
    told = use if isinstance(use, dict) else first
    dataset, department = told.get("dataset"), told.get("department")
    return desk.page(
        "record.html",
        id=id_,
        record=record,
        first=first,
        moment=first.get("time", 0) / 1_000_000_000,
        use=use if isinstance(use, dict) else None,
        closed=closed,
        closed_moment=closed["time"] / 1_000_000_000 if closed else None,
        entries=await desk.names("dataset", dataset),
        departments=await desk.names("department", department, told.get("supplier"), told.get("officer_department")),
        purposes=await desk.names("purpose", told.get("purpose")),
        policies=await _policies(desk, told) if isinstance(use, dict) else [],
        shown_fields=_others(first, record.get("texts", {})) if not isinstance(use, dict) else [],
    )


async def _policies(desk: Desk, use: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The policies that determined a use, each with its article, and its Cedar as it is now where one may see it."""
    try:
        active = {each["id"]: each for each in (await desk.api.get("/v1/policies")).json["policies"]}
    except RefusedError:
        active = {}
    cedar: dict[str, str] = {}
    try:
        text = await desk.api.get("/v1/policies/show", department=use.get("department"), dataset=use.get("dataset"))
        for block in _CEDAR.split(text.body.decode()):
            named = _ID.search(block)
            if named:
                cedar[named[1]] = block.strip()
    except RefusedError:
        pass
    told = []
    for policy in use.get("policies", ()):
        grant = _GRANT.fullmatch(policy)
        told.append(
            {
                "id": policy,
                "title": active.get(policy, {}).get("title_zh" if desk.words.language == "zh" else "title", ""),
                "articles": "; ".join(active.get(policy, {}).get("articles", ())),
                "cedar": cedar.get(policy, ""),
                "grant": grant["grant"] if grant else None,
            }
        )
    return told


def _others(first: Mapping[str, Any], texts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The fields of an act's record as they stand in the log, with what was said where it still stands beside it."""
    left_out = {"id", "salt", "v", "kind", "time"}

    def told(field: str, value: Any) -> str:
        return str(texts[field]["text"] if field in texts else value)

    return [
        (name, ", ".join(told(f"{name}/{at}", each) for at, each in enumerate(value)))
        if isinstance(value, list)
        else (name, told(name, value))
        for name, value in sorted(first.items())
        if name not in left_out and value not in ("", None, [])
    ]


async def proven(desk: Desk) -> Response:
    """A record's proof, checked here; and its file, to be checked where nobody has to trust this gateway."""
    id_ = desk.request.path_params["id"]
    part = "closed" if desk.query("part").get("part") == "closed" else "opened"
    key = desk.query("key").get("key", "")
    proof = (await desk.api.get(f"/v1/records/{id_}/proof", part=part)).body
    checked, failed = None, ""
    try:
        checked = await desk.console.check_proof(proof, id_, key)
    except GatewayError as error:
        failed = error.detail
    lines = proof.decode().partition("\n\n")[2].split("\n")
    return desk.page(
        "proof.html",
        id=id_,
        part=part,
        typed={"key": key},
        checked=checked,
        failed=failed,
        origin=lines[0],
        size=lines[1],
    )


async def begin_export(desk: Desk) -> Response:
    """Begin an export of a question; it goes on while its page is looked at."""
    typed = typed_of(desk.form, (*FILTERS, "subject"))
    body = {**_asked(typed), "format": desk.form.get("format", "ndjson")}
    if "subject" in typed:
        body["subject"] = typed["subject"]
    headers = {"prefer": "respond-async", "idempotency-key": desk.form.get("key", "")}
    answer = (await desk.api.post("/v1/records/export", body, headers if headers["idempotency-key"] else None)).json
    return desk.go(f"/console/records/exports/{segment(answer['export'])}")


async def export(desk: Desk) -> Response:
    """How far an export is, and where it lies."""
    name = desk.request.path_params["name"]
    answer = await desk.api.get(f"/v1/records/export/{name}/progress")
    return desk.page("export.html", name=name, done=answer.json if answer.status == 201 else None, progress=answer.json)


async def file(desk: Desk) -> Response:
    """An export's file or manifest, or a record's proof, as the API answers it."""
    params = desk.request.path_params
    if "id" in params:
        path, name = f"/v1/records/{params['id']}/proof", f"{params['id']}.proof"
        query = {"part": "closed"} if desk.query("part").get("part") == "closed" else {}
    else:
        path, name, query = f"/v1/records/export/{params['name']}", params["name"], {}
        if params["file"] == "manifest":
            path, name = f"{path}/manifest", f"{name}.manifest"
    return Relayed(desk, path, name, query)


class Relayed(Response):
    """The API's answer, handed on as it comes: a file may be large."""

    def __init__(self, desk: Desk, path: str, name: str, query: Mapping[str, str]) -> None:
        super().__init__()
        self._desk = desk
        self._path = path
        self._query = query
        self._fields = [(b"content-disposition", f'attachment; filename="{name}"'.encode("ascii", "ignore"))]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Ask the API, and let it answer the browser."""
        cookies = [(name, value) for name, value in self.raw_headers if name == b"set-cookie"]

        async def handed_on(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = {b"content-disposition", b"set-cookie"}
                kept = [(name, value) for name, value in message["headers"] if name.lower() not in own]
                disposition = self._fields if message["status"] == 200 else []
                message = {**message, "headers": [*kept, *disposition, *cookies]}
            await send(message)

        await self._desk.api.relay(self._path, handed_on, self._query)


def _asked(typed: Mapping[str, str]) -> dict[str, str]:
    """A question as the API has it: days become moments in China Standard Time, the last one counted whole."""
    asked = {name: typed[name] for name in FILTERS if name in typed}
    for name, days in (("from", 0), ("until", 1)):
        if name in asked:
            try:
                day = date.fromisoformat(asked[name]) + timedelta(days=days)
            except (ValueError, OverflowError):
                continue  # the API says what is wrong with it
            asked[name] = datetime(day.year, day.month, day.day, tzinfo=CHINA).isoformat()
    return asked
