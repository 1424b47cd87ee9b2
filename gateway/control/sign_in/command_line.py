"""Sign-in of a command line by the OpenID provider: it ends in a session that is bound to a key of its own.

    GET  /sign-in/browser           begins, for a listener on loopback (RFC 8252); then the provider's pages, then
    POST /sign-in/browser/consent   the officer agrees on a page of ours, which sends a code to that listener
    POST /sign-in/code              the code, PKCE's verifier and a proof by the key -> session token
    POST /sign-in/device            begins where there is no browser (RFC 8628): a code to type elsewhere
    POST /sign-in/device/answer     asked until that is done -> session token

What others on the same machine may try, and what stands against it:

    to listen at the port            the code is worth nothing without the verifier and the key (RFC 7636, RFC 9449)
    to send the officer a link of    the page of consent says which words the command line that asks has shown; it is
      their own, for their listener    the officer's own only if they stand in the officer's terminal (RFC 8252 §8.6)
    to send the listener a code of   the command line compares `state` and `iss` (RFC 9207)
      their own
    to have us send codes elsewhere  only a listener on this machine's loopback is sent any, by its number
"""

import hmac
import html
import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from gateway.control.act.paging import json_response
from gateway.control.sign_in.by_provider import (
    PENDING_COOKIE,
    Asker,
    Begun,
    go_to_provider,
    keep,
    known,
    pending_of,
    provider_router,
    send_back,
)
from gateway.control.sign_in.possession import CHALLENGE
from gateway.control.sign_in.sign_in import NOT_STORED, SignInServices, answer_with, begin_session, cookie_name
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer
from gateway.identity.callers.security_log import FailureBudget
from gateway.identity.officers.oidc import OpenIdSignIn, Person
from gateway.identity.officers.pairing import challenge_of, words_of

CODE_SECONDS = 120
"""RFC 6749 §4.1.2 allows ten minutes; a listener redeems it at once."""
MAX_FORM_BYTES = 64 * 1024
_TICKET_CONTEXT = "sign-in/consent"
_CODE_CONTEXT = "sign-in/code"
_DEVICE_CONTEXT = "sign-in/device-grant"
_LISTENER = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):[1-9][0-9]{3,4}/signed-in", re.ASCII)
_DIGEST = r"^[A-Za-z0-9_-]{43}$"


class _Ticket(msgspec.Struct, frozen=True):
    """What the page of consent is about."""

    officer: str
    person: Person
    asker: Asker
    state: str


class _Code(msgspec.Struct, frozen=True):
    """What a code stands for."""

    session: str
    officer: str
    asker: Asker
    renews: bool
    until_unix: int


class _DeviceTicket(msgspec.Struct, frozen=True):
    """A device grant that was begun, and the key that its session will be bound to."""

    device_code: str
    key: str
    until_unix: int


class CodeBody(BaseModel):
    """The code that the listener was sent, and what proves that it is for this command line."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(min_length=1, max_length=4096, repr=False)
    verifier: str = Field(min_length=43, max_length=128, repr=False)
    redirect_uri: str = Field(max_length=64)


class DeviceBody(BaseModel):
    """What `POST /sign-in/device` answered as `device`."""

    model_config = ConfigDict(extra="forbid")

    device: str = Field(min_length=1, max_length=8192, repr=False)


def command_line_routers(services: SignInServices) -> tuple[APIRouter, ...]:
    """The routes by the OpenID provider, pages' and command lines'; none where settings name no provider."""
    provider = services.provider
    if provider is None:
        return ()
    router = APIRouter(prefix="/sign-in", tags=["sign-in"])
    _add_browser(router, services, provider)
    _add_code(router, services)
    _add_device(router, services, provider)

    def ask(request: Request, begun: Begun, officer: Officer, person: Person) -> Response:
        return _consent_page(services, request, begun, officer, person)

    return provider_router(services, provider, ask), router


def _add_browser(router: APIRouter, services: SignInServices, provider: OpenIdSignIn) -> None:
    @router.get("/browser", summary="Sign a command line in by a browser")
    async def begin(
        redirect_uri: Annotated[str, Query(max_length=64, description="its listener on loopback")],
        state: Annotated[str, Query(pattern=_DIGEST, description="what it gets back")],
        code_challenge: Annotated[str, Query(pattern=_DIGEST, description="PKCE, S256")],
        dpop_jkt: Annotated[str, Query(pattern=_DIGEST, description="thumbprint of its key (RFC 9449 §10)")],
    ) -> Response:
        if _LISTENER.fullmatch(redirect_uri) is None:
            raise GatewayError("invalid-input", "a command line listens on `http://127.0.0.1:PORT/signed-in`")
        return await go_to_provider(services, provider, "/", Asker(redirect_uri, state, code_challenge, dpop_jkt))

    @router.post("/browser/consent", summary="Agree that a command line acts")
    async def consent(request: Request) -> Response:
        """The form of the page of consent; it is good once, in the browser that signed in."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                raise GatewayError("body-too-large", "the form is too large")
        form = dict(parse_qsl(body.decode("ascii", "replace"), max_num_fields=4))
        return await run_in_threadpool(_consented, services, request, form)


