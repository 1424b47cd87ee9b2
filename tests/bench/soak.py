"""A soak: `python -m tests.bench.soak` (make soak) runs a real gateway for ten minutes and holds it to its promises.

A gateway as the demo furnishes it, with one supplier that fails in every way (soak_supplier.py), callers at half of the
throughput measured just before (soak_load.py), and an officer who suspends and lifts their grant again and again.
At the end:

- memory, descriptors and tasks of every process have not grown;
- every record that a caller was told and every record that the supplier was called under is in the log, each use is
  closed, and the log verifies;
- every answer is one of the kinds that were provoked, each as often as the gateway's own figures say;
- no call was served while its grant was suspended, and lifting gave back within two seconds.

Exit status 0 where all of that holds. The report goes to tests/bench/results/soak.json with the machine it ran on.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from gateway.client import new_private_key
from gateway.client.keys import ClientKey
from gateway.ledger.index.index import FLUSH_ROWS
from gateway.ledger.log.files import LogFiles
from gateway.ledger.verify.record import verify_log
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import furnish
from gateway.runtime.demo.story import SYSTEM
from gateway.runtime.demo.suppliers import register_servers, show
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from gateway.runtime.telemetry.coarse import STEP
from tests.support.gateways import RunningGateway, wait_for

HERE = Path(__file__).parent
PATH = "/civil-affairs/marriages"
INTERFACE = "civil-affairs/marriages"
GRANT, OFFICER = "G-2026-0002", "civil-wu"
PROVOKED = {
    "200",
    "500",
    "403 suspended",
    "502 supplier-unreachable",
    "502 answer-not-filterable",
    "504 supplier-timeout",
    "429 rate-limited",
    "503 draining",
}
"""What callers may see here, as (status, problem code): all else is an error that nobody provoked."""
RESTARTS = "gateway_process_restarts_total"
SAMPLE_SECONDS = 5.0
WARM_SHARE = 0.3
"""Share of the run in which caches fill and pools open; growth is measured after it."""
MEMORY_GROWTH = 0.05
MEMORY_SLACK_BYTES = 8 << 20
"""Resident memory may end so much above where it stood after warming up."""
INDEX_TAIL_BYTES = FLUSH_ROWS * 320
"""The ledger process also holds the index's rows until they are written to a file: at most `FLUSH_ROWS`."""
LIFT_SECONDS = 2.0
DESCRIPTOR_SLACK = 24
TASK_SLACK = 8


class Check(msgspec.Struct, frozen=True):
    """One promise, and whether it was kept.

    Args:
        promise: in words.
        kept: whether.
        detail: the numbers.
    """

    promise: str
    kept: bool
    detail: str


