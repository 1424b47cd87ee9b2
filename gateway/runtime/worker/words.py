"""Callers' own words: registered names stay, everything else is sealed in the state before a record names its digest.

A text that this worker has seen costs a look-up in memory. A new one goes to the state from a thread of its own, many
in one transaction: the call waits for it, the loop does not (`Seal`). What one system can ask of that is bounded, in
what waits and in what is remembered, and each batch takes from every system in turn: one that says something new with
every call fills its own share, and waits for itself.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from datetime import date
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from gateway.domain.calendar import china_day
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import Purpose
from gateway.domain.errors import GatewayError
from gateway.domain.free_text import holds_identity_number
from gateway.domain.texts import MAX_TEXT_CHARACTERS, UNKEPT, WITHHELD, Said, sealed
from gateway.domain.verdicts import Call
from gateway.identity.keys.texts import TextSealer
from gateway.store.texts import ERASURE, NewText

log = logging.getLogger("gateway.worker")

HELD_SECONDS = 12 * 3600
"""How long what was seen is named without asking the state: a row can be named for at least a day more (`Texts`)."""
MAX_HELD = 16_384
"""Calls' words that a worker remembers, about 1 KiB each."""
MAX_HELD_OF_SYSTEM = 4_096
MAX_WAITING_OF_SYSTEM = 256
"""Calls of one system with new words at once; more are told to slow down."""
BATCH_OF_SYSTEM = 32
"""Of each system, in one transaction."""
BATCH = 256


class Words(NamedTuple):
    """What one call says: the key under which it is remembered, within its system."""

    purpose: str
    scenario: str
    operator: str
    years: int


class KnownTexts(Protocol):
    """Of the state (`gateway.store.Store`)."""

    def keep_texts(self, wanted: Sequence[NewText], day: date, limit: int) -> dict[str, str]:
        """See `Texts`."""

    def purposes(self) -> tuple[Purpose, ...]:
        """The registered ones."""


class _Waiting(msgspec.Struct):
    system: str
    department: str
    words: Words
    answer: "asyncio.Future[Said]"


