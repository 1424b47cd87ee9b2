"""People who act, and what they ask to do. Whether they may is Cedar's answer, never this module's."""

from enum import StrEnum

import msgspec

from gateway.domain.directory import Level


class Role(StrEnum):
    """What an officer is, bound to a department and its region."""

    SUPPLIER = "supplier"
    DEMAND = "demand"
    COMPETENT = "competent"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    PAPER = "paper"


OPERATOR = "operator"
"""An officer that `gateway init` makes: it rotates keys and applies retention."""

AUDITOR = "auditor"
"""Another: it reads what the others do, and appoints the other auditors, which nobody whom they watch may."""


class Officer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person who signs in to the control plane.

    Args:
        id: a slug; it stands in records as who acted.
        department: the id of the officer's department.
        region: administrative division code the officer's competence covers; a prefix covers what lies below
            (`440000` covers `442000`, `000000` everything).
        roles: at least one.
        name: for people.
        active: False once dismissed.
    """

    id: str
    department: str
    region: str
    roles: tuple[Role, ...]
    name: str = ""
    active: bool = True


class Session(msgspec.Struct, frozen=True):
    """What signing in began: it ends by time, by its owner, or with what it rests on.

    Args:
        id: names it in tokens and lists; says nothing else.
        officer: whose it is.
        method: how it was begun: `password`, `provider` (at its pages), `device` (there too, by a code typed elsewhere)
            or `home` (by the keys of the gateway's own home).
        begun_unix: when.
        expires_unix: when it ends by itself.
        ended_unix: when it was ended before that; None where it was not.
        ended_by: why it was ended: `sign-out`, `password change`, `dismissal`, …
    """

    id: str
    officer: str
    method: str
    begun_unix: int
    expires_unix: int
    ended_unix: int | None = None
    ended_by: str = ""

    def stands(self, now_unix: float) -> bool:
        """Whether it still holds at that second."""
        return self.ended_unix is None and now_unix < self.expires_unix


class ProviderSession(msgspec.Struct, frozen=True):
    """What an OpenID provider gave with a session of ours.

    Args:
        session: ours.
        issuer: the provider.
        sid: the session's name there, by which its logout tokens may call it; "" where it has none.
        expires_unix: when ours ends, and this may be forgotten.
        sealed: the refresh token, sealed; "" where none was given.
    """

    session: str
    issuer: str
    sid: str
    expires_unix: int
    sealed: str = ""


class Authenticator(msgspec.Struct, frozen=True):
    """The second factor of a local account: one-time codes by time (RFC 6238).

    Args:
        officer: whose.
        confirmed: whether its owner has shown a code of it; before that it is not asked for.
        sealed: its secret, sealed.
    """

    officer: str
    confirmed: bool
    sealed: str


class Enrolment(msgspec.Struct, frozen=True):
    """A one-time code that is about to be given, or was given, to an officer to set a password by.

    Args:
        officer: whose password.
        recovery: whether the officer has one already: then two persons ask for the code.
        asked_by: who asked for it.
        asked_unix: when.
        reason: why; it stands in the record.
        expires_unix: when it holds no more.
        approved_by: the second person, of a recovery; "" while there is none.
        digest: of the code, in hexadecimal; "" while it is not given.
    """

    officer: str
    recovery: bool
    asked_by: str
    asked_unix: int
    reason: str
    expires_unix: int
    approved_by: str = ""
    digest: str = ""


class AccountEvent(msgspec.Struct, frozen=True):
    """What somebody did about an account; its owner is told at the next sign-in, and can read it for a year.

    Args:
        at_unix: when.
        what: in words.
        by: who did it.
    """

    at_unix: int
    what: str
    by: str


class Act(StrEnum):
    """Officers' acts: each is a Cedar action of the same name."""

    ISSUE_GRANT = "issueGrant"
    PROPOSE_GRANT = "proposeGrant"
    APPROVE_DEMAND = "approveDemand"
    APPROVE_SUPPLY = "approveSupply"
    REFUSE_GRANT = "refuseGrant"
    ACCEPT_NARROWED = "acceptNarrowed"
    REPLY_INSTEAD = "replyInstead"
    EXAMINE_APPLICATION = "examineApplication"
    SUPERVISE_SHARING = "superviseSharing"
    REQUEST_VERIFICATION = "requestVerification"
    ANSWER_VERIFICATION = "answerVerification"
    PROVE_RECTIFICATION = "proveRectification"
    ORDER_CORRECTION = "orderCorrection"
    ANSWER_CORRECTION = "answerCorrection"
    REPORT_INCIDENT = "reportIncident"
    EXAMINE_INCIDENT = "examineIncident"
    REQUEST_RETURN = "requestReturn"
    ANSWER_RETURN = "answerReturn"
    HANDLE_COMPLAINT = "handleComplaint"
    ANSWER_COMPLAINT = "answerComplaint"
    CONFIRM_DISPOSAL = "confirmDisposal"
    SUSPEND = "suspend"
    LIFT = "lift"
    TERMINATE = "terminate"
    CLOSE = "close"
    DISPOSE = "dispose"
    DISPUTE = "dispute"
    SETTLE = "settle"
    ORDER = "order"
    SUBMIT_ENTRY = "submitEntry"
    RELEASE_ENTRY = "releaseEntry"
    MANAGE_DEPARTMENTS = "manageDepartments"
    REORGANISE = "reorganise"
    MANAGE_SYSTEMS = "manageSystems"
    MANAGE_INTERFACES = "manageInterfaces"
    CONFIRM_HOST = "confirmHost"
    MANAGE_OFFICERS = "manageOfficers"
    CONSULT_GRANTS = "consultGrants"
    CONSULT_RECORDS = "consultRecords"
    EXPORT_RECORDS = "exportRecords"
    FILE_RECORDS = "fileRecords"
    ERASE_TEXTS = "eraseTexts"
    CONSULT_POLICIES = "consultPolicies"
    ACTIVATE_POLICIES = "activatePolicies"
    READ_LOG = "readLog"
    APPLY_RETENTION = "applyRetention"
    MANAGE_KEYS = "manageKeys"
    CONSULT_FIGURES = "consultFigures"
    CONSULT_WATCHING = "consultWatching"
    KEEP_ACCOUNT = "keepAccount"


class Matter(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an act is about: the Cedar resource of an officer's request.

    Args:
        supplier: the supply department concerned, if one.
        demand: the demand department concerned, if one.
        region: the region concerned; that of the supplier unless said otherwise.
        dataset: the dataset concerned, if one.
        demand_region: the demand department's region, if one is concerned.
        levels: levels of government of supplier and demand department.
        person: the officer concerned, if the act is about an account.
        roles: that officer's roles, as they are or are to be.
        ordered_by: the department whose officer ordered the stop, if the act is to lift one.
        proposed_by: the officer who proposed the grant, if the act is about a proposal.
        approved_by: the officer who approved it on the demand side, while that approval stands.
        supplied_by: the officer who approved it for the supplier, while that approval stands.
        valid_days: for how many days a grant is to hold, if the act is about one to be.
        layer: the layer of a region that is changed, if the act is about policies; `region` is its region.
        widens: whether that layer opens more than before.
        whole: the region that holds all departments of the gateway, if the act is about policies.
    """

    supplier: str | None = None
    demand: str | None = None
    region: str | None = None
    dataset: str | None = None
    demand_region: str | None = None
    person: str | None = None
    roles: tuple[Role, ...] = ()
    ordered_by: str | None = None
    proposed_by: str | None = None
    approved_by: str | None = None
    supplied_by: str | None = None
    valid_days: int | None = None
    levels: tuple[Level, ...] = ()
    layer: str | None = None
    widens: bool = False
    whole: str | None = None
