"""Deciding on an event loop: at once where a verdict is at hand, else in a thread, and never with a dropped verdict."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

from gateway.domain.verdicts import Call, Verdict
from gateway.policy.live import refusals
from gateway.policy.live.engine import Engine

MAX_ATTEMPTS = 16
"""How often a verdict is made again because changes kept coming; then the call is denied as `state-stale`."""


class Decider:
    """The data plane's port for deciding, on the engine of this worker.

    Args:
        engine: decides.
        executor: threads in which slices are built and Cedar is asked.
        now: Unix time in seconds.
    """

    def __init__(self, engine: Engine, executor: Executor, now: Callable[[], float]) -> None:
        self._engine = engine
        self._executor = executor
        self._now = now

    def __call__(self, call: Call) -> Verdict | Awaitable[Verdict]:
        """The verdict now, or an awaitable of it."""
        verdict = self._engine.kept(call, int(self._now()))
        return self._decide(call) if verdict is None else verdict

    async def _decide(self, call: Call) -> Verdict:
        loop = asyncio.get_running_loop()
        for _ in range(MAX_ATTEMPTS):
            drops, now_unix = self._engine.drops, int(self._now())
            verdict = await loop.run_in_executor(self._executor, self._engine.decide, call, now_unix)
            # INVARIANT: BARRIER — a verdict that was on its way from a thread to the loop when a change was dropped
            # may rest on what was dropped; unless it still stands, it is made again.
            if self._engine.drops == drops or self._engine.kept(call, now_unix) is verdict:
                return verdict
        return refusals.plain_denial("state-stale", self._engine.layers.digest, now_unix + 1)
