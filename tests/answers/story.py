"""A story that walks every operation of the control API: a city shares its household register, and takes it back."""

import hashlib
import re
import tempfile
from base64 import b32decode
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import jwt
import msgspec

from gateway.client.keys import ClientKey, new_private_key
from gateway.control.act.examples import (
    CERTIFICATES,
    CLOSURE,
    CONTENTION,
    CREDENTIAL,
    DATASET,
    DERIVATION,
    DISPOSAL,
    DISPUTE,
    DOUBT,
    DRAFT,
    EXAMPLES,
    GRANT,
    HOST,
    INTERFACE,
    LIFT,
    ORDER,
    PROPOSAL,
    REPORT,
    SETTLEMENT,
    STANDS_AT,
    SUSPENSION,
    SYSTEM,
    TERMINATION,
    TRIAL,
)
from gateway.control.policies.routes import CALL
from gateway.control.sign_in.by_provider import sealed_with
from gateway.domain.calendar import CHINA
from gateway.identity.callers.assertions import ASSERTION_TYPE
from gateway.identity.officers.oidc import Person
from gateway.identity.officers.one_time_codes import STEP_SECONDS, code_at
from gateway.identity.officers.pairing import challenge_of
from gateway.ledger.log.checkpoints import Checkpoint
from gateway.ledger.log.notes import sign_note
from gateway.ledger.witness.witness import request_body
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from tests.answers.cases import BESIDE_SHARING, case_of, make_late, talk
from tests.answers.matters import Matters, matters_of
from tests.answers.provider import URL as PROVIDER
from tests.answers.teller import Teller
from tests.answers.words import Heard, Words
from tests.answers.world import WITNESSED, WITNESSED_KEY, Clock, FullWorld, quick_ledger, record_long_ago
from tests.support.control import ISSUER, done
from tests.support.ledger import TestSigner

LONG_AGO = datetime(2022, 3, 1, 9, tzinfo=CHINA)
BUNDLE = 256
REGISTER = DATASET["id"]
OTHER = {
    **DATASET,
    "id": "307010001.000013",
    "code": "307010001/000013",
    "name": "居住证信息",
    "sharing_attribute": "unconditional",
    "conditions": "",
    "scope": "",
    "purposes": [],
}
PASSWORD = "four cups of white tea"
NEXT_PASSWORD = "forty lamps over the harbour"
SECRET = "294c30aa4c03c8f51dfdb9f6fb99d845"


class Told(NamedTuple):
    """What came of the story: the answers in the form of `answers.json`, and the document of the whole API."""

    answers: dict[str, dict[str, Any]]
    document: dict[str, Any]
    matters: Matters
    words: Words


def walk() -> Told:
    """Tell the story."""
    clock = Clock(LONG_AGO.timestamp())
    with tempfile.TemporaryDirectory() as folder, quick_ledger():
        record_long_ago(Path(folder), clock, BUNDLE)
        clock.at = STANDS_AT.timestamp()
        world = FullWorld(Path(folder), clock)
        try:
            heard = Heard(world, Path(folder))
            teller = Teller(world, clock)
            for chapter in (
                the_directory,
                hosts_and_certificates,
                the_log,
                systems_and_officers,
                credentials,
                grants,
                proposals,
                applications,
                verifications,
                disputes,
                a_grants_life,
                orders,
                *BESIDE_SHARING,
                figures,
                policies,
                records,
                operation,
            ):
                chapter(teller)
            matters = matters_of(teller)
            words = heard.words()
        finally:
            world.close()
    return Told(dict(sorted(teller.kept.items())), world.app.openapi(), matters, words)


def the_log(teller: Teller) -> None:
    """The log with its first entries of today; what was recorded long ago goes."""
    size = int(teller.tell("GET /log/checkpoint", None).text.splitlines()[1])
    newest = f"001.p/{size - BUNDLE}"
    teller.tell("GET /log/tile/{path}", None, path=f"0/{newest}", is_noise=True)
    teller.tell("GET /log/tile/entries/{path}", "inspector", path=newest)
    plan = teller.tell("GET /v1/retention", "operator").json()["plan"]
    teller.tell("POST /v1/retention", "operator", {"plan": plan}, again=True)
    teller.tell("GET /log/minimum-index", None)
    add = "POST /witness/add-checkpoint"
    first, later = _checkpoint(1), _checkpoint(3)
    teller.tell(add, None, options={"content": request_body(0, (), first)})
    for case, content in (
        ("the body is none", b"not a request"),
        ("the log is unknown", request_body(0, (), _checkpoint(1, origin="third.example/log"))),
        ("the key is unknown", request_body(0, (), _checkpoint(1, signer=TestSigner()))),
        ("another size was cosigned", request_body(0, (), later)),
        ("the proof does not hold", request_body(1, (), later)),
    ):
        teller.tell(add, None, options={"content": content}, case=case)


