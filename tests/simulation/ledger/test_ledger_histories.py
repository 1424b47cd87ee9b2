"""The ledger through many histories on disks that lose what was not synced, fail, run full or lie dead for a minute.

A seed is a history. `python -m tests.simulation.ledger SEED` tells the story of one, `… breaks` finds each break.
"""

import json
import logging
import os
from collections.abc import Iterator

import pytest

from gateway.domain.errors import GatewayError
from gateway.ledger.journal.segments import SegmentReader
from gateway.ledger.journal.writer import journal_directory
from tests.durability.test_power import WRITER, entry, opened
from tests.simulation.ledger.breaks import BREAKS, KEPT, MOST, broken, first_found
from tests.simulation.ledger.history import run

QUICK = 2
CHUNKS = 6
CHUNK = int(os.environ.get("GATEWAY_LEDGER_HISTORIES", "120")) // CHUNKS


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """What the parts log of a thousand faults tells nobody anything."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_histories_of_the_ledger_keep_every_promise() -> None:
    """RECORD-FIRST, NEVER-FORKED, APPEND-ONLY, the backup, and nothing waits for ever, in a few with three faults."""
    assert sum(len(run(seed).uses) for seed in range(QUICK)) > QUICK


@pytest.mark.deep
def test_a_folder_whose_sync_failed_is_made_anew() -> None:
    """Seed 632: a backup's folder was taken for durable because it stood there, and went with all that was in it."""
    run(632)


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_many_histories_of_the_ledger_keep_every_promise(chunk: int) -> None:
    """The same in many, with one fault to four."""
    for seed in range(QUICK + chunk * CHUNK, QUICK + (chunk + 1) * CHUNK):
        run(seed, faults=1 + seed % 4)


def test_a_seed_of_the_ledger_is_a_history_that_replays_exactly() -> None:
    """The same seed tells the same story, to the last call."""
    first, again = run(1), run(1)
    assert (first.uses, first.roots, first.world.calls) == (again.uses, again.roots, again.world.calls)
    assert len(first.world.story) == len(again.world.story)


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BREAKS)
def test_each_break_of_the_ledger_is_found(name: str) -> None:
    """The check can fail: each deliberate break is found, faults of earlier releases among them by their seeds."""
    kept = json.loads(KEPT.read_text("utf-8"))
    with broken(name):
        number, said = first_found(MOST, kept.get(name))
    assert 0 < number <= MOST, name
    assert said


def test_a_segment_in_the_place_of_an_empty_one_follows_the_one_before(tmp_path) -> None:
    """History 32: more entries than an empty segment holds came at once, and its successor was refused for good."""
    for number in range(2):
        journal = opened(tmp_path, lambda _: None)
        journal.put(*((entry(10 * number + at), None, "", 0) for at in range(1 + 9 * number)))
        journal.close()
    reader = SegmentReader(journal_directory(tmp_path, WRITER), 0)
    assert reader.read(1 << 20) == [entry(0), *(entry(10 + at) for at in range(10))]


def test_a_mark_that_power_took_back_refuses_no_journal_that_holds_what_the_log_took(tmp_path) -> None:
    """The mark is a store to memory: after a loss of power it promises too little, until the writer has looked."""
    journal = opened(tmp_path, lambda _: None)
    for number in range(5):
        journal.put((entry(number), None, "", 0))
    journal.close()
    (tmp_path / "journal" / WRITER / "durable").write_bytes(bytes(16))
    reader = SegmentReader(journal_directory(tmp_path, WRITER), 4)
    assert reader.read(1 << 20) == []
    opened(tmp_path, lambda _: None).close()
    assert reader.read(1 << 20) == [entry(4)]
    behind = SegmentReader(journal_directory(tmp_path, WRITER), 6)
    with pytest.raises(GatewayError, match="entry 6 is in the log, but only 5 entries are there"):
        behind.read(1 << 20)
