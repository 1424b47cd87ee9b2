"""The law on a running gateway: what it forbids, tried by those whom it forbids it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicySet
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from gateway.runtime.demo.story import PURPOSE
from gateway.runtime.demo.world import REGION
from tests.support.gateways import RunningGateway, running_gateway

PERSONS = "/public-security/persons"
CLUES = "/public-security/clues"
WHO = {"Sharing-Scenario": "counter", "Sharing-Operator": "li"}
DECISION = "省数〔2026〕3号"


def _of_the_province(text: str) -> str:
    """The municipality's rules, for the province that the demo's departments lie in, at any hour of the day."""
    return re.sub(r"442000", REGION, text.partition("// The offices' hours")[0])


SHIPPED = read_set(default_policies_root(), ("national", "zhongshan"))
DENIED = {"parameters-not-granted", "items-not-granted"}
"""As the nearest grant says, where more than one comes near."""
CITY = PolicySet(
    ("national", "zhongshan"),
    {
        name: _of_the_province(text)
        if name.startswith("zhongshan/") and name.endswith((".cedar", "layer.yaml"))
        else text
        for name, text in SHIPPED.files.items()
        if not name.startswith("zhongshan/tests/")
    }
    | {
        "zhongshan/tests/province.yaml": """
about: the rules reach the province
layers: [national, zhongshan]
cases:
  - case: unconditional data
    grant: null
    dataset: {sharing_attribute: unconditional}
    expect: {under: "", by: [zhongshan-art22-unconditional]}
  - case: verification
    grant: null
    call: {mode: verify}
    expect: {under: "", by: [zhongshan-art22-verify]}
"""
    },
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    settled = {"GATEWAY_POLICIES__DECISION": DECISION, "GATEWAY_POLICIES__LONGEST_GRANT_DAYS": "400"}
    with running_gateway(tmp_path_factory.mktemp("law") / "home", **settled) as running:
        with running.officer() as api:
            api.post(
                "/v1/policies/activation", {"layers": list(CITY.layers), "files": dict(CITY.files), "revives": True}
            )
        yield running


def grant_document(id_: str, **changes: Any) -> dict[str, Any]:
    """A grant of the household register for the housing fund."""
    now = datetime.now(UTC)
    document = {
        "id": id_,
        "department": "housing-fund",
        "dataset": "household",
        "items": ["name", "city"],
        "purposes": [PURPOSE],
        "modes": ["query"],
        "valid_from": (now - timedelta(days=1)).isoformat(),
        "valid_until": (now + timedelta(days=30)).isoformat(),
        "legal_basis": "Decree 809 Art. 20",
        "scenario": "a trial",
        "scope_of_use": "this trial",
        "demand_approval": {"person": "zhou", "at": (now - timedelta(hours=2)).isoformat(), "reference": "1"},
        "supply_approval": {"person": "chen", "at": (now - timedelta(hours=1)).isoformat(), "reference": "2"},
    }
    return {**document, **changes}


def code_of(answer: httpx.Response) -> str:
    """The problem's code, "" of an answer that is none."""
    return str(answer.json().get("type", "")).rpartition("/")[2] if answer.status_code >= 400 else ""


def change(gateway: RunningGateway, path: str, id_: str, **changes: Any) -> None:
    """Change a thing of the directory, as the registrar."""
    with gateway.officer() as api:
        found = (
            api.get(f"{path}/{id_}")
            if path.endswith("departments")
            else next(each for each in api.get(path)["items"] if each["id"] == id_)
        )
        body = {name: value for name, value in found.items() if name != "version"}
        api.post(path, {**body, **changes})


