"""Verifying and mirroring beside a ledger at work: a sound log is never called forged, and what turned is found."""

import contextlib
import itertools
import time
from pathlib import Path

import pytest

from gateway.domain.uses import RecordKind
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.journal.frames import segment_name
from gateway.ledger.journal.marks import confirmed_sequence
from gateway.ledger.verify import beside as verify_beside
from gateway.ledger.verify import log as verify_log_module
from gateway.ledger.verify.record import VerificationFailed, verify_log
from gateway.ledger.witness import mirror as mirroring
from gateway.ledger.witness.mirror import mirror_log
from tests.support.ledger import City, open_ledger

ROUNDS = 6


class AtWork:
    """A ledger that commits, recycles segments and merges its index whenever it is asked to go on."""

    def __init__(self, directory):
        self.directory = directory
        self.acts = ActJournal(directory, "control", clock_ns=time.time_ns, low_water_bytes=0, segment_bytes=1 << 14)
        self.service = open_ledger(directory)
        self.service.prepare()
        self.key = self.service.log.key.text()
        self.turns = 0
        self._is_busy = False

    def go_on(self, acts=61):
        """Record and integrate, unless it is this very ledger that reads."""
        if self._is_busy:
            return
        self._is_busy = True
        self.turns += 1
        self.acts.append_all(RecordKind.KEY, [{"act": f"x{n}"} for n in range(acts)])
        if self.turns % 3:
            self.service.step()
        if self.turns % 5 == 0:
            self.service.index.flush()
            self.service.index.settle()
        self._is_busy = False

    def close(self):
        self._is_busy = True
        self.service.close()
        self.acts.close()


@pytest.fixture
def at_work(tmp_path, monkeypatch):
    """A ledger of some thousand leaves that goes on at every seventh look at a file or a folder."""
    ledger = AtWork(tmp_path / "ledger")
    ledger.service.log.commit(list(City().entries(2200)), {})
    ledger.service.integrator.catch_up()
    looks = itertools.count(1)

    def going_on(look, *, before):
        def looked(*given):
            goes_on = next(looks) % 7 == 0
            if goes_on and before:
                ledger.go_on()
            seen = look(*given)
            if goes_on and not before:
                ledger.go_on()
            return seen

        return looked

    monkeypatch.setattr(Path, "read_bytes", going_on(Path.read_bytes, before=True))
    for module, name in ((mirroring, "_listed"), (verify_log_module, "_partials"), (verify_beside, "segment_paths")):
        monkeypatch.setattr(module, name, going_on(getattr(module, name), before=False))
    yield ledger
    monkeypatch.undo()
    ledger.close()


def test_ledger_at_work_verifies_at_any_moment(at_work):
    """Between any two readings of the verifier the log grows, segments go, and index files are merged."""
    for _ in range(ROUNDS):
        before = at_work.turns
        checked = verify_log(at_work.directory, at_work.key)
        assert at_work.turns > before + 2
        assert any("journals" in each for each in checked.checked)


def test_what_turned_in_a_ledger_at_work_is_found(at_work):
    """The writer beside does not hide it."""
    (tile,) = (at_work.directory / "tree" / "tile" / "0").glob("003")
    (pack, *_) = (at_work.directory / "tree" / "tile" / "entries").glob("*.pack")
    for path in (tile, pack):
        content = path.read_bytes()
        path.write_bytes(content[:100] + bytes([content[100] ^ 4]) + content[101:])
        with pytest.raises(VerificationFailed):
            verify_log(at_work.directory, at_work.key)
        path.write_bytes(content)
    verify_log(at_work.directory, at_work.key)


def test_mirror_of_a_log_at_work_verifies(at_work, tmp_path):
    """The log commits between the reading of its checkpoint, of each folder and of each file."""
    for _ in range(ROUNDS):
        before = at_work.turns
        mirror_log(at_work.directory / "tree", tmp_path / "mirror")
        assert at_work.turns > before + 2
        assert verify_log(tmp_path / "mirror", at_work.key).size > 4000
    standing = {path.name for path in (tmp_path / "mirror").rglob("*") if path.is_file()}
    assert {"checkpoint", "000.pack"} <= standing
    assert "000.sgb" not in standing


def test_interrupted_mirror_verifies(at_work, tmp_path, monkeypatch):
    """Cut off at any write, the mirror is what it was or further."""
    mirror, tree = tmp_path / "mirror", at_work.directory / "tree"
    mirror_log(tree, mirror)
    replace = mirroring.replace_file

    for writes in (0, 1, 2, 5, 11, 23):
        left = [writes]

        def replace_or_stop(path, content, *, sync=True, left=left):
            if not left[0]:
                raise InterruptedError
            left[0] -= 1
            replace(path, content, sync=sync)

        monkeypatch.setattr(mirroring, "replace_file", replace_or_stop)
        at_work.go_on(300)
        with contextlib.suppress(InterruptedError):
            mirror_log(tree, mirror)
        verify_log(mirror, at_work.key)


def test_segment_has_its_opening_before_its_name(at_work, monkeypatch):
    """Whoever reads beside the writer finds no segment that has not begun."""
    rename, named = Path.rename, []

    def watched(path, target):
        if Path(target).suffix == ".journal":
            named.append(path.read_bytes()[:8])
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", watched)
    for _ in range(12):
        at_work.go_on(100)
    assert named
    assert set(named) == {b"SGJRNL1\n"}


def test_segment_that_has_not_begun_is_none(at_work):
    """Older releases named the newest segment before they wrote its opening."""
    at_work.go_on()
    directory = at_work.directory / "journal" / "control"
    (directory / segment_name(confirmed_sequence(directory) + 1)).write_bytes(bytes(100))
    verify_log(at_work.directory, at_work.key)
