"""The directory over the API: imported whole or not at all, released by the competent department, shown by right."""

import base64
import json
from typing import Any

import pytest

from gateway.client import new_private_key
from gateway.client.keys import ClientKey
from gateway.control.act.examples import DATASET, DEPARTMENT, DERIVATION, GRANT, INTERFACE, PURPOSE, SYSTEM
from tests.support.control import World, done, refused

NOT = "act-not-permitted"


def places_of(document: dict[str, Any]) -> list[tuple[int | None, str]]:
    return [(fault.get("row"), fault["field"]) for fault in document["faults"]]


def test_directory_is_refused_whole_with_every_fault(world: World) -> None:
    """Faults of the file and faults against the state are listed by row and field; nothing is half imported."""
    lacking = {**DATASET, "id": "lacking", "format": "", "scope": "", "grade": 9}
    document = {"departments": [{**DEPARTMENT, "id": "new-one"}], "datasets": [DATASET, lacking]}
    faults = refused(world.post("registrar", "/v1/directory", document), "invalid-input")
    assert {row for row, _ in places_of(faults)} == {2}
    assert {field.rpartition(".")[2] for _, field in places_of(faults)} == {"format", "scope", "grade"}
    assert world.store.department("new-one") is None
    unknown = {**DATASET, "supplier": "nobody", "purposes": ["nothing"]}
    served = {**INTERFACE, "dataset": "none"}
    faults = refused(
        world.post("registrar", "/v1/directory", {"datasets": [unknown], "interfaces": [served]}), "invalid-input"
    )
    places = {(fault["list"], fault["field"]) for fault in faults["faults"]}
    assert places == {("datasets", "supplier"), ("datasets", "purposes"), ("interfaces", "dataset")}


def test_directory_import_is_idempotent(world: World) -> None:
    """What is released already becomes no new version."""
    document = {"purposes": [PURPOSE], "datasets": [DATASET], "interfaces": [INTERFACE]}
    refused(world.post("registrar", "/v1/directory", document), "act-not-permitted")  # purposes are everybody's
    answer = done(world.post("province", "/v1/directory", document))
    assert (answer["datasets"], answer["unchanged_datasets"]) == (0, 1)
    assert len(world.store.dataset_versions(DATASET["id"])) == 1


def test_directory_check_shows_the_grants_that_lose(world: World) -> None:
    """Art. 15: before a version takes items away, the standing grants that lose by it are shown."""
    world.grant()
    narrower = {**DATASET, "items": [item for item in DATASET["items"] if item["name"] != "marital_status"]}
    answer = done(world.post("registrar", "/v1/directory?check=true", {"datasets": [narrower]}))
    assert answer["losing_grants"] == [
        {
            "grant": GRANT["id"],
            "department": "civil-affairs",
            "state": "issued",
            "dataset": DATASET["id"],
            "items": ["marital_status"],
        }
    ]
    assert len(world.store.dataset_versions(DATASET["id"])) == 1


def test_directory_takes_a_sheet(world: World) -> None:
    """A CSV with the Chinese column names is read on the server, faults by row and column."""
    sheet = "信息资源名称,信息资源代码,提供方\n户籍,307010001/000099,public-security\n"
    upload = {"file": "目录.csv", "content_base64": base64.b64encode(sheet.encode()).decode()}
    faults = refused(world.post("registrar", "/v1/directory", upload), "invalid-input")["faults"]
    assert {fault["row"] for fault in faults} == {1, 2}
    refused(world.post("registrar", "/v1/directory", {**upload, "file": "目录.exe"}), "invalid-input")
    refused(world.post("registrar", "/v1/directory", {**upload, "content_base64": "%"}), "invalid-input")


def test_supplier_submits_and_the_competent_department_releases(world: World) -> None:
    """Art. 16: only a released version is enforced; a rejection states its reason."""
    entry = {**DATASET, "id": "new.1", "code": "new/1"}
    done(world.post("police", "/v1/datasets", entry))
    assert world.store.dataset("new.1") is None
    path = "/v1/datasets/new.1/versions/1/examination"
    refused(world.post("police", path, {"release": True}), "act-not-permitted")
    refused(world.post("police", "/v1/datasets?release=true", {**entry, "id": "new.2"}), "act-not-permitted")
    refused(world.post("registrar", path, {"release": False}), "invalid-input")
    assert done(world.post("registrar", path, {"release": True}))["dataset"]["state"] == "released"
    refused(world.post("registrar", path, {"release": True}), "conflict")
    withdrawn = done(world.post("registrar", "/v1/datasets/new.1/withdrawal", {"reason": "abolished"}))
    assert withdrawn["barrier"]["sequence"] > 0
    assert done(world.get("civil", "/v1/datasets/new.1"))["released"] is None