def _checkpoint(size: int, origin: str = WITNESSED, signer: TestSigner = WITNESSED_KEY) -> bytes:
    """The signed checkpoint of another node's log."""
    text = Checkpoint(origin, size, hashlib.sha256(str(size).encode()).digest()).text()
    return sign_note(text, origin, signer).encode().encode()


def the_directory(teller: Teller) -> None:
    """Departments, purposes, entries and interfaces; and the whole as a file."""
    department = {"id": "housing", "name": "市住房和城乡建设局", "region": "442000", "level": "city"}
    teller.tell("POST /v1/departments", "registrar", department)
    teller.tell("GET /v1/departments", "civil")
    teller.tell("GET /v1/departments/{id}", "civil", id="public-security")
    purpose = {"id": "housing-support", "name": "住房保障", "basis": "Measures on Public Rental Housing Art. 8"}
    teller.tell("POST /v1/purposes", "province", purpose)
    teller.tell("GET /v1/purposes", "civil")
    teller.tell("GET /v1/purposes/{id}", "civil", id="marriage-registration")
    teller.tell("POST /v1/datasets", "police", DATASET)
    version = {"id": REGISTER, "version": 1}
    teller.tell("GET /v1/datasets/{id}/versions/{version}/effects", "police", **version)
    examination = "POST /v1/datasets/{id}/versions/{version}/examination"
    teller.tell(examination, "registrar", {"release": True}, again=True, **version)
    teller.tell("GET /v1/datasets", "civil")
    teller.tell("GET /v1/datasets/{id}", "civil", id=REGISTER)
    teller.tell("POST /v1/interfaces/derivation", "police", DERIVATION)
    teller.tell("POST /v1/interfaces/trial", "police", TRIAL)
    teller.tell("POST /v1/interfaces", "police", {**INTERFACE, "trial": {"answer": TRIAL["answer"]}})
    teller.tell("GET /v1/interfaces", "police")
    teller.tell("GET /v1/interfaces/{supplier}/{id}", "civil", supplier="public-security", id="household")
    residence = {**INTERFACE, "id": "residence", "dataset": OTHER["id"]}
    file = {"datasets": [OTHER], "interfaces": [residence]}
    teller.tell("POST /v1/directory", "province", file, options={"params": {"check": "true"}})
    teller.tell("POST /v1/directory", "province", file)
    for form in ("json", "csv", "dcat"):
        teller.tell("GET /v1/directory", "civil", options={"params": {"format": form}})
    renamed = {
        "kind": "rename",
        "departments": ["housing"],
        "name": "市住房保障局",
        "document": "中编办发〔2026〕9号",
        "reason": "institutional reform of the municipality",
    }
    shown = teller.tell("POST /v1/reorganisations/plan", "registrar", renamed).json()["plan"]
    teller.tell("POST /v1/reorganisations", "registrar", {**renamed, "plan": shown}, again=True)
    abolished = {"reason": "the matter it served was abolished, 国发〔2026〕3号"}
    teller.tell("POST /v1/datasets/{id}/withdrawal", "registrar", abolished, again=True, id=OTHER["id"])


