"""Where a token comes from: one fetch for everybody who waits, whoever they are and however long they can.

    a call ──> usable token? ── yes ──> go; is it due? begin a fetch beside
                    │ no
                    └──> the fetch that runs, or a new one ──> wait for its outcome, as long as this call may

A fetch runs in a thread of its own, with time-outs and a transport of its own. So it belongs to no caller: one that
leaves, a cancelled task, a loop that ends, take nothing from the others; threads, asyncio's loops and trio share it.
Its outcome is everybody's, failures too, and is remembered a while, so that a crowd does not ask the same again.
"""

import logging
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import httpx

from gateway.client import loops
from gateway.client.core import MAX_ATTEMPTS, AskAgain, Token, TokenState, pause
from gateway.client.observing import Told
from gateway.client.problems import GatewayUnavailable, SharingProblem, TokenTimeout

log = logging.getLogger("gateway.client")

FETCH_SECONDS = 30.0
"""How long a fetch goes on asking."""
ASK_SECONDS = 10.0
"""How long one request may take."""
REFUSED_SECONDS = (2.0, 60.0)
"""How long a refusal is remembered: doubled each time in a row, up to the second."""
FAILED_SECONDS = 1.0
"""How long a failure is remembered, where the endpoint does not ask for longer."""

_sources: "weakref.WeakSet[TokenSource]" = weakref.WeakSet()


