"""Signing in and out, setting a password by a code, signing in again before an act of weight, and the language.

    GET, POST /console/sign-in     officer, password and one-time code; or on to the OpenID provider
    GET       /console/arrived     back from the provider: its cookie becomes a session of the console's
    GET, POST /console/enrol       the first password, or another one, by a code
    POST      /console/sign-out    ends the session at the API, and here
    GET       /console/language/X  the reader's language

The provider's pages send the browser back across sites, where no `Strict` cookie goes along: `arrived` reads what the
sign-in left (`Lax`), ends that cookie, and lets the browser go on from a page of its own.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import RedirectResponse, Response

from gateway.console.api import RefusedError
from gateway.console.desk import DEVICE_COOKIE, HOME, Desk, local
from gateway.console.words import LANGUAGE_COOKIE, LANGUAGES

PROVIDER_COOKIE = "sharing-session"
LANGUAGE_SECONDS = 366 * 86_400


async def show(desk: Desk) -> Response:
    """The sign-in page."""
    return await _page(desk, next_=local(desk.request.query_params.get("next", HOME)))


async def sign_in(desk: Desk) -> Response:
    """By a local account."""
    form = desk.form
    next_, carried = local(form.get("next", HOME)), form.get("carried", "")
    missing = {name: "is missing" for name in ("officer", "password") if not form.get(name)}
    if missing:
        return await _page(desk, 422, next_=next_, carried=carried, faults=missing)
    try:
        await begin(desk, form["officer"], form["password"], form.get("one_time_code", ""))
    except RefusedError as refusal:
        needs = refusal.problem.get("needs")
        faults = {"one_time_code": "is missing"} if needs else {}
        return await _page(desk, refusal.status, next_=next_, carried=carried, faults=faults, problem=refusal.problem)
    if carried:
        fields = dict(parse_qsl(carried, keep_blank_values=True, max_num_fields=200))
        return desk.page("carry_on.html", action=next_, fields=fields)
    return RedirectResponse(next_, 303)


async def begin(desk: Desk, officer: str, password: str, code: str) -> None:
    """Begin a session by a password: the desk goes on with it.

    Raises:
        RefusedError: as the API refuses it.
    """
    keeper = desk.console.keeper
    device = desk.request.cookies.get(keeper.named(DEVICE_COOKIE), "")
    body = {"officer": officer, "password": password, "one_time_code": code, "device": device}
    begun = (await desk.api.post("/sign-in", body)).json
    await _take_up(desk, begun["access_token"], "password", begun["expires_in"], begun["device"])
    if begun["told"]:
        # How much there is, and not what: a cookie holds little. The page reads the rest from the account.
        desk.session = replace(desk.session, told={HOME: {"news": len(begun["told"])}})


async def again(desk: Desk, password: str, code: str) -> None:
    """Sign the same officer in once more, as an act of weight asks for; the session before ends.

    Raises:
        RefusedError: as the API refuses it; the session before stands then.
    """
    before = desk.api.token
    await begin(desk, desk.session.officer, password, code)
    after, desk.api.token = desk.api.token, before
    # A session that ended by itself meanwhile needs no end.
    with suppress(RefusedError):
        await desk.api.post("/v1/account/sign-out", {"everywhere": False})
    desk.api.token = after


async def require_fresh(desk: Desk) -> dict[str, str]:
    """The faults of a form whose act asks that its officer has signed in a moment ago; none where that is so.

    By a local account the form itself has fields for it; who came by the provider signs in there once more.
    """
    if desk.session.is_fresh(desk.now):
        return {}
    if desk.session.method != "password":
        return {"again": "sign in once more"}
    if not desk.form.get("password"):
        return {"password": "is missing"}
    try:
        await again(desk, desk.form["password"], desk.form.get("one_time_code", ""))
    except RefusedError as refusal:
        if refusal.code != "credential-invalid":
            raise
        return {"one_time_code": "is missing"} if refusal.problem.get("needs") else {"password": "is not right"}
    return {}


async def arrived(desk: Desk) -> Response:
    """Back from the OpenID provider."""
    keeper = desk.console.keeper
    name = keeper.named(PROVIDER_COOKIE)
    token = desk.request.cookies.get(name, "")
    next_ = local(desk.request.query_params.get("next", HOME))
    if not token:
        return RedirectResponse("/console/sign-in", 303)
    await _take_up(desk, token, "provider", None, "")
    response = desk.page("arrived.html", action=next_)
    response.delete_cookie(name, "/")
    return response


async def _take_up(desk: Desk, token: str, method: str, seconds: int | None, device: str) -> None:
    """Go on as the officer of a token, in a session that is new in every part."""
    desk.api.token = token
    account = (await desk.api.get("/v1/account")).json
    if seconds is None:
        ends = next(each["expires_unix"] for each in account["sessions"] if each["id"] == account["session"])
        seconds = max(0, int(ends - desk.now))
    desk.session = desk.console.keeper.signed_in(account["officer"], token, method, seconds)
    desk.device = device


async def show_enrolment(desk: Desk) -> Response:
    """The page on which an officer sets a password by a code."""
    return desk.page("enrol.html", faults={}, typed=desk.query("officer"), problem=None)


async def enrol(desk: Desk) -> Response:
    """Set a password by a code, and go on as its officer."""
    form = desk.form
    faults = {name: "is missing" for name in ("officer", "code", "password") if not form.get(name)}
    if not faults and form["password"] != form.get("repeated"):
        faults = {"repeated": "is not the same"}
    typed = {name: form.get(name, "") for name in ("officer", "code")}
    if faults:
        return desk.page("enrol.html", 422, faults=faults, typed=typed, problem=None)
    body = {"officer": form["officer"], "code": form["code"], "password": form["password"]}
    try:
        begun = (await desk.api.post("/sign-in/enrolment", body)).json
    except RefusedError as refusal:
        found = {each["field"]: each["fault"] for each in refusal.problem.get("faults", [])}
        return desk.page("enrol.html", refusal.status, faults=found, typed=typed, problem=refusal.problem)
    await _take_up(desk, begun["access_token"], "password", begun["expires_in"], begun["device"])
    return desk.go(HOME)


async def sign_out(desk: Desk) -> Response:
    """End the session."""
    try:
        answer = (await desk.api.post("/v1/account/sign-out", {"everywhere": "everywhere" in desk.form})).json
    except RefusedError as refusal:
        if refusal.status >= 500:
            raise
        answer = {}
    desk.session = desk.console.keeper.begin()
    return desk.page("signed_out.html", provider=answer.get("provider_sign_out"))


async def language(desk: Desk) -> Response:
    """The reader's language from now on."""
    chosen = desk.request.path_params["language"]
    response = RedirectResponse(local(desk.request.query_params.get("back", HOME)), 303)
    if chosen in LANGUAGES:
        desk.console.keeper.set_cookie(response, LANGUAGE_COOKIE, chosen, seconds=LANGUAGE_SECONDS)
    return response


async def _page(
    desk: Desk,
    status: int = 200,
    *,
    next_: str,
    carried: str = "",
    faults: dict[str, str] | None = None,
    problem: Any = None,
) -> Response:
    return await desk.sign_in_page(status, next_, carried, faults or {}, problem)
