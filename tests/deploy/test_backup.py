"""A backup of a home can be restored, and its mirror of the log proves itself."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.identity.keys.keyring import KeyRing
from gateway.ledger.durable import take_lock
from gateway.ledger.verify.record import verify_log
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.recovery.backup import back_up
from gateway.runtime.operation.setup import initialise
from gateway.store import Store
from tests.support.gateways import RunningGateway, running_gateway, wait_for


def ask_for_backup(home: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "backup", target, "--home", home],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def back_up_by_command(home: Path, target: Path) -> None:
    done = ask_for_backup(home, target)
    assert done.returncode == 0, done.stderr


def call(gateway: RunningGateway, times: int) -> None:
    with gateway.client() as client:
        for _ in range(times):
            assert client.get("/public-security/persons", params={"id_number": "x"}).status_code == 200


def checkpoint_size(tree: Path) -> int:
    return int((tree / "checkpoint").read_text("utf-8").splitlines()[1])


@pytest.mark.deep
def test_backup_of_a_running_gateway_restores_and_its_log_verifies(tmp_path: Path) -> None:
    """Taken twice under load; the state has its grants, and the mirror verifies."""
    target = tmp_path / "backups"
    with running_gateway(tmp_path / "var") as gateway:
        key = str(gateway.made["verifier_key"])
        tree = gateway.home.ledger / "tree"
        call(gateway, 40)
        assert wait_for((tree / "checkpoint").exists)
        back_up_by_command(gateway.home.root, target)
        first = verify_log(target / "log", key)
        call(gateway, 300)
        wait_for(lambda: checkpoint_size(tree) >= first.size + 600)
        back_up_by_command(gateway.home.root, target)
        second = verify_log(target / "log", key)
        assert second.size >= first.size + 600

    states = sorted(target.glob("state-*"))
    assert len(states) == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in [target, *states, *states[-1].rglob("*")])
    restored = GatewayHome(tmp_path / "restored")
    restored.make()
    shutil.rmtree(restored.root)
    shutil.copytree(states[-1], restored.root)
    with Store.open(restored.state_url(restored.settings())) as store:
        assert store.grant("G-2026-0001") is not None
    assert KeyRing.open(restored.keys(restored.settings())).list()


def test_home_that_never_ran_is_backed_up_and_old_copies_go(tmp_path: Path) -> None:
    """Before the first use there is no log; fourteen copies stay."""
    home = GatewayHome(tmp_path / "home")
    initialise(home, region="440000", department="data-bureau")
    for minute in range(16):
        back_up(home, tmp_path / "backups", datetime(2026, 11, 25, 2, minute, tzinfo=UTC))
    kept = sorted(path.name for path in (tmp_path / "backups").glob("state-*"))
    assert len(kept) == 14
    assert kept[-1] == "state-20261125T021500.000000Z"


def test_folder_without_a_gateway_is_refused(tmp_path: Path) -> None:
    """A wrong path is told, not backed up as an empty success."""
    done = ask_for_backup(tmp_path, tmp_path / "b")
    assert done.returncode == 1
    assert "no gateway lives" in done.stderr
    assert not (tmp_path / "b").exists()


def test_backup_into_the_home_itself_is_refused(tmp_path: Path) -> None:
    """It would be lost with the home, and the mirror would be a part of the log it mirrors."""
    home = GatewayHome(tmp_path / "home")
    initialise(home, region="440000", department="data-bureau")
    (tmp_path / "link").symlink_to(home.ledger)
    for target in (home.root, home.ledger / "tree" / "b", tmp_path / "link" / "b"):
        with pytest.raises(GatewayError, match="lies in the home"):
            back_up(home, target)
    assert not (home.ledger / "b").exists()


def test_second_backup_at_the_same_time_is_refused(tmp_path: Path) -> None:
    """Two that write one mirror would tear each other's files away."""
    home = GatewayHome(tmp_path / "home")
    initialise(home, region="440000", department="data-bureau")
    back_up(home, tmp_path / "backups")
    held = take_lock(tmp_path / "backups" / ".lock", "this")
    with pytest.raises(GatewayError, match="in use by another process"):
        back_up(home, tmp_path / "backups")
    os.close(held)
    back_up(home, tmp_path / "backups")
    assert len(list((tmp_path / "backups").glob("state-*"))) == 2


def test_failed_backup_says_so_and_leaves_the_last_good_one(tmp_path: Path) -> None:
    """A damaged state is never kept as a backup of one."""
    home = GatewayHome(tmp_path / "home")
    initialise(home, region="440000", department="data-bureau")
    good = back_up(home, tmp_path / "backups").state
    (home.root / "state.db").write_bytes(b"no database at all" * 500)
    with pytest.raises(GatewayError, match="failed"):
        back_up(home, tmp_path / "backups")
    assert [path for path in (tmp_path / "backups").glob("state-*") if path.suffix != ".partial"] == [good]
    shutil.copy(good / "state.db", home.root / "state.db")
    with pytest.raises(GatewayError, match="by hand"):
        back_up(home, tmp_path / "backups")
    assert [path for path in (tmp_path / "backups").glob("state-*") if path.suffix != ".partial"] == [good]


def call_in_commits(gateway: RunningGateway, commits: int) -> None:
    """Calls whose records reach the log in at least so many commits."""
    tree = gateway.home.ledger / "tree"
    for _ in range(commits):
        size = checkpoint_size(tree)
        call(gateway, 5)
        assert wait_for(lambda size=size: checkpoint_size(tree) >= size + 10)


def mirror_in_the_place_of(ledger: Path, mirror: Path) -> None:
    """The disk was lost but for the signer's database, and the mirror put in the log's place."""
    shutil.rmtree(ledger / "tree")
    shutil.rmtree(ledger / "journal")
    shutil.copytree(mirror, ledger / "tree")


@pytest.mark.deep
def test_restored_ledger_never_goes_on_under_the_old_origin(tmp_path: Path) -> None:
    """NEVER-FORKED: a signer that has signed more than the disk holds refuses to start."""
    with running_gateway(tmp_path / "var") as gateway:
        call_in_commits(gateway, 1)
        back_up_by_command(gateway.home.root, tmp_path / "backups")
        call_in_commits(gateway, 3)
        gateway.stop()
        mirror_in_the_place_of(gateway.home.ledger, tmp_path / "backups" / "log")
        with pytest.raises((GatewayError, AssertionError), match=r"signed"):
            gateway.start()
