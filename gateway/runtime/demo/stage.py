"""Sets the stage for the story: keys, state, suppliers, a running gateway, its directory and grants; and clears it.

The gateway is `gateway serve` in a process of its own, as an operator would start it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import httpx
import msgspec

from gateway.client import SharingProblem, new_private_key, public_jwk
from gateway.client.keys import ClientKey
from gateway.domain.errors import GatewayError
from gateway.domain.officers import AUDITOR
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.story import PURPOSE, SYSTEM, Step, World, tell
from gateway.runtime.demo.suppliers import register_servers, show
from gateway.runtime.demo.world import OFFICERS, REGION, SHORT_SECONDS, SYSTEMS, directory_document, grant_documents
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.session.api import REGISTRAR, open_api
from gateway.runtime.operation.setup import initialise

START_SECONDS = 60.0
TOKEN_REFRESH_SECONDS = 120.0


def perform(*, once: bool, home: Path | None, as_json: bool) -> bool:
    """Tell the story; True only if every step went as told. Without `once` it then keeps running until a signal.

    Nothing is left running in any case; the home is removed unless it was given.
    """
    place = home or Path(tempfile.mkdtemp(prefix="gateway-demo-"))
    steps: list[Step] = []
    signal.signal(signal.SIGTERM, end_by_signal)
    try:
        with _stage(place, fixed_ports=not once) as (world, token):
            steps = narrate(tell(world), as_json=as_json)
            if not once:
                keep_running(place, world, token)
    except KeyboardInterrupt:
        sys.stdout.write("stopped\n")
    finally:
        if home is None:
            shutil.rmtree(place, ignore_errors=True)
    return bool(steps) and all(step.went_as_told for step in steps)


def narrate(story: Iterator[Step], *, as_json: bool) -> list[Step]:
    """Print each step as it happens, and how many went as told; returns them."""
    steps: list[Step] = []
    for number, step in enumerate(_to_its_end(story), 1):
        steps.append(step)
        if not as_json:
            sys.stdout.write(f"{number:>3}. {step.words}\n     {step.answer}\n")
            if not step.went_as_told:
                sys.stdout.write("     NOT AS TOLD\n")
            sys.stdout.flush()
    failed = sum(not step.went_as_told for step in steps)
    if as_json:
        sys.stdout.write(msgspec.json.encode({"steps": steps, "failed": failed}).decode() + "\n")
    else:
        outcome = f"{failed} not as told" if failed else "all as told"
        sys.stdout.write(f"{len(steps)} steps, {outcome}\n")
    return steps


def _to_its_end(steps: Iterator[Step]) -> Iterator[Step]:
    """The steps; where one breaks off, a last step that says so, and the story has not gone as told."""
    try:
        yield from steps
    except (GatewayError, SharingProblem, httpx.HTTPError, LookupError, ValueError, TypeError) as error:
        yield Step("the story broke off here", f"{type(error).__name__}: {error}", went_as_told=False)


@contextlib.contextmanager
def _stage(place: Path, *, fixed_ports: bool) -> Iterator[tuple[World, Callable[[], str]]]:
    """A running gateway with everything in it; yields the world and a maker of fresh access tokens."""
    population = Population()
    suppliers = register_servers(population)
    home = GatewayHome(place)
    made = initialise(home, region=REGION, department="data-bureau")
    key = new_private_key()
    with contextlib.ExitStack() as stack:
        for supplier in suppliers.values():
            supplier.start()
            stack.callback(supplier.stop)
        addresses = stack.enter_context(running_gateway(home, fixed_ports=fixed_ports))
        furnished = furnish(home, {id_: server.url for id_, server in suppliers.items()}, key)

        world = World(
            data_plane=addresses["data_plane"],
            control=addresses["control"],
            key=key,
            population=population,
            suppliers=suppliers,
            officer=lambda id_: open_api(place, id_ or REGISTRAR),
            verifier_key=made["verifier_key"],
            short_grant_ends_unix=furnished.timestamp() + SHORT_SECONDS,
            wait_for=wait_for,
        )
        yield world, lambda: bearer_token(f"{addresses['control']}/oauth/token", key)


@contextlib.contextmanager
def running_gateway(home: GatewayHome, *, fixed_ports: bool) -> Iterator[dict[str, Any]]:
    """`gateway serve` in a process of its own; yields its addresses."""
    ports = {
        "GATEWAY_DATA_PLANE__PORT": "8080" if fixed_ports and _is_free(8080) else "0",
        "GATEWAY_CONTROL__PORT": "8081" if fixed_ports and _is_free(8081) else "0",
        "GATEWAY_SUPPLIERS__NETWORKS": "127.0.0.0/8",
    }
    output = (home.root / "gateway.log").open("wb")
    process = subprocess.Popen(  # noqa: S603 -- our own interpreter and package, no input of others
        [sys.executable, "-m", "gateway", "serve", "--home", str(home.root)],
        env={**os.environ, **ports},
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    output.close()
    try:
        addresses = wait_for(lambda: process.poll() is not None or home.addresses(), START_SECONDS)
        if not isinstance(addresses, dict):
            log = (home.root / "gateway.log").read_text("utf-8", "replace").splitlines()
            said = [line.removeprefix("gateway: ") for line in log if line.startswith("gateway: ")]
            raise GatewayError("unavailable", f"the gateway did not start: {said[-1] if said else 'it said nothing'}")
        yield addresses
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


Show = Callable[[str, str, str], None]
"""Has the service at a base URL show a nonce at a path."""


def furnish(home: GatewayHome, upstreams: dict[str, str], key: str, show: Show = show) -> datetime:
    """Import the directory, add systems and officers, register the hosts, issue the grants: all over the control API.

    Returns the instant that the grants count from.

    Args:
        home: of the running gateway.
        upstreams: supplier id -> base URL of its service.
        key: PEM of the calling demand system's private key.
        show: how a supplier's service is made to show the nonce of a claim.
    """
    # A key is one system's: only the one that calls has the given one.
    keys = {id_: public_jwk(key if id_ == SYSTEM else new_private_key()) for id_, _, _ in SYSTEMS}
    document = directory_document(upstreams)
    with open_api(home.root, REGISTRAR) as api:
        api.post("/v1/directory", {**document, "interfaces": []})
        for id_, department, name in SYSTEMS:
            api.post("/v1/systems", {"id": id_, "department": department, "name": name, "keys": [keys[id_]]})
    for id_, department, roles, name in OFFICERS:
        with open_api(home.root, AUDITOR if roles == ["auditor"] else REGISTRAR) as api:
            api.post(
                "/v1/officers",
                {"id": id_, "department": department, "region": REGION, "roles": roles, "name": name},
            )
    register_hosts(home, upstreams, show)
    now = datetime.now(UTC).replace(microsecond=0)
    with open_api(home.root, "competent-lin") as api:
        api.post("/v1/directory", {"interfaces": document["interfaces"]})
        for grant in grant_documents(now):
            api.post("/v1/grants", grant)
    return now


def register_hosts(home: GatewayHome, upstreams: dict[str, str], show: Show = show) -> None:
    """Each supplier's officer claims its host and has the service prove it; the competent department confirms."""
    suppliers = {department: id_ for id_, department, roles, _ in OFFICERS if "supplier" in roles}
    with contextlib.ExitStack() as stack:
        competent = stack.enter_context(open_api(home.root, "competent-lin"))
        for supplier, url in upstreams.items():
            own = stack.enter_context(open_api(home.root, suppliers[supplier]))
            claim = {"supplier": supplier, "address": url.partition("://")[2], "tls": url.startswith("https:")}
            made = own.post("/v1/hosts", claim)
            show(url, made["proof_path"], made["host"]["nonce"])
            path = f"/v1/hosts/{supplier}/{claim['address']}"
            own.post(f"{path}/proof", {})
            competent.post(f"{path}/confirmation")


