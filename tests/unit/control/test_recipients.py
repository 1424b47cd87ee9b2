"""With whom an entry may be shared, as facts (Decree 809 Art. 15): at issue, call, release and reorganisation."""

import base64
import csv
import io
from typing import Any

import msgspec
import pytest

from gateway.control.act.examples import DATASET, GRANT, PROPOSAL
from gateway.domain.callers import Assurance
from gateway.domain.directory import SharingMode
from gateway.domain.verdicts import Call
from gateway.policy.live.slices import Slice
from gateway.store.directory.columns import COLUMNS
from tests.policies.cases import NATIONAL
from tests.support.control import World, done, refused

ENTRY = DATASET["id"]
EXAMINATION = f"/v1/datasets/{ENTRY}/versions/{{}}/examination"
CIVIL = {"id": "civil-affairs", "name": "市民政局", "region": "442000", "level": "city"}
MERGED = {
    "kind": "merge",
    "departments": ["civil-affairs"],
    "successor": "market",
    "document": "9号",
    "reason": "reform",
}


def released(world: World, bounds: dict[str, Any] | None, officer: str = "registrar", **said: Any) -> dict[str, Any]:
    """The entry, released with these bounds; None says nothing of them."""
    body = DATASET if bounds is None else {**DATASET, "recipients": bounds}
    answer: dict[str, Any] = done(world.post(officer, "/v1/datasets?release=true&revives=true", {**body, **said}))
    return answer


def code(world: World, department: str = "civil-affairs", system: str = "marriage-registry") -> str:
    """What a call is answered, `` where it is permitted."""
    call = Call(
        system=system,
        department=department,
        assurance=Assurance.MTLS,
        interface="public-security/household",
        dataset=ENTRY,
        mode=SharingMode.QUERY,
        purpose="marriage-registration",
        items=("name",),
    )
    return Slice(NATIONAL, world.store.slice_state(department, ENTRY)).evaluate(call, int(world.now())).code


def faults(answer: dict[str, Any]) -> dict[str, str]:
    return {each["field"]: each["fault"] for each in answer["faults"]}


@pytest.mark.parametrize(
    ("bounds", "missed"),
    [
        ({"departments": ["market"]}, "departments"),
        ({"levels": ["province", "county"]}, "levels"),
        ({"regions": ["430000"]}, "regions"),
        ({"matters": ["social-assistance"]}, "matters"),
    ],
    ids=["departments", "levels", "regions", "matters"],
)
def test_a_grant_is_not_made_for_whom_the_entry_leaves_out(world: World, bounds: dict[str, Any], missed: str) -> None:
    """By paper or by proposal: the fault says which bound, and who may have the data."""
    released(world, bounds)
    for path, body in (("/v1/grants", GRANT), ("/v1/proposals", PROPOSAL)):
        officer = "police" if path.endswith("grants") else "civil"
        sentence = faults(refused(world.post(officer, path, body), "invalid-input"))["department"]
        assert missed in sentence
        assert "Decree 809 Art. 15" in sentence


def test_what_was_proposed_before_is_not_approved_once_the_entry_leaves_the_department_out(world: World) -> None:
    """The entry is looked at again where the grant is issued, not at the proposal alone."""
    proposal = done(world.post("civil", "/v1/proposals", PROPOSAL))
    released(world, {"departments": ["market"]})
    path, digest = f"/v1/proposals/{PROPOSAL['id']}", {"digest": proposal["digest"]}
    done(world.post("civil", f"{path}/demand-approval", digest))
    assert "department" in faults(refused(world.post("police", f"{path}/supply-approval", digest), "invalid-input"))


def test_a_release_that_leaves_a_department_out_stops_its_calls_and_says_so_before(world: World) -> None:
    """Shown grant by grant, cut like any narrowing, and told as what it is; back only where that is said."""
    world.grant()
    assert code(world) == ""
    version = done(world.post("police", "/v1/datasets", {**DATASET, "recipients": {"levels": ["county"]}}))["versions"]
    path = EXAMINATION.format(version[ENTRY])
    shown = done(world.get("registrar", path.replace("examination", "effects")))
    assert shown["withdraws"] is True
    assert [(each["grant"], each["everything"], each["out_of_scope"]) for each in shown["grants"]] == [
        (GRANT["id"], True, True)
    ]
    done(world.post("registrar", path, {"release": True}))
    assert code(world) == "outside-scope"
    wider = {**DATASET, "recipients": {"levels": ["county", "city"]}}
    back = refused(world.post("registrar", "/v1/datasets?release=true", wider), "conflict")
    assert back["revives"] == [GRANT["id"]]
    done(world.post("registrar", "/v1/datasets?release=true&revives=true", wider))
    assert code(world) == ""


