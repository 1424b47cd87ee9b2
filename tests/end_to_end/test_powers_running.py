"""Powers of departments on a running gateway of the nation: who protects and who releases, what is returned to a lower
level, and what departments of one family may not draw or verify one by one. The policies are the shipped ones."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.client import SharingAuth, new_private_key, public_jwk
from gateway.domain.errors import GatewayError
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from gateway.runtime.demo.story import PURPOSE
from gateway.runtime.demo.world import REGION
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from tests.end_to_end.test_law import PERSONS, code_of, grant_document
from tests.support.gateways import RunningGateway, served_home

ELSEWHERE, CITY = "450000", "440100"
MARRIAGES, COMPANIES = "/civil-affairs/marriages", "/market-regulation/companies"
WHERE = {"household": PERSONS, "marriage": MARRIAGES, "enterprise": COMPANIES}
ITEMS = {"household": "name", "marriage": "status", "enterprise": "name"}
PAPER = {"household": "police-chen", "marriage": "civil-wu", "enterprise": "market-zhao"}


class Nation:
    """A gateway whose registrar is the nation's; departments with a system each, and officers, as a test needs them."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.keys: dict[str, str] = {}

    def department(self, name: str, region: str = REGION, *, level: str = "province", **more: Any) -> None:
        """A department, and a system of its own of the same name."""
        with self.gateway.officer() as api:
            api.post("/v1/departments", {"id": name, "name": name, "region": region, "level": level, **more})
            if name not in self.keys:
                self.keys[name] = new_private_key()
                system = {"id": f"{name}-desk", "department": name, "name": name, "keys": [public_jwk(self.keys[name])]}
                api.post("/v1/systems", system)

    def officer(self, name: str, department: str, region: str, *roles: str) -> None:
        with self.gateway.officer() as api:
            api.post("/v1/officers", {"id": name, "department": department, "region": region, "roles": list(roles)})

    def grant(self, name: str, department: str, dataset: str = "household", **more: Any) -> None:
        said = {"dataset": dataset, "items": [ITEMS[dataset]], "modes": ["query", "verify"], **more}
        with self.gateway.officer(PAPER[dataset]) as api:
            api.post("/v1/grants", grant_document(name, department=department, **said))

    def asks(self, department: str, dataset: str = "household", values: dict[str, Any] | None = None) -> str:
        """The code of a refusal, or the status: of a query, or of a verification of `values`."""
        items = (ITEMS[dataset],)
        auth = SharingAuth(
            f"{self.gateway.control}/oauth/token",
            f"{department}-desk",
            self.keys[department],
            purpose=PURPOSE,
            items=items,
        )
        people = self.gateway.population
        names = {
            "household": {"id_number": people.persons[0]["id_number"]},
            "marriage": {"id_number": people.marriages[0]["wife"]["id_number"]},
            "enterprise": {"uscc": people.companies[0]["uscc"]},
        }[dataset]
        with httpx.Client(base_url=self.gateway.data_plane, auth=auth, trust_env=False, timeout=15) as client:
            if values is None:
                answer = client.get(WHERE[dataset], params=names)
            else:
                mode = {"Sharing-Mode": "verify"}
                answer = client.post(WHERE[dataset], params=names, json={"values": values}, headers=mode)
        return code_of(answer) or str(answer.status_code)

    def does(self, officer: str | None, path: str, body: Any) -> str:
        """The code of a refusal of an act, "" where it was done."""
        try:
            with self.gateway.officer(officer) as api:
                api.post(path, body)
        except GatewayError as error:
            return error.code
        return ""


@pytest.fixture(scope="module")
def nation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nation]:
    home = GatewayHome(tmp_path_factory.mktemp("powers") / "home")
    made = initialise(home, region="000000", department="national-bureau")
    with served_home(home, made) as gateway:
        yield Nation(gateway)


