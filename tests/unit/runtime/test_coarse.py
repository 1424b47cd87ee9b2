"""No single use can be read off the figures, however often and across whatever restart they are scraped (Art. 36)."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import GatewayError
from gateway.runtime.control.scraping import ScrapeCredential
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import MetricsSettings, Settings
from gateway.runtime.telemetry.coarse import FILE, STEP, CoarseFigures
from gateway.runtime.telemetry.families import FAMILIES
from gateway.runtime.telemetry.metrics import MetricSet, Snapshot, clear_snapshots, render

TELLING = {"supplier", "interface", "verdict", "evaluator", "permitted"}
"""Labels that say of whom, or how it was decided."""
CALLS, ROWS, SECONDS = "gateway_calls_total", "gateway_released_rows_total", "gateway_call_duration_seconds"


class Plane:
    """A worker's counts of uses, and what a scraper is shown of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = MetricSet("worker-0")
        self.control = CoarseFigures(folder)

    def use(self, interface: str, verdict: str, rows: int) -> None:
        self.metrics.counter(CALLS).add(("s", interface, verdict, "complete" if verdict == "permit" else "not-granted"))
        self.metrics.histogram(SECONDS).observe(0.01, ("s",))
        if verdict == "permit":
            self.metrics.counter(ROWS).add(("s", interface), rows)

    def scrape(self) -> Snapshot:
        joined = self.metrics.snapshot(0.0)
        self.control.cover(joined)
        return joined

    def restart_control(self) -> None:
        self.control = CoarseFigures(self.folder)


def calls(shown: Snapshot) -> dict[tuple[str, ...], float]:
    return dict(shown.numbers.get(CALLS, {}))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["permit", "deny"]), st.integers(0, 9), st.booleans()),
        max_size=80,
    )
)
def test_what_moves_between_two_scrapes_is_at_least_a_step_of_uses(
    tmp_path_factory: pytest.TempPathFactory, uses: list[tuple[str, str, int, bool]]
) -> None:
    """Scraped after every use, with control restarted at will: each series moves by ten uses or more, or not at all."""
    plane = Plane(tmp_path_factory.mktemp("figures"))
    before = plane.scrape()
    since: dict[str, int] = {}
    for interface, verdict, rows, restarts in uses:
        plane.use(interface, verdict, rows)
        since[interface] = since.get(interface, 0) + (verdict == "permit")
        if restarts:
            plane.restart_control()
        shown = plane.scrape()
        for labels, value in calls(shown).items():
            moved = value - calls(before).get(labels, 0.0)
            assert moved == 0 or moved >= STEP
        for labels, value in shown.numbers.get(ROWS, {}).items():
            if value != before.numbers.get(ROWS, {}).get(labels, 0.0):
                assert since[labels[1]] >= STEP, "rows of fewer permitted uses than a step"
        for each in "ab":
            key = ("s", each, "permit", "complete")
            if calls(shown).get(key) != calls(before).get(key):
                since[each] = 0
        counts = sum(shown.distributions[SECONDS].get(("s",), _none).counts)
        earlier = sum(before.distributions[SECONDS].get(("s",), _none).counts)
        assert counts == earlier or counts - earlier >= STEP
        before = shown


class _None:
    counts: tuple[int, ...] = ()


_none = _None()


def test_single_use_shows_nothing_and_the_tenth_shows_all(tmp_path: Path) -> None:
    """Nine uses are not there, in no series; ten are, with their rows; an exact count is never shown by a restart."""
    plane = Plane(tmp_path)
    for _ in range(STEP - 1):
        plane.use("a", "permit", 7)
        plane.restart_control()
        text, _ = render([plane.metrics.snapshot(0.0)], 0.0, cover=plane.control.cover)
        assert b'interface="a"' not in text
        assert b'supplier="s"' not in text
    plane.use("a", "permit", 7)
    assert calls(plane.scrape()) == {("s", "a", "permit", "complete"): STEP}
    assert plane.scrape().numbers[ROWS] == {("s", "a"): 70.0}
    plane.use("a", "permit", 1000)
    plane.restart_control()
    assert plane.scrape().numbers[ROWS] == {("s", "a"): 70.0}
    clear_snapshots(tmp_path)
    assert not (tmp_path / FILE).exists(), "a gateway that counts anew shows anew"


def test_every_family_by_supplier_and_verdict_moves_in_steps() -> None:
    """A new figure of uses cannot be added without being covered, or named here with the reason why not."""
    not_of_uses = {
        "gateway_interface_trouble": "a supplier's state, over a minute",
        "gateway_stray_answers_total": "a supplier's faults",
    }
    told = {name for name, family in FAMILIES.items() if TELLING & set(family.labels)}
    assert {name for name in told if not FAMILIES[name].of_uses} == set(not_of_uses)


def test_scrape_credential_is_made_read_anew_and_never_short(tmp_path: Path) -> None:
    """Made 0600 once; a new text in its place holds at once; what is no secret is refused."""
    home = GatewayHome(tmp_path)
    credential = ScrapeCredential(home, Settings())
    file = tmp_path / "metrics-credential"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text("ascii").strip()
    assert ScrapeCredential(home, Settings()).is_held(text)
    for wrong in ("", text[:-1], text + "x", text.upper(), "é"):
        assert not credential.is_held(wrong)
    file.write_text("another-credential-of-length\n", "ascii")
    assert credential.is_held("another-credential-of-length")
    assert not credential.is_held(text)
    short = tmp_path / "short"
    short.write_text("secret", "ascii")
    for path in (short, tmp_path / "missing"):
        with pytest.raises(GatewayError, match="scrape credential"):
            ScrapeCredential(home, Settings(metrics=MetricsSettings(credential_file=path)))
