"""The dashboard over a soak, as a picture: `python -m tests.bench.dashboard --minutes 3 --out dashboard.png`.

A real Prometheus (deploy/tools brings it) scrapes the gateway while it is soaked; then every panel's expressions are
asked of it and drawn. Exit status 1 where a panel that should show something is empty.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
import yaml

from tests.bench.soak import soak
from tests.support.deploy_tools import DEPLOY, tool
from tests.support.gateways import wait_for

STEP_SECONDS = 5
COLUMNS = 4
MAY_BE_EMPTY = {"Days until certificates end", "Calls traced"}
"""Panels about what the soaked gateway does not have: a certificate, a collector of traces."""


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, without rows."""
    found = json.loads((DEPLOY / "grafana" / "gateway.json").read_text("utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


@contextlib.contextmanager
def prometheus(control: str, folder: Path, found: dict[str, Any]) -> Iterator[None]:
    """Scrape `control` meanwhile; at the end, fill `found` with each panel's series."""
    program = tool("prometheus")
    assert program is not None, "prometheus is not here: run deploy/tools"
    target = control.removeprefix("http://")
    scrape = {"job_name": "gateway", "static_configs": [{"targets": [target]}], "scrape_interval": "2s"}
    rules = {"rule_files": [str(DEPLOY / "prometheus" / "gateway.rules.yml")]}
    settings = {"global": {"evaluation_interval": "5s"}, "scrape_configs": [scrape], **rules}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), "utf-8")
    options = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *options, "--web.listen-address=127.0.0.1:19090"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url="http://127.0.0.1:19090", trust_env=False, timeout=30) as client:

            def is_ready() -> bool:
                with contextlib.suppress(httpx.HTTPError):
                    return client.get("/-/ready").status_code == 200
                return False

            assert wait_for(is_ready, 30)
            began = time.time()
            yield
            for panel in panels():
                found[panel["title"]] = [
                    line for target in panel["targets"] for line in ask(client, target["expr"], target, began)
                ]
            found["alerts"] = [
                alert["labels"]["alertname"]
                for alert in client.get("/api/v1/alerts").json()["data"]["alerts"]
                if alert["state"] == "firing"
            ]
    finally:
        process.terminate()
        process.wait(30)


def ask(client: httpx.Client, expression: str, target: dict[str, Any], began: float) -> list[tuple[str, list[Any]]]:
    """(legend, [(time, value), …]) of one expression."""
    for name, value in (("$__rate_interval", "30s"), ("$instance", ".*"), ("$supplier", ".*")):
        expression = expression.replace(name, value)
    asked = {"query": expression, "start": began, "end": time.time(), "step": STEP_SECONDS}
    answer = client.get("/api/v1/query_range", params=asked).json()
    assert answer["status"] == "success", (expression, answer)
    lines = []
    for series in answer["data"]["result"]:
        legend = target["legendFormat"]
        for label, value in series["metric"].items():
            legend = legend.replace("{{" + label + "}}", value)
        points = [(moment - began, float(value)) for moment, value in series["values"] if value != "NaN"]
        if points:
            lines.append((legend, points))
    return lines


def draw(found: dict[str, Any], out: Path) -> None:
    """One small chart a panel."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 -- after the choice of a backend that needs no display

    drawn = panels()
    rows = -(-len(drawn) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(22, 3.1 * rows), layout="constrained")
    for axis, panel in zip(axes.flat, drawn, strict=False):
        axis.set_title(panel["title"], fontsize=9, loc="left")
        for legend, points in found[panel["title"]][:12]:
            axis.plot([x for x, _ in points], [y for _, y in points], label=legend or None, linewidth=1)
        if any(legend for legend, _ in found[panel["title"]]):
            axis.legend(fontsize=6, loc="upper left")
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=7)
        axis.text(
            0.99,
            0.97,
            panel["fieldConfig"]["defaults"]["unit"],
            transform=axis.transAxes,
            ha="right",
            va="top",
            fontsize=7,
        )
    for axis in list(axes.flat)[len(drawn) :]:
        axis.axis("off")
    figure.savefig(out, dpi=80)


def main() -> int:
    """Soak, scrape, draw."""
    parser = argparse.ArgumentParser(description="Draw the dashboard over a soak.")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--out", type=Path, default=Path("dashboard.png"))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gateway-dashboard-"))
    found: dict[str, Any] = {}
    try:
        soak(given.minutes * 60, given.rate, 16, folder, lambda control: prometheus(control, folder, found))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    draw(found, given.out)
    empty = sorted(panel["title"] for panel in panels() if not found[panel["title"]])
    print(f"{given.out}; alerts firing: {', '.join(found['alerts']) or 'none'}; empty: {', '.join(empty) or 'none'}")
    return 1 if set(empty) - MAY_BE_EMPTY else 0


if __name__ == "__main__":
    sys.exit(main())