def test_either_sides_authority_protects_and_who_stopped_or_stands_above_both_releases(nation: Nation) -> None:
    """Decree 809 Art. 27 ¶2, 28: the authority of the demand side's province may stop, and may not undo a stop."""
    nation.department("west-bureau", ELSEWHERE, competent=True)
    nation.department("west-fund", ELSEWHERE)
    for name, department, role in (("west-lin", "west-bureau", "competent"), ("west-li", "west-fund", "demand")):
        nation.officer(name, department, ELSEWHERE, role)
    nation.grant("G-WEST", "west-fund")
    path = "/v1/grants/G-WEST"
    stop = {"violation": "used beyond its purpose", "rectify_by": "2099-01-31"}
    end = {"reason": "no more", "consultation": "c", "filing": "f"}
    lift = {"reason": "rectified"}
    assert nation.asks("west-fund") == "200"

    assert nation.does("police-chen", f"{path}/suspension", stop) == ""
    assert nation.asks("west-fund") == "suspended"
    for officer in ("west-lin", "west-li", "competent-lin", "civil-wu"):
        assert nation.does(officer, f"{path}/suspension/lift", lift) in {"act-not-permitted", "not-found"}, officer
    for officer in ("west-lin", "west-li"):
        assert nation.does(officer, f"{path}/termination", end) == "act-not-permitted", officer
    assert nation.asks("west-fund") == "suspended"
    assert nation.does(None, f"{path}/suspension/lift", lift) == "", "the nation stands above both"
    assert nation.asks("west-fund") == "200"

    assert nation.does("west-lin", f"{path}/suspension", stop) == ""
    assert nation.asks("west-fund") == "suspended"
    for officer in ("police-chen", "west-li", "competent-lin"):
        assert nation.does(officer, f"{path}/suspension/lift", lift) == "act-not-permitted", officer
    assert nation.does("west-lin", f"{path}/suspension/lift", lift) == "", "it lifts what it ordered"
    assert nation.asks("west-fund") == "200"

    # Of two stops each is lifted by who gave it: nothing flows until both are.
    assert nation.does("police-chen", f"{path}/suspension", stop) == ""
    with nation.gateway.officer("west-lin") as api:
        theirs = api.post("/v1/orders", {**_ORDER, "target": "west-fund", "supplier": "public-security"})["order"]["id"]
    assert nation.does("west-lin", f"{path}/suspension/lift", lift) == "act-not-permitted"
    assert nation.does("police-chen", f"{path}/suspension/lift", lift) == ""
    assert nation.asks("west-fund") == "suspended"
    assert nation.does("police-chen", f"/v1/orders/{theirs}/lift", lift) == "act-not-permitted"
    assert nation.does("west-lin", f"/v1/orders/{theirs}/lift", lift) == ""
    assert nation.asks("west-fund") == "200"
    assert nation.does("west-lin", f"{path}/termination", end) == "act-not-permitted", "it may protect, not end"
    assert nation.does("police-chen", f"{path}/termination", end) == ""
    assert nation.asks("west-fund") == "terminated"


_ORDER = {"kind": "suspension", "reach": "department", "reason": "a leak", "rectify_by": "2099-01-31"}


def test_a_stop_of_a_department_stops_those_below_it_unless_it_says_not(nation: Nation) -> None:
    """Decree 809 Art. 27 ¶2: shown before it is given, by whoever may give it, and as it was shown."""
    nation.department("stopped")
    nation.department("stopped-below", parent="stopped")
    nation.grant("G-BELOW", "stopped-below")
    assert nation.asks("stopped-below") == "200"
    order = {"kind": "emergency", "reach": "department", "target": "stopped", "reason": "a leak"}
    with nation.gateway.officer("competent-lin") as api:
        for chosen, comes in (({"subordinates": False}, "200"), ({}, "suspended")):
            shown = api.get("/v1/orders/reach", reach="department", target="stopped", **chosen)
            reached = comes == "suspended"
            assert ("stopped-below" in shown["departments"]) == reached
            assert ("stopped-below-desk" in shown["systems"]) == reached
            assert ("G-BELOW" in {each["id"] for each in shown["grants"]}) == reached
            given = api.post("/v1/orders", {**order, **chosen})["order"]["id"]
            assert nation.asks("stopped-below") == comes
            api.post(f"/v1/orders/{given}/lift", {"reason": "over"})
            assert nation.asks("stopped-below") == "200"
    with nation.gateway.officer("police-chen") as api, pytest.raises(GatewayError) as caught:
        api.get("/v1/orders/reach", reach="department", target="stopped")
    assert caught.value.code == "not-found"


