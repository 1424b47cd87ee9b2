"""The four users' walks: docs/first-day.md is walked as it stands, from the built wheel in an empty environment.

Every line of its blocks is a command that a person types; how many each may need is held. What is done by hand beside
the shell is done here: the supplier's service shows what its host's claim says.
"""

import json
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.certificates import Authority
from tests.support.installed import ROOT, bare_environment, build_wheel, install_alone

PAGE = (ROOT / "docs" / "first-day.md").read_text("utf-8")
GOALS = {"Operator": 11, "Supplier": 8, "Developer": 3, "Auditor": 4}
"""The most commands that each types; the operator installs the wheel besides."""
HOST = "household.police.example"
PERSON = {"name": "张三", "id_number": "442000199001011234", "marital_status": "未婚", "phone": "13800000000"}
OPENAPI = """
openapi: 3.0.3
info: {title: household, version: "1"}
servers: [{url: "https://%s"}]
paths:
  /persons:
    get:
      parameters: [{name: id_number, in: query, schema: {type: string}}]
      responses:
        "200":
          description: one person
          content:
            application/json:
              schema:
                type: object
                properties: {name: {type: string}, id_number: {type: string}, marital_status: {type: string}}
"""


def walk() -> list[tuple[str, str]]:
    """(user, command) of the page, in order; the part before the first user is for who wants to look."""
    found = []
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE):
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            found += [(title.partition(":")[0], line) for line in block.splitlines()]
    return found


def looking() -> list[str]:
    """The commands of the part for who wants to look."""
    block = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert block
    return block[1].splitlines()


def test_nobody_types_more_than_the_goal() -> None:
    """Each user's commands, counted."""
    counted = Counter(user for user, _ in walk())
    assert set(counted) == set(GOALS)
    assert {user: count for user, count in counted.items() if count > GOALS[user]} == {}
    assert len(looking()) == 3


@pytest.fixture(scope="module")
def bin_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it."""
    wheel = build_wheel(tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist"))
    return install_alone(wheel, tmp_path_factory.mktemp("venv"))


class Shell:
    """A person's shell in a folder of its own."""

    def __init__(self, bin_: Path, folder: Path, places: dict[str, str]) -> None:
        self.folder = folder
        self._places = places
        ports = {"GATEWAY_DATA_PLANE__PORT": places["8080"], "GATEWAY_CONTROL__PORT": places["8081"]}
        self.environment = bare_environment(bin_, folder, **ports)
        self._servers: list[subprocess.Popen[bytes]] = []

    def here(self, line: str) -> str:
        """A line of the page with this machine's paths and ports."""
        for shown, place in self._places.items():
            line = line.replace(shown, place)
        return line

    def type(self, line: str) -> str:
        """Run one line; what it printed. One that serves goes on until `close`, as in a terminal of its own."""
        line = self.here(line)
        if " serve " in line:
            return self._serve(line)
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def _serve(self, line: str) -> str:
        log = self.folder / f"serve-{len(self._servers)}.log"
        with log.open("wb") as file:
            server = subprocess.Popen(
                ["bash", "-c", f"exec {line}"], cwd=self.folder, env=self.environment, stdout=file, stderr=file
            )
        self._servers.append(server)
        deadline = time.monotonic() + 100
        while "ready;" not in (said := log.read_text("utf-8")) and server.poll() is None:
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        assert server.poll() is None, said
        return said

    def close(self) -> None:
        """End what serves; each has to end well."""
        for server in self._servers:
            server.send_signal(signal.SIGTERM)
        assert [server.wait(60) for server in self._servers] == [0] * len(self._servers)
        self._servers.clear()


@pytest.fixture
def shell(bin_: Path, tmp_path: Path) -> Iterator[Shell]:
    """A shell for one walk; the home is not made yet."""
    control, plane = free_ports(2)
    (tmp_path / "desk").mkdir()
    made = Shell(
        bin_,
        tmp_path / "desk",
        {"/srv/gateway": str(tmp_path / "home"), "8080": plane, "8081": control, "10.20.0.0/16": "127.0.0.0/8"},
    )
    yield made
    for server in made._servers:
        server.kill()
        server.wait()


