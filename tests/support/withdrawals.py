"""Every act of the API that can take something away, and what one call rests on: one table for each way to try them.

`tests/unit/control/test_taking_away.py` holds that no act is missing and that each is waited for;
`tests/end_to_end/test_taking_away_running.py` does each on a running gateway and counts what still leaves.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from gateway.client import new_private_key, public_jwk
from gateway.control.act.examples import (
    CERTIFICATES,
    CLOSURE,
    CREDENTIAL,
    DATASET,
    GRANT,
    INTERFACE,
    SUSPENSION,
    SYSTEM,
    TERMINATION,
    standing_on,
)
from gateway.domain.directory import Department, Level
from gateway.domain.hosts import Host
from gateway.domain.officers import Officer, Role
from gateway.domain.policies import PolicyEvent, PolicySet, PolicyStep, Proposed
from gateway.domain.processes.register import PROCESSES
from gateway.policy import default_policies_root
from gateway.policy.law.layers import parse_layers, read_set
from gateway.store import StoreTransaction
from tests.policies.layering import note

FEWER = {"name": "/name", "id_number": "/id_number"}
EMERGENCY = {"kind": "emergency", "reason": "found in a test"}
SECRET = "0" * 32
PURPOSE = "marriage-registration"


class Place(NamedTuple):
    """Where a supplier stands."""

    host: Host
    pem: str = CERTIFICATES["pem"]
    show: Callable[[str, str], None] = lambda _path, _nonce: None


class Ground(Protocol):
    """A control plane on which calls are made to stand, on its day."""

    day: date

    def place(self, number: int) -> Place:
        """Where the supplier of that number stands; its host and the demand department are in the state."""

    def ask(self, officer: str, method: str, path: str, body: Any) -> Any:
        """The answer, as JSON, of what has to succeed."""

    def write(self, change: Callable[[StoreTransaction], None]) -> None:
        """Change the state beside the control plane."""


def settle(tx: StoreTransaction, number: int, host: Host) -> None:
    """Put a demand department of its own and a supplier's host into the state."""
    tx.put_department(Department(f"demand-{number}", f"部门{number}", "442000", Level.CITY))
    tx.put_officer(Officer(f"demand-{number}", f"demand-{number}", "442000", (Role.DEMAND,)))
    tx.put_host(host)


class Standing:
    """What one call rests on: a system with two keys and an older contract's key, an entry, an interface, a grant."""

    def __init__(self, ground: Ground, number: int, *, grade: int = 3) -> None:
        self.ground = ground
        self.number = number
        self.given = ""
        self.place = ground.place(number)
        self.dataset = {**DATASET, "id": f"d.{number}", "code": f"d/{number}", "grade": grade}
        self.system = {**SYSTEM, "id": f"s-{number}", "department": f"demand-{number}"}
        self.interface = {
            **INTERFACE,
            "id": f"i-{number}",
            "dataset": f"d.{number}",
            "upstream": f"https://{self.place.host.id}",
            "tls_ca": f"ca-{number}",
            "credential": f"shown-{number}",
            "format": "ndjson",
        }
        self.grant = {**GRANT, "id": f"g-{number}", "dataset": f"d.{number}", "department": f"demand-{number}"}
        for side in ("demand_approval", "supply_approval"):
            self.grant[side] = {**GRANT[side], "reference": f"{side} {number}"}
        self.post("registrar", "/v1/datasets?release=true", self.dataset)
        self.post("police", "/v1/certificates", {**CERTIFICATES, "name": f"ca-{number}", "pem": self.place.pem})
        self.post("police", "/v1/credentials", {**CREDENTIAL, "name": f"shown-{number}"})
        self.post("registrar", "/v1/interfaces", self.interface)
        self.private_key = new_private_key()
        self.key = public_jwk(self.private_key)
        self.post("registrar", "/v1/systems", {**self.system, "keys": [self.key, public_jwk(new_private_key())]})
        self.legacy = f"/v1/systems/s-{number}/legacy-keys/gjgxjhpt/key-{number}"
        self.ask("registrar", "PUT", self.legacy, {"purpose": PURPOSE, "secret": SECRET})
        self.post("police", "/v1/grants", self.grant)

    def ask(self, officer: str, method: str, path: str, body: Any = None) -> Any:
        return self.ground.ask(officer, method, path, standing_on(self.ground.day, body))

    def post(self, officer: str, path: str, body: Any = None) -> Any:
        return self.ask(officer, "POST", path, body)

    def act(self, officer: str, act: str, body: Any) -> Any:
        """An act on the grant."""
        return self.post(officer, f"/v1/grants/g-{self.number}/{act}", body)


