"""/witness: this node cosigns other nodes' logs (C2SP tlog-witness), so that a ring of departments guards each other.

Public by its protocol: a checkpoint is cosigned only where its own log's key has signed it, and only forward.
"""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gateway.control.act.acting import Services
from gateway.domain.errors import GatewayError

router = APIRouter(prefix="/witness", tags=["the log"])

MAX_BODY_BYTES = 64 << 10
"""A proof has at most 63 lines of 45 bytes; the rest is the note with its cosignatures."""


@router.post("/add-checkpoint", summary="Cosign a checkpoint of a log this node witnesses")
async def add_checkpoint(request: Request, services: Services) -> Response:
    """Answers 200 with a cosignature, 409 with the size it stands at, 422, 403, 404 or 400, as the protocol says."""
    if services.witness is None:
        raise GatewayError("not-found", "this node is no witness")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise GatewayError("body-too-large", f"an add-checkpoint request has at most {MAX_BODY_BYTES} bytes")
    answer = await run_in_threadpool(services.witness.add_checkpoint, bytes(body))
    return Response(answer.body, answer.status, media_type=answer.content_type)
