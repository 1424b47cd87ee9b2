"""The worst day: what was lost is put back, what the restored state lacks is held, and nothing is forked."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.identity.keys.keyring import KeyRing
from gateway.ledger.journal.writer import JournalWriter, journal_directory
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.verify.log import verify_log
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.checking import look
from gateway.runtime.operation.recovery.backup import back_up
from gateway.runtime.operation.recovery.restore import restore
from gateway.runtime.operation.session.api import open_api
from gateway.runtime.operation.setup import initialise
from gateway.store import Store
from tests.support.gateways import RunningGateway, running_gateway, wait_for
from tests.support.postgres import running_postgres

SUSPENSION = {"violation": "used for another purpose", "rectify_by": "2099-01-31"}


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=80
    )


def call(gateway: RunningGateway) -> int:
    with gateway.client() as client:
        return client.get("/public-security/persons", params={"id_number": "x"}).status_code


@pytest.fixture
def home(tmp_path: Path) -> GatewayHome:
    """A home that never ran, backed up at `tmp_path / "backups"`."""
    made = GatewayHome(tmp_path / "home")
    initialise(made, region="440000", department="data-bureau")
    back_up(made, tmp_path / "backups")
    return made


def lose(home: GatewayHome, *names: str) -> None:
    for name in names:
        path = home.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def begun(home: GatewayHome) -> GatewayHome:
    """The same, with a log that holds nothing yet."""
    origin = home.origin(home.settings())
    TiledLog(home.ledger, origin, KeyRing.open(home.keys(home.settings())).log_signer(origin)).close()
    return home


def test_home_that_is_not_empty_is_left_alone_unless_told(home: GatewayHome, tmp_path: Path) -> None:
    """What stands is named; with `--replace` it is kept aside."""
    with pytest.raises(GatewayError, match=r"is not empty .*state\.db.*--missing.*--replace"):
        restore(home, tmp_path / "backups")
    before = (home.root / "identity.json").read_bytes()
    done = restore(home, tmp_path / "backups", replace=True)
    assert {"gateway.toml", "keys", "state.db"} <= set(done.put)
    assert (Path(done.replaced) / "state.db").exists()
    assert (home.root / "identity.json").read_bytes() != before
    restore(home, tmp_path / "backups", missing=True)


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("state.db", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "not as it was written"),
        ("keys/ring.json", Path.unlink, "is missing"),
        ("gateway.toml", lambda path: path.write_text(path.read_text() + "\n"), "not as it was written"),
        ("manifest.json", lambda path: path.write_text(path.read_text().replace("sqlite", "postgresql")), "as it was"),
        ("manifest.json", Path.unlink, "no whole backup"),
        ("keys/stranger", lambda path: path.write_text("x"), "no part of the backup"),
    ],
)
def test_backup_that_is_not_whole_is_refused(home: GatewayHome, tmp_path: Path, name: str, spoil, said: str) -> None:
    """Each file is named, and the home is not touched."""
    (folder,) = (tmp_path / "backups").glob("state-*")
    spoil(folder / name)
    empty = GatewayHome(tmp_path / "empty")
    with pytest.raises(GatewayError, match=said):
        restore(empty, tmp_path / "backups")
    assert not (empty.root / "gateway.toml").exists()


@pytest.mark.parametrize("purpose", ["field", "log", "pseudonym", "token", "witness", "ring"])
def test_single_file_of_the_keys_lost_is_put_back_beside_those_that_stand(
    begun: GatewayHome, tmp_path: Path, purpose: str
) -> None:
    """Each is missed by `gateway check`, put back as it was, and the log keeps its name; a second time nothing is."""
    assert [each for each in look(begun) if each.part == "keys" and not each.ok] == []
    # Of pseudonyms this year's: next year's is made beside it.
    lost = min(begun.keys(begun.settings()).glob(f"{purpose}*.json"))
    before = {path.name: path.read_bytes() for path in lost.parent.iterdir()}
    lost.unlink()
    assert [each.part for each in look(begun) if each.part == "keys" and not each.ok] == ["keys"]
    done = restore(begun, tmp_path / "backups", missing=True)
    assert done.put == ("keys",)
    assert {path.name: path.read_bytes() for path in lost.parent.iterdir()} == before
    assert done.origin == begun.origin(begun.settings())
    assert "keys" not in restore(begun, tmp_path / "backups", missing=True).put


def test_key_that_was_replaced_since_the_backup_stays_away(begun: GatewayHome, tmp_path: Path) -> None:
    """A token key was stolen and withdrawn: it comes back neither beside the new one nor in its place."""
    keys = begun.keys(begun.settings())
    now = time.time()
    ring = KeyRing.open(keys, now=lambda: now)
    (stolen,) = ring.token_keys()
    ring.rotate("token", overlap_seconds=0)
    now += 3600
    ring.rotate("token", overlap_seconds=0)
    (field,) = keys.glob("field-*.json")
    field.unlink()
    assert restore(begun, tmp_path / "backups", missing=True).put == ("keys",)
    assert field.exists()
    restored = KeyRing.open(keys, now=lambda: now)
    assert stolen not in restored.token_keys()
    assert restored.token_signer().kid != stolen


def test_journal_that_lost_its_mark_is_no_reason_to_stand_still(begun: GatewayHome, tmp_path: Path) -> None:
    """The log holds nothing of that writer yet: found before anything is moved, and the log goes on from its copy."""
    options = {"clock_ns": time.time_ns, "tell": lambda *_: None, "on_poisoned": lambda _: None}
    JournalWriter(begun.ledger, "worker-0", **options).close()
    (journal_directory(begun.ledger, "worker-0") / "durable").unlink()
    done = restore(begun, tmp_path / "backups", missing=True)
    assert "/restored-" in done.origin
    JournalWriter(begun.ledger, "worker-0", **options).close()


def test_state_put_back_by_hand_is_refused_with_the_command(home: GatewayHome, tmp_path: Path) -> None:
    """The copy of a backup, and the file of another home, are known; nothing opens them, or replays a log over them."""
    (folder,) = (tmp_path / "backups").glob("state-*")
    other = GatewayHome(tmp_path / "other")
    initialise(other, region="440000", department="data-bureau")
    own = (home.root / "state.db").read_bytes()
    for source in (folder / "state.db", other.root / "state.db"):
        shutil.copy(source, home.root / "state.db")
        (home.root / "state.db-wal").write_bytes(b"the log of the home that crashed")
        with pytest.raises(GatewayError, match="gateway restore BACKUP"), open_api(home.root, "registrar"):
            pass
        assert (home.root / "state.db").read_bytes() == source.read_bytes()
        (home.root / "state.db-wal").unlink()
    (home.root / "state.db").write_bytes(own)
    with open_api(home.root, "registrar") as api:
        assert api.get("/v1/officers")


def test_restore_that_was_cut_off_goes_on_and_no_start_comes_before(
    home: GatewayHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any rename: the home refuses to run until the same command has finished."""
    rename, moves = Path.rename, []

    def count(path: Path, target: Path) -> Path:
        if "replaced-" in str(target) or (path.parent.name.startswith(".restore-") and target.parent == home.root):
            moves.append(path)
            if len(moves) in {2, 5}:
                raise InterruptedError
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", count)
    for _ in range(2):
        with pytest.raises(InterruptedError):
            restore(home, tmp_path / "backups", replace=True)
        with pytest.raises(GatewayError, match=r"cut off|no gateway lives"), open_api(home.root, "registrar"):
            pass
    restore(home, tmp_path / "backups", replace=True)
    with open_api(home.root, "registrar") as api:
        assert api.get("/v1/officers")


