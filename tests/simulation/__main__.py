"""Histories from the command line.

python -m tests.simulation SEED            the story of one, shrunk to the faults it needs where a promise was broken
python -m tests.simulation FIRST LAST      how many a second, and which broke a promise
python -m tests.simulation breaks [MOST]   each deliberate break, and how many histories it took to find it
"""

import json
import logging
import sys
import time
import warnings

from tests.simulation.breaks import BREAKS, KEPT, broken, first_found
from tests.simulation.history import Broken, run, shrunk

MOST = 2000


def main(arguments: list[str]) -> int:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
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


sys.exit(main(sys.argv[1:]))
