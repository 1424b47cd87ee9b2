"""The question put to the policies, and their answer: values, so that nothing depends on who asked when.

They hold nothing that could hold them (`gc=False`): a worker keeps many, and the garbage collector need not walk them.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NoReturn

import msgspec

from gateway.domain.callers import Assurance
from gateway.domain.directory import SharingMode, SystemDates


class Decision(StrEnum):
    """What a verdict says."""

    PERMIT = "permit"
    DENY = "deny"


class Call(msgspec.Struct, frozen=True, gc=False):
    """What is decided on: one call, without its values.

    Args:
        system: the calling system's id.
        department: its department's id.
        assurance: of the credential.
        interface: the interface's key, `supplier/id`.
        dataset: the dataset's id.
        mode: the sharing mode, which is the Cedar action.
        purpose: the declared purpose.
        items: the items asked for, sorted; None where the caller named none and so asks for what one grant gives.
        parameters: (name, value) of the parameters that the interface lets grants constrain, sorted by name, from
            query, path or body; a parameter that stands twice is refused before this.
        declared: what the request names besides: `scenario`, `operator`, `subject` (the person asked about), and
            `other` where it holds parameters, a path or a body that the interface's entry does not tell of.
        guessable: in verify mode, the items compared with a value of which there are few (`matching.guessable`).
        unit: the code of the department that the request says it comes from, "" if it does not say.
        unread: `body` or `path`, where such a parameter may stand there and the gateway does not read it.
        subjects: how many persons it asks about, by the places that the interface's entry tells; None where that is not
            known, for the request holds more than the entry tells of.
        dates: of the calling system; None where they are not known.
    """

    system: str
    department: str
    assurance: Assurance
    interface: str
    dataset: str
    mode: SharingMode
    purpose: str
    items: tuple[str, ...] | None
    parameters: tuple[tuple[str, str], ...] = ()
    unread: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    guessable: tuple[str, ...] = ()
    unit: str = ""
    subjects: int | None = None
    dates: SystemDates | None = None

    @property
    def room_bytes(self) -> int:
        """About how much memory the caller's own words take: what keeps calls is bounded by it, not by number alone."""
        words = [self.purpose, self.unit, *(self.items or ()), *(value for _, value in self.parameters)]
        # A text of Python takes some 50 bytes besides its own, at most four bytes a character, and 8 where it is named.
        return sum(64 + (len(word) if word.isascii() else 4 * len(word)) for word in words)


class NearMiss(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A grant of the caller's own department that came near, and the conditions of it that failed.

    Args:
        grant: its id.
        failed: the failed conditions: `purpose`, `items`, `time`, `mode`, `system`, `interface`, `hours`,
            `parameters`, `assurance`, `quota`, `combination`, `suspended`, `terminated`.
        articles: what each rests on.
        detail: one sentence a condition, in English.
        detail_zh: the same in Chinese.
    """

    grant: str
    failed: tuple[str, ...]
    articles: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()
    detail_zh: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, gc=False):
    """A policy of the law that forbids, as its caller is told it.

    Args:
        id: its id.
        title: what it says, in English.
        title_zh: the same in Chinese.
        articles: what it rests on.
    """

    id: str
    title: str
    title_zh: str
    articles: tuple[str, ...]


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why a call is denied, for its caller: names nothing of other departments.

    Args:
        near: the grants that came near, nearest first, at most five.
        articles: the articles the denial rests on.
        next_step: what the caller can do, in English.
        next_step_zh: the same in Chinese.
        rules: the policies of the law that forbid it, the one that its code is of first.
    """

    near: tuple[NearMiss, ...] = ()
    articles: tuple[str, ...] = ()
    next_step: str = ""
    next_step_zh: str = ""
    rules: tuple[Rule, ...] = ()


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The answer of the policies to one `Call`: a value without a truth value.

    Args:
        decision: permit or deny.
        code: a problem code of a denial, "" for a permit.
        policies: ids of the determining policies, sorted.
        policy_digest: SHA-256 (hex) over the static layers and the policies built for the slice.
        valid_until_unix: the first second at which a time limit could change this verdict; keep it no longer.
        grant: the narrowest grant that covers the call, if one was needed.
        grant_version: its version.
        items: names of the items that may leave, sorted, or in verify mode may be compared; of a denial, none.
        all_items: whether `items` is every item of the dataset, so that what cannot be filtered may pass.
        masks: (item, mask) pairs to apply before an item leaves.
        types: of a permit to verify, (item, type) as the directory entry states it: it says how values are compared.
        bounds: (parameter, values) that the grant constrains: rows of the answer that bear others do not leave.
        legal_basis: of the grant.
        approver: who approved the grant on the supplier's side.
        retention_years: how long the record of this use is kept at least; three or more (Decree 809 Art. 29).
        metered: whether there is a quota that this call draws on.
        meter: the name it is counted under: the grant's id, or of a permit without one what stands in its place.
        explanation: of a denial.
        calls_a_day: the grant's quota of calls a day, if it has one.
        rows_a_day: the grant's quota of rows a day, if it has one.
        calls_a_minute: of a permit without a grant, how many calls may be made within one minute of the clock; None is
            unlimited.
        guesses_a_day: of a permit to verify without a grant, how many wrong answers a day one system may get about one
            person; None is unlimited.
        exhausted: of a permit with a quota, why the call is denied where that is used up.
        otherwise: of a permit with a quota, the permit where that is used up: under the next narrowest grant that
            covers the call, or without one; None where there is no other.
    """

    decision: Decision
    code: str
    policies: tuple[str, ...]
    policy_digest: str
    valid_until_unix: int
    grant: str | None = None
    grant_version: int = 0
    items: tuple[str, ...] = ()
    all_items: bool = False
    masks: tuple[tuple[str, str], ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    bounds: tuple[tuple[str, tuple[str, ...]], ...] = ()
    legal_basis: str = ""
    approver: str = ""
    retention_years: int = 3
    metered: bool = False
    explanation: Explanation | None = None
    calls_a_day: int | None = None
    rows_a_day: int | None = None
    calls_a_minute: int | None = None
    meter: str = ""
    guesses_a_day: int | None = None
    exhausted: Explanation | None = None
    otherwise: "Verdict | None" = None

    def __bool__(self) -> NoReturn:
        """A verdict is asked for its decision by name; `if verdict:` would let a denial through."""
        raise TypeError("a Verdict has no truth value; compare `verdict.decision`")

    @property
    def is_permit(self) -> bool:
        """Whether the call may go on."""
        return self.decision is Decision.PERMIT

    def in_turn(self) -> Iterator["Verdict"]:
        """This verdict, and each permit that stands in where the quotas of those before it are used up."""
        verdict: Verdict | None = self
        while verdict is not None:
            yield verdict
            verdict = verdict.otherwise

    def unrecordable(self) -> "Verdict":
        """The denial of a call of which the state did not keep what its record has to name (Decree 809 Art. 29)."""
        return msgspec.structs.replace(
            self,
            decision=Decision.DENY,
            code="words-exhausted",
            items=(),
            explanation=None,
            exhausted=None,
            otherwise=None,
        )

    def used_up(self) -> "Verdict":
        """The denial of a call whose quota under this permit is used up."""
        return msgspec.structs.replace(
            self,
            decision=Decision.DENY,
            code="quota-exhausted",
            items=(),
            explanation=self.exhausted,
            exhausted=None,
            otherwise=None,
        )
