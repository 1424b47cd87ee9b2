"""Ten pages of the console as pictures for the docs: `make screenshots`.

A gateway is furnished as the demo furnishes it; officers sign in, look, suspend and audit in a real Chromium.
"""

import io
import tempfile
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.support.chromium import chromium, emulate
from tests.support.console import PASSWORD
from tests.support.gateways import RunningGateway, running_gateway, wait_for

PLACE = Path(__file__).parents[2] / "docs" / "console"
GRANT = "G-2026-0001"
COLOURS = 48
"""A page has few; more would only be the edges of letters."""


def main() -> None:
    """Make them all anew."""
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running_gateway(Path(folder)) as gateway:
        _enrol(gateway)
        number = gateway.population.persons[3]["id_number"]
        with gateway.client() as client:
            for items in ("", "", "", "phone"):
                headers = {"Sharing-Items": items} if items else {}
                client.get("/public-security/persons", params={"id_number": number}, headers=headers)
        with chromium("zh-CN") as browser:
            _supplier(gateway, browser)
        with chromium("zh-CN") as browser:
            _auditor(gateway, browser, number)
        with chromium("en-GB") as browser:
            _english(gateway, browser)


def _enrol(gateway: RunningGateway) -> None:
    for officer, by in (("police-chen", None), ("auditor-he", "auditor")):
        with gateway.officer(by) as api:
            code = api.post(f"/v1/officers/{officer}/enrolment", None)["code"]
        said = {"officer": officer, "code": code, "password": PASSWORD}
        httpx.post(f"{gateway.control}/sign-in/enrolment", json=said, trust_env=False).raise_for_status()


def _supplier(gateway: RunningGateway, browser: Any) -> None:
    browser.get(f"{gateway.control}/console/")
    _shoot(browser, "01-sign-in-zh")
    _sign_in(browser, "police-chen")
    _shoot(browser, "02-grants-zh")
    browser.get(f"{gateway.control}/console/grants/{GRANT}")
    _shoot(browser, "03-grant-zh")
    browser.get(f"{gateway.control}/console/grants/{GRANT}/suspend")
    browser.find_element("name", "violation").send_keys("超出共享目的使用，存在转供第三方的嫌疑")
    browser.execute_script("document.querySelector('[name=rectify_by]').value = '2099-01-31'")
    browser.find_element("css selector", "main form button").click()
    _shoot(browser, "04-review-zh")
    browser.find_element("css selector", "button[value=act]").click()
    _shoot(browser, "05-suspended-zh")


def _auditor(gateway: RunningGateway, browser: Any, number: str) -> None:
    browser.get(f"{gateway.control}/console/records")
    _sign_in(browser, "auditor-he")

    def found() -> bool:
        browser.get(f"{gateway.control}/console/records")
        browser.find_element("name", "subject").send_keys(number)
        browser.find_element("css selector", "form[action$=search] button").click()
        return len(browser.find_elements("css selector", "tbody tr")) > 3

    wait_for(found)
    _shoot(browser, "06-persons-uses-zh")
    browser.find_elements("css selector", "tbody th a")[-1].click()
    _shoot(browser, "07-record-zh")
    browser.find_element("css selector", "a.button").click()
    emulate(browser, width=1366, height=768, dark=True)
    _shoot(browser, "08-proof-dark-zh")


def _english(gateway: RunningGateway, browser: Any) -> None:
    browser.get(f"{gateway.control}/console/policies?department=housing-fund&dataset=household")
    _sign_in(browser, "police-chen")
    _shoot(browser, "09-policies-en")
    emulate(browser, width=390, height=844)
    browser.get(f"{gateway.control}/console/grants/{GRANT}")
    _shoot(browser, "10-grant-phone-en")


def _sign_in(browser: Any, officer: str) -> None:
    browser.find_element("name", "officer").send_keys(officer)
    browser.find_element("name", "password").send_keys(PASSWORD)
    browser.find_element("css selector", "main form button").click()
    wait_for(lambda: "/sign-in" not in browser.current_url)


def _shoot(browser: Any, name: str) -> None:
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(PLACE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