def test_a_supplier_registers_only_its_own(world: World) -> None:
    """Another department's entries and interfaces are not a supplier's to submit."""
    refused(world.post("market-both", "/v1/datasets", {**DATASET, "id": "x.1"}), "act-not-permitted")
    refused(world.post("market-both", "/v1/interfaces", INTERFACE), "act-not-permitted")
    renamed = {**DEPARTMENT, "name": "市公安局（新）"}
    refused(world.post("police", "/v1/departments", renamed), "act-not-permitted")
    refused(world.post("stranger", "/v1/departments", renamed), "act-not-permitted")


def test_where_an_interface_leads_is_its_suppliers_business(world: World) -> None:
    """The upstream's address is shown to who may manage the interface, and to no demand department."""
    path = "/v1/interfaces/public-security/household"
    assert done(world.get("police", path))["upstream"] == INTERFACE["upstream"]
    assert done(world.get("civil", path))["upstream"] == ""
    assert {each["upstream"] for each in done(world.get("civil", "/v1/interfaces"))["items"]} == {""}


def test_systems_are_the_demand_departments_own(world: World) -> None:
    """A demand department registers and revokes its own systems; another's it neither changes nor sees."""
    body = {**SYSTEM, "id": "second", "keys": []}
    assert world.post("civil", "/v1/systems", body).status_code == 201
    refused(world.post("civil", "/v1/systems", body), "conflict")
    refused(world.post("market-both", "/v1/systems", {**body, "id": "third"}), "act-not-permitted")
    refused(world.get("market-both", "/v1/systems/second"), "not-found")
    private = {**SYSTEM["keys"][0], "kid": "k", "d": "AAAA"}
    answer = world.post("civil", "/v1/systems/second/keys", {"key": private})
    assert "AAAA" not in answer.text
    refused(answer, "invalid-input")
    refused(world.post("civil", "/v1/systems/second/keys", {"key": SYSTEM["keys"][0]}), "conflict")
    key = ClientKey(new_private_key(), "own").registration()
    assert len(done(world.post("civil", "/v1/systems/second/keys", {"key": key}))["system"]["keys"]) == 1
    withdrawn = done(world.ask("civil", "DELETE", f"/v1/systems/second/keys/{key['kid']}"))
    assert withdrawn["barrier"]["sequence"] > 0
    refused(world.ask("civil", "DELETE", "/v1/systems/second/keys/none"), "not-found")
    revoked = done(world.post("civil", "/v1/systems/second/revocation", {"reason": "replaced"}))
    assert revoked["system"]["active"] is False
    refused(world.post("civil", "/v1/systems/second/keys", {"key": key}), "conflict")


def test_a_public_key_is_one_systems(world: World) -> None:
    """Under whatever name, at registration or later, revoked or not: a key or certificate has one system at a time."""
    key, certificate = ClientKey(new_private_key(), "one").registration(), "A" * 43
    first = {**SYSTEM, "id": "first", "keys": [key], "certificates": [certificate]}
    done(world.post("civil", "/v1/systems", first))
    renamed = {**key, "kid": "another-name"}
    for keys, certificates in (([key], []), ([renamed], []), ([], [certificate])):
        body = {**SYSTEM, "id": "second", "keys": keys, "certificates": certificates}
        refused(world.post("civil", "/v1/systems", body), "conflict")
    done(world.post("civil", "/v1/systems", {**SYSTEM, "id": "second", "keys": []}))
    refused(world.post("civil", "/v1/systems/second/keys", {"key": renamed}), "conflict")
    refused(world.post("civil", "/v1/systems/second/keys", {"certificate": certificate}), "conflict")
    done(world.post("civil", "/v1/systems/first/keys", {"key": renamed}))
    done(world.ask("civil", "DELETE", "/v1/systems/first/keys/one"))
    refused(world.post("civil", "/v1/systems/second/keys", {"key": key}), "conflict")
    done(world.ask("civil", "DELETE", "/v1/systems/first/keys/another-name"))
    done(world.post("civil", "/v1/systems/second/keys", {"key": key}))
    done(world.post("civil", "/v1/systems/second/revocation", {"reason": "replaced"}))
    refused(world.post("civil", "/v1/systems/first/keys", {"key": key}), "conflict")


def test_nobody_gives_officers_more_than_the_own_region(world: World) -> None:
    """The competent department makes officers of its region; a wider region or another's department is refused."""
    person = {"id": "new-officer", "department": "market", "region": "442000", "roles": ["supplier"], "name": "某某"}
    done(world.post("registrar", "/v1/officers", person))
    refused(world.post("registrar", "/v1/officers", {**person, "region": "000000"}), "act-not-permitted")
    refused(world.post("registrar", "/v1/officers", {**person, "department": "elsewhere"}), "act-not-permitted")
    refused(world.post("police", "/v1/officers", person), "act-not-permitted")
    refused(world.post("registrar", "/v1/officers", {**person, "roles": []}), "invalid-input")
    assert "new-officer" in {each["id"] for each in done(world.get("registrar", "/v1/officers"))["items"]}
    assert done(world.get("police", "/v1/officers"))["items"] == []