def test_a_limited_grant_gives_nothing_beyond_it_wherever_the_caller_asks(gateway: RunningGateway) -> None:
    """The parameter is read in query and body, what is not read is not taken, and the answer's rows are checked."""
    people = gateway.population.persons
    sex = people[0]["sex"]
    other = next(one for one in people if one["sex"] != sex)
    change(gateway, "/v1/interfaces", "persons", scope_parameters=["sex"], methods=["GET", "POST"])
    with gateway.officer("police-chen") as api:
        api.post("/v1/grants", grant_document("G-SEX", items=["phone"], parameters={"sex": [sex]}))
    with gateway.client(items=("phone",)) as client:

        def ask(row: Any, **query: str) -> httpx.Response:
            return client.get(PERSONS, params={"id_number": row["id_number"], **query})

        found = ask(people[0], sex=sex)
        assert (found.status_code, found.headers["Sharing-Grant"]) == (200, "G-SEX")
        assert code_of(ask(people[0])) in DENIED
        assert code_of(ask(people[0], sex=other["sex"])) in DENIED
        assert code_of(ask(other, sex=sex)) == "answer-not-filterable"
        assert other["phone"] not in ask(other, sex=sex).text
        for body, kind in ((b"<q/>", "text/xml"), (b'{"x":1}', "text/plain")):
            sent = client.post(PERSONS, params={"sex": sex}, content=body, headers={"Content-Type": kind})
            assert code_of(sent) in DENIED
        assert code_of(client.post(PERSONS, params={"sex": sex}, json={"sex": other["sex"]})) == "malformed-request"
        assert code_of(client.get(f"{PERSONS}/all", params={"sex": sex})) in DENIED


def test_what_needs_no_grant_has_a_grants_limits(gateway: RunningGateway) -> None:
    """Verification of non-shareable data: an own matter, declared, one person, no guessing, five wrong answers."""
    person, other = gateway.population.persons[:2]

    def verify(values: dict[str, Any], row: Any = person, headers: Any = WHO, **query: Any) -> str:
        with gateway.client() as client:
            params = {"id_number": row["id_number"], **query} if row is not None else query
            answer = client.post(
                CLUES, params=params, json={"values": values}, headers={"Sharing-Mode": "verify", **headers}
            )
            return code_of(answer) or "".join(str(answer.json()["matches"][item])[0] for item in sorted(values))

    right = {"name": person["name"]}
    assert verify(right) == "purpose-not-granted"
    change(gateway, "/v1/departments", "housing-fund", matters=[PURPOSE])
    assert verify(right) == "T"
    assert verify(right, headers={}) == "declaration-missing"
    assert verify(right, row=None, name=person["name"]) == "declaration-missing"
    assert verify(right, age_from=30) == "declaration-missing"
    assert verify({"name": 5000}) == "guess-refused"
    found = [verify({"name": f"guess {number}"}) for number in range(50)]
    assert found == ["F"] * 5 + ["quota-exhausted"] * 45
    assert verify({"name": other["name"]}, row=other) == "T"
    with gateway.officer("auditor-he") as api:
        listed = api.get("/v1/records", dataset="criminal-clue", verdict="permit", limit=1)["items"][0]
        shown = str(api.get(f"/v1/records/{listed['record']}"))
        assert "zhongshan-art22-verify" in shown
        assert DECISION in shown
    change(gateway, "/v1/departments", "housing-fund", matters=[])
    assert verify({"name": other["name"]}, row=other) == "purpose-not-granted"
    with pytest.raises(GatewayError), gateway.officer() as api:
        api.post("/v1/grants", grant_document("G-NO", dataset="criminal-clue", items=["name"], modes=["verify"]))


