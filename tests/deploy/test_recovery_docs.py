"""Recovery as written works: the commands of docs/operate.md, "Restore", are run as they stand."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.client.problems import TokenRefused
from gateway.ledger.verify.log import verify_log
from gateway.runtime.demo.story import SYSTEM
from tests.support.gateways import RunningGateway, running_gateway, wait_for

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"


def commands_under(title: str) -> list[list[str]]:
    """The commands in the shell block below a heading."""
    text = PAGE.read_text("utf-8")
    block = re.search(rf"^### {re.escape(title)}\n.*?```sh\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert block, title
    return [shlex.split(line) for line in block[1].splitlines()]


def run(gateway: RunningGateway, backups: Path, words: list[str]) -> str:
    """One command as written, with this machine's paths; one that serves is left to the test."""
    places = {"/srv/backups": str(backups), "/srv/gateway": str(gateway.home.root)}
    words = [places.get(word, word) for word in words]
    assert words[0] == "gateway"
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=80)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def call(gateway: RunningGateway) -> int:
    with gateway.client() as client:
        return client.get("/public-security/persons", params={"id_number": "x"}).status_code


def size_of(tree: Path) -> int:
    return int((tree / "checkpoint").read_text("utf-8").splitlines()[1])


def lose_state(root: Path, _image: Path) -> None:
    (root / "state.db").unlink()


def lose_ledger(root: Path, _image: Path) -> None:
    shutil.rmtree(root / "ledger")


def lose_disk(root: Path, _image: Path) -> None:
    shutil.rmtree(root)


def put_image(root: Path, image: Path) -> None:
    shutil.rmtree(root)
    shutil.copytree(image, root)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, Path, Path]]:
    """A gateway that was backed up and imaged, suspended a grant, and had its log mirrored; stopped."""
    folder = tmp_path_factory.mktemp("day")
    backups, image = folder / "backups", folder / "image"
    with running_gateway(folder / "var") as gateway:
        root = gateway.home.root
        call(gateway)
        run(gateway, backups, ["gateway", "backup", "/srv/backups", "--home", "/srv/gateway"])
        gateway.stop()
        shutil.copytree(root, image, ignore=shutil.ignore_patterns("*.sock"))
        gateway.start()
        with gateway.officer() as api:
            api.post("/v1/grants/G-2026-0001/suspension", {"violation": "another purpose", "rectify_by": "2099-01-31"})
        tree = gateway.home.ledger / "tree"
        held = size_of(tree)
        assert wait_for(lambda: size_of(tree) > held, 30)
        gateway.stop(signal.SIGTERM)
        run(gateway, backups, ["gateway", "backup", "/srv/backups", "--home", "/srv/gateway"])
        shutil.rmtree(max(backups.glob("state-*")))
        shutil.copytree(root, folder / "whole", ignore=shutil.ignore_patterns("*.sock"))
        yield gateway, backups, image


@pytest.mark.deep
@pytest.mark.parametrize(
    ("title", "lose"),
    [
        ("The state is lost", lose_state),
        ("The ledger is lost", lose_ledger),
        ("The whole disk is lost", lose_disk),
        ("An image of the whole disk is put back", put_image),
    ],
)
def test_recovery_as_written_works(
    day: tuple[RunningGateway, Path, Path], title: str, lose: Callable[[Path, Path], None]
) -> None:
    """After the commands of the page the grant is still suspended, and the log verifies and lacks nothing mirrored."""
    gateway, backups, image = day
    root = gateway.home.root
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(image.with_name("whole"), root)
    lose(root, image)
    for words in commands_under(title):
        if words[1] != "serve":
            run(gateway, backups, words)
    gateway.start()
    assert call(gateway) == 403
    gateway.stop()
    status = run_status(gateway)
    assert verify_log(gateway.home.ledger, status["verifier_key"]).size >= size_of(backups / "log")


def run_status(gateway: RunningGateway) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "status", "--json", "--home", str(gateway.home.root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.deep
def test_stolen_keys_end_as_written(tmp_path: Path) -> None:
    """Earlier tokens are refused, the log verifies under its new key, and the withdrawn key gets no token."""
    with running_gateway(tmp_path / "var") as gateway:
        assert call(gateway) == 200
        with gateway.client() as client:
            assert client.get("/public-security/persons", params={"id_number": "x"}).status_code == 200
            for words in commands_under("A key is stolen"):
                if words[1] == "systems":
                    with gateway.officer() as api:
                        system = api.get(f"/v1/systems/{SYSTEM}")
                    names = {"SYSTEM": system["id"], "KEY": system["keys"][0]["kid"]}
                    words = [names.get(word, word) for word in words]  # noqa: PLW2901 -- as the page has it
                run(gateway, tmp_path, words)
            # The old token is refused, and the withdrawn key is given no new one.
            with pytest.raises(TokenRefused, match="gave no token"):
                client.get("/public-security/persons", params={"id_number": "x"})
        gateway.stop()
        gateway.start()
        status = run_status(gateway)
        assert status["verifier_key"] != gateway.made["verifier_key"]
        assert wait_for(lambda: verify_log(gateway.home.ledger, status["verifier_key"]).size, 20)
