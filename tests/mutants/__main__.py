"""`python -m tests.mutants ROOM…`: small changes to a room, each tried by the tests that call what it changes.

What no test notices is a promise in words alone. `kept/` holds each room's verdicts, which tests call which function,
and why a change that nobody notices makes no difference; a run says what became better and worse and keeps it, and the
deep run tries a few again, others with each commit (`test_kept.py`).

    python -m tests.mutants ledger/verify            the whole room
    python -m tests.mutants ledger/verify --most 40  so many at random of those without a verdict, for a busy machine
    python -m tests.mutants ledger/verify --again    what survived, once more
    python -m tests.mutants --sample 8               so many that were noticed, by the commit; keeps nothing

mutmut and cosmic-ray were looked at first. mutmut 3 changes what stands in functions alone, so no table and no list of
headers, which are half of the promises here, and runs a copy of the tree; cosmic-ray writes each change over the source
and starts one command for all tests of it. Here a fork that has imported all but the house takes a second, nothing on
the disk changes, and a verdict's name lasts as long as the text that is changed. Not seen: what only another process
runs, for the change is in this one.

A verdict holds on any machine: a change is noticed where one test fails with it, fails again alone, and passes alone
without it; or where the tests hang with it, and end in a quarter of that time without it. All else is not judged.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.mutants import running
from tests.mutants.mutating import Mutant, changed, counting, mutants_of

KEPT = Path(__file__).with_name("kept")
ROOMS = {
    "ledger/verify": (
        "tests/unit/ledger/test_forgeries.py",
        "tests/unit/ledger/test_verify_alone.py",
        "tests/unit/ledger/test_verify_beside.py",
        "tests/unit/ledger/test_verify_command.py",
        "tests/unit/ledger/test_log.py",
        "tests/unit/ledger/test_retention.py",
    ),
    "runtime/worker/link": ("tests/unit/runtime/test_link.py", "tests/simulation/test_histories.py"),
    "control/barrier": ("tests/simulation", "tests/unit/control"),
    "policy/live": ("tests/policies", "tests/property"),
    "proxy": ("tests/unit/proxy", "tests/property/proxy", "tests/conformance/http"),
    "identity": ("tests/unit/identity",),
    "store/coordination": ("tests/unit/store",),
}
"""Room -> the tests among which those are looked for that call its functions, and that are run in this order."""
NOTICED, SURVIVED, UNCALLED, UNJUDGED = "noticed", "survived", "called by no test", "not judged"
"""Noticed is told with the test that noticed; what is not judged says nothing of the tests, and is tried again."""
HANGS = "a hang"
_ONE_FAILS = ("-x", "-m", "not deep")


def _is_noticed(verdict: str | None) -> bool:
    return verdict is not None and verdict.startswith(NOTICED)


class Room:
    """A room's changes, and what is kept of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        place = running.HOUSE / "gateway" / name
        paths = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        relative = [path.relative_to(running.HOUSE).with_suffix("") for path in paths]
        self.modules = [".".join(path.parts).removesuffix(".__init__") for path in relative]
        self._file = KEPT / f"{name.replace('/', '-')}.json"
        kept = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
        self.covering: dict[str, list[str]] = kept.get("covering", {})
        self.verdicts: dict[str, str] = kept.get("verdicts", {})
        self.reasons: dict[str, str] = kept.get("equivalent", {})

    def mutants(self) -> list[Mutant]:
        return [mutant for module in self.modules for mutant in mutants_of(module, running.path_of(module))]

    def look_who_calls(self) -> None:
        """Learn which tests call which function."""
        trees = {module: counting(running.path_of(module), module) for module in self.modules}
        with tempfile.TemporaryDirectory() as folder, _environment(running.FOUND, f"{folder}/covering.json"):
            options = ("-m", "not deep", "-p", "tests.mutants.covering")
            ended = running.run(trees, ROOMS[self.name], *options, seconds=3600, shown=True)
            assert ended.status == 0, f"the tests fail without any change: {ended.failed}"
            self.covering = json.loads(Path(f"{folder}/covering.json").read_text("utf-8"))

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that call what is changed; of a module's own lines, those of any of its functions."""
        if mutant.function != "module":
            found = self.covering.get(f"{mutant.module}:{mutant.function}", [])
        else:
            called = [tests for name, tests in self.covering.items() if name.startswith(f"{mutant.module}:")]
            found = sorted({test for tests in called for test in tests})
        places = ROOMS[self.name]
        return sorted(found, key=lambda test: [test.startswith(place) for place in places].index(True))

    def judge(self, mutant: Mutant) -> str:
        """What the tests say to a change."""
        tests = self.tests_of(mutant)
        if not tests:
            return UNCALLED
        trees = {mutant.module: changed(running.path_of(mutant.module), mutant.number)}
        ended = running.run(trees, tests, *_ONE_FAILS)
        if ended.status == 0:
            return SURVIVED
        if ended.status is None:
            calm = running.run({}, tests, *_ONE_FAILS, seconds=running.SECONDS / 4)
            return f"{NOTICED}: {HANGS}" if calm.status == 0 else UNJUDGED
        if not ended.failed:
            return UNJUDGED
        again, without = running.run(trees, [ended.failed], *_ONE_FAILS), running.run({}, [ended.failed], *_ONE_FAILS)
        return f"{NOTICED}: {ended.failed}" if again.failed and without.status == 0 else UNJUDGED

    def still(self, mutant: Mutant) -> str:
        """The same of a change that was noticed: the test that noticed is asked first."""
        by = self.verdicts[mutant.key].partition(": ")[2]
        if by != HANGS:
            trees = {mutant.module: changed(running.path_of(mutant.module), mutant.number)}
            if running.run(trees, [by], *_ONE_FAILS).failed:
                return self.verdicts[mutant.key]
        return self.judge(mutant)

    def keep(self) -> None:
        """Write what is known, of changes that there still are."""
        keys = {mutant.key for mutant in self.mutants()}
        document = {
            "equivalent": {key: why for key, why in sorted(self.reasons.items()) if key in keys},
            "verdicts": {key: verdict for key, verdict in sorted(self.verdicts.items()) if key in keys},
            "covering": self.covering,
        }
        KEPT.mkdir(exist_ok=True)
        self._file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


