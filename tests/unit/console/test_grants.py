"""Grants at the console: what is shown, what is done in two steps, and what a stale page does not do."""

from collections.abc import Callable

import pytest

from gateway.control.act.examples import GRANT
from gateway.policy.law.layers import load_layers
from gateway.policy.law.settled import Settled
from tests.policies.cases import ROOT
from tests.support.control import done
from tests.unit.console.conftest import Office

SUSPENSION = {"violation": "used beyond the purpose", "rectify_by": "2026-12-31"}


def test_a_grant_is_suspended_in_two_steps_and_lifted(office: Office, grant: Callable[..., str]) -> None:
    """The form and its review do nothing; the act does, once, however often it is sent, and says how it was held."""
    id_ = grant()
    browser = office.signed_in("police")
    page = browser.open(f"/console/grants/{id_}")
    form = browser.open(page.links["Suspend"])
    missing = browser.submit(form, "/suspend", violation="x")
    assert (missing.status, "Rectify by is missing" in missing.text) == (422, True)
    assert missing.form("/suspend").fields["violation"] == "x"
    review = browser.submit(form, "/suspend", **SUSPENSION)
    assert "What will stop" in review.text
    assert office.state(id_) == "issued"
    told = browser.submit(review, "/suspend", step="act")
    assert "The grant is suspended. No process was serving calls" in told.text
    assert office.state(id_) == "suspended"
    browser.submit(review, "/suspend", step="act")
    orders = done(office.get("police", f"/v1/grants/{id_}"))["orders"]
    assert [order["reason"] for order in orders] == [SUSPENSION["violation"]]
    assert "The grant is suspended." not in browser.open(f"/console/grants/{id_}").text.partition("suspension")[0]
    lift = browser.submit(browser.open(f"/console/grants/{id_}/lift"), "/lift", reason="rectified")
    assert "The suspension is lifted." in browser.submit(lift, "/lift", step="act").text
    assert office.state(id_) == "issued"


def test_other_roads_that_a_suspension_closes_are_named(office: Office, grant: Callable[..., str]) -> None:
    """A suspension closes every grant of the same department on the same data, and its review says which."""
    first, second = grant(), grant()
    browser = office.signed_in("police")
    review = browser.submit(browser.open(f"/console/grants/{first}/suspend"), "/suspend", **SUSPENSION)
    assert second in review.links
    assert first not in review.text.partition("stopped too:")[2]
    assert "without a grant is stopped too" not in review.text


