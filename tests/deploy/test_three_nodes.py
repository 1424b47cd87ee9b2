"""Three gateways over one PostgreSQL: no node is special, any can die, and a stop given on one holds on all at once."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import pytest

from gateway.client import SharingAuth, new_private_key
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import bearer_token, furnish
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from gateway.runtime.demo.suppliers import register_servers
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.session.api import open_api
from tests.policies.layering import note
from tests.support.deploy_tools import DEPLOY, ROOT
from tests.support.gateways import wait_for
from tests.support.postgres import Postgres, running_postgres

PERSONS = "/public-security/persons"
pytestmark = pytest.mark.deep


def free_base() -> int:
    """A port such that those which three nodes take from it are free."""
    for base in range(20080, 30000, 100):
        try:
            for offset in (0, 1, 10, 11, 20, 21):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


class Front(httpx.HTTPTransport):
    """What a load balancer does: the one address of the issuer leads to the control plane of any node."""

    def __init__(self, issuer_port: int, port: int) -> None:
        super().__init__()
        self._issuer_port, self._port = issuer_port, port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.port == self._issuer_port:
            url = request.url.copy_with(port=self._port)
            request = httpx.Request(request.method, url, headers=request.headers, stream=request.stream)
        return super().handle_request(request)


@dataclass(frozen=True)
class Nodes:
    """What runs."""

    folder: Path
    base: int
    key: str
    script: "subprocess.Popen[str]"
    postgres: Postgres
    path: str

    def home(self, number: int) -> GatewayHome:
        return GatewayHome(self.folder / f"node-{number}")

    def call(self, number: int, issuing: int = 0) -> int:
        """The status of a call through one node, with a token of `issuing`, by default of itself."""
        endpoint = f"http://127.0.0.1:{self.base + 1}/oauth/token"
        base_url = f"http://127.0.0.1:{self.base + 10 * (number - 1)}"
        front = Front(self.base + 1, self.base + 10 * ((issuing or number) - 1) + 1)
        auth = SharingAuth(endpoint, SYSTEM, self.key, purpose=PURPOSE, transport=front)
        with httpx.Client(base_url=base_url, auth=auth, transport=front, timeout=15) as client:
            return client.get(PERSONS, params={"id_number": "x"}).status_code

    def pids(self, number: int) -> list[int]:
        """The processes of one node, its supervisor first; empty while it is not running."""
        found = self.home(number).addresses() or {}
        return [found["pid"], *(pid for pid in found["children"].values() if pid)] if found else []

    def said(self, beginning: str) -> list[str]:
        """What the script says up to the line that begins so."""
        assert self.script.stdout is not None
        lines = [self.script.stdout.readline()]
        while lines[-1] and not lines[-1].startswith(beginning):
            lines.append(self.script.stdout.readline())
        assert lines[-1], lines
        return lines


class Callers:
    """Calls that go on from node to node, each with one retry at the next node, until the block ends."""

    def __init__(self, nodes: Nodes, *, threads: int = 3) -> None:
        self._nodes = nodes
        self.token = bearer_token(f"http://127.0.0.1:{nodes.base + 1}/oauth/token", nodes.key)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._call_on, args=(each,)) for each in range(threads)]
        self.answered: Counter[int] = Counter()
        self.retried: Counter[str] = Counter()
        self.lost: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def one(self, client: httpx.Client, number: int) -> str:
        """What one call at a node came to: `200`, another status with its problem, or the error's name."""
        url = f"http://127.0.0.1:{self._nodes.base + 10 * (number - 1)}{self._nodes.path}"
        headers = {"Authorization": f"Bearer {self.token}", "Sharing-Purpose": PURPOSE}
        try:
            answer = client.get(url, headers=headers)
        except httpx.HTTPError as error:
            return type(error).__name__
        return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['type']}"

    def _call_on(self, first: int) -> None:
        with httpx.Client(trust_env=False, timeout=15) as client:
            turn = first
            while not self._ended.is_set():
                turn += 1
                number = turn % 3 + 1
                outcome = self.one(client, number)
                if outcome != "200":
                    self.retried[outcome] += 1
                    number = number % 3 + 1
                    outcome = self.one(client, number)
                if outcome == "200":
                    self.answered[number] += 1
                else:
                    self.lost.append(f"node {number}: {outcome}")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    population = Population()
    suppliers = register_servers(population)
    key, base = new_private_key(), free_base()
    program = folder / "gateway"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n', "utf-8")
    program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GATEWAY": str(program), "GATEWAY_BASE_PORT": str(base)}
    environment["GATEWAY_REGION"] = REGION
    environment["GATEWAY_POLICIES__PROOFS"] = "known"
    with running_postgres() as postgres:
        # Who runs the tests under `nohup` ignores SIGHUP, and a shell cannot trap what was ignored when it began.
        command = [
            "env",
            "--default-signal=HUP",
            DEPLOY / "three-nodes",
            folder,
            postgres.url(postgres.create_database()),
        ]
        script = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            person = population.marriages[0]["wife"]["id_number"]
            found = Nodes(folder, base, key, script, postgres, f"/civil-affairs/marriages?id_number={person}")
            found.said("ready")
            for supplier in suppliers.values():
                supplier.start()
            furnish(found.home(1), {id_: server.url for id_, server in suppliers.items()}, key)
            yield found
        finally:
            script.send_signal(signal.SIGTERM)
            script.communicate(timeout=60)
            for supplier in suppliers.values():
                supplier.stop()