def hosts_and_certificates(teller: Teller) -> None:
    """Whose the hosts are that interfaces lead to, and what they are called with."""
    certificates = {"supplier": "public-security", "name": CERTIFICATES["name"]}
    teller.tell("POST /v1/certificates", "police", CERTIFICATES)
    teller.tell("GET /v1/certificates", "police")
    credential = {"supplier": "public-security", "name": CREDENTIAL["name"]}
    teller.tell("POST /v1/credentials", "police", CREDENTIAL)
    teller.tell("GET /v1/credentials", "police")
    given_up = {"reason": "the supplier has given another, 公科〔2026〕3号"}
    teller.tell("POST /v1/credentials/{supplier}/{name}/withdrawal", "police", given_up, again=True, **credential)
    host = {"supplier": "public-security", "id": f"{HOST['address']}:443"}
    teller.tell("POST /v1/hosts", "police", HOST)
    confirmation = "POST /v1/hosts/{supplier}/{id}/confirmation"
    teller.refused(confirmation, teller.world.post("registrar", confirmation[5:].format(**host), {}))
    teller.tell("POST /v1/hosts/{supplier}/{id}/proof", "police", {}, **host)
    teller.tell(confirmation, "registrar", again=True, **host)
    teller.tell("GET /v1/hosts", "police")
    moved = {"reason": "the service has moved to another address"}
    teller.tell("POST /v1/hosts/{supplier}/{id}/withdrawal", "police", moved, again=True, **host)
    replaced = {"reason": "the authority was replaced, 公科〔2026〕3号"}
    withdrawal = "POST /v1/certificates/{supplier}/{name}/withdrawal"
    teller.tell(withdrawal, "police", replaced, again=True, **certificates)


def systems_and_officers(teller: Teller) -> None:
    """Who calls, and who acts."""
    registered = {**SYSTEM, "keys": [teller.world.client.registration()]}
    teller.tell("POST /v1/systems", "civil", registered, again=True)
    teller.tell("GET /v1/systems", "civil")
    teller.tell("GET /v1/systems/{id}", "civil", id=SYSTEM["id"])
    certified = {"number": "等保测评〔2026〕114号", "since": "2026-03-01", "until": "2027-02-28"}
    of = {"id": SYSTEM["id"]}
    teller.tell("POST /v1/systems/{id}/certification", "registrar", certified, **of)
    withdrawal = "POST /v1/systems/{id}/certification/withdrawal"
    teller.tell(withdrawal, "registrar", EXAMPLES["RevocationBody"], again=True, **of)
    second = ClientKey(new_private_key(), "2027-01").registration()
    teller.tell("POST /v1/systems/{id}/keys", "civil", {"key": second}, id=SYSTEM["id"])
    teller.tell("DELETE /v1/systems/{id}/keys/{name}", "civil", again=True, id=SYSTEM["id"], name="2027-01")
    archive = {**SYSTEM, "id": "archive", "name": "婚姻档案系统", "keys": []}
    teller.world.post("civil", "/v1/systems", archive).raise_for_status()
    teller.tell("POST /v1/systems/{id}/revocation", "civil", EXAMPLES["RevocationBody"], id="archive")
    person = {"id": "civil-second", "department": "civil-affairs", "region": "442000", "roles": ["demand"]}
    teller.world.post("registrar", "/v1/officers", person).raise_for_status()
    teller.tell("POST /v1/officers", "registrar", person)
    teller.tell("GET /v1/officers", "registrar")


def accounts(teller: Teller) -> None:
    """How an officer comes by a password, keeps it, and signs out."""
    person, recovery = "civil-second", "/v1/officers/{id}/recovery"
    given = teller.tell("POST /v1/officers/{id}/enrolment", "registrar", id=person).json()
    set_by_code = {"officer": person, "code": given["code"], "password": PASSWORD}
    teller.tell("POST /sign-in/enrolment", None, set_by_code)
    teller.refused("POST /sign-in/enrolment", teller.world.post(None, "/sign-in/enrolment", set_by_code))
    teller.tell("POST /sign-in", None, {"officer": person, "password": PASSWORD})
    teller.tell(f"POST {recovery}", "registrar", {"reason": "the officer has forgotten it"}, id=person)
    teller.tell(f"POST {recovery}/approval", "province", id=person)
    teller.tell("GET /v1/account", person)
    teller.tell("DELETE /v1/account/recovery", person, again=True)
    factor, shown = "/v1/account/authenticator", {"code": "000000"}
    secret = b32decode(teller.tell(f"POST {factor}", person).json()["secret"])
    for step in ("confirmation", "withdrawal"):
        teller.refused(f"POST {factor}/{step}", teller.world.post(person, f"{factor}/{step}", shown))
        shown = {"code": code_at(secret, int(teller.clock()) // STEP_SECONDS)}
        teller.tell(f"POST {factor}/{step}", person, shown)
    changed = {"current": PASSWORD, "password": NEXT_PASSWORD}
    teller.tell("POST /v1/account/password", person, changed)
    other = teller.world.store.open_session(person, "password", 3600).id
    teller.tell("DELETE /v1/account/sessions/{id}", person, again=True, id=other)
    teller.tell("POST /v1/account/sign-out", person, {"everywhere": True})


def command_lines(teller: Teller) -> None:
    """How a command line signs an officer in by the OpenID provider, and goes on."""
    world, key, verifier = teller.world, ClientKey(new_private_key()), "v" * 43

    def proven(path: str) -> dict[str, str]:
        return {"DPoP": key.proof("POST", ISSUER + path, int(world.clock()), nonce=None, token=None)}

    teller.tell("GET /sign-in", None)
    listener = "http://127.0.0.1:49152/signed-in"
    asked = {"redirect_uri": listener, "state": "s" * 43, "code_challenge": challenge_of(verifier)}
    begun = teller.tell("GET /sign-in/browser", None, options={"params": {**asked, "dpop_jkt": key.thumbprint}})
    page = world.ask(
        None, "GET", "/sign-in/provider/answer", params=world.provider.authorize(begun.headers["Location"])
    )
    found = re.search(r'name="ticket" value="([^"]+)"', page.text)
    assert found is not None
    form = {"data": {"ticket": found[1], "answer": "yes"}}
    agreed = teller.tell("POST /sign-in/browser/consent", None, options=form, again=True)
    code = parse_qs(urlsplit(agreed.headers["Location"]).query)["code"][0]
    redeemed = {"code": code, "verifier": verifier, "redirect_uri": listener}
    teller.tell("POST /sign-in/code", None, redeemed, headers=proven("/sign-in/code"))
    teller.refused("POST /sign-in/code", world.post(None, "/sign-in/code", redeemed))
    device = teller.tell("POST /sign-in/device", None, headers=proven("/sign-in/device"))
    teller.refused("POST /sign-in/device", world.post(None, "/sign-in/device", None))
    waiting = {"device": device.json()["device"]}
    for agreed_there in (False, True):
        world.provider.agreed = agreed_there
        teller.tell("POST /sign-in/device/answer", None, waiting, headers=proven("/sign-in/device/answer"))
    teller.refused("POST /sign-in/device/answer", world.post(None, "/sign-in/device/answer", waiting))
    person = Person(PROVIDER, "u-1", "civil", "", "rt")
    session = jwt.decode(world.token("civil"), options={"verify_signature": False})["sid"]
    ends = int(world.clock()) + 3600
    with world.store.transaction() as tx:
        tx.note_provider_session(sealed_with(world.signing_in, session, person, ends))
    teller.tell("POST /v1/account/renewal", "civil")
    teller.refused("POST /v1/account/renewal", world.post("auditor", "/v1/account/renewal", None))


def credentials(teller: Teller) -> None:
    """Keys, keys of older contracts, passwords; and what they are good for."""
    world = teller.world
    teller.tell("GET /v1/keys", "operator")
    teller.tell("POST /v1/keys/{purpose}/rotation", "operator", {"reason": "yearly rotation"}, purpose="field")
    key = {"id": SYSTEM["id"], "contract": "gjgxjhpt", "name": "caller-7"}
    legacy = "/v1/systems/{id}/legacy-keys/{contract}/{name}"
    secret = {"purpose": "marriage-registration", "secret": SECRET}
    teller.tell(f"PUT {legacy}", "civil", secret, **key)
    teller.tell("GET /v1/systems/{id}/legacy-keys", "civil", id=SYSTEM["id"])
    teller.tell(f"DELETE {legacy}", "civil", **key)
    accounts(teller)
    away = teller.tell("GET /sign-in/provider", None, options={"params": {"return_to": "/console"}})
    back = world.provider.authorize(away.headers["Location"])
    refused = world.ask(None, "GET", "/sign-in/provider/answer", params={"error": "access_denied"})
    teller.tell("GET /sign-in/provider/answer", None, options={"params": back})
    teller.refused("GET /sign-in/provider/answer", refused)
    logout = {"data": {"logout_token": world.provider.logout_token()}}
    teller.tell("POST /sign-in/provider/logout", None, options=logout)
    teller.refused(
        "POST /sign-in/provider/logout", world.ask(None, "POST", "/sign-in/provider/logout", data={"logout_token": "x"})
    )
    command_lines(teller)
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": world.client.assertion(SYSTEM["id"], ISSUER, int(world.clock())),
    }
    teller.tell("POST /oauth/token", None, options={"data": form})
    teller.tell("POST /oauth/token", None, options={"data": {"grant_type": "password"}}, case="another grant type")
    teller.tell("POST /oauth/token", None, options={"data": form}, case="the assertion has lapsed")
    teller.tell("GET /.well-known/oauth-authorization-server", None)
    teller.tell("GET /.well-known/jwks.json", None)


def _grant(number: int, **fields: Any) -> dict[str, Any]:
    """The example's grant, approved by the officers of the story."""
    return {
        **GRANT,
        "id": f"g-2026-{number:04d}",
        "demand_approval": {**GRANT["demand_approval"], "person": "civil"},
        "supply_approval": {**GRANT["supply_approval"], "person": "police"},
        **fields,
    }


def grants(teller: Teller) -> None:
    """Grants are issued, one and many, found and renewed."""
    issue = "POST /v1/grants"
    teller.tell(issue, "police", _grant(1), options={"params": {"check": "true"}}, case="a check")
    teller.tell(issue, "police", _grant(1), case="one")
    for purpose in ("marriage-registration", "social-assistance"):
        teller.world.use(purpose)
    teller.tell(issue, "police", [_grant(2), _grant(3)], case="many")
    teller.tell("GET /v1/grants", "civil")
    teller.tell("GET /v1/grants/lifecycle", None)
    longer = _grant(
        1,
        valid_until="2028-01-01T00:00:00+08:00",
        demand_approval={"person": "civil", "at": "2026-05-20T09:00:00+08:00", "reference": "民函〔2026〕6号"},
        supply_approval={"person": "police", "at": "2026-05-27T15:00:00+08:00", "reference": "公函〔2026〕19号"},
    )
    teller.tell("POST /v1/grants/{id}/versions", "police", longer, id="g-2026-0001")
    teller.tell("GET /v1/grants/{id}", "civil", id="g-2026-0001")


def proposals(teller: Teller) -> None:
    """A grant is proposed, approved on both sides by acts, and issued; another is refused."""
    digest = teller.tell("POST /v1/proposals", "civil", PROPOSAL).json()["digest"]
    named = {"id": PROPOSAL["id"]}
    teller.tell("POST /v1/proposals/{id}/demand-approval", "civil", {"digest": digest}, again=True, **named)
    teller.tell("GET /v1/proposals", "civil")
    teller.tell("GET /v1/proposals/{id}", "police", **named)
    teller.tell("POST /v1/proposals/{id}/supply-approval", "police", {"digest": digest}, again=True, **named)
    teller.world.post("civil", "/v1/proposals", {**PROPOSAL, "id": "g-2026-0101"}).raise_for_status()
    reasons = {"reasons": "the items are more than the registration needs"}
    teller.tell("POST /v1/proposals/{id}/refusal", "police", reasons, again=True, id="g-2026-0101")


def applications(teller: Teller) -> None:
    """Drafted, submitted and approved; others asked for materials, put off, narrowed, refused, urged, taken back."""
    numbers = iter(range(200, 300))
    submitted = ("civil", "submit", None)

    def step(name: str, officer: str, said: dict[str, Any], id_: str, **more: Any) -> Any:
        return teller.tell(f"POST /v1/applications/{{id}}/{name}", officer, said, again=True, id=id_, **more)

    def drafted(*steps: tuple[str, str, Any]) -> tuple[str, dict[str, Any]]:
        draft = {**DRAFT, "grant": {**PROPOSAL, "id": f"g-2026-{next(numbers):04d}"}}
        return case_of(teller, "applications", "civil", draft, *steps), draft

    first = teller.tell("POST /v1/applications", "civil", DRAFT).json()
    id_, approval = first["application"]["id"], {"digest": first["digest"]}
    step("submit", "civil", approval, id_)
    teller.tell("GET /v1/applications", "civil")
    teller.tell("GET /v1/applications/{id}", "police", id=id_)
    teller.tell("GET /v1/applications/lifecycle", None)
    teller.tell("POST /v1/applications/{id}/comments", "police", {"comment": "which counters are meant?"}, id=id_)
    attached = {"content": b"counters: 1 to 4\n", "params": {"name": "counters.txt"}}
    plain = {"Content-Type": "text/plain"}
    file = teller.tell(
        "POST /v1/applications/{id}/attachments", "civil", options=attached, headers=plain, id=id_
    ).json()
    digest = file["attachment"]["digest"]
    teller.tell("GET /v1/applications/{id}/attachments/{digest}", "police", id=id_, digest=digest)
    step("approve", "police", approval, id_)
    teller.tell("GET /v1/duties", "police")
    step("share", "police", {"shared_on": "2026-06-01", "statement": "by interface household"}, id_)
    second, draft = drafted(submitted)
    step("ask-materials", "police", {"missing": ["the counters by name"]}, second)
    amended = teller.tell("POST /v1/applications/{id}/amend", "civil", draft, id=second).json()
    step("complete", "civil", {"digest": amended["digest"]}, second)
    extension = {"days": 5, "reasons": "the register is being moved"}
    step("request-extension", "police", extension, second)
    step("approve-extension", "registrar", {"reference": "政数〔2026〕21号"}, second)
    step("refuse", "police", {"reasons": "the items are more than the registration needs"}, second)
    third, _ = drafted(submitted, ("police", "request-extension", extension))
    step("deny-extension", "registrar", {"reasons": "no special reason is stated"}, third)
    fourth, draft = drafted(submitted)
    less = {"grant": {**draft["grant"], "items": ["name"]}, "reasons": "the registration needs the name alone"}
    narrowed = teller.tell("POST /v1/applications/{id}/narrow", "police", less, id=fourth).json()
    step("accept", "civil", {"digest": narrowed["digest"]}, fourth)
    fifth, draft = drafted(submitted)
    done = teller.world.post(
        "police", f"/v1/applications/{fifth}/narrow", {**less, "grant": {**draft["grant"], "items": ["name"]}}
    )
    done.raise_for_status()
    step("decline", "civil", {"reasons": "without the status the need is not met"}, fifth)
    sixth, _ = drafted(submitted)
    step("withdraw", "civil", {"reasons": "the need has gone"}, sixth)


def _no_reply(teller: Teller) -> None:
    """A supplier is urged; where the region's layer is in force, the competent department replies instead."""
    draft = {**DRAFT, "grant": {**PROPOSAL, "id": "g-2026-0300"}}
    id_ = case_of(teller, "applications", "civil", draft, ("civil", "submit", None))
    make_late(teller, "applications", id_)
    found = teller.world.store.case(id_, "applications")
    assert found is not None
    path = "POST /v1/applications/{id}"
    overdue = {"reasons": "no reply within the time of the law"}
    teller.tell(f"{path}/urge", "registrar", overdue, id=id_)
    digest = {"digest": found.facts["digest"]}
    teller.tell(f"{path}/approve-instead", "registrar", digest, again=True, id=id_)


def verifications(teller: Teller) -> None:
    """One is answered, another taken back."""
    told = teller.tell("POST /v1/verifications", "civil", DOUBT).json()["verification"]
    named = {"id": told["id"]}
    teller.tell("GET /v1/verifications", "police")
    teller.tell("GET /v1/verifications/{id}", "police", **named)
    teller.tell("GET /v1/verifications/lifecycle", None)
    talk(teller, "verifications", "police", "civil", told["id"])
    outcome = {"outcome": "corrected", "statement": "the status was that of before the registration"}
    teller.tell("POST /v1/verifications/{id}/answer", "police", outcome, again=True, **named)
    other = case_of(teller, "verifications", "civil", DOUBT)
    teller.tell("POST /v1/verifications/{id}/withdraw", "civil", {"reasons": "our own mistake"}, again=True, id=other)


def disputes(teller: Teller) -> None:
    """Agreed; settled; referred and decided; withdrawn."""

    def step(name: str, officer: str, said: dict[str, Any], id_: str) -> None:
        teller.tell(f"POST /v1/disputes/{{id}}/{name}", officer, said, again=True, id=id_)

    first = teller.tell("POST /v1/disputes", "civil", CONTENTION, again=True).json()["dispute"]["id"]
    teller.tell("GET /v1/disputes", "police")
    teller.tell("GET /v1/disputes/{id}", "police", id=first)
    teller.tell("GET /v1/disputes/lifecycle", None)
    talk(teller, "disputes", "civil", "police", first)
    teller.tell("POST /v1/disputes/{id}/offer", "police", {"outcome": "the item is applied for anew"}, id=first)
    step("agree", "civil", {"reasons": "that is what was meant"}, first)
    second = case_of(teller, "disputes", "civil", CONTENTION)
    step("apply", "civil", {"reasons": "no agreement in two meetings"}, second)
    step("settle", "registrar", {"outcome": "the item stays out", "reference": "政数协〔2026〕5号"}, second)
    third = case_of(teller, "disputes", "civil", CONTENTION, ("civil", "apply", {"reasons": "no agreement"}))
    step("refer", "registrar", {"reasons": "coordination failed on 2026-05-14"}, third)
    step("decide", "registrar", {"outcome": "the item is shared", "reference": "府〔2026〕8号"}, third)
    fourth = case_of(teller, "disputes", "civil", CONTENTION)
    step("withdraw", "civil", {"reasons": "the need has gone"}, fourth)


def a_grants_life(teller: Teller) -> None:
    """Suspended, lifted, disputed, settled; another terminated, a third closed and disposed of."""

    def act(name: str, officer: str, body: dict[str, Any], number: int = 1) -> None:
        teller.tell(f"POST /v1/grants/{{id}}/{name}", officer, body, again=True, id=f"g-2026-{number:04d}")

    teller.tell("POST /v1/grants/{id}/suspension", "police", SUSPENSION, id="g-2026-0001")
    act("suspension/lift", "police", LIFT)
    incident = {"emergency": True, "incident": "leak reported", "report_due": "2026-06-01T09:00:00+08:00"}
    for name, body in (("suspension", incident), ("suspension/lift", LIFT)):
        teller.world.post("police", f"/v1/grants/g-2026-0001/{name}", body).raise_for_status()
    act("dispute", "civil", DISPUTE)
    act("dispute/settlement", "registrar", SETTLEMENT)
    act("termination", "police", TERMINATION, 2)
    act("closure", "civil", CLOSURE, 3)
    act("disposal", "civil", DISPOSAL, 3)


def orders(teller: Teller) -> None:
    """A stop of wider reach, its report and its lift."""
    whom = {name: ORDER[name] for name in ("reach", "target")}
    teller.tell("GET /v1/orders/reach", "registrar", options={"params": whom})
    order = teller.tell("POST /v1/orders", "registrar", ORDER).json()["order"]["id"]
    teller.tell("GET /v1/orders", "registrar", options={"params": {"reach": "system"}})
    teller.tell("GET /v1/orders/{id}", "registrar", id=order)
    teller.tell("POST /v1/orders/{id}/report", "registrar", REPORT, again=True, id=order)
    teller.tell("POST /v1/orders/{id}/lift", "registrar", LIFT, again=True, id=order)


def figures(teller: Teller) -> None:
    """What stands and what is overdue."""
    teller.tell("GET /v1/figures", "registrar")
    teller.tell("GET /v1/figures/overdue", "registrar")


def policies(teller: Teller) -> None:
    """What is in force, what it says of one call, and what another set would change."""
    found = read_set(default_policies_root(), ["national", "zhongshan"])
    candidate = {"layers": list(found.layers), "files": found.files}
    teller.tell("GET /v1/policies", "civil")
    teller.tell(
        "GET /v1/policies/show",
        "police",
        options={"params": {"department": "civil-affairs", "dataset": REGISTER}},
    )
    teller.tell(
        "GET /v1/policies/possible",
        "police",
        options={"params": {"department": "market", "dataset": REGISTER, "item": "name"}},
    )
    teller.tell("POST /v1/policies/explain", "civil", CALL, case="permitted")
    denied = {**CALL, "purpose": "social-assistance"}
    teller.tell("POST /v1/policies/explain", "civil", denied, case="denied")
    teller.tell("POST /v1/policies/compare", "province", {"layers": list(found.layers), "thorough": True})
    teller.refused("GET /v1/policies/shadow", teller.world.get("province", "/v1/policies/shadow"))
    teller.tell("POST /v1/policies/shadow", "province", candidate)
    teller.tell("GET /v1/policies/shadow", "province")
    teller.tell("POST /v1/policies/shadow/end", "province", {"reason": "seen enough"}, again=True)
    # However busy the machine is: what is told must not hang on it.
    said = {"reason": "a trial", "revives": True, "thorough": True}
    teller.tell("POST /v1/policies/activation", "province", {**candidate, **said}, again=True)
    _no_reply(teller)
    teller.tell("POST /v1/policies/rollback", "province", said)
    _by_two_persons(teller, {**candidate, **said})
    teller.tell("GET /v1/policies/activations", "auditor")


def _by_two_persons(teller: Teller, candidate: dict[str, Any]) -> None:
    """One proposes a set, another puts it in force; then it is as before."""
    services, store = teller.world.services, teller.world.store
    first = store.officer("province")
    assert first is not None
    with store.transaction() as tx:
        tx.put_officer(msgspec.structs.replace(first, id="province-second", name="Zheng Hong"))
    services.policies.two_persons = True
    proposal = done(teller.world.post("province", "/v1/policies/activation", candidate))["proposal"]
    services.policies.two_persons = False
    teller.tell("GET /v1/policies/activations/{number}/set", "auditor", number=proposal["number"])
    approved = {"number": proposal["number"], "set": proposal["set"]}
    teller.tell("POST /v1/policies/approval", "province-second", approved)
    done(
        teller.world.post(
            "province", "/v1/policies/rollback", {"reason": "seen enough", "revives": True, "thorough": True}
        )
    )


def records(teller: Teller) -> None:
    """Uses and acts are found, counted, proven and exported."""
    filed = {
        "kind": "effect",
        "grant": "g-2026-0001",
        "statement": "4,120 certificates were no longer asked for in the first quarter",
        "period_from": "2026-01-01",
        "period_until": "2026-03-31",
    }
    teller.tell("POST /v1/records", "civil", filed)
    uses = {"grant": "g-2026-0001", "purpose": "marriage-registration"}
    found = teller.tell("GET /v1/records", "auditor", options={"params": uses}).json()["items"]
    record = found[0]["record"]
    question = {"format": "ndjson", "grant": "g-2026-0001", "kind": "order"}
    teller.tell("POST /v1/records/search", "civil", question)
    teller.tell("GET /v1/records/stats", "registrar", options={"params": {"by": "kind"}})
    teller.tell("GET /v1/records/{id}", "auditor", id=record)
    teller.tell("GET /v1/records/{id}/proof", "auditor", id=record)
    for form in ("ndjson", "csv"):
        teller.tell("GET /v1/records/export", "auditor", options={"params": {**question, "format": form}})
    made = teller.tell("POST /v1/records/export", "auditor", question).json()
    watched = teller.tell("POST /v1/records/export", "auditor", question, headers={"Prefer": "respond-async"}).json()
    teller.world.until_exported(watched["progress"])
    teller.tell("GET /v1/records/export/{name}/progress", "auditor", name=watched["export"])
    teller.tell("GET /v1/records/export/{name}", "auditor", name=made["export"])
    for form in ("csv", "parquet"):
        other = teller.world.post("auditor", "/v1/records/export", {**question, "format": form}).json()
        teller.tell("GET /v1/records/export/{name}", "auditor", name=other["export"])
    teller.tell("GET /v1/records/export/{name}/manifest", "auditor", name=made["export"])
    used = {"format": "ndjson", **uses, "kind": "use"}
    said = teller.world.post("auditor", "/v1/records/export", used).json()
    teller.tell("GET /v1/records/export/{name}/texts", "auditor", name=said["export"])
    erasure = {"fields": ["operator"], "reason": "the person asked for it; the department keeps the number"}
    teller.tell("POST /v1/records/{id}/erasure", "registrar", erasure, id=record)


def operation(teller: Teller) -> None:
    """Health, readiness and figures for who runs it."""
    teller.tell("GET /healthz", None)
    teller.tell("GET /readyz", None)
    teller.world.parts = teller.world.parts_without_workers
    teller.tell("GET /readyz", None)
    teller.refused("GET /metrics", teller.world.ask(None, "GET", "/metrics"))
    teller.tell("GET /metrics", None, headers={"Authorization": "Bearer the-scrape-credential-of-the-example"})
