"""Nodes of two neighbouring versions run side by side through a rolling upgrade, under load, with acts on either.

The older version is that of `test_older_releases`: without a tag the commit before the newest change of the state's
schema, so that the first node of the new version moves it on under the feet of the old one. Its source is taken from
the repository, with the packages that are installed here.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from gateway.client import SharingAuth, new_private_key
from gateway.ledger.log.notes import ED25519, VerifierKey
from gateway.ledger.verify.record import verify_log
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import bearer_token, furnish
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from gateway.runtime.demo.suppliers import SupplierServer, register_servers
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from gateway.runtime.ring import open_ring
from tests.deploy.older.pack import unpack_source
from tests.deploy.test_older_releases import git, older_version
from tests.support.fronts import free_port
from tests.support.gateways import RunningGateway, wait_for
from tests.support.postgres import running_postgres

pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]

STOPPED, CALLED = "/public-security/persons", "/civil-affairs/marriages"
SUSPENSION = "/v1/grants/G-2026-0001/suspension"
STOP = {"violation": "beyond the purpose", "rectify_by": "2099-01-31"}


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the older version."""
    commit = older_version()
    if commit is None:
        pytest.skip("this is no clone with an older version to upgrade from")
    print(f"upgraded from {git('log', '-1', '--format=%h of %ci', commit)}")
    folder = tmp_path_factory.mktemp("older")
    unpack_source(commit, folder)
    return folder


class Nodes:
    """Two nodes over one state, each made and served by the older source until it is upgraded."""

    def __init__(self, folder: Path, url: str, older: Path, suppliers: dict[str, SupplierServer]) -> None:
        self.key = new_private_key()
        self.nodes: list[RunningGateway] = []
        control = [free_port(), free_port()]
        for number in (0, 1):
            home = GatewayHome(folder / f"node-{number}")
            origin = f"rolling/node-{number}"
            command = [sys.executable, "-m", "gateway", "init", str(home.root), "--region", REGION, "--json"]
            if number:
                command += ["--shared-keys", str(self.nodes[0].home.root / "keys")]
            settings = {"GATEWAY_STATE__URL": url, "GATEWAY_LEDGER__ORIGIN": origin, "PYTHONPATH": str(older)}
            subprocess.run(command, cwd=older, env={**os.environ, **settings}, check=True, capture_output=True)
            (home.root / "gateway.toml").write_text(
                f'format = 1\n[state]\nurl = "{url}"\n[ledger]\norigin = "{origin}"\n'
                f'[control]\nissuer = "http://127.0.0.1:{control[0]}"\nport = {control[number]}\n',
                "utf-8",
            )
            ports = {"GATEWAY_DATA_PLANE__PORT": str(free_port()), "GATEWAY_CONTROL__PORT": str(control[number])}
            node = RunningGateway(home, {}, Population(), suppliers, self.key, ports, code=older)
            node.start()
            self.nodes.append(node)
        furnish(self.nodes[0].home, {id_: server.url for id_, server in suppliers.items()}, self.key)
        endpoint = f"http://127.0.0.1:{control[0]}/oauth/token"
        # One for each node: what belongs to one origin is shown to no other.
        self.auths = [SharingAuth(endpoint, SYSTEM, self.key, purpose=PURPOSE) for _ in self.nodes]
        self.token = bearer_token(endpoint, self.key)

    def statuses(self) -> list[int]:
        """What a call under the grant that is stopped comes to at each node."""
        return [self.call(node, STOPPED).status_code for node in self.nodes]

    def call(self, node: RunningGateway, path: str) -> httpx.Response:
        auth = self.auths[self.nodes.index(node)]
        with httpx.Client(base_url=node.data_plane, auth=auth, trust_env=False, timeout=15) as client:
            return client.get(path, params={"id_number": "x"})

    def upgrade(self, number: int) -> None:
        """Drain and end a node, and start it with the present source."""
        node = self.nodes[number]
        assert node.stop() == 0
        node.code = None
        node.start()
        assert wait_for(lambda: self.call(node, CALLED).status_code == 200, 60)

    def stops_and_goes_on(self, number: int) -> None:
        """BARRIER: a stop given on a node holds on both when it returns; lifted on the other it flows on both."""
        with self.nodes[number].officer("police-chen") as api:
            answer: dict[str, Any] = api.post(SUSPENSION, STOP)
        assert self.statuses() == [403, 403]
        assert answer["barrier"]["out"] == [], "every node has said that it holds"
        with self.nodes[1 - number].officer("police-chen") as api:
            api.post(f"{SUSPENSION}/lift", {"reason": "rectified"})
        assert wait_for(lambda: self.statuses() == [200, 200], 20), self.statuses()

    def close(self) -> None:
        for node in self.nodes:
            node.stop()