@pytest.mark.parametrize("path", ["departments", "purposes", "datasets", "interfaces"])
def test_the_directory_is_read_by_every_officer_and_by_no_one_else(world: World, path: str) -> None:
    """The directory is released to all departments (Art. 16), not to the public."""
    assert done(world.get("civil", f"/v1/{path}"))["items"]
    refused(world.get(None, f"/v1/{path}"), "credential-missing")


@pytest.mark.parametrize(
    ("shown", "path", "body", "field"),
    [
        ("/v1/departments/civil-affairs", "/v1/departments", {"id": "civil-affairs"}, "name"),
        ("/v1/purposes/marriage-registration", "/v1/purposes", PURPOSE, "name"),
        (f"/v1/datasets/{DATASET['id']}", "/v1/datasets?release=true", DATASET, "name"),
        ("/v1/interfaces/public-security/household", "/v1/interfaces", INTERFACE, "title"),
    ],
)
def test_if_match_keeps_officers_from_overwriting_each_other(
    world: World, shown: str, path: str, body: dict[str, Any], field: str
) -> None:
    """Of two changes of what was read at the same state, the second is refused; each answer bears the new tag."""
    tag = {"If-Match": world.get("province", shown).headers["ETag"]}
    if body == {"id": "civil-affairs"}:
        body = {**DEPARTMENT, **body}
    first = world.post("province", path, {**body, field: "改名"}, headers=tag)
    done(first)
    refused(world.post("province", path, {**body, field: "又改名"}, headers=tag), "precondition-failed")
    assert first.headers["ETag"] == world.get("province", shown).headers["ETag"] != tag["If-Match"]
    done(world.post("province", path, {**body, field: "又改名"}, headers={"If-Match": first.headers["ETag"]}))
    new = {**body, "id": "none-yet"}
    refused(world.post("province", path, new, headers={"If-Match": "*"}), "precondition-failed")


def test_release_and_withdrawal_stand_on_what_was_read(world: World) -> None:
    """A version is released, or an entry withdrawn, only over the released version whose effects were read."""
    entry = f"/v1/datasets/{DATASET['id']}"
    tag = {"If-Match": world.get("registrar", entry).headers["ETag"]}
    done(world.post("police", "/v1/datasets", {**DATASET, "name": "第二版"}))
    done(world.post("registrar", "/v1/datasets?release=true", {**DATASET, "name": "第三版"}))
    examination = f"{entry}/versions/2/examination"
    refused(world.post("registrar", examination, {"release": True}, headers=tag), "precondition-failed")
    why = {"reason": "duties moved"}
    refused(world.post("registrar", f"{entry}/withdrawal", {}), "invalid-input")
    refused(world.post("registrar", f"{entry}/withdrawal", why, headers=tag), "precondition-failed")
    tag = {"If-Match": world.get("registrar", entry).headers["ETag"]}
    done(world.post("registrar", f"{entry}/withdrawal", why, headers=tag))


def test_interface_is_derived_from_the_documents_example(world: World) -> None:
    """The example of the API's own document derives, and what it proposes registers as it is."""
    proposed = done(world.post("police", "/v1/interfaces/derivation", DERIVATION))
    assert proposed["interface"]["places"] == {n: f"/{n}" for n in ("name", "id_number", "marital_status")}
    confirmed = {name: value for name, value in proposed["interface"].items() if name != "version"}
    done(world.post("police", "/v1/interfaces", confirmed))


def test_an_act_without_a_record_does_not_stand(world: World) -> None:
    """Where the act's record cannot be made durable, the act is refused and nothing is changed."""
    world.acts.close()
    before = world.store.sequence()
    answer = world.post("registrar", "/v1/departments", DEPARTMENT | {"id": "unrecorded"})
    refused(answer, "records-unavailable")
    assert world.store.department("unrecorded") is None
    assert world.store.sequence() == before


def test_emergency_stop_of_a_system_is_its_departments_too(world: World) -> None:
    """Art. 35: a demand department stops its own system in an incident, for all data, and lifts that itself."""
    stop = {"kind": "emergency", "reach": "system", "target": "marriage-registry", "reason": "its key was stolen"}
    refused(world.post("civil", "/v1/orders", {**stop, "kind": "suspension", "rectify_by": "2099-12-31"}), NOT)
    refused(world.post("market-both", "/v1/orders", stop), NOT)
    own = done(world.post("civil", "/v1/orders", stop))["order"]
    assert own["report_due"]
    refused(world.post("market-both", f"/v1/orders/{own['id']}/lift", {"reason": "new keys"}), "not-found")
    done(world.post("civil", f"/v1/orders/{own['id']}/lift", {"reason": "new keys"}))
    wide = done(world.post("registrar", "/v1/orders", stop))["order"]
    refused(world.post("civil", f"/v1/orders/{wide['id']}/lift", {"reason": "new keys"}), NOT)