def certify(standing: Standing, since: str, until: str) -> None:
    """Enter a certification of the system."""
    said = {"number": "等保测评〔2026〕114号", "since": since, "until": until}
    standing.post("registrar", f"/v1/systems/s-{standing.number}/certification", said)


def certified_no_more(standing: Standing) -> None:
    """Enter a certification of the system and withdraw it."""
    certify(standing, "2026-01-01", "2035-01-01")
    path = f"/v1/systems/s-{standing.number}/certification/withdrawal"
    standing.post("registrar", path, {"reason": "lapsed"})


def changed_entry(standing: Standing) -> None:
    """The entry names another purpose, released with the case of its change."""
    entry = standing.dataset["id"]
    change = {"cause": "law", "occurred_on": "2026-05-28", "statement": "amended", "supplier": "public-security"}
    case = standing.post("registrar", "/v1/directory-changes", {**change, "dataset": entry})["change"]["id"]
    standing.post("police", "/v1/datasets", {**standing.dataset, "purposes": ["social-assistance"]})
    path = f"/v1/directory-changes/{case}"
    standing.post("police", f"{path}/submit", {"dataset": entry, "entry_version": 2})
    standing.post("registrar", f"{path}/release", {"reasons": "examined"})


def new_version(standing: Standing) -> None:
    """A version of the entry that another officer examines: it is shared for another purpose."""
    standing.post("police", "/v1/datasets", {**standing.dataset, "purposes": ["social-assistance"]})
    standing.post("registrar", f"/v1/datasets/{standing.dataset['id']}/versions/2/examination", {"release": True})


def forbid_everything(standing: Standing) -> None:
    """Policies with a forbid more."""
    activate(standing, 'forbid (principal, action in Action::"use", resource);')


def forbid_no_more(standing: Standing) -> None:
    """Policies without it."""
    activate(standing, 'permit (principal == System::"nobody", action == Action::"query", resource);')


def activate(standing: Standing, rule: str) -> None:
    """Put the national layer in force with a rule above it; the dates in its decision tables stay what they are."""
    found = read_set(default_policies_root(), ("national",))
    files = {**found.files, "city/city.cedar": note("city-rule") + rule}
    body = {"layers": ["national", "city"], "files": files, "reason": "a trial", "revives": True}
    standing.ground.ask("province", "POST", "/v1/policies/activation", body)


def propose_forbid(standing: Standing) -> None:
    """What stands before an approval: policies with a forbid, which another person has proposed."""
    found = read_set(default_policies_root(), ("national",))
    rule = 'forbid (principal, action in Action::"use", resource);'
    policies = PolicySet(("national", "city"), {**found.files, "city/city.cedar": note("city-rule") + rule})
    layers = parse_layers(policies.files, policies.layers)

    def propose(tx: StoreTransaction) -> None:
        first, present, newest = tx.officer("province"), tx.policies_in_force(), tx.policy_events(limit=1)
        assert first is not None
        tx.put_officer(msgspec.structs.replace(first, id="province-second"))
        tx.put_policy_set(policies)
        event = PolicyEvent(
            newest[0].number + 1 if newest else 1,
            PolicyStep.PROPOSE,
            policies.id,
            layers.digest,
            layers.names,
            "province-second",
            datetime.now(UTC),
            "a trial",
            proposed=Proposed(PolicyStep.ACTIVATE, 0 if present is None else present.number, revives=True),
        )
        tx.add_policy_event(event, withdraws=False)
        standing.given = str(event.number)

    standing.ground.write(propose)


def approve(standing: Standing) -> None:
    """The other person's proposal is put in force."""
    number = int(standing.given)
    proposed = standing.ask("province", "GET", f"/v1/policies/activations/{number}/set")["step"]["set"]
    standing.post("province", "/v1/policies/approval", {"number": number, "set": proposed})


