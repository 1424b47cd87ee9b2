"""How long a suspension takes while both planes are as busy as they can be: median and worst of a hundred.

    python tests/bench/suspension.py [--rounds 100] [--out tests/bench/results/suspension.json]

A real gateway (`gateway serve`, two workers). One process calls the data plane as fast as it can; another keeps 48
requests under way on the control plane: wrong and right sign-ins (argon2), records and grants asked for, grants issued.
Each round suspends the grant over the control API, on a connection of its own, and lifts it again.
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx

from gateway.runtime.demo.stage import bearer_token
from gateway.runtime.demo.story import PURPOSE
from gateway.runtime.demo.world import grant_documents
from gateway.runtime.operation.session.officer_tokens import officer_token
from tests.bench.barrier import LOAD, STOP, percentiles
from tests.support.gateways import running_gateway

GRANT = "bench"
UNDER_WAY = 48

CONTROL_LOAD = """
import asyncio, itertools, json, sys, httpx
base, token, grant, under_way = sys.argv[1:]
grant = json.loads(grant)
numbers = itertools.count()

async def go_on(client, kind):
    while True:
        number = next(numbers)
        try:
            if kind == 0:
                await client.post("/sign-in", json={"officer": f"nobody-{number}", "password": "a guess at a password"})
            elif kind == 1:
                await client.get("/v1/records", params={"limit": 100})
            elif kind == 2:
                await client.get("/v1/grants", params={"limit": 100})
            else:
                await client.post("/v1/grants", json={**grant, "id": f"load-{number}"})
        except httpx.HTTPError:
            pass

async def main():
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=60, limits=limits) as client:
        await asyncio.gather(*(go_on(client, n % 4) for n in range(int(under_way))))

asyncio.run(main())
"""


def measure(rounds: int, folder: Path) -> dict[str, Any]:
    """Suspend and lift over the API of a real gateway under load."""
    calls: list[float] = []
    barriers: list[float] = []
    with running_gateway(folder / "var", GATEWAY_DATA_PLANE__WORKERS="2") as gateway, contextlib.ExitStack() as stack:
        with gateway.officer() as api:
            grant = next(each for each in grant_documents(datetime.now(UTC)) if each["id"] == "G-2026-0002")
            api.post("/v1/grants", {**grant, "id": GRANT})
        time.sleep(2.5)
        token = bearer_token(f"{gateway.control}/oauth/token", gateway.key)
        person = gateway.population.marriages[0]["wife"]["id_number"]
        path = f"/civil-affairs/marriages?id_number={person}"
        officer = officer_token(gateway.home.root, "registrar", 3600)
        loads = (
            [sys.executable, "-c", LOAD, gateway.data_plane, path, token, PURPOSE],
            [sys.executable, "-c", CONTROL_LOAD, gateway.control, officer, json.dumps(grant), str(UNDER_WAY)],
        )
        for command in loads:
            load = subprocess.Popen(command)
            stack.callback(load.wait)
            stack.callback(load.kill)
        time.sleep(5)
        headers = {"Authorization": f"Bearer {officer}"}
        with httpx.Client(base_url=gateway.control, headers=headers, trust_env=False, timeout=120) as client:
            for _ in range(rounds):
                began = time.perf_counter()
                answer = client.post(f"/v1/grants/{GRANT}/suspension", json=STOP)
                calls.append((time.perf_counter() - began) * 1000)
                answer.raise_for_status()
                barriers.append(float(answer.json()["barrier"]["milliseconds"]))
                lifted = client.post(f"/v1/grants/{GRANT}/suspension/lift", json={"reason": "the next round"})
                lifted.raise_for_status()
    return {"workers": 2, "under_way": UNDER_WAY, "call": percentiles(calls), "barrier": percentiles(barriers)}


def main() -> None:
    """Measure and write the results with the hardware they ran on."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("--out", type=Path)
    options.add_argument("--quick", action="store_true", help="ten rounds")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {
            "hardware": f"{os.cpu_count()} CPUs, {platform.processor() or platform.machine()}, {platform.system()}",
            "load_average": round(os.getloadavg()[0], 1),
            **measure(10 if chosen.quick else chosen.rounds, Path(folder)),
        }
    text = json.dumps(results, indent=2)
    print(text)
    if chosen.out is not None:
        chosen.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
