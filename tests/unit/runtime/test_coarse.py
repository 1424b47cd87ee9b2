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


EXACT = {
    "gateway_failures_total": "a fault of the gateway: one has to page",
    "gateway_evaluation_errors_total": "a fault of the policies: one has to page",
    "gateway_cut_exchanges_total": "an order's doing",
    "gateway_circuits_open": "suppliers' hosts that fail",
    "gateway_shed_total": "calls that were turned away",
    "gateway_stray_answers_total": "a supplier's faults",
    "gateway_interface_trouble": "a supplier's state, over a minute",
    "gateway_witness_faults": "the log's witnesses",
    "gateway_archive_faults": "the object store",
    "gateway_ledger_set_aside": "damaged entries",
    "gateway_journal_accepts": "a worker's state",
    "gateway_barrier_duration_seconds": "officers' acts",
    "gateway_change_feed_age_seconds": "a worker's lease",
    "gateway_change_feed_sequence": "officers' acts",
    "gateway_fresh": "a worker's lease",
    "gateway_state_trouble": "the database",
    "gateway_certificate_expiry_timestamp_seconds": "certificates",
    "gateway_key_made_timestamp_seconds": "keys",
    "gateway_key_expiry_timestamp_seconds": "keys",
    "gateway_grants_in_force": "what is in force, and no use of it",
    "gateway_grants_expiring": "what is in force",
    "gateway_orders_in_force": "what is in force",
    "gateway_rectifications_overdue": "what is owed",
    "gateway_reports_overdue": "what is owed",
    "gateway_disposals_overdue": "what is owed",
    "gateway_process_up": "processes",
    "gateway_process_restarts_total": "processes",
    "gateway_workers_ended_total": "processes",
    "gateway_snapshot_age_seconds": "the clock",
    "gateway_build_info": "the version",
}
"""Families that are shown as they are, and why no use moves them."""


def test_every_family_is_covered_or_says_why_no_use_moves_it() -> None:
    """What has no labels tells that somebody used something, and when, as well as what has some."""
    assert {name for name, family in FAMILIES.items() if not (family.of_uses or family.step)} == set(EXACT)
    assert all(len(reason) > 3 for reason in EXACT.values())


@pytest.mark.parametrize("uses", [1, STEP - 1])
def test_totals_and_gauges_do_not_move_with_a_single_use(tmp_path: Path, uses: int) -> None:
    """A total stands still for nine, a gauge is rounded down, and a process that counts anew shows no exact number."""
    plane = Plane(tmp_path)
    counted, begun = plane.metrics.counter("gateway_connections_total"), plane.metrics.gauge("gateway_exchanges")
    synced = plane.metrics.histogram("gateway_journal_sync_duration_seconds")
    counted.add((), 3 * STEP)
    begun.set(2 * STEP)
    for _ in range(3 * STEP):
        synced.observe(0.001, ("worker-0",))
    before = plane.scrape()
    counted.add((), uses)
    begun.set(2 * STEP + uses)
    for _ in range(uses):
        synced.observe(0.001, ("worker-0",))
    plane.restart_control()
    after = plane.scrape()
    assert before.numbers["gateway_connections_total"] == after.numbers["gateway_connections_total"] == {(): 3 * STEP}
    assert before.numbers["gateway_exchanges"] == after.numbers["gateway_exchanges"] == {(): 2 * STEP}
    name = "gateway_journal_sync_duration_seconds"
    assert sum(after.distributions[name]["worker-0",].counts) == 3 * STEP
    plane.metrics = MetricSet("worker-0")
    plane.metrics.counter("gateway_connections_total").add((), STEP + uses)
    assert plane.scrape().numbers["gateway_connections_total"] == {(): STEP}


def test_gauge_just_below_a_step_does_not_show_each_use(tmp_path: Path) -> None:
    """Nine calls that last and one that comes and goes; and what falls to nothing is shown as nothing."""
    plane = Plane(tmp_path)
    begun, seen = plane.metrics.gauge("gateway_exchanges"), []
    for value in (9, 10, 9, 10, 14, 15, 14, 15, 9, 10, 26, 24, 15, 14, 4, 5, 0):
        begun.set(value)
        seen.append(plane.scrape().numbers["gateway_exchanges"][()])
    assert seen == [0, 0, 0, 0, 0, 10, 10, 10, 10, 10, 20, 20, 20, 10, 0, 0, 0]


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