def test_record_without_its_act_is_voided_at_the_next_start(
    home: GatewayHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was killed between record and commit: the log says that it never stood, once."""
    from gateway.runtime.start.reconciling import reconcile  # noqa: PLC0415 -- as the control process does
    from gateway.store.belonging import BelongingTransaction  # noqa: PLC0415 -- to be cut off

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(BelongingTransaction, "note_acts", killed)
        patched.setattr("gateway.control.act.recorded._void", lambda *_: None)
        with pytest.raises(KeyboardInterrupt), open_api(home.root, "registrar") as api:
            api.post("/v1/systems", {"id": "lost", "department": "data-bureau", "name": "lost"})
    with Store.open(home.state_url(home.settings())) as store:
        told: list[tuple[str, dict[str, object]]] = []

        class Acts:
            def append(self, kind: object, fields: dict[str, object]) -> str:
                told.append((str(kind), fields))
                return "x-1"

        for _ in range(2):
            found = reconcile(store, Acts(), home.ledger, home.origin(home.settings()), str, put_back=False)  # type: ignore[arg-type]
        assert found.voided == ()
    assert [fields["act"] for _, fields in told] == ["void"]


@pytest.fixture
def worst_day(tmp_path: Path) -> Iterator[tuple[RunningGateway, Path]]:
    """A gateway that was backed up under load, then went on: a grant was suspended."""
    with a_worst_day(tmp_path) as made:
        yield made


@contextlib.contextmanager
def a_worst_day(folder: Path, also: Callable[[], None] = lambda: None) -> Iterator[tuple[RunningGateway, Path]]:
    """The same, in `folder`; `also` is done under load too."""
    backups = folder / "backups"
    with running_gateway(folder / "var") as gateway:
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                call(gateway)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            assert wait_for((gateway.home.ledger / "tree" / "checkpoint").exists, 30)
            done = command("backup", backups, "--home", gateway.home.root)
            also()
        finally:
            stop.set()
            thread.join()
        assert done.returncode == 0, done.stderr
        with gateway.officer() as api:
            api.post("/v1/grants/G-2026-0001/suspension", SUSPENSION)
        assert call(gateway) == 403
        yield gateway, backups


def mirror_again(gateway: RunningGateway, backups: Path) -> None:
    """The nightly run after: the log's mirror is current, and the state in it is left at the older one."""
    newest = command("backup", backups, "--home", gateway.home.root, "--json")
    assert newest.returncode == 0, newest.stderr
    shutil.rmtree(json.loads(newest.stdout)["state"])


@pytest.mark.deep
@pytest.mark.parametrize("is_disk_lost", [False, True])
def test_state_of_the_night_in_postgresql_is_held_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_disk_lost: bool
) -> None:
    """Put back by PostgreSQL's means, with the home or without it: the suspension since is held, before any caller."""
    with running_postgres() as server:
        database, night = server.create_database(), tmp_path / "night"
        monkeypatch.setenv("GATEWAY_STATE__URL", server.url(database))
        with a_worst_day(tmp_path, lambda: server.dump(database, night)) as (gateway, backups):
            assert wait_for(lambda: _is_in_log(gateway, b'"act":"suspend"'), 30)
            mirror_again(gateway, backups)
            gateway.stop(signal.SIGTERM)
            server.put_back(database, night)
            if is_disk_lost:
                shutil.rmtree(gateway.home.root)
                gateway.home.root.mkdir()
                done = command("restore", backups, "--home", gateway.home.root, "--json")
                assert done.returncode == 0, done.stdout + done.stderr
                assert "/restored-" in json.loads(done.stdout)["origin"]
            gateway.start()
            assert call(gateway) == 403


