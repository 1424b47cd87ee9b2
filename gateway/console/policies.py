"""The law beside its Cedar, what governs a pair of department and dataset, and why a call would be refused, or ever.

The last is the developer's dry run, too: it calls nobody.
"""

from itertools import groupby
from typing import Any

from starlette.responses import Response

from gateway.console.api import RefusedError
from gateway.console.desk import Desk, typed_of

CALL = ("department", "system", "supplier", "interface", "purpose", "items", "mode")


async def listed(desk: Desk) -> Response:
    """The policies in force, article by article; with a pair, what governs it."""
    pair = desk.query("department", "dataset")
    active = (await desk.api.get("/v1/policies")).json
    cedar = ""
    if len(pair) == 2:
        cedar = (await desk.api.get("/v1/policies/show", **pair)).body.decode()
    key = lambda policy: "; ".join(policy["articles"])  # noqa: E731
    return desk.page(
        "policies.html",
        active=active,
        articles=[(article, list(each)) for article, each in groupby(active["policies"], key)],
        typed=pair,
        cedar=cedar,
        choices=await desk.console.names.departments(desk.api),
    )


async def possible(desk: Desk) -> Response:
    """Whether a dataset can ever be obtained, by one department or by each that may be asked about."""
    typed = desk.query("dataset", "department", "item", "mode")
    choices = await desk.console.names.departments(desk.api)
    context: dict[str, Any] = {"typed": typed, "choices": choices, "names": {one["id"]: one["name"] for one in choices}}
    if "dataset" not in typed:
        return desk.page("possible.html", answer=None, problem=None, **context)
    try:
        answer = (await desk.api.get("/v1/policies/possible", **typed)).json
    except RefusedError as refusal:
        return desk.page("possible.html", refusal.status, answer=None, problem=refusal.problem, **context)
    return desk.page("possible.html", answer=answer, problem=None, **context)


async def explain(desk: Desk) -> Response:
    """The form of a call that is asked about."""
    return await _page(desk, desk.query(*CALL), None)


async def explained(desk: Desk) -> Response:
    """Whether a call would pass now, and what of each near grant fails."""
    typed = typed_of(desk.form, CALL)
    missing = {name: "is missing" for name in CALL[:5] if name not in typed}
    if missing:
        return await _page(desk, typed, None, missing, status=422)
    body: dict[str, Any] = dict(typed)
    if "items" in body:
        body["items"] = [each for each in typed["items"].replace("，", ",").replace(" ", ",").split(",") if each]
    try:
        answer = (await desk.api.post("/v1/policies/explain", body)).json
    except RefusedError as refusal:
        faults = {each["field"] or "": each["fault"] for each in refusal.problem.get("faults", [])}
        return await _page(desk, typed, None, faults, problem=refusal.problem, status=refusal.status)
    return await _page(desk, typed, answer)


async def _page(
    desk: Desk,
    typed: dict[str, str],
    answer: Any,
    faults: dict[str, str] | None = None,
    *,
    problem: Any = None,
    status: int = 200,
) -> Response:
    purposes = (await desk.console.names.kept(desk.api, "/v1/purposes"))["items"]
    choices = await desk.console.names.departments(desk.api)
    context = {"typed": typed, "faults": faults or {}, "problem": problem}
    return desk.page("explain.html", status, answer=answer, purposes=purposes, choices=choices, **context)