def test_a_grant_comes_of_acts_on_both_sides_and_paper_is_entered_by_who_may(gateway: RunningGateway) -> None:
    """Demand side first, then the supplier; calls are served under it from then on, and not before."""
    with gateway.officer() as api:
        for id_, department, roles in (
            ("fund-sun", "housing-fund", ["demand"]),
            ("police-ma", "public-security", ["supplier"]),
        ):
            api.post("/v1/officers", {"id": id_, "department": department, "region": REGION, "roles": roles})
    wanted = grant_document("G-ACTS", items=["ethnicity"])
    proposal = {name: value for name, value in wanted.items() if not name.endswith("_approval")}

    def refused(id_: str, path: str, body: Any) -> str:
        with gateway.officer(id_) as api, pytest.raises(GatewayError) as caught:
            api.post(path, body)
        return caught.value.code

    def status() -> int:
        with gateway.client(items=("ethnicity",)) as client:
            number = gateway.population.persons[0]["id_number"]
            return client.get(PERSONS, params={"id_number": number}).status_code

    path = "/v1/proposals/G-ACTS"
    assert refused("police-ma", "/v1/grants", wanted) == "act-not-permitted"
    assert refused("police-ma", "/v1/proposals", proposal) == "act-not-permitted"
    with gateway.officer("fund-sun") as api:
        digest = {"digest": api.post("/v1/proposals", proposal)["digest"]}
    assert refused("police-ma", f"{path}/supply-approval", digest) == "act-not-permitted"
    with gateway.officer("fund-sun") as api:
        api.post(f"{path}/demand-approval", digest)
    assert refused("fund-sun", f"{path}/supply-approval", digest) == "act-not-permitted"
    assert status() == 403
    with gateway.officer("police-ma") as api:
        issued = api.post(f"{path}/supply-approval", digest)["grant"]
    assert (issued["demand_approval"]["person"], issued["supply_approval"]["person"]) == ("fund-sun", "police-ma")
    assert status() == 200
    ends = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    assert refused("police-chen", "/v1/grants", grant_document("G-LONG", valid_until=ends)) == "act-not-permitted"


def test_a_refusal_names_the_condition_and_a_stop_outlives_the_grant_that_was_closed(gateway: RunningGateway) -> None:
    """Hours are not `not-granted`; after closing, the duty to rectify stands until the suspension is lifted."""
    now = datetime.now(UTC) + timedelta(hours=8)
    closed = (now.hour * 60 + now.minute + 720) % 1380
    with gateway.officer("police-chen") as api:
        hours = {"start_minute": closed, "end_minute": closed + 60}
        purpose = "statistical-survey"
        wanted = {"items": ["household_type"], "purposes": [purpose], "hours": hours}
        api.post("/v1/grants", grant_document("G-HOURS", **wanted))
    with gateway.client(purpose=purpose, items=("household_type",)) as client:
        number = gateway.population.persons[0]["id_number"]
        answer = client.get(PERSONS, params={"id_number": number})
    assert code_of(answer) == "outside-hours"
    with gateway.officer() as api:
        person = {"id": "fund-qian", "department": "housing-fund", "region": REGION, "roles": ["demand"]}
        api.post("/v1/officers", person)
    with gateway.officer("police-chen") as api:
        order = api.post(
            "/v1/grants/G-HOURS/suspension",
            {"violation": "used beyond its purpose", "rectify_by": (now + timedelta(days=9)).date().isoformat()},
        )["order"]["id"]
    with gateway.officer("fund-qian") as api:
        api.post("/v1/grants/G-HOURS/closure", {"outcome": "achieved", "reason": "done"})
    with gateway.officer("police-chen") as api:
        shown = api.get("/v1/grants/G-HOURS")
        assert [each.get("lifted_at") for each in shown["orders"] if each["id"] == order] == [None]
        api.post("/v1/grants/G-HOURS/suspension/lift", {"reason": "rectified"})
        shown = api.get("/v1/grants/G-HOURS")
    assert shown["grant"]["state"] == "closed"
    assert all(each.get("lifted_at") for each in shown["orders"])


