"""Deciding at size: warm and first verdicts, memory, stalls, beside one flat policy set and beside policies as strings.

    python tests/bench/policy_scale.py [--quick] [--sizes 1000,10000,100000,1000000] [--states FOLDER] [--save FILE]

Prints a JSON line a measurement, then a table. Targets at one million grants and 100,000 datasets on SQLite: a warm
verdict at most 3 µs; the first verdict of a slice at most 2 ms p99; memory of a worker below 200 MiB and independent
of the number of grants; building and dropping slices stalls another thread's calls by at most 1 ms, however many
grants the pair has, and dropping everything at once takes no longer.

Each size is measured in a process of its own, so that memory is that size's. The flat set and the strings are given
all grants at once and only the entities of the pair asked for; sizes that would take longer than `FLAT_SECONDS` to
parse are left out and named.

On a machine that others load, much of a wall time is waiting for a processor. So `cpu` is the time the deciding thread
itself worked, `alone` is the wall time of those first verdicts for which it did not have to wait for a processor
(`delayed` counts the others), every line says the load, and a first verdict is compared with cedarpy asked with the
same slice as strings in the same minute of the same process.

A stall is by how much longer than asked a thread slept that then makes ten warm calls, as the event loop does when a
socket wakes it; `alone` are those in which neither thread waited for a processor. It waits at most for the switch
interval and one call that keeps the interpreter; the longest of those are measured by themselves.
"""

import argparse
import gc
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cedarpy  # noqa: E402 - the repository's path must be known first
import msgspec  # noqa: E402

from gateway.domain.callers import Assurance  # noqa: E402
from gateway.domain.changes import Change, ChangeKind  # noqa: E402
from gateway.domain.directory import (  # noqa: E402
    DataItem,
    Dataset,
    Department,
    Interface,
    Level,
    Purpose,
    SharingAttribute,
    SharingMode,
    UpdateCycle,
)
from gateway.domain.grants import Approval, Grant  # noqa: E402
from gateway.domain.state import SliceState  # noqa: E402
from gateway.domain.verdicts import Call  # noqa: E402
from gateway.policy import Engine, default_policies_root, load_layers  # noqa: E402
from gateway.policy.law.layers import Layers, est_document, est_to_text  # noqa: E402
from gateway.policy.law.world import caller_entities, parse_entities, slice_entities, takes_long, use_request  # noqa: E402
from gateway.policy.live.building import build_grant  # noqa: E402
from gateway.policy.live.slices import AT_ONCE, Slice, build_policies, parse_policies  # noqa: E402
from gateway.runtime.process import SWITCH_SECONDS  # noqa: E402
from gateway.store import Store  # noqa: E402
from gateway.store.directory.file import DirectoryFile  # noqa: E402

DEPARTMENTS = 300
NOW = datetime(2026, 3, 2, 4, tzinfo=UTC)
NOW_UNIX = int(NOW.timestamp())
APPROVAL = Approval("负责人", NOW, "批准〔2026〕1号")
ITEMS = tuple(DataItem(f"item_{number}", f"信息项{number}") for number in range(12))
PAUSE_SECONDS = 0.0005
DELAYED_MS = 0.05
"""A thread that waited this long for a processor measures the machine and not the gateway."""
MAX_SLICES = 4096
FLAT_SECONDS = 40.0
PARSE_SECONDS_A_POLICY = 0.00012
"""What parsing one grant's policy takes at least; used only to leave out what would take too long."""
FULL = (1_000, 10_000, 100_000, 1_000_000)
QUICK = (1_000, 10_000)

Say = Callable[..., None]


def say(what: str, grants: int, **values: Any) -> None:
    print(json.dumps({"what": what, "grants": grants, **values, "load": round(os.getloadavg()[0], 1)}), flush=True)


def supplier_of(dataset: int) -> str:
    return f"d{dataset % DEPARTMENTS}"


