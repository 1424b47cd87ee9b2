"""What is used once is forgotten by no clock that somebody sets."""

from gateway.runtime.control.control import FIRST_SECONDS, unhurried


def test_no_step_of_the_clock_forgets_early() -> None:
    """Nothing for a while after a start, and then nothing that has not gone by since; a clock set back is believed."""
    wall, ticks = [1_000_000.0], [50.0]
    now = unhurried(lambda: wall[0], lambda: ticks[0])
    wall[0] += 20 * 86_400
    assert now() == 0.0
    ticks[0] += FIRST_SECONDS + 1
    assert now() == 1_000_000.0 + FIRST_SECONDS + 1
    wall[0] = 1_000_000.0 - 3600
    assert now() == wall[0]
