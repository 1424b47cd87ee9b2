"""Officers' accounts over the control API: nobody but its owner knows a password, and what ends a session ends it."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from gateway.domain.officers import Role
from gateway.domain.uses import RecordKind
from tests.answers.world import Clock, FullWorld
from tests.support.control import CITY, done, refused

PASSWORD = "nine cups of jasmine tea"
OTHER = "forty lamps over the harbour"
MORNING = 1_780_300_000.0


class Office(FullWorld):
    """The whole control plane; sessions are told by their tokens."""

    def as_token(self, token: str, method: str, path: str, body: Any = None) -> Any:
        return self.ask(None, method, path, body, headers={"Authorization": f"Bearer {token}"})

    def code(self, by: str, of: str) -> str:
        return str(done(self.post(by, f"/v1/officers/{of}/enrolment"))["code"])

    def set_password(self, officer: str, code: str, password: str) -> Any:
        return self.post(None, "/sign-in/enrolment", {"officer": officer, "code": code, "password": password})

    def sign_in(self, officer: str, password: str) -> Any:
        return self.post(None, "/sign-in", {"officer": officer, "password": password})

    def account(self, token: str) -> Any:
        return self.as_token(token, "GET", "/v1/account")


@pytest.fixture(scope="module")
def one_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    made = Office(tmp_path_factory.mktemp("office"), Clock(MORNING))
    yield made
    made.close()


@pytest.fixture
def office(one_office: Office) -> Office:
    """One office, on another day for each test."""
    one_office.clock.at += 86_400
    return one_office


@pytest.fixture
def person(office: Office, request: pytest.FixtureRequest) -> str:
    name = f"p-{zlib.crc32(request.node.name.encode())}"
    body = {"id": name, "department": "public-security", "region": CITY, "roles": ["supplier"]}
    done(office.post("registrar", "/v1/officers", body))
    return name


def test_a_password_is_set_by_its_owner_alone(office: Office, person: str) -> None:
    """Nobody's act sets one; who may manage the officer gets a code that is good once, and the owner is told of it."""
    refused(office.post("registrar", f"/v1/officers/{person}/password", {"password": PASSWORD}), "not-found")
    for stranger in ("civil", "stranger", "auditor", "operator"):
        assert office.post(stranger, f"/v1/officers/{person}/enrolment").status_code in {403, 404}
    told = refused(office.post("registrar", "/v1/officers/registrar/enrolment"), "act-not-permitted")
    (rule,) = told["rules"]
    assert rule["id"] == "national-art10-nobody-appoints-oneself"
    assert rule["title"]["en"].startswith("Nobody changes the own roles")
    assert rule["title"]["zh"].startswith("任何人不得变更自己的角色")
    old = office.code("registrar", person)
    code = office.code("registrar", person)
    for wrong in (old, "", "guess"):
        assert office.set_password(person, wrong, PASSWORD).status_code in {401, 422}
    refused(office.set_password(person, code, "qwertyuiop123"), "invalid-input")
    begun = done(office.set_password(person, code, PASSWORD))
    assert [event["by"] for event in begun["told"]] == ["registrar", "registrar", person]
    refused(office.set_password(person, code, OTHER), "credential-invalid")
    refused(office.post("registrar", f"/v1/officers/{person}/enrolment"), "conflict")
    assert done(office.sign_in(person, PASSWORD))["told"] == []


def test_a_code_is_said_once_and_not_repeated(office: Office, person: str) -> None:
    """What is remembered under an `Idempotency-Key` holds no code, and a code lapses."""
    once = {"Idempotency-Key": f"enrol-{person}"}
    first = office.post("registrar", f"/v1/officers/{person}/enrolment", headers=once)
    again = office.post("registrar", f"/v1/officers/{person}/enrolment", headers=once)
    assert "code" in done(first)
    assert "code" not in done(again)
    office.clock.at += 3 * 86_400
    refused(office.set_password(person, first.json()["code"], PASSWORD), "credential-invalid")


def test_recovery_takes_two_persons_and_its_owner_can_refuse(office: Office, person: str) -> None:
    """One who asks cannot agree; the owner is told, sees it and refuses it; then it goes by two."""
    token = done(office.set_password(person, office.code("registrar", person), PASSWORD))["access_token"]
    where = f"/v1/officers/{person}/recovery"
    reason = {"reason": "lost her phone"}
    done(office.post("registrar", where, reason))
    refused(office.post("registrar", where + "/approval"), "conflict")
    assert office.post("civil", where + "/approval").status_code in {403, 404}
    code = done(office.post("province", where + "/approval"))["code"]
    seen = done(office.account(token))
    assert (seen["recovery"]["asked_by"], seen["recovery"]["approved_by"]) == ("registrar", "province")
    assert [event["by"] for event in seen["events"][:2]] == ["province", "registrar"]
    done(office.as_token(token, "DELETE", "/v1/account/recovery"))
    refused(office.set_password(person, code, OTHER), "credential-invalid")
    done(office.post("registrar", where, reason))
    code = done(office.post("province", where + "/approval"))["code"]
    assert done(office.account(token))
    done(office.set_password(person, code, OTHER))
    refused(office.account(token), "credential-invalid")
    refused(office.sign_in(person, PASSWORD), "credential-invalid")


def test_who_asked_and_was_dismissed_since_has_asked_for_nothing(office: Office, person: str) -> None:
    """Both persons' right is asked at the second one's act."""
    done(office.set_password(person, office.code("registrar", person), PASSWORD))
    second = {"id": f"{person}-r", "department": "data-bureau", "region": CITY, "roles": ["competent"]}
    done(office.post("registrar", "/v1/officers", second))
    done(office.post(second["id"], f"/v1/officers/{person}/recovery", {"reason": "lost her phone"}))
    done(office.post("registrar", "/v1/officers", {**second, "active": False}))
    refused(office.post("province", f"/v1/officers/{person}/recovery/approval"), "act-not-permitted")


