"""Officers' rights, act by act: who may do what about whose data, and where."""

import msgspec
import pytest

from gateway.domain.directory import Department, Level
from gateway.domain.officers import Act, Matter, Officer, Role
from gateway.domain.state import SliceState
from gateway.policy import Engine
from tests.policies.cases import NATIONAL, NOW, state


def no_state(_department: str, _dataset: str) -> SliceState:
    return state()


ENGINE = Engine(NATIONAL, no_state)
OWN_SUPPLY = Matter("police", "civil-affairs", "442000", "d1", "440100", approved_by="li", supplied_by="wang")

CONSULT = {Act.CONSULT_GRANTS, Act.CONSULT_RECORDS, Act.EXPORT_RECORDS, Act.CONSULT_FIGURES, Act.CONSULT_POLICIES}
STOP = {Act.SUSPEND, Act.LIFT, Act.TERMINATE, Act.ORDER}
KEEP = {
    Act.SUBMIT_ENTRY,
    Act.RELEASE_ENTRY,
    Act.MANAGE_DEPARTMENTS,
    Act.MANAGE_SYSTEMS,
    Act.MANAGE_INTERFACES,
    Act.CONFIRM_HOST,
    Act.MANAGE_OFFICERS,
}
EITHER_SIDE = {Act.REPORT_INCIDENT, Act.ANSWER_CORRECTION, Act.ANSWER_COMPLAINT}

RIGHTS: dict[Role, set[Act]] = {
    Role.SUPPLIER: CONSULT
    | (STOP - {Act.LIFT})
    | {Act.APPROVE_SUPPLY, Act.REFUSE_GRANT, Act.DISPUTE, Act.SUBMIT_ENTRY, Act.MANAGE_INTERFACES}
    | {Act.EXAMINE_APPLICATION, Act.ANSWER_VERIFICATION, Act.CONFIRM_DISPOSAL, Act.ANSWER_RETURN}
    | EITHER_SIDE,
    Role.PAPER: set(),
    Role.DEMAND: CONSULT
    | {Act.PROPOSE_GRANT, Act.APPROVE_DEMAND, Act.ACCEPT_NARROWED, Act.REQUEST_VERIFICATION}
    | {Act.PROVE_RECTIFICATION, Act.REQUEST_RETURN}
    | EITHER_SIDE
    | {Act.CLOSE, Act.DISPOSE, Act.DISPUTE, Act.FILE_RECORDS, Act.MANAGE_SYSTEMS},
    Role.COMPETENT: CONSULT
    | STOP
    | KEEP
    | {Act.ISSUE_GRANT, Act.SETTLE, Act.DISPUTE, Act.READ_LOG, Act.ACTIVATE_POLICIES}
    | {Act.ERASE_TEXTS}
    | {Act.SUPERVISE_SHARING, Act.REORGANISE, Act.ORDER_CORRECTION, Act.EXAMINE_INCIDENT, Act.HANDLE_COMPLAINT},
    Role.AUDITOR: CONSULT | {Act.READ_LOG, Act.CONSULT_WATCHING},
    Role.OPERATOR: {Act.MANAGE_KEYS, Act.APPLY_RETENTION, Act.CONSULT_FIGURES, Act.CONSULT_POLICIES},
}

HOME = {Role.SUPPLIER: "police", Role.DEMAND: "civil-affairs"}


def may(role: Role, act: Act, matter: Matter = OWN_SUPPLY, *, department: str = "", region: str = "440000") -> bool:
    officer = Officer("o", department or HOME.get(role, "data-bureau"), region, (role,))
    home = Department(officer.department, "", region, Level.CITY, competent=role is Role.COMPETENT)
    return ENGINE.authorize(officer, act, matter, NOW, home).is_permit


@pytest.mark.parametrize("role", list(Role))
def test_each_role_has_its_rights_and_no_others(role: Role) -> None:
    assert {act for act in Act if may(role, act)} == RIGHTS[role]


def test_every_act_is_some_officers_right() -> None:
    # To reply for a supplier is a right of a region's layer alone.
    assert set().union(*RIGHTS.values()) == set(Act) - {Act.KEEP_ACCOUNT, Act.REPLY_INSTEAD}
    for role in Role:
        assert may(role, Act.KEEP_ACCOUNT, msgspec.structs.replace(OWN_SUPPLY, person="o", roles=(role,)))
        assert not may(role, Act.KEEP_ACCOUNT, msgspec.structs.replace(OWN_SUPPLY, person="another", roles=(role,)))


