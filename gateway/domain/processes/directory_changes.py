"""A change of the directory: due from the day of its cause, examined, released (Decree 809 Art. 17)."""

from datetime import date
from enum import StrEnum

import msgspec

from gateway.domain.officers import Act
from gateway.domain.processes.statements import Extension, ExtensionApproval, Reasons, Urging
from gateway.domain.processes.table import STOPS, Party, Process, State, Step


class Cause(StrEnum):
    """Why an entry is to be updated."""

    LAW = "law"
    DUTIES = "duties"
    REVIEW = "review"
    OTHER = "other"


class DirectoryChange(msgspec.Struct, frozen=True):
    """What is to be changed, and since when.

    Args:
        cause: an adjustment of laws, regulations or decisions; a change of duties; the yearly review; another.
        occurred_on: the day of the adjustment or change, China Standard Time: the clock begins the day after.
        statement: which law or duty, and what of the directory it changes.
        supplier: whose directory; left out, the own department's.
        dataset: the entry that is to be changed; left out, one is to be added.
    """

    cause: Cause
    occurred_on: date
    statement: str
    supplier: str = ""
    dataset: str = ""


class Submission(msgspec.Struct, frozen=True):
    """The version that was submitted for examination.

    Args:
        dataset: the entry.
        entry_version: its submitted version.
    """

    dataset: str
    entry_version: int


class Release(msgspec.Struct, frozen=True):
    """The version is released.

    Args:
        reasons: what was examined, or the number of the notice.
        revives: that what standing grants give again, or more, by the release shall flow.
    """

    reasons: str
    revives: bool = False


_DUE = ("due", "extension-requested")

DIRECTORY_CHANGES = Process(
    "directory-changes",
    "change",
    "e",
    "A change of the directory, from its cause to the release",
    Act.CONSULT_GRANTS,
    (
        State("due", (Party.SUPPLIER,), "update the directory, and submit it", "更新目录并报送审核"),
        State(
            "extension-requested",
            (Party.SUPPLIER, Party.COMPETENT),
            "decide on the extension, and update the directory",
            "审批延期，并更新目录",
        ),
        State("submitted", (Party.COMPETENT,), "examine the update, and release it", "审核并发布目录更新"),
        State("released"),
        State("withdrawn"),
    ),
    (
        Step(
            "announce",
            (Act.SUBMIT_ENTRY,),
            (),
            "due",
            DirectoryChange,
            "Decree 809 Art. 17",
            "the update is due, counted from the day of the cause",
            clock="directory-update",
        ),
        Step(
            "request-extension",
            (Act.SUBMIT_ENTRY,),
            ("due",),
            "extension-requested",
            Extension,
            "Decree 809 Art. 17",
            "asked of the competent department; what is due stays due until it consents",
            is_once=True,
        ),
        Step(
            "approve-extension",
            (Act.SUPERVISE_SHARING,),
            ("extension-requested",),
            "due",
            ExtensionApproval,
            "Decree 809 Art. 17",
            "the update is put off by the days that were asked for",
            extends=True,
        ),
        Step(
            "deny-extension",
            (Act.SUPERVISE_SHARING,),
            ("extension-requested",),
            "due",
            Reasons,
            "Decree 809 Art. 17",
            "the update is due as it was",
        ),
        Step(
            "submit",
            (Act.SUBMIT_ENTRY,),
            _DUE,
            "submitted",
            Submission,
            "Decree 809 Art. 16, 17",
            "the submitted version of the entry is to be examined",
            clock="directory-examination",
        ),
        Step(
            "release",
            (Act.RELEASE_ENTRY,),
            ("submitted",),
            "released",
            Release,
            "Decree 809 Art. 16, 17",
            "the version is released in the same transaction",
            clock=STOPS,
        ),
        Step(
            "reject",
            (Act.RELEASE_ENTRY,),
            ("submitted",),
            "due",
            Reasons,
            "Decree 809 Art. 16, 17",
            "the version is rejected in the same transaction; another is due",
            clock="directory-update",
        ),
        Step(
            "urge",
            (Act.SUPERVISE_SHARING,),
            _DUE,
            None,
            Urging,
            "Decree 809 Art. 17, 39(1)",
            "what is overdue is demanded; it stays overdue",
            is_late=True,
        ),
        Step(
            "withdraw",
            (Act.SUBMIT_ENTRY,),
            _DUE,
            "withdrawn",
            Reasons,
            "Decree 809 Art. 17",
            "the directory needs no change",
            clock=STOPS,
        ),
    ),
)
