"""A history: three nodes, suspensions, faults in pairs, all from one seed; and what must be true in each.

    python -m tests.simulation SEED        tells the story of one

BARRIER             once a call that suspends a grant has returned no piece leaves a kernel under it, nobody is asked
STALE-DENIES        no worker does either longer than the freshness limit after its suspension's commit
FORBID-WINS         the same where a grant like the suspended one is issued afterwards
ONE-TIMELINE        no node asks a primary older than one it has asked, nor either of two that it reaches at once
ONE-ANSWER          a caller gets what its supplier answered under its own record, and nothing else
KNOWN-SHAPE         an answer of status 200 has all the rows that its supplier sent where the interface places them
GRANTED-ITEMS-ONLY  what no grant gives reaches nobody
RECORD-FIRST        no supplier is asked before the record is durable; a request has one record, a record one end
ASKED-AT-COMMIT     nobody acts who was dismissed, and what is asked for twice under one key is done once
true records        an act that stands is not called void, and one that does not is
quotas              over all workers no more is drawn than a quota allows
nothing waits       once faults have ended every suspension returns and every node serves again

In every second history (`is_rich`) answers end, suppliers misbehave, some calls draw on a quota, grants are issued
after suspensions, and a primary may stay when another takes over.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from gateway.control.barrier.barrier import END_SECONDS
from gateway.domain.uses import Outcome, RecordKind, Use
from gateway.proxy.http import pools
from tests.simulation.house import Node
from tests.simulation.loop import World
from tests.simulation.parties import Said
from tests.simulation.sockets import kernels
from tests.simulation.state import State
from tests.simulation.workers import FRESHNESS, QUOTA

FAULTS_END = 7.0
ENDS = 17.0
AFTERWARDS = 2.5
ACTS = 5
OFFICERS = ("zhang", "li")
CLOCKS_DIFFER = 3e-4


class Broken(Exception):  # noqa: N818 - what it says is that a promise was
    """A promise was broken."""


@dataclass
class Record:
    """What is on record of one call.

    Args:
        worker: whose journal bears it.
        grant: under which the call was made.
        is_refused: whether it was refused.
    """

    worker: Any
    grant: str
    is_refused: bool
    is_durable: bool = False
    asked: int = 0
    end: str = ""


class History:
    """One history.

    Args:
        seed: of it.
        faults: how many befall it.
        only: leave all faults out but these, by number: for shrinking.
    """

    def __init__(self, seed: int, *, faults: int = 4, only: frozenset[int] | None = None) -> None:
        self.seed = seed
        self.world = World(seed)
        self.state = State(self.world)
        self.grants = tuple(f"g{number}" for number in range(ACTS + 3))
        self.commits: dict[str, float] = {}
        self.stopped: dict[str, float] = {}
        self.lost: set[str] = set()
        self.pending: set[str] = set()
        self.acts: dict[str, tuple[str, Any]] = {}
        self.voided: set[str] = set()
        self.pieces = 0
        self.is_rich = seed % 2 == 1
        self.drawn = self.forgotten = self.uses = self.answers = 0
        self.records: dict[str, Record] = {}
        self.said: dict[str, Said] = {}
        self.arrived: set[str] = set()
        self.ambiguous: set[str] = set()
        """Requests that were on their way when octets that answer nobody came from their supplier."""
        self._asked: dict[str, int] = {}
        self._first_broken = ""
        self.state.asked = self.asked
        self._slept: dict[str, float] = {}
        self._done: set[tuple[str, str]] = set()
        self.state.committed = self.committed
        self.faults = faults
        self.nodes = [Node(self, name) for name in "abc"]
        random = self.world.random
        self.moments = [random.uniform(1.5, FAULTS_END) for _ in range(ACTS)]
        for number, moment in enumerate(self.moments):
            self._suspend_later(self.grants[number], moment)
        for number in range(faults):
            moment, fault = random.uniform(1.0, FAULTS_END - 0.5), random.choice(DRAWN)
            fault(self, moment, hit=only is None or number in only)
        for number, node in enumerate(self.nodes):
            self._suspend_later(self.grants[ACTS + number], ENDS - 6.0, node)

    def run(self) -> "History":
        """Let it happen; raises `Broken`."""
        try:
            # Suppliers are trusted again soon: else, once one octet strayed, no connection would be kept any more.
            with kernels(), patch.object(pools, "DISTRUST_SECONDS", 0.5):
                while self.world.now < ENDS and not self.world.is_over and not self._is_settled():
                    self.world.run(self.world.now + 0.5)
        finally:
            self.world.put_away()
        if self._first_broken:
            raise Broken(self._first_broken)
        for part in (each for node in self.nodes for each in (node.control, *node.workers.values())):
            if part is not None and part.loop.faults:
                self.fails(f"a callback of {part.process.name} raised: {part.loop.faults[0]}")
        if self.pending:
            self.fails(f"nothing waits for ever: the suspension of {sorted(self.pending)} has not returned")
        for node in self.nodes:
            if not any(worker.link.is_fresh() for worker in node.living()):
                self.fails(f"nothing waits for ever: no worker of {node.name} serves")
        self._check_acts()
        under_way = {record for node in self.nodes for worker in node.living() for record in worker.under_way()}
        for name, record in self.records.items():
            if record.asked and not record.end and not record.worker.process.is_dead and name not in under_way:
                self.fails(f"every use is recorded once: {name} has no end")
        return self

    def _is_settled(self) -> bool:
        """Whether everything has returned, every node serves, and what may still leave has had its time."""
        if any(node.control is not None and node.control.acts.unsettled for node in self.nodes):
            return False
        if self.pending or self.world.now < max(self.stopped.values(), default=ENDS) + AFTERWARDS:
            return False
        return all(any(worker.link.is_fresh() for worker in node.living()) for node in self.nodes)

    # What happens.

    def _suspend_later(self, grant: str, moment: float, node: Node | None = None) -> None:
        self.pending.add(grant)
        officers = [*OFFICERS]

        def ask(*, again: bool = True) -> None:
            if grant not in self.pending:
                return
            asked = node or self.world.random.choice(self.nodes)
            control = asked.control
            if control is not None and control.is_up and not control.process.is_dead:
                self.world.tell(f"{asked.name} is asked by {officers[0]} to suspend {grant}")
                control.suspend(grant, officers[0], lambda at, why: ended(asked, at, why))
            # Who gets no answer asks again, perhaps another node, for the same act.
            if again:
                self.world.after(4.0, ask)

        def ended(asked: Node, sequence: int, why: str) -> None:
            if why == "credential-invalid":
                # Somebody else does it, at once.
                officers[:] = OFFICERS[::-1]
                self.world.after(0.2, lambda: ask(again=False))
            elif not why and grant in self.pending:
                self.pending.discard(grant)
                self.stopped[grant] = self.world.now
                self.world.tell(f"{asked.name} answers that {grant} is suspended (change {sequence})")

        self.world.at(moment, ask)

    def committed(self, grant: str, sequence: int, officer: str) -> None:
        """An officer's act stands."""
        self.commits.setdefault(grant, self.world.now)
        self.world.tell(f"change {sequence} is committed: {officer} suspends {grant}")
        if officer in self.state.dismissed:
            self.fails(f"ASKED-AT-COMMIT: {officer}, who was dismissed, suspends {grant}")
        if (grant, officer) in self._done:
            self.fails(f"an act under one key is done twice: {officer} suspends {grant}")
        self._done.add((grant, officer))
        if self.is_rich:
            self.world.after(self.world.random.uniform(0.05, 1.0), lambda: self._issue(grant))

    def _issue(self, grant: str) -> None:
        """Some officer issues a grant like the suspended one."""
        if not self.state.is_down:
            change = self.state.commit(grant, withdraws=False)
            self.world.tell(f"change {change.sequence} is committed: a grant like {grant} is issued")

    def is_metered(self, grant: str) -> bool:
        return self.is_rich and self.grants.index(grant) % 2 == 1

    def fail_over(self, lag: float) -> None:
        if self.is_rich:
            self._leave_old()
        leased = self.state.leased()
        for grant in self.state.fail_over(lag):
            # What the new primary lacks never was: an officer's act is lost, as the docs say of such a standby.
            self.lost.add(grant)
            self.pending.discard(grant)
        self.forgotten += leased - self.state.leased()
        self.world.tell(f"another server is the primary; it lacks the last {lag:.2f} s: {sorted(self.lost)}")

    def _leave_old(self) -> None:
        """The primary of before stays a while; some nodes come to reach it, with the new one or in its place."""
        random, state, world = self.world.random, self.state, self.world
        state.leave_old()
        world.tell("the primary of before stays")
        life = random.uniform(0.2, 3.0)
        for node in self.nodes:
            fate, since, lasts = random.choice(["", "both", "old"]), random.uniform(0.0, life), random.uniform(0.2, 1.0)
            if fate:
                world.after(since, lambda name=node.name: state.old_reaches.add(name))
            if fate == "old":
                world.after(since, lambda name=node.name: state.cut_off.add(name))
                world.after(since + lasts, lambda name=node.name: state.cut_off.discard(name))
        world.after(life, lambda: setattr(state, "old", None))

    # What is checked.

    def _check_acts(self) -> None:
        """What is on record of each act is so: it stands, or a record voids it."""
        standing = self.state.acts()
        for name, (grant, process) in self.acts.items():
            if name in standing and name in self.voided:
                self.fails(f"record {name} is void, and the suspension of {grant} that it tells of stands")
            # What a process that has ended left open is found by the next start (`gateway.runtime.start.reconciling`).
            if not process.is_dead and name not in standing | self.voided | self.state.lost_acts:
                self.fails(f"record {name} tells of a suspension of {grant} that does not stand")

    def asked(self, node: str, number: int, reaches_two: bool) -> None:
        """A node asks a primary something."""
        if reaches_two:
            self.fails(f"ONE-TIMELINE: {node} reaches two primaries, and asks number {number}")
        if number < self._asked.get(node, 0):
            self.fails(f"ONE-TIMELINE: {node} asks primary {number} after {self._asked[node]}")
        self._asked[node] = number

    def drew(self, worker: Any, rows: int) -> None:
        """Rows were drawn from the quota. What a failover forgot was leased again."""
        self.drawn += rows
        if self.drawn > QUOTA + self.forgotten:
            self.fails(f"quotas: {worker.process.name} draws {self.drawn} rows of {QUOTA}")

    def new_act(self, process: Any, kind: RecordKind, told: Mapping[str, Any]) -> str:
        """A control process writes what an officer is about to do, or that it did not come to stand."""
        if kind is RecordKind.CONSULTATION:
            self.voided.add(str(told["voids"]))
            return ""
        name = f"a{len(self.acts)}"
        self.acts[name] = str(told["grant"]), process
        return name

    def new_record(self, worker: Any, use: Use, *, is_refused: bool = False) -> str:
        """A worker writes what it is about to do, or has refused."""
        record = f"r{len(self.records)}"
        self.records[record] = Record(worker, use.verdict.grant or "", is_refused=is_refused)
        return record

    def durable(self, name: str) -> None:
        self.records[name].is_durable = True

    def forwarded(self, name: str) -> None:
        """A supplier is asked under a record."""
        record = self.records[name]
        if not record.is_durable:
            self.fails(f"RECORD-FIRST: a supplier is asked under {name}, which is not durable")
        if record.asked:
            self.fails(f"every use is recorded once: two requests bear {name}")
        record.asked += 1
        self.uses += 1

    def closed(self, name: str, use: Use, outcome: Outcome) -> None:
        """A worker writes how a use ended."""
        record = self.records[name]
        if record.end or record.is_refused:
            self.fails(f"every use is recorded once: {name} ended as {record.end} and as {outcome.end}")
        if (use.verdict.grant or "") != record.grant:
            self.fails(f"every use is recorded once: {name} began under {record.grant}, ends under {use.verdict.grant}")
        record.end = outcome.end
        if outcome.end in {"complete", "overrun"} and outcome.status == 200 and name not in self.ambiguous:
            said = self.said.get(name)
            if said is None or said.rows != outcome.rows or not said.is_whole:
                self.fails(f"{name} is on record as {outcome.end} with {outcome.rows} rows; the supplier said {said}")
            if name not in self.arrived:
                self.fails(f"{name} is on record as {outcome.end}, and did not arrive")

    def answered(self, name: str, grant: str, rows: list[list[str]]) -> None:
        """A caller has an answer of status 200, whole."""
        record, said = self.records[name], self.said.get(name)
        self.arrived.add(name)
        if name in self.ambiguous:
            return
        if record.grant != grant:
            self.fails(f"ONE-ANSWER: who called under {grant} has the answer to {name}, under {record.grant}")
        if any(of != name for of, _ in rows):
            self.fails(f"ONE-ANSWER: the answer to {name} has rows of {sorted({of for of, _ in rows})}")
        if said is None or said.rows is None:
            self.fails(f"KNOWN-SHAPE: {name} is answered 200 though its supplier's answer has no known shape")
        elif [int(number) for _, number in rows] != list(range(said.rows)) or not said.is_whole:
            self.fails(f"KNOWN-SHAPE: {name} is answered with {len(rows)} rows of {said}")
        self.answers += 1

    def asks(self, worker: Any, record: str) -> None:
        """A worker writes a request to a supplier."""
        grant = self.records[record].grant
        if grant in self.stopped and grant not in self.lost and self.world.now > self.stopped[grant]:
            self.fails(f"BARRIER: {worker.process.name} asks a supplier under {grant}")
        self.released(worker, grant)

    def released(self, worker: Any, grant: str) -> None:
        """A worker writes a piece."""
        limit = FRESHNESS * (1 + CLOCKS_DIFFER) + 0.002
        if grant in self.commits and grant not in self.lost and self.world.now > self.commits[grant] + limit:
            self.fails(f"STALE-DENIES: {worker.process.name} writes under {grant}")

    def delivered(self, worker: Any, grant: str) -> None:
        """A piece leaves a worker's kernel."""
        self.pieces += 1
        if grant in self.stopped and grant not in self.lost and self.world.now > self.stopped[grant]:
            if self._slept.get(worker.node.name, -1.0) >= self.commits[grant] - FRESHNESS - END_SECONDS:
                # A machine that stood still as a whole sends what it held, in the instant in which it goes on.
                return
            self.fails(f"BARRIER: a piece under {grant} leaves {worker.process.name}")

    def slept(self, node: Node, until: float) -> None:
        self._slept[node.name] = until

    def fails(self, what: str) -> None:
        """A promise was broken."""
        self.world.tell(what)
        # A task keeps to itself what is raised in it.
        self._first_broken = self._first_broken or what
        self.world.is_over = True
        raise Broken(what)