def roll_back(standing: Standing) -> None:
    """To what stood before."""
    standing.post("province", "/v1/policies/rollback", {"reason": "a mistake", "revives": True})


def forbid_and_return(standing: Standing) -> None:
    """What stands before a rollback that takes away: policies with a forbid, and then without."""
    forbid_everything(standing)
    forbid_no_more(standing)


def move_host(standing: Standing) -> None:
    """The supplier's host is claimed anew, and proved."""
    host = standing.place.host
    claim = {
        "supplier": host.supplier,
        "address": f"{host.address}:{host.port}",
        "certificate_name": host.certificate_name,
        "authority": f"ca-{standing.number}",
    }
    made = standing.post("police", "/v1/hosts", claim)
    standing.place.show(made["proof_path"], made["host"]["nonce"])
    standing.post("police", f"/v1/hosts/{host.supplier}/{host.id}/proof", {})


def renewed(standing: Standing) -> dict[str, Any]:
    sides = {
        side: {**GRANT[side], "reference": f"new {standing.number}"} for side in ("demand_approval", "supply_approval")
    }
    return {**standing.grant, "items": ["name"], **sides}


def approved(standing: Standing) -> None:
    """The same, approved by acts on both sides."""
    body = {name: value for name, value in renewed(standing).items() if not name.endswith("_approval")}
    applicant, path = f"demand-{standing.number}", f"/v1/proposals/{body['id']}"
    digest = {"digest": standing.post(applicant, "/v1/proposals", body)["digest"]}
    standing.post(applicant, f"{path}/demand-approval", digest)
    standing.post("police", f"{path}/supply-approval", digest)


def applied_for(standing: Standing) -> None:
    """The same, as an application that is approved."""
    case, digest = _submitted(standing, renewed(standing))
    standing.post("police", f"{case}/approve", digest)


def accepted(standing: Standing) -> None:
    """The same, as less than was applied for, which the applicant accepts."""
    asked = {**standing.grant, "items": renewed(standing)["items"]}
    case, _ = _submitted(standing, asked)
    less = {**_bare(asked), "valid_until": "2026-12-01T00:00:00+08:00"}
    digest = standing.post("police", f"{case}/narrow", {"grant": less, "reasons": "less will do"})["digest"]
    standing.post(f"demand-{standing.number}", f"{case}/accept", {"digest": digest})


