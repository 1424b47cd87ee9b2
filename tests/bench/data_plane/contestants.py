"""The contestants: each one worker in front of the same supplier, started and stopped here, on loopback."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from gateway.domain.directory import (
    DataItem,
    Dataset,
    Department,
    Interface,
    Level,
    Purpose,
    SharingAttribute,
    SharingMode,
    System,
    UpdateCycle,
)
from gateway.domain.grants import Approval, Grant
from gateway.domain.hosts import Host, HostState
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.tokens.issuing import TokenIssuer
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from gateway.store import Store

REPOSITORY = Path(__file__).parents[3]
HERE = Path(__file__).parent
ROW = {
    "xm": "张三",
    "gmsfhm": "442000199001011234",
    "hyzk": "10",
    "csrq": "1990-01-01",
    "mz": "01",
    "jg": "广东省中山市石岐街道",
    "dz": "广东省中山市石岐街道民权路一号",
    "lxdh": "13800000000",
}
GRANTED = ("csrq", "hyzk", "xm")
AUDIENCE = "sharing-gateway"


class Contestant(msgspec.Struct):
    """One that runs.

    Args:
        name: for the table.
        base: URL that stands for the supplier's `/api`.
        pids: the processes whose processor time counts: the proxy's own.
        fields: header fields a call must bear.
        all_pids: those and what works for them beside (control, ledger, OPA).
    """

    name: str
    base: str
    pids: list[int]
    fields: dict[str, str]
    all_pids: list[int]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_port(port: int, seconds: float = 30) -> None:
    """Until somebody listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def children_of(pid: int) -> list[int]:
    """Its child processes."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


@contextlib.contextmanager
def process(*command: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block runs."""
    running = subprocess.Popen(command, **options)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def nginx(folder: Path, name: str, servers: str, connections: int = 30000) -> Iterator[list[int]]:
    """An nginx with one worker; its worker's pid."""
    home = folder / name
    home.mkdir()
    config = home / "nginx.conf"
    config.write_text(
        f"""
        worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log warn; user root;
        worker_rlimit_nofile 65536;
        events {{ worker_connections {connections}; multi_accept on; }}
        http {{
            access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; default_type application/json;
            client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/f;
            uwsgi_temp_path {home}/u; scgi_temp_path {home}/s; sendfile on; tcp_nodelay on;
            {servers}
        }}"""
    )
    with process(shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(config), "-p", str(home)) as master:
        end = time.monotonic() + 10
        while not children_of(master.pid) and time.monotonic() < end:
            time.sleep(0.05)
        yield children_of(master.pid)


def document(rows: int) -> str:
    """A supplier's answer of so many rows."""
    return json.dumps({"code": 0, "message": "ok", "data": [ROW] * rows}, ensure_ascii=False)