Fault = Callable[..., None]
FAULTS: list[Fault] = []


def fault(what: Callable[[History, Any], Callable[[], None]]) -> Fault:
    """A fault: `what` draws its particulars and returns what happens. It draws also when it is left out."""

    def befall(history: History, moment: float, *, hit: bool) -> None:
        happens = what(history, history.world.random)
        if hit:
            history.world.at(moment, happens)

    FAULTS.append(befall)
    return befall


def _part(history: History, random: Any) -> Callable[[], Any]:
    """Some process of some node, as it is when it is asked for."""
    node, part = random.choice(history.nodes), random.choice(["worker-0", "worker-1", "control", "supervisor"])

    def process() -> Any:
        if part == "supervisor":
            return node.supervisor
        if part == "control":
            return node.control.process
        return node.workers[part].process

    return process


@fault
def stands_still(history: History, random: Any) -> Callable[[], None]:
    """SIGSTOP, or a loop that hangs; it goes on later, or not by itself."""
    part, seconds = _part(history, random), random.choice([0.3, 1.0, 2.5, 5.0])

    def happens() -> None:
        process = part()
        process.stand_still()
        history.world.after(seconds, process.go_on)

    return happens


@fault
def stands_still_while_control_is_replaced(history: History, random: Any) -> Callable[[], None]:
    """Two at once: a worker stands still and the control process above it is killed."""
    node, part, seconds = random.choice(history.nodes), random.choice(["worker-0", "worker-1"]), random.uniform(1, 6)
    pause = random.uniform(0.0, 0.5)

    def happens() -> None:
        process = node.workers[part].process
        process.stand_still()
        history.world.after(seconds, process.go_on)
        history.world.after(pause, lambda: node.control.process.kill("killed"))

    return happens


