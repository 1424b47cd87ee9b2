"""The replay table lets each value through once, whichever process asks, and refuses rather than forgets."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.identity.callers import replay
from gateway.identity.callers.dpop import ProofVerifier
from gateway.identity.callers.nonces import Nonces, NonceSecret
from gateway.identity.callers.replay import SharedReplay
from tests.unit.identity.identity_kit import Clock, House

RACER = """
import sys
from pathlib import Path
from gateway.identity.callers.replay import SharedReplay
table = SharedReplay(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(sum(table.use_once("n", str(number), int(sys.argv[2])) for number in range(2000)))
"""

HOLDER = """
import fcntl, os, sys, time
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_value_is_fresh_once(tmp_path: Path) -> None:
    """The second use is refused, also through another opening of the file; other values and namespaces are fresh."""
    table = SharedReplay(tmp_path / "t")
    until = int(time.time()) + 60
    assert table.use_once("dpop", "a", until)
    assert not table.use_once("dpop", "a", until)
    assert table.use_once("dpop", "b", until)
    assert table.use_once("legacy", "a", until)
    assert not SharedReplay(tmp_path / "t").use_once("dpop", "a", until)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of one bucket."""
    monkeypatch.setattr(replay, "BUCKETS", 1)
    monkeypatch.setattr(replay, "_SIZE_BYTES", replay.HEADER_BYTES + replay._BUCKET_BYTES)


def test_value_is_known_after_its_time(tmp_path: Path) -> None:
    """A clock may be set back: what was used is known for as long as there is room."""
    now = Clock(1_000_000.0)
    table = SharedReplay(tmp_path / "t", now)
    assert table.use_once("n", "a", 1_000_060)
    for at in (1_000_061.0, 3_000_000.0, 996_400.0):
        now.at = at
        assert not table.use_once("n", "a", 1_000_060)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("step", [-1, -3600, 3600, 20 * 86_400])
def test_no_step_of_the_clock_makes_a_used_value_fresh(tmp_path: Path, step: int) -> None:
    """Ten times as many values as there is room for, each used once by a clock that is set while they come, and back:
    none is let through again, and values of now still are."""
    now = Clock(1_000_000.0)
    table = SharedReplay(tmp_path / "t", now)
    used: list[tuple[str, int]] = []

    def use(count: int) -> None:
        for _ in range(count):
            now.at += 30
            value = (str(len(used)), int(now()) + 60)
            assert table.use_once("n", *value), "of now, and new"
            used.append(value)

    use(5 * replay.BUCKET_SLOTS)
    now.at += step
    # Set back, what is of now is of a time that was forgotten, until the clock is where it was.
    while not table.use_once("n", f"of now {now()}", int(now()) + 60):
        assert step < 0
        assert now() < used[-1][1]
        now.at += 30
    use(5 * replay.BUCKET_SLOTS)
    now.at -= step
    assert not any(table.use_once("n", *value) for value in used)


@pytest.mark.usefixtures("small")
def test_a_table_full_of_the_future_refuses_nobody_now(tmp_path: Path) -> None:
    """A clock that ran ahead has filled the table, and was set back: its values yield, and are used all the same."""
    now = Clock(1_000_000.0 + 20 * 86_400)
    table = SharedReplay(tmp_path / "t", now)
    ahead = [(str(number), int(now()) + 60) for number in range(replay.BUCKET_SLOTS)]
    assert all(table.use_once("n", *value) for value in ahead)
    now.at = 1_000_000.0
    assert table.use_once("n", "of now", 1_000_060)
    now.at += 20 * 86_400
    assert not any(table.use_once("n", *value) for value in ahead)


def test_processes_race_and_each_value_wins_once(tmp_path: Path) -> None:
    """Three processes that try the same 2,000 values at once get 2,000 in all."""
    until = str(int(time.time()) + 600)
    command = [sys.executable, "-c", RACER, str(tmp_path / "t"), until]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    assert sum(int(racer.communicate(timeout=60)[0]) for racer in racers) == 2000


def test_threads_race_and_each_value_wins_once(tmp_path: Path) -> None:
    """The same among threads of one process."""
    table, wins = SharedReplay(tmp_path / "t"), []
    until = int(time.time()) + 600

    def race() -> None:
        wins.append(sum(table.use_once("n", str(number), until) for number in range(500)))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(wins) == 500


def test_killed_holder_frees_its_lock(tmp_path: Path) -> None:
    """A process killed while it holds the table does not stop the others."""
    table = SharedReplay(tmp_path / "t")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "t")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert table.use_once("n", "a", int(time.time()) + 60)


@pytest.mark.usefixtures("small")
def test_full_bucket_refuses(tmp_path: Path) -> None:
    """Where there is no room left, a fresh value is refused: a false alarm, never a replay."""
    now = Clock(1_000_000.0)
    table = SharedReplay(tmp_path / "t", now)
    for number in range(replay.BUCKET_SLOTS):
        assert table.use_once("n", str(number), 1_000_060)
    assert not table.use_once("n", "one more", 1_000_060)
    now.at = 1_000_061.0
    assert table.use_once("n", "one more", 1_000_120)
    assert not table.use_once("n", "0", 1_000_060), "forgotten, and not fresh"


def another_boot(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8)
        file.write(b"another boot....")


def test_table_of_an_earlier_boot_is_begun_anew(tmp_path: Path) -> None:
    """What the machine's crash may have lost is not relied upon: the table says from when on it knows all, by the clock
    as it is set now."""
    now, ticks = Clock(1_000_000.0), Clock(500.0)
    first = SharedReplay(tmp_path / "t", now, ticks=ticks)
    assert first.since() == 1_000_000 - 2
    assert first.use_once("n", "a", 1_000_600)
    first.close()
    now.at, ticks.at = 1_000_100.0, 600.0
    again = SharedReplay(tmp_path / "t", now, ticks=ticks)
    assert again.since() == 1_000_000 - 2
    now.at -= 3600
    assert again.since() == 1_000_000 - 2 - 3600, "set back, it refuses nobody who signs by it"
    assert not again.use_once("n", "a", 1_000_600)
    again.close()
    another_boot(tmp_path / "t")
    after = SharedReplay(tmp_path / "t", now, ticks=ticks)
    assert after.since() == now() - 2
    assert after.use_once("n", "a", 1_000_600)


def test_table_that_outlives_the_boot_goes_on(tmp_path: Path) -> None:
    """What was used before a reboot is known after it, and from when on all of it is."""
    now, ticks = Clock(1_000_000.0), Clock(500.0)
    first = SharedReplay(tmp_path / "t", now, outlives=True, ticks=ticks)
    assert first.use_once("n", "a", 1_000_600)
    first.close()
    another_boot(tmp_path / "t")
    now.at, ticks.at = 1_000_100.0, 7.0
    after = SharedReplay(tmp_path / "t", now, outlives=True, ticks=ticks)
    assert after.since() == 1_000_100 - 2
    assert not after.use_once("n", "a", 1_000_600)


def test_torn_file_is_begun_anew(tmp_path: Path) -> None:
    """A file that is short, or none of ours, is replaced by an empty table."""
    for content in (b"", b"x", replay.MAGIC + bytes(100), struct.pack(">Q", 1) * 100):
        path = tmp_path / str(len(content))
        path.write_bytes(content)
        assert SharedReplay(path).use_once("n", "a", int(time.time()) + 60)
        assert path.stat().st_size == replay._SIZE_BYTES


def test_replaced_file_does_not_hurt_those_who_map_it(tmp_path: Path) -> None:
    """A process that maps the old file goes on with it while a new one is put in its place."""
    old = SharedReplay(tmp_path / "t")
    with (tmp_path / "t").open("r+b") as file:
        file.write(b"otherone")
    new = SharedReplay(tmp_path / "t")
    until = int(time.time()) + 60
    assert old.use_once("n", "a", until)
    assert new.use_once("n", "b", until)
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_file_is_private_and_sparse(tmp_path: Path) -> None:
    """The table is 0600, and takes disk only where it was touched."""
    before = os.umask(0)
    try:
        SharedReplay(tmp_path / "t").use_once("n", "a", int(time.time()) + 60)
    finally:
        os.umask(before)
    found = (tmp_path / "t").stat()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_blocks * 512 < 1 << 20


def test_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    """No folder, no traceback."""
    with pytest.raises(GatewayError, match="unavailable"):
        SharedReplay(tmp_path / "missing" / "t")


def test_proof_of_an_earlier_table_is_refused(tmp_path: Path) -> None:
    """After a reboot a lone node's used proof bears a nonce that is none any more: it is not taken again."""
    house = House(tmp_path)

    def boot(table: str) -> None:
        replay = SharedReplay(tmp_path / table, house.now)
        house.nonces = Nonces([NonceSecret(1, b"secret", 0)], house.now, replay.epoch)
        house.proofs = ProofVerifier(house.now, house.nonces)
        house.identify = house.new_identifier(use_once=replay.use_once)

    token = house.token(cnf={"jkt": house.key.thumbprint})
    boot("first")
    proof = house.proof(token)
    assert house.call(("authorization", f"DPoP {token}"), ("dpop", proof)).system == "marriage"
    boot("first")
    with pytest.raises(GatewayError, match="used before"):
        house.call(("authorization", f"DPoP {token}"), ("dpop", proof))
    house.now.at += 2
    boot("after a reboot")
    with pytest.raises(GatewayError, match="no current nonce"):
        house.call(("authorization", f"DPoP {token}"), ("dpop", proof))
    assert house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token))).system == "marriage"