def test_data_is_returned_downward_alone_and_whole(nation: Nation) -> None:
    """Decree 809 Art. 24: from the province to its city; not to its equal, not upward, and narrowed in no way."""
    nation.department("city-police", CITY, level="city")
    nation.department("sister-police", REGION)
    nation.department("nation-police", "000000", level="national")
    with nation.gateway.officer() as api:
        entry = api.get("/v1/datasets/household")["released"]
    whole = {"items": [each["name"] for each in entry["items"]], "return_flow": True}
    with nation.gateway.officer("police-chen") as api:
        for narrowed in (
            {"items": ["name", "city"]},
            {"hours": {"start_minute": 480, "end_minute": 1080}},
            {"quota": {"calls_a_day": 5}},
            {"parameters": {"region": [CITY]}},
            {"assurance": "mtls"},
        ):
            with pytest.raises(GatewayError) as caught:
                api.post("/v1/grants", grant_document("G-NARROW", department="city-police", **{**whole, **narrowed}))
            assert "Art. 24" in str(caught.value.members["faults"]), narrowed
        for name in ("city-police", "sister-police", "nation-police"):
            api.post("/v1/grants", grant_document(f"G-{name}", department=name, **whole))
    assert nation.asks("city-police") == "200"
    assert nation.asks("sister-police") == "not-granted"
    assert nation.asks("nation-police") == "not-granted"
    # Who comes to lie in the region is a lower level then; who leaves it is none.
    nation.department("sister-police", CITY, level="city")
    nation.department("city-police", ELSEWHERE, level="city")
    assert (nation.asks("sister-police"), nation.asks("city-police")) == ("200", "not-granted")


def test_a_family_does_not_draw_one_by_one_what_one_may_not_nor_verify_it(nation: Nation) -> None:
    """Decree 809 Art. 25 ¶2: the shipped rules on sisters and on verification, about entries that there are here."""
    shipped = read_set(default_policies_root(), ("national", "convergence"))
    _, _, rules = shipped.files["convergence/art25-first-rules.cedar"].partition("// What one department may not have")
    for sample, entry in (("real-estate", "enterprise"), ("income", "household"), ("health-record", "marriage")):
        rules = rules.replace(f'"{sample}"', f'"{entry}"')
    files = {name: text for name, text in shipped.files.items() if not name.startswith("convergence/")}
    files["convergence/rules.cedar"] = "// What one department may not have" + rules
    nation.department("fund-top")
    for name in ("fund-a", "fund-b", "fund-c", "fund-d", "other"):
        nation.department(name, **({} if name == "other" else {"parent": "fund-top"}))
    for name in ("fund-top", "fund-a", "fund-b", "fund-c", "fund-d", "other"):
        for dataset in ITEMS:
            nation.grant(f"G-{name}-{dataset}", name, dataset)
    activation = {"layers": ["national", "convergence"], "files": files, "reason": "decided", "revives": True}
    assert nation.does(None, "/v1/policies/activation", activation) == ""

    # Verified in one line: the mother and a daughter, each a part. A sister of hers is no one of that line.
    assert nation.asks("fund-top", "household", {"name": "nobody"}) == "200"
    assert nation.asks("fund-a", "marriage", {"status": "nothing"}) == "200"
    assert nation.asks("fund-a", "enterprise", {"name": "nobody"}) == "not-granted"
    assert nation.asks("fund-top", "enterprise", {"name": "nobody"}) == "not-granted"
    assert nation.asks("fund-d", "enterprise", {"name": "nobody"}) == "200"
    assert nation.asks("fund-a", "enterprise") == "not-granted", "nor is it obtained"

    # Drawn by sisters, one register each: the third is refused, whichever of them asks, and other families go on.
    assert nation.asks("fund-b", "household") == "200"
    assert nation.asks("fund-c", "enterprise") == "200"
    assert nation.asks("fund-b", "marriage") == "not-granted"
    nation.department("fund-c", parent="other")
    assert nation.asks("fund-b", "marriage") == "not-granted", "its sister has gone, and what she drew has not"
    assert nation.asks("other", "household") == "200"
    assert nation.asks("other", "marriage") == "not-granted", "a daughter brought the third"
    with nation.gateway.officer() as api:
        asked = {"system": "fund-b-desk", "department": "fund-b", "supplier": "civil-affairs"}
        why = api.post(
            "/v1/policies/explain", {**asked, "interface": "marriages", "purpose": PURPOSE, "items": ["status"]}
        )["verdict"]
    assert why["policies"] == ["convergence-family-among-sisters"]
    assert nation.does(None, "/v1/policies/rollback", {"reason": "the trial is over", "revives": True}) == ""
    assert nation.asks("fund-b", "marriage") == "200"


