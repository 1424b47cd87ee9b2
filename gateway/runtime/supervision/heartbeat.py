"""A worker's own signs of life: its loop turns, or else where it stands is written down.

The loop beats every `BEAT_SECONDS`. Where it does not turn for `STACK_SECONDS`, a thread of the interpreter's own that
needs no lock writes down the stack of every thread (file, line and function; no values), also where a call into C
holds the lock. The supervisor reads it when it replaces the worker; a loop that comes back reads it itself.
"""

import asyncio
import faulthandler
import logging
import os
import re
import time
from collections.abc import Callable

from gateway.control.barrier.pulse import ENDING, Pulse

log = logging.getLogger("gateway.heartbeat")

BEAT_SECONDS = 0.2
STACK_SECONDS = 1.0
"""How long the loop may stand before its stack is written; its worker is replaced after two."""
MAX_STACK_BYTES = 65536
FRAMES = 8


class Heartbeat:
    """The beat of one worker; construct it on the worker's loop.

    Args:
        pulse: where the beat is seen.
        stack: descriptor of the file that takes the stack of a loop that stands.
        clock: seconds of the monotonic clock.
    """

    def __init__(self, pulse: Pulse, stack: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._pulse = pulse
        self._stack = stack
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._beaten_at = clock()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Beat from now on."""
        self._beaten_at = self._clock()
        self._beat()

    def stop(self) -> None:
        """Beat no more, and write nothing down: the worker is ending, and may sync its journal on the loop."""
        if self._timer is not None:
            self._timer.cancel()
        self._pulse.beat(ENDING)
        faulthandler.cancel_dump_traceback_later()

    def _beat(self) -> None:
        now = self._clock()
        self._pulse.beat(now)
        stood, self._beaten_at = now - self._beaten_at, now
        if stood > STACK_SECONDS:
            stack = read_stack(self._stack)
            os.ftruncate(self._stack, 0)
            os.lseek(self._stack, 0, os.SEEK_SET)
            log.warning("the loop stood for %.1f s at %s", stood, " < ".join(stack) or "an unknown place")
        faulthandler.dump_traceback_later(STACK_SECONDS, file=self._stack)
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat)


_THREAD = re.compile(r"^(?:Current thread|Thread) 0x[0-9a-f]+ ", re.MULTILINE)
_FRAME = re.compile(r'^  File "([^"\n]*)", line (\d+) in (.*)$', re.MULTILINE)


def read_stack(descriptor: int) -> list[str]:
    """Where the loop stood, innermost first, as `file:line function`; empty where nothing was written down."""
    text = os.pread(descriptor, MAX_STACK_BYTES, 0).decode("utf-8", "replace")
    # The loop's thread was the first of the process and stands last.
    threads = _THREAD.split(text)
    if len(threads) < 2:
        return []
    frames = _FRAME.findall(threads[-1])
    return [f"{file.rpartition('/')[2]}:{line} {function}" for file, line, function in frames[:FRAMES]]
