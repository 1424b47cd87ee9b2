"""One request at the console: whose it is, in which language, what was typed; and what makes pages of answers."""

import logging
import re
import secrets
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from jinja2 import Environment
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from gateway.console import terms
from gateway.console.api import Api, RefusedError
from gateway.console.names import Names
from gateway.console.session import SessionKeeper
from gateway.console.terms import N_
from gateway.console.words import LANGUAGES, Words, language_of, words_of

log = logging.getLogger(__name__)

HOME = "/console/grants"
DEVICE_COOKIE = "sharing-device"
"""What names this browser to an officer's account, so that failures elsewhere do not lock its owner out here."""
DEVICE_SECONDS = 366 * 86_400
MENU = (
    ("/console/today", N_("Today")),
    ("/console/grants", N_("Grants")),
    ("/console/records", N_("Records")),
    ("/console/catalogue", N_("Catalogue")),
    ("/console/policies", N_("Policies")),
    ("/console/operation", N_("Operation")),
)
MAX_FIELDS = 200
_NOT_CARRIED = frozenset({"form", "password", "one_time_code", "step", "key"})
_LOCAL = re.compile(r"/console/[A-Za-z0-9._~:/?&=%+,-]*")


ProofCheck = Callable[[bytes, str, str], Awaitable[Mapping[str, Any] | None]]
"""What holds of a proof of a record under a verifier key, "" for this log's own; None where that is another log's."""


@dataclass(frozen=True, slots=True)
class Console:
    """What the console is made of.

    Args:
        api: the control plane's application.
        keeper: the session cookie.
        pages: the templates.
        names: names for ids.
        check_proof: checks a record's proof.
    """

    api: ASGIApp
    keeper: SessionKeeper
    pages: Environment
    names: Names
    check_proof: ProofCheck


class Desk:
    """One request.

    Args:
        console: what the console is made of.
        request: the browser's.
    """

    def __init__(self, console: Console, request: Request) -> None:
        self.console = console
        self.request = request
        self.words: Words = words_of(language_of(request))
        self.session, self.has_ended = console.keeper.read(request)
        self.api = Api(console.api, request, self.words.language, self.session.token)
        self.form: dict[str, str] = {}
        self.told: Any = None
        self.device = ""

    @property
    def path(self) -> str:
        """The page's own address, without its query."""
        return f"/console{self.request.scope['path'].removeprefix('/console')}"

    @property
    def here(self) -> str:
        """The page's own address, to come back to."""
        query = self.request.url.query
        return f"{self.path}?{query}" if query else self.path

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.console.keeper.now()

    def menu(self) -> list[tuple[str, str]]:
        """The pages that every page leads to."""
        return list(MENU)

    def query(self, *names: str) -> dict[str, str]:
        """Parameters of the page's address, those that are filled in."""
        given = self.request.query_params
        return {name: given[name].strip() for name in names if given.get(name, "").strip()}

    async def read_form(self) -> None:
        """What was typed, each field once; it is text and nothing else."""
        body = (await self.request.body()).decode("utf-8", "replace")
        try:
            pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            pairs = []
        # A browser ends lines by CR LF in what it sends.
        self.form = {name: value.replace("\r\n", "\n").strip() for name, value in pairs}

    def is_own_form(self) -> bool:
        """Whether a post comes from a page of this session, and from no other site."""
        site = self.request.headers.get("sec-fetch-site", "same-origin")
        return site == "same-origin" and self.session.bears(self.form.get("form", ""))

    async def names(self, kind: str, *ids: str | None) -> dict[str, dict[str, Any]]:
        """See `Names.of`."""
        return await self.console.names.of(self.api, kind, ids)

    def new_key(self) -> str:
        """An `Idempotency-Key` for a form, so that what is sent twice is done once."""
        return secrets.token_urlsafe(24)

    def take_told(self) -> None:
        """What the page before has left for this one; it is told once."""
        if self.path in self.session.told:
            self.told = self.session.told[self.path]
            rest = {path: told for path, told in self.session.told.items() if path != self.path}
            self.session = replace(self.session, told=rest)

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        """A page, in the reader's language."""
        words = self.words
        for name in ("typed", "faults"):
            if name in context:
                context[name] = _Given(context[name])
        text = self.console.pages.get_template(template).render(
            desk=self,
            session=self.session,
            words=words,
            terms=terms,
            languages=LANGUAGES,
            told=self.told,
            _=words.gettext,
            ngettext=words.ngettext,
            **context,
        )
        return HTMLResponse(text, status, headers={"Content-Language": words.tag, "Vary": "Cookie, Accept-Language"})

    def go(self, path: str, told: Any = None) -> Response:
        """To another page of the console, which tells what came of it."""
        if told is not None:
            self.session = replace(self.session, told={path: told})
        return RedirectResponse(path, 303)

    def refused(self, refusal: RefusedError) -> Response:
        """The page of a refusal: what it is, and what to do."""
        return self.page("refused.html", refusal.status, problem=refusal.problem, code=refusal.code)

    async def sign_in_page(
        self, status: int, next_: str, carried: str, faults: Mapping[str, str], problem: Any = None
    ) -> Response:
        """The sign-in page, with the ways that there are."""
        ways = (await self.api.get("/sign-in")).json
        typed = {"officer": self.form.get("officer", "")}
        context = {"ways": ways, "next": next_, "carried": carried, "typed": typed}
        return self.page("sign_in.html", status, faults=faults, problem=problem, **context)

    async def sign_in_first(self) -> Response:
        """The way to the sign-in, and back here; a form's content goes along, to be seen again before it is sent."""
        if self.request.method == "GET":
            return RedirectResponse(f"/console/sign-in?{urlencode({'next': self.here})}", 303)
        carried = urlencode({name: value for name, value in self.form.items() if name not in _NOT_CARRIED})
        return await self.sign_in_page(401, self.path, carried, {})

    def fault(self, text: str) -> str:
        """A fault that the API found, in the reader's language where the catalogues know it."""
        return self.words.gettext(text)