def test_orders_of_wider_reach(world: World) -> None:
    """A supplier stops its own data for a department; all suppliers' data only the competent department stops."""
    body = {"kind": "emergency", "reach": "department", "target": "civil-affairs", "reason": "keys leaked"}
    refused(world.post("police", "/v1/orders", body), "act-not-permitted")
    own = done(world.post("police", "/v1/orders", {**body, "supplier": "public-security"}))
    assert own["order"]["report_due"]
    assert own["barrier"]["sequence"] > 0
    refused(world.post("market-both", "/v1/orders", {**body, "supplier": "public-security"}), "act-not-permitted")
    wide = done(world.post("registrar", "/v1/orders", body))["order"]
    refused(world.post("police", f"/v1/orders/{wide['id']}/lift", {"reason": "rectified"}), "not-found")
    done(world.post("police", f"/v1/orders/{own['order']['id']}/lift", {"reason": "rectified"}))
    refused(world.post("police", f"/v1/orders/{own['order']['id']}/lift", {"reason": "again"}), "conflict")
    assert [each["id"] for each in done(world.get("civil", "/v1/orders", in_force=True))["items"]] == [wide["id"]]
    assert done(world.get("market-both", "/v1/orders"))["items"] == []
    refused(world.post("registrar", "/v1/orders", {**body, "reach": "grant", "target": "g"}), "invalid-input")
    lacking = {
        **body,
        "kind": "termination",
        "supplier": "public-security",
        "reach": "dataset",
        "target": DATASET["id"],
    }
    faults = refused(world.post("registrar", "/v1/orders", lacking), "invalid-input")
    assert {field for _, field in places_of(faults)} == {"supplier", "consultation", "filing"}
    assert json.dumps(done(world.get("registrar", f"/v1/orders/{wide['id']}")))


@pytest.mark.parametrize(
    "declared",
    [
        {"competent": True},
        {"level": "national"},
        {"level": "province"},
        {"region": "440000"},
        {"parent": "data-bureau"},
    ],
)
def test_level_and_competence_come_from_the_level_above(world: World, declared: dict[str, Any]) -> None:
    """Art. 8: no bureau declares one of its own region competent, higher or elsewhere; the one above may."""
    market = {"id": "market", "name": "市市场监督管理局", "region": "442000", "level": "city", **declared}
    for own in ("registrar", "stranger", "market-both"):
        refused(world.post(own, "/v1/departments", market), NOT)
        refused(world.post(own, "/v1/directory", {"departments": [market]}), NOT)
    higher = declared.get("region") == "440000"
    answer = world.post("province", "/v1/departments", market)
    assert answer.status_code == (403 if higher else 201), answer.text
    new = {**market, "id": "new-bureau"}
    if "parent" not in declared:
        refused(world.post("registrar", "/v1/departments", new), NOT)
    done(world.post("registrar", "/v1/departments", {**new, "level": "city", "region": "442000", "competent": False}))


def test_a_revoked_id_is_registered_anew_by_an_act_that_names_it(world: World) -> None:
    """With keys that it did not have: what the old ones signed stays refused; everything else about it is refused."""
    old, new = (
        {**SYSTEM, "id": "anew", "keys": [ClientKey(new_private_key(), name).registration()]} for name in ("k1", "k2")
    )
    done(world.post("civil", "/v1/systems", old))
    refused(world.post("civil", "/v1/systems?replaces=anew", new), "conflict")
    done(world.post("civil", "/v1/systems/anew/revocation", {"reason": "decommissioned"}))
    assert "`replaces`" in refused(world.post("civil", "/v1/systems", new), "conflict")["detail"]
    refused(world.post("civil", "/v1/systems?replaces=other", new), "invalid-input")
    refused(world.post("civil", "/v1/systems?replaces=unknown", {**new, "id": "unknown"}), "not-found")
    again = {**new, "keys": [*new["keys"], *old["keys"]]}
    said = refused(world.post("civil", "/v1/systems?replaces=anew", again), "invalid-input")
    assert "revoked registration" in said["faults"][0]["fault"]
    theirs = {**new, "department": "public-security"}
    refused(world.post("police", "/v1/systems?replaces=anew", theirs), "act-not-permitted")
    made = done(world.post("civil", "/v1/systems?replaces=anew", new))
    assert made["system"]["active"]
    assert made["system"]["keys"] == new["keys"]
