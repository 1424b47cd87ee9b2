"""The first page: what the officer's office has overdue, what is stopped, and what expires."""

from typing import Any

from starlette.responses import Response

from gateway.console.api import RefusedError
from gateway.console.desk import Desk

EXPIRES_DAYS = 30
ROWS = 10


async def shown(desk: Desk) -> Response:
    """Today."""
    figures = await _read(desk, "/v1/figures", within_days=EXPIRES_DAYS)
    overdue = await _read(desk, "/v1/figures/overdue")
    orders = await _read(desk, "/v1/orders", in_force="true", limit=ROWS)
    expiring = await _read(desk, "/v1/grants", expires_within_days=EXPIRES_DAYS, state="active", limit=ROWS)
    grants = expiring["items"] if expiring else []
    return desk.page(
        "today.html",
        figures=figures,
        overdue=overdue,
        orders=orders["items"] if orders else [],
        expiring=grants,
        days=EXPIRES_DAYS,
        entries=await desk.names("dataset", *(each["dataset"] for each in grants)),
        departments=await desk.names("department", *(each["department"] for each in grants)),
    )


async def _read(desk: Desk, path: str, **query: Any) -> Any:
    """What the API answers, or None where this officer may not ask."""
    try:
        return (await desk.api.get(path, **query)).json
    except RefusedError as refusal:
        if refusal.code not in {"act-not-permitted", "invalid-input"}:
            raise
        return None
