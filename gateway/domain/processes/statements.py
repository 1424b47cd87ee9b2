"""What steps have to state, where several tables share it: each field is one of a body and an option of a command."""

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
