"""A history of the ledger: what works on it, what befalls it, and what must be true afterwards; all from one seed.

    python -m tests.simulation.ledger SEED        tells the story of one

RECORD-FIRST    what was answered is in the log, once, as it was answered; a use has one end
NEVER-FORKED    what was published, cosigned or told to the state is of the log that stands; an older copy does not sign
APPEND-ONLY     the log verifies from its first leaf, and the proof of a record; what had to stay stands
backup          it verifies whenever it is looked at, and never reaches less far than `gateway backup` returned with
nothing waits   once faults have ended every process works, and nothing is left in the journals
"""

import errno
import json
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.ledger.journal.marks import confirmed_sequence, segment_paths
from gateway.ledger.log.checkpoints import Checkpoint, parse_checkpoint, verify_checkpoint
from gateway.ledger.log.files import LogFiles
from gateway.ledger.log.minimum import minimum_index
from gateway.ledger.log.notes import ED25519, VerifierKey, parse_note
from gateway.ledger.log.proofs import Hashes, TlogProof
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.log.tiles import WIDTH
from gateway.ledger.retention.retention import Holds
from gateway.ledger.verify.log import verify_log
from gateway.ledger.verify.record import verify_record
from gateway.ledger.witness.witness import Witness
from tests.simulation.ledger.disk import Disk
from tests.simulation.ledger.house import MAINS, WRITERS, at_work
from tests.simulation.ledger.world import CONNECT, THE, Process, World
from tests.support.ledger import ORIGIN, City, TestSigner

FAULTS_END, CALM_ENDS, ENDS = 2.5, 4.5, 8.0
BUSY_CALLS = 700
"""So many calls of disks are made quickly; who waits for a disk for a minute does not fill the log meanwhile."""
LONG_AGO_NS = 1_600_000_000 * 1_000_000_000
BEFORE = (0, 0, 150, 300, 300, 530)
"""Entries that the log holds from years ago; a prune needs a full bundle of them."""
MACHINE = "machine"
NEVER_CLOSED = "G-0001"
KEY = VerifierKey(ORIGIN, ED25519, TestSigner().public_bytes)
WITNESS_SIGNER = TestSigner(b"w" * 32)
_CHANGES = {"pwrite", "grow", "fsync", "rename", "unlink", "open", "fallocate", "commit", "ftruncate", "mkdir"}
_GROWS = {"grow", "open", "fallocate", "commit", "mkdir"}


class Broken(Exception):  # noqa: N818 - what it says is that a promise was
    """A promise was broken."""


@cache
def long_ago(count: int) -> dict[str, bytes | None]:
    """The files of a log of that many entries of years ago."""
    if not count:
        return {"ledger": None}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        log = TiledLog(root / "ledger", ORIGIN, TestSigner())
        contents = list(City(5).entries(count, start_ns=LONG_AGO_NS))[:count]
        log.commit(contents, {})
        log.close()
        paths = sorted(path for path in root.rglob("*") if path.name != ".lock")
        return {str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in paths}


