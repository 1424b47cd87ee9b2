"""Two whole gateways over one PostgreSQL, each with a door of its own to it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
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
    population, key, database, port = Population(), new_private_key(), postgres.create_database(), free_port()
    suppliers = register_servers(population)
    nodes: list[RunningGateway] = []
    doors: list[Path] = []
    with contextlib.ExitStack() as stack:
        for supplier in suppliers.values():
            supplier.start()
            stack.callback(supplier.stop)
        for number in (1, 2):
            doors.append(folder / f"state-{number}")
            doors[-1].symlink_to(postgres.home)
            home = GatewayHome(folder / f"node-{number}")
            url = postgres.url(database, by=doors[-1])
            origin = f"two-nodes/node-{number}"
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
        yield TwoNodes(nodes[0], nodes[1], postgres, database, (doors[0], doors[1]))
