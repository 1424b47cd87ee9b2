"""`python -m tests.mutants ROOM…`: small changes to a room, each tried by the tests that call what it changes.

What no test notices is a promise in words alone. `kept/` holds each room's verdicts, which tests call which function,
and why a change that nobody notices makes no difference; a run says what became better and worse and keeps it, and the
deep run tries a few again, others with each commit (`test_kept.py`).

    python -m tests.mutants ledger/verify            the whole room
    python -m tests.mutants ledger/verify --most 40  so many at random of those without a verdict, for a busy machine
    python -m tests.mutants ledger/verify --again    what survived, once more
    python -m tests.mutants --sample 90              what was noticed, by the commit, for so many seconds; keeps nothing

mutmut and cosmic-ray were looked at first. mutmut 3 changes what stands in functions alone, so no table and no list of
headers, which are half of the promises here, and runs a copy of the tree; cosmic-ray writes each change over the source
and starts one command for all tests of it. Here a fork that has imported all but the house takes a second, nothing on
the disk changes, and a verdict's name lasts as long as the text that is changed. Not seen: what only another process
runs, for the change is in this one.
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
        "tests/unit/ledger/test_log.py",
        "tests/unit/ledger/test_forgeries.py",
        "tests/unit/ledger/test_verify_alone.py",
        "tests/unit/ledger/test_verify_beside.py",
        "tests/unit/ledger/test_verify_command.py",
        "tests/unit/ledger/test_retention.py",
    ),
    "runtime/worker/link": ("tests/simulation", "tests/unit/runtime"),
    "control/barrier": ("tests/simulation", "tests/unit/control"),
    "policy/live": ("tests/policies", "tests/property"),
    "proxy": ("tests/unit/proxy", "tests/property/proxy", "tests/conformance/http"),
    "identity": ("tests/unit/identity",),
    "store/coordination": ("tests/unit/store",),
}
"""Room -> the tests among which those are looked for that call its functions."""
NOTICED, SURVIVED, UNCALLED, UNJUDGED = "noticed", "survived", "called by no test", "not judged"
"""Not judged is what ended a run otherwise than by its tests: it says nothing of them, and is tried again."""


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
            status = running.run(trees, ROOMS[self.name], *options, seconds=3600, shown=True)
            assert status == 0, "the tests fail without any change"
            self.covering = json.loads(Path(f"{folder}/covering.json").read_text("utf-8"))

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that call what is changed; of a module's own lines, those of any of its functions."""
        if mutant.function != "module":
            return self.covering.get(f"{mutant.module}:{mutant.function}", [])
        called = [tests for name, tests in self.covering.items() if name.startswith(f"{mutant.module}:")]
        return sorted({test for tests in called for test in tests})

    def judge(self, mutant: Mutant) -> str:
        """What the tests say to a change."""
        tests = self.tests_of(mutant)
        if not tests:
            return UNCALLED
        tree = changed(running.path_of(mutant.module), mutant.number)
        status = running.run({mutant.module: tree}, tests, "-x", "-m", "not deep", "--timeout", "60")
        # A failed test, a module that is not imported, a hang.
        if status in {1, 2, None}:
            return NOTICED
        return SURVIVED if status == 0 else UNJUDGED

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


def sample(seconds: float) -> int:
    """1 where what the tests noticed is noticed no more; which are tried is decided by the commit."""
    until = time.monotonic() + seconds
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=running.HOUSE, capture_output=True, text=True, check=False
    ).stdout
    rooms = [Room(name) for name in ROOMS]
    known = [(room, each) for room in rooms for each in room.mutants() if room.verdicts.get(each.key) == NOTICED]
    random.Random(commit).shuffle(known)
    tried, lost = 0, []
    for room, mutant in known:
        if time.monotonic() > until:
            break
        tried += 1
        if room.judge(mutant) != NOTICED:
            lost.append(mutant.key)
    print(f"{tried} of {len(known)} that were noticed, {tried - len(lost)} are", *lost, sep="\n")
    return 1 if lost or not tried else 0


def main(arguments: list[str]) -> int:
    """1 where a change survives that was noticed before, or that nobody gave a reason for."""
    parser = argparse.ArgumentParser(prog="tests.mutants")
    parser.add_argument("rooms", nargs="*", choices=[[], *ROOMS], metavar="ROOM")
    parser.add_argument("--most", type=int, help="so many at random of those without a verdict")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after so long")
    parser.add_argument("--sample", type=float, metavar="SECONDS", help="what was noticed, by the commit")
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
            if verdict != NOTICED and mutant.key not in room.reasons:
                print(f"{verdict}{' (was noticed)' if before == NOTICED else ''}: {mutant.key}", flush=True)
                unexplained += 1
            room.keep()
        told = Counter(room.verdicts.values())
        print(f"{name}: {len(room.mutants())} changes, " + ", ".join(f"{told[each]} {each}" for each in sorted(told)))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
