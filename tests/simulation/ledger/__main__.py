"""Histories of the ledger from the command line.

python -m tests.simulation.ledger SEED            the story of one, shrunk to the faults it needs where one is broken
python -m tests.simulation.ledger FIRST LAST      how many a second, and which broke a promise
python -m tests.simulation.ledger breaks [MOST]   each deliberate break, and how many histories it took to find it
"""

import json
import logging
import sys
import time

from tests.simulation.ledger.breaks import BREAKS, KEPT, MOST, broken, first_found
from tests.simulation.ledger.history import Broken, run, shrunk


def main(arguments: list[str]) -> int:
    logging.disable(logging.CRITICAL)
    if arguments[:1] == ["breaks"]:
        most = int(arguments[1]) if len(arguments) > 1 else MOST
        print("| break | histories needed | what was seen |\n|---|---|---|")
        found = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
        kept: dict[str, int] = {}
        for name in BREAKS:
            with broken(name):
                kept[name], said = first_found(most, found.get(name))
            print(f"| {name} | {kept[name] or f'not within {most}'} | {said} |", flush=True)
        KEPT.write_text(json.dumps({k: v for k, v in kept.items() if v}, indent=2) + "\n", "utf-8")
        return 0 if all(kept.values()) else 1
    seeds = [int(each) for each in arguments]
    if len(seeds) == 1:
        story = shrunk(seeds[0])
        print(story or "\n".join(run(seeds[0]).world.story))
        return 1 if story else 0
    first, last = seeds
    began, calls, uses, failed = time.process_time(), 0, 0, []
    for seed in range(first, last):
        try:
            history = run(seed)
        except Broken as error:
            failed.append(seed)
            print(str(error).splitlines()[0], flush=True)
        else:
            calls, uses = calls + history.world.calls, uses + len(history.uses)
    took = time.process_time() - began
    print(f"{last - first} histories, {calls} calls, {uses} uses, {(last - first) / took:.1f} histories a second")
    return 1 if failed else 0


sys.exit(main(sys.argv[1:]))
