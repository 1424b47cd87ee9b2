"""The alert rules and the dashboard speak of metrics that exist, with labels they have, and Prometheus accepts them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway.runtime.telemetry.families import FAMILIES, Kind
from gateway.runtime.telemetry.metrics import MetricSet, render

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "gateway.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "gateway.json"
OUTSIDE_LABELS = {"instance", "job", "le"}
"""Labels that Prometheus itself adds."""
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=str(DEPLOY.parent / "build" / "tools" / "bin"))
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: deploy/tools, or the package prometheus, brings it"
)


def alerts() -> list[dict[str, object]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, object]]:
    return [panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in alerts():
        yield f"alert {rule['alert']}", str(rule["expr"])
    for panel in panels():
        for target in panel["targets"]:  # type: ignore[attr-defined]
            yield f"panel {panel['title']}", target["expr"]


def series() -> set[str]:
    """Every name that a scrape gives."""
    return {
        name
        for family in FAMILIES.values()
        for name in (
            [f"{family.name}_{part}" for part in ("bucket", "count", "sum")]
            if family.kind is Kind.HISTOGRAM
            else [family.name]
        )
    }


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_expression_names_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    """No panel stays empty and no alert silent because a metric was renamed."""
    names = set(re.findall(r"\bgateway_\w+", expression))
    assert names <= series(), where
    labels = set()
    for name in names:
        base = name if name in FAMILIES else name.rpartition("_")[0]
        labels |= set(FAMILIES[base].labels)
    for selector in re.findall(r"\{([^{}]*)\}", expression):
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert used <= labels | OUTSIDE_LABELS, where
    for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} - {""} <= labels | OUTSIDE_LABELS, where


def test_every_metric_is_shown_or_watched() -> None:
    """What is measured is looked at: by a panel or by a rule."""
    text = " ".join(expression for _, expression in expressions()) + DASHBOARD.read_text("utf-8")
    unseen = [name for name in FAMILIES if not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", text)]
    assert unseen == []


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """A severity that routes it, one sentence of what, one of what to do; no name twice."""
    found = alerts()
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]  # type: ignore[index]
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]  # type: ignore[call-overload]


def test_every_alert_is_seen_to_fire() -> None:
    """`promtool test rules` has a series for each alert under which it fires."""
    cases = yaml.safe_load((RULES.parent / "gateway.tests.yml").read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in cases for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in alerts()}


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    """Grafana draws panels where they say; two in one place hide each other."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]]
    assert len(set(numbers)) == len(numbers)


def run(*arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], input=given, capture_output=True, check=False, timeout=60)


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(RULES)),
        ("test", "rules", str(RULES.parent / "gateway.tests.yml")),
    ],
    ids=["rules", "rules fire when they should"],
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    """Prometheus' own tool parses the rules, and they fire on made-up series as their tests say."""
    done = run(*arguments)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


@needs_promtool
def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """With the scrape credential where compose puts it; it is asked for, and stands in no file of ours."""
    text = (RULES.parent / "prometheus.yml").read_text("utf-8")
    assert "credentials_file: /run/secrets/scrape" in text
    (tmp_path / "scrape").write_text("credential", "ascii")
    (tmp_path / RULES.name).write_bytes(RULES.read_bytes())
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/run/secrets/scrape", str(tmp_path / "scrape")), "utf-8")
    done = run("check", "config", str(config))
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


@needs_promtool
def test_promtool_finds_nothing_to_lint_in_the_scrape(tmp_path: Path) -> None:
    """`promtool check metrics` on a scrape with every family: names, units and help follow the conventions."""
    metrics = MetricSet("worker-0")
    for family in FAMILIES.values():
        labels = tuple(f"some-{label}" for label in family.labels)
        if family.kind is Kind.HISTOGRAM:
            metrics.histogram(family.name).observe(0.5, labels)
        elif family.kind is Kind.COUNTER:
            metrics.counter(family.name).add(labels)
        else:
            metrics.gauge(family.name).set(1, labels)
    body, _ = render([metrics.snapshot(0.0)], 0.0)
    assert {line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")} == set(FAMILIES)
    done = run("check", "metrics", given=body)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


@needs_promtool
def test_promtool_parses_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    """Each panel's expression, as a recording rule, is PromQL."""
    rules = [
        {"record": f"dashboard:{index}", "expr": expression.replace("$__rate_interval", "1m").replace("$", "")}
        for index, (where, expression) in enumerate(expressions())
        if where.startswith("panel")
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    done = run("check", "rules", str(file))
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
