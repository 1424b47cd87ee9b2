"""The data plane against its peers: one machine, one run, one worker each.

    .venv/bin/python tests/bench/data_plane/run.py [--quick] [--only a,b,c,d]

Callers are wrk's, the supplier is nginx. Contestants: (a) nginx as a bare proxy; (b) nginx asking OPA for each call,
decisions logged to disk; (c) a FastAPI route with httpx and cedarpy; (d) the gateway with everything on (token, Cedar
verdict, durable record, filter). Who cannot run is named. Results go to tests/bench/results/data_plane.json with the
hardware; calls per CPU second count the processor time of the proxy's own processes.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import socket
import ssl
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from rich.console import Console
from rich.table import Table

from tests.bench.data_plane.contestants import (
    Contestant,
    bare_nginx,
    fastapi_route,
    gateway,
    nginx_and_opa,
    supplier,
)
from tests.bench.data_plane.measure import load, paced, resident_mib

RESULTS = Path(__file__).parents[1] / "results" / "data_plane.json"
console = Console(width=150)


def hardware() -> dict[str, Any]:
    """What it ran on."""
    model = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
    }


def measure(contestant: Contestant, seconds: float, *, big: bool) -> dict[str, Any]:
    """Every figure of one contestant."""
    load(f"{contestant.base}/one", 32, min(seconds, 2), contestant.fields, contestant.pids)
    found: dict[str, Any] = {"one_row": []}
    for connections in (1, 32, 128):
        line = load(f"{contestant.base}/one", connections, seconds, contestant.fields, contestant.pids)
        found["one_row"].append(line)
        console.print(f"  {contestant.name}: {line}")
    host, _, port = contestant.base.split("/")[2].partition(":")
    path = "/" + contestant.base.split("/", 3)[3] + "/one"
    found["paced_1000"] = asyncio.run(paced(host, int(port), path, contestant.fields, 1000, seconds))
    console.print(f"  {contestant.name}: at 1,000 calls/s {found['paced_1000']}")
    if big:
        for name, connections in (("kb100", 16), ("mb10", 4)):
            line = load(f"{contestant.base}/{name}", connections, seconds, contestant.fields, contestant.pids)
            found[name] = line
            console.print(f"  {contestant.name}: {name} {line}")
    return found


def idle(contestant: Contestant, count: int) -> dict[str, Any]:
    """Memory with so many idle connections, and that a call still passes.

    Run it on a contestant that has served no large answers: memory they left free would hide the growth.
    """
    load(f"{contestant.base}/one", 32, 1, contestant.fields, contestant.pids)
    before = resident_mib(contestant.pids)
    host, _, port = contestant.base.split("/")[2].partition(":")
    held = []
    try:
        for _ in range(count):
            held.append(socket.create_connection((host, int(port)), 10))  # noqa: PERF401 - what is open is closed
        time.sleep(2)
        after = resident_mib(contestant.pids)
        line = load(f"{contestant.base}/one", 32, 2, contestant.fields, contestant.pids)
        return {
            "connections": count,
            "kib_each": round((after - before) * 1024 / count, 2),
            "calls_per_second_beside": line["calls_per_second"],
            "p99_ms_beside": line["p99_ms"],
        }
    finally:
        for connection in held:
            connection.close()


def certificates(folder: Path) -> dict[str, Path]:
    """A throw-away authority, a listener's and a client's certificate."""
    from tests.support.certificates import Authority  # noqa: PLC0415 - only this part needs it

    authority = Authority("bench")
    return {
        "ca": authority.write_ca(folder / "ca.pem"),
        "server": authority.write("127.0.0.1", folder / "server.pem"),
        "client": authority.write("marriage-desk", folder / "client.pem"),
    }


def tls(folder: Path, upstream: int, seconds: float) -> dict[str, Any]:
    """TLS with and without client certificates: ours beside a bare nginx. wrk presents no certificate: `optional`."""
    files = certificates(folder)
    found: dict[str, Any] = {}
    server = f"ssl_certificate {files['server']}; ssl_certificate_key {files['server']};"
    for name, mode in (("tls", "off"), ("tls, client certificate optional", "optional")):
        verify = f"ssl_client_certificate {files['ca']}; ssl_verify_client optional;" if mode == "optional" else ""
        with bare_nginx(folder, upstream, "ssl", server + verify) as nginx:
            found[f"(a) {name}"] = load(f"{nginx.base}/one", 32, seconds, {}, nginx.pids)
        environment = {
            "GATEWAY_DATA_PLANE__TLS_CERTIFICATE": str(files["server"]),
            "GATEWAY_DATA_PLANE__TLS_KEY": str(files["server"]),
            "GATEWAY_DATA_PLANE__CLIENT_CA": str(files["ca"]),
            "GATEWAY_DATA_PLANE__CLIENT_CERTIFICATES": mode,
        }
        with gateway(folder, upstream, f"home-{mode}", **environment) as ours:
            found[f"(d) {name}"] = load(f"{ours.base}/one", 32, seconds, ours.fields, ours.pids)
        if mode == "optional":
            required = {**environment, "GATEWAY_DATA_PLANE__CLIENT_CERTIFICATES": "required"}
            with gateway(folder, upstream, "home-required", **required) as ours:
                found["(d) tls, client certificate presented, one connection"] = asyncio.run(
                    _with_certificate(ours, files, seconds)
                )
    return found


async def _with_certificate(ours: Contestant, files: dict[str, Path], seconds: float) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=files["ca"])
    context.check_hostname = False
    context.load_cert_chain(files["client"])
    host, _, port = ours.base.split("/")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    lines = "".join(f"{name}: {value}\r\n" for name, value in ours.fields.items())
    request = f"GET /public-security/one HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode()
    loop = asyncio.get_running_loop()
    calls, began = 0, loop.time()
    while loop.time() - began < seconds:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        calls += 1
    writer.close()
    return {"calls_per_second": round(calls / seconds)}


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short loads, no large answers, no TLS, no idle crowd")
    parser.add_argument("--only", default="a,b,c,d", help="contestants to run")
    parser.add_argument("--opa", default=os.environ.get("OPA", ""), help="the OPA binary; default: `opa` on the path")
    parser.add_argument("--seconds", type=float, default=0, help="length of one load")
    options = parser.parse_args()
    seconds = options.seconds or (3.0 if options.quick else 8.0)
    wanted = options.only.split(",")
    found: dict[str, Any] = {}
    absent: dict[str, str] = {}
    for tool in ("wrk", "nginx"):
        if shutil.which(tool) is None:
            console.print(f"`{tool}` is not installed; nothing can be measured")
            return 1
    opa = options.opa or shutil.which("opa") or ""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with supplier(folder) as upstream:
            makers: dict[str, Any] = {
                "a": lambda: bare_nginx(folder, upstream),
                "b": lambda: nginx_and_opa(folder, upstream, opa),
                "c": lambda: fastapi_route(folder, upstream),
                "d": lambda: gateway(folder, upstream),
                "fresh a": lambda: bare_nginx(folder, upstream),
                "fresh d": lambda: gateway(folder, upstream, "home-idle"),
            }
            for key in wanted:
                if key == "b" and not opa:
                    absent["(b) nginx + OPA"] = "no `opa`: `go install github.com/open-policy-agent/opa@latest`"
                    continue
                with makers[key]() as contestant:
                    found[contestant.name] = measure(contestant, seconds, big=not options.quick)
                if key in "ad" and not options.quick:
                    with makers[f"fresh {key}"]() as contestant:
                        found[contestant.name]["idle"] = idle(contestant, 10_000)
            if not options.quick and "d" in wanted:
                found["TLS"] = tls(folder, upstream, seconds)
    show(found, absent)
    kept = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "seconds_each": seconds,
        "hardware": hardware(),
        "could_not_run": absent,
        "contestants": found,
        "ratios": ratios(found),
    }
    if not options.quick or not RESULTS.exists():
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
        console.print(f"kept in {RESULTS}")
    return 0


def ratios(found: dict[str, Any]) -> dict[str, Any]:
    """What the issue is measured by: calls per CPU second at 32 connections, latency added at 1,000 calls a second."""
    at32 = {name: line["one_row"][1] for name, line in found.items() if "one_row" in line}
    ours = next((line for name, line in at32.items() if name.startswith("(d)")), None)
    if ours is None:
        return {}
    out: dict[str, Any] = {}
    for name, line in at32.items():
        if not name.startswith("(d)") and line["calls_per_cpu_second"]:
            out[f"calls per CPU second over {name}"] = round(
                ours["calls_per_cpu_second"] / line["calls_per_cpu_second"], 2
            )
    bare = next((line for name, line in found.items() if name.startswith("(a)")), None)
    mine = next(line for name, line in found.items() if name.startswith("(d)"))
    if bare is not None and mine["paced_1000"]["calls"] and bare["paced_1000"]["calls"]:
        out["added p50 at 1,000 calls/s, ms"] = round(mine["paced_1000"]["p50_ms"] - bare["paced_1000"]["p50_ms"], 3)
    return out


def show(found: dict[str, Any], absent: dict[str, str]) -> None:
    """Print the tables."""
    table = Table(
        "contestant", "connections", "calls/s", "p50 ms", "p99 ms", "CPU µs/call", "calls/CPU s", "MiB", "not OK"
    )
    for name, line in found.items():
        for row in line.get("one_row", ()):
            table.add_row(
                name,
                *(
                    str(row[key])
                    for key in (
                        "connections",
                        "calls_per_second",
                        "p50_ms",
                        "p99_ms",
                        "cpu_us_per_call",
                        "calls_per_cpu_second",
                        "memory_mib",
                        "not_ok",
                    )
                ),
            )
    console.print(table)
    for name, why in absent.items():
        console.print(f"{name} could not run: {why}")
    for name, value in ratios(found).items():
        console.print(f"{name}: {value}")
    for name, line in found.get("TLS", {}).items():
        console.print(f"{name}: {line}")


if __name__ == "__main__":
    sys.exit(main())
