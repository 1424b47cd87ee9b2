"""/healthz, /readyz, /metrics: for whoever runs the gateway; nothing in them names a person or a value."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.control.act.acting import Services
from gateway.control.act.paging import json_response
from gateway.domain.errors import GatewayError

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="Whether the control process answers")
async def healthz() -> Response:
    """Always 200: an answer is the answer."""
    return json_response({"status": "ok"})


@router.get("/readyz", summary="Whether every part works")
def readyz(services: Services) -> Response:
    """200 where uses can be served, else 503; each part by name."""
    parts = dict(services.readiness())
    is_ready = all(parts.values())
    return json_response({"status": "ready" if is_ready else "not ready", "parts": parts}, 200 if is_ready else 503)


@router.get("/metrics", summary="Metrics of all processes, as Prometheus text")
def metrics(services: Services, request: Request) -> Response:
    """Prometheus text exposition, to whoever bears the scrape credential; what tells of uses moves in steps."""
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    challenge = (("WWW-Authenticate", 'Bearer realm="metrics"'),)
    if not presented:
        raise GatewayError("credential-missing", "figures need the scrape credential as `Bearer`", headers=challenge)
    if scheme.lower() != "bearer" or not services.may_scrape(presented.strip()):
        raise GatewayError("credential-invalid", "this is not the scrape credential", headers=challenge)
    return Response(services.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
