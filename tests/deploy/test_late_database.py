"""Compose and Kubernetes start from nothing with a database that comes late: their own commands, run as they stand.

No container engine is at hand, so the shell lines of the two files are run here, in their order, against a real
PostgreSQL that starts only once `init` has said that it waits.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_containers import pod
from tests.support.deploy_tools import DEPLOY
from tests.support.postgres import Postgres, running_postgres

REGION = "440000"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text("utf-8"))["services"]
    return found


def line_of(what: str) -> str:
    """The shell line that makes the home, with what compose puts in it."""
    if what == "kubernetes":
        (made,) = pod()["spec"]["initContainers"]
        assert made["command"][0] == "/bin/sh"
        return str(made["args"][0])
    made = compose()["init"]
    assert made["entrypoint"] == ["/bin/sh", "-c"]
    return str(made["command"][0]).replace("$$", "$").replace("${REGION:?set REGION in .env}", REGION)


@pytest.fixture
def server() -> Iterator[Postgres]:
    with running_postgres() as running:
        yield running


class Line:
    """The line, run as a container would."""

    def __init__(self, what: str, home: Path, url: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        environment = kept | {
            "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
            "GATEWAY_HOME": str(home),
            "GATEWAY_STATE__URL": url,
            "GATEWAY_PASSPHRASE": "four cups of white tea",
            "REGION": REGION,
        }
        self.process = subprocess.Popen(
            ["/bin/sh", "-ec", line_of(what)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until_it_waits(self) -> None:
        """Return once it has said that it waits for its database."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "waiting up to" in line:
                return
        pytest.fail("it did not wait")

    def end(self) -> int:
        self.process.communicate(timeout=300)
        return self.process.returncode


@pytest.mark.parametrize("what", ["compose", "kubernetes"])
def test_first_start_waits_for_a_database_that_comes_late(what: str, server: Postgres, tmp_path: Path) -> None:
    """Killed while it waits and run again, it makes the home once the database is there; and then leaves it alone."""
    url = server.url(server.create_database())
    home = tmp_path / "home"
    server.stop()
    killed = Line(what, home, url)
    killed.until_it_waits()
    killed.process.send_signal(signal.SIGKILL)
    killed.end()
    assert not (home / "gateway.toml").exists()
    late = Line(what, home, url)
    late.until_it_waits()
    server.start()
    assert late.end() == 0
    made = (home / "identity.json").read_bytes()
    assert Line(what, home, url).end() == 0
    assert (home / "identity.json").read_bytes() == made


@pytest.fixture
def home(server: Postgres, tmp_path: Path) -> Path:
    """A home whose database is there, and then is not."""
    made = Line("compose", tmp_path / "home", server.url(server.create_database()))
    assert made.end() == 0
    server.stop()
    return tmp_path / "home"


@contextlib.contextmanager
def serving(home: Path, server: Postgres) -> Iterator[subprocess.Popen[str]]:
    """`gateway serve`, once it has said that it waits for its database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    state = {"GATEWAY_STATE__URL": server.url("gateway_1"), "GATEWAY_PASSPHRASE": "four cups of white tea"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--home", str(home), "--json"],
        env=kept | state | {"GATEWAY_DATA_PLANE__PORT": "0", "GATEWAY_CONTROL__PORT": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert any("waits up to" in line for line in process.stderr), "it did not wait"
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_start_waits_for_a_database_that_is_away(home: Path, server: Postgres) -> None:
    """A gateway that is started while its database is away comes with it, and not only when somebody tries again."""
    with serving(home, server) as process:
        server.start()
        assert process.stdout is not None
        assert '"ready": true' in process.stdout.readline()


def test_a_start_that_waits_ends_when_it_is_told_to(home: Path, server: Postgres) -> None:
    """SIGTERM ends it at once, and it has not served."""
    with serving(home, server) as process:
        process.terminate()
        said, _ = process.communicate(timeout=20)
        assert (process.returncode, said) == (0, "")


def test_gateway_starts_after_its_home_is_made_and_again_where_its_database_is_away() -> None:
    """Compose orders the three and starts the gateway again; Kubernetes starts both containers again by itself."""
    services = compose()
    assert services["init"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["gateway"]["depends_on"]["init"]["condition"] == "service_completed_successfully"
    assert services["gateway"]["restart"] == services["database"]["restart"] == "unless-stopped"
    assert pod()["spec"].get("restartPolicy", "Always") == "Always"
    for what in ("compose", "kubernetes"):
        inits = [part for part in line_of(what).splitlines() if "gateway init" in part]
        assert inits
        assert all("--wait 300" in part for part in inits)