@pytest.mark.parametrize("role", [Role.SUPPLIER, Role.DEMAND])
def test_officers_act_on_their_own_departments_data_alone(role: Role) -> None:
    for act in Act:
        assert not may(role, act, department="tax")
        assert not may(role, act, Matter())


def test_a_suppliers_officer_does_not_act_on_what_its_department_demands() -> None:
    matter = Matter(supplier="tax", demand="police", region="442000")
    assert not may(Role.SUPPLIER, Act.SUSPEND, matter)
    assert not may(Role.DEMAND, Act.SUSPEND, matter, department="police")


@pytest.mark.parametrize(
    ("region", "covers"), [("000000", True), ("440000", True), ("442000", True), ("440100", False), ("110000", False)]
)
def test_a_region_covers_what_lies_in_it(region: str, covers: bool) -> None:
    matter = Matter(supplier="police", demand="civil-affairs", region="442000")
    assert may(Role.COMPETENT, Act.SUSPEND, matter, region=region) is covers
    assert may(Role.AUDITOR, Act.CONSULT_RECORDS, matter, region=region) is covers


def test_the_demand_departments_region_is_competent_to_stop_and_consult_but_not_to_keep_the_directory() -> None:
    for act in (Act.SUSPEND, Act.CONSULT_RECORDS):
        assert may(Role.COMPETENT, act, region="440100")
    for act in (Act.ISSUE_GRANT, Act.RELEASE_ENTRY):
        assert not may(Role.COMPETENT, act, region="440100")


def test_competence_needs_a_region() -> None:
    for act in Act:
        assert not may(Role.COMPETENT, act, Matter(supplier="police"))


def test_forbid_wins_an_operator_reads_no_records_whatever_other_role() -> None:
    officer = Officer("o", "police", "000000", (Role.OPERATOR, Role.AUDITOR, Role.SUPPLIER, Role.DEMAND))
    for act in (Act.CONSULT_RECORDS, Act.EXPORT_RECORDS, Act.READ_LOG, Act.CONSULT_GRANTS):
        verdict = ENGINE.authorize(officer, act, OWN_SUPPLY, NOW)
        assert verdict.policies == ("national-art36-operator-reads-nothing",)
        assert verdict.explanation is not None
        assert verdict.explanation.articles == ("Decree 809 Art. 36",)


def test_forbid_wins_a_dismissed_officer_acts_no_more() -> None:
    officer = Officer("o", "police", "000000", tuple(Role), active=False)
    assert not any(ENGINE.authorize(officer, act, OWN_SUPPLY, NOW).is_permit for act in Act)


def test_a_permit_names_the_right_and_its_article() -> None:
    officer = Officer("o", "police", "442000", (Role.SUPPLIER,))
    verdict = ENGINE.authorize(officer, Act.SUSPEND, OWN_SUPPLY, NOW)
    assert verdict.policies == ("national-art27-supplier-stops",)
    assert verdict.legal_basis == "Decree 809 Art. 27 ¶2"


@pytest.mark.parametrize("act", list(Act))
def test_the_role_competent_gives_nothing_to_a_person_of_an_ordinary_department(act: Act) -> None:
    """POWER-FROM-OFFICE: whatever the act; also where the department is not known, or another's facts are handed in."""
    officer = Officer("o", "tax", "440000", (Role.COMPETENT,))
    ordinary = Department("tax", "", "440000", Level.PROVINCE)
    another = Department("data-bureau", "", "440000", Level.PROVINCE, competent=True)
    matter = msgspec.structs.replace(OWN_SUPPLY, ordered_by="tax")
    for home in (None, ordinary, another):
        assert not ENGINE.authorize(officer, act, matter, NOW, home).is_permit


@pytest.mark.parametrize("role", list(Role))
def test_power_from_office_no_competence_is_wider_than_the_departments_region(role: Role) -> None:
    """POWER-FROM-OFFICE: the region that an officer's entry states counts within that of the department alone."""
    officer = Officer("o", HOME.get(role, "data-bureau"), "000000", (role,))
    home = Department(officer.department, "", "442000", Level.CITY, competent=True)
    for act in set(Act) - {Act.KEEP_ACCOUNT}:
        assert not ENGINE.authorize(officer, act, OWN_SUPPLY, NOW, home).is_permit
