"""The data plane under the traffic of a city: what a call costs, beside a bare nginx, load by load.

    .venv/bin/python tests/bench/data_plane/traffic.py [--quick] [--loads mix,cold] [--seconds 6] [--rounds 3]

One request that is repeated says what remembering saves, and no more: a city's systems ask about another person with
each call, and no two of them in one order. So beside `repeated` there are

    cold         each system asks each interface for the first time, after a start
    mix          200 systems with a token each, of 50 departments, 20 interfaces, 1,000 grants; another system, another
                 interface and another person at every call; warm
    traced       the same, with a `traceparent` and an `X-Request-Id` of its own in each call
    connections  the same, each call on a new connection
    post         the same, with a body of 1 KB; to the policies they are other calls, and where a round is too short to
                 meet all 4,000 of them, most are first ones
    dpop         the same, each call with a proof of its own
    city         300 systems, 1,400 interfaces asked after Zipf, 10 items, answers of 2 KB, 5 % refused; a minute of it
                 is not enough to have met every pair, so it is neither warm nor cold

Contestants: nginx as a bare proxy; HAProxy, where it is installed, which verifies each token's signature and looks up
purpose and grant in a table, but keeps no record and filters nothing; and the gateway with everything on. All stand at
once and are loaded in turn, `rounds` times; the median counts. What counts is the processor time of a proxy's own
processes for each call (user and system, `/proc`), never how long it took: the callers are Python, and the machine may
have other work. Who cannot run, or cannot do a load, is named. Results: tests/bench/results/traffic.json.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import msgspec
import uvloop
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK
from rich.console import Console
from rich.table import Table

from gateway.identity.keys.keyring import KeyRing
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from tests.bench.data_plane.callers import Told, call
from tests.bench.data_plane.contestants import bare_nginx, free_port, nginx, process, served, wait_port
from tests.bench.data_plane.measure import cpu_seconds
from tests.bench.data_plane.run import hardware
from tests.bench.data_plane.world import CITY, MIX, PURPOSE, SMALL, SUPPLIER, Asking, World, furnish

RESULTS = Path(__file__).parents[1] / "results" / "traffic.json"
CONNECTIONS = 32
NGINX, HAPROXY, GATEWAY = "nginx, bare proxy", "HAProxy, token and grant checked", "gateway, everything on"
ABSENT = {
    "nginx + OPA": ("opa",),
    "Envoy with ext_authz": ("envoy",),
    "Cerbos behind nginx": ("cerbos",),
    "Pomerium": ("pomerium",),
    "Oathkeeper": ("oathkeeper",),
}
console = Console(width=150)


class Standing(msgspec.Struct):
    """A contestant that runs.

    Args:
        base: URL that stands for the supplier's `/api`.
        processes: its processes by name; the first is the one that calls pass through.
    """

    base: str
    processes: dict[str, int]


class Load(msgspec.Struct, frozen=True):
    """One load.

    Args:
        name: for the table.
        world: of which city.
        requests: contestant's base URL, how to ask, a seed, what was told -> requests.
        is_single: whether each call has a connection of its own.
        is_once: whether it is over after one round: what it measures is so once.
        without: who cannot do it, and why.
    """

    name: str
    world: World
    requests: Callable[[str, Asking, int, Told], Iterator[bytes]]
    is_single: bool = False
    is_once: bool = False
    without: dict[str, str] = {}


def loads(mix: World, city: World) -> list[Load]:
    """Every load, in the order in which they are run; `cold` must be the first of its city."""
    anyone = {HAPROXY: "it verifies no DPoP proofs"}

    def first(base: str, ask: Asking, _seed: int, _told: Told) -> Iterator[bytes]:
        return (ask.get(base, *pair) for pair in mix.pairs())

    def repeated(base: str, ask: Asking, _seed: int, _told: Told) -> Iterator[bytes]:
        request = ask.get(base, 0, 0)
        while True:
            yield request

    def of(world: World, how: str) -> Callable[[str, Asking, int, Told], Iterator[bytes]]:
        def made(base: str, ask: Asking, seed: int, _told: Told) -> Iterator[bytes]:
            return (getattr(ask, how)(base, *pair) for pair in world.draws(seed))

        return made

    def proved(base: str, ask: Asking, seed: int, told: Told) -> Iterator[bytes]:
        return (ask.proved(base, *pair, told.nonce) for pair in mix.draws(seed))

    return [
        Load("cold", mix, first, is_once=True),
        Load("repeated", mix, repeated),
        Load("mix", mix, of(mix, "get")),
        Load("traced", mix, of(mix, "traced")),
        Load("connections", mix, of(mix, "get"), is_single=True),
        Load("post", mix, of(mix, "post")),
        Load("dpop", mix, proved, without=anyone),
        Load("city", city, of(city, "get")),
    ]


@contextlib.contextmanager
def supplier(folder: Path, world: World) -> Iterator[int]:
    """nginx that gives the city's answer for each interface; its port."""
    port = free_port()
    servers = f"""server {{ listen 127.0.0.1:{port} backlog=4096;
        location /api/ {{ return 200 '{world.document()}'; }} }}"""
    with nginx(folder, f"supplier{port}", servers):
        wait_port(port)
        yield port


