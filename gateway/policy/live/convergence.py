"""Convergence (Decree 809 Art. 25 ¶2): what may not come together, whatever purpose is declared.

A rule is a static `forbid` that names datasets and looks at `context.drawn`: what was drawn, for any purpose, within
the last day, week, month, quarter or year, the dataset asked for now included. By the fact that it reads it chooses
whose drawing counts, the department's alone or that of its line or family too (`gateway.domain.circles`), and whether
answers of verification do: in verify mode no value leaves (Zhongshan Art. 22 ¶3), and still something is learnt. Only
calls on datasets that such a rule names pay for it: their verdicts are not kept, and what they draw is noted. Who else
drew is looked up, and noted for, where a rule reads that.

Two calls that would complete a combination at the same moment do not both pass: a permit is noted first and decided
again by what is noted then, so the later of two notes sees the other, on whatever node and whoever of a circle asks:
who counts another is counted by it. What was noted and then denied stays noted.
"""

import threading
from typing import Protocol

from gateway.domain.circles import Circle, Knowing
from gateway.domain.verdicts import Call, Verdict
from gateway.policy.law.drawn import DAYS_OF_PERIOD, FACTS_BY_PATH
from gateway.policy.law.time_limits import china_day
from gateway.policy.live import refusals
from gateway.policy.live.building import OBTAINING
from gateway.policy.live.slices import Slice

MAX_NOTED = 16_384
"""Notes of today remembered, so that each is written once; what is forgotten is written again."""


class DrawnBook(Protocol):
    """What departments have drawn, by day; shared by every worker and node."""

    def drawn(self, department: str, since_day: int, circle: Circle, *, learnt: bool) -> frozenset[str]:
        """Ids of the datasets drawn on `since_day` (days since 1970-01-01, China) or later, for whatever purpose.

        Args:
            department: who calls.
            since_day: the first day that counts.
            circle: who else's drawing counts.
            learnt: whether what was compared counts, too.
        """

    def note(
        self, department: str, dataset: str, purpose: str, day: int, knowing: Knowing, *, in_circles: bool
    ) -> None:
        """Note what the department draws from the dataset on `day`; seen by every `drawn` that begins afterwards.

        Args:
            department: who calls.
            dataset: of which dataset.
            purpose: what for.
            day: when.
            knowing: how it comes to be known.
            in_circles: whether it is noted for those above the department now, too, so that they keep it.
        """


class Convergence:
    """Decides calls on datasets that convergence rules name.

    Args:
        book: what was drawn; None denies every such call.
    """

    def __init__(self, book: DrawnBook | None) -> None:
        self._book = book
        self._lock = threading.Lock()
        self._noted: set[tuple[object, ...]] = set()

    def preview(self, part: Slice, call: Call, now_unix: int) -> Verdict:
        """The verdict that `call` would get; notes nothing."""
        if self._book is None:
            return refusals.plain_denial("not-granted", part.digest, now_unix + 1)
        return part.evaluate(call, now_unix, self.lately(part, call, now_unix))

    def evaluate(self, part: Slice, call: Call, now_unix: int) -> Verdict:
        """The verdict on `call`; a permit by which something is learnt that a rule counts is noted before it holds."""
        verdict = self.preview(part, call, now_unix)
        if self._book is None or not verdict.is_permit:
            return verdict
        facts = [FACTS_BY_PATH[path] for path in part.drawn_facts]
        knowing = Knowing.OBTAINED if call.mode in OBTAINING else Knowing.COMPARED
        counting = [fact for fact in facts if fact.learnt or knowing is Knowing.OBTAINED]
        if not counting:
            return verdict
        today = china_day(now_unix)
        above = tuple(one.id for one in part.state.ancestors)
        in_circles = any(fact.circle is not Circle.OWN for fact in counting)
        # A department that comes to stand below another is noted anew, and so is one whose circles come to count.
        note = (today, call.department, call.dataset, call.purpose, knowing, above if in_circles else None)
        with self._lock:
            if note in self._noted:
                return verdict
        self._book.note(call.department, call.dataset, call.purpose, today, knowing, in_circles=in_circles)
        verdict = self.preview(part, call, now_unix)
        with self._lock:
            if len(self._noted) >= MAX_NOTED:
                self._noted.clear()
            self._noted.add(note)
        return verdict

    def lately(self, part: Slice, call: Call, now_unix: int) -> dict[str, frozenset[str]]:
        """What was drawn lately, by the facts that the slice's rules look at.

        Data that came together is together, whatever it was declared for: another purpose is no way around a rule.
        """
        if self._book is None or not part.drawn_facts:
            return {}
        today = china_day(now_unix)
        found = {}
        for path in part.drawn_facts:
            fact = FACTS_BY_PATH[path]
            since = today - DAYS_OF_PERIOD[fact.period] + 1
            found[path] = self._book.drawn(call.department, since, fact.circle, learnt=fact.learnt) | {call.dataset}
        return found