class KeptWords:
    """`Seal` for the data plane; belongs to one event loop.

    Args:
        state: where texts stand.
        sealer: seals them.
        executor: one thread, where the state is asked.
        clock: Unix seconds.
        a_day: how many new texts one system may add in a day (China Standard Time).
    """

    def __init__(
        self, state: KnownTexts, sealer: TextSealer, executor: Executor, clock: Callable[[], float], a_day: int
    ) -> None:
        self._state = state
        self._sealer = sealer
        self._executor = executor
        self._clock = clock
        self._a_day = a_day
        self._held: dict[str, dict[Words, Said]] = {}
        self._held_count = 0
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._under_way: dict[tuple[str, Words], asyncio.Future[Said]] = {}
        self._registered: frozenset[str] = frozenset()
        self._writing: asyncio.Task[None] | None = None
        self._drops = 0

    def __call__(self, call: Call, scenario: str, operator: str, years: int) -> Said | Awaitable[Said]:
        """What the record of a call may hold of its words; see `Seal`."""
        words = Words(call.purpose, scenario, operator, max(3, years))
        held = self._held.get(call.system)
        if held is not None:
            said = held.get(words)
            if said is not None and self._clock() * 1e9 < said.until_unix_ns:
                return said
        if not scenario and not operator and call.purpose in self._registered:
            return Said(call.purpose)
        return self._ask(call, words)

    def drop(self, change: Change) -> bool:
        """Forget what may not be named any more after `change`; whether it is one that erased texts."""
        is_erasure = change.kind is ChangeKind.KEY and change.subject == ERASURE
        if is_erasure:
            self.drop_all()
        return is_erasure

    def drop_all(self) -> None:
        """Forget everything, also what is being asked: it is asked again."""
        self._drops += 1
        self._held.clear()
        self._held_count = 0

    def close(self) -> None:
        """Keep nothing more."""
        if self._writing is not None:
            self._writing.cancel()

    def _ask(self, call: Call, words: Words) -> Awaitable[Said]:
        system = call.system
        answer = self._under_way.get((system, words))
        if answer is None:
            queue = self._waiting.setdefault(system, deque())
            # INVARIANT: BOUNDED: a system's new words wait in its own queue, and no longer one than this.
            if len(queue) >= MAX_WAITING_OF_SYSTEM:
                raise GatewayError("rate-limited", "too many calls of this system say something new at once")
            loop = asyncio.get_running_loop()
            answer = self._under_way[system, words] = loop.create_future()
            queue.append(_Waiting(system, call.department, words, answer))
            if self._writing is None:
                self._writing = loop.create_task(self._write(), name="words")
        # Shielded: one caller that goes away does not take the answer from the others who wait for it.
        return asyncio.shield(answer)

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                drops = self._drops
                try:
                    found = await asyncio.get_running_loop().run_in_executor(self._executor, self._keep, batch)
                except Exception as error:  # noqa: BLE001 - told to each call that waits, and to no other
                    self._fail(batch, error)
                    continue
                if drops != self._drops:
                    # INVARIANT: BARRIER: what was read before an erasure is not named after it.
                    for each in reversed(batch):
                        self._waiting.setdefault(each.system, deque()).appendleft(each)
                    continue
                for each, said in zip(batch, found, strict=True):
                    self._hold(each.system, each.words, said)
                    self._answer(each, said)
        finally:
            self._writing = None

    def _next_batch(self) -> list[_Waiting]:
        """From every system in turn, so that none waits behind another's many."""
        batch: list[_Waiting] = []
        for system in list(self._waiting):
            queue = self._waiting.pop(system)
            batch += [queue.popleft() for _ in range(min(len(queue), BATCH_OF_SYSTEM, BATCH - len(batch)))]
            if queue:
                # At the end of the line of systems, which a dict keeps.
                self._waiting[system] = queue
            if len(batch) >= BATCH:
                break
        return batch

    def _keep(self, batch: list[_Waiting]) -> list[Said]:
        """Blocks: on the executor's thread."""
        if any(each.words.purpose not in self._registered for each in batch):
            self._registered = frozenset(purpose.id for purpose in self._state.purposes())
        now = self._clock()
        wanted: dict[str, NewText] = {}
        rows = [
            [self._named(each, text, wanted, is_purpose=not at) for at, text in enumerate(each.words[:3])]
            for each in batch
        ]
        digests = self._state.keep_texts(tuple(wanted.values()), china_day(now), self._a_day) if wanted else {}
        until = int((now + HELD_SECONDS) * 1e9)

        def told(name: str) -> str:
            if name not in wanted:
                return name
            return sealed(digests[name]) if name in digests else UNKEPT

        return [Said(told(purpose), told(scenario), told(operator), until) for purpose, scenario, operator in rows]

    def _named(self, each: _Waiting, text: str, wanted: dict[str, NewText], *, is_purpose: bool) -> str:
        """What stands for a text: a registered name, the mark of one that is `wanted` from now on, or why neither."""
        if not text or (is_purpose and text in self._registered):
            return text
        if holds_identity_number(text):
            return WITHHELD
        if len(text) > MAX_TEXT_CHARACTERS:
            text = text[: MAX_TEXT_CHARACTERS - 1] + "…"
        mark = self._sealer.mark(each.system, text)
        years = max(each.words.years, wanted[mark].years) if mark in wanted else each.words.years
        wanted[mark] = NewText(
            mark, self._sealer.mark("", text), each.system, each.department, years, partial(self._seal, text)
        )
        return mark

    def _seal(self, text: str) -> tuple[str, str]:
        made = self._sealer.seal(text)
        return made.digest, made.sealed

    def _hold(self, system: str, words: Words, said: Said) -> None:
        # What was not taken today is asked for again: it may be known by tomorrow, or by way of another worker.
        if not said.is_kept:
            return
        held = self._held.setdefault(system, {})
        if len(held) >= MAX_HELD_OF_SYSTEM:
            del held[next(iter(held))]
            self._held_count -= 1
        self._held_count += words not in held
        held[words] = said
        if self._held_count > MAX_HELD:
            # INVARIANT: BOUNDED: who holds the most makes room.
            most = max(self._held, key=lambda each: len(self._held[each]))
            self._held_count -= len(self._held.pop(most))

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        if isinstance(error, GatewayError):
            log.warning("callers' words are not kept: %s", error.detail)
        else:
            log.error("callers' words are not kept: %s", type(error).__name__)
        for each in batch:
            self._under_way.pop((each.system, each.words), None)
            if not each.answer.done():
                # INVARIANT: RECORD-FIRST: no record names a text that does not stand.
                refusal = GatewayError("records-unavailable", "what the caller said could not be kept")
                each.answer.set_exception(refusal)
                each.answer.exception()  # told to whoever still waits; nobody else has to hear of it

    def _answer(self, each: _Waiting, said: Said) -> None:
        self._under_way.pop((each.system, each.words), None)
        if not each.answer.done():
            each.answer.set_result(said)
