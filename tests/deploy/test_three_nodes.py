"""Three gateways over one PostgreSQL: a token of one is good on all, and a stop given on one holds on all at once."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.client import SharingAuth, new_private_key
from gateway.runtime.api import open_api
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import furnish
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from gateway.runtime.demo.suppliers import register_servers
from gateway.runtime.home import GatewayHome
from tests.support.deploy_tools import DEPLOY
from tests.support.gateways import wait_for
from tests.support.postgres import running_postgres

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


@dataclass(frozen=True)
class Nodes:
    """What runs."""

    folder: Path
    base: int
    key: str

    def home(self, number: int) -> GatewayHome:
        return GatewayHome(self.folder / f"node-{number}")

    def call(self, number: int) -> int:
        """The status of a call through one node, with a token of the first."""
        endpoint = f"http://127.0.0.1:{self.base + 1}/oauth/token"
        auth = SharingAuth(endpoint, SYSTEM, self.key, purpose=PURPOSE)
        base_url = f"http://127.0.0.1:{self.base + 10 * (number - 1)}"
        with httpx.Client(base_url=base_url, auth=auth, trust_env=False, timeout=15) as client:
            return client.get(PERSONS, params={"id_number": "x"}).status_code


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    suppliers = register_servers(Population())
    key, base = new_private_key(), free_base()
    environment = {
        **os.environ,
        "GATEWAY": str(Path(sys.executable).parent / "gateway"),
        "GATEWAY_BASE_PORT": str(base),
    }
    with running_postgres() as postgres:
        command = [str(DEPLOY / "three-nodes"), str(folder), postgres.url(postgres.create_database())]
        script = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            assert script.stdout is not None
            said = [script.stdout.readline()]
            while said[-1] and not said[-1].startswith("ready"):
                said.append(script.stdout.readline())
            assert said[-1].startswith("ready"), said
            for supplier in suppliers.values():
                supplier.start()
            found = Nodes(folder, base, key)
            furnish(found.home(1), {id_: server.url for id_, server in suppliers.items()}, key)
            yield found
        finally:
            script.send_signal(signal.SIGTERM)
            script.communicate(timeout=60)
            for supplier in suppliers.values():
                supplier.stop()


def test_token_of_one_node_is_good_on_all(nodes: Nodes) -> None:
    """One issuer and shared token keys: a load balancer may send a call anywhere."""
    assert [wait_for(lambda number=number: nodes.call(number) == 200) for number in (1, 2, 3)] == [True] * 3


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


def test_each_node_signs_a_log_of_its_own(nodes: Nodes) -> None:
    """One origin and one key a node: three checkpoints with three names."""
    notes = [(nodes.home(number).ledger / "tree" / "checkpoint").read_text("utf-8") for number in (1, 2, 3)]
    assert [note.splitlines()[0] for note in notes] == [f"three-nodes/node-{number}" for number in (1, 2, 3)]
    keys = {note.rpartition(" ")[2][:6] for note in notes}
    assert len(keys) == 3
