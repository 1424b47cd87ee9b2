"""What guards the console: nobody without a session, no form of another site, nothing that outlives its desk."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace

from msgspec import to_builtins
from starlette.responses import Response

from gateway.console.acts import confirmed
from gateway.console.session import FRESH_SECONDS, IDLE_SECONDS, SessionKeeper
from gateway.domain.errors import GatewayError
from gateway.identity.officers.one_time_codes import code_at
from tests.support.console import PASSWORD, Page
from tests.support.control import CITY, done
from tests.unit.console.conftest import Office

SUSPENSION = {"violation": "used beyond the purpose", "rectify_by": "2026-12-31"}


def test_no_page_is_shown_before_a_sign_in(office: Office, grant: Callable[..., str]) -> None:
    """Every address leads to the sign-in, and back to itself after it."""
    where = f"/console/grants/{grant()}"
    for path in ("/console", "/console/", "/console/grants", where, f"{where}/suspend"):
        assert office.browser().open(path).url.partition("?")[0].endswith("/console/sign-in"), path
    page = office.browser().sign_in("police", at=where)
    assert page.url.endswith(where)
    assert page.status == 200


def test_a_wrong_password_is_told_and_the_name_is_kept(office: Office) -> None:
    """The page says what was wrong, keeps who it was, and never the password."""
    browser = office.browser()
    page = browser.sign_in("police", "not the password")
    assert page.status == 401
    assert page.form("/sign-in").fields["officer"] == "police"
    assert "not the password" not in page.source
    empty = browser.submit(page, "/sign-in", officer="", password="")
    assert (empty.status, "is missing" in empty.text) == (422, True)


def test_the_cookie_is_host_only_strict_and_out_of_scripts_reach(office: Office) -> None:
    """`HttpOnly`, `SameSite=Strict`, no `Domain`; over https `__Host-` and `Secure`; it holds no readable token."""
    browser = office.browser()
    browser.sign_in("police")
    for line in browser.set_cookies:
        assert "httponly" in line.lower()
        assert "samesite=strict" in line.lower()
        assert "domain=" not in line.lower()
        assert re.search(r"eyJ[\w-]+\.eyJ", line) is None
    secure = SessionKeeper(lambda _octets, _context: "", _no_unseal, lambda: 0.0, is_secure=True)
    assert secure.cookie.startswith("__Host-")


def _no_unseal(_sealed: str, _context: str) -> bytes:
    raise GatewayError("unavailable")


def test_the_cookie_fits_into_every_browser(office: Office) -> None:
    """However long a name is, or what others did about the account, or who did not confirm a stop: 4,096 octets."""
    person = {
        "id": "p-long",
        "department": "public-security",
        "region": CITY,
        "roles": ["supplier"],
        "name": "名" * 500,
    }
    done(office.post("registrar", "/v1/officers", person))
    code = done(office.post("registrar", "/v1/officers/p-long/enrolment"))["code"]
    done(office.post(None, "/sign-in/enrolment", {"officer": "p-long", "code": code, "password": PASSWORD}))
    for number in range(6):
        reason = {"reason": f"{number} " + "很长的理由" * 300}
        done(office.post("registrar", "/v1/officers/p-long/recovery", reason))
    browser = office.browser()
    page = browser.sign_in("p-long")
    assert "What happened to your account" in page.text
    assert "很长的理由" in page.text
    silent = {"node": "n" * 200, "silent_from": "2026-06-01T02:37:00.123456Z", "most_unsent_bytes": 1}
    barrier = {"confirmed": [], "out": ["w" * 200] * 64, "silent": [silent] * 64, "milliseconds": 3000}
    found = office.store.officer("p-long")
    assert found is not None
    token = office.issuer.issue_officer(found, 1800, session=office.store.open_session("p-long", "password", 1800).id)
    session = office.keeper.signed_in(to_builtins(found), token, "password", 1800)
    told = {
        "/console/grants/" + "g" * 64: {"done": "The grant is suspended.", "barrier": confirmed(barrier, stops=True)}
    }
    answer = Response()
    office.keeper.write(replace(session, told=told), answer)
    for line in (*browser.set_cookies, *answer.headers.getlist("set-cookie")):
        assert len(line) < 4096


def test_a_sign_in_leaves_nothing_of_the_session_before(office: Office) -> None:
    """The form's token of before the sign-in is worth nothing after it, nor is the cookie of before."""
    browser = office.browser()
    page = browser.open("/console/sign-in")
    before = dict(browser.cookies)
    token = page.form("/sign-in").fields["form"]
    browser.submit(page, "/sign-in", officer="police", password=PASSWORD)
    assert browser.open("/console/sign-out", "POST", {"form": token}).status == 403
    browser.cookies = before
    assert "/sign-in" in browser.open("/console/grants").url