def test_a_class_that_nobody_knows_and_a_secret_by_any_name_are_not_released(gateway: RunningGateway) -> None:
    """Art. 3, 13: each is refused where the entry is submitted, the unknown one with the nearest known."""
    with gateway.officer() as api:
        entry = api.get("/v1/datasets/household")["released"]
        body = {name: value for name, value in entry.items() if name not in ("version", "state")}
        for word, said in (("机密★10年", "Art. 3"), ("Internal", "Art. 3"), ("persnal", "`personal`")):
            with pytest.raises(GatewayError) as caught:
                api.post("/v1/datasets", {**body, "classification": word})
            assert said in str(caught.value.members["faults"])


def test_what_may_not_be_drawn_together_is_not_for_another_purpose_either(gateway: RunningGateway) -> None:
    """A rule of the region's counts what the department has drawn, whatever it declared."""
    pair = '[Dataset::"household", Dataset::"marriage"]'
    rule = f"""
        @id("zhongshan-convergence") @article("Decree 809 Art. 25 ¶2") @title("Not together within a month")
        forbid (principal, action in Action::"obtain", resource)
        when {{ {pair}.contains(resource.dataset) }}
        when {{ context has drawn && context.drawn.month.containsAll({pair}) }};"""
    files = {**CITY.files, "zhongshan/convergence.cedar": rule}
    with gateway.officer("police-chen") as api:
        api.post("/v1/grants", grant_document("G-SURVEY", items=["street"], purposes=["business-start-up-subsidy"]))
    with gateway.officer() as api:
        api.post("/v1/policies/activation", {"layers": list(CITY.layers), "files": files, "reason": "a trial"})
    number = gateway.population.marriages[0]["wife"]["id_number"]
    with gateway.client(items=("status",)) as client:
        assert client.get("/civil-affairs/marriages", params={"id_number": number}).status_code == 200
    with gateway.client(purpose="business-start-up-subsidy", items=("street",)) as client:
        answer = client.get(PERSONS, params={"id_number": number})
    assert (answer.status_code, answer.json()["explanation"]["near"][0]["failed"]) == (403, ["combination"])
    with gateway.officer() as api:
        api.post("/v1/policies/rollback", {"reason": "the trial is over", "revives": True})


def test_a_dispute_across_levels_is_settled_above_both_and_by_nobody_below(gateway: RunningGateway) -> None:
    """Raised by a city against a supplier of the province: the province settles, the city does not."""
    city = {"region": "442000", "level": "city"}
    with gateway.officer() as api:
        for id_, competent in (("zs-bureau", True), ("zs-civil", False)):
            api.post("/v1/departments", {"id": id_, "name": id_, "competent": competent, **city})
        for id_, department, role in (("zs-wu", "zs-bureau", "competent"), ("zs-lin", "zs-civil", "demand")):
            api.post("/v1/officers", {"id": id_, "department": department, "region": "442000", "roles": [role]})
    with gateway.officer("police-chen") as api:
        api.post("/v1/grants", grant_document("G-CITY", department="zs-civil", items=["street"]))
    with gateway.officer("zs-lin") as api:
        case = api.post("/v1/disputes", {"grant": "G-CITY", "reason": "two items are left out"})["dispute"]["id"]
        api.post(f"/v1/disputes/{case}/apply", {"reasons": "no agreement came of it"})
    outcome = {"outcome": "the items are shared", "reference": "省数协〔2026〕5号"}
    for officer in ("zs-wu", "zs-lin", "police-chen"):
        with gateway.officer(officer) as api, pytest.raises(GatewayError) as caught:
            api.post(f"/v1/disputes/{case}/settle", outcome)
        assert caught.value.code == "act-not-permitted", officer
    with gateway.officer() as api:
        assert api.post(f"/v1/disputes/{case}/settle", outcome)["dispute"]["state"] == "settled"