@contextlib.contextmanager
def haproxy(folder: Path, upstream: int, world: World, ring: KeyRing) -> Iterator[Standing]:
    """HAProxy with one thread: a signature checked for each call, expiry, and the grants in a table."""
    home = folder / f"haproxy{upstream}"
    home.mkdir()
    (key,) = ring.jwks()["keys"]
    pem = PyJWK(key).key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (home / "token.pem").write_bytes(pem)
    granted = (
        f"office-{department:02}/i{interface} {PURPOSE}\n"
        for department in range(world.departments)
        for interface in range(world.interfaces)
        if world.is_granted(department, interface)
    )
    (home / "grants.map").write_text("".join(granted), "utf-8")
    port = free_port()
    (home / "haproxy.cfg").write_text(
        f"""
global
    nbthread 1
    maxconn 2000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend calls
    bind 127.0.0.1:{port}
    http-request set-var(txn.department) http_auth_bearer,jwt_payload_query('$.department')
    http-request set-var(txn.expires) http_auth_bearer,jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request set-var(txn.interface) path,field(3,/)
    http-request set-var(txn.purpose) req.hdr(Sharing-Purpose)
    http-request deny deny_status 401 unless {{ http_auth_bearer,jwt_verify("ES256","{home}/token.pem") -m int 1 }}
    http-request deny deny_status 401 if {{ var(txn.expires),sub(txn.now) -m int lt 0 }}
    http-request set-var(txn.granted) var(txn.department),concat(/,txn.interface,),map_str({home}/grants.map)
    http-request deny deny_status 403 unless {{ var(txn.granted),strcmp(txn.purpose) -m int 0 }}
    http-request del-header Authorization
    default_backend supplier
backend supplier
    server s 127.0.0.1:{upstream}
""",
        "utf-8",
    )
    with (home / "log").open("wb") as log:
        command = (shutil.which("haproxy") or "haproxy", "-db", "-f", str(home / "haproxy.cfg"))
        with process(*command, stdout=log, stderr=log) as running:
            wait_port(port)
            yield Standing(f"http://127.0.0.1:{port}/api", {"haproxy": running.pid})


@contextlib.contextmanager
def city(folder: Path, world: World) -> Iterator[tuple[dict[str, Standing], Asking]]:
    """Every contestant before one supplier, and how they are asked."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(supplier(folder, world))
        home = GatewayHome(folder / f"home{upstream}")
        initialise(home, region="442000", department="data-bureau")
        systems = furnish(home, upstream, world)
        ring = KeyRing.open(home.keys(home.settings()))
        port, control = free_port(), free_port()
        bare = stack.enter_context(bare_nginx(folder, upstream))
        found = {NGINX: Standing(bare.base, {"nginx": bare.pids[0]})}
        if shutil.which("haproxy"):
            found[HAPROXY] = stack.enter_context(haproxy(folder, upstream, world, ring))
        processes = stack.enter_context(served(home, port, control))
        ordered = dict(sorted(processes.items(), key=lambda each: not each[0].startswith("worker")))
        found[GATEWAY] = Standing(f"http://127.0.0.1:{port}/{SUPPLIER}", ordered)
        yield found, Asking(ring, f"http://127.0.0.1:{control}", systems)


def measure(load: Load, standing: Standing, ask: Asking, seed: int, seconds: float) -> dict[str, Any]:
    """One round of one load on one contestant."""
    told = Told()
    requests = load.requests(standing.base, ask, seed, told)
    if load.name == "dpop":
        # The first proof is refused with a nonce (RFC 9449 §8), by which the others are made.
        uvloop.run(call(standing.base, iter([next(requests)]), 1, 5, told))
    told.statuses.clear()
    before = {name: cpu_seconds([pid]) for name, pid in standing.processes.items()}
    limit = 600.0 if load.is_once else seconds
    uvloop.run(call(standing.base, requests, CONNECTIONS, limit, told, is_single=load.is_single))
    used = {name: cpu_seconds([pid]) - before[name] for name, pid in standing.processes.items()}
    calls = max(told.calls, 1)
    return {
        "calls": told.calls,
        "statuses": {str(status): count for status, count in sorted(told.statuses.items())},
        "cpu_us_per_call": {name: round(cpu / calls * 1e6, 1) for name, cpu in used.items()},
        "load_average": round(os.getloadavg()[0], 1),
    }


def profile(pid: int, seconds: float, to: Path) -> contextlib.AbstractContextManager[Any]:
    """Keep where a process spends its time, by py-spy where it is installed."""
    spy = shutil.which("py-spy")
    if spy is None:
        return contextlib.nullcontext()
    command = (spy, "record", "-p", str(pid), "-d", str(max(1, int(seconds))), "-f", "raw", "-o", str(to))
    return process(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run(chosen: list[Load], seconds: float, rounds: int, profiles: Path | None = None) -> dict[str, Any]:
    """Every load on every contestant: `load -> contestant -> what it cost`."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="traffic-") as name:
        for world in dict.fromkeys(id(load.world) for load in chosen):
            of_world = [load for load in chosen if id(load.world) == world]
            with city(Path(name), of_world[0].world) as (standing, ask):
                for load in of_world:
                    found[load.name] = _in_turn(load, standing, ask, seconds, rounds, profiles)
    return found


