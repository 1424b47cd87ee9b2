"""On a running gateway: an authority that ended ends everything, nobody becomes another, watching is not told.

Each of the acts goes over HTTP, by sessions that officers began with passwords of their own.
"""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.ledger.verify.record import verify_record
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from tests.support.gateways import RunningGateway, served_home, wait_for

PASSWORD, OTHER = "nine cups of jasmine tea", "forty lamps over the harbour"
PERSONS = "/public-security/persons"
BIG = 48 << 20
"""More than the kernels of both ends hold for a reader that takes its time."""


class Running:
    """A gateway of the nation, whose first auditor may read all of the log; the demo's departments are below it."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.http = httpx.Client(base_url=gateway.control, trust_env=False, timeout=30)

    def act(self, officer: str, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """A request under a session of the officer's own, begun now."""
        return self.as_session(self.session(officer), method, path, body, **options)

    def as_session(self, token: str, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return self.http.request(method, path, json=body, headers=headers, **options)

    def enrol(self, officer: str, by: str) -> None:
        """Its first password, by a code that `by` hands over and the officer alone uses."""
        with self.gateway.officer(by) as api:
            code = api.post(f"/v1/officers/{officer}/enrolment")["code"]
        said = {"officer": officer, "code": code, "password": PASSWORD}
        assert self.http.post("/sign-in/enrolment", json=said).is_success

    def session(self, officer: str, password: str = PASSWORD) -> str:
        answer = self.http.post("/sign-in", json={"officer": officer, "password": password})
        assert answer.is_success, answer.text
        return str(answer.json()["access_token"])

    def person(self, name: str, department: str, *roles: str, by: str = "registrar", **fields: Any) -> None:
        """Register or change an officer."""
        with self.gateway.officer(by) as api:
            api.post(
                "/v1/officers",
                {"id": name, "department": department, "region": REGION, "roles": list(roles), "name": name, **fields},
            )


def code_of(answer: httpx.Response) -> str:
    """The problem's code; empty where there is none."""
    return str(answer.json().get("type", "")).removeprefix("/problems/") if answer.is_error else ""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = GatewayHome(tmp_path_factory.mktemp("home") / "var")
    made = initialise(home, region="000000", department="national-bureau")
    with served_home(home, made) as gateway:
        found = Running(gateway)
        with gateway.client() as client:
            for _ in range(3):
                assert client.get(PERSONS, params={"id_number": "x"}).status_code == 200
        for officer in ("police-chen", "civil-wu", "competent-lin"):
            found.enrol(officer, "registrar")
        for officer in ("auditor", "auditor-he"):
            if officer == "auditor":
                found.person("auditor-li", "national-bureau", "auditor", by="auditor", region="000000")
                found.enrol("auditor-li", "auditor")
            else:
                found.enrol(officer, "auditor")
        yield found
        found.http.close()


def use_records(running: Running, officer: str) -> list[str]:
    """The records of uses that an officer finds."""
    return [each["record"] for each in running.act(officer, "GET", "/v1/records?kind=use").json()["items"]]


def test_an_officer_who_lost_the_role_gets_nothing_that_it_gave(running: Running) -> None:
    """The export's file, manifest and progress, its repeat and an act's, the next page: under the old session and a
    new one."""
    running.person("police-li", "public-security", "supplier", "paper")
    running.enrol("police-li", "registrar")
    assert wait_for(lambda: len(use_records(running, "police-li")) >= 3)
    old, once = running.session("police-li"), {"Idempotency-Key": "an-export-of-mine"}
    made = running.as_session(old, "POST", "/v1/records/export", {"format": "ndjson"}, headers=once)
    assert made.is_success, made.text
    where = [made.json()["file"], made.json()["manifest"], f"/v1/records/export/{made.json()['export']}/progress"]
    assert all(running.as_session(old, "GET", each).is_success for each in where[:2])
    page = running.as_session(old, "GET", "/v1/records?limit=1").json()
    following = f"/v1/records?limit=1&cursor={page['next']}"
    assert running.as_session(old, "GET", following).is_success
    stop = {"violation": "beyond the purpose", "rectify_by": "2099-01-31"}
    act, kept = "/v1/grants/G-2026-0001/suspension", {"Idempotency-Key": "a-stop-of-mine"}
    order = running.as_session(old, "POST", act, stop, headers=kept)
    assert order.is_success, order.text
    again = running.as_session(old, "POST", act, stop, headers=kept)
    assert (again.is_success, again.headers["Idempotency-Replayed"]) == (True, "true")
    running.act("police-chen", "POST", f"{act}/lift", {"reason": "rectified"})

    running.person("police-li", "public-security", "paper")
    for token, refusals in (
        (old, {"credential-invalid"}),
        (running.session("police-li"), {"not-found", "act-not-permitted"}),
    ):
        for each in where:
            assert code_of(running.as_session(token, "GET", each)) in refusals, each
        export = running.as_session(token, "POST", "/v1/records/export", {"format": "ndjson"}, headers=once)
        assert code_of(export) in refusals
        assert code_of(running.as_session(token, "POST", act, stop, headers=kept)) in refusals
        listed = running.as_session(token, "GET", following)
        assert code_of(listed) in refusals or listed.json()["items"] == []
    with running.gateway.officer("police-chen") as api:
        assert api.get("/v1/grants/G-2026-0001")["grant"]["state"] == "issued", "a repeat does nothing"


def test_a_file_on_its_way_is_cut_off_when_the_right_to_it_ends(running: Running) -> None:
    """Within a second or two of the dismissal, however slowly it is read; and no octet of it is given again."""
    running.person("police-wang", "public-security", "supplier", "paper")
    running.enrol("police-wang", "registrar")
    session = running.session("police-wang")
    made = running.as_session(session, "POST", "/v1/records/export", {"format": "ndjson"}).json()
    (running.gateway.home.run / "spool" / made["export"]).write_bytes(b"x" * BIG)
    received, headers = 0, {"Authorization": f"Bearer {session}"}
    with running.http.stream("GET", made["file"], headers=headers) as answer:
        assert answer.is_success

        def read_on() -> None:
            nonlocal received
            for part in answer.iter_raw(1 << 16):
                received += len(part)
                if received == len(part):
                    running.person("police-wang", "public-security", "supplier", "paper", active=False)
                    time.sleep(1.2)
                time.sleep(0.001)

        with pytest.raises(httpx.RemoteProtocolError):
            read_on()
    assert 0 < received < BIG
    assert code_of(running.as_session(session, "GET", made["file"])) == "credential-invalid"


def test_no_officer_sets_anothers_password(running: Running) -> None:
    """Not the competent department's, not the registrar, not the auditor: what is given is a code, once, on record and
    told to the owner; another password afterwards takes two persons, and the owner is told."""
    running.person("civil-li", "civil-affairs", "supplier", "paper")
    for officer in ("competent-lin", "police-chen", "auditor-li"):
        for way in ("password", "credentials"):
            for method in ("POST", "PUT"):
                answer = running.act(officer, method, f"/v1/officers/civil-li/{way}", {"password": OTHER})
                assert answer.status_code in {404, 405}, answer.text
    for officer in ("police-chen", "civil-wu", "auditor-he"):
        assert code_of(running.act(officer, "POST", "/v1/officers/civil-li/enrolment")) in {
            "not-found",
            "act-not-permitted",
        }
    running.enrol("civil-li", "competent-lin")
    session = running.session("civil-li")
    events = running.as_session(session, "GET", "/v1/account").json()["events"]
    assert "competent-lin" in {event["by"] for event in events}
    assert code_of(running.act("competent-lin", "POST", "/v1/officers/civil-li/enrolment")) == "conflict"
    assert (
        code_of(running.http.post("/sign-in", json={"officer": "civil-li", "password": OTHER})) == "credential-invalid"
    )
    recovery = "/v1/officers/civil-li/recovery"
    assert running.act("competent-lin", "POST", recovery, {"reason": "lost"}).is_success
    assert code_of(running.act("competent-lin", "POST", f"{recovery}/approval")) == "conflict"
    told = running.as_session(session, "GET", "/v1/account").json()
    assert told["recovery"]["asked_by"] == "competent-lin"
    assert running.as_session(session, "DELETE", "/v1/account/recovery").is_success
    # Who watches is appointed, changed and enrolled by nobody who is watched.
    for officer in ("competent-lin", "police-chen"):
        changed = {"id": "auditor-he", "department": "audit-office", "region": REGION, "roles": ["paper"]}
        assert code_of(running.act(officer, "POST", "/v1/officers", changed)) in {"not-found", "act-not-permitted"}
        assert code_of(running.act(officer, "POST", "/v1/officers/auditor-he/enrolment")) in {
            "not-found",
            "act-not-permitted",
        }
    with running.gateway.officer("registrar") as api:
        found = {(each.get("of"), each["officer"]) for each in _directory_acts(api)}
    assert ("civil-li", "competent-lin") in found


def _directory_acts(api: Any) -> list[dict[str, Any]]:
    """What acts of the directory say, once the index has the newest."""

    def read() -> list[dict[str, Any]]:
        rows = api.get("/v1/records", kind="directory", limit=200)["items"]
        entries = [api.get(f"/v1/records/{row['record']}")["entries"][0] for row in rows]
        return entries if any(each.get("of") == "civil-li" for each in entries) else []

    return list(wait_for(read, 30) or [])


def test_watching_is_not_told_to_the_watched_and_bundles_are_whole(running: Running) -> None:
    """What auditors asked about a department is found by auditors alone; bundles go to who may read all of the log, and
    everybody else proves single entries."""
    session = running.session("auditor-he")
    asked = running.as_session(session, "GET", "/v1/records?supplier=public-security&kind=use")
    record = asked.json()["items"][0]["record"]
    opened = running.as_session(session, "GET", f"/v1/records/{record}")
    exported = running.as_session(
        session, "POST", "/v1/records/export", {"format": "ndjson", "supplier": "public-security"}
    )
    watching = {each.headers["Sharing-Record"] for each in (asked, opened, exported)}
    assert len(watching) == 3

    def found(officer: str) -> set[str]:
        answer = running.as_session(sessions[officer], "GET", "/v1/records?limit=500")
        assert answer.is_success, answer.text
        return {each["record"] for each in answer.json()["items"]}

    readers = ("auditor-li", "police-chen", "civil-wu", "competent-lin")
    sessions = {officer: running.session(officer) for officer in readers}
    assert wait_for(lambda: watching <= found("auditor-li"), 30), "another auditor sees it"
    for watched in ("police-chen", "civil-wu", "competent-lin"):
        assert not watching & found(watched)
        for each in watching:
            assert code_of(running.act(watched, "GET", f"/v1/records/{each}")) == "not-found"
            assert code_of(running.act(watched, "GET", f"/v1/records/{each}/proof")) == "not-found"

    size = int(running.http.get("/log/checkpoint").text.splitlines()[1])
    bundle = f"/log/tile/entries/000.p/{size}" if size < 256 else "/log/tile/entries/000"
    assert running.act("auditor-li", "GET", bundle).is_success
    assert code_of(running.http.get(bundle)) == "credential-missing"
    for officer in ("police-chen", "civil-wu", "competent-lin", "auditor-he"):
        assert code_of(running.act(officer, "GET", bundle)) == "act-not-permitted"
    proof = running.act("police-chen", "GET", f"/v1/records/{record}/proof")
    assert verify_record(proof.content, str(running.gateway.made["verifier_key"])).origin