def keep_running(place: Path, world: World, token: Callable[[], str]) -> None:
    """Print a call to try, and keep the token in its file fresh until a signal."""
    wife = world.population.marriages[0]["wife"]["id_number"]
    token_file = place / "token"
    lines = [
        "",
        "The gateway keeps running:",
        f"  data plane     {world.data_plane}",
        f"  control plane  {world.control}",
        "Call it yourself (the token in the file is kept fresh):",
        f"  curl --noproxy '*' -H \"Authorization: Bearer $(cat {token_file})\" -H 'Sharing-Purpose: {PURPOSE}' \\",
        f"    '{world.data_plane}/civil-affairs/marriages?id_number={wife}'",
        "Suspend the grant as the supplier's officer, and call again:",
        f"  gateway grants suspend G-2026-0002 --as civil-wu --home {place} \\",
        "    --violation '超出目的使用' --rectify-by 2099-01-31",
        "Stop with Ctrl-C.",
        "",
    ]
    write_private(token_file, token())
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()
    while True:
        time.sleep(TOKEN_REFRESH_SECONDS)
        write_private(token_file, token())


def write_private(file: Path, text: str) -> None:
    """Replace the file's content in one step; only its owner may read it."""
    partial = file.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
    partial.replace(file)


def end_by_signal(_number: int, _frame: object) -> NoReturn:
    """SIGTERM unwinds the stage as Ctrl-C does, so that nothing is left running."""
    raise KeyboardInterrupt


def bearer_token(endpoint: str, key: str, system: str = SYSTEM) -> str:
    """A token that is not bound to a key, as a hand-written `curl` can use it (data of grades 1 and 2)."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": ClientKey(key).assertion(system, endpoint, int(time.time())),
    }
    answer = httpx.post(endpoint, data=form, trust_env=False)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def wait_for(ask: Callable[[], Any], seconds: float) -> Any:
    """What `ask` answers once that is something, or once the time is over."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