def _in_turn(
    load: Load, standing: dict[str, Standing], ask: Asking, seconds: float, rounds: int, profiles: Path | None
) -> dict[str, Any]:
    able = {name: each for name, each in standing.items() if name not in load.without}
    if not load.is_once:
        for each in able.values():
            measure(load, each, ask, 0, seconds / 2)
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in able}
    for number in range(1 if load.is_once else rounds):
        for name, each in able.items():
            taken[name].append(measure(load, each, ask, number + 1, seconds))
    out: dict[str, Any] = {name: summed(each) for name, each in taken.items()}
    if profiles is not None:
        worker = next(iter(able[GATEWAY].processes.values()))
        with profile(worker, seconds, profiles / f"{load.name}.txt"):
            measure(load, able[GATEWAY], ask, rounds + 1, seconds)
    bare = out[NGINX]["cpu_us_per_call"]
    for line in out.values():
        line["of_nginx_per_cpu_second"] = round(bare / line["cpu_us_per_call"], 3) if line["cpu_us_per_call"] else None
        console.print(f"  {load.name}: {line}")
    return out | {name: {"cannot": why} for name, why in load.without.items() if name in standing}


def summed(taken: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of rounds; `cpu_us_per_call` is of the process that calls pass through, the others stand beside."""
    names = list(taken[0]["cpu_us_per_call"])
    median = {name: round(statistics.median(each["cpu_us_per_call"][name] for each in taken), 1) for name in names}
    return {
        "cpu_us_per_call": median[names[0]],
        "rounds": [each["cpu_us_per_call"][names[0]] for each in taken],
        "beside_us_per_call": {name: median[name] for name in names[1:]},
        "calls": sum(each["calls"] for each in taken),
        "statuses": taken[-1]["statuses"],
        "load_average": taken[-1]["load_average"],
    }


def show(found: dict[str, Any], absent: dict[str, str]) -> None:
    """Print the table."""
    table = Table("load", "contestant", "CPU µs/call", "of nginx per CPU second", "beside it, µs/call", "calls")
    for load, lines in found.items():
        for name, line in lines.items():
            if "cannot" in line:
                table.add_row(load, name, line["cannot"])
                continue
            beside = ", ".join(f"{each} {cost}" for each, cost in line["beside_us_per_call"].items())
            ratio = str(line["of_nginx_per_cpu_second"])
            table.add_row(load, name, str(line["cpu_us_per_call"]), ratio, beside, str(line["calls"]))
    console.print(table)
    for name, why in absent.items():
        console.print(f"{name} could not run: {why}")


def absent_peers() -> dict[str, str]:
    """Who was wanted and does not run here, and why."""
    out = {
        name: "no configuration of it for this traffic is written"
        if all(map(shutil.which, programs))
        else f"no `{programs[0]}` on this machine"
        for name, programs in ABSENT.items()
    }
    if not shutil.which("haproxy"):
        out[HAPROXY] = "no `haproxy` on this machine"
    return out


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small city and short loads: that all of it runs")
    parser.add_argument("--loads", default="", help="which, by comma; default: all")
    parser.add_argument("--seconds", type=float, default=0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each load on each contestant")
    parser.add_argument("--save", type=Path, help="where results are kept")
    parser.add_argument("--profiles", type=Path, help="folder for a profile of the worker for each load (py-spy)")
    options = parser.parse_args()
    if shutil.which("nginx") is None:
        console.print("`nginx` is not installed; nothing can be compared")
        return 1
    seconds = options.seconds or (0.5 if options.quick else 6.0)
    rounds = options.rounds or (1 if options.quick else 3)
    every = (
        loads(SMALL, msgspec.structs.replace(SMALL, granted=0.7, refused=0.05)) if options.quick else loads(MIX, CITY)
    )
    wanted = options.loads.split(",") if options.loads else [each.name for each in every]
    if options.profiles is not None:
        options.profiles.mkdir(parents=True, exist_ok=True)
    # Ended from outside, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    machine = hardware()
    found = run([each for each in every if each.name in wanted], seconds, rounds, options.profiles)
    absent = absent_peers()
    show(found, absent)
    to = options.save or (None if options.quick else RESULTS)
    if to is not None:
        kept = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": options.quick,
            "seconds_each": seconds,
            "rounds": rounds,
            "hardware": machine,
            "load_after": os.getloadavg(),
            "could_not_run": absent,
            "loads": found,
        }
        to.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
        console.print(f"kept in {to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
