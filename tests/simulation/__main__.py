"""Histories from the command line.

python -m tests.simulation SEED            the story of one, shrunk to the faults it needs where a promise was broken
python -m tests.simulation FIRST LAST      how many a second, and which broke a promise
python -m tests.simulation --histories N   the first N, with two faults to six, on all cores, as the deep tests do
python -m tests.simulation breaks [MOST]   each deliberate break, and how many histories it took to find it
"""

import json
import logging
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.breaks import BREAKS, KEPT, broken, first_found
from tests.simulation.history import Broken, faults_of, run, shrunk

MOST = 2000
CHUNK = 50


def some(first: int, last: int) -> tuple[int, list[str]]:
    """The histories of some seeds: pieces delivered, and what broke a promise."""
    be_silent()
    pieces, failed = 0, []
    for seed in range(first, last):
        try:
            pieces += run(seed, faults=faults_of(seed)).pieces
        except Broken as error:
            failed.append(str(error))
    return pieces, failed


def many(count: int) -> int:
    """The first `count` histories on all cores."""
    cores, began = len(os.sched_getaffinity(0)), time.monotonic()
    firsts = range(0, count, CHUNK)
    pieces, failed = 0, 0
    with ProcessPoolExecutor(cores) as pool:
        for first, (delivered, broken_by) in zip(
            firsts, pool.map(some, firsts, [min(first + CHUNK, count) for first in firsts]), strict=True
        ):
            pieces, failed = pieces + delivered, failed + len(broken_by)
            for story in broken_by:
                print(story, flush=True)
            if sys.stderr.isatty():
                print(f"{min(first + CHUNK, count)} of {count}", end="\r", file=sys.stderr)
    rate = count / (time.monotonic() - began)
    print(f"{count} histories, {pieces} pieces delivered, {rate:.1f} histories a second on {cores} cores")
    return 1 if failed else 0


def be_silent() -> None:
    """What the parts log of a thousand faults tells nobody anything."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def main(arguments: list[str]) -> int:
    be_silent()
    if arguments[:1] == ["--histories"]:
        return many(int(arguments[1]))
    if arguments[:1] == ["breaks"]:
        most = int(arguments[1]) if len(arguments) > 1 else MOST
        print("| break | histories needed | what was seen |\n|---|---|---|")
        missed, kept = 0, {}
        for name in BREAKS:
            with broken(name):
                number, said = first_found(most)
            missed += not number
            kept[name] = number
            print(f"| {name} | {number or f'not within {most}'} | {said} |", flush=True)
        if not missed:
            KEPT.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", "utf-8")
        return 1 if missed else 0
    seeds = [int(each) for each in arguments]
    if len(seeds) == 1:
        try:
            print("\n".join(run(seeds[0]).world.story))
        except Broken:
            print(shrunk(seeds[0]))
            return 1
        return 0
    first, last = seeds
    began, pieces, failed = time.process_time(), 0, []
    for seed in range(first, last):
        try:
            pieces += run(seed).pieces
        except Broken as error:
            failed.append(seed)
            print(str(error).splitlines()[0], flush=True)
    took = time.process_time() - began
    print(f"{last - first} histories, {pieces} pieces delivered, {(last - first) / took:.1f} histories a second")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