def test_token_of_one_node_is_good_on_all(nodes: Nodes) -> None:
    """One issuer and shared token keys: a load balancer may send a call anywhere."""
    for issuing in (1, 2, 3):
        for number in (1, 2, 3):
            assert wait_for(lambda number=number, issuing=issuing: nodes.call(number, issuing) == 200)


def test_stop_given_on_one_node_holds_on_all_when_it_returns(nodes: Nodes) -> None:
    """BARRIER across nodes: the very next call anywhere is refused; lifting gives back everywhere."""
    for number in (1, 2, 3):
        with open_api(nodes.home(number).root, "police-chen") as api:
            answer = api.post(
                "/v1/grants/G-2026-0001/suspension", {"violation": "beyond the purpose", "rectify_by": "2099-01-31"}
            )
        assert [nodes.call(other) for other in (1, 2, 3)] == [403] * 3
        assert answer["barrier"]["out"] == []
        with open_api(nodes.home(number).root, "police-chen") as api:
            api.post("/v1/grants/G-2026-0001/suspension/lift", {"reason": "rectified"})
        assert wait_for(lambda: [nodes.call(other) for other in (1, 2, 3)] == [200] * 3)


def test_rolling_restart_loses_no_call_that_one_retry_would_not_cover(nodes: Nodes) -> None:
    """Node after node drains, ends and comes back while calls go on: each call has its answer, at most one node on."""
    before = [nodes.pids(number)[0] for number in (1, 2, 3)]
    with Callers(nodes) as callers:
        nodes.script.send_signal(signal.SIGHUP)
        nodes.said("rolled")
        here = dict(callers.answered)
        assert wait_for(lambda: all(callers.answered[number] > here.get(number, 0) + 5 for number in (1, 2, 3)))
    assert callers.lost == []
    assert not set(before) & {nodes.pids(number)[0] for number in (1, 2, 3)}
    print(f"rolling restart: {sum(callers.answered.values())} answered, retried {dict(callers.retried)}, lost none")


