"""The console in a real Chromium: stories from the sign-in to their end, in both languages, and what may not be."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.chromium import axe, chromium, emulate, follow
from tests.support.console import PASSWORD
from tests.support.gateways import RunningGateway, running_gateway, wait_for

pytestmark = pytest.mark.deep

GRANT = "G-2026-0001"
HOSTILE = "</textarea><script>document.title='taken'</script>\u202e{{7*7}} ' onfocus='document.title=1 🧨" + "長" * 250
WORDS = {
    "en-GB": {
        "suspend": "Suspend",
        "lift": "Lift the suspension",
        "held": "Confirmed by 2 of 2",
        "records": "Records",
        "proof": "Check the proof",
        "holds": "The proof holds.",
        "done": "The export is done",
    },
    "zh-CN": {
        "suspend": "暂停共享",
        "lift": "解除暂停",
        "held": "2 个进程中已有 2 个确认",
        "records": "使用记录",
        "proof": "核验证明",
        "holds": "证明成立。",
        "done": "导出完成",
    },
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    pytest.importorskip("jinja2", reason="the environment is older than the console")
    with running_gateway(tmp_path_factory.mktemp("gateway")) as made:
        for officer, by in (("police-chen", None), ("competent-lin", None), ("auditor-he", "auditor")):
            with made.officer(by) as api:
                code = api.post(f"/v1/officers/{officer}/enrolment", None)["code"]
            said = {"officer": officer, "code": code, "password": PASSWORD}
            httpx.post(f"{made.control}/sign-in/enrolment", json=said, trust_env=False).raise_for_status()
        yield made


class Officer:
    """A person at a browser, whose clicks are counted."""

    def __init__(self, gateway: RunningGateway, browser: Any) -> None:
        self.gateway = gateway
        self.browser = browser
        self.clicks = 0

    def open(self, path: str) -> None:
        self.browser.get(f"{self.gateway.control}{path}")

    def click(self, selector: str = "", *, link: str = "") -> None:
        found = self.browser.find_element("link text", link) if link else self.browser.find_element("css", selector)
        follow(self.browser, found)
        self.clicks += 1

    def type(self, name: str, text: str) -> None:
        self.browser.find_element("name", name).send_keys(text)

    def pick_day(self, name: str, day: str) -> None:
        """A day as its own widget would give it: how one is typed goes by the reader's language."""
        self.browser.execute_script(f"document.querySelector('[name={name}]').value = '{day}'")

    def sign_in(self, officer: str) -> None:
        self.open("/console/")
        self.type("officer", officer)
        self.type("password", PASSWORD)
        self.click("main button")

    @property
    def text(self) -> str:
        # In one step, since the page may be another one by the next.
        return str(self.browser.execute_script("return document.querySelector('main')?.innerText || ''"))


@pytest.fixture(params=sorted(WORDS))
def person(gateway: RunningGateway, request: pytest.FixtureRequest) -> Iterator[tuple[Officer, dict[str, str]]]:
    with chromium(request.param) as browser:
        yield Officer(gateway, _by_css(browser)), WORDS[request.param]
        assert _elsewhere(browser, gateway) == set(), "a page asked for something of another origin"
        said = [each["message"] for each in browser.get_log("browser") if "status of 4" not in each["message"]]
        assert said == [], "the browser complains"


def _by_css(browser: Any) -> Any:
    """`css` as a name of the strategy."""
    find = browser.find_element
    browser.find_element = lambda by, value: find("css selector" if by == "css" else by, value)
    return browser