def purposes_of(dataset: int) -> tuple[str, ...]:
    return tuple(f"p{(dataset * 7 + step) % 50}" for step in range(5))


def directory(datasets: int) -> DirectoryFile:
    return DirectoryFile(
        departments=tuple(Department(f"d{n}", f"部门{n}", "442000", Level.CITY) for n in range(DEPARTMENTS)),
        purposes=tuple(Purpose(f"p{n}", f"目的{n}") for n in range(50)),
        datasets=tuple(
            Dataset(
                id=f"set-{n}",
                code=f"307010001/{n:06}",
                name=f"信息资源{n}",
                supplier=supplier_of(n),
                items=ITEMS,
                sharing_attribute=SharingAttribute.CONDITIONAL,
                update_cycle=UpdateCycle.DAY,
                format="json",
                grade=1 + n % 4,
                classification="general",
                sharing_modes=(SharingMode.QUERY,),
                conditions="as granted",
                scope="departments of the city",
                purposes=purposes_of(n),
            )
            for n in range(datasets)
        ),
        interfaces=tuple(
            Interface(f"i{n}", supplier_of(n), f"set-{n}", "https://supplier.example/") for n in range(datasets)
        ),
    )


def grants(count: int, datasets: int) -> Iterator[Grant]:
    """The same grants for the same numbers; any of them can be made again without the others."""
    return (one_grant(number, datasets) for number in range(count))


def one_grant(number: int, datasets: int) -> Grant:
    chance = random.Random(number)
    dataset = chance.randrange(datasets)
    return Grant(
        id=f"{chance.getrandbits(64):016x}-{number}",
        department=f"d{chance.randrange(DEPARTMENTS)}",
        dataset=f"set-{dataset}",
        items=("item_0", "item_1", "item_2", "item_3"),
        purposes=purposes_of(dataset)[:1],
        modes=(SharingMode.QUERY,),
        valid_from=NOW - timedelta(days=100),
        valid_until=NOW + timedelta(days=1 + chance.randrange(700)),
        legal_basis="政务数据共享条例第二十条",
        scenario="办理事项核验",
        scope_of_use="本部门办理事项",
        demand_approval=APPROVAL,
        supply_approval=APPROVAL,
    )


def call_under(grant: Grant, system: str = "system") -> Call:
    dataset = int(grant.dataset.removeprefix("set-"))
    return Call(
        system,
        grant.department,
        Assurance.DPOP,
        f"{supplier_of(dataset)}/i{dataset}",
        grant.dataset,
        SharingMode.QUERY,
        grant.purposes[0],
        ("item_0", "item_1"),
    )


