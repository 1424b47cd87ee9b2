"""Officers' local accounts: a password, few guesses, and a way in for the right person.

Failures are counted in three lanes, each of which decays: they count half after ten minutes without one.

    an account, by whom nothing is known of    the fourth failure waits 1 s, each next twice as long, up to 15 minutes
    an account, by a device it signed in on    the same, by itself: what others try does not keep its owner out
    an address                                 the same after twenty failures: many officers sit behind one proxy

A device is known by what the last sign-in there was answered with (`Device`), sealed by the gateway: so whoever guesses
at an account slows guessers and strangers, and not the person who has signed in before. An attempt counts before it is
checked, so that guesses side by side are no more than guesses one by one. What is waited for is not checked, and says
nothing about whether the officer exists: neither does its timing, since a password of an officer without account is
checked against a hash that no password fits.

Source: NIST SP 800-63B §3.2.2 (throttling); OWASP, device cookies.
"""

import ipaddress
import math
import threading
from collections.abc import Callable

from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer
from gateway.identity.officers.passwords import HashingPool, slow_down

FREE_FAILURES = 3
FREE_ADDRESS_FAILURES = 20
LONGEST_WAIT_SECONDS = 900.0
HALF_LIFE_SECONDS = 600.0
"""After so long without another one, failures count half: a proxy's address forgets what hundreds mistype in a day."""
MAX_TRACKED = 8192

MAX_ID_CHARACTERS = 127
_REFUSED = "officer or password is not right"


class Throttle:
    """Failures by name, and how long each name must wait. Thread-safe; the longest untouched name is forgotten first.

    Args:
        now: the clock, monotonic seconds: a step of the wall clock neither locks anybody out nor lets anybody in.
        free: failures that cost no waiting.
    """

    def __init__(self, now: Callable[[], float], *, free: int = FREE_FAILURES) -> None:
        self._now = now
        self._free = free
        self._failures: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def wait_seconds(self, name: str) -> float:
        """How long `name` must still wait; 0 where it need not."""
        with self._lock:
            return self._wait(*self._failures.get(name, (0.0, 0.0)), self._now())

    def begin(self, name: str) -> float:
        """0 where an attempt of `name` may be made, which counts as a failure from now on; else the seconds to wait."""
        with self._lock:
            count, last = self._failures.pop(name, (0.0, 0.0))
            at = self._now()
            wait = self._wait(count, last, at)
            if wait > 0:
                self._failures[name] = (count, last)
                return wait
            if len(self._failures) >= MAX_TRACKED:
                del self._failures[next(iter(self._failures))]
            self._failures[name] = (min(_decayed(count, last, at) + 1, 64), at)
            return 0.0

    def _wait(self, count: float, last: float, at: float) -> float:
        over = round(count) - self._free
        if over < 0:
            return 0.0
        wait: float = min(2.0**over, LONGEST_WAIT_SECONDS)
        return max(0.0, last + wait - at)

    def forgive(self, name: str) -> None:
        """The attempt that `begin` counted was no failure."""
        with self._lock:
            count, last = self._failures.get(name, (0.0, 0.0))
            if count > 1:
                self._failures[name] = (count - 1, last)
            else:
                self._failures.pop(name, None)

    def succeeded(self, name: str) -> None:
        """Forget the failures of `name`."""
        with self._lock:
            self._failures.pop(name, None)


def _decayed(count: float, last: float, at: float) -> float:
    return count * math.exp(-math.log(2) * max(0.0, at - last) / HALF_LIFE_SECONDS)


class LocalAccounts:
    """Checks officers' passwords. Thread-safe; blocks for as long as argon2 takes.

    Args:
        officer: the officer of an id, or None.
        secret: the stored hash of an officer's password, or None.
        now: the clock, Unix seconds.
        pool: hashes.
    """

    def __init__(
        self,
        officer: Callable[[str], Officer | None],
        secret: Callable[[str], str | None],
        now: Callable[[], float],
        *,
        pool: HashingPool | None = None,
    ) -> None:
        self._officer = officer
        self._secret = secret
        self.pool = pool or HashingPool()
        self._accounts = Throttle(now)
        self._addresses = Throttle(now, free=FREE_ADDRESS_FAILURES)

    def sign_in(
        self,
        officer_id: str,
        password: str,
        address: str,
        *,
        device: str = "",
        second: Callable[[Officer], bool] = lambda _officer: True,
    ) -> Officer:
        """The officer, if the password is the account's.

        Args:
            officer_id: as typed.
            password: as typed.
            address: where the attempt comes from.
            device: names a device that this officer has signed in on before; "" for any other.
            second: whether the account's second factor lets in whoever had the right password; what fails counts too.

        Raises:
            GatewayError: `credential-invalid`, the same for every reason; `rate-limited` with `Retry-After` where the
                account or address must wait.
        """
        # What is longer than any id is nobody's; a shortened one could be another's.
        account, place = officer_id[:MAX_ID_CHARACTERS], _place(address)
        found: list[Officer] = []

        def check() -> bool:
            officer = self._officer(account)
            stored = self._secret(account) if officer is not None and officer.active else None
            if not self.pool.is_right(stored, password) or officer is None or not second(officer):
                return False
            found.append(officer)
            return True

        self.attempt(f"{account} {device}", place, check)
        return found[0]

    def attempt(self, lane: str, address: str, check: Callable[[], bool]) -> None:
        """Let `check` be tried, if `lane` and `address` need not wait; a failure counts against both.

        Raises:
            GatewayError: as `sign_in`.
        """
        place = _place(address)
        # A device that is known is no guesser at a proxy's address: what others there do does not keep it out.
        is_known = not lane.endswith(" ")
        # Looked at first: an address that must wait does not touch the account, and could otherwise keep it waiting.
        wait = max(0.0 if is_known else self._addresses.wait_seconds(place), self._accounts.wait_seconds(lane))
        wait = wait or (0.0 if is_known else self._addresses.begin(place)) or self._accounts.begin(lane)
        if wait > 0:
            raise slow_down(wait)
        try:
            is_right = check()
        except GatewayError:
            self._forgive(lane, place, is_known=is_known)
            raise
        if not is_right:
            raise GatewayError("credential-invalid", _REFUSED)
        self._forgive(lane, place, is_known=is_known)
        self._accounts.succeeded(lane)

    def _forgive(self, lane: str, place: str, *, is_known: bool) -> None:
        self._accounts.forgive(lane)
        if not is_known:
            self._addresses.forgive(place)


def _place(address: str) -> str:
    """What is slowed for an address: itself, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
