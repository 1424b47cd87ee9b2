"""The console's application: its routes, the fields that keep a browser to its own origin, and its static files."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.console import acts, catalogue, grants, operation, policies, records, sign_in, today
from gateway.console.desk import HOME, Console, Desk, Handler, ProofCheck, linked, said, segment, served
from gateway.console.names import Names
from gateway.console.session import SessionKeeper
from gateway.console.words import LANGUAGES

_HERE = Path(__file__).parent
_STATIC = {"console.css": "text/css; charset=utf-8", "sign.svg": "image/svg+xml"}

GUARDS = {
    # Nothing but our own style, sign and forms: no script, no frame, no other origin.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # With `no-referrer` browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def create_console(
    api: ASGIApp,
    *,
    seal: Callable[[bytes, str], str],
    unseal: Callable[[str, str], bytes],
    now: Callable[[], float],
    is_secure: bool,
    check_proof: ProofCheck,
    ticks: Callable[[], float] = time.monotonic,
) -> ASGIApp:
    """The console over a control plane; mount it under `/console` of the same origin.

    Args:
        api: the control plane's application.
        seal: seals octets, bound to a context, so that every node opens them.
        unseal: opens them; raises `GatewayError`.
        now: Unix seconds.
        is_secure: whether browsers come over https.
        check_proof: checks a record's proof.
        ticks: a clock that nobody can set, in seconds.
    """
    console = Console(api, SessionKeeper(seal, unseal, now, is_secure=is_secure), _pages(), Names(ticks), check_proof)

    def page(path: str, handler: Handler, *, post: Handler | None = None, is_open: bool = False) -> list[Route]:
        shown = Route(path, served(console, handler, is_open=is_open), methods=["GET"])
        if post is None:
            return [shown]
        return [shown, Route(path, served(console, post, is_open=is_open), methods=["POST"])]

    routes = [
        Route("/", _home),
        Route("/static/{version}/{name}", _static),
        *page("/sign-in", sign_in.show, post=sign_in.sign_in, is_open=True),
        *page("/enrol", sign_in.show_enrolment, post=sign_in.enrol, is_open=True),
        *page("/arrived", sign_in.arrived, is_open=True),
        *page("/language/{language}", sign_in.language, is_open=True),
        Route("/sign-out", served(console, sign_in.sign_out), methods=["POST"]),
        *page("/grants", grants.listed),
        *page("/grants/{id}", grants.shown),
        *page("/grants/{id}/{act}", acts.show, post=acts.do),
        *page("/today", today.shown),
        *page("/records", records.found),
        Route("/records/search", served(console, records.searched), methods=["POST"]),
        *page("/records/figures", records.figures),
        Route("/records/export", served(console, records.begin_export), methods=["POST"]),
        *page("/records/exports/{name}", records.export),
        *page("/records/exports/{name}/{file}", records.file),
        *page("/records/{id}", records.shown),
        *page("/records/{id}/proof", records.proven),
        *page("/records/{id}/proof-file", records.file),
        *page("/catalogue", catalogue.listed),
        *page("/catalogue/{id}", catalogue.shown),
        *page("/policies", policies.listed),
        *page("/policies/explain", policies.explain, post=policies.explained),
        *page("/policies/possible", policies.possible),
        *page("/operation", operation.shown),
        Route("/{rest:path}", served(console, _unknown, is_open=True)),
    ]
    return Guarded(Starlette(routes=routes))


class Guarded:
    """Sets the fields by which a browser loads nothing but the console's own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in GUARDS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, guarded)


def _pages() -> Environment:
    # Every value is escaped; a name that a template misspells is an error and no empty text.
    pages = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    pages.filters["said"] = said
    pages.filters["segment"] = segment
    pages.globals.update(linked=linked, version=_version(), languages=LANGUAGES)
    return pages


def _version() -> str:
    """Names the static files as they are, so that browsers may keep them."""
    files = b"".join((_HERE / "static" / name).read_bytes() for name in sorted(_STATIC))
    return hashlib.sha256(files).hexdigest()[:12]


async def _home(_request: Request) -> Response:
    return RedirectResponse(HOME, 303)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return Response(status_code=404)
    body = (_HERE / "static" / name).read_bytes()
    return Response(body, media_type=_STATIC[name], headers={"Cache-Control": "public, max-age=31536000, immutable"})


async def _unknown(desk: Desk) -> Response:
    return desk.page("refused.html", 404, problem={"status": 404}, code="not-found")