class Figures:
    """Scrapes `/metrics` while the soak runs."""

    def __init__(self, control: str, credential: str) -> None:
        headers = {"Authorization": f"Bearer {credential}"}
        self._client = httpx.Client(base_url=control, headers=headers, trust_env=False, timeout=10)
        self.samples: list[dict[tuple[str, tuple[tuple[str, str], ...]], float]] = []

    def take(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """One scrape, kept."""
        text = self._client.get("/metrics").raise_for_status().text
        sample = {
            (found.name, tuple(sorted(found.labels.items()))): found.value
            for family in text_string_to_metric_families(text)
            for found in family.samples
        }
        self.samples.append(sample)
        return sample

    def series(self, name: str, process: str) -> list[float]:
        """What one gauge of one process was at each scrape."""
        label = (("process", process),)
        return [sample[name, label] for sample in self.samples if (name, label) in sample]

    def memory_mib(self, process: str) -> list[int]:
        """Resident memory over the run, at twenty moments."""
        series = self.series("gateway_process_resident_memory_bytes", process)
        return [round(value / (1 << 20)) for value in series[:: max(1, len(series) // 20)]]

    def processes(self) -> list[str]:
        """Names of all processes that published."""
        return sorted({dict(labels)["process"] for name, labels in self.samples[-1] if name == "gateway_process_up"})


def calls(sample: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> Counter[str]:
    """Calls on the soaked interface by `verdict reason`, as the gateway counts them."""
    found: Counter[str] = Counter()
    for (name, labels), value in sample.items():
        named = dict(labels)
        if name == "gateway_calls_total" and named["interface"] in {INTERFACE, "unknown"}:
            found[f"{named['verdict']} {named['reason']}"] += int(value)
    return found


class Officer(threading.Thread):
    """Suspends the callers' grant and lifts it again, and looks whether it was so at once."""

    def __init__(self, gateway: RunningGateway, token: Path, over: threading.Event) -> None:
        super().__init__(name="officer", daemon=True)
        self._gateway = gateway
        self._token = token
        self._over = over
        self.stops = 0
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()
        self.slowest_stop_seconds = 0.0
        self.slowest_lift_seconds = 0.0
        self.failed: str | None = None

    def run(self) -> None:
        chance = random.Random(27)
        try:
            with httpx.Client(base_url=self._gateway.data_plane, trust_env=False, timeout=40) as client:
                while not self._over.wait(chance.uniform(2, 5)):
                    self._stop_and_lift(client, chance)
        except Exception as error:  # noqa: BLE001 -- a soak without its officer has failed, and says so at its end
            self.failed = f"{type(error).__name__}: {error}"

    def _stop_and_lift(self, client: httpx.Client, chance: random.Random) -> None:
        began = time.monotonic()
        with self._gateway.officer(OFFICER) as api:
            api.post(f"/v1/grants/{GRANT}/suspension", {"violation": "soak", "rectify_by": "2099-01-31"})
        self.slowest_stop_seconds = max(self.slowest_stop_seconds, time.monotonic() - began)
        self.stops += 1
        for _ in range(6):
            said = self._call(client)
            if said != "403 suspended":
                self.wrong.append(f"{said} while suspended")
        time.sleep(chance.uniform(0.1, 0.6))
        with self._gateway.officer(OFFICER) as api:
            api.post(f"/v1/grants/{GRANT}/suspension/lift", {"reason": "soak"})
        lifted = time.monotonic()
        while (said := self._call(client)).startswith("403"):
            if time.monotonic() - lifted > LIFT_SECONDS:
                self.wrong.append(f"{said} after it was lifted")
                break
        self.slowest_lift_seconds = max(self.slowest_lift_seconds, time.monotonic() - lifted)

    def _call(self, client: httpx.Client) -> str:
        headers = {"Authorization": f"Bearer {self._token.read_text('ascii')}"}
        answer = client.get(PATH, headers=headers | {"Sharing-Purpose": "housing-fund-withdrawal"})
        said = str(answer.status_code)
        if answer.headers.get("content-type", "").startswith("application/problem+json"):
            said += " " + answer.json()["type"].rpartition("/")[2]
        self.seen[said] += 1
        return said


@contextlib.contextmanager
def failing_supplier(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The supplier's base URL and process."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "soak_supplier.py"), str(folder / "supplied")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(30)


def start_load(gateway: RunningGateway, folder: Path, rate: float, connections: int, seconds: float) -> Any:
    """A load process; its result is its standard output."""
    host, port = gateway.data_plane.removeprefix("http://").rsplit(":", 1)
    job = {"host": host, "port": port, "path": PATH, "records": str(folder / "told"), "token": str(folder / "token")}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "soak_load.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(job | {"rate": rate, "connections": connections, "seconds": seconds}) + "\n")
    process.stdin.flush()
    return process


def keep_token(gateway: RunningGateway, file: Path, over: threading.Event) -> threading.Thread:
    """Write a fresh access token every two minutes, as a demand system would get one."""
    endpoint = f"{gateway.control}/oauth/token"

    def renew() -> None:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": ClientKey(gateway.key).assertion(SYSTEM, endpoint, int(time.time())),
        }
        answer = httpx.post(endpoint, data=form, trust_env=False).raise_for_status()
        partial = file.with_suffix(".partial")
        partial.write_text(answer.json()["access_token"], "ascii")
        partial.replace(file)

    def run() -> None:
        while not over.wait(120):
            renew()

    renew()
    thread = threading.Thread(target=run, name="token", daemon=True)
    thread.start()
    return thread


Watch = Callable[[str], contextlib.AbstractContextManager[None]]
"""Looks on, given the control plane's URL: entered when the load begins, left before the gateway ends."""


def soak(
    seconds: float,
    rate: float | None,
    connections: int,
    folder: Path,
    watch: Watch = lambda _control: contextlib.nullcontext(),
) -> dict[str, Any]:
    """Run it; the report."""
    population = Population()
    suppliers = register_servers(population)
    home = GatewayHome(folder / "var")
    made = initialise(home, region=REGION, department="data-bureau")
    gateway = RunningGateway(home, made, population, suppliers, new_private_key(), {})
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        for supplier in suppliers.values():
            supplier.start()
            stack.callback(supplier.stop)
        url, failing = stack.enter_context(failing_supplier(folder))
        gateway.start()
        stack.callback(gateway.stop)
        upstreams = {id_: server.url for id_, server in suppliers.items()} | {"civil-affairs": url}

        def show_nonce(at: str, path: str, nonce: str) -> None:
            if at == url:
                (folder / "supplied.nonce").write_text(nonce, "ascii")
            else:
                show(at, path, nonce)

        furnish(home, upstreams, gateway.key, show_nonce)
        keep_token(gateway, folder / "token", over)

        measured = rate
        loads = []
        if rate is None:
            load = start_load(gateway, folder, 0, connections, min(10.0, seconds / 4))
            loads.append(json.loads(load.communicate()[0]))
            measured = loads[0]["calls"] / min(10.0, seconds / 4)
            rate = measured / 2
        print(f"soak: {rate:.0f} calls/s for {seconds:.0f} s (half of {measured:.0f})", file=sys.stderr, flush=True)

        looking = stack.enter_context(contextlib.ExitStack())
        looking.enter_context(watch(gateway.control))
        figures = Figures(gateway.control, (gateway.home.root / "metrics-credential").read_text("ascii").strip())
        officer = Officer(gateway, folder / "token", over)
        load = start_load(gateway, folder, rate, connections, seconds)
        officer.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(SAMPLE_SECONDS)
            sample = figures.take()
            print(f"soak: {sum(calls(sample).values())} calls, {officer.stops} stops", file=sys.stderr, flush=True)
        over.set()
        loads.append(json.loads(load.communicate()[0]))
        officer.join(60)
        # A call that the supplier never answers ends by its timeout; then nothing runs any more.
        wait_for(lambda: not figures.take()["gateway_exchanges", ()], 45)
        behind = wait_for(lambda: not figures.take()["gateway_log_integration_lag_seconds", ()], 30)
        time.sleep(2.5)
        last = figures.take()
        looking.close()
        assert failing.stdin is not None
        failing.stdin.close()
        status = gateway.stop()
        assert failing.stdout is not None
        supplied = json.loads(failing.stdout.readline())
        checks = [
            *check_growth(figures),
            *check_processes(last, status),
            Check("the log caught up", bool(behind), f"{last['gateway_log_integration_lag_seconds', ()]:.0f} s behind"),
            *check_records(home, str(made["verifier_key"]), folder),
            *check_answers(loads, officer, calls(last)),
            *check_stops(officer),
        ]
    seen: Counter[str] = sum((Counter(load["seen"]) for load in loads), Counter())
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "seconds": seconds,
        "rate": round(rate),
        "measured": round(measured or 0),
        "calls": sum(load["calls"] for load in loads),
        "p50_ms": round(loads[-1]["p50"] * 1e3, 2),
        "p99_ms": round(loads[-1]["p99"] * 1e3, 2),
        "answers": dict(seen.most_common()),
        "supplier": supplied,
        "stops": officer.stops,
        "slowest_stop_seconds": round(officer.slowest_stop_seconds, 3),
        "slowest_lift_seconds": round(officer.slowest_lift_seconds, 3),
        "memory_mib": {process: figures.memory_mib(process) for process in figures.processes()},
        "checks": msgspec.to_builtins(checks),
    }


def check_growth(figures: Figures) -> Iterator[Check]:
    """Each process's memory, descriptors and tasks at the end, against what they were once warm."""
    # The scrapes after the load stand for a gateway at rest; growth is judged under load.
    for process in figures.processes():
        for name, share, slack in (
            ("gateway_process_resident_memory_bytes", MEMORY_GROWTH, MEMORY_SLACK_BYTES),
            ("gateway_process_open_descriptors", 0.0, DESCRIPTOR_SLACK),
            ("gateway_process_tasks", 0.0, TASK_SLACK),
        ):
            series = figures.series(name, process)
            if not series:
                continue
            held = INDEX_TAIL_BYTES if name.endswith("memory_bytes") and process == "ledger" else 0
            warm = series[int(len(series) * WARM_SHARE) :]
            part = max(1, len(warm) // 4)
            before, after = statistics.median(warm[:part]), statistics.median(warm[-part:])
            yield Check(
                f"{name.removeprefix('gateway_process_')} of {process} do not grow",
                after <= before * (1 + share) + slack + held,
                f"{before:.0f} -> {after:.0f}",
            )


def check_processes(last: dict[tuple[str, tuple[tuple[str, str], ...]], float], status: int) -> Iterator[Check]:
    """No process died, and the gateway ended in order."""
    restarts = {dict(labels)["process"]: int(value) for (name, labels), value in last.items() if name == RESTARTS}
    yield Check("no process had to be started again", not any(restarts.values()), json.dumps(restarts))
    yield Check("the gateway ended in order", status == 0, f"exit status {status}")


def check_records(home: GatewayHome, verifier_key: str, folder: Path) -> Iterator[Check]:
    """The log against what callers and supplier saw."""
    checked = verify_log(home.ledger, verifier_key)
    yield Check("the log verifies from its first leaf", True, f"{checked.size} leaves")
    files = LogFiles(home.ledger / "tree")
    by_kind: dict[str, set[str]] = {}
    twice = 0
    for index in range(0, checked.size, 256):
        for entry in files.bundle(index // 256, min(256, checked.size - index)):
            found = msgspec.json.decode(entry)
            held = by_kind.setdefault(found["kind"], set())
            twice += found["id"] in held
            held.add(found["id"])
    opened, refused = by_kind.get("use.opened", set()), by_kind.get("use.refused", set())
    ended = by_kind.get("use.closed", set()) | by_kind.get("recovered", set())
    told = set((folder / "told").read_text("ascii").split())
    supplied = set((folder / "supplied").read_text("ascii").split())
    yield Check("every record told to a caller is in the log", told <= opened | refused, f"{len(told)} told")
    yield Check("every call of the supplier was on record", supplied <= opened, f"{len(supplied)} calls")
    yield Check("every use opened has ended on record", opened == ended, f"{len(opened)} opened, {len(ended)} ended")
    yield Check("no record stands twice", twice == 0, f"{twice} twice")
    yield Check("no use had to be recovered", not by_kind.get("recovered"), f"{len(by_kind.get('recovered', ()))}")


def check_answers(loads: list[dict[str, Any]], officer: Officer, counted: Counter[str]) -> Iterator[Check]:
    """Every answer is of a kind that was provoked, and as often as the gateway itself counted.

    What it counts of uses moves in steps, so that each kind may lack less than one.
    """
    late = STEP - 1
    seen: Counter[str] = sum((Counter(load["seen"]) for load in loads), Counter()) + officer.seen
    broken = seen.pop("broken", 0)
    strange = {kind: count for kind, count in seen.items() if kind not in PROVOKED}
    yield Check("no answer that nobody provoked", not strange, json.dumps(strange))
    whole, total = sum(seen.values()), sum(counted.values())
    # What broke off under a stop was counted by the gateway and has no answer.
    least = whole - late * len(counted.keys() | seen.keys())
    yield Check("the gateway counted every call", least <= total <= whole + broken, f"{whole}+{broken} seen, {total}")
    kinds = ("deny suspended", "permit suspended", "refused suspended", "permit cut")
    denied, least = sum(counted[kind] for kind in kinds), seen["403 suspended"] - late * len(kinds)
    yield Check("and every denial", least <= denied <= seen["403 suspended"] + broken, f"{denied}")
    yield Check("what broke off was cut by a stop", broken <= counted["permit cut"] + late, f"{broken} broken")


def check_stops(officer: Officer) -> Iterator[Check]:
    """A stop holds when it returns, and lifting gives back."""
    yield Check("the officer worked to the end", officer.failed is None, officer.failed or f"{officer.stops} stops")
    yield Check("each stop held at once, each lift gave back in time", not officer.wrong, "; ".join(officer.wrong[:5]))


def main() -> int:
    """Run the soak and tell."""
    parser = argparse.ArgumentParser(description="Soak a real gateway.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, help="calls a second; default: half of what is measured first")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--report", type=Path, default=HERE / "results" / "soak.json")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gateway-soak-"))
    report = soak(given.minutes * 60, given.rate, given.connections, folder)
    if all(check["kept"] for check in report["checks"]):
        shutil.rmtree(folder)
    else:
        print(f"the gateway's home and log are kept in {folder}", file=sys.stderr)
    given.report.parent.mkdir(parents=True, exist_ok=True)
    given.report.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for check in report["checks"]:
        print(f"{'ok  ' if check['kept'] else 'FAIL'} {check['promise']}: {check['detail']}")
    print("{calls} calls at {rate}/s, p50 {p50_ms} ms, p99 {p99_ms} ms".format_map(report))
    return 0 if all(check["kept"] for check in report["checks"]) else 1


if __name__ == "__main__":
    sys.exit(main())
