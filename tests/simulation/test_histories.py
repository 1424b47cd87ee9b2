"""Three nodes through many histories: real barrier, link, watch-dog, data plane and acts; faults in every order.

A seed is a history. `python -m tests.simulation SEED` tells the story of one, `… breaks` finds each deliberate break.
"""

import gc
import json
import logging
import os
from collections.abc import Iterator

import pytest

from tests.simulation.breaks import BREAKS, KEPT, broken, first_found
from tests.simulation.history import faults_of, run

QUICK = 12
CHUNK = int(os.environ.get("HISTORIES", "3000")) // 12
BY_HAND = next(iter(BREAKS))
FOUND_ONCE = (
    "a worker that came back is waited for on its old connection too",
    "after a failover that lost commits what workers had applied counts on",
    "what was applied of a history that a failover ended is acknowledged in the next one",
    "what is drawn from a quota is released without asking whether the verdict still stands",
    "an act of which the state did not say whether it stands is called void",
)
"""What histories have found wrong in what was released, as breaks: the mends taken out again."""


# Worlds end in the middle of what their processes were waiting for.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """What the parts log of a thousand faults tells nobody anything; and what a world leaves behind goes with it."""
    logging.disable(logging.CRITICAL)
    yield
    gc.collect()
    logging.disable(logging.NOTSET)


def test_histories_keep_every_promise() -> None:
    """All that `history` names, in each of a few, in which much happens."""
    histories = [run(seed) for seed in range(QUICK)]
    assert sum(each.pieces for each in histories) > 300 * QUICK
    assert sum(each.answers for each in histories) > 30 * QUICK
    assert sum(each.uses for each in histories) > 50 * QUICK


@pytest.mark.parametrize("name", FOUND_ONCE)
def test_what_was_once_found_is_not_there_again(name: str) -> None:
    """The history that shows a fault once found keeps every promise now, and breaks one where the mend is taken out."""
    seed = json.loads(KEPT.read_text("utf-8"))[name] - 1
    run(seed)
    with broken(name):
        assert first_found(0, seed + 1)[0]


@pytest.mark.deep
@pytest.mark.parametrize("chunk", range(12))
def test_many_histories_keep_every_promise(chunk: int) -> None:
    """The same in many, with two faults to six."""
    for seed in range(QUICK + chunk * CHUNK, QUICK + (chunk + 1) * CHUNK):
        run(seed, faults=faults_of(seed))


def test_a_seed_is_a_history_that_replays_exactly() -> None:
    """The same seed tells the same story, to the last event."""
    first, again = run(3), run(3)
    assert (first.world.story, first.world.events, first.pieces) == (
        again.world.story,
        again.world.events,
        again.pieces,
    )


def test_what_was_once_found_by_hand_is_found(request: pytest.FixtureRequest) -> None:
    """A worker that stands still while its control process is replaced: without its mends the check fails."""
    with broken(BY_HAND):
        number, said = first_found(40)
    assert "BARRIER" in said
    assert number


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BREAKS)
def test_each_break_is_found(name: str) -> None:
    """The check can fail: each deliberate break is found within two thousand histories."""
    kept = json.loads(KEPT.read_text("utf-8"))
    with broken(name):
        number, said = first_found(2000, kept.get(name))
    assert 0 < number <= 2000, name
    assert said