@fault
def is_killed(history: History, random: Any) -> Callable[[], None]:
    """SIGKILL."""
    part = _part(history, random)
    return lambda: part().kill("killed")


@fault
def is_slow(history: History, random: Any) -> Callable[[], None]:
    """Everything it does takes long."""
    part, seconds, slowness = _part(history, random), random.uniform(0.5, 3.0), random.choice([20, 200])

    def happens() -> None:
        process = part()
        process.slowness = slowness
        history.world.tell(f"{process.name} is slow")
        history.world.after(seconds, lambda: setattr(process, "slowness", 1.0))

    return happens


@fault
def is_cut_off(history: History, random: Any) -> Callable[[], None]:
    """A worker's connection breaks, and no other comes about for a while."""
    node, part, seconds = random.choice(history.nodes), random.choice(["worker-0", "worker-1"]), random.uniform(0, 4)

    def happens() -> None:
        worker = node.workers[part]
        history.world.tell(f"{worker.process.name} is cut off")
        worker.is_cut_off = True
        worker.tear()
        history.world.after(seconds, lambda: setattr(worker, "is_cut_off", False))

    return happens


@fault
def is_partitioned(history: History, random: Any) -> Callable[[], None]:
    """A node does not reach the state."""
    node, seconds = random.choice(history.nodes), random.uniform(0.2, 5.0)

    def happens() -> None:
        history.world.tell(f"{node.name} does not reach the state")
        history.state.cut_off.add(node.name)
        history.world.after(seconds, lambda: history.state.cut_off.discard(node.name))

    return happens


