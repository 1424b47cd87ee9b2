"""Which interfaces are in trouble, and why: said once in the log, and while it lasts in figures and status.

Names of the directory, fixed words, and names of members of an answer alone (INVARIANT: NO-VALUES).
"""

import logging
from collections.abc import Callable

from gateway.domain.directory import Interface

_log = logging.getLogger(__name__)

LASTS_SECONDS = 60.0
"""What was not seen again for so long is over."""

TROUBLES = {
    "slow": ("the supplier answers too slowly", "tell the supplier; its calls end by themselves and free their places"),
    "fails": ("the supplier gives no connection or no whole answer", "tell the supplier; it is tried again by itself"),
    "floods": ("the supplier's answers are larger than may be held", "tell the supplier, or raise `answer_bytes`"),
    "misfits": (
        "the supplier's answers do not fit the interface's entry, and are refused",
        "the supplier's department sees what is wrong by `gateway interfaces try`, and corrects entry or answer",
    ),
    "busy": (
        "all places at the supplier are taken: calls wait or are turned away",
        "tell the supplier, or raise `concurrency` in the interface's entry if it takes more",
    ),
    "slow callers": ("callers take their answers too slowly", "see who calls it: gateway records find"),
}
"""Every trouble: what it is, and what to do."""


class Troubles:
    """The troubles of one worker's interfaces.

    Args:
        now: the loop's time in seconds.
    """

    __slots__ = ("_now", "_seen")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: dict[tuple[str, str, str], float] = {}

    def note(self, interface: Interface, trouble: str, found: Callable[[], str] = str) -> None:
        """An interface shows a trouble of `TROUBLES`; it is logged where it is new, with what `found` then tells."""
        key, now = (interface.supplier, interface.id, trouble), self._now()
        before = self._seen.get(key)
        if before is None or now - before > LASTS_SECONDS:
            words = " ".join(filter(None, (TROUBLES[trouble][0], found())))
            _log.warning("interface %s/%s: %s", interface.supplier, interface.id, words)
        self._seen[key] = now

    def standing(self) -> list[tuple[str, str, str]]:
        """(supplier, interface, trouble) of all that were seen lately; what is over is forgotten."""
        now = self._now()
        self._seen = {key: seen for key, seen in self._seen.items() if now - seen <= LASTS_SECONDS}
        return sorted(self._seen)