def _elsewhere(browser: Any, gateway: RunningGateway) -> set[str]:
    """Whom the pages sent requests to, besides the gateway."""
    events = (json.loads(each["message"])["message"] for each in browser.get_log("performance"))
    sent = (each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent")
    own = urlsplit(gateway.control).netloc
    return {url for url in sent if urlsplit(url).netloc not in {own, ""} and url.startswith("http")}


def _call(gateway: RunningGateway) -> int:
    number = gateway.population.persons[3]["id_number"]
    with gateway.client() as client:
        return client.get("/public-security/persons", params={"id_number": number}).status_code


def test_a_grant_is_suspended_in_five_clicks_from_the_sign_in(person: tuple[Officer, dict[str, str]]) -> None:
    """What the page says holds at the data plane: the next call is refused, and after the lift it is served again."""
    officer, words = person
    assert _call(officer.gateway) == 200
    officer.sign_in("police-chen")
    officer.click(link=GRANT)
    officer.click(link=words["suspend"])
    officer.type("violation", HOSTILE)
    officer.pick_day("rectify_by", "2099-01-31")
    officer.click("main form button")
    assert "housing-fund-approval" in officer.text
    officer.click("button[value=act]")
    assert officer.clicks == 5
    assert words["held"] in officer.text
    assert "<script>document.title='taken'</script>" in officer.text
    assert "taken" not in officer.browser.title
    assert _call(officer.gateway) == 403
    officer.click(link=words["lift"])
    officer.type("reason", "rectified")
    officer.click("main form button")
    officer.click("button[value=act]")
    assert _call(officer.gateway) == 200


def test_who_used_a_persons_data_is_found_in_three_clicks(person: tuple[Officer, dict[str, str]]) -> None:
    """The identifier stands in no address; a use is told as a story, its proof holds, and all of it is exported."""
    officer, words = person
    assert _call(officer.gateway) == 200
    officer.sign_in("auditor-he")
    officer.click(link=words["records"])
    number = officer.gateway.population.persons[3]["id_number"]

    def found() -> bool:
        officer.type("subject", number)
        officer.click("form[action$=search] button")
        return GRANT in officer.text or bool(officer.open("/console/records"))

    assert wait_for(found)
    assert officer.clicks + 1 <= 4
    assert number not in officer.browser.current_url
    officer.click("tbody th a")
    for part in ("housing-fund-approval", GRANT):
        assert part in officer.text
    officer.click(link=words["proof"])
    assert words["holds"] in officer.text
    officer.open("/console/records?department=housing-fund")
    officer.click("form[action$=export] button")
    assert wait_for(lambda: words["done"] in officer.text)


PAGES = (
    "today",
    "grants",
    f"grants/{GRANT}",
    f"grants/{GRANT}/terminate",
    "records?department=housing-fund",
    "records/figures",
    "catalogue",
    "catalogue/household",
    "policies?department=housing-fund&dataset=household",
    "policies/explain",
    "policies/possible?dataset=household",
    "operation",
    "nowhere",
)


def test_pages_are_for_everybody(person: tuple[Officer, dict[str, str]]) -> None:
    """axe finds nothing, in light and dark; at 200 % and on a phone nothing runs out of the page."""
    officer, words = person
    officer.open("/console/sign-in")
    assert axe(officer.browser) == []
    officer.sign_in("competent-lin")
    pages = PAGES if words is WORDS["zh-CN"] else PAGES[:3]
    for dark, page in enumerate(pages):
        emulate(officer.browser, width=1366, height=768, dark=bool(dark % 2))
        officer.open(f"/console/{page}")
        assert axe(officer.browser) == [], page
        for width, height in ((683, 384), (320, 640)):
            emulate(officer.browser, width=width, height=height)
            over = officer.browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
            assert over <= 0, (page, width)
    officer.browser.execute_script("document.querySelector('main').append(document.createElement('img'))")
    assert axe(officer.browser) != [], "the rules find nothing at all"


def test_a_stop_that_a_worker_does_not_confirm_says_so(gateway: RunningGateway) -> None:
    """A worker that stands still is told as one that did not confirm, and nothing leaves it."""
    with chromium("en-GB") as browser:
        officer = Officer(gateway, _by_css(browser))
        officer.sign_in("police-chen")
        officer.open(f"/console/grants/{GRANT}/emergency")
        officer.type("incident", "credentials found in public")
        officer.click("main form button")
        os.kill(gateway.pid("worker-0"), signal.SIGSTOP)
        officer.click("button[value=act]")
        assert "Confirmed by 1 of 2" in officer.text
        assert "Not confirmed by:" in officer.text
        assert "worker-0" in officer.text
        officer.click(link="Lift the suspension")
        officer.type("reason", "rotated")
        officer.click("main form button")
        officer.click("button[value=act]")


def test_screenshots_stand_in_the_docs() -> None:
    """What the docs show is there, and small."""
    shown = sorted((Path(__file__).parents[2] / "docs" / "console").glob("*.png"))
    assert len(shown) == 10
    assert sum(file.stat().st_size for file in shown) < 1 << 20
