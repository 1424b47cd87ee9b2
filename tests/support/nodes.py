"""Whole gateways over one PostgreSQL, in which each has a door of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.client import new_private_key
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import bearer_token, furnish
from gateway.runtime.demo.suppliers import register_servers
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from tests.support.faults import cut_connections
from tests.support.fronts import free_port
from tests.support.gateways import RunningGateway
from tests.support.postgres import Postgres


@dataclass(frozen=True)
class TwoNodes:
    """What runs.

    Args:
        one: the node that issues tokens.
        other: the other node.
        postgres: the server of their state.
        database: its name there.
        doors: the links by which each reaches it.
    """

    one: RunningGateway
    other: RunningGateway
    postgres: Postgres
    database: str
    doors: tuple[Path, Path]

    def token(self) -> str:
        """A token of the demand system, good on both."""
        return bearer_token(f"{self.one.control}/oauth/token", self.one.key)

    def cut_other_off(self) -> Callable[[], None]:
        """The other node reaches the state no more; returns what heals it."""
        return cut_connections(self.other.pids(), self.postgres.door, self.doors[1])

    def cut_database_off(self) -> Callable[[], None]:
        """Nobody reaches the state any more; returns what heals it."""
        return cut_connections([*self.one.pids(), *self.other.pids()], self.postgres.door)


@contextlib.contextmanager
def two_nodes(folder: Path, postgres: Postgres) -> Iterator[TwoNodes]:
    """Both furnished as the demo furnishes one, running; everything is stopped at the end."""
    database = postgres.create_database()
    doors = (folder / "state-1", folder / "state-2")
    for door in doors:
        door.symlink_to(postgres.home)
    urls = [postgres.url(database, by=door) for door in doors]
    with nodes_over(folder, urls) as (one, other):
        yield TwoNodes(one, other, postgres, database, doors)


@contextlib.contextmanager
def nodes_over(folder: Path, urls: Sequence[str]) -> Iterator[list[RunningGateway]]:
    """A node for each URL of the one state; the first issues tokens, and is furnished as the demo furnishes one."""
    population, key, port = Population(), new_private_key(), free_port()
    suppliers = register_servers(population)
    nodes: list[RunningGateway] = []
    with contextlib.ExitStack() as stack:
        for supplier in suppliers.values():
            supplier.start()
            stack.callback(supplier.stop)
        for number, url in enumerate(urls, 1):
            home = GatewayHome(folder / f"node-{number}")
            origin = f"nodes/node-{number}"
            command = [sys.executable, "-m", "gateway", "init", str(home.root), "--region", REGION, "--json"]
            if nodes:
                command += ["--shared-keys", str(nodes[0].home.root / "keys")]
            settings = {"GATEWAY_STATE__URL": url, "GATEWAY_LEDGER__ORIGIN": origin}
            subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True)
            (home.root / "gateway.toml").write_text(
                f'format = 1\n[state]\nurl = "{url}"\n[control]\nissuer = "http://127.0.0.1:{port}"\n'
                f'[ledger]\norigin = "{origin}"\n',
                "utf-8",
            )
            own_port = {} if nodes else {"GATEWAY_CONTROL__PORT": str(port)}
            node = RunningGateway(home, {}, population, suppliers, key, own_port)
            node.start()
            stack.callback(node.stop)
            nodes.append(node)
        furnish(nodes[0].home, {id_: server.url for id_, server in suppliers.items()}, key)
        yield nodes