@pytest.mark.deep
def test_lost_disk_is_restored_and_what_was_stopped_stays_stopped(worst_day: tuple[RunningGateway, Path]) -> None:
    """Restored from the mirror and an older state: the suspension since is held, the log goes on under another name."""
    gateway, backups = worst_day
    assert wait_for(lambda: _is_in_log(gateway, b'"act":"suspend"'), 30)
    mirror_again(gateway, backups)
    gateway.stop(signal.SIGTERM)
    shutil.rmtree(gateway.home.root)
    gateway.home.root.mkdir()
    done = command("restore", backups, "--home", gateway.home.root, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert "/restored-" in told["origin"]
    assert [each["act"] for each in told["differences"] if each["outcome"] == "held"] == ["suspend"]
    assert any("verifier key" in sentence for sentence in told["to_do"])
    gateway.start()
    assert call(gateway) == 403
    listed = json.loads(command("differences", "--home", gateway.home.root, "--json").stdout)
    assert listed["differences"][0]["in_force"]
    with gateway.officer() as api:
        api.post("/v1/grants/G-2026-0001/suspension/lift", {"reason": "looked at: it was lifted on paper"})
    assert call(gateway) == 200
    gateway.stop()
    assert verify_log(gateway.home.ledger, told["verifier_key"]).size >= told["size"]
    assert verify_log(backups / "log", str(gateway.made["verifier_key"])).size == told["size"]


LOSSES = (
    "gateway.toml",
    "keys",
    "state.db",
    "identity.json",
    "ledger/signer.db",
    "ledger/tree",
    "ledger/tree/checkpoint",
    "ledger/journal",
    "ledger/journal/control/durable",
    "ledger/index",
    "ledger",
    "run",
)


@pytest.fixture(scope="module")
def lost_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, Path, Path]]:
    """As `worst_day`, stopped: with the backup, and a whole copy of the home to lose parts of."""
    folder = tmp_path_factory.mktemp("lost")
    with a_worst_day(folder) as (gateway, backups):
        assert wait_for(lambda: _is_in_log(gateway, b'"act":"suspend"'), 30)
        mirror_again(gateway, backups)
        gateway.stop(signal.SIGTERM)
        shutil.copytree(gateway.home.root, folder / "whole", ignore=shutil.ignore_patterns("*.sock"))
        yield gateway, backups, folder / "whole"