@contextlib.contextmanager
def supplier(folder: Path) -> Iterator[int]:
    """The supplier: nginx with answers of one row, 100 KB and 10 MB; its port."""
    port = free_port()
    files = folder / "answers"
    files.mkdir()
    row_bytes = len(document(2).encode()) - len(document(1).encode())
    (files / "kb100").write_text(document(100_000 // row_bytes), "utf-8")
    (files / "mb10").write_text(document(10_000_000 // row_bytes), "utf-8")
    servers = f"""server {{ listen 127.0.0.1:{port} backlog=4096; root {files};
        location = /api/one {{ return 200 '{document(1)}'; }}
        location = /api/kb100 {{ try_files /kb100 =404; }}
        location = /api/mb10 {{ try_files /mb10 =404; }}
    }}"""
    with nginx(folder, "supplier", servers):
        wait_port(port)
        yield port


@contextlib.contextmanager
def bare_nginx(folder: Path, upstream: int, listen: str = "", ssl: str = "") -> Iterator[Contestant]:
    """(a) nginx as a bare proxy."""
    port = free_port()
    servers = f"""upstream s {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{ listen 127.0.0.1:{port} backlog=4096 {listen}; {ssl}
        location / {{ proxy_pass http://s; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}"""
    with nginx(folder, f"bare{port}", servers) as pids:
        wait_port(port)
        scheme = "https" if listen else "http"
        yield Contestant("(a) nginx, bare proxy", f"{scheme}://127.0.0.1:{port}/api", pids, {}, pids)


REGO = """package sharing
default allow := false
allow if {
    input.headers["sharing-purpose"] == data.grants[input.headers["x-system"]].purpose
    time.now_ns() < data.grants[input.headers["x-system"]].until
}
"""


@contextlib.contextmanager
def nginx_and_opa(folder: Path, upstream: int, opa: str) -> Iterator[Contestant]:
    """(b) nginx asking OPA (`auth_request`) for each call; OPA writes its decision log to disk."""
    home = folder / "opa"
    home.mkdir()
    (home / "policy.rego").write_text(REGO + 'main := {"allowed": allow}\n', "utf-8")
    (home / "data.json").write_text(
        json.dumps({"grants": {"marriage-desk": {"purpose": "marriage-registration", "until": 4102444800 * 10**9}}})
    )
    port, opa_port, shim = free_port(), free_port(), free_port()
    # auth_request needs a status; OPA's data API answers 200 either way, so its system entry point is used:
    # `POST /` evaluates system/main and answers 200 or, where it is undefined, 404.
    (home / "system.rego").write_text(
        """package system
main := {"allow": true} if {
    input.purpose == data.grants[input.system].purpose
    time.now_ns() < data.grants[input.system].until
}
""",
        "utf-8",
    )
    log = (home / "decisions.log").open("wb")
    command = (opa, "run", "--server", f"--addr=127.0.0.1:{opa_port}", "--set=decision_logs.console=true")
    files = (str(home / "system.rego"), str(home / "data.json"))
    servers = f"""upstream s {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    upstream opa {{ server 127.0.0.1:{opa_port}; keepalive 256; keepalive_requests 1000000000; }}
    server {{ listen 127.0.0.1:{port} backlog=4096;
        location / {{ auth_request /decide; proxy_pass http://s; proxy_http_version 1.1;
            proxy_set_header Connection ""; }}
        location = /decide {{ internal; proxy_pass http://opa/; proxy_method POST; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Content-Type application/json;
            proxy_pass_request_body off;
            proxy_set_body '{{"system":"$http_x_system","purpose":"$http_sharing_purpose"}}'; }}
    }}"""
    del shim
    environment = {**os.environ, "GOMAXPROCS": "1"}
    with process(*command, *files, stdout=log, stderr=log, env=environment) as running:
        wait_port(opa_port)
        with nginx(folder, "auth", servers) as pids:
            wait_port(port)
            fields = {"X-System": "marriage-desk", "Sharing-Purpose": "marriage-registration"}
            both = [*pids, running.pid]
            yield Contestant("(b) nginx + OPA, decisions logged", f"http://127.0.0.1:{port}/api", both, fields, both)
    log.close()


@contextlib.contextmanager
def fastapi_route(folder: Path, upstream: int) -> Iterator[Contestant]:
    """(c) a FastAPI route that calls httpx and evaluates Cedar strings each call."""
    port = free_port()
    environment = {**os.environ, "SUPPLIER": f"http://127.0.0.1:{upstream}", "PYTHONPATH": str(HERE)}
    command = (sys.executable, "-m", "uvicorn", "plain_route:app", "--port", str(port), "--log-level", "error")
    with (
        (folder / "fastapi.log").open("wb") as log,
        process(*command, env=environment, stdout=log, stderr=log) as running,
    ):
        wait_port(port)
        fields = {"X-System": "marriage-desk", "Sharing-Purpose": "marriage-registration"}
        yield Contestant(
            "(c) FastAPI + httpx + cedarpy", f"http://127.0.0.1:{port}/api", [running.pid], fields, [running.pid]
        )


def furnish(home: GatewayHome, upstream: int) -> System:
    """One supplier, one dataset with three interfaces, one system with a grant of three of eight items."""
    now = datetime.now(UTC)
    approval = Approval("负责人", now - timedelta(days=2), "1")
    system = System("marriage-desk", "civil-affairs", "婚姻登记系统")
    settings = home.settings()
    store = Store.open(home.state_url(settings))
    with store.transaction() as tx:
        for name in ("public-security", "civil-affairs"):
            tx.put_department(Department(name, name, "442000", Level.CITY))
        tx.put_system(system)
        tx.put_purpose(Purpose("marriage-registration", "婚姻登记"))
        entry = tx.submit_dataset(
            Dataset(
                id="household",
                code="307010001/1",
                name="常住人口登记信息",
                supplier="public-security",
                items=tuple(DataItem(name, name) for name in ROW),
                sharing_attribute=SharingAttribute.CONDITIONAL,
                sharing_modes=(SharingMode.QUERY,),
                update_cycle=UpdateCycle.DAY,
                format="json",
                grade=2,
                classification="personal",
                scope="civil affairs",
                purposes=("marriage-registration",),
                conditions="for the matter at hand",
            )
        )
        tx.release_dataset(entry.id, entry.version)
        tx.put_host(
            Host(
                "public-security",
                "127.0.0.1",
                upstream,
                is_tls=False,
                addresses=("127.0.0.1",),
                state=HostState.CONFIRMED,
            )
        )
        for name in ("one", "kb100", "mb10"):
            tx.put_interface(
                Interface(
                    id=name,
                    supplier="public-security",
                    dataset="household",
                    upstream=f"http://127.0.0.1:{upstream}/api/{name}",
                    places={item: f"/{item}" for item in ROW},
                    plain_http=True,
                )
            )
        tx.insert_grant(
            Grant(
                id="grant-1",
                department="civil-affairs",
                dataset="household",
                items=GRANTED,
                purposes=("marriage-registration",),
                modes=(SharingMode.QUERY,),
                valid_from=now - timedelta(days=1),
                valid_until=now + timedelta(days=300),
                legal_basis="婚姻登记条例",
                scenario="marriage registration",
                scope_of_use="checking identity",
                demand_approval=approval,
                supply_approval=approval,
            )
        )
    store.close()
    return system


@contextlib.contextmanager
def served(home: GatewayHome, port: int, control: int, **environment: str) -> Iterator[dict[str, int]]:
    """`gateway serve` with one worker at these ports, everything on; its processes by name, `supervisor` among them."""
    options = {
        **os.environ,
        "GATEWAY_DATA_PLANE__PORT": str(port),
        "GATEWAY_CONTROL__PORT": str(control),
        "GATEWAY_DATA_PLANE__WORKERS": "1",
        "GATEWAY_DATA_PLANE__DRAIN_SECONDS": "3",
        "GATEWAY_SUPPLIERS__NETWORKS": "127.0.0.0/8",
        **environment,
    }
    said = home.root / "bench.log"
    command = (sys.executable, "-m", "gateway", "serve", "--home", str(home.root))
    with said.open("wb") as log, process(*command, env=options, stdout=log, stderr=log, cwd=REPOSITORY) as running:
        end = time.monotonic() + 60
        while not (addresses := home.addresses()):
            if running.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the gateway did not start: {said.read_text()[-2000:]}")
            time.sleep(0.1)
        wait_port(port)
        yield {**addresses["children"], "supervisor": running.pid}


@contextlib.contextmanager
def gateway(folder: Path, upstream: int, name: str = "home", **environment: str) -> Iterator[Contestant]:
    """(d) ours with everything on: `gateway serve` with one worker."""
    home = GatewayHome(folder / name)
    initialise(home, region="442000", department="data-bureau")
    system = furnish(home, upstream)
    port, control = free_port(), free_port()
    ring = KeyRing.open(home.keys(home.settings()))
    token, _ = TokenIssuer(ring, f"http://127.0.0.1:{control}", AUDIENCE, time.time).issue(system)
    with served(home, port, control, **environment) as processes:
        fields = {"Authorization": f"Bearer {token}", "Sharing-Purpose": "marriage-registration"}
        scheme = "https" if "GATEWAY_DATA_PLANE__TLS_CERTIFICATE" in environment else "http"
        base = f"{scheme}://127.0.0.1:{port}/public-security"
        yield Contestant("(d) gateway, everything on", base, [worker_of(processes)], fields, list(processes.values()))


def worker_of(processes: dict[str, int]) -> int:
    """The pid of the worker."""
    return next(pid for name, pid in processes.items() if name.startswith("worker"))
