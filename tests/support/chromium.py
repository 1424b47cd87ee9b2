"""A real Chromium, driven by Selenium, and the accessibility rules of axe-core."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateways import wait_for

AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextlib.contextmanager
def chromium(language: str, *, size: tuple[int, int] = (1366, 768)) -> Iterator[Any]:
    """A browser of its own profile that prefers a language; prints why where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Debian's chromium and chromium-driver")
    selenium = pytest.importorskip("selenium.webdriver", reason="needs Selenium, a development dependency")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-proxy-server",
        f"--window-size={size[0]},{size[1]}",
        f"--accept-lang={language}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = selenium.Chrome(options=options, service=service.Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def follow(browser: Any, found: Any) -> None:
    """Click what leads to another page, and wait for that page: the driver's own wait may end before it has begun."""
    exceptions = pytest.importorskip("selenium.common.exceptions")

    def page() -> Any:
        with contextlib.suppress(exceptions.WebDriverException):
            return browser.execute_script("return document.readyState === 'complete' && performance.timeOrigin")
        return False

    before = wait_for(page, 60.0)
    found.click()
    assert wait_for(lambda: page() not in {before, False}, 60.0), "a click led nowhere"


def emulate(browser: Any, *, width: int, height: int, dark: bool = False) -> None:
    """A screen of that size in CSS pixels, and the reader's colours."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def axe(browser: Any) -> list[str]:
    """What the rules find on the page: rule, and where."""
    if not AXE.exists():
        pytest.skip("needs axe-core: npm ci --prefix tests/support/axe")
    browser.execute_script(AXE.read_text("utf-8"))
    found = browser.execute_async_script(
        "const done = arguments[1];"
        "axe.run({runOnly: {type: 'tag', values: arguments[0]}}).then(each => done(each.violations), "
        "error => done([{id: String(error), nodes: []}]));",
        WCAG,
    )
    return [f"{each['id']}: {node['html'][:160]}" for each in found for node in each["nodes"] or [{"html": "?"}]]
