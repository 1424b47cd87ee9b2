"""How long a stop takes from call to return: one node with four workers under load, and three nodes.

    python tests/bench/barrier.py [--rounds 200] [--out tests/bench/results/barrier.json]

One node: a real gateway (`gateway serve`, four workers), two processes that call it as fast as they can, eight slow
callers that stream under the grant. Each round suspends the grant over the control API and lifts it again. `call` is
what an officer's client waits, `barrier` the part of it from the commit until no worker can release a byte.

Three nodes: three control processes over one PostgreSQL, one worker each, streaming; `call` is from the order given to
one of them until it has answered: its transaction, synced, and the barrier over all three.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))


import httpx

from gateway.runtime.demo.stage import bearer_token
from gateway.runtime.demo.story import PURPOSE
from gateway.store import Store
from tests.support.barrier import PROCESSES, SENDER, Worker, end, start
from tests.support.gateways import running_gateway
from tests.support.postgres import running_postgres
from tests.support.streaming import EndlessSupplier, SlowCaller, furnish_endless, grant_document

GRANT = "bench"
STREAMING = 8
STOP = {"violation": "measured", "rectify_by": "2099-12-31"}

LOAD = """
import sys, httpx
base, path, token, purpose = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}", "Sharing-Purpose": purpose}
with httpx.Client(base_url=base, headers=headers, trust_env=False) as client:
    while True:
        try:
            client.get(path)
        except httpx.HTTPError:
            pass
"""


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    """p50, p99 and the most."""
    ordered = sorted(milliseconds)
    at = lambda share: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)  # noqa: E731 - two uses
    return {"rounds": len(ordered), "p50_ms": at(0.5), "p99_ms": at(0.99), "most_ms": round(ordered[-1], 1)}


def one_node(rounds: int, folder: Path) -> dict[str, Any]:
    """Suspend and lift over the API of a real gateway under load."""
    supplier = EndlessSupplier()
    calls: list[float] = []
    barriers: list[float] = []
    with running_gateway(folder / "var", GATEWAY_DATA_PLANE__WORKERS="4") as gateway, contextlib.ExitStack() as stack:
        stack.callback(supplier.close)
        furnish_endless(gateway, supplier)
        with gateway.officer() as api:
            api.post("/v1/grants", grant_document(GRANT))
            time.sleep(2.5)
            token = bearer_token(f"{gateway.control}/oauth/token", gateway.key)
            person = gateway.population.marriages[0]["wife"]["id_number"]
            path = f"/civil-affairs/marriages?id_number={person}"
            headers = {"Authorization": f"Bearer {token}", "Sharing-Purpose": PURPOSE}
            assert httpx.get(gateway.data_plane + path, headers=headers, trust_env=False).status_code == 200
            for _ in range(2):
                load = subprocess.Popen([sys.executable, "-c", LOAD, gateway.data_plane, path, token, PURPOSE])
                stack.callback(load.wait)
                stack.callback(load.kill)
            for _ in range(rounds):
                streaming = [SlowCaller(gateway, token) for _ in range(STREAMING)]
                assert [caller.status for caller in streaming] == [200] * STREAMING
                began = time.perf_counter()
                answer = api.post(f"/v1/grants/{GRANT}/suspension", STOP)
                calls.append((time.perf_counter() - began) * 1000)
                assert not answer["barrier"]["out"], answer["barrier"]
                barriers.append(float(answer["barrier"]["milliseconds"]))
                for caller in streaming:
                    caller.close()
                api.post(f"/v1/grants/{GRANT}/suspension/lift", {"reason": "the next round"})
    return {"workers": 4, "streaming": STREAMING, "call": percentiles(calls), "barrier": percentiles(barriers)}


def three_nodes(rounds: int, folder: Path) -> dict[str, Any]:
    """Withdraw on one of three nodes, each with a streaming worker."""
    calls: list[float] = []
    barriers: list[float] = []
    with running_postgres(fsync="on", full_page_writes="on") as postgres, contextlib.ExitStack() as stack:
        url = postgres.url(postgres.create_database())
        Store.open(url).close()
        controls = []
        workers = []
        for name in "abc":
            control = start(PROCESSES / "node_process.py", url, name, folder / f"{name}.sock")
            stack.callback(end, control)
            assert control.stdout is not None
            assert control.stdout.readline() == "ready\n"
            worker = start(SENDER, folder / f"{name}.sock", f"worker-{name}")
            stack.callback(end, worker)
            assert worker.stdout is not None
            workers.append(Worker(worker, int(worker.stdout.readline())))
            controls.append(control)
        for round_ in range(rounds):
            callers = [worker.stream(f"g{round_}") for worker in workers] if round_ % 10 == 0 else []
            control = controls[round_ % 3]
            assert control.stdin is not None
            assert control.stdout is not None
            began = time.perf_counter()
            control.stdin.write(f"g{round_}\n")
            control.stdin.flush()
            report = json.loads(control.stdout.readline())
            calls.append((time.perf_counter() - began) * 1000)
            assert not report["out"], report
            barriers.append(float(report["milliseconds"]))
            for caller in callers:
                caller.close()
    return {"nodes": 3, "call": percentiles(calls), "barrier": percentiles(barriers)}


def main() -> None:
    """Measure and write the results with the hardware they ran on."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {
            "hardware": f"{os.cpu_count()} CPUs, {platform.processor() or platform.machine()}, {platform.system()}",
            "load_average": round(os.getloadavg()[0], 1),
            "one_node": one_node(chosen.rounds, Path(folder)),
            "three_nodes": three_nodes(chosen.rounds, Path(folder)),
        }
    text = json.dumps(results, indent=2)
    print(text)
    if chosen.out is not None:
        chosen.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
