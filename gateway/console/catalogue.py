"""The catalogue of data: found by words, and one entry with its items, interfaces, versions and who holds grants."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from gateway.console.api import RefusedError
from gateway.console.desk import Desk, linked

PAGE_ROWS = 25
_FILTERS = ("words", "supplier", "attribute", "state")
_COMPARED = ("name", "sharing_attribute", "grade", "classification", "conditions", "scope", "update_cycle", "purposes")


async def listed(desk: Desk) -> Response:
    """Entries by words and filters."""
    typed = desk.query(*_FILTERS)
    cursor = desk.query("cursor").get("cursor")
    page = (await desk.api.get("/v1/datasets", **typed, cursor=cursor, limit=PAGE_ROWS)).json
    return desk.page(
        "catalogue.html",
        entries=page["items"],
        departments=await desk.names("department", *(each["supplier"] for each in page["items"])),
        choices=await desk.console.names.departments(desk.api),
        typed=typed,
        next=linked("/console/catalogue", **typed, cursor=page["next"]) if page["next"] else None,
        is_first=cursor is None,
        first=linked("/console/catalogue", **typed),
    )


async def shown(desk: Desk) -> Response:
    """One entry."""
    id_ = desk.request.path_params["id"]
    found = (await desk.api.get(f"/v1/datasets/{id_}")).json
    versions = sorted(found["versions"], key=lambda each: -each["version"])
    entry = found["released"] or versions[0]
    served = (await desk.api.get("/v1/interfaces", supplier=entry["supplier"], dataset=id_, limit=100)).json
    try:
        holders = (await desk.api.get("/v1/grants", dataset=id_, state="issued", limit=100)).json["items"]
    except RefusedError:
        holders = None
    bounds = {name: each for name, each in (entry["recipients"] or {}).items() if each}
    return desk.page(
        "entry.html",
        entry=entry,
        versions=[(new, _difference(new, old)) for new, old in zip(versions, [*versions[1:], None], strict=True)],
        interfaces=served["items"],
        holders=holders,
        departments=await desk.names(
            "department",
            entry["supplier"],
            *(each["department"] for each in holders or ()),
            *bounds.get("departments", ()),
        ),
        purposes=await desk.names("purpose", *entry["purposes"], *bounds.get("matters", ())),
        bounds=bounds,
    )


def _difference(newer: Mapping[str, Any], older: Mapping[str, Any] | None) -> list[tuple[str, Any, Any]]:
    """What a version changed: field, before, after; items by their names."""
    if older is None:
        return []
    changed: list[tuple[str, Any, Any]] = [
        (name, older[name], newer[name]) for name in _COMPARED if older[name] != newer[name]
    ]
    were, are = (_bounds(each["recipients"]) for each in (older, newer))
    if were != are:
        changed.append(("recipients", were, are))
    before, after = ([item["title"] or item["name"] for item in each["items"]] for each in (older, newer))
    return [*changed, ("items", before, after)] if before != after else changed


def _bounds(recipients: Mapping[str, Any] | None) -> list[str]:
    """Who may have the data, as the ids and codes that say so."""
    return [each for named in (recipients or {}).values() for each in named or ()]
