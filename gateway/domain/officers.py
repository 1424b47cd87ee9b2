"""People who act, and what they ask to do. Whether they may is Cedar's answer, never this module's."""

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What an officer is, bound to a department and its region."""

    SUPPLIER = "supplier"
    DEMAND = "demand"
    COMPETENT = "competent"
    AUDITOR = "auditor"
    OPERATOR = "operator"


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


class Act(StrEnum):
    """Officers' acts: each is a Cedar action of the same name."""

    ISSUE_GRANT = "issueGrant"
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
    MANAGE_SYSTEMS = "manageSystems"
    MANAGE_INTERFACES = "manageInterfaces"
    CONFIRM_HOST = "confirmHost"
    MANAGE_OFFICERS = "manageOfficers"
    CONSULT_GRANTS = "consultGrants"
    CONSULT_RECORDS = "consultRecords"
    EXPORT_RECORDS = "exportRecords"
    FILE_RECORDS = "fileRecords"
    CONSULT_POLICIES = "consultPolicies"
    ACTIVATE_POLICIES = "activatePolicies"
    READ_LOG = "readLog"
    APPLY_RETENTION = "applyRetention"
    MANAGE_KEYS = "manageKeys"
    CONSULT_FIGURES = "consultFigures"


class Matter(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an act is about: the Cedar resource of an officer's request.

    Args:
        supplier: the supply department concerned, if one.
        demand: the demand department concerned, if one.
        region: the region concerned; that of the supplier unless said otherwise.
        dataset: the dataset concerned, if one.
        demand_region: the demand department's region, if one is concerned.
    """

    supplier: str | None = None
    demand: str | None = None
    region: str | None = None
    dataset: str | None = None
    demand_region: str | None = None