def test_a_role_is_worth_what_its_holders_department_is(nation: Nation) -> None:
    """Decree 809 Art. 8: of an ordinary department the role gives nothing; of another region's, nothing here."""
    nation.department("ordinary", REGION)
    nation.department("south-bureau", "460000", competent=True)
    nation.officer("ordinary-wei", "ordinary", REGION, "competent")
    nation.officer("south-wei", "south-bureau", "460000", "competent")
    nation.grant("G-ROLE", "ordinary")
    assert nation.asks("ordinary") == "200"
    own = grant_document("G-OWN", department="ordinary", items=["phone"])
    person = {"id": "friend", "department": "ordinary", "region": REGION, "roles": ["competent"]}
    stop = {"violation": "v", "rectify_by": "2099-01-31"}
    files = dict(read_set(default_policies_root(), ("national",)).files)
    files["national/art03-secrets.cedar"] += "// of another mind\n"
    for officer in ("ordinary-wei", "south-wei"):
        for path, body in (
            ("/v1/grants", own),
            ("/v1/datasets/household/withdrawal", {"reason": "none"}),
            ("/v1/officers", person),
            ("/v1/departments", {"id": "ordinary", "name": "o", "region": REGION, "level": "province"}),
            ("/v1/policies/activation", {"layers": ["national"], "files": files, "reason": "r"}),
            ("/v1/grants/G-ROLE/suspension", stop),
            ("/v1/orders", {**_ORDER, "target": "ordinary"}),
        ):
            assert nation.does(officer, path, body) in {"act-not-permitted", "not-found"}, (officer, path)
    assert nation.asks("ordinary") == "200"


def test_a_dispute_of_two_provinces_is_settled_by_the_nation(nation: Nation) -> None:
    """Decree 809 Art. 28: by neither province's own department, though the authority of either may raise it."""
    nation.department("north-bureau", "130000", competent=True)
    nation.department("north-fund", "130000")
    for name, department, role in (("north-lin", "north-bureau", "competent"), ("north-li", "north-fund", "demand")):
        nation.officer(name, department, "130000", role)
    nation.grant("G-NORTH", "north-fund")
    with nation.gateway.officer("north-lin") as api:
        case = api.post("/v1/disputes", {"grant": "G-NORTH", "reason": "two items are left out"})["dispute"]["id"]
    with nation.gateway.officer("north-li") as api:
        api.post(f"/v1/disputes/{case}/apply", {"reasons": "no agreement came of it"})
    outcome = {"outcome": "the items are shared", "reference": "国数协〔2026〕5号"}
    for officer in ("north-lin", "competent-lin", "north-li", "police-chen"):
        assert nation.does(officer, f"/v1/disputes/{case}/settle", outcome) == "act-not-permitted", officer
    assert nation.does(None, f"/v1/disputes/{case}/settle", outcome) == ""