class Callers:
    """Calls that go on at one node and the other, each with one retry at the other, until the block ends."""

    def __init__(self, nodes: Nodes, threads: int = 2) -> None:
        self._nodes = nodes
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._call_on, args=(each,)) for each in range(threads)]
        self.answered: Counter[int] = Counter()
        self.retried: Counter[str] = Counter()
        self.lost: list[str] = []
        self._urls = [node.data_plane for node in nodes.nodes]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _one(self, client: httpx.Client, number: int) -> str:
        headers = {"Authorization": f"Bearer {self._nodes.token}", "Sharing-Purpose": PURPOSE}
        try:
            answer = client.get(f"{self._urls[number]}{CALLED}?id_number=x", headers=headers)
        except httpx.HTTPError as error:
            return type(error).__name__
        return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"

    def _call_on(self, turn: int) -> None:
        with httpx.Client(trust_env=False, timeout=15) as client:
            while not self._ended.is_set():
                turn += 1
                outcome = self._one(client, turn % 2)
                if outcome == "200":
                    self.answered[turn % 2] += 1
                    continue
                self.retried[outcome[:60]] += 1
                outcome = self._one(client, 1 - turn % 2)
                if outcome == "200":
                    self.answered[1 - turn % 2] += 1
                else:
                    self.lost.append(f"node {1 - turn % 2}: {outcome}")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, older: Path) -> Iterator[Nodes]:
    suppliers = register_servers(Population())
    with contextlib.ExitStack() as stack:
        for supplier in suppliers.values():
            supplier.start()
            stack.callback(supplier.stop)
        postgres = stack.enter_context(running_postgres())
        url = postgres.url(postgres.create_database())
        made = Nodes(tmp_path_factory.mktemp("nodes"), url, older, suppliers)
        stack.callback(made.close)
        yield made


def test_rolling_upgrade_loses_no_call_and_no_stop(nodes: Nodes) -> None:
    """Old and old, new beside old, new and new: each stop holds on both nodes when it returns, whichever node took it,
    and every call has its answer at most one node on; both logs verify from their first leaf of then."""
    assert wait_for(lambda: nodes.statuses() == [200, 200], 20)
    nodes.stops_and_goes_on(0)
    with Callers(nodes) as callers:
        for upgraded in (0, 1):
            here = dict(callers.answered)
            nodes.upgrade(upgraded)
            for number in (0, 1):
                nodes.stops_and_goes_on(number)
            assert wait_for(lambda here=here: all(callers.answered[each] > here.get(each, 0) + 5 for each in (0, 1)))
    print(f"rolling upgrade: {sum(callers.answered.values())} answered, retried {dict(callers.retried)}")
    assert callers.lost == []
    for node in nodes.nodes:
        settings = node.home.settings()
        origin = node.home.origin(settings)
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("GATEWAY_PASSPHRASE", raising=False)
            signer = open_ring(node.home, settings, frozenset({"log"})).log_signer(origin)
        key = VerifierKey(origin, ED25519, signer.public_bytes).text()
        assert node.stop() == 0
        assert verify_log(node.home.ledger, key).size > 0