class TokenSource:
    """Gets, keeps and renews a system's token. For threads, loops, forks; it can be pickled and copied, without token.

    Args:
        make_state: makes what is known, anew in each process.
        make_client: makes the HTTP client of fetches, anew in each process.
        observe: told of what happens, by name: `renewal`, `renewal-failed`, `refusal`, `retry`.
    """

    def __init__(
        self,
        make_state: Callable[[], TokenState],
        make_client: Callable[[], httpx.Client],
        observe: Callable[[str, str], None] | None = None,
    ) -> None:
        self._make_state = make_state
        self._make_client = make_client
        self.observe = observe
        self.counts: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self.state = self._make_state()
        self._client: httpx.Client | None = None
        self._fetch: Future[Token] | None = None
        self._failure: SharingProblem | None = None
        self._failed_until = 0.0
        self._refusals = 0
        _sources.add(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"make_state": self._make_state, "make_client": self._make_client, "observe": self.observe}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["make_state"], state["make_client"], state["observe"])  # type: ignore[misc]

    def close(self) -> None:
        """Let the connection to the token endpoint go."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def token(self, seconds: float) -> Token:
        """A token, waited for at most so long.

        Raises:
            SharingProblem: where there is none to be had.
            TokenTimeout: where none came in time.
        """
        held = self._held()
        if held is not None:
            return held
        fetch = self._fetched()
        try:
            return fetch.result(seconds)
        except FutureTimeoutError:
            raise TokenTimeout(f"no token came within {seconds:.1f} s") from None
        except SharingProblem as problem:
            raise problem.again() from None

    async def token_async(self, seconds: float) -> Token:
        """As `token`, on asyncio's loop or trio's."""
        held = self._held()
        if held is not None:
            return held
        fetch = self._fetched()
        try:
            return await loops.outcome(fetch, seconds)
        except TimeoutError:
            raise TokenTimeout(f"no token came within {seconds:.1f} s") from None
        except SharingProblem as problem:
            raise problem.again() from None

    def refresh_nonce(self) -> None:
        """Ask for a fresh nonce, for a call whose body can be sent once only; may block. What fails is left out."""
        try:
            answer = self._http().send(self.state.nonce_request())
        except httpx.HTTPError as error:
            log.info("no fresh nonce was given: %s", type(error).__name__)
        else:
            self.state.note_nonce(answer)

    def refused(self, token: Token) -> None:
        """The gateway does not take `token` any more."""
        with self._lock:
            self.state.drop(token)

    def note(self, event: str, label: str = "") -> None:
        """Count what happened."""
        self.counts[f"{event} {label}".strip()] += 1
        if self.observe is not None:
            self.observe(event, label)

    def _held(self) -> Token | None:
        """The usable token; where it is due, a fetch is begun beside, and nobody waits for it."""
        with self._lock:
            held = self.state.usable()
            if held is None or not self.state.is_due(held):
                return held
        self._fetched()
        return held

    def _fetched(self) -> "Future[Token]":
        """The outcome that everybody waits for: of the fetch that runs, of one that just ended, or of a new one."""
        with self._lock:
            if self._fetch is not None:
                return self._fetch
            outcome: Future[Token] = Future()
            held = self.state.usable()  # a fetch may have ended since the caller looked
            if held is not None and not self.state.is_due(held):
                outcome.set_result(held)
                return outcome
            if self._failure is not None and time.monotonic() < self._failed_until:
                outcome.set_exception(self._failure)
                return outcome
            outcome.set_running_or_notify_cancel()  # so that no waiter that leaves can cancel it
            self._fetch = outcome
        try:
            threading.Thread(target=self._run, args=(outcome,), name="sharing-token", daemon=True).start()
        except RuntimeError:  # the interpreter ends, or there are no threads left: ask here
            self._run(outcome)
        return outcome

    def _run(self, outcome: "Future[Token]") -> None:
        try:
            with Told(self.observe, "token"):
                token = self._ask()
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait are told
            problem = error if isinstance(error, SharingProblem) else _unforeseen(error)
            with self._lock:
                self._remember(problem)
                self._fetch = None
            self.note("renewal-failed", problem.code)
            log.warning("no token: %s", problem.title)
            outcome.set_exception(problem)
        else:
            with self._lock:
                self._failure, self._refusals = None, 0
                self._fetch = None
            self.note("renewal")
            outcome.set_result(token)

    def _remember(self, problem: SharingProblem) -> None:
        first, most = REFUSED_SECONDS
        seconds = max(FAILED_SECONDS, min(problem.retry_after or 0.0, most))
        if problem.status < 500 and problem.status != 429:
            seconds = max(seconds, min(first * 2**self._refusals, most))
            self._refusals += 1
        self._failure, self._failed_until = problem, time.monotonic() + seconds

    def _ask(self) -> Token:
        """Ask until there is a token, a refusal that stands, or no time left."""
        deadline = time.monotonic() + FETCH_SECONDS
        attempts = at_once = 0
        while True:
            attempts += 1
            self.note("token-request")
            asked: float | None = None
            try:
                answer = self._http().send(self.state.token_request())
            except httpx.HTTPError as error:
                problem: SharingProblem = _unreachable(error)
                asked = 0.0
            else:
                with self._lock:
                    found = self.state.take(answer)
                if isinstance(found, Token):
                    return found
                assert isinstance(found, AskAgain)
                problem = found.problem
                if found.is_at_once and at_once < 3:
                    at_once += 1
                    attempts -= 1
                    continue
                if found.seconds is None or found.is_at_once:
                    raise problem
                asked = found.seconds
            wait = pause(attempts, asked, deadline - time.monotonic()) if attempts < MAX_ATTEMPTS else None
            if wait is None:
                raise problem
            self.note("retry", "token")
            time.sleep(wait)

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client


def _unreachable(error: httpx.HTTPError) -> GatewayUnavailable:
    return GatewayUnavailable(
        "unavailable",
        503,
        "the token endpoint cannot be reached",
        detail=type(error).__name__,
        advice="try again later",
    )


def _unforeseen(error: BaseException) -> GatewayUnavailable:
    problem = GatewayUnavailable("unavailable", 503, "the token could not be asked for", detail=type(error).__name__)
    problem.__cause__ = error
    return problem


def _after_fork() -> None:
    """In a child: locks and fetches of the parent's threads are nobody's here, and its connections are the parent's."""
    for source in list(_sources):
        held = source.state.token
        source._begin()  # noqa: SLF001 - this module's own
        source.state.token = held


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
