"""Officers' local accounts: passwords by argon2id, and few guesses.

A guess costs about 50 ms and 64 MiB here, so no more than two are checked at once, and no more than six wait for that:
whoever sends more waits outside, and not in the threads that officers' acts need. After the third failure an account
waits 1 s, then twice as long each time, up to 15 minutes; an address that fails on many accounts waits likewise (of
IPv6 its /64, which one machine has whole). An attempt counts before it is checked, so that guesses side by side are
no more than guesses one by one.
What is waited for is not checked, and says nothing about whether the officer exists: neither does its timing, since a
password of an officer without account is checked against a hash that no password fits.

Source: NIST SP 800-63B §3.1.1 (length, no composition rules), §3.2.2 (throttling); RFC 9106 §4 (parameters).
"""

import ipaddress
import threading
from collections.abc import Callable

import argon2

from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_BYTES = 1024
FREE_FAILURES = 3
LONGEST_WAIT_SECONDS = 900.0
MAX_TRACKED = 8192
CONCURRENT_CHECKS = 2
WAITING_CHECKS = 6

_REFUSED = "officer or password is not right"


class Throttle:
    """Failures by name, and how long each name must wait. Thread-safe; the longest untouched name is forgotten first.

    Args:
        now: the clock, Unix seconds.
        free: failures that cost no waiting.
    """

    def __init__(self, now: Callable[[], float], *, free: int = FREE_FAILURES) -> None:
        self._now = now
        self._free = free
        self._failures: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def wait_seconds(self, name: str) -> float:
        """How long `name` must still wait; 0 where it need not."""
        with self._lock:
            return self._wait(*self._failures.get(name, (0, 0.0)), self._now())

    def begin(self, name: str) -> float:
        """0 where an attempt of `name` may be made, which counts as a failure from now on; else the seconds to wait."""
        with self._lock:
            count, last = self._failures.pop(name, (0, 0.0))
            at = self._now()
            wait = self._wait(count, last, at)
            if wait > 0:
                self._failures[name] = (count, last)
                return wait
            if len(self._failures) >= MAX_TRACKED:
                del self._failures[next(iter(self._failures))]
            self._failures[name] = (min(count + 1, 64), at)
            return 0.0

    def _wait(self, count: int, last: float, at: float) -> float:
        if count < self._free:
            return 0.0
        wait: float = min(2.0 ** (count - self._free), LONGEST_WAIT_SECONDS)
        return max(0.0, last + wait - at)

    def forgive(self, name: str) -> None:
        """The attempt that `begin` counted was no failure."""
        with self._lock:
            count, last = self._failures.get(name, (0, 0.0))
            if count > 1:
                self._failures[name] = (count - 1, last)
            else:
                self._failures.pop(name, None)

    def succeeded(self, name: str) -> None:
        """Forget the failures of `name`."""
        with self._lock:
            self._failures.pop(name, None)


class LocalAccounts:
    """Checks officers' passwords. Thread-safe; blocks for as long as argon2 takes.

    Args:
        officer: the officer of an id, or None.
        secret: the stored hash of an officer's password, or None.
        now: the clock, Unix seconds.
        hasher: argon2id; by default RFC 9106's second recommendation (64 MiB, 3 passes, 4 lanes).
    """

    def __init__(
        self,
        officer: Callable[[str], Officer | None],
        secret: Callable[[str], str | None],
        now: Callable[[], float],
        *,
        hasher: argon2.PasswordHasher | None = None,
    ) -> None:
        self._officer = officer
        self._secret = secret
        self._hasher = hasher or argon2.PasswordHasher()
        self._accounts = Throttle(now)
        # Many officers sit behind one address: it is slowed only after failures on a scale no office has.
        self._addresses = Throttle(now, free=20)
        self._slots = threading.BoundedSemaphore(CONCURRENT_CHECKS)
        self._queue = threading.BoundedSemaphore(CONCURRENT_CHECKS + WAITING_CHECKS)
        self._nobody = self._hasher.hash("no password has this hash")

    def sign_in(self, officer_id: str, password: str, address: str) -> Officer:
        """The officer, if the password is the account's.

        Raises:
            GatewayError: `credential-invalid`, the same for every reason; `rate-limited` with `Retry-After` where the
                account or address must wait.
        """
        account, place = officer_id[:64], _place(address)
        # Looked at first: an address that must wait does not touch the account, and could otherwise keep it waiting.
        wait = max(self._addresses.wait_seconds(place), self._accounts.wait_seconds(account))
        wait = wait or self._addresses.begin(place) or self._accounts.begin(account)
        if wait > 0:
            raise _slow_down(wait)
        if not self._queue.acquire(blocking=False):
            self._accounts.forgive(account)
            self._addresses.forgive(place)
            raise _slow_down(0)
        try:
            with self._slots:
                found = self._checked(account, password)
        finally:
            self._queue.release()
        if found is None:
            raise GatewayError("credential-invalid", _REFUSED)
        self._accounts.succeeded(account)
        self._addresses.forgive(place)
        return found

    def _checked(self, account: str, password: str) -> Officer | None:
        officer = self._officer(account)
        stored = self._secret(account) if officer is not None and officer.active else None
        try:
            self._hasher.verify(stored or self._nobody, password[:MAX_PASSWORD_BYTES])
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return None
        return officer if stored is not None else None


def _slow_down(wait: float) -> GatewayError:
    seconds = str(int(wait) + 1)
    return GatewayError(
        "rate-limited", f"wait {seconds} s before you sign in again", headers=(("Retry-After", seconds),)
    )


def _place(address: str) -> str:
    """What is slowed for an address: itself, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def hash_password(password: str, officer_id: str, *, hasher: argon2.PasswordHasher | None = None) -> str:
    """What is stored of a password.

    Raises:
        GatewayError: `invalid-input` for a password that is too short, too long, or made of the officer's id.
    """
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise GatewayError("invalid-input", f"a password has at least {MIN_PASSWORD_CHARACTERS} characters")
    if len(password.encode("utf-8")) > MAX_PASSWORD_BYTES:
        raise GatewayError("invalid-input", f"a password has at most {MAX_PASSWORD_BYTES} bytes")
    if len(set(password)) < 4 or not password.lower().replace(officer_id.lower(), ""):
        raise GatewayError("invalid-input", "the password is one of the first that would be guessed")
    return (hasher or argon2.PasswordHasher()).hash(password)
