"""A share of the long runs: of tests with many cases some, drawn by the commit, so that each commit tries others.

A deep run of everything takes longer than whoever lands something can wait for. Every test is still run; of one with
many cases a part of them. What a commit draws is the same wherever it is run.
"""

import random
from collections import defaultdict
from collections.abc import Iterable

FEW = 4
"""Cases of one test that are always run, where it has as many."""
WHOLE = ("tests/simulation/",)
"""Whose cases are histories by number, and breaks that must be found: they are few as they stand."""


def drawn(names: Iterable[str], share: int, commit: str) -> set[str]:
    """The names of the cases to run.

    Args:
        names: pytest's names of cases, `file::test[case]`.
        share: every how manieth case of a test is run; of 1, all.
        commit: decides which.
    """
    cases: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        cases[name.partition("[")[0]].append(name)
    chosen: set[str] = set()
    for test, every in cases.items():
        if test.startswith(WHOLE):
            chosen.update(every)
            continue
        count = max(min(FEW, len(every)), -(-len(every) // share))
        chosen.update(random.Random(f"{commit} {test}").sample(sorted(every), count))
    return chosen
