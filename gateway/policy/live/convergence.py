"""Convergence (Decree 809 Art. 25 ¶2): what a department may not draw together, whatever purpose it declares.

A rule is a static `forbid` that names datasets and looks at `context.drawn`: what the department has drawn, for any
purpose, within the last day, week, month, quarter or year, the dataset asked for now included. Only calls on datasets
that such a rule names pay for it: their verdicts are not kept, and what they draw is noted. In verify mode nothing is
drawn, for no value leaves (Zhongshan Art. 22 ¶3).

Two calls that would complete a combination at the same moment do not both pass: a permit is noted first and decided
again by what is noted then, so the later of two notes sees the other. What was noted and then denied stays noted.
"""

import threading
from collections.abc import Mapping
from typing import Protocol

from gateway.domain.verdicts import Call, Verdict
from gateway.policy.law.time_limits import china_day
from gateway.policy.live import refusals
from gateway.policy.live.building import OBTAINING
from gateway.policy.live.slices import Slice

DAYS_OF_PERIOD: Mapping[str, int] = {"day": 1, "week": 7, "month": 30, "quarter": 90, "year": 365}
"""How many days each period reaches back, today included; counted in whole days, China Standard Time."""

MAX_NOTED = 16_384
"""Notes of today remembered, so that each is written once; what is forgotten is written again."""


class DrawnBook(Protocol):
    """What departments have drawn, by day; shared by every worker and node."""

    def drawn(self, department: str, since_day: int) -> frozenset[str]:
        """Ids of the datasets drawn on `since_day` (days since 1970-01-01, China) or later, for whatever purpose."""

    def note(self, department: str, dataset: str, purpose: str, day: int) -> None:
        """Note that the department draws from the dataset on `day`; seen by every `drawn` that begins afterwards."""


class Convergence:
    """Decides calls on datasets that convergence rules name.

    Args:
        book: what was drawn; None denies every such call.
    """

    def __init__(self, book: DrawnBook | None) -> None:
        self._book = book
        self._lock = threading.Lock()
        self._noted: set[tuple[int, str, str, str]] = set()

    def preview(self, part: Slice, call: Call, now_unix: int) -> Verdict:
        """The verdict that `call` would get; notes nothing."""
        if self._book is None:
            return refusals.plain_denial("not-granted", part.digest, now_unix + 1)
        return part.evaluate(call, now_unix, self.lately(part, call, now_unix))

    def evaluate(self, part: Slice, call: Call, now_unix: int) -> Verdict:
        """The verdict on `call`; a permit by which data is obtained is noted as drawn before it is given."""
        verdict = self.preview(part, call, now_unix)
        if self._book is None or not verdict.is_permit or call.mode not in OBTAINING:
            return verdict
        today = china_day(now_unix)
        note = (today, call.department, call.dataset, call.purpose)
        with self._lock:
            if note in self._noted:
                return verdict
        self._book.note(call.department, call.dataset, call.purpose, today)
        verdict = self.preview(part, call, now_unix)
        with self._lock:
            if len(self._noted) >= MAX_NOTED:
                self._noted.clear()
            self._noted.add(note)
        return verdict

    def lately(self, part: Slice, call: Call, now_unix: int) -> dict[str, frozenset[str]]:
        """What the department has drawn, by the periods that the slice's rules look at.

        Data that came together is together, whatever it was declared for: another purpose is no way around a rule.
        """
        if self._book is None or not part.periods:
            return {}
        today = china_day(now_unix)
        return {
            period: self._book.drawn(call.department, today - DAYS_OF_PERIOD[period] + 1) | {call.dataset}
            for period in part.periods
        }