def test_who_watches_is_appointed_by_nobody_who_is_watched(office: Office) -> None:
    """Auditors alone register, change, dismiss and enrol auditors; and nobody their own self."""
    watcher = {"id": f"w-{int(office.clock.at)}", "department": "data-bureau", "region": CITY, "roles": ["auditor"]}
    for other in ("registrar", "province", "operator", "police"):
        assert office.post(other, "/v1/officers", watcher).status_code in {403, 404}
    done(office.post("auditor", "/v1/officers", watcher))
    for other in ("registrar", "province"):
        refused(office.post(other, "/v1/officers", {**watcher, "active": False}), "act-not-permitted")
        refused(office.post(other, "/v1/officers", {**watcher, "roles": ["demand"]}), "act-not-permitted")
        refused(office.post(other, f"/v1/officers/{watcher['id']}/enrolment"), "act-not-permitted")
    refused(office.post("auditor", "/v1/officers", {**watcher, "roles": ["auditor", "demand"]}), "act-not-permitted")
    refused(
        office.post("registrar", "/v1/officers", {**watcher, "id": "registrar", "roles": ["competent", "auditor"]}),
        "act-not-permitted",
    )
    assert len(office.code("auditor", watcher["id"])) > 20


def _dismissed(office: Office, person: str) -> None:
    _put(office, person, active=False)


def _put(office: Office, person: str, **fields: Any) -> None:
    old = office.store.officer(person)
    assert old is not None
    with office.store.transaction() as tx:
        tx.put_officer(msgspec.structs.replace(old, **fields))


def _changed_password(office: Office, person: str) -> None:
    token = office.sign_in(person, PASSWORD).json()["access_token"]
    changed = office.as_token(token, "POST", "/v1/account/password", {"current": PASSWORD, "password": OTHER})
    fresh = done(changed)["access_token"]
    assert [each["method"] for each in done(office.account(fresh))["sessions"]] == ["password"]


def _signed_out(office: Office, person: str) -> None:
    token = office.sign_in(person, PASSWORD).json()["access_token"]
    assert done(office.as_token(token, "POST", "/v1/account/sign-out", {"everywhere": True}))["ended"] >= 3


def _rotated(office: Office, person: str) -> None:
    done(office.post("operator", "/v1/keys/token/rotation", {"reason": "leaked", "overlap_seconds": 0}))


ENDINGS: dict[str, Callable[[Office, str], None]] = {
    "dismissal": _dismissed,
    "change of department": lambda office, person: _put(office, person, department="civil-affairs"),
    "change of roles": lambda office, person: _put(office, person, roles=(Role.SUPPLIER, Role.DEMAND)),
    "change of region": lambda office, person: _put(office, person, region="440000"),
    "password change": _changed_password,
    "sign out everywhere": _signed_out,
    "key change": _rotated,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_a_session_rests_on_ends_it(office: Office, person: str, ending: str) -> None:
    """Each of these ends every session of that officer, in a list with its reason, and nobody else's but for keys."""
    first = done(office.set_password(person, office.code("registrar", person), PASSWORD))["access_token"]
    second = done(office.sign_in(person, PASSWORD))["access_token"]
    other = office.token("market-both")
    for token in (first, second):
        assert office.account(token).status_code == 200
    ENDINGS[ending](office, person)
    for token in (first, second):
        refused(office.account(token), "credential-invalid")
    assert office.account(other).status_code == (401 if ending == "key change" else 200)


def test_one_session_of_several_is_ended_by_its_owner_alone(office: Office, person: str) -> None:
    """The list names what stands; another officer cannot end it, and the owner ends just that one."""
    first = done(office.set_password(person, office.code("registrar", person), PASSWORD))["access_token"]
    second = done(office.sign_in(person, PASSWORD))["access_token"]
    session = done(office.account(first))["session"]
    refused(office.ask("civil", "DELETE", f"/v1/account/sessions/{session}"), "not-found")
    done(office.as_token(second, "DELETE", f"/v1/account/sessions/{session}"))
    refused(office.account(first), "credential-invalid")
    assert len(done(office.account(second))["sessions"]) == 1
    done(office.as_token(second, "POST", "/v1/account/sign-out", {}))
    refused(office.account(second), "credential-invalid")


def test_an_account_is_never_another_persons(office: Office, person: str) -> None:
    """Whoever was dismissed stays dismissed under that name, and a name once given to it stays."""
    body = {"id": person, "department": "public-security", "region": CITY, "roles": ["supplier"]}
    done(office.post("registrar", "/v1/officers", {**body, "name": "Chen"}))
    refused(office.post("registrar", "/v1/officers", {**body, "name": "Wang"}), "conflict")
    done(office.post("registrar", "/v1/officers", {**body, "name": "Chen", "active": False}))
    refused(office.post("registrar", "/v1/officers", {**body, "name": "Chen"}), "conflict")


def test_a_password_set_by_a_code_is_noted_with_its_record(
    office: Office, person: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start after a crash tells by it whether the record's act stands."""
    told: list[tuple[str, Any]] = []
    append_all = office.acts.append_all

    def appended(kind: RecordKind, rows: Any, **options: Any) -> tuple[str, ...]:
        records = append_all(kind, rows, **options)
        told.extend(zip(records, rows, strict=True))
        return records

    monkeypatch.setattr(office.acts, "append_all", appended)
    done(office.set_password(person, office.code("registrar", person), PASSWORD))
    (record, position) = next((record, row["position"]) for record, row in told if row.get("act") == "enrol")
    assert office.store.has_acts([record]) == {record}
    assert position <= office.store.sequence()