@contextlib.contextmanager
def _environment(name: str, value: str) -> Any:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def sample(count: int) -> int:
    """1 where what the tests noticed is noticed no more; which are tried is decided by the commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=running.HOUSE, capture_output=True, text=True, check=False
    ).stdout
    rooms = [Room(name) for name in ROOMS]
    known = [(room, each) for room in rooms for each in room.mutants() if _is_noticed(room.verdicts.get(each.key))]
    tried = random.Random(commit).sample(known, min(count, len(known)))
    verdicts = {mutant.key: room.still(mutant) for room, mutant in tried}
    told = Counter(verdict.partition(":")[0] for verdict in verdicts.values())
    print(f"{len(tried)} of {len(known)} that were noticed: " + ", ".join(f"{told[each]} {each}" for each in told))
    lost = [f"{verdict}: {key}" for key, verdict in verdicts.items() if verdict in {SURVIVED, UNCALLED}]
    print(*lost, sep="\n")
    return 1 if lost or not tried else 0


def main(arguments: list[str]) -> int:
    """1 where a change survives that was noticed before, or that nobody gave a reason for."""
    parser = argparse.ArgumentParser(prog="tests.mutants")
    parser.add_argument("rooms", nargs="*", choices=[[], *ROOMS], metavar="ROOM")
    parser.add_argument("--most", type=int, help="so many at random of those without a verdict")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after so long")
    parser.add_argument("--sample", type=int, metavar="COUNT", help="so many that were noticed, by the commit")
    parser.add_argument("--again", action="store_true", help="those that survived, once more")
    given = parser.parse_args(arguments)
    running.prepare()
    if given.sample is not None:
        return sample(given.sample)
    until = time.monotonic() + given.seconds
    unexplained = 0
    for name in given.rooms or ROOMS:
        room = Room(name)
        room.look_who_calls()
        room.keep()
        wanted = room.mutants()
        if given.again:
            wanted = [mutant for mutant in wanted if room.verdicts.get(mutant.key) in {SURVIVED, UNJUDGED}]
        elif given.most is not None:
            unjudged = [mutant for mutant in wanted if mutant.key not in room.verdicts]
            wanted = random.Random(len(unjudged)).sample(unjudged, min(given.most, len(unjudged)))
        for mutant in wanted:
            if time.monotonic() > until:
                break
            before = room.verdicts.get(mutant.key)
            verdict = room.verdicts[mutant.key] = room.judge(mutant)
            if not _is_noticed(verdict) and mutant.key not in room.reasons:
                print(f"{verdict}{' (was noticed)' if _is_noticed(before) else ''}: {mutant.key}", flush=True)
                unexplained += 1
            room.keep()
        told = Counter(verdict.partition(":")[0] for verdict in room.verdicts.values())
        print(f"{name}: {len(room.mutants())} changes, " + ", ".join(f"{told[each]} {each}" for each in sorted(told)))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