def test_what_flows_again_is_listed_and_asked_for(gateway: RunningGateway) -> None:
    """An entry that leaves a department out stops its calls; that they flow again is said by who releases it."""
    number = gateway.population.persons[0]["id_number"]

    def asked() -> str:
        with gateway.client(items=("name",)) as client:
            return code_of(client.get(PERSONS, params={"id_number": number}))

    with gateway.officer("police-chen") as api:
        api.post("/v1/grants", grant_document("G-SCOPE", items=["name"]))
    assert asked() == ""
    with gateway.officer() as api:
        api.post("/v1/departments", {"id": "zs-market", "name": "zs-market", "region": "442000", "level": "city"})
        entry = api.get("/v1/datasets/household")["released"]
        body = {name: value for name, value in entry.items() if name not in ("version", "state")}
        api.post("/v1/datasets?release=true", {**body, "recipients": {"levels": ["county"]}})
        assert asked() == "outside-scope"
        for wider in ({"levels": ["county", "province"]}, {}):
            with pytest.raises(GatewayError) as caught:
                api.post("/v1/datasets?release=true", {**body, "recipients": wider})
            assert "G-SCOPE" in caught.value.members["revives"]
        with pytest.raises(GatewayError) as caught:
            api.post("/v1/datasets?release=true&revives=true", body)
        assert "recipients" in str(caught.value.members["faults"])
        with pytest.raises(GatewayError) as caught:
            api.post("/v1/grants", grant_document("G-OUTSIDE", department="zs-market", items=["street"]))
        assert "outside the scope" in str(caught.value.members["faults"])
        api.post("/v1/datasets?release=true&revives=true", {**body, "recipients": {}})
    assert asked() == ""


def test_who_keeps_a_systems_keys_is_not_the_operator_of_its_calls(gateway: RunningGateway) -> None:
    """By the name that a call gives: another person of the department operates."""
    number = gateway.population.persons[0]["id_number"]
    with gateway.officer() as api:
        system = api.get("/v1/systems/housing-fund-approval")
    keepers = set(system["kept_by"].values())
    assert keepers
    with gateway.client(items=("name",)) as client:
        for operator, expected in ((keepers.pop(), "keeper-calls"), ("another", "")):
            answer = client.get(PERSONS, params={"id_number": number}, headers={"Sharing-Operator": operator})
            assert code_of(answer) == expected


def test_a_stop_stops_every_road_and_shows_before_what_it_reaches(gateway: RunningGateway) -> None:
    """Another grant, and a rule that needs none: each flows, is shown, is stopped, and flows again."""
    company = gateway.population.companies[0]["uscc"]
    change(gateway, "/v1/departments", "housing-fund", matters=[PURPOSE])
    said = {"dataset": "enterprise", "modes": ["query"]}
    with gateway.officer("market-zhao") as api:
        api.post("/v1/grants", grant_document("G-NAME", items=["name"], **said))
        api.post("/v1/grants", grant_document("G-STATUS", items=["status"], **said))

    def asked() -> dict[str, str]:
        """What comes of a call by each road: the items of one grant, of the other, and those that no grant gives."""
        found = {}
        for item in ("name", "status", "founded_on"):
            with gateway.client(items=(item,)) as client:
                answer = client.get("/market-regulation/companies", params={"uscc": company}, headers=WHO)
            found[item] = code_of(answer) or answer.headers.get("Sharing-Grant", "")
        return found

    flowing = {"name": "G-NAME", "status": "G-STATUS", "founded_on": ""}
    stopped = dict.fromkeys(flowing, "suspended")
    assert asked() == flowing
    with gateway.officer("market-zhao") as api:
        shown = api.get("/v1/orders/reach", reach="grant", target="G-NAME")
        assert {"G-NAME", "G-STATUS"} <= {each["id"] for each in shown["grants"]}
        assert "zhongshan-art22-unconditional" in {each["policy"] for each in shown["without_grant"]}
        api.post("/v1/grants/G-NAME/suspension", {"violation": "passed on", "rectify_by": "2099-01-31"})
        assert asked() == stopped
        api.post("/v1/grants/G-NAME/suspension/lift", {"reason": "rectified"})
    assert asked() == flowing

    change(gateway, "/v1/departments", "housing-fund", matters=[])