def _submitted(standing: Standing, grant: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """An application for it, and its digest."""
    applicant = f"demand-{standing.number}"
    made = standing.post(applicant, "/v1/applications", {"grant": _bare(grant), "answers": ["as stated"]})
    case, digest = f"/v1/applications/{made['application']['id']}", {"digest": made["digest"]}
    standing.post(applicant, f"{case}/submit", digest)
    return case, digest


def _bare(grant: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in grant.items() if not name.endswith("_approval")}


def order(reach: str, name: str) -> Callable[[Standing], Any]:
    def give(standing: Standing) -> Any:
        target = {"system": standing.system["id"], "department": standing.system["department"]}.get(
            reach, standing.dataset["id"] if reach == "dataset" else "public-security"
        )
        standing.given = standing.post(name, "/v1/orders", {**EMERGENCY, "reach": reach, "target": target})["order"][
            "id"
        ]

    return give


def reorganise(kind: str, **said: Any) -> Callable[[Standing], Any]:
    """The demand department changes, as it is planned."""

    def carry_out(standing: Standing) -> None:
        parts = [{**part, "id": standing.system["id"]} for part in said.get("parts", ())]
        body = {
            **said,
            **({"parts": parts} if parts else {}),
            "kind": kind,
            "departments": [standing.system["department"]],
            "document": "中编办发〔2026〕9号",
            "reason": "institutional reform",
        }
        plan = standing.post("province", "/v1/reorganisations/plan", body)["plan"]
        standing.post("province", "/v1/reorganisations", {**body, "plan": plan})

    return carry_out


Act = Callable[[Standing], Any]

TAKES_AWAY: dict[str, dict[str, Act]] = {
    "POST /v1/certificates/{supplier}/{name}/withdrawal": {
        "the authority that a supplier's certificate is checked by": lambda s: s.post(
            "police", f"/v1/certificates/public-security/ca-{s.number}/withdrawal", {"reason": "lost"}
        )
    },
    "POST /v1/credentials/{supplier}/{name}/withdrawal": {
        "what a supplier is shown of who calls": lambda s: s.post(
            "police", f"/v1/credentials/public-security/shown-{s.number}/withdrawal", {"reason": "given up"}
        )
    },
    "POST /v1/datasets/{id}/withdrawal": {
        "the entry": lambda s: s.post("registrar", f"/v1/datasets/d.{s.number}/withdrawal", {"reason": "abolished"})
    },
    "POST /v1/datasets/{id}/versions/{version}/examination": {"an entry's earlier version": new_version},
    "POST /v1/directory-changes/{id}/release": {"an entry's earlier version, by its case": changed_entry},
    "POST /v1/datasets": {
        "an entry's earlier version, released at once": lambda s: s.post(
            "registrar", "/v1/datasets?release=true", {**s.dataset, "purposes": ["social-assistance"]}
        )
    },
    "POST /v1/departments": {
        "a department's region": lambda s: s.post(
            "province",
            "/v1/departments",
            {"id": f"demand-{s.number}", "name": "部门", "region": "441300", "level": "city"},
        )
    },
    "POST /v1/directory": {
        "an interface's place, by a file": lambda s: s.post(
            "registrar",
            "/v1/directory",
            {"interfaces": [{**s.interface, "places": {"name": "/name", "id_number": "/id_number"}}]},
        )
    },
    "POST /v1/interfaces": {
        "an interface's place": lambda s: s.post("police", "/v1/interfaces", {**s.interface, "places": FEWER}),
        "the interface": lambda s: s.post("police", "/v1/interfaces", {**s.interface, "active": False}),
    },
    "POST /v1/hosts/{supplier}/{id}/withdrawal": {
        "the host": lambda s: s.post(
            "registrar", f"/v1/hosts/public-security/{s.place.host.id}/withdrawal", {"reason": "sold"}
        )
    },
    "POST /v1/hosts/{supplier}/{id}/confirmation": {
        "where the host is": lambda s: s.post("registrar", f"/v1/hosts/public-security/{s.place.host.id}/confirmation")
    },
    "POST /v1/reorganisations": {
        "the department": reorganise("dissolve", successor="public-security"),
        "the system": reorganise("transfer", parts=[{"thing": "system", "to": "public-security"}]),
    },
    "POST /v1/grants/{id}/suspension": {"the grant, for a while": lambda s: s.act("police", "suspension", SUSPENSION)},
    "POST /v1/grants/{id}/termination": {"the grant": lambda s: s.act("police", "termination", TERMINATION)},
    "POST /v1/grants/{id}/closure": {
        "the grant, its purpose achieved": lambda s: s.act(f"demand-{s.number}", "closure", CLOSURE)
    },
    "POST /v1/grants/{id}/versions": {"an item of the grant": lambda s: s.act("police", "versions", renewed(s))},
    "POST /v1/proposals/{id}/supply-approval": {"an item of the grant, by acts": approved},
    "POST /v1/applications/{id}/approve": {"an item of the grant, applied for": applied_for},
    "POST /v1/applications/{id}/accept": {"an item of the grant, by less than was applied for": accepted},
    "POST /v1/orders": {
        "a system": order("system", "registrar"),
        "a department": order("department", "registrar"),
        "a dataset": order("dataset", "police"),
        "a supplier": order("supplier", "police"),
    },
    "POST /v1/policies/activation": {"what policies permit": forbid_everything},
    "POST /v1/policies/approval": {"what policies permit": approve},
    "POST /v1/policies/rollback": {"what policies permitted": roll_back},
    "DELETE /v1/systems/{id}/keys/{name}": {
        "a system's key": lambda s: s.ask("registrar", "DELETE", f"/v1/systems/s-{s.number}/keys/{s.key['kid']}")
    },
    "POST /v1/systems/{id}/certification": {
        "a system's certification, by another that ends": lambda s: certify(s, "2026-01-02", "2027-01-01")
    },
    "POST /v1/systems/{id}/certification/withdrawal": {"a system's certification": certified_no_more},
    "POST /v1/systems/{id}/revocation": {
        "the system": lambda s: s.post("registrar", f"/v1/systems/s-{s.number}/revocation", {"reason": "replaced"})
    },
    "PUT /v1/systems/{id}/legacy-keys/{contract}/{name}": {
        "an older key's purpose": lambda s: s.ask(
            "registrar", "PUT", s.legacy, {"purpose": "social-assistance", "secret": SECRET}
        )
    },
    "DELETE /v1/systems/{id}/legacy-keys/{contract}/{name}": {
        "an older key": lambda s: s.ask("registrar", "DELETE", s.legacy)
    },
    "POST /v1/keys/{purpose}/rotation": {
        "the key that tokens are signed with, at once": lambda s: s.post(
            "operator", "/v1/keys/token/rotation", {"reason": "it was seen", "overlap_seconds": 0}
        )
    },
}

BEFORE: dict[str, Act] = {
    "POST /v1/hosts/{supplier}/{id}/confirmation": move_host,
    "POST /v1/policies/approval": propose_forbid,
    "POST /v1/policies/rollback": forbid_and_return,
}
"""What is done before there are calls under way, so that the act has something to take."""

AFTER: dict[str, Act] = {
    "POST /v1/policies/activation": forbid_no_more,
    "POST /v1/policies/approval": forbid_no_more,
    "POST /v1/policies/rollback": forbid_no_more,
    "POST /v1/orders": lambda s: s.post("registrar", f"/v1/orders/{s.given}/lift", {"reason": "the next row"}),
}
"""What gives back what the act has taken from every row."""

NEEDS_A_SERVICE = frozenset({"POST /v1/hosts/{supplier}/{id}/confirmation"})
"""Acts that ask a supplier's service for something."""

TAKES_NOTHING = {
    "POST /v1/certificates": "a name is never given anew",
    "POST /v1/credentials": "another secret in place of one takes no data from anybody",
    "POST /v1/grants": "a grant of its own",
    "POST /v1/proposals": "what is proposed is no grant yet",
    "POST /v1/proposals/{id}/demand-approval": "half of an approval is none",
    "POST /v1/proposals/{id}/refusal": "what was proposed is no grant",
    **{
        f"POST /v1/{process.name}{path}": "a case: the grant it becomes is one of its own, or told as a renewal is"
        for process in PROCESSES.values()
        for path in ("", "/{id}/comments", "/{id}/attachments", *(f"/{{id}}/{each.name}" for each in process.steps[1:]))
        if f"POST /v1/{process.name}{path}" not in TAKES_AWAY
    },
    "POST /complaints": "a complaint",
    "POST /v1/rectifications/{id}/terminate": "of a grant that is suspended: nothing flows under it",
    "POST /v1/grants/{id}/disposal": "of a grant that has ended",
    "POST /v1/grants/{id}/dispute": "the grant stands until it is settled",
    "POST /v1/grants/{id}/dispute/settlement": "what it settles is a version or an end of its own",
    "POST /v1/grants/{id}/suspension/lift": "gives back",
    "POST /v1/hosts": "a claim: interfaces lead where they led",
    "POST /v1/hosts/{supplier}/{id}/proof": "of a claim",
    "POST /v1/interfaces/derivation": "a proposal",
    "POST /v1/interfaces/trial": "a trial",
    "POST /v1/officers": "an officer calls no interface",
    "POST /v1/orders/{id}/lift": "gives back",
    "POST /v1/orders/{id}/report": "a report",
    "POST /v1/policies/compare": "a question",
    "POST /v1/policies/explain": "a question",
    "POST /v1/policies/shadow": "decides nothing",
    "POST /v1/policies/shadow/end": "decides nothing",
    "POST /v1/purposes": "grants name a purpose by its id, and that stays",
    "POST /v1/reorganisations/plan": "a plan is taken back",
    "POST /v1/records": "a record",
    "POST /v1/records/export": "a question",
    "POST /v1/records/search": "a question",
    "POST /v1/records/{id}/erasure": "what was said goes, and nothing that is obtained",
    "POST /v1/retention": "of records",
    "POST /v1/systems": "a system of its own",
    "POST /v1/systems/{id}/keys": "gives a key",
    "POST /witness/add-checkpoint": "of a log",
}
"""Acts that take nothing from a call under way, and why."""

ROWS = [(act, what) for act, rows in TAKES_AWAY.items() for what in rows]