class _Given(dict[str, str]):
    """Fields of a form by name; one that is not there is empty."""

    def __missing__(self, _name: str) -> str:
        return ""


Handler = Callable[[Desk], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]

_SIGNED_OUT = frozenset({"credential-missing", "credential-invalid"})


def served(console: Console, handler: Handler, *, is_open: bool = False) -> Endpoint:
    """The endpoint of a page.

    Args:
        console: what the console is made of.
        handler: makes the page; may raise `RefusedError`.
        is_open: whether it is for everybody, signed in or not.
    """

    async def endpoint(request: Request) -> Response:
        desk = Desk(console, request)
        response = await _answer(desk, handler, is_open=is_open)
        console.keeper.write(desk.session, response)
        if desk.device:
            name = console.keeper.named(DEVICE_COOKIE)
            console.keeper.set_cookie(response, name, desk.device, seconds=DEVICE_SECONDS)
        return response

    return endpoint


async def _answer(desk: Desk, handler: Handler, *, is_open: bool) -> Response:
    if desk.request.method == "POST":
        await desk.read_form()
        if not desk.session.token and not is_open:
            return await desk.sign_in_first()
        if not desk.is_own_form():
            return desk.page("stale_form.html", 403)
    else:
        desk.take_told()
    if not desk.session.token and not is_open:
        return await desk.sign_in_first()
    try:
        return await handler(desk)
    except RefusedError as refusal:
        if refusal.code in _SIGNED_OUT and not is_open:
            desk.session, desk.has_ended = desk.console.keeper.begin(), True
            return await desk.sign_in_first()
        return desk.refused(refusal)
    except Exception as error:  # noqa: BLE001 -- a page of ours says so, without the exception's text
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error("a page failed with %s at %s:%s", type(error).__name__, place.filename, place.lineno)
        return desk.page("refused.html", 500, problem={"status": 500}, code="internal")


def local(path: str) -> str:
    """A path of the console's own to go to, or its first page: no address of another site."""
    return path if _LOCAL.fullmatch(path) and "//" not in path and ".." not in path else HOME


def linked(path: str, **query: Any) -> str:
    """An address of the console with its parameters; those that are None or empty are left out."""
    pairs = [(name.rstrip("_"), str(value)) for name, value in query.items() if value not in (None, "")]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def said(value: object) -> Markup:
    """A text that somebody else has written: kept apart from the line around it, in whichever direction it runs."""
    return Markup('<bdi class="said">{}</bdi>').format(escape(value))


def segment(value: str) -> str:
    """A value as one segment of a path."""
    return quote(value, safe="")


def typed_of(form: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """What was typed into fields, empty ones left out."""
    return {name: form[name] for name in names if form.get(name)}