def free_ports(count: int) -> list[str]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return ports


class Service:
    """The supplier's service: answers whom it knows, and shows what it is told to."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self.calls = 0


@contextmanager
def served(service: Service, authority: Authority, folder: Path) -> Iterator[str]:
    """`service` over TLS on loopback; yields `address:port`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            target = urlsplit(self.path)
            if target.path in service.shown:
                content, kind = service.shown[target.path].encode(), "text/plain"
            else:
                service.calls += 1
                is_known = parse_qs(target.query).get("id_number") == [PERSON["id_number"]]
                content, kind = json.dumps(PERSON if is_known else None).encode(), "application/json"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.write("127.0.0.1", folder / "service.pem"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def next_steps(said: str) -> list[str]:
    """What a command printed under "what to do next"."""
    return [line.strip() for line in said.partition("what to do next:\n")[2].splitlines() if line.startswith("  ")]


@pytest.mark.deep
def test_the_page_is_walked_as_it_stands(shell: Shell, tmp_path: Path) -> None:
    """Four people, from nothing to the first call, its stop and its record; `init` and `claim` say what comes next."""
    service, authority = Service(), Authority()
    authority.write_ca(shell.folder / "ca.pem")
    (shell.folder / "first-call.sh").write_bytes((ROOT / "docs" / "callers" / "shell" / "first-call.sh").read_bytes())
    with served(service, authority, tmp_path) as host:
        shell._places |= {f"{HOST}:443": host, HOST: host}
        (shell.folder / "openapi.yaml").write_text(OPENAPI % host, "utf-8")
        said: dict[str, str] = {}
        steps = walk()
        for number, (user, line) in enumerate(steps):
            said[line] = told = shell.type(line)
            following = [shell.here(each) for _, each in steps[number + 1 :]]
            if "gateway init" in line:
                printed = next_steps(told)
                assert printed[-1] == "gateway docs first-day"
                assert printed[:-1] == following[: len(printed) - 1]
                key = re.search(r"verifier key, for auditors: (\S+)", told)
                assert key
                shell.environment["VERIFIER_KEY"] = key[1]
            elif "hosts claim" in line:
                where, text = re.search(r"GET https://[^/]+(\S+) with this text:\n\s+(\S+)", told).groups()  # type: ignore[union-attr]
                service.shown[where] = text
                assert f"then: {following[0]}" in told
            elif "interfaces try" in line:
                assert "1 rows" in told
            elif "first-call.sh" in line:
                assert json.loads(told[told.index("{") : told.rindex("}") + 1]) == {
                    "name": "张三",
                    "marital_status": "未婚",
                }
                assert "record " in told
            elif "records find" in line:
                assert "g-2026-0001" in told, user
            elif "gateway verify" in line:
                assert "export verified" in told
        assert service.calls == 3, "tried twice and called once"
        call = next(line for line in said if "first-call.sh" in line)
        with pytest.raises(AssertionError, match="/problems/suspended"):
            shell.type(call)
        assert service.calls == 3
        shell.close()


@pytest.mark.deep
def test_three_commands_to_a_first_call(shell: Shell) -> None:
    """The sample: made, served, called; a second call too, and nothing where no gateway runs."""
    made, serve, call = looking()
    assert next_steps(shell.type(made)) == [
        each.replace(" sample", f" {shell.folder}/sample") for each in (serve, call)
    ]
    with pytest.raises(AssertionError, match="no gateway runs in"):
        shell.type(f"{call} --once")
    shell.type(serve)
    for _ in range(2):
        told = shell.type(f"{call} --once")
        assert '200 {"data":[{' in told
        assert "all as told" in told
    shell.close()
    with pytest.raises(AssertionError, match="is not empty"):
        shell.type(made)