KEPT = {"gateway.toml", "keys", "state.db", "identity.json", "ledger/index", "ledger/tree/checkpoint", "run"}
"""What the log does not need to go on under its own name."""


@pytest.mark.deep
@pytest.mark.parametrize("name", LOSSES)
def test_each_single_part_lost_is_put_back_and_the_gateway_serves(
    lost_parts: tuple[RunningGateway, Path, Path], name: str
) -> None:
    """Whatever one thing is lost: restored or made anew, the grant stays suspended and the log verifies."""
    gateway, backups, whole = lost_parts
    shutil.rmtree(gateway.home.root)
    shutil.copytree(whole, gateway.home.root)
    lose(gateway.home, name)
    done = restore(gateway.home, backups, missing=True)
    gateway.start()
    assert call(gateway) == 403
    gateway.stop()
    assert verify_log(gateway.home.ledger, done.verifier_key).size > 0
    assert ("/restored-" in done.origin) != (name in KEPT)


@pytest.mark.deep
def test_older_state_beside_the_whole_log_is_held_to_the_log_and_closed_serves_no_caller(
    worst_day: tuple[RunningGateway, Path],
) -> None:
    """`state.db` of the night: refused by hand; restored, the grant suspended since is suspended, before any caller."""
    gateway, backups = worst_day
    gateway.stop(signal.SIGKILL)
    assert wait_for(lambda: not gateway.home.is_running(), 30)
    (folder, *_) = sorted(backups.glob("state-*"))
    for name in ("state.db-wal", "state.db-shm"):
        (gateway.home.root / name).unlink(missing_ok=True)
    shutil.copy(folder / "state.db", gateway.home.root / "state.db")
    refused = command("serve", "--home", gateway.home.root)
    assert refused.returncode == 1
    assert "gateway restore" in refused.stderr
    (gateway.home.root / "state.db").unlink()
    done = command("restore", backups, "--home", gateway.home.root, "--missing")
    assert done.returncode == 0, done.stderr
    assert "held by held-" in done.stdout
    closed = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--closed", "--home", str(gateway.home.root)],
        env={**os.environ, "GATEWAY_CONTROL__PORT": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        found = wait_for(gateway.home.addresses, 60)
        assert found["data_plane"] == "closed"
        assert not any(name.startswith("worker") for name in found["children"])
        with open_api(gateway.home.root, "registrar") as api:
            assert api.get("/v1/grants/G-2026-0001")["grant"]["state"] == "suspended"
    finally:
        closed.terminate()
        closed.wait(60)
    gateway.start()
    assert call(gateway) == 403


def _is_in_log(gateway: RunningGateway, words: bytes) -> bool:
    from gateway.ledger.log.files import LogFiles  # noqa: PLC0415 -- to look

    files = LogFiles(gateway.home.ledger / "tree")
    size = int((gateway.home.ledger / "tree" / "checkpoint").read_text().splitlines()[1])
    return any(
        words in entry for n in range((size + 255) // 256) for entry in files.bundle(n, min(256, size - n * 256))
    )
