"""What steps have to state, where several tables share it: each field is one of a body and an option of a command."""

from datetime import date

import msgspec


class Nothing(msgspec.Struct, frozen=True):
    """The step says it all."""


class Reasons(msgspec.Struct, frozen=True):
    """Why.

    Args:
        reasons: in words; they stand in the act's record.
    """

    reasons: str


class DigestApproval(msgspec.Struct, frozen=True):
    """An approval: of just what was read (INVARIANT: ACTS-NOT-FIELDS).

    Args:
        digest: SHA-256 of what is approved, as it was shown.
        reference: the number of the approval document, if there is one.
    """

    digest: str
    reference: str = ""


class Extension(msgspec.Struct, frozen=True):
    """By how long what is due is to be put off, and why (Decree 809 Art. 17, 21).

    Args:
        days: working days.
        reasons: the special reasons.
    """

    days: int
    reasons: str


class ExtensionApproval(msgspec.Struct, frozen=True):
    """The competent department's approval of an extension (Decree 809 Art. 17, 21).

    Args:
        reference: the number of the approval document, if there is one.
    """

    reference: str = ""


class Told(msgspec.Struct, frozen=True):
    """What was done, or is to be said.

    Args:
        statement: in words and without values of a person.
    """

    statement: str


class Urging(msgspec.Struct, frozen=True):
    """An order to do what is overdue (Decree 809 Art. 39(4)).

    Args:
        reasons: what is overdue, in words.
        reference: the number of the order, if there is one.
    """

    reasons: str
    reference: str = ""


class Again(msgspec.Struct, frozen=True):
    """What was shown does not do, and until when it is to be done.

    Args:
        reasons: what is missing or not as it was required.
        due_on: the last day, China Standard Time.
    """

    reasons: str
    due_on: date