@fault
def messages_are_late(history: History, random: Any) -> Callable[[], None]:
    """What a node's processes say to each other arrives late, in order."""
    node, seconds, lateness = random.choice(history.nodes), random.uniform(0.5, 3.0), random.choice([0.5, 2.5])

    def happens() -> None:
        history.world.tell(f"messages within {node.name} are late by up to {lateness} s")
        node.machine.lateness = lateness
        history.world.after(seconds, lambda: setattr(node.machine, "lateness", 0.0))

    return happens


@fault
def fails_over(history: History, random: Any) -> Callable[[], None]:
    """The state is away for a while, and another server comes: with all that was committed, or without the last."""
    seconds, lag = random.choice([0.0, 0.3, 2.5]), random.choice([0.0, 0.0, 0.3, 1.0])

    def happens() -> None:
        history.state.is_down = True
        history.world.tell("the state is away")

        def is_back() -> None:
            history.fail_over(lag)
            history.state.is_down = False

        history.world.after(seconds, is_back)

    return happens


@fault
def commits_break_off(history: History, random: Any) -> Callable[[], None]:
    """A node's connection to the state breaks as it commits: nobody knows whether that was kept."""
    node, seconds = random.choice(history.nodes), random.uniform(0.5, 4.0)

    def happens() -> None:
        history.world.tell(f"what {node.name} commits is not answered")
        history.state.breaks_off.add(node.name)
        history.world.after(seconds, lambda: history.state.breaks_off.discard(node.name))

    return happens