def test_no_file_or_body_lifts_the_bounds_by_silence(world: World) -> None:
    """An older program's JSON, a sheet without the columns, a version that waited: each has to say what it means."""
    world.grant()
    waiting = done(world.post("police", "/v1/datasets", {**DATASET, "abstract": "older"}))["versions"][ENTRY]
    released(world, {"departments": ["market"]})
    silent = refused(world.post("registrar", "/v1/datasets?release=true&revives=true", DATASET), "invalid-input")
    assert "say so again" in faults(silent)["recipients"]
    refused(world.post("police", "/v1/datasets", DATASET), "invalid-input")
    refused(world.post("registrar", "/v1/directory?revives=true", {"datasets": [DATASET]}), "invalid-input")
    refused(world.post("registrar", EXAMINATION.format(waiting), {"release": True, "revives": True}), "conflict")
    done(world.post("registrar", f"/v1/datasets/{ENTRY}/withdrawal", {"reason": "under review"}))
    refused(world.post("registrar", "/v1/datasets?release=true&revives=true", DATASET), "invalid-input")
    released(world, {})
    assert code(world) == ""


def sheet(world: World, **cells: str) -> Any:
    """The check of an exported sheet with cells of its first row replaced."""
    rows = list(csv.reader(io.StringIO(world.get("registrar", "/v1/directory", format="csv").text.lstrip("\ufeff"))))
    for name, cell in cells.items():
        rows[1][rows[0].index(COLUMNS[name][0])] = cell
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    content = base64.b64encode(written.getvalue().encode()).decode()
    return world.post("registrar", "/v1/directory?check=true", {"file": "d.csv", "content_base64": content})


def test_a_sheet_names_departments_as_people_call_them(world: World) -> None:
    """By name, former name, code or id; what nobody is called, or several are, is a fault of its column."""
    released(world, {"departments": ["market"]})
    assert done(sheet(world))["datasets"] == 0
    assert done(sheet(world, recipient_departments="市民政局、market"))["datasets"] == 1
    assert done(sheet(world, recipient_departments="不限"))["datasets"] == 1
    assert done(sheet(world, recipient_departments="", recipient_levels="市级、province"))["datasets"] == 1
    for cells, column in (
        ({"recipient_departments": "各级民政部门"}, "限定部门"),
        ({"recipient_departments": "market、不限"}, "限定部门"),
        ({"recipient_departments": ""}, "限定部门"),
        ({"recipient_levels": "处级"}, "限定层级"),
        ({"recipient_regions": "广东"}, "限定区划"),
        ({"recipient_matters": "什么事项"}, "限定事项"),
    ):
        assert column in faults(refused(sheet(world, **cells), "invalid-input")), cells
    done(world.post("province", "/v1/departments", {**CIVIL, "id": "civil-two", "name": "市市场监督管理局"}))
    twice = faults(refused(sheet(world, recipient_departments="市市场监督管理局"), "invalid-input"))
    assert "several departments" in twice["限定部门"]


def test_bounds_that_could_never_be_compared_are_refused(world: World) -> None:
    """Names of nothing, what stands twice, and bounds of what is open to all or to nobody."""
    for bounds, field in (
        ({"departments": ["nobody"]}, "recipients.departments"),
        ({"matters": ["nothing"]}, "recipients.matters"),
        ({"regions": ["44"]}, "recipients.regions"),
        ({"levels": ["city", "city"]}, "recipients.levels"),
    ):
        answer = refused(world.post("registrar", "/v1/datasets", {**DATASET, "recipients": bounds}), "invalid-input")
        assert field in faults(answer), bounds
    for wrong in ({"levels": ["ministry"]}, {"ministries": ["x"]}):
        refused(world.post("registrar", "/v1/datasets", {**DATASET, "recipients": wrong}), "invalid-input")
    open_to_all = {**DATASET, "sharing_attribute": "unconditional", "recipients": {"levels": ["city"]}}
    assert "recipients" in faults(refused(world.post("registrar", "/v1/datasets", open_to_all), "invalid-input"))


