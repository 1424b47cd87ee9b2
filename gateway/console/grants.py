"""Grants: the list, by page and filter, and one grant in the law's words."""

from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from gateway.console import terms
from gateway.console.acts import ACTS, Act, is_for
from gateway.console.desk import Desk, linked, segment

PAGE_ROWS = 25
_FILTERS = ("state", "supplier", "department", "dataset", "expires_within_days")


async def listed(desk: Desk) -> Response:
    """The list."""
    typed = desk.query(*_FILTERS)
    if desk.query("id"):
        return desk.go(f"/console/grants/{segment(desk.query('id')['id'])}")
    cursor = desk.query("cursor").get("cursor")
    page = (await desk.api.get("/v1/grants", **typed, cursor=cursor, limit=PAGE_ROWS)).json
    grants = page["items"]
    entries = await desk.names("dataset", *(each["dataset"] for each in grants))
    suppliers = [entry["supplier"] for entry in entries.values()]
    departments = await desk.names("department", *(each["department"] for each in grants), *suppliers)
    news = (desk.told or {}).get("news", 0)
    return desk.page(
        "grants.html",
        news=(await desk.api.get("/v1/account")).json["events"][:news] if news else [],
        grants=[{**each, "standing": standing(each, desk.now)} for each in grants],
        entries=entries,
        departments=departments,
        choices=await desk.console.names.departments(desk.api),
        typed=typed,
        next=linked("/console/grants", **typed, cursor=page["next"]) if page["next"] else None,
        is_first=cursor is None,
        first=linked("/console/grants", **typed),
    )


async def shown(desk: Desk) -> Response:
    """One grant, with what stands on it and what may be done to it."""
    id_ = desk.request.path_params["id"]
    answer = await desk.api.get(f"/v1/grants/{id_}", version=desk.query("version").get("version"))
    return desk.page("grant.html", **await about(desk, answer.json), etag=answer.etag)


async def about(desk: Desk, found: dict[str, Any]) -> dict[str, Any]:
    """What a page tells of a grant, from the API's answer."""
    grant = found["grant"]
    entries = await desk.names("dataset", grant["dataset"], *grant["combination"])
    entry = entries.get(grant["dataset"], {})
    return {
        "found": found,
        "grant": grant,
        "entry": entry,
        "entries": entries,
        "titles": {item["name"]: item["title"] or item["name"] for item in entry.get("items", ())},
        "departments": await desk.names("department", grant["department"], found["supplier"]),
        "purposes": await desk.names("purpose", *grant["purposes"]),
        "acts": await possible(desk, found),
    }


async def possible(desk: Desk, found: dict[str, Any]) -> list[Act]:
    """The acts that fit a grant's state, and that the policies permit an officer like this one.

    The API decides each; what it would surely refuse is not offered.
    """
    grant = found["grant"]
    if max(found["versions"]) != grant["version"]:
        return []
    table = (await desk.console.names.kept(desk.api, "/v1/grants/lifecycle"))["items"]
    steps = {row["name"]: row for row in table}
    return [
        act
        for act in ACTS.values()
        if is_for(act, found)
        and any(
            grant["state"] in steps[name]["before"] and _is_one_of(desk, steps[name]["who"], found)
            for name in act.steps
            if name in steps
        )
    ]


def _is_one_of(desk: Desk, who: list[dict[str, Any]], found: dict[str, Any]) -> bool:
    sides = {"supplier": found["supplier"], "department": found["grant"]["department"]}
    for each in who:
        role, side = terms.POWERS.get(each["who"], ("", ""))
        if role in desk.session.roles and (not side or sides[side] == desk.session.department):
            return True
    return False


def standing(grant: dict[str, Any], now: float) -> str:
    """Where a grant stands: its state, with `issued` told apart by time, as the API tells it of one grant."""
    if grant["state"] != "issued":
        return str(grant["state"])
    moment = datetime.fromtimestamp(now, UTC)
    if moment < datetime.fromisoformat(grant["valid_from"]):
        return "not-yet-valid"
    return "expired" if moment >= datetime.fromisoformat(grant["valid_until"]) else "active"