@pytest.mark.parametrize("dead", [1, 2, 3])
def test_any_node_may_die_at_once(nodes: Nodes, dead: int) -> None:
    """All of a node's processes are killed: calls go on at the others, a stop given there returns, the node returns."""
    giving = dead % 3 + 1
    with Callers(nodes) as callers:
        for pid in nodes.pids(dead):
            os.kill(pid, signal.SIGKILL)
        with open_api(nodes.home(giving).root, "police-chen") as api:
            answer = api.post(
                "/v1/grants/G-2026-0001/suspension", {"violation": "beyond the purpose", "rectify_by": "2099-01-31"}
            )
            left = [number for number in (1, 2, 3) if number != dead]
            assert [nodes.call(number) for number in left] == [403] * 2
            api.post("/v1/grants/G-2026-0001/suspension/lift", {"reason": "rectified"})
        assert f"three-nodes/node-{dead}" in answer["barrier"]["confirmed"] + answer["barrier"]["out"]
        assert wait_for(lambda: nodes.pids(dead) and nodes.call(dead) == 200, 60)
    assert callers.lost == []
    print(
        f"node {dead} killed: stop after {answer['barrier']['milliseconds']} ms, out {answer['barrier']['out']}; "
        f"{sum(callers.answered.values())} answered, retried {dict(callers.retried)}, lost none"
    )


def test_stale_denies_on_every_node_while_the_database_is_away(nodes: Nodes) -> None:
    """Calls go on from what the workers hold within the freshness limit, then none does, and all do afterwards."""
    callers = Callers(nodes)
    with httpx.Client(trust_env=False, timeout=15) as client:
        assert [callers.one(client, number) for number in (1, 2, 3)] == ["200"] * 3
        nodes.postgres.stop()
        try:
            assert [callers.one(client, number) for number in (1, 2, 3)] == ["200"] * 3
            for number in (1, 2, 3):
                assert wait_for(lambda number=number: callers.one(client, number) == "503 /problems/state-stale", 10)
        finally:
            nodes.postgres.start()
        for number in (1, 2, 3):
            assert wait_for(lambda number=number: callers.one(client, number) == "200", 30)
    with open_api(nodes.home(3).root, "police-chen") as api:
        stop = {"violation": "beyond the purpose", "rectify_by": "2099-01-31"}
        assert api.post("/v1/grants/G-2026-0001/suspension", stop)["barrier"]["out"] == []
        api.post("/v1/grants/G-2026-0001/suspension/lift", {"reason": "rectified"})


def test_policies_put_in_force_on_one_node_decide_on_all_when_it_returns(nodes: Nodes) -> None:
    """One mechanism for one node and many: every node has the set, and its workers and officers' acts go by it."""
    shipped = read_set(default_policies_root(), ("national",))
    rule = note("city-rule") + 'forbid (principal, action in Action::"use", resource);'
    body = {"layers": ["national", "city"], "files": {**shipped.files, "city/c.cedar": rule}}
    with open_api(nodes.home(2).root, "registrar") as api:
        api.post("/v1/policies/shadow", body)
    assert [nodes.call(number) for number in (1, 2, 3)] == [200] * 3
    with open_api(nodes.home(2).root, "registrar") as api:
        assert wait_for(lambda: api.get("/v1/policies/shadow")["tally"]["losses"] >= 3, 10)
        assert len(api.get("/v1/policies/shadow")["nodes"]) == 3
        said = api.post("/v1/policies/activation", {**body, "reason": "a trial"})
    assert [nodes.call(number) for number in (1, 2, 3)] == [403] * 3
    assert said["barrier"]["out"] == []
    for number in (1, 2, 3):
        with open_api(nodes.home(number).root, "registrar") as api:
            assert api.get("/v1/policies")["digest"] == said["activation"]["digest"]
    with open_api(nodes.home(3).root, "registrar") as api:
        api.post("/v1/policies/rollback", {"revives": True})
    assert [nodes.call(number) for number in (1, 2, 3)] == [200] * 3


def test_each_node_signs_a_log_of_its_own(nodes: Nodes) -> None:
    """One origin and one key a node: three checkpoints with three names."""
    notes = [(nodes.home(number).ledger / "tree" / "checkpoint").read_text("utf-8") for number in (1, 2, 3)]
    assert [note.splitlines()[0] for note in notes] == [f"three-nodes/node-{number}" for number in (1, 2, 3)]
    keys = {note.rpartition(" ")[2][:6] for note in notes}
    assert len(keys) == 3
