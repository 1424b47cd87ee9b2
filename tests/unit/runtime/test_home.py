"""One home, one gateway: paths, the lock, and what happens where none lives."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.runtime.home import GatewayHome


def test_a_home_that_was_not_made_says_what_to_do(tmp_path: Path) -> None:
    """The sentence names the command that makes one."""
    with pytest.raises(GatewayError, match="gateway init"):
        GatewayHome(tmp_path / "nowhere").require()


def test_making_a_home_keeps_what_is_there(tmp_path: Path) -> None:
    """A second `init` does not overwrite an administrator's settings."""
    home = GatewayHome(tmp_path / "var")
    home.make()
    home.settings_file.write_text("[data_plane]\nport = 9000\n", "utf-8")
    home.make()
    assert home.settings().data_plane.port == 9000


def test_only_the_owner_may_enter_the_ledger_and_the_sockets(tmp_path: Path) -> None:
    """Who reaches a socket is trusted, so nobody else may."""
    home = GatewayHome(tmp_path / "var")
    home.make()
    assert {folder.stat().st_mode & 0o777 for folder in (home.ledger, home.run)} == {0o700}


def test_a_second_gateway_is_kept_out(tmp_path: Path) -> None:
    """Two gateways in one home would fork the log."""
    home = GatewayHome(tmp_path / "var")
    home.make()
    lock = home.lock()
    assert home.is_running()
    with pytest.raises(GatewayError, match="another gateway runs"):
        home.lock()
    lock.release()
    assert not home.is_running()
    home.lock().release()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A killed gateway leaves no stale lock behind."""
    home = GatewayHome(tmp_path / "var")
    home.make()
    child = os.fork()
    if child == 0:
        home.lock()
        os._exit(0)
    os.waitpid(child, 0)
    home.lock().release()


def test_lock_of_a_folder_that_was_taken_away_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `init` that failed took its folder away while this one waited: the lock is the one that stands there now."""
    home = GatewayHome(tmp_path / "var")
    flock = fcntl.flock

    def taken_away(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        shutil.rmtree(home.root)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", taken_away)
    lock = home.lock()
    assert os.path.samestat(os.fstat(lock.descriptor), (home.run / "lock").stat())
    assert home.is_running()
    lock.release()


def test_addresses_are_those_of_a_running_gateway_only(tmp_path: Path) -> None:
    """An addresses file that a killed gateway left is not believed."""
    home = GatewayHome(tmp_path / "var")
    home.make()
    home.publish({"control": "http://127.0.0.1:1"})
    assert home.addresses() is None
    lock = home.lock()
    assert home.addresses() == {"control": "http://127.0.0.1:1"}
    lock.release()


def test_a_home_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A file where the folder should be: one sentence that names it."""
    (tmp_path / "var").write_text("occupied", "utf-8")
    with pytest.raises(GatewayError, match="cannot write the home"):
        GatewayHome(tmp_path / "var").make()


def test_folders_that_a_backup_leaves_out_are_made_anew(tmp_path: Path) -> None:
    """A restored home has no `run`; it starts all the same."""
    home = GatewayHome(tmp_path / "var")
    home.make()
    home.run.rmdir()
    home.lock().release()
    assert home.run.stat().st_mode & 0o777 == 0o700


def test_home_whose_folder_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """A file stands where `run` should be."""
    home = GatewayHome(tmp_path / "var")
    home.make()
    home.run.rmdir()
    home.run.write_text("", "utf-8")
    with pytest.raises(GatewayError, match="cannot write the home") as refused:
        home.lock()
    assert refused.value.code == "unavailable"