@fault
def is_dismissed(history: History, random: Any) -> Callable[[], None]:
    """An officer is dismissed, perhaps between the head of a request and its body."""
    officer, stops = OFFICERS[0], history.moments
    moment = random.choice(stops) + random.uniform(0.0, 0.7)

    def happens() -> None:
        def dismiss() -> None:
            if not history.state.is_down:
                history.world.tell(f"{officer} is dismissed")
                history.state.dismissed.setdefault(officer, history.world.now)

        history.world.at(moment, dismiss)

    return happens


@fault
def disk_is_full(history: History, random: Any) -> Callable[[], None]:
    """No record can be written on a node."""
    node, seconds = random.choice(history.nodes), random.uniform(0.2, 3.0)

    def happens() -> None:
        history.world.tell(f"the disk of {node.name} is full")
        node.has_full_disk = True
        history.world.after(seconds, lambda: setattr(node, "has_full_disk", False))

    return happens


@fault
def clock_steps(history: History, random: Any) -> Callable[[], None]:
    """Somebody sets a machine's clock."""
    node, seconds = random.choice(history.nodes), random.choice([-3600.0, -5.0, 5.0, 3600.0])

    def happens() -> None:
        history.world.tell(f"the clock of {node.name} is set by {seconds:+.0f} s")
        node.clock_off += seconds

    return happens


@fault
def machine_sleeps(history: History, random: Any) -> Callable[[], None]:
    """A whole machine stands still, its kernel too."""
    node, seconds = random.choice(history.nodes), random.choice([0.5, 3.0, 6.0])

    def happens() -> None:
        if not node.machine.is_asleep:
            history.slept(node, history.world.now + seconds)
            node.sleep(seconds)

    return happens


DRAWN = [*FAULTS, *FAULTS[:3], *FAULTS[4:6], *FAULTS[7:8] * 3, FAULTS[-1]]
"""What is drawn from: what breaks most of what stops rest on more often."""


def faults_of(seed: int) -> int:
    """How many faults befall a history where many are run."""
    return 2 + seed % 5


def run(seed: int, **options: Any) -> History:
    """One history; raises `Broken` with its story."""
    history = History(seed, **options)
    try:
        return history.run()
    except Broken as broken:
        lines = "\n".join(history.world.story)
        raise Broken(f"seed {seed}: {broken}\n{lines}") from None


def shrunk(seed: int) -> str:
    """The story of a history that broke a promise, with as few of its faults as it needs."""
    try:
        faults = run(seed).faults
    except Broken as broken:
        story, faults = str(broken), History(seed).faults
    else:
        return ""
    only = frozenset(range(faults))
    for number in range(faults):
        try:
            run(seed, only=only - {number})
        except Broken as broken:
            story, only = str(broken), only - {number}
    return story