def test_a_form_of_another_session_or_site_does_nothing(office: Office, grant: Callable[..., str]) -> None:
    """Without this session's token, or sent by another site, nothing is done, whatever else the form says."""
    id_ = grant()
    police, civil = office.signed_in("police"), office.signed_in("civil")
    where = f"/console/grants/{id_}/suspend"
    review = police.submit(police.open(where), "/suspend", **SUSPENSION)
    fields = {**review.form("/suspend").fields, "step": "act"}
    strange = civil.open("/console/grants").form("/sign-out").fields["form"]
    for wrong in ({"form": ""}, {"form": strange}, {"form": fields["form"][:-1]}):
        assert police.open(where, "POST", {**fields, **wrong}).status == 403
    for site in ("cross-site", "same-site", "none"):
        assert police.open(where, "POST", fields, Sec_Fetch_Site=site).status == 403
    assert office.state(id_) == "issued"
    police.open(where, "POST", fields, Sec_Fetch_Site="same-origin")
    assert office.state(id_) == "suspended"


def test_a_sign_in_leads_to_no_other_site(office: Office) -> None:
    """What stands in `next` is an address of the console, or is left aside."""
    browser = office.browser()
    elsewhere = ["//evil.example", "https://evil.example/", "/console//evil.example", "/\\evil.example", "javascript:0"]
    for next_ in (*elsewhere, "/v1", "/console/../v1", ""):
        page = browser.open(f"/console/sign-in?next={next_}")
        assert page.form("/sign-in").fields["next"] == "/console/grants"
        answer = browser.send(f"/console/language/zh?back={next_}")
        assert answer.headers["location"] == "/console/grants"
    page = browser.open("/console/sign-in")
    typed = {"officer": "police", "password": PASSWORD, "next": "https://evil.example/"}
    assert browser.submit(page, "/sign-in", **typed).url.endswith("/console/grants")


def test_a_left_desk_is_closed_and_what_was_typed_is_kept(office: Office, grant: Callable[..., str]) -> None:
    """After the idle time a form is not sent: it comes back as typed once its officer has signed in again."""
    id_ = grant()
    browser = office.signed_in("police")
    page = browser.open(f"/console/grants/{id_}/suspend")
    office.clock.at += IDLE_SECONDS + 1
    page = browser.submit(page, "/suspend", **SUSPENSION)
    assert page.status == 401
    page = browser.submit(page, "/sign-in", officer="police", password=PASSWORD)
    assert office.state(id_) == "issued"
    form = browser.submit(page, "/suspend").form("/suspend")
    assert {name: form.fields[name] for name in SUSPENSION} == SUSPENSION
    assert form.fields["step"] == "review"


def test_signing_out_ends_the_session_at_the_api(office: Office) -> None:
    """Neither the cookie of before nor its token opens anything any more."""
    browser = office.signed_in("police")
    page = browser.open("/console/grants")
    kept = dict(browser.cookies)
    assert "ended" in browser.submit(page, "/sign-out").text
    browser.cookies = kept
    assert "/sign-in" in browser.open("/console/grants").url


def test_an_act_of_weight_asks_for_a_sign_in_of_now(office: Office, grant: Callable[..., str]) -> None:
    """Termination minutes after the sign-in asks for the password; then the session before is over."""
    id_ = grant()
    said = {"reason": "the matter was abolished", "consultation": "record 7", "filing": "filing 9"}
    browser = office.signed_in("police")
    office.clock.at += FRESH_SECONDS + 1
    review = browser.submit(browser.open(f"/console/grants/{id_}/terminate"), "/terminate", **said)
    assert "password" in review.form("/terminate").fields
    for wrong in ({}, {"password": "wrong"}):
        refused = browser.submit(review, "/terminate", step="act", **wrong)
        assert (refused.status, office.state(id_)) == (422, "issued")
        assert "the matter was abolished" in refused.text
    before = dict(browser.cookies)
    told = browser.submit(refused, "/terminate", step="act", password=PASSWORD)
    assert "The grant is terminated." in told.text
    assert office.state(id_) == "terminated"
    browser.cookies = before
    assert "/sign-in" in browser.open("/console/grants").url


