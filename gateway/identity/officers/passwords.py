"""Passwords: which are taken, and what hashing them may cost.

argon2id is costly on purpose: some 50 ms and 64 MiB each. So all of it in a process goes through one pool, which holds
a stated budget of memory and keeps the rest out at once; nothing is hashed for anyone who may not do what it is for.

Source: NIST SP 800-63B §3.1.1.2 (length, known weak ones refused, no composition rules); RFC 9106 §4 (parameters).
"""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import argon2
from zxcvbn import zxcvbn

from gateway.domain.errors import GatewayError

T = TypeVar("T")

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_BYTES = 1024
LEAST_SCORE = 4
"""zxcvbn's best: more than 10^10 guesses, which at two a second by the pool is longer than anyone has."""
JUDGED_CHARACTERS = 72
"""How much of a password is judged: judging takes time with its square."""
MEMORY_BUDGET_BYTES = 128 << 20
WAITING = 6


class HashingPool:
    """Hashes and checks passwords, few at once. Thread-safe; blocks for as long as argon2 takes.

    INVARIANT: BOUNDED — as many at once as `MEMORY_BUDGET_BYTES` holds, `WAITING` more wait, others are turned away.

    Args:
        hasher: argon2id; by default RFC 9106's second recommendation (64 MiB, 3 passes, 4 lanes).
    """

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        at_once = max(1, min(2, MEMORY_BUDGET_BYTES // (self._hasher.memory_cost << 10)))
        self._slots = threading.BoundedSemaphore(at_once)
        self._places = threading.BoundedSemaphore(at_once + WAITING)
        self._nobody = self._hasher.hash("no password has this hash")

    def hash(self, password: str) -> str:
        """What is stored of a password that `require_strong` has taken.

        Raises:
            GatewayError: `rate-limited` where the pool is full.
        """
        return self._within(lambda: self._hasher.hash(password))

    def is_right(self, stored: str | None, password: str) -> bool:
        """Whether `stored` is of `password`; without one, False after as long as it would have taken.

        Raises:
            GatewayError: `rate-limited` where the pool is full.
        """
        return self._within(lambda: self._verified(stored, password))

    def _verified(self, stored: str | None, password: str) -> bool:
        try:
            self._hasher.verify(stored or self._nobody, password[:MAX_PASSWORD_BYTES])
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return stored is not None

    def _within(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise slow_down(0)
        try:
            with self._slots:
                return work()
        finally:
            self._places.release()


def slow_down(wait_seconds: float) -> GatewayError:
    """The refusal of who must wait before signing in again."""
    seconds = str(int(wait_seconds) + 1)
    return GatewayError(
        "rate-limited", f"wait {seconds} s before you sign in again", headers=(("Retry-After", seconds),)
    )


def require_strong(password: str, of: Iterable[str]) -> None:
    """Raises `invalid-input` for a password that is too short, too long, or among the first that would be guessed.

    Args:
        password: as its owner chose it.
        of: what is known of the owner, such as id, name and department: no password is made of that alone.
    """
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise _refused(f"a password has at least {MIN_PASSWORD_CHARACTERS} characters")
    if len(password.encode("utf-8")) > MAX_PASSWORD_BYTES:
        raise _refused(f"a password has at most {MAX_PASSWORD_BYTES} bytes")
    known = [word for word in (*of, "sharing gateway", "gateway") if word]
    judged = zxcvbn(password[:JUDGED_CHARACTERS], user_inputs=known, max_length=JUDGED_CHARACTERS)
    if judged["score"] < LEAST_SCORE:
        raise _refused("the password is one of the first that would be guessed: take four words that do not belong")


def _refused(fault: str) -> GatewayError:
    return GatewayError("invalid-input", fault, faults=[{"field": "password", "fault": fault}])