class History:
    """One history.

    Args:
        seed: of it.
        faults: how many befall it.
        only: leave all faults out but these, by number: for shrinking.
    """

    def __init__(self, seed: int, *, faults: int = 3, only: frozenset[int] | None = None) -> None:
        shared = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="histories-", dir=shared if shared.is_dir() else None))
        self.seed, self.faults = seed, faults
        self.world = world = World(seed, self.folder)
        self.random = world.random
        world.history = self  # type: ignore[attr-defined]
        world.befall = self._befall
        self.city = City(seed)
        self.city.random = random.Random(seed)
        self.holds = Holds(released=self.city.released.released - {NEVER_CLOSED})
        self.segment_bytes = self.random.choice((4096, 8192, 1 << 15))
        self.disk, self.backup_disk, self.witness_disk = (world.disk(name) for name in ("gateway", "backup", "witness"))
        world.may_switch = lambda disk: disk is not self.witness_disk
        self.ledger, self.mirror = self.disk.root / "ledger", self.backup_disk.root / "mirror"
        self.service: Any = None
        self.known: Checkpoint | None = None
        self.processes: dict[str, Process] = {}
        self.has_callers = True
        self.witness_is_away = False
        self.accepts: dict[str, bool] = {}
        self.taken_out: set[str] = set()
        # What the world outside saw.
        self.uses: dict[str, str] = {}
        self.acts: list[str] = []
        self.roots: dict[int, bytes] = {}
        self.gone_below = self.mirror_reaches = 0
        # What befalls it.
        self.is_calm = False
        self.power_is_lost = False
        self.fails: Counter[Disk] = Counter()
        self.failing = _CHANGES
        self.folders_until = -1
        self.maker: Process | None = None
        self.dead_until: dict[Disk, float] = {}
        self.full: set[str] = set()
        self.short: set[str] = set()
        self.planted: str = ""
        self._truth: dict[str, bytes | None] = {}
        self._older: dict[str, bytes | None] = {}
        self._older_size = 0
        self._at_settling: list[Callable[[], None]] = []
        self.delays = 0.0
        self._plan: list[tuple[int, Callable[[], None]]] = []
        for number in range(faults):
            moment, fault = self.random.randrange(30, BUSY_CALLS), self.random.choice(FAULTS)
            happens = fault(self, self.random)
            if only is None or number in only:
                self._plan.append((moment, happens))
        if seed % 8 == 7:
            # Most folders are made at the first start.
            self._plan.append((0, is_killed_making_a_folder(self, random.Random(f"folders of {seed}"))))
        self._plan.sort(key=lambda each: each[0])

    def run(self) -> "History":
        """Let it happen; raises `Broken`."""
        world = self.world
        image = long_ago(self.random.choice(BEFORE))
        try:
            with at_work(world):
                self.disk.put_back(image)
                self.backup_disk.put_back({"lost+found": b""})
                self._begin_witness()
                for name in MAINS:
                    self._begin(name)
                self._until(FAULTS_END)
                self._calm()
                self._until(CALM_ENDS)
                if any(name not in self.taken_out and not self.accepts.get(name) for name in WRITERS):
                    # What failed on a full disk ends a journal only at its next segment: its worker starts anew.
                    self.delays += 1.5
                    self._until(CALM_ENDS)
                self._require_at_work()
                self._lose_power("nothing")
                self.has_callers = False
                self._until(ENDS)
                self._require_at_work()
                world.put_away()
                self._check()
        except GatewayError as error:
            self._broken(f"what stands there cannot be read: {error.detail}")
        finally:
            world.put_away()
            shutil.rmtree(self.folder, ignore_errors=True)
        return self

    @property
    def slowness(self) -> float:
        """How much longer than usual everybody waits between two things."""
        if self.is_calm:
            return 2.0
        return 1.0 if self.world.calls < BUSY_CALLS else 20.0

    # What the world outside sees.

    def answered(self, record: str, digest: str) -> None:
        self.uses[record] = digest

    def acted(self, record: str) -> None:
        self.acts.append(record)

    def published(self, note: bytes) -> None:
        """Somebody reads the checkpoint; the state hears of it, often."""
        checkpoint = parse_checkpoint(parse_note(note).text)
        if self.planted == "older" and checkpoint.size > self._older_size:
            self._broken("NEVER-FORKED: an older copy of the log has signed")
        if self.roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
            self._broken(f"NEVER-FORKED: two roots at {checkpoint.size} leaves")
        if self.random.random() < 0.5 and (self.known is None or checkpoint.size >= self.known.size):
            self.known = checkpoint
        self.world.tell(f"{checkpoint.size} leaves are published")

    def pruned(self, plan: Any, pruned: Any) -> None:
        self.world.tell(f"{pruned.entries} entries below {pruned.end} are gone, as an officer asked")
        self.gone_below = max(self.gone_below, pruned.end)

    def looked_at(self) -> None:
        """Somebody looks at the log while it is at work: what is published can be proven."""
        files = LogFiles(self.ledger / "tree")
        content = files.checkpoint()
        if content:
            checkpoint = parse_checkpoint(parse_note(content).text)
            try:
                root = files.edge(checkpoint.size).root()
            except GatewayError as error:
                self._broken(f"{checkpoint.size} leaves are published, and their tiles are not there: {error.detail}")
            if root != checkpoint.root:
                self._broken(f"{checkpoint.size} leaves are published, and the tiles are of another tree")

    def mirrored(self) -> None:
        size = self._mirror_size()
        if size < self.mirror_reaches:
            self._broken(f"a backup held {self.mirror_reaches} leaves, and holds {size}")
        self.mirror_reaches = size
        self.world.tell(f"the backup reaches {self.mirror_reaches} leaves")

    # What happens.

    def _begin(self, name: str, seconds: float = 0.0) -> None:
        self.processes[name] = self.world.begin(name, MACHINE, lambda: MAINS[name](self))
        self.processes[name].wake = self.world.now + seconds

    def _begin_witness(self) -> None:
        self.witness = Witness(
            self.witness_disk.root / "witness.db",
            name="witness.example/w1",
            signer=WITNESS_SIGNER,
            logs={ORIGIN: [KEY]},
            clock=self.world.clock,
        )

    def _until(self, moment: float) -> None:
        while self.world.now < moment + self.delays:
            self.world.run(moment + self.delays, self._ended)

    def _ended(self, process: Process) -> None:
        """A process has ended: the supervisor starts it again."""
        fault, name = process.fault, process.name
        if isinstance(fault, Broken):
            raise fault
        if fault is not None and not isinstance(fault, GatewayError | OSError | sqlite3.Error):
            raise Broken(f"{name} ends with {type(fault).__name__}: {fault}") from fault
        self.world.tell(f"{name} has ended: {f'{type(fault).__name__}: {fault}' if fault else 'killed'}")
        if self.power_is_lost:
            self.power_is_lost = False
            self._settle()
        if self.planted and isinstance(fault, GatewayError) and fault.code in {"conflict", "records-unavailable"}:
            self._mend()
        if name == "ledger":
            self.service = None
            self.world.kill(lambda each: each.name == "officer")
        self.accepts.pop(name, None)
        if name not in self.taken_out:
            self._begin(name, self.random.uniform(0.1, 1.0))

    def _lose_power(self, way: str = "") -> None:
        self.world.tell("the machine is without power")
        self.power_is_lost, self._way = True, way
        self.world.kill(lambda each: each.machine == MACHINE)

    def _settle(self) -> None:
        """The machine starts again."""
        for disk in (self.disk, self.backup_disk):
            way = disk.lose_power(self.random, self._way)
            self.world.tell(f"of what was not synced to {disk.root.name} survives: {way}")
        for what in self._at_settling:
            what()
        self._at_settling.clear()
        self._look_at_mirror()

    def _calm(self) -> None:
        """Faults end, and what somebody put in the wrong place is put right."""
        self.is_calm, self.witness_is_away = True, False
        self.fails.clear()
        self.dead_until.clear()
        self.full.clear()
        self.short.clear()
        for disk in self.world.disks:
            disk.free_bytes = 1 << 40
        for process in self.world.processes:
            process.wake = self.world.now
        self.world.tell("faults end")

    def _befall(self, disk: Disk, name: str, path: str) -> str:
        if disk is self.witness_disk:
            return "done"
        while self._plan and self.world.calls >= self._plan[0][0] and not self.is_calm:
            self._plan.pop(0)[1]()
        if self.maker is THE.process():
            self.maker = None
            self.world.tell(f"{THE.process().name} is killed before it has synced the name of its folder")
            self.world.kill(lambda each: each is THE.process())
        if name in {"scandir", "pread", "store"}:
            return ""
        while self.dead_until.get(disk, 0.0) > self.world.now:
            THE.process().give_back(self.dead_until[disk] - self.world.now)
        if self.fails[disk] > 0 and name in self.failing:
            self.fails[disk] -= 1
            self.world.tell(f"{THE.process().name}: {name} fails")
            raise OSError(errno.EIO, "the disk does not answer", path)
        if disk.root.name in self.full and name in _GROWS:
            raise OSError(errno.ENOSPC, "no room is left", path)
        if name == "mkdir":
            self.folders_until -= 1
            if self.folders_until == 0:
                self.maker = THE.process()
        return "half" if disk.root.name in self.short and self.random.random() < 0.5 else ""

    # What somebody does to the disk.

    def plant_older(self, which: str) -> None:
        """The log, or its signer, is put back as it was some time ago."""
        older = {path: content for path, content in self._older.items() if _is_of_log(path)}
        if not older or self.planted:
            return
        self._truth = self.disk.image()
        if which == "signer":
            older = {
                **{p: c for p, c in self._truth.items() if _is_of_log(p)},
                "ledger/signer.db": older.get("ledger/signer.db", b""),
            }
        size = self._older_size = _signed_size(older.get("ledger/signer.db") or b"")
        signed = parse_checkpoint(parse_note(self._truth["ledger/tree/checkpoint"] or b"").text).size
        knows = {"signer": signed, "state": self.known.size if self.known else 0, "witness": self._cosigned()[0]}[which]
        if knows <= size:
            return
        self.planted = "older"
        if which == "witness":
            self.known = None
        self.witness_is_away = which != "witness"
        self.disk.put_back({**{p: c for p, c in self._truth.items() if not _is_of_log(p)}, **older})
        self.world.tell(f"the log of {size} leaves is put back, and {which} knows more")

    def plant_cut(self) -> None:
        """A journal loses what it had confirmed."""
        if self.planted:
            return
        image = self.disk.image()
        name = self.random.choice(WRITERS)
        folder = self.ledger / "journal" / name
        try:
            confirmed, paths = confirmed_sequence(folder), segment_paths(folder)
        except GatewayError:
            return
        if not paths or int(paths[-1].stem) > confirmed or name in self.taken_out:
            return  # of a worker that does not come back nobody is refused a start, and nobody puts it right
        self._truth = image
        path = str(paths[-1].relative_to(self.disk.root))
        content = image[path] or b""
        used = len(content.rstrip(b"\0"))
        self.planted = "cut"
        self.disk.put_back({**image, path: content[: self.random.randrange(used // 2, max(used // 2 + 1, used - 600))]})
        self.world.tell(f"{path} is cut short below what was confirmed")

    def remember(self) -> None:
        """Somebody copies the disk."""
        self._older = self.disk.image()
        if not self._older.get("ledger/tree/checkpoint"):
            self._older = {}

    def _cosigned(self) -> tuple[int, bytes]:
        row = self.witness._connection.execute("SELECT size, root FROM cosigned").fetchone()
        return row or (0, b"")

    def _mend(self) -> None:
        """The start was refused: the officer on duty puts right what was wrong."""
        wrong = self.planted
        self.planted = ""
        self.witness_is_away = False
        now = self.disk.image()
        picked = _is_of_log if wrong == "older" else (lambda path: path in self._cut_paths(now))
        truth = {path: content for path, content in self._truth.items() if picked(path)}
        self.world.kill(lambda each: each.machine == MACHINE)
        self._at_settling.append(
            lambda: self.disk.put_back({**{p: c for p, c in self.disk.image().items() if not picked(p)}, **truth})
        )
        self.power_is_lost, self._way = True, "everything"
        self.world.tell("what was wrong is put right")

    def _cut_paths(self, now: dict[str, bytes | None]) -> set[str]:
        return {
            p
            for p, c in self._truth.items()
            if p.endswith(".journal") and c is not None and len(now.get(p) or b"") < len(c)
        }

    # What is checked.

    def _broken(self, what: str) -> None:
        self.world.tell(what)
        raise Broken(what)

    def _mirror_size(self) -> int:
        content = LogFiles(self.mirror).checkpoint()
        return parse_checkpoint(parse_note(content).text).size if content else 0

    def _look_at_mirror(self) -> None:
        size = self._mirror_size()
        if size < self.mirror_reaches:
            self._broken(f"a backup held {self.mirror_reaches} leaves, and holds {size}")
        if size:
            try:
                verify_log(self.mirror, KEY.text(), processes=1)
            except GatewayError as error:
                self._broken(f"a backup does not verify: {error.detail}")

    def _require_at_work(self) -> None:
        if self.service is None or self.service._fault:
            self._broken(f"nothing waits for ever: the ledger does not work: {self.service and self.service._fault}")
        for name in WRITERS:
            if name not in self.taken_out and not self.accepts.get(name):
                self._broken(f"nothing waits for ever: {name} records nothing")
        if not self.has_callers and (left := self.service.integrator.backlog()):
            self._broken(f"nothing waits for ever: {left} entries wait for the log")

    def _check(self) -> None:
        """After all: the disk as it is."""
        files = LogFiles(self.ledger / "tree")
        checkpoint, _ = verify_checkpoint(files.checkpoint(), KEY)
        size, gone = checkpoint.size, minimum_index(self.ledger / "tree")
        hashes = Hashes(size, files.tile)
        for at, root in self.roots.items():
            if at > size or (at and hashes.span(0, at) != root):
                self._broken(f"NEVER-FORKED: {at} leaves were published, and the log of {size} is another")
        row = self._cosigned()
        if row[0] > size or (row[0] and hashes.span(0, row[0]) != row[1]):
            self._broken(f"NEVER-FORKED: a witness cosigned {row[0]} leaves, and the log of {size} is another")
        if gone < self.gone_below:
            self._broken(f"what was told to be gone below {self.gone_below} is back: {gone}")
        try:
            verify_log(self.ledger, KEY.text(), processes=1)
        except GatewayError as error:
            self._broken(f"APPEND-ONLY: the log does not verify: {error}")
        self._check_entries(files, size, gone)
        self._look_at_mirror()

    def _check_entries(self, files: LogFiles, size: int, gone: int) -> None:
        contents: list[bytes] = []
        for n in range(gone // WIDTH, (size + WIDTH - 1) // WIDTH):
            contents += files.standing(n, min(WIDTH, size - n * WIDTH))
        found = [json.loads(content) for content in contents]
        counted = Counter(
            (entry["id"], entry["kind"] if entry["kind"] != "recovered" else "use.closed")
            for entry in found
            if entry["kind"] != "prune"
        )
        twice = [each for each, count in counted.items() if count > 1]
        if twice:
            self._broken(f"RECORD-FIRST: {twice[0]} is in the log twice")
        opened = {entry["id"]: entry["request"] for entry in found if entry["kind"] == "use.opened"}
        lost = [record for record, digest in self.uses.items() if opened.get(record) != digest]
        ids = {entry["id"] for entry in found}
        lost += [record for record in self.acts if record not in ids]
        if lost:
            self._broken(f"RECORD-FIRST: {len(lost)} records that were answered are lost, {lost[0]} first")
        endless = [record for record in self.uses if (record, "use.closed") not in counted]
        if endless:
            self._broken(f"RECORD-FIRST: the use {endless[0]} has no end")
        if contents:
            leaf = self.random.randrange(gone, size)
            proof = TlogProof(
                leaf, tuple(Hashes(size, files.tile).inclusion(leaf)), files.checkpoint(), contents[leaf - gone]
            )
            try:
                verify_record(proof.encode().encode(), KEY.text())
            except GatewayError as error:
                self._broken(f"APPEND-ONLY: the proof of leaf {leaf} does not verify: {error.detail}")


def _signed_size(content: bytes) -> int:
    with closing(CONNECT(":memory:")) as connection:
        connection.deserialize(content)
        return int(connection.execute("SELECT size FROM signed").fetchone()[0])


def _is_of_log(path: str) -> bool:
    return path.startswith(("ledger/tree", "ledger/signer.db"))


FAULTS: list[Callable[[History, Any], Callable[[], None]]] = []


def fault(what: Callable[[History, Any], Callable[[], None]]) -> Callable[[History, Any], Callable[[], None]]:
    FAULTS.append(what)
    return what


@fault
def loses_power(history: History, random: Any) -> Callable[[], None]:
    """At whatever call the machine happens to be."""
    return history._lose_power


@fault
def loses_power_soon_again(history: History, random: Any) -> Callable[[], None]:
    """Twice: the second comes while what the first left is made good."""
    calls = random.randrange(1, 120)

    def happens() -> None:
        history._plan.insert(0, (history.world.calls + calls, history._lose_power))
        history._lose_power()

    return happens


@fault
def is_killed(history: History, random: Any) -> Callable[[], None]:
    """SIGKILL of one process."""
    name = random.choice(["worker-1", "worker-2", "control", "ledger", "ledger", "backup"])

    def happens() -> None:
        history.world.tell(f"{name} is killed")
        history.world.kill(lambda each: each.name == name)

    return happens


@fault
def is_taken_out(history: History, random: Any) -> Callable[[], None]:
    """A worker that does not come back: fewer are set from now on."""
    name = random.choice(WRITERS)

    def happens() -> None:
        history.world.tell(f"{name} is taken out")
        history.taken_out.add(name)
        history.world.kill(lambda each: each.name == name)

    return happens


@fault
def disk_fails(history: History, random: Any) -> Callable[[], None]:
    """Some calls fail; where power is lost afterwards, what Linux called clean is not there."""
    disk, count = random.choice([history.disk, history.disk, history.backup_disk]), random.choice([1, 1, 2, 5])
    then = random.choice([0, 0, random.randrange(5, 150)])
    failing = random.choice([_CHANGES, {"fsync"}])

    def happens() -> None:
        history.world.tell(f"{count} calls of {disk.root.name} fail")
        history.fails[disk] += count
        history.failing = failing
        if then:
            history._plan.insert(0, (history.world.calls + then, history._lose_power))

    return happens


@fault
def disk_is_full(history: History, random: Any) -> Callable[[], None]:
    """For some calls nothing grows."""
    disk, calls = random.choice([history.disk, history.disk, history.backup_disk]), random.randrange(5, 300)

    def happens() -> None:
        history.world.tell(f"{disk.root.name} is full")
        history.full.add(disk.root.name)
        disk.free_bytes = 0

        def has_room() -> None:
            history.full.discard(disk.root.name)
            disk.free_bytes = 1 << 40
            history.world.tell(f"{disk.root.name} has room again")

        history._plan.append((history.world.calls + calls, has_room))
        history._plan.sort(key=lambda each: each[0])

    return happens


@fault
def disk_is_dead(history: History, random: Any) -> Callable[[], None]:
    """It lies dead for a minute: calls come back afterwards, or the machine is started anew meanwhile."""
    disk = random.choice([history.disk, history.disk, history.backup_disk])

    def happens() -> None:
        history.world.tell(f"{disk.root.name} is dead for a minute")
        history.dead_until[disk] = history.world.now + 60.0
        history.delays += 60.0

    return happens


@fault
def writes_are_short(history: History, random: Any) -> Callable[[], None]:
    """Half of what is written is taken."""
    calls = random.randrange(50, 400)

    def happens() -> None:
        history.short.add(history.disk.root.name)
        history._plan.append((history.world.calls + calls, lambda: history.short.discard(history.disk.root.name)))
        history._plan.sort(key=lambda each: each[0])

    return happens


@fault
def witness_is_away(history: History, random: Any) -> Callable[[], None]:
    """It does not answer, or what it answers does not come."""
    calls = random.randrange(20, 300)

    def happens() -> None:
        history.witness_is_away = True
        history._plan.append((history.world.calls + calls, lambda: setattr(history, "witness_is_away", False)))
        history._plan.sort(key=lambda each: each[0])

    return happens


@fault
def witness_loses_power(history: History, random: Any) -> Callable[[], None]:
    """Its own machine."""

    def happens() -> None:
        history.witness_disk.lose_power(random)
        history._begin_witness()
        history.world.tell("the witness was without power")

    return happens


@fault
def is_rolled_back(history: History, random: Any) -> Callable[[], None]:
    """Somebody puts an older copy in the log's place."""
    calls, which = random.randrange(60, 250), random.choice(["signer", "state", "witness"])

    def put() -> None:
        history._at_settling.append(lambda: history.plant_older(which))
        history._lose_power()

    def happens() -> None:
        history.remember()
        history._plan.append((history.world.calls + calls, put))
        history._plan.sort(key=lambda each: each[0])

    return happens


@fault
def is_cut(history: History, random: Any) -> Callable[[], None]:
    """A journal is cut short where it was confirmed."""

    def happens() -> None:
        history._at_settling.append(history.plant_cut)
        history._lose_power()

    return happens


def is_killed_making_a_folder(history: History, random: Any) -> Callable[[], None]:
    """SIGKILL between a folder's making and the sync of its name; whoever comes next finds it, and power is lost."""
    number, calls = random.randrange(1, 9), random.randrange(60, BUSY_CALLS)

    def happens() -> None:
        history.folders_until = number
        history._plan.append((calls, lambda: history._lose_power("nothing")))
        history._plan.sort(key=lambda each: each[0])

    return happens


def run(seed: int, **options: Any) -> History:
    """One history; raises `Broken` with its story."""
    history = History(seed, **options)
    try:
        return history.run()
    except Broken as broken:
        lines = "\n".join(history.world.story)
        raise Broken(f"seed {seed}: {broken}\n{lines}") from broken.__cause__


def shrunk(seed: int) -> str:
    """The story of a history that broke a promise, with as few of its faults as it needs."""
    try:
        faults = run(seed).faults
    except Broken as broken:
        story = str(broken)
        faults = 3
    else:
        return ""
    only = frozenset(range(faults))
    for number in range(faults):
        try:
            run(seed, only=only - {number})
        except Broken as broken:
            story, only = str(broken), only - {number}
    return story