def test_who_comes_from_the_provider_goes_on_in_a_session_of_the_console(
    office: Office, grant: Callable[..., str]
) -> None:
    """The provider's cookie becomes the console's and ends; an act of weight sends its officer there once more."""
    id_ = grant()
    where = f"/console/grants/{id_}/terminate"
    browser = office.browser()
    assert "/sign-in" in browser.open("/console/arrived").url
    browser.cookies["sharing-session"] = office.token("police")
    page = browser.open(f"/console/arrived?next={where}")
    assert ("meta", {"http-equiv": "refresh", "content": f"0; url={where}"}) in page.tags
    assert any(line.startswith('sharing-session=""') and "Max-Age=0" in line for line in browser.set_cookies)
    del browser.cookies["sharing-session"]
    form = browser.open(where)
    assert form.url.endswith(where)
    office.clock.at += FRESH_SECONDS + 1
    said = {"reason": "the matter was abolished", "consultation": "record 7", "filing": "filing 9"}
    review = browser.submit(form, "/terminate", **said)
    refused = browser.submit(review, "/terminate", step="act")
    assert (refused.status, office.state(id_)) == (422, "issued")
    assert "/sign-in/provider?return_to=" in refused.links["Sign in once more"]
    assert "the matter was abolished" in refused.text


def test_a_second_factor_is_asked_for_where_the_account_has_one(office: Office) -> None:
    """A right password alone does not let in; the page asks for the code, and one that was used is none."""
    headers = {"Authorization": f"Bearer {office.token('civil')}"}
    secret = done(office.post(None, "/v1/account/authenticator", headers=headers))["secret"]
    shown = lambda: code_at(base64.b32decode(secret + "=" * (-len(secret) % 8)), int(office.clock() // 30))  # noqa: E731
    done(office.post(None, "/v1/account/authenticator/confirmation", {"code": shown()}, headers=headers))
    browser = office.browser()
    page = browser.sign_in("civil")
    assert (page.status, "One-time code is missing" in page.text) == (401, True)
    office.clock.at += 60
    code = shown()
    typed = {"officer": "civil", "password": PASSWORD, "one_time_code": code}
    assert browser.submit(page, "/sign-in", **typed).url.endswith("/console/grants")
    again = office.browser()
    assert again.submit(again.open("/console/sign-in"), "/sign-in", **typed).status == 401
    office.clock.at += 60
    withdrawn = {"Authorization": f"Bearer {office.token('civil')}"}
    done(office.post(None, "/v1/account/authenticator/withdrawal", {"code": shown()}, headers=withdrawn))


def pages_of(office: Office, id_: str) -> list[Page]:
    """Pages of every kind, as a supplier's officer and as nobody sees them."""
    browser = office.browser()
    found = [browser.open("/console/sign-in"), browser.open("/console/enrol"), browser.open("/console/nowhere")]
    browser = office.signed_in("police")
    found += [browser.open(f"/console/grants/{id_}{act}") for act in ("", "/suspend", "/terminate", "/nothing")]
    found.append(browser.submit(browser.open(f"/console/grants/{id_}/suspend"), "/suspend", **SUSPENSION))
    return found


def test_no_page_can_load_or_run_anything_but_its_own(office: Office, grant: Callable[..., str]) -> None:
    """A strict policy on every answer, and pages that need nothing else: no script, no style in line, no other host."""
    for page in pages_of(office, grant()):
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["cache-control"] == "no-store"
        for tag, attributes in page.tags:
            assert tag not in {"script", "style", "iframe", "base", "object"}, page.url
            assert not [name for name in attributes if name == "style" or name.startswith("on")], page.url
            for name in ("href", "src", "action"):
                target = attributes.get(name) or "/"
                assert re.match(r"/(?!/)|#", target), (page.url, target)


def test_hostile_text_stays_text(office: Office, grant: Callable[..., str]) -> None:
    """Markup, overrides of direction, a very long word and signs beyond the plane stand on the page as they are."""
    hostile = "</textarea><script>alert(1)</script>\u202e' onmouseover='x\" {{ 7*7 }} 🧨" + "長" * 300
    id_ = grant(scenario=hostile, scope_of_use=hostile, legal_basis=hostile)
    browser = office.signed_in("police")
    page = browser.open(f"/console/grants/{id_}")
    assert page.source.count("&lt;script&gt;alert(1)") == 3
    assert "".join(hostile.split()) in page.text.replace(" ", "")
    typed = {**SUSPENSION, "violation": hostile}
    review = browser.submit(browser.open(f"/console/grants/{id_}/suspend"), "/suspend", **typed)
    again = browser.submit(review, "/suspend", step="edit")
    for each in (page, review, again):
        assert not re.search(r"<script|onmouseover='x", each.source.replace("&#39;", ""))
    assert again.form("/suspend").fields["violation"] == hostile