def _consent_page(
    services: SignInServices, request: Request, begun: Begun, officer: Officer, person: Person
) -> Response:
    asker = begun.asker
    assert asker is not None
    ticket = _Ticket(officer.id, person, asker, begun.pending.state)
    sealed = services.cipher().seal(msgspec.json.encode(ticket), _TICKET_CONTEXT)
    is_chinese = request.headers.get("accept-language", "").lower().startswith("zh")
    page = _PAGE_ZH if is_chinese else _PAGE
    shown = {"officer": officer.id, "department": officer.department, "words": words_of(asker.challenge)}
    text = page.format(ticket=html.escape(sealed), **{name: html.escape(value) for name, value in shown.items()})
    origin = asker.redirect_uri.removesuffix("/signed-in")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; form-action 'self' {origin}; frame-ancestors 'none'"
    headers = {**NOT_STORED, "Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return HTMLResponse(text, headers={**headers, "X-Frame-Options": "DENY"})


def _consented(services: SignInServices, request: Request, form: dict[str, str]) -> Response:
    try:
        opened = services.cipher().unseal(form.get("ticket", ""), _TICKET_CONTEXT)
        ticket = msgspec.json.decode(opened, type=_Ticket)
    except (GatewayError, msgspec.DecodeError) as error:
        raise _refusal(services, request, "this form is not of this gateway: begin again") from error
    begun = pending_of(services, request.cookies.get(cookie_name(services, PENDING_COOKIE), ""))
    pending, asker = begun.pending, ticket.asker
    fits = pending.state == ticket.state and services.issuer.now() < pending.until_unix
    if not fits or not services.use_once("consent", ticket.state, pending.until_unix):
        raise _refusal(services, request, "the sign-in has lapsed or was begun elsewhere: begin again")
    if form.get("answer") != "yes":
        return send_back(services, asker, {"error": "access_denied"})
    officer = known(services, ticket.person)
    session = services.open_session(officer.id, "provider", services.lifetime_seconds)
    renews = keep(services, session.id, ticket.person)
    until = int(services.issuer.now()) + CODE_SECONDS
    code = _Code(session.id, officer.id, asker, renews, until)
    sealed = services.cipher().seal(msgspec.json.encode(code), _CODE_CONTEXT)
    return send_back(services, asker, {"code": sealed})


def _add_code(router: APIRouter, services: SignInServices) -> None:
    @router.post("/code", summary="Redeem the code of a sign-in by a browser")
    def redeem(request: Request, body: CodeBody) -> Response:
        """The session that the officer agreed to, for the command line that asked and no other; once."""
        bound = services.possession.offered(request)
        try:
            code = msgspec.json.decode(services.cipher().unseal(body.code, _CODE_CONTEXT), type=_Code)
        except (GatewayError, msgspec.DecodeError) as error:
            raise _refusal(services, request, "the code is not of this gateway") from error
        fits = (
            hmac.compare_digest(challenge_of(body.verifier), code.asker.challenge)
            and body.redirect_uri == code.asker.redirect_uri
            and bound == {"jkt": code.asker.key}
            and services.issuer.now() < code.until_unix
        )
        # What does not fit does not use it up: whoever has seen a code cannot spoil it.
        if not fits or not services.use_once("code", body.code, code.until_unix):
            raise _refusal(services, request, "the code has lapsed, was used, or is for another command line")
        officer = services.officer(code.officer)
        if officer is None or not officer.active:
            raise _refusal(services, request, "the officer is dismissed")
        answer = answer_with(services, officer, "provider", code.session, bound, renews=code.renews)
        return JSONResponse(answer, headers=NOT_STORED)


def _add_device(router: APIRouter, services: SignInServices, provider: OpenIdSignIn) -> None:
    # Each asking is one at the provider: an address has ten at once, and one each six seconds after.
    budget = FailureBudget(services.issuer.now, per_second=1 / 6, burst=10)
    # Faster than the provider asks for: it has the last word (`slow_down`).
    polls = FailureBudget(services.issuer.now, per_second=0.5, burst=4)

    @router.post("/device", summary="Sign in where there is no browser")
    async def begin(request: Request) -> Response:
        """A code that the officer types at the provider, on any device; the proof's key is the session's."""
        bound = await run_in_threadpool(services.possession.offered, request)
        if bound is None:
            raise _refusal(services, request, "the request bears no proof by a key")
        address = services.address(request)
        if budget.is_spent(address):
            raise GatewayError("rate-limited", "too many sign-ins were begun from this address")
        budget.spend(address)
        asked = await provider.begin_device()
        ticket = _DeviceTicket(asked.device_code, bound["jkt"], int(services.issuer.now()) + asked.expires_in)
        shown = {name: value for name, value in msgspec.to_builtins(asked).items() if name != "device_code"}
        sealed = services.cipher().seal(msgspec.json.encode(ticket), _DEVICE_CONTEXT)
        return json_response({**shown, "device": sealed}, headers=NOT_STORED)

    @router.post("/device/answer", summary="Ask whether the officer has signed in elsewhere")
    async def finish(request: Request, body: DeviceBody) -> Response:
        """202 while not; then the session, for the key that began."""
        bound = await run_in_threadpool(services.possession.offered, request)
        try:
            ticket = msgspec.json.decode(services.cipher().unseal(body.device, _DEVICE_CONTEXT), type=_DeviceTicket)
        except (GatewayError, msgspec.DecodeError) as error:
            raise _refusal(services, request, "this sign-in is not of this gateway") from error
        if bound != {"jkt": ticket.key} or services.issuer.now() >= ticket.until_unix:
            raise _refusal(services, request, "the sign-in has lapsed, or was begun by another command line")
        if polls.is_spent(ticket.key):
            raise GatewayError("rate-limited", "the sign-in is asked for too often")
        polls.spend(ticket.key)
        try:
            person = await provider.finish_device(ticket.device_code)
            if person is None:
                return JSONResponse({"pending": True}, 202, headers=NOT_STORED)
            officer = await run_in_threadpool(known, services, person)
        except GatewayError as refusal:
            services.security.note(f"sign-in: {refusal.code}", services.address(request))
            raise
        kept: Callable[[str], bool] = lambda id_: keep(services, id_, person)  # noqa: E731
        begun = await run_in_threadpool(begin_session, services, officer, "device", bound, kept)
        return JSONResponse(begun, headers=NOT_STORED)


def _refusal(services: SignInServices, request: Request, why: str) -> GatewayError:
    services.security.note(f"sign-in: {why}", services.address(request))
    return GatewayError("credential-invalid", why, headers=CHALLENGE)


_STYLE = (
    "<style>body{{font:1.1rem/1.5 sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}}"
    "b.words{{font:700 1.8rem monospace}}button{{font:inherit;padding:.5rem 1rem;margin-right:1rem}}</style>"
)
_FORM = (
    '<form method="post" action="../browser/consent"><input type="hidden" name="ticket" value="{{ticket}}">'
    '<button name="answer" value="yes">{}</button><button name="answer" value="no">{}</button></form>'
)
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in a command line</title>'
    + _STYLE
    + "<h1>A command line asks to act as you</h1><p>You are signed in as <b>{officer}</b> of <b>{department}</b>. "
    'Your own terminal shows:</p><p><b class="words">{words}</b></p><p>Go on only if you have just run <code>gateway '
    "sign-in</code> yourself and it shows the same. Whoever sent you here otherwise would act as you.</p>"
    + _FORM.format("It is mine: sign in", "No")
)
_PAGE_ZH = (
    '<!doctype html><html lang="zh"><meta charset="utf-8"><title>命令行登录</title>'
    + _STYLE
    + "<h1>命令行请求以您的身份操作</h1><p>您已登录为 <b>{officer}</b>({department})。您自己的终端显示:</p>"
    '<p><b class="words">{words}</b></p><p>只有当您刚刚亲自运行了 <code>gateway sign-in</code>,'
    "且其显示一致时才继续;否则,发给您此链接的人将以您的身份操作。</p>" + _FORM.format("是我本人:登录", "否")
)