def test_what_a_department_becomes_is_shown_where_it_enters_or_leaves_a_scope(world: World) -> None:
    """Level, region and matters are the registrar's to write: a grant that wakes up by it is named, and asked for."""
    world.grant()
    released(world, {"matters": ["social-assistance"]})
    assert code(world) == "outside-scope"
    gains = {**CIVIL, "matters": ["social-assistance"]}
    assert refused(world.post("registrar", "/v1/departments", gains), "conflict")["revives"] == [GRANT["id"]]
    checked = done(world.post("registrar", "/v1/directory?check=true", {"departments": [gains]}))
    assert checked["reviving_grants"] == [GRANT["id"]]
    done(world.post("registrar", "/v1/departments?revives=true", gains))
    assert code(world) == ""
    checked = done(world.post("registrar", "/v1/directory?check=true", {"departments": [CIVIL]}))
    assert [(each["grant"], each["out_of_scope"]) for each in checked["losing_grants"]] == [(GRANT["id"], True)]
    done(world.post("registrar", "/v1/departments", CIVIL))
    assert code(world) == "outside-scope"


def reorganised(world: World, body: dict[str, Any]) -> set[tuple[str, str]]:
    """An act, as planned; what was done to what."""
    planned = done(world.post("registrar", "/v1/reorganisations/plan", body))
    answer = done(world.post("registrar", "/v1/reorganisations", {**body, "plan": planned["plan"]}))
    return {(step["id"], step["rule"]) for step in answer["steps"]}


def test_a_scope_follows_what_it_named_through_a_merger_and_a_new_name(world: World) -> None:
    """An id is no name: the merged department's systems go on, and the plan says which entries follow."""
    world.grant()
    released(world, {"departments": ["civil-affairs"]})
    rename = {**MERGED, "kind": "rename", "name": "市社会工作部"}
    del rename["successor"]
    reorganised(world, rename)
    assert code(world) == ""
    steps = reorganised(world, MERGED)
    assert (ENTRY, "scope-follows") in steps
    assert (GRANT["id"], "grant-outside-scope") not in steps
    assert code(world, "market") == ""


def test_a_plan_says_which_grants_the_entrys_scope_ends(world: World) -> None:
    """A system that goes to a department outside the scope takes its grant along, and obtains nothing by it."""
    world.grant()
    released(world, {"departments": ["civil-affairs"]})
    part = {"thing": "system", "id": "marriage-registry", "to": "market"}
    body = {**{k: v for k, v in MERGED.items() if k != "successor"}, "kind": "transfer", "parts": [part]}
    assert any(rule == "grant-outside-scope" for _, rule in reorganised(world, body))
    assert code(world, "market") == "outside-scope"


def test_a_merger_into_a_scope_says_what_it_wakes(world: World) -> None:
    """A receiver's own grant that gave nothing gives data again: the plan names it."""
    world.grant()
    system = {"id": "market-desk", "department": "market", "name": "x", "keys": []}
    done(world.post("market-both", "/v1/systems", system))
    world.post("police", "/v1/grants", {**GRANT, "id": "g-market", "department": "market", "systems": []})
    assert world.store.grant("g-market") is not None
    released(world, {"departments": ["civil-affairs"]})
    assert code(world, "market", "market-desk") == "outside-scope"
    assert ("g-market", "grant-revives") in reorganised(world, MERGED)
    assert code(world, "market", "market-desk") == ""


def test_old_bodies_read_as_before(world: World) -> None:
    """An entry stored before there were bounds says nothing of them, and bounds nobody."""
    world.grant()
    entry = world.store.dataset(ENTRY)
    assert entry is not None
    assert entry.recipients is None
    assert b"recipients" not in msgspec.json.encode(entry)
    assert code(world) == ""


def test_an_import_names_the_entries_whose_scope_stands_in_words_alone(world: World) -> None:
    """No fault: an older directory is read. What bounds in facts, and what is shared with everybody, is not named."""
    entry = {**DATASET, "scope": "civil affairs departments"}
    file = {
        "datasets": [
            {**entry, "id": "in-words", "code": "1/in-words"},
            {**entry, "id": "in-facts", "code": "1/in-facts", "recipients": {"levels": ["city"]}},
            {**entry, "id": "open", "code": "1/open", "sharing_attribute": "unconditional", "scope": ""},
        ]
    }
    for check in ("true", "false"):
        said = done(world.ask("registrar", "POST", "/v1/directory", file, params={"check": check}))
        assert [(each["dataset"], each["field"]) for each in said["remarks"]] == [("in-words", "scope")]
