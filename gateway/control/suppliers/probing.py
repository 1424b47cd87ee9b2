"""How much of the network a department may have the gateway ask: claims and proofs of hosts are no scanner.

Who claims a host names an address and a port, and has the gateway look there. What it finds is told as proved or not
proved and in no other way, after one and the same time; here is bounded how often. What succeeds costs nothing.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.domain.errors import GatewayError

FAILURES = 20
"""Failures that a department has at once; a bureau that registers its hosts in one day needs no more."""
SECONDS_A_FAILURE = 60.0
"""After so long another one is free."""
AT_ONCE = 3
"""Hosts that are asked at the same time: they hold threads of the lane that everything but stops shares."""


class ProbeBounds:
    """What departments' officers may ask of the network, by department; on each node for itself. Thread-safe.

    Args:
        now: the clock, monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._full: dict[str, float] = {}
        self._asking: set[str] = set()

    @contextmanager
    def asking(self, department: str) -> Iterator[None]:
        """One claim or proof by an officer of a department; it is a failure only if it raises.

        Raises:
            GatewayError: `rate-limited` with `Retry-After` where one of the department's is under way, too many of
                others are, or too many of its own have failed.
        """
        self._begin(department)
        try:
            yield
        except BaseException:
            with self._lock:
                self._full[department] = max(self._full.get(department, 0.0), self._now()) + SECONDS_A_FAILURE
            raise
        finally:
            with self._lock:
                self._asking.discard(department)

    def _begin(self, department: str) -> None:
        with self._lock:
            at = self._now()
            # As time at which all failures are forgotten: a department without one is not remembered.
            self._full = {each: full for each, full in self._full.items() if full > at}
            wait = self._full.get(department, at) - at - (FAILURES - 1) * SECONDS_A_FAILURE
            if wait > 0:
                raise _later(f"{FAILURES} claims or proofs of hosts by `{department}` have failed lately", wait)
            if department in self._asking:
                raise _later(f"another host is being asked for `{department}`", 1.0)
            if len(self._asking) >= AT_ONCE:
                raise _later(f"{AT_ONCE} hosts are being asked", 1.0)
            self._asking.add(department)


def _later(why: str, seconds: float) -> GatewayError:
    wait = max(1, round(seconds + 0.5))
    return GatewayError("rate-limited", f"{why}: ask again in {wait} s", headers=(("Retry-After", str(wait)),))
