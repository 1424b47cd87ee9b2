"""The double faults that the deep run draws: by some seed every one there is."""

import itertools

from tests.end_to_end import test_double_faults as one_node
from tests.end_to_end import test_double_faults_nodes as two_nodes
from tests.support.double_faults import FAULTS, rows_of


def test_every_two_faults_of_every_two_parts_are_drawn_by_some_seed() -> None:
    """Five draws, none of them the same row twice, and nothing left out."""
    for pairs in (one_node.PAIRS, two_nodes.PAIRS):
        rows = [row for draw in range(len(FAULTS)) for row in rows_of(pairs, draw)]
        every = {
            (one, first, other, second) for one, other in pairs for first, second in itertools.product(FAULTS, FAULTS)
        }
        assert set(rows) == every
        assert len(rows) == len(every)
