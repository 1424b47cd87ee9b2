"""How the gateway stands, for operators: its parts, its keys and its log; no contents (Decree 809 Art. 36)."""

from typing import Any

from starlette.responses import Response

from gateway.console.api import RefusedError
from gateway.console.desk import Desk


async def shown(desk: Desk) -> Response:
    """The state of the parts, as readiness has it; keys and the log where this officer may see them."""
    try:
        ready = (await desk.api.get("/readyz")).json
    except RefusedError as refusal:
        ready = dict(refusal.problem)
    try:
        keys: Any = (await desk.api.get("/v1/keys")).json["keys"]
    except RefusedError:
        keys = None
    try:
        checkpoint = (await desk.api.get("/log/checkpoint")).body.decode().split("\n")
    except RefusedError:
        checkpoint = ["", "", ""]
    return desk.page(
        "operation.html",
        parts_of=ready.get("parts", {}),
        keys=keys,
        origin=checkpoint[0],
        size=checkpoint[1],
        root=checkpoint[2],
    )
