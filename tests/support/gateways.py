"""A real gateway for tests: `gateway serve` in a process of its own, furnished as the demo furnishes it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from gateway.client import SharingAuth, new_private_key
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.stage import furnish
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from gateway.runtime.demo.suppliers import SupplierServer, register_servers
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.session.api import REGISTRAR, Api, open_api
from gateway.runtime.operation.setup import initialise

START_SECONDS = 60.0
STOP_SECONDS = 60.0


class RunningGateway:
    """A gateway that runs, and what stands around it.

    Args:
        home: where it lives.
        made: what `initialise` said.
        population: whom the suppliers know.
        suppliers: the suppliers' servers.
        key: PEM of the demand system's private key.
        environment: settings by environment.
        code: the folder of the source that serves; None for this one.
    """

    def __init__(
        self,
        home: GatewayHome,
        made: Mapping[str, Any],
        population: Population,
        suppliers: dict[str, SupplierServer],
        key: str,
        environment: Mapping[str, str],
        code: Path | None = None,
    ) -> None:
        self.home = home
        self.code = code
        self.made = made
        self.population = population
        self.suppliers = suppliers
        self.key = key
        self.log = home.root / "gateway.log"
        self._environment = {
            **os.environ,
            "GATEWAY_DATA_PLANE__PORT": "0",
            "GATEWAY_CONTROL__PORT": "0",
            "GATEWAY_DATA_PLANE__DRAIN_SECONDS": "5",
            "GATEWAY_SUPPLIERS__NETWORKS": "127.0.0.0/8",
            # Where the solver is installed an activation would prove the law anew, which takes a minute.
            "GATEWAY_POLICIES__PROOFS": "known",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.addresses: dict[str, Any] = {}

    def start(self) -> None:
        """Start `gateway serve` and wait until it is ready."""
        environment = dict(self._environment)
        if self.code is not None:
            environment["PYTHONPATH"] = str(self.code)
            environment.pop("GATEWAY_POLICIES__PROOFS")  # older versions do not know it, and prove nothing
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--home", str(self.home.root)],
                env=environment,
                cwd=self.code,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        process = self._process
        found = wait_for(lambda: process.poll() is not None or self.home.addresses(), START_SECONDS)
        assert isinstance(found, dict), f"the gateway did not start:\n{self.log.read_text('utf-8', 'replace')[-3000:]}"
        self.addresses = found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait for the end, and return the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def data_plane(self) -> str:
        """Base URL of the data plane."""
        return str(self.addresses["data_plane"])

    @property
    def control(self) -> str:
        """Base URL of the control plane."""
        return str(self.addresses["control"])

    def auth(self, *, purpose: str = PURPOSE, items: tuple[str, ...] | None = None, dpop: bool = True) -> SharingAuth:
        """Authentication of the demand system."""
        return SharingAuth(f"{self.control}/oauth/token", SYSTEM, self.key, purpose=purpose, items=items, dpop=dpop)

    def client(self, **options: Any) -> httpx.Client:
        """A client of the data plane, signed in as the demand system."""
        return httpx.Client(base_url=self.data_plane, auth=self.auth(**options), trust_env=False, timeout=15)

    def officer(self, id_: str | None = None) -> contextlib.AbstractContextManager[Api]:
        """The control API as one officer; the registrar where none is named."""
        return open_api(self.home.root, id_ or REGISTRAR)

    def metrics(self) -> str:
        """The text of /metrics, asked for as a scraper does."""
        credential = (self.home.root / "metrics-credential").read_text("ascii").strip()
        headers = {"Authorization": f"Bearer {credential}"}
        return (
            httpx.get(f"{self.control}/metrics", headers=headers, trust_env=False, timeout=15).raise_for_status().text
        )

    @property
    def process(self) -> "subprocess.Popen[bytes] | None":
        """The supervisor, once it was started."""
        return self._process

    def pids(self) -> list[int]:
        """Every process, the supervisor first."""
        found = self.home.addresses() or self.addresses
        return [found["pid"], *(pid for pid in found["children"].values() if pid)]

    def pid(self, name: str) -> int:
        """The process id of a child."""
        return int((self.home.addresses() or self.addresses)["children"][name])


@contextlib.contextmanager
def running_gateway(folder: Path, **environment: str) -> Iterator[RunningGateway]:
    """A gateway furnished as the demo furnishes it, running; everything is stopped at the end."""
    home = GatewayHome(folder)
    made = initialise(home, region=REGION, department="data-bureau")
    with served_home(home, made, **environment) as gateway:
        yield gateway


@contextlib.contextmanager
def served_home(
    home: GatewayHome, made: Mapping[str, Any], *, furnished: bool = True, **environment: str
) -> Iterator[RunningGateway]:
    """As `running_gateway`, in a home that somebody else has made; `made` says what `initialise` would."""
    population = Population()
    suppliers = register_servers(population) if furnished else {}
    gateway = RunningGateway(home, made, population, suppliers, new_private_key(), environment)
    with contextlib.ExitStack() as stack:
        for supplier in suppliers.values():
            supplier.start()
            stack.callback(supplier.stop)
        gateway.start()
        stack.callback(gateway.stop)
        if furnished:
            furnish(home, {id_: server.url for id_, server in suppliers.items()}, gateway.key)
        yield gateway


def wait_for(ask: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first truthy answer of `ask`, or its last one when the seconds are over."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer
