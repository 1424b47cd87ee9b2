"""`gateway init` makes a whole gateway or nothing, and can be tried again."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.domain.errors import GatewayError
from gateway.runtime.home import GatewayHome, HomeLock
from gateway.runtime.operation import setup
from gateway.runtime.operation.setup import initialise
from gateway.store import Store


def make(root: Path, **how: object) -> dict[str, object]:
    return initialise(GatewayHome(root), region="440000", department="data-bureau", **how)  # type: ignore[arg-type]


def standing(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {"run", "ledger"} if root.exists() else set()


def test_init_that_fails_leaves_nothing_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each step: an unknown suite, a state that cannot be made, a rename that is refused."""
    with pytest.raises(GatewayError):
        make(tmp_path / "home", suite="unknown")
    assert not (tmp_path / "home").exists()
    rename = Path.rename
    for name in ("keys", "state.db", "gateway.toml"):

        def refuse(path: Path, target: Path, name: str = name) -> Path:
            if Path(target).name == name and path.name.startswith(".init-"):
                raise GatewayError("unavailable", "the disk is full")
            return rename(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", refuse)
            with pytest.raises(GatewayError, match="full"):
                make(tmp_path / "home")
        assert standing(tmp_path / "home") == set()
    made = make(tmp_path / "home")
    assert standing(tmp_path / "home") == {"gateway.toml", "keys", "state.db", "identity.json"}
    assert made["bytes_a_use"]


@pytest.mark.parametrize("at", range(1, 14, 2))
def test_killed_init_is_made_good_by_the_next(tmp_path: Path, at: int) -> None:
    """Killed at any file that is put in place: the same command makes the gateway."""
    script = f"""
import os, sys
from pathlib import Path
from gateway.runtime.home import GatewayHome, HomeLock
from gateway.runtime.operation.setup import initialise
count, rename = [0], Path.rename
def renamed(path, target):
    count[0] += 1
    if count[0] == {at}:
        os._exit(9)
    return rename(path, target)
Path.rename = renamed
initialise(GatewayHome(Path(sys.argv[1])), region="440000", department="data-bureau")
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "home")], check=False, timeout=60)
    assert done.returncode in {0, 9}
    if done.returncode == 9:
        make(tmp_path / "home")
    assert standing(tmp_path / "home") == {"gateway.toml", "keys", "state.db", "identity.json"}


def test_gateway_that_another_init_has_just_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one came to its end between this one's look and its lock: refused, and what was made stands."""
    lock = GatewayHome.lock

    def late(home: GatewayHome) -> object:
        monkeypatch.setattr(GatewayHome, "lock", lock)
        make(tmp_path / "home")
        return lock(home)

    monkeypatch.setattr(GatewayHome, "lock", late)
    with pytest.raises(GatewayError, match="lives in"):
        make(tmp_path / "home")
    assert standing(tmp_path / "home") == {"gateway.toml", "keys", "state.db", "identity.json"}


def test_init_that_fails_takes_its_folder_away_before_another_may_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited for the lock makes a gateway there at once, and loses nothing of it."""
    release = HomeLock.release
    seen: list[bool] = []

    def released(lock: HomeLock) -> None:
        seen.append((tmp_path / "home").exists())
        release(lock)

    monkeypatch.setattr(HomeLock, "release", released)
    with pytest.raises(GatewayError):
        make(tmp_path / "home", suite="unknown")
    assert seen == [False]


def test_what_init_did_not_make_is_never_taken_away(tmp_path: Path) -> None:
    """Keys without settings are the rest of a gateway; keys elsewhere are another's: both stay."""
    make(tmp_path / "home")
    (tmp_path / "home" / "gateway.toml").unlink()
    with pytest.raises(GatewayError, match=r"parts of a gateway.*restore BACKUP --missing"):
        make(tmp_path / "home")
    assert (tmp_path / "home" / "keys" / "ring.json").exists()


def test_keys_elsewhere_are_never_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key folder that the settings name and that is there already stays, also after a second try."""
    make(tmp_path / "other")
    monkeypatch.setenv("GATEWAY_IDENTITY__KEYS", str(tmp_path / "other" / "keys"))
    for _ in range(2):
        with pytest.raises(GatewayError, match="is there already"):
            make(tmp_path / "home")
        assert (tmp_path / "other" / "keys" / "ring.json").exists()


def test_init_waits_for_its_database_for_the_time_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that comes late is waited for; one that does not come ends in its sentence, and nothing is left."""
    monkeypatch.setenv("GATEWAY_STATE__URL", "postgresql+psycopg://gateway@127.0.0.1:1/gateway")
    told: list[str] = []
    with pytest.raises(GatewayError, match="does not answer"):
        make(tmp_path / "home", wait_seconds=0.6, say=told.append)
    assert len(told) == 1
    assert not (tmp_path / "home").exists()
    opened = Store.open
    sentences = ("does not answer", "does not answer", "does not take the password", "does not answer")
    answers = iter([*(GatewayError("unavailable", sentence) for sentence in sentences), None])

    def late(url: str) -> Store:
        error = next(answers)
        if error is not None:
            raise error
        return opened(f"sqlite:///{tmp_path / 'late.db'}")

    monkeypatch.setattr(setup.Store, "open", late)
    monkeypatch.setattr(setup, "ASK_AGAIN_SECONDS", 0)
    told.clear()
    make(tmp_path / "home", wait_seconds=30, say=told.append)
    assert [each.partition(": ")[2] for each in told] == [*sentences[1:]], "each sentence where it is another"
    assert standing(tmp_path / "home") >= {"gateway.toml", "keys", "identity.json"}


def test_second_node_brings_no_dismissed_officer_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that joins a state takes its officers as they are; its log has a key of its own."""
    first = make(tmp_path / "one")
    url = f"sqlite:///{tmp_path / 'one' / 'state.db'}"
    with Store.open(url) as store, store.transaction() as tx:
        person = tx.officer("registrar")
        assert person is not None
        tx.put_officer(msgspec.structs.replace(person, active=False))
    again = setup._open_state(url, 0, lambda _: None)
    setup._furnish(again, "440000", "data-bureau")
    found = again.officer("registrar")
    assert found is not None
    assert not found.active
    again.close()
    second = make(tmp_path / "two", shared_keys=tmp_path / "one" / "keys")
    assert second["verifier_key"] != first["verifier_key"]
