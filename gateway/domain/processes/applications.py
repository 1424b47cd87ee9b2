"""An application for sharing, from a need to its grant (Decree 809 Art. 20 to 22; Zhongshan Art. 22).

What is applied for stands in a proposal (`gateway.domain.proposals`), whose digest both sides approve: an approved
application becomes the grant by the same acts and checks as a proposal without one.
"""

from datetime import date

import msgspec

from gateway.domain.grants import Grant
from gateway.domain.officers import Act
from gateway.domain.processes.statements import DigestApproval, Extension, ExtensionApproval, Reasons, Urging
from gateway.domain.processes.table import STOPS, Party, Process, State, Step


class Draft(msgspec.Struct, frozen=True):
    """What is applied for, and the answer to each condition of the entry (Decree 809 Art. 15, 20).

    Args:
        grant: as it would be issued, without approvals: they are acts.
        answers: one to each condition of the entry, in the entry's order.
    """

    grant: Grant
    answers: tuple[str, ...] = ()


class Missing(msgspec.Struct, frozen=True):
    """Every material that is missing, in one go (Decree 809 Art. 21).

    Args:
        missing: each material, in words.
    """

    missing: tuple[str, ...]


class Narrowing(msgspec.Struct, frozen=True):
    """What the supplier approves of what is applied for, and why no more.

    Args:
        grant: as it would be issued: nothing in it may be wider than what is applied for.
        reasons: why no more than that (Decree 809 Art. 21).
        reference: the number of the approval document, if there is one.
    """

    grant: Grant
    reasons: str
    reference: str = ""


class Sharing(msgspec.Struct, frozen=True):
    """The supplier's word that the data are shared (Decree 809 Art. 22).

    Args:
        shared_on: the day, China Standard Time.
        statement: how: by which interface, batch or file.
    """

    shared_on: date
    statement: str


_EXAMINED = ("received", "extension-requested")

APPLICATIONS = Process(
    "applications",
    "application",
    "a",
    "An application for sharing, from draft to the first use",
    Act.CONSULT_GRANTS,
    (
        State(
            "draft",
            (Party.DEMAND,),
            "have the person in charge approve and submit it, or withdraw it",
            "由负责人审批并提交，或撤回",
        ),
        State("received", (Party.SUPPLIER,), "reply to the application", "答复共享申请"),
        State("awaiting-materials", (Party.DEMAND,), "complete the materials", "补充申请材料"),
        State(
            "extension-requested",
            (Party.SUPPLIER, Party.COMPETENT),
            "decide on the extension, and reply to the application",
            "审批延期，并答复共享申请",
        ),
        State(
            "narrowed", (Party.DEMAND,), "accept what was approved, or decline it", "对缩小范围的批复予以接受或不予接受"
        ),
        State("approved", (Party.SUPPLIER,), "share the data", "完成数据共享"),
        State("refused"),
        State("shared"),
        State("withdrawn"),
    ),
    (
        Step(
            "draft",
            (Act.PROPOSE_GRANT,),
            (),
            "draft",
            Draft,
            "Decree 809 Art. 20",
            "every fault of it is named at once; nothing runs until it is submitted",
        ),
        Step(
            "amend",
            (Act.PROPOSE_GRANT,),
            ("draft", "awaiting-materials"),
            None,
            Draft,
            "Decree 809 Art. 20, 21",
            "an approval of the demand side falls: what is changed is approved anew",
        ),
        Step(
            "submit",
            (Act.APPROVE_DEMAND,),
            ("draft",),
            "received",
            DigestApproval,
            "Decree 809 Art. 20",
            "the demand side's approval; the supplier has received it, and the reply is due",
            clock="reply-{attribute}",
        ),
        Step(
            "ask-materials",
            (Act.EXAMINE_APPLICATION,),
            ("received",),
            "awaiting-materials",
            Missing,
            "Decree 809 Art. 21",
            "all that is missing, once; no clock runs until it is there",
            clock=STOPS,
            is_once=True,
        ),
        Step(
            "complete",
            (Act.APPROVE_DEMAND,),
            ("awaiting-materials",),
            "received",
            DigestApproval,
            "Decree 809 Art. 20, 21",
            "the demand side's approval of what is there now; the reply is due anew",
            clock="reply-{attribute}",
        ),
        Step(
            "request-extension",
            (Act.EXAMINE_APPLICATION,),
            ("received",),
            "extension-requested",
            Extension,
            "Decree 809 Art. 21",
            "reported to the competent department; what is due stays due until it approves",
            is_once=True,
        ),
        Step(
            "approve-extension",
            (Act.SUPERVISE_SHARING,),
            ("extension-requested",),
            "received",
            ExtensionApproval,
            "Decree 809 Art. 21",
            "the reply is put off by the days that were asked for",
            extends=True,
        ),
        Step(
            "deny-extension",
            (Act.SUPERVISE_SHARING,),
            ("extension-requested",),
            "received",
            Reasons,
            "Decree 809 Art. 21",
            "the reply is due as it was",
        ),
        Step(
            "approve",
            (Act.APPROVE_SUPPLY,),
            _EXAMINED,
            "approved",
            DigestApproval,
            "Decree 809 Art. 21, 22",
            "the grant is issued in the same transaction, and the sharing is due",
            clock="sharing",
        ),
        Step(
            "narrow",
            (Act.APPROVE_SUPPLY,),
            (*_EXAMINED, "narrowed"),
            "narrowed",
            Narrowing,
            "Decree 809 Art. 21",
            "the supplier approves less, with reasons; the demand side accepts that or not",
            clock=STOPS,
        ),
        Step(
            "accept",
            (Act.ACCEPT_NARROWED,),
            ("narrowed",),
            "approved",
            DigestApproval,
            "Decree 809 Art. 20, 21, 22",
            "the grant of what was approved is issued in the same transaction, and the sharing is due",
            clock="sharing",
        ),
        Step(
            "decline",
            (Act.PROPOSE_GRANT,),
            ("narrowed",),
            "withdrawn",
            Reasons,
            "Decree 809 Art. 20",
            "what was approved is not accepted; a dispute may follow (Art. 28)",
            clock=STOPS,
        ),
        Step(
            "refuse",
            (Act.REFUSE_GRANT,),
            _EXAMINED,
            "refused",
            Reasons,
            "Decree 809 Art. 21",
            "the reply is given",
            clock=STOPS,
        ),
        Step(
            "withdraw",
            (Act.PROPOSE_GRANT,),
            ("draft", "awaiting-materials", *_EXAMINED),
            "withdrawn",
            Reasons,
            "Decree 809 Art. 20",
            "nothing is owed any more",
            clock=STOPS,
        ),
        Step(
            "share",
            (Act.EXAMINE_APPLICATION,),
            ("approved",),
            "shared",
            Sharing,
            "Decree 809 Art. 22",
            "the data are shared; in time or not is counted by the day stated",
            clock=STOPS,
        ),
        Step(
            "urge",
            (Act.SUPERVISE_SHARING,),
            (*_EXAMINED, "approved"),
            None,
            Urging,
            "Decree 809 Art. 38, 39(4)",
            "the competent department orders what is overdue to be done",
            is_late=True,
        ),
        Step(
            "approve-instead",
            (Act.REPLY_INSTEAD,),
            _EXAMINED,
            "approved",
            DigestApproval,
            "Zhongshan Art. 22 ¶2",
            "where a layer permits it, the competent department replies for a supplier who did not: the grant is "
            "issued in the same transaction, and the data are to be provided",
            clock="provision",
            is_late=True,
        ),
    ),
)