def datasets_for(count: int) -> int:
    return max(100, count // 10)


def make_state(folder: Path, count: int) -> str:
    """A state with `count` grants, made in a process of its own unless it is there."""
    file = folder.absolute() / f"state-{count}.db"
    url = f"sqlite:///{file}"
    if not file.exists():
        run_child("--make", url, count)
    return url


def make(url: str, count: int) -> None:
    store = Store.open(url)
    datasets = datasets_for(count)
    with store.transaction() as tx:
        tx.import_directory(directory(datasets), release=True)
    store.import_grants(grants(count, datasets))
    store.close()


def memory() -> dict[str, float]:
    """This process's own memory, and what it maps of files besides: programs and libraries, which all workers share."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Rss")}
    return {"mib": round(found["RssAnon"] + found["RssShmem"], 1), "mapped_files_mib": round(found["RssFile"], 1)}


def percentiles(taken: list[float]) -> tuple[float, float]:
    taken.sort()
    return taken[len(taken) // 2], taken[min(len(taken) - 1, int(len(taken) * 0.99))]


class Delay:
    """How long a thread has waited for a processor while it could have run, as Linux counts it (`schedstat`)."""

    def __init__(self, thread: int) -> None:
        self._file = Path(f"/proc/self/task/{thread}/schedstat").open(encoding="ascii")  # noqa: SIM115 - see close

    def ms(self) -> float:
        self._file.seek(0)
        return int(self._file.read().split()[1]) / 1e6

    def close(self) -> None:
        self._file.close()


class Timed:
    """Wall and processor time of pieces of work, in milliseconds, and whether they had to wait for a processor."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.alone: list[float] = []
        self._delay = Delay(threading.get_native_id())

    def __call__(self, work: Callable[[], Any]) -> Any:
        before = self._delay.ms()
        begin, spent = time.perf_counter(), time.thread_time()
        result = work()
        self.cpu.append((time.thread_time() - spent) * 1000)
        self.wall.append((time.perf_counter() - begin) * 1000)
        if self._delay.ms() - before < DELAYED_MS:
            self.alone.append(self.wall[-1])
        return result

    def said(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, taken in (("", self.wall), ("cpu_", self.cpu), ("alone_", self.alone)):
            if taken:
                middle, late = percentiles(list(taken))
                values |= {f"{name}p50_ms": round(middle, 3), f"{name}p99_ms": round(late, 3)}
        return {**values, "calls": len(self.wall), "delayed": len(self.wall) - len(self.alone)}


def sample(count: int, number: int) -> list[Grant]:
    datasets = datasets_for(count)
    chosen: dict[tuple[str, str], Grant] = {}
    for place in random.Random(7).sample(range(count), min(count, number)):
        grant = one_grant(place, datasets)
        chosen.setdefault((grant.department, grant.dataset), grant)
    return list(chosen.values())


def measure(url: str, count: int, *, quick: bool) -> None:
    """Everything that is measured on the engine at one size."""
    layers = load_layers(default_policies_root(), ["national", "zhongshan"])
    store = Store.open(url, migrate_forward=False)
    engine = Engine(layers, store.slice_state)
    # As a worker does once it has started: what was loaded until now is not walked again.
    gc.collect()
    gc.freeze()
    say("memory before the first call", count, **memory())
    chosen = sample(count, 1_000 if quick else 6_000)
    calls = [call_under(grant) for grant in chosen]
    for one in calls[:20]:
        engine.decide(one, NOW_UNIX)
    timed, permits = Timed(), 0
    for one in calls[20:]:
        permits += timed(lambda one=one: engine.decide(one, NOW_UNIX)).is_permit
    say("first verdict", count, **timed.said(), permits=permits)
    beside_strings(layers, store, chosen[:200], count, percentiles(list(timed.cpu))[0])
    again = calls[-1]
    rounds = 100_000 if quick else 500_000
    begin = time.perf_counter()
    for _ in range(rounds):
        engine.kept(again, NOW_UNIX)
    say("warm verdict", count, us=round((time.perf_counter() - begin) / rounds * 1e6, 3))
    kept = [call_under(grant) for grant in chosen[-500:]]
    begin = time.perf_counter()
    for _ in range(rounds // 500):
        for one in kept:
            engine.kept(one, NOW_UNIX)
    say("warm verdict, 500 calls in turn", count, us=round((time.perf_counter() - begin) / rounds * 1e6, 3))
    pieces(store, layers, chosen[:500], count)
    stalls(engine, chosen, count, 2 if quick else 6)
    stalls(Engine(layers, crowded(store, 64)), chosen, count, 1 if quick else 3, ", 64 grants a pair")
    if not quick and len(chosen) >= MAX_SLICES:
        fill(engine, chosen)
    gc.collect()
    say("memory with its slices and verdicts", count, **memory())
    drop_everything(engine, layers, count)
    store.close()


def beside_strings(layers: Layers, store: Store, chosen: list[Grant], count: int, first_cpu_ms: float) -> None:
    """One `is_authorized` with the policies and entities of one slice as strings, beside the first verdicts."""
    timed = Timed()
    for grant in chosen:
        state = store.slice_state(grant.department, grant.dataset)
        policies = {policy.id: policy.est for policy in layers.policies.values() if policy.for_uses}
        text = est_to_text({**policies, **build_policies(state)[0]})
        call = call_under(grant)
        entities = json.dumps([*slice_entities(state), *json.loads(caller_entities(call))])
        request = use_request(call, NOW_UNIX, call.items or (), grant.id, None)
        timed(lambda text=text, entities=entities, request=request: cedarpy.is_authorized(request, text, entities))
    ratio = round(first_cpu_ms / percentiles(list(timed.cpu))[0], 3)
    say("cedarpy with strings, one slice", count, **timed.said(), first_verdict_cpu_to_this=ratio)


def pieces(store: Store, layers: Layers, chosen: list[Grant], count: int) -> None:
    """How long the calls that keep the interpreter take, for pairs with few grants and with many."""
    for held in (1, 4, 16, 64):
        whole, policies, entities, answers = Timed(), Timed(), Timed(), Timed()
        for grant in chosen[: len(chosen) // held]:
            state = store.slice_state(grant.department, grant.dataset)
            more = tuple(msgspec.structs.replace(grant, id=f"{grant.id}-{number}") for number in range(held - 1))
            state = msgspec.structs.replace(state, grants=(*more, grant))
            call = call_under(grant)
            whole(lambda state=state, call=call: Slice(layers, state).evaluate(call, NOW_UNIX))
            few = dict(islice(build_policies(state)[0].items(), 2 + AT_ONCE))
            policies(lambda few=few: parse_policies(few))
            told = slice_entities(state, layers.facts)
            if not takes_long(json.dumps(told, separators=(",", ":"))):
                entities(lambda told=told: parse_entities(told))
            known = parse_entities(told).with_added_json_str(caller_entities(call))
            asked = [use_request(call, NOW_UNIX, call.items or (), one.id, None) for one in state.grants[:AT_ONCE]]
            answers(lambda asked=asked, known=known: cedarpy.is_authorized_batch(asked, layers.use_set, known))
        say(f"{held} grants on the pair: slice and verdict without the reading", count, **whole.said())
        say(f"{held} grants on the pair: parsing the policies of at most {AT_ONCE}", count, **policies.said())
        if entities.wall:
            say(f"{held} grants on the pair: parsing the entities", count, **entities.said())
        say(f"{held} grants on the pair: at most {AT_ONCE} answers of the static policies", count, **answers.said())


def fill(engine: Engine, chosen: list[Grant]) -> None:
    """Fill the cache of verdicts: many systems on each of the newest slices."""
    for grant in chosen[-MAX_SLICES:]:
        for number in range(16):
            engine.decide(call_under(grant, f"system-{number}"), NOW_UNIX)


def crowded(store: Store, held: int) -> Callable[[str, str], SliceState]:
    """Reads the state as if every pair that has grants had `held` of them."""

    def read(department: str, dataset: str) -> SliceState:
        state = store.slice_state(department, dataset)
        more = [msgspec.structs.replace(state.grants[0], id=f"{state.grants[0].id}-{number}") for number in range(held)]
        return msgspec.structs.replace(state, grants=tuple(more[: held - len(state.grants)]) + state.grants)

    return read


def drop_everything(engine: Engine, layers: Layers, count: int) -> None:
    """How long the loop is kept when everything that is held and kept is dropped at once."""
    slices, verdicts = engine.held
    begin = time.perf_counter()
    engine.drop(Change(0, ChangeKind.ENTRY, ""))
    dropped = time.perf_counter()
    engine.activate(layers)
    say(
        "dropping everything",
        count,
        slices=slices,
        verdicts=verdicts,
        drop_ms=round((dropped - begin) * 1000, 3),
        activate_ms=round((time.perf_counter() - dropped) * 1000, 3),
    )


def stalls(engine: Engine, chosen: list[Grant], count: int, rounds: int, pairs: str = "") -> None:
    """How long one thread's warm calls wait while another builds and drops slices without pause.

    Idle and building, and Python's switch interval and the gateway's, take turns of a second, so that all four see the
    same of what else loads the machine.
    """
    own = call_under(chosen[0])
    engine.decide(own, NOW_UNIX)
    waits: dict[tuple[float, bool], list[tuple[float, bool]]] = {}
    built: dict[tuple[float, bool], int] = {}
    for _ in range(rounds):
        for interval in (0.005, SWITCH_SECONDS):
            for busy in (False, True):
                sys.setswitchinterval(interval)
                turn = (interval, busy)
                slept, made = one_turn(engine, chosen, own, busy=busy)
                waits.setdefault(turn, []).extend(slept)
                built[turn] = built.get(turn, 0) + made
    sys.setswitchinterval(0.005)
    for (interval, busy), taken in waits.items():
        values: dict[str, Any] = {}
        for name, kept in (("", taken), ("alone_", [one for one in taken if one[1]])):
            slept = sorted(wait for wait, _ in kept) or [float("nan")]
            for share in ("50", "90", "99", "999"):
                values[f"{name}p{share}_ms"] = round(slept[int(len(slept) * float(f"0.{share}"))], 3)
            values |= {f"{name}max_ms": round(slept[-1], 3), f"{name}calls": len(kept) * 10}
        say(
            f"stall before ten warm calls, switch interval {interval * 1000:g} ms, "
            f"{'building' if busy else 'idle'}{pairs}",
            count,
            **values,
            built=built[interval, busy],
        )


def one_turn(engine: Engine, chosen: list[Grant], own: Call, *, busy: bool) -> tuple[list[tuple[float, bool]], int]:
    """For a second: by how much each pause was too long, in milliseconds, and how many slices were built meanwhile.

    With each: whether neither thread had to wait for a processor, so that it waited for nothing but the interpreter.
    """
    stop = threading.Event()
    built = [0]

    def churn() -> None:
        while not stop.is_set():
            grant = chosen[1 + built[0] % (len(chosen) - 1)]
            engine.decide(call_under(grant), NOW_UNIX)
            engine.drop(Change(0, ChangeKind.GRANT, grant.id, grant.department, grant.dataset))
            built[0] += 1

    worker = threading.Thread(target=churn)
    delays = [Delay(threading.get_native_id())]
    if busy:
        worker.start()
        assert worker.native_id is not None
        delays.append(Delay(worker.native_id))
    slept = []
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end:
        before = [delay.ms() for delay in delays]
        begin = time.perf_counter()
        time.sleep(PAUSE_SECONDS)
        for _ in range(10):
            engine.kept(own, NOW_UNIX)
        wait = (time.perf_counter() - begin - PAUSE_SECONDS) * 1000
        delayed = [delay.ms() - earlier for delay, earlier in zip(delays, before, strict=True)]
        slept.append((wait, max(delayed) < DELAYED_MS))
    stop.set()
    if busy:
        worker.join()
    for delay in delays:
        delay.close()
    return slept, built[0]


def flat(url: str, count: int) -> None:
    """All grants in one policy set, and the same as strings."""
    layers = load_layers(default_policies_root(), ["national", "zhongshan"])
    if count * PARSE_SECONDS_A_POLICY > FLAT_SECONDS:
        say("one flat policy set", count, left_out=f"parsing would take over {FLAT_SECONDS:g} s")
        say("cedarpy with strings, flat", count, left_out="the same, for each call")
        return
    store = Store.open(url, migrate_forward=False)
    datasets = datasets_for(count)
    grant = one_grant(0, datasets)
    state = store.slice_state(grant.department, grant.dataset)
    entities_json = json.dumps([*slice_entities(state), *json.loads(caller_entities(call_under(grant)))])
    request = use_request(call_under(grant), NOW_UNIX, ("item_0", "item_1"), grant.id, None)
    policies = {policy.id: policy.est for policy in layers.policies.values() if policy.for_uses}
    for one in grants(count, datasets):
        policies |= build_grant(one, "supplier")
    before = memory()["mib"]
    document = est_document(policies)
    begin = time.perf_counter()
    parsed = cedarpy.PolicySet.from_json_str(document)
    parse_seconds = time.perf_counter() - begin
    entities = cedarpy.Entities.from_json_str(entities_json)
    taken = repeat(lambda: cedarpy.is_authorized(request, parsed, entities), 5.0)
    say(
        "one flat policy set",
        count,
        parse_s=round(parse_seconds, 2),
        p50_ms=round(percentiles(taken)[0], 3),
        added_mib=round(memory()["mib"] - before, 1),
    )
    if count > 10_000:
        say("cedarpy with strings, flat", count, left_out=f"each call would parse for {parse_seconds:.0f} s")
        return
    del policies, document
    strings(layers, count, datasets, request, entities_json)
    store.close()


def strings(layers: Layers, count: int, datasets: int, request: dict[str, Any], entities_json: str) -> None:
    """All policies given as text at every call."""
    statics = {policy.id: policy.est for policy in layers.policies.values() if policy.for_uses}
    everything = est_to_text(
        {**statics, **{name: est for grant in grants(count, datasets) for name, est in build_grant(grant, "s").items()}}
    )
    taken = repeat(lambda: cedarpy.is_authorized(request, everything, entities_json), 5.0)
    say("cedarpy with strings, flat", count, p50_ms=round(percentiles(taken)[0], 3))


def repeat(work: Callable[[], object], seconds: float) -> list[float]:
    """Durations in milliseconds of as many calls as fit, at least three and at most 200."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 3 or (len(taken) < 200 and time.perf_counter() < end):
        begin = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begin) * 1000)
    return taken


def run_child(*arguments: Any) -> list[str]:
    """Run this file in a process of its own, passing its lines on."""
    command = [sys.executable, __file__, *map(str, arguments)]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
    if child.returncode:
        raise SystemExit(child.returncode)
    return lines


def table(lines: list[str], sizes: list[int]) -> None:
    """What was measured, a row a measurement and a column a size."""
    rows: dict[str, dict[int, str]] = {}
    for line in lines:
        found = json.loads(line)
        what, grants_ = found.pop("what"), found.pop("grants")
        rows.setdefault(what, {})[grants_] = ", ".join(f"{key} {value}" for key, value in found.items())
    for what, cells in rows.items():
        print(f"\n{what}")
        for size in sizes:
            print(f"  {size:>9,} grants  {cells.get(size, '-')}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="small sizes, in half a minute")
    options.add_argument("--save", type=Path, help="a file to keep the measurements in, with the machine they are of")
    options.add_argument("--states", type=Path, help="a folder to keep the made states in, for another run")
    options.add_argument("--sizes", help="numbers of grants, separated by commas")
    for name in ("--make", "--measure", "--flat"):
        options.add_argument(name, nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.make:
        make(given.make[0], int(given.make[1]))
        return
    if given.measure:
        measure(given.measure[0], int(given.measure[1]), quick=given.quick)
        return
    if given.flat:
        flat(given.flat[0], int(given.flat[1]))
        return
    sizes = [int(size) for size in given.sizes.split(",")] if given.sizes else list(QUICK if given.quick else FULL)
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="policy-scale-") as folder:
        for size in sizes:
            url = make_state(given.states or Path(folder), size)
            lines += run_child(*(["--quick"] if given.quick else []), "--measure", url, size)
            lines += run_child("--flat", url, size)
    table(lines, sizes)
    if given.save:
        machine = (
            f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
        )
        kept = {"hardware": machine, "measurements": [json.loads(line) for line in lines]}
        given.save.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