def test_rules_that_need_no_grant_and_that_a_suspension_closes_are_named(
    office: Office, grant: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a region's layer gives data without a grant, the stop of one closes that road, and the review says so."""
    id_, layers = grant(), load_layers(ROOT, ["national", "zhongshan"])
    layers.settled = Settled("中数〔2026〕3号")
    monkeypatch.setattr(type(office.engine), "layers", layers)
    browser = office.signed_in("police")
    review = browser.submit(browser.open(f"/console/grants/{id_}/suspend"), "/suspend", **SUSPENSION)
    said = review.text.partition("without a grant is stopped too:")[2]
    assert "Unconditional data is obtained directly, without application" in said


def test_a_stale_page_does_nothing_and_shows_the_difference(office: Office, grant: Callable[..., str]) -> None:
    """Two officers at once: who comes second is told what has changed, and acts on that or not at all."""
    id_ = grant()
    one, other = office.signed_in("police"), office.signed_in("police")
    emergency = {"incident": "credentials found in public"}
    reviews = [
        browser.submit(browser.open(f"/console/grants/{id_}/emergency"), "/emergency", **emergency)
        for browser in (one, other)
    ]
    one.submit(reviews[0], "/emergency", step="act")
    stale = other.submit(reviews[1], "/emergency", step="act")
    assert stale.status == 412
    assert "State issued suspended" in stale.text
    assert len(done(office.get("police", f"/v1/grants/{id_}"))["orders"]) == 1
    assert "The grant is suspended." in other.submit(stale, "/emergency", step="act").text
    assert len(done(office.get("police", f"/v1/grants/{id_}"))["orders"]) == 2


def test_an_act_without_what_was_seen_is_reviewed_first(office: Office, grant: Callable[..., str]) -> None:
    """A form that bears no `ETag` or key is not acted on: a page that nobody saw decides nothing."""
    id_ = grant()
    browser = office.signed_in("police")
    review = browser.submit(browser.open(f"/console/grants/{id_}/suspend"), "/suspend", **SUSPENSION)
    for lack in ("etag", "key"):
        again = browser.submit(review, "/suspend", step="act", **{lack: ""})
        assert "Before you decide" in again.text
        assert office.state(id_) == "issued"


def test_acts_offered_are_those_that_the_law_gives_this_officer(office: Office, grant: Callable[..., str]) -> None:
    """A supplier suspends, a demand department closes, an auditor looks; what is not offered the API refuses."""
    id_ = grant()
    offered = {}
    for officer in ("police", "civil", "auditor"):
        browser = office.signed_in(officer)
        page = browser.open(f"/console/grants/{id_}")
        offered[officer] = {name for name, href in page.links.items() if href.startswith(f"/console/grants/{id_}/")}
        if officer == "auditor":
            form = browser.submit(browser.open(f"/console/grants/{id_}/suspend"), "/suspend", **SUSPENSION)
            refused = browser.submit(form, "/suspend", step="act")
            assert (refused.status, office.state(id_)) == (403, "issued")
    assert offered["police"] >= {"Suspend", "Suspend in an emergency", "Terminate"}
    assert offered["civil"] >= {"Suspend in an emergency", "Close"}
    assert "Suspend" not in offered["civil"]
    assert offered["auditor"] == set()


def test_a_grants_end_and_disposal_are_told_and_recorded(office: Office, grant: Callable[..., str]) -> None:
    """Closed by the demand side, its data disposed of: each page says what is owed, and what the API finds wrong."""
    id_ = grant()
    browser = office.signed_in("civil")
    said = {"outcome": "achieved", "reason": "the registrations are done"}
    close = browser.submit(browser.open(f"/console/grants/{id_}/close"), "/close", **said)
    told = browser.submit(close, "/close", step="act")
    assert "The grant is closed." in told.text
    assert "has to be disposed of by" in told.text
    said = {"method": "overwritten", "destroyed_on": "2099-01-01", "carried_out_by": "the archive"}
    form = browser.open(f"/console/grants/{id_}/dispose")
    refused = browser.submit(browser.submit(form, "/dispose", **said), "/dispose", step="act")
    assert (refused.status, "Destroyed on lies in the future" in refused.text) == (422, True)
    assert refused.form("/dispose").fields["method"] == "overwritten"


def test_lists_are_paged_and_filtered_by_the_server(office: Office, grant: Callable[..., str]) -> None:
    """Pages follow one another without a row twice; filters stay with them; a number leads to its grant."""
    issued = {grant(scenario=f"scenario {number}") for number in range(28)}
    browser = office.signed_in("police")
    seen: list[str] = []
    page = browser.open("/console/grants?state=active&department=civil-affairs")
    while True:
        rows = [name for name, href in page.links.items() if href.startswith("/console/grants/")]
        assert len(rows) <= 25
        seen += rows
        if "Next page" not in page.links:
            break
        assert "department=civil-affairs" in page.links["Next page"]
        page = browser.open(page.links["Next page"])
    assert len(seen) == len(set(seen))
    assert issued <= set(seen)
    one = min(issued)
    assert browser.submit(page, "/console/grants", id=one).url.endswith(one)
    assert browser.open("/console/grants?cursor=made-up").status == 422
    assert browser.open("/console/grants?department=nobody").status == 422


def test_pages_speak_the_law_in_chinese(office: Office, grant: Callable[..., str]) -> None:
    """By the browser's language or by choice; articles are cited as the decree numbers them."""
    id_ = grant()
    browser = office.signed_in("police", "zh-CN,zh;q=0.9,en;q=0.5")
    page = browser.open(f"/console/grants/{id_}")
    assert page.headers["content-language"] == "zh-Hans"
    form = browser.open(page.links["暂停共享"])
    assert "《政务数据共享条例》第二十七条第二款" in form.text
    assert "整改期限 未填写" in browser.submit(form, "/suspend").text
    english = browser.open(form.links["English"])
    assert (english.url.endswith(f"/{id_}/suspend"), "Decree 809 Art. 27 ¶2" in english.text) == (True, True)
    assert GRANT["purposes"] == ["marriage-registration"]
    assert "婚姻登记" in page.text
