"""A newer format of settings, state, keys or journals is refused with a sentence, and nothing is changed."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from gateway.domain.errors import GatewayError
from gateway.identity.keys.keyring import KeyRing
from gateway.ledger.journal import frames
from gateway.ledger.journal.writer import JournalWriter, journal_directory
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from gateway.runtime.settings import FORMAT, load_settings
from gateway.runtime.telemetry.families import FAMILIES
from gateway.runtime.telemetry.metrics import MetricSet, Publisher, read_snapshots
from gateway.store import Store


@pytest.fixture
def home(tmp_path: Path) -> GatewayHome:
    made = GatewayHome(tmp_path / "home")
    initialise(made, region="440000", department="data-bureau")
    return made


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_newer_settings_are_refused(home: GatewayHome) -> None:
    """A settings file of a later version names its format first, and what to do."""
    text = home.settings_file.read_text("utf-8").replace(f"format = {FORMAT}", f"format = {FORMAT + 1}")
    home.settings_file.write_text(text, "utf-8")
    with pytest.raises(GatewayError, match="upgrade first") as refused:
        load_settings(home.settings_file, {})
    assert refused.value.code == "invalid-input"


def test_newer_state_is_refused_and_left_as_it_is(home: GatewayHome) -> None:
    """A database that a later version has migrated opens neither for control nor for a worker."""
    database = home.root / "state.db"
    with closing(sqlite3.connect(database)) as state:
        state.execute("UPDATE alembic_version SET version_num = '9999'")
        state.commit()
    for forward in (True, False):
        with pytest.raises(GatewayError) as refused:
            Store.open(f"sqlite:///{database}", clock=time.time, migrate_forward=forward)
        assert refused.value.code == "unavailable"
    with closing(sqlite3.connect(database)) as state:
        assert state.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_state_of_the_first_version_is_moved_on_and_keeps_what_it_held(home: GatewayHome) -> None:
    """Opening for control migrates; opening again finds nothing to do; officers and departments are still there."""
    database = home.root / "state.db"
    with closing(sqlite3.connect(database)) as state:
        head = state.execute("SELECT version_num FROM alembic_version").fetchone()
    for _ in range(2):
        with Store.open(f"sqlite:///{database}") as store:
            assert store.officer("registrar") is not None
            assert store.department("data-bureau") is not None
    with closing(sqlite3.connect(database)) as state:
        assert state.execute("SELECT version_num FROM alembic_version").fetchone() == head


def test_newer_key_ring_is_refused(home: GatewayHome) -> None:
    """A key file of a later version is not guessed at."""
    file = next((home.root / "keys").glob("log-*.json"))
    document = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(document | {"v": document["v"] + 1}), "utf-8")
    with pytest.raises(GatewayError, match="newer version"):
        KeyRing.open(home.root / "keys")


def test_newer_journal_is_refused_and_left_as_it_is(home: GatewayHome) -> None:
    """A segment whose opening names a later format is neither read nor repaired nor written on."""
    writer = journal_directory(home.ledger, "worker-0")
    options = {"clock_ns": time.time_ns, "tell": lambda *_: None, "on_poisoned": lambda _: None}
    JournalWriter(home.ledger, "worker-0", **options).close()  # type: ignore[arg-type]
    segment = next(writer.glob("*.journal"))
    opening, _ = frames.opening_bytes(frames.Opening(2, "worker-0", "run", 1, 0, ()))
    with segment.open("r+b") as file:
        file.write(opening)
    before = contents(writer)
    with pytest.raises(GatewayError):
        JournalWriter(home.ledger, "worker-0", **options)  # type: ignore[arg-type]
    after = contents(writer)
    assert after[segment] == before[segment]


def test_figures_of_another_version_cost_nothing_but_themselves(tmp_path: Path) -> None:
    """While versions change under one home, what the other one published is left out of the scrape."""
    metrics = MetricSet("worker-0")
    metrics.counter(next(name for name, family in FAMILIES.items() if not family.labels and name.endswith("_total")))
    Publisher(metrics, tmp_path, (), time.time).publish()
    snapshot = read_snapshots(tmp_path)[0]
    snapshot.format += 1
    (tmp_path / "worker-1.snapshot").write_bytes(msgspec.msgpack.encode(snapshot))
    assert [found.process for found in read_snapshots(tmp_path)] == ["worker-0"]
