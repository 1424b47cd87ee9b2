"""A gateway with the demo's directory, hosts, systems, officers and grants in it, to try by hand.

`gateway init --sample` furnishes a new home; `gateway demo --home` then plays its departments beside `gateway serve`:
the suppliers' services answer on the ports that the directory names, and the demand system makes its first call.
"""

import itertools
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.client import new_private_key
from gateway.domain.errors import GatewayError
from gateway.ledger.durable import replace_file
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import (
    bearer_token,
    end_by_signal,
    furnish,
    keep_running,
    narrate,
    running_gateway,
    wait_for,
    write_private,
)
from gateway.runtime.demo.story import Step, World, tell
from gateway.runtime.demo.suppliers import SupplierServer, register_servers
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.session.api import REGISTRAR, open_api


class _Sample(msgspec.Struct, frozen=True):
    """What is kept beside the system's key: the suppliers' ports, and the log's verifier key."""

    ports: dict[str, int]
    verifier_key: str


def make_sample(home: GatewayHome, make: Callable[[], dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """Make a home by `make`, and put the demo's directory and all that belongs to it in; all of it, or nothing.

    Everything goes over the control API of a gateway that runs for that time, and is on record.

    Args:
        home: where nothing is yet.
        make: makes the gateway there, with this machine's network as its suppliers'; what it returns is returned, with
            `sample`, the folder of the system's key.
        say: told what is done next.

    Raises:
        GatewayError: `conflict` where the folder holds anything; and what `make` raises.
    """
    if home.root.exists() and any(home.root.iterdir()):
        raise GatewayError("conflict", f"`{home.root}` is not empty: a sample goes into a folder of its own")
    try:
        made = make()
        say("putting the sample in: departments, hosts, systems, officers, grants")
        folder = _furnish(home, made["verifier_key"])
    except BaseException:
        shutil.rmtree(home.root, ignore_errors=True)
        raise
    return {**made, "sample": str(folder)}


def _furnish(home: GatewayHome, verifier_key: str) -> Path:
    suppliers = register_servers(Population())
    folder = _folder(home)
    folder.mkdir(mode=0o700)
    key = new_private_key()
    write_private(folder / "system.pem", key)
    with _serving(suppliers), running_gateway(home, fixed_ports=False):
        furnish(home, {id_: server.url for id_, server in suppliers.items()}, key)
    sample = _Sample({id_: server.port for id_, server in suppliers.items()}, verifier_key)
    replace_file(folder / "sample.json", msgspec.json.encode(sample))
    return folder


def is_sample(home: GatewayHome) -> bool:
    """Whether `gateway init --sample` made the home."""
    return (_folder(home) / "sample.json").exists()


def play(home: GatewayHome, *, once: bool, as_json: bool) -> bool:
    """Play the departments of a sample home beside its running gateway; True only if the first call is let through.

    Without `once` the suppliers go on until a signal.

    Raises:
        GatewayError: `unavailable` where no gateway runs in the home.
    """
    signal.signal(signal.SIGTERM, end_by_signal)
    addresses = home.addresses()
    if addresses is None:
        raise GatewayError("unavailable", f"no gateway runs in `{home.root}`: `gateway serve --home {home.root}`")
    sample = msgspec.json.decode((_folder(home) / "sample.json").read_bytes(), type=_Sample)
    population = Population()
    suppliers = register_servers(population, sample.ports)
    key = (_folder(home) / "system.pem").read_text("utf-8")
    with _serving(suppliers):
        world = World(
            data_plane=addresses["data_plane"],
            control=addresses["control"],
            key=key,
            population=population,
            suppliers=suppliers,
            officer=lambda id_: open_api(home.root, id_ or REGISTRAR),
            verifier_key=sample.verifier_key,
            short_grant_ends_unix=0.0,
            wait_for=wait_for,
        )
        steps: list[Step] = narrate(itertools.islice(tell(world), 1), as_json=as_json)
        if not once:
            try:
                keep_running(home.root, world, lambda: bearer_token(f"{addresses['control']}/oauth/token", key))
            except KeyboardInterrupt:
                return True
    return all(step.went_as_told for step in steps)


@contextmanager
def _serving(suppliers: dict[str, SupplierServer]) -> Iterator[None]:
    with ExitStack() as stack:
        for supplier in suppliers.values():
            supplier.start()
            stack.callback(supplier.stop)
        yield


def _folder(home: GatewayHome) -> Path:
    return home.root / "sample"
