"""Every state of a stop's protocol in the small; and that breaks of it are found there."""

import logging

import pytest

from tests.simulation.states import DEAD, Broken, Protocol, Worker, explore

LEAST = 50_000
"""States without a fault: fewer would mean that something does not happen any more."""


class NobodyElsewhere(Protocol):
    """A stop does not wait for the other node."""

    def is_done_elsewhere(self, other, change, since):
        return True


class TooEarly(Protocol):
    """The other node is out as soon as the freshness limit has passed: its worker may not have cut yet."""

    def is_done_elsewhere(self, other, change, since):
        return other.acknowledged >= change or since >= 1


class AcknowledgesWhatItRead(Protocol):
    """A node acknowledges what it has read, not what its worker has applied."""

    def settled(self, node, position):
        return True


class KeepsApplied(Protocol):
    """What was applied of a history that a failover ended counts in the next one."""

    def read(self, state, node):
        return super().read(state, node._replace(history=state.history))


class NoQuiet(Protocol):
    """A new control process does not wait for its predecessor's leases, nor look at workers that it has not met."""

    def started(self, state, node):
        return super().started(state, node)._replace(quiet=0)

    def looked(self, node, change, since):
        return super().looked(node if node.worker.met else node._replace(worker=Worker(DEAD)), change, since)


@pytest.fixture(autouse=True)
def silent():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("protocol", "left"),
    [
        (NobodyElsewhere, (0, 0, 0)),
        (AcknowledgesWhatItRead, (0, 0, 0)),
        (TooEarly, (1, 0, 0)),
        pytest.param(NoQuiet, (1, 0, 0), marks=pytest.mark.deep),
        pytest.param(KeepsApplied, (0, 0, 1), marks=pytest.mark.deep),
    ],
)
def test_a_break_of_the_protocol_has_a_state(protocol, left):
    """The exploration can fail: it finds the shortest way to where each of them breaks the promise."""
    with pytest.raises(Broken, match="BARRIER"):
        explore(protocol(), left)


@pytest.mark.deep
def test_every_state_without_a_fault_keeps_every_promise():
    """BARRIER, STALE-DENIES, and nothing waits for ever."""
    states, _ = explore(Protocol(), (0, 0, 0))
    assert states > LEAST
