"""Records over the API, with a real ledger: who reads what, each reading recorded, exports and proofs that verify."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from gateway.control.act.examples import CERTIFICATES, GRANT, INTERFACE, SUSPENSION, SYSTEM
from gateway.control.act.scopes import Scope
from gateway.control.records.questions import RecordFilter, looked_past, question_of
from gateway.domain.calendar import CHINA
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer, Role
from gateway.ledger.index.queries import encode_cursor
from gateway.ledger.index.unnamed import Unnamed
from gateway.ledger.process.client import LedgerClient
from gateway.ledger.verify.record import verify_export, verify_record
from tests.support.control import CITY, World, done, refused


@pytest.fixture
def ledgered(make_world: Callable[..., World]) -> World:
    """A world with a ledger."""
    return make_world(ledger=True)


@pytest.fixture
def recorded(make_world: Callable[..., World]) -> World:
    """A world with a ledger in which a grant was issued and suspended."""
    world = make_world(ledger=True)
    world.grant()
    done(world.post("police", f"/v1/grants/{GRANT['id']}/suspension", SUSPENSION))
    until_found(world, kind="order")
    return world


def until_found(world: World, officer: str = "registrar", **question: Any) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while True:
        answer = world.get(officer, "/v1/records", **question)
        is_late = answer.status_code == 503 and time.monotonic() < deadline
        found = [] if is_late else done(answer)["items"]
        if found or time.monotonic() > deadline:
            return list(found)
        time.sleep(0.05)


def test_acts_are_found_by_whom_they_concern(recorded: World) -> None:
    """The suspension's record is found by the supplier, the demand and the competent department, by none other."""
    for officer in ("police", "civil", "registrar", "auditor"):
        rows = until_found(recorded, officer, kind="order")
        assert [(row["officer"], row["grant"]) for row in rows] == [("police", GRANT["id"])]
    assert done(recorded.get("market-both", "/v1/records", supplier="market"))["items"] == []
    foreign = {"supplier": "public-security", "department": "civil-affairs"}
    refused(recorded.get("market-both", "/v1/records", **foreign), "act-not-permitted")
    assert done(recorded.get("stranger", "/v1/records"))["items"] == []
    refused(recorded.get("operator", "/v1/records"), "act-not-permitted")
    row = until_found(recorded, kind="order")[0]
    for officer in ("market-both", "stranger", "operator"):
        refused(recorded.get(officer, f"/v1/records/{row['record']}"), "not-found")


def test_each_reading_is_itself_recorded(recorded: World) -> None:
    """A question's record says who asked what; a data subject's identifier stands nowhere in it."""
    body = {"format": "ndjson", "subject": "440106199001011234", "grant": GRANT["id"]}
    answer = recorded.post("civil", "/v1/records/search", body)
    assert done(answer)["items"] == []
    reading = answer.headers["sharing-record"]
    deadline = time.monotonic() + 10
    while (shown := recorded.get("civil", f"/v1/records/{reading}")).is_error and time.monotonic() < deadline:
        time.sleep(0.05)
    entry = done(shown)["entries"][0]
    assert (entry["kind"], entry["officer"], entry["of_subject"]) == ("consultation", "civil", True)
    assert "440106" not in shown.text


def test_a_grants_record_names_the_act_its_article_and_its_policies(recorded: World) -> None:
    """Who, when, why, by which article and which policies: whole, as it stands in the log."""
    row = until_found(recorded, kind="order")[0]
    shown = done(recorded.get("police", f"/v1/records/{row['record']}"))
    entry = shown["entries"][0]
    assert entry["act"] == "suspend"
    assert (shown["texts"]["reason"]["text"], entry["rectify_by"]) == (
        SUSPENSION["violation"],
        SUSPENSION["rectify_by"],
    )
    assert (entry["before"], entry["after"], entry["article"]) == ("issued", "suspended", "Decree 809 Art. 27 ¶2")
    assert entry["policies"] == ["national-art27-supplier-stops"]
    assert len(entry["policy_digest"]) == 64


def test_each_grant_of_a_bulk_issue_has_a_record_of_its_own(recorded: World) -> None:
    """What was issued in one request is found grant by grant, by whom it concerns, however long the ids are."""
    rows = [{**GRANT, "id": f"{'g' * 56}-{number:07}"} for number in range(1000)]
    issued = done(recorded.post("police", "/v1/grants", rows))
    assert len(set(issued["records"])) == issued["issued"] == 1000
    found = until_found(recorded, kind="grant", grant=rows[999]["id"])[0]
    assert (found["record"], found["department"]) == (issued["records"][999], "civil-affairs")


def test_proofs_and_exports_verify_with_the_public_key_alone(recorded: World, tmp_path: Any) -> None:
    """What leaves over the API is checked by the offline verifier; a changed byte is found."""
    key = recorded.ledger_key
    row = until_found(recorded, kind="order")[0]
    proof = recorded.get("auditor", f"/v1/records/{row['record']}/proof")
    checked = verify_record(proof.content, key, record=row["record"])
    assert checked.record is not None
    assert (checked.record.kind, checked.record.grant) == ("order", GRANT["id"])
    refused(recorded.get("auditor", f"/v1/records/{row['record']}/proof", part="closed"), "not-found")
    refused(recorded.get("auditor", f"/v1/records/{row['record']}/proof", part="half"), "invalid-input")
    made = done(recorded.post("auditor", "/v1/records/export", {"format": "ndjson", "kind": "order"}))
    assert made["summary"]["records"] == 1
    refused(recorded.get("police", made["file"]), "not-found")
    path = tmp_path / "export.ndjson"
    path.write_bytes(recorded.get("auditor", made["file"]).content)
    path.with_name("export.ndjson.manifest").write_bytes(recorded.get("auditor", made["manifest"]).content)
    verify_export(path, key)
    path.write_bytes(path.read_bytes().replace(b"police", b"nobody"))
    with pytest.raises(Exception, match=r".+"):
        verify_export(path, key)


def test_an_officer_of_a_namespace_fetches_what_it_exported(recorded: World) -> None:
    """The id stands in the export's name, with its dot."""
    with recorded.store.transaction() as tx:
        tx.put_officer(Officer("data-bureau.he", "data-bureau", CITY, (Role.AUDITOR,)))
    made = done(recorded.post("data-bureau.he", "/v1/records/export", {"format": "ndjson", "kind": "order"}))
    for place in ("file", "manifest"):
        assert recorded.get("data-bureau.he", made[place]).is_success
        refused(recorded.get("auditor", made[place]), "not-found")


def test_a_long_export_is_watched(recorded: World) -> None:
    """RFC 7240: `respond-async` answers at once; progress ends with the summary, for the officer who asked alone.

    The export is itself on record, and found by who may read the region's records.
    """
    question = {"format": "ndjson", "kind": "order"}
    begun = recorded.post("auditor", "/v1/records/export", question, headers={"Prefer": "wait=5, respond-async"})
    assert begun.status_code == 202
    assert begun.headers["preference-applied"] == "respond-async"
    progress = begun.json()["progress"]
    refused(recorded.get("registrar", progress), "not-found")
    for _ in range(100):
        watched = recorded.get("auditor", progress)
        if watched.status_code == 201:
            break
        assert (watched.status_code, watched.json()["export"]) == (202, begun.json()["export"])
    made = done(watched)
    assert made["summary"]["records"] == 1
    assert len(recorded.get("auditor", made["file"]).content.splitlines()) == 1
    assert until_found(recorded, "auditor", kind="export")[0]["record"] == made["record"]


def test_what_stops_an_export_is_said_to_who_watches_it(world: World) -> None:
    """Without a ledger nothing can be exported, and the watcher gets the problem."""
    begun = world.post("auditor", "/v1/records/export", {"format": "csv"}, headers={"Prefer": "respond-async"})
    for _ in range(100):
        watched = world.get("auditor", begun.json()["progress"])
        if watched.status_code != 202:
            break
    refused(watched, "unavailable")


def test_a_direct_export_streams_with_a_link_to_its_manifest(recorded: World) -> None:
    """One GET gives the file; the manifest is where `Link` says."""
    answer = recorded.get("civil", "/v1/records/export", format="csv", kind="order")
    assert answer.headers["content-type"].startswith("text/csv")
    manifest = answer.headers["link"].partition(">")[0].removeprefix("<")
    assert "sharing-gateway/export/v1" in recorded.get("civil", manifest).text


def test_an_act_that_says_a_use_of_its_own_is_exported_as_rows(ledgered: World) -> None:
    """What certificates are for is said under `use` too, and a row of it is a row like others."""
    done(ledgered.post("police", "/v1/certificates", CERTIFICATES))
    until_found(ledgered, kind="directory")
    answer = ledgered.get("auditor", "/v1/records/export", format="csv", kind="directory")
    assert answer.status_code == 200, answer.text
    assert CERTIFICATES["name"] in answer.text
    assert '""use"":""authority""' in answer.text


def test_figures_over_records_are_narrowed_like_records(recorded: World) -> None:
    """Art. 38: counted by group, within what the officer supervises."""
    found = done(recorded.get("registrar", "/v1/records/stats", by="kind"))
    assert {row["key"] for row in found["items"]} >= {"order", "grant"}
    assert done(recorded.get("stranger", "/v1/records/stats", by="kind"))["items"] == []
    refused(recorded.get("civil", "/v1/records/stats", department="market"), "act-not-permitted")
    refused(recorded.get("registrar", "/v1/records/stats", by="subject"), "invalid-input")


STATS = "/v1/records/stats"
DAY = {"from": "2026-06-01T00:00:00+08:00", "until": "2026-06-02T00:00:00+08:00"}


@pytest.mark.parametrize(
    "question",
    [
        *(
            {"by": by}
            for by in ("department", "system", "supplier", "dataset", "interface", "grant", "purpose", "ending")
        ),
        {"by": "day", "grant": GRANT["id"]},
        {"by": "day", "system": "marriage-registry"},
        {"by": "code", "purpose": "social-assistance"},
        {"by": "kind", "policy": "national-art27-supplier-stops"},
        {"by": "day", **DAY, "from": "2026-06-01T09:30:00+08:00"},
        {"by": "day", **DAY, "until": "2026-06-01T00:00:01+08:00"},
        {"by": "day", **DAY, "from": "2026-06-01T00:00:00Z"},
        {"by": "day", **DAY, "from": "2026-06-01T00:00:00.5+08:00"},
    ],
)
def test_who_reads_no_records_gets_no_figures_as_fine_as_one(recorded: World, question: dict[str, str]) -> None:
    """Art. 36: by system or grant, or of less than a day, figures are as good as the record of a use."""
    refused(recorded.get("operator", STATS, **question), "act-not-permitted")
    done(recorded.get("registrar", STATS, **question))


def test_who_reads_no_records_gets_figures_of_days_that_are_over(recorded: World) -> None:
    """By day, reason and kind, of departments in the officer's region; today's come tomorrow."""
    oldest = done(recorded.get("registrar", "/v1/records"))["items"][-1]["time_unix_us"] // 1_000_000
    recorded.now = lambda: oldest
    for question in ({"by": "day"}, {"by": "code", "verdict": "deny"}, {"by": "kind", "department": "civil-affairs"}):
        for days in ({}, DAY):
            assert done(recorded.get("operator", STATS, **question, **days))["items"] == []
    assert done(recorded.get("registrar", STATS, by="kind"))["items"]
    recorded.now = lambda: oldest + 86_400
    assert done(recorded.get("operator", STATS, by="kind"))["items"]
    elsewhere = {"supplier": "elsewhere", "department": "elsewhere"}
    refused(recorded.get("city-operator", STATS, by="day", **elsewhere), "act-not-permitted")


@pytest.mark.parametrize(
    ("path", "question", "field"),
    [
        ("/v1/records/vvvvvvvvaaaa-1", {}, "id"),
        (f"/v1/records/a-{'9' * 40}", {}, "id"),
        (f"/v1/records/a-{'9' * 40}/proof", {}, "id"),
        ("/v1/records/a-01", {}, "id"),
        ("/v1/records", {"cursor": encode_cursor(10**40, 10**40)}, "cursor"),
        ("/v1/records", {"cursor": encode_cursor(-5, 10)}, "cursor"),
        ("/v1/records", {"cursor": "."}, "cursor"),
        ("/v1/records", {"from": "9999-12-31T23:59:59Z"}, "from"),
        ("/v1/records", {"until": "0001-01-01T00:00:00Z"}, "until"),
        ("/v1/records/stats", {"from": "9999-12-31T23:59:59Z"}, "from"),
        ("/v1/records/export", {"format": "csv", "until": "0001-01-01T00:00:00+08:00"}, "until"),
    ],
)
def test_what_no_record_can_have_is_named_by_its_field(
    ledgered: World, path: str, question: dict[str, Any], field: str
) -> None:
    """Ids, cursors and times out of range are faults of the input, not of the gateway."""
    assert [
        each["field"] for each in refused(ledgered.get("auditor", path, **question), "invalid-input")["faults"]
    ] == [field]


def test_the_log_is_public_but_for_its_entries(recorded: World) -> None:
    """Checkpoint and hash tiles need no credential; bundles are whole, so only for an auditor of all of it."""
    checkpoint = recorded.get(None, "/log/checkpoint")
    assert checkpoint.text.splitlines()[0] == "control.example/log"
    size = int(checkpoint.text.splitlines()[1])
    tile = recorded.get(None, f"/log/tile/0/000.p/{size}")
    assert tile.is_success
    assert len(tile.content) == 32 * size
    bundle = f"/log/tile/entries/000.p/{size}"
    refused(recorded.get(None, bundle), "credential-missing")
    refused(recorded.get("police", bundle), "act-not-permitted")
    refused(recorded.get("operator", bundle), "act-not-permitted")
    for part in ("auditor", "registrar", "province"):
        refused(recorded.get(part, bundle), "act-not-permitted")
    assert recorded.get("inspector", bundle).content
    assert recorded.get(None, "/log/minimum-index").text == "0\n"
    for path in ("0/..%2f..%2fcheckpoint", "0/x00/000", "64/000", "entries/..%2f..%2f000", "0/000.p/256"):
        refused(recorded.get("inspector", f"/log/tile/{path}"), "not-found")


def test_watching_is_not_told_to_the_watched(recorded: World) -> None:
    """What an auditor asked about a department, or opened, or exported, is found by auditors of the region alone."""
    row = until_found(recorded, "auditor", kind="order")[0]["record"]
    asked = {"department": "civil-affairs", "supplier": "public-security", "kind": "order"}
    watching = [
        recorded.get("auditor", "/v1/records", **asked).headers["Sharing-Record"],
        recorded.get("auditor", f"/v1/records/{row}").headers["Sharing-Record"],
        done(recorded.post("auditor", "/v1/records/export", {"format": "ndjson", **asked}))["record"],
    ]
    supervised = recorded.get("registrar", "/v1/records", **asked).headers["Sharing-Record"]
    own = recorded.get("police", "/v1/records", kind="order").headers["Sharing-Record"]
    until = time.monotonic() + 20
    while recorded.get("police", f"/v1/records/{own}").is_error and time.monotonic() < until:
        time.sleep(0.05)

    def found(officer: str) -> set[str]:
        return {row["record"] for row in done(recorded.get(officer, "/v1/records", limit=1000))["items"]}

    for auditor in ("auditor", "inspector"):
        assert {*watching, supervised, own} <= found(auditor)
        done(recorded.get(auditor, f"/v1/records/{watching[0]}"))
    for watched in ("police", "civil", "registrar", "province", "stranger"):
        assert not found(watched) & set(watching)
        for record in watching:
            refused(recorded.get(watched, f"/v1/records/{record}"), "not-found")
    for watched in ("police", "civil"):
        assert supervised not in found(watched)
        refused(recorded.get(watched, f"/v1/records/{supervised}"), "not-found")
    assert own in found("police")
    assert {own, supervised} <= found("registrar")


@pytest.mark.parametrize(
    ("code", "detail"),
    [("not-found", "this tile is not in the log"), ("conflict", "this tile of the log is damaged")],
)
def test_a_tile_that_cannot_be_read_tells_nothing_of_the_disk(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str, detail: str
) -> None:
    """What the ledger says of its files stays inside: no place on the disk stands in a public answer."""

    async def tile(_self: LedgerClient, path: str) -> bytes:
        raise GatewayError(code, f"`/srv/ledger/tree/{path}` cannot be read")

    monkeypatch.setattr(LedgerClient, "tile", tile)
    assert refused(world.get(None, "/log/tile/9/999"), code)["detail"] == detail


def test_demand_departments_file_effect_storage_and_destruction(recorded: World) -> None:
    """Art. 29: the demand department files; nobody files for it."""
    body = {"kind": "effect", "grant": GRANT["id"], "statement": "12,000 registrations without paper certificates"}
    answer = done(recorded.post("civil", "/v1/records", body))
    assert until_found(recorded, "police", kind="effect")[0]["record"] == answer["record"]
    refused(recorded.post("police", "/v1/records", body), "act-not-permitted")
    refused(recorded.post("civil", "/v1/records", {**body, "kind": "use"}), "invalid-input")


def test_questions_without_a_ledger_are_unavailable(world: World) -> None:
    """Where the ledger process is down, records cannot be read: a clear 503, no trace."""
    refused(world.get("registrar", "/v1/records"), "unavailable")
    refused(world.get(None, "/log/checkpoint"), "not-found")


def test_policies_are_shown_and_explained_to_whom_they_concern(world: World) -> None:
    """The active set, the exact Cedar of a pair, and why a call would be denied."""
    world.grant()
    active = done(world.get("civil", "/v1/policies"))
    assert active["layers"] == ["national"]
    assert all(policy["articles"] for policy in active["policies"])
    pair = {"department": "civil-affairs", "dataset": GRANT["dataset"]}
    assert "permit" in world.get("police", "/v1/policies/show", **pair).text
    refused(world.get("market-both", "/v1/policies/show", **pair), "act-not-permitted")
    call = {
        "department": "civil-affairs",
        "system": "marriage-registry",
        "supplier": "public-security",
        "interface": "household",
        "purpose": "social-assistance",
    }
    verdict = done(world.post("civil", "/v1/policies/explain", call))["verdict"]
    assert verdict["decision"] == "deny"
    assert verdict["explanation"]["near"]
    refused(world.post("market-both", "/v1/policies/explain", call), "act-not-permitted")
    good = done(world.post("civil", "/v1/policies/explain", {**call, "purpose": "marriage-registration"}))
    assert good["verdict"]["decision"] == "permit"
    later = {**call, "purpose": "marriage-registration", "at": "2199-01-01T00:00:00+08:00"}
    assert done(world.post("civil", "/v1/policies/explain", later))["verdict"]["code"] == "grant-expired"
    outside = ("2199-01-01T00:00:00", "2200-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59")
    for wrong in (*outside, "tomorrow", "1700000000", "2027-01-01_00:00:00Z", 1700000000, True, [], ""):
        refusal = refused(world.post("civil", "/v1/policies/explain", {**later, "at": wrong}), "invalid-input")
        assert [fault["field"] for fault in refusal["faults"]] == ["at"]
    done(
        world.post("market-both", "/v1/systems", {**SYSTEM, "id": "stall-registry", "department": "market", "keys": []})
    )
    done(world.post("civil", "/v1/systems", {**SYSTEM, "id": "old-registry", "keys": []}))
    done(world.post("civil", "/v1/systems/old-registry/revocation", {"reason": "replaced"}))
    for stranger in ("no-such-system", "stall-registry", "old-registry"):
        answer = world.post("civil", "/v1/policies/explain", {**call, "system": stranger})
        refused(answer, "invalid-input")
        (fault,) = answer.json()["faults"]
        assert fault == {"field": "system", "fault": "is no registered and active system of `civil-affairs`"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("until", "0.5"),
        ("until", "1780275600"),
        ("until", "2026-06-01"),
        ("until", "2026-06-01T00:00:00"),
        ("until", "2026-13-01T00:00:00Z"),
        ("from", "yesterday"),
        ("verdict", "maybe"),
        ("verdict", ""),
        ("status", -1),
        ("status", 600),
        ("status", "200.0"),
        ("status", "2_0_0"),
        ("status", "0200"),
        ("allow_partial", "yes"),
        ("kind", "uses"),
        ("verdcit", "deny"),
        ("department", "No Slug"),
        ("grant", "a/b"),
        ("interface", "x" * 131),
    ],
)
def test_a_faulty_question_is_refused_alike_by_every_way_of_asking(world: World, field: str, value: Any) -> None:
    """Query parameters and a body are one model: what one refuses, the other does, and names the same field."""
    as_json = float(value) if value == "0.5" else int(value) if value == "1780275600" else value
    for each in (value, as_json):
        body = {"format": "ndjson", field: each}
        for answer in (
            world.get("auditor", "/v1/records", **{field: value}),
            world.get("auditor", "/v1/records/export", **{field: value}),
            world.get("auditor", "/v1/records/stats", **{field: value}),
            world.post("auditor", "/v1/records/search", body),
            world.post("auditor", "/v1/records/export", body),
        ):
            assert [fault["field"] for fault in refused(answer, "invalid-input")["faults"]] == [field]


def test_a_question_about_a_person_says_what_it_could_not_look_into(recorded: World) -> None:
    """Interfaces without a subject's place and years without their key are named, never told as none."""
    unplaced = {key: value for key, value in INTERFACE.items() if key != "subject_parameter"} | {"id": "unplaced"}
    done(recorded.post("registrar", "/v1/interfaces", unplaced))
    body = {"format": "ndjson", "subject": "440106199001011234"}
    kept = ("2026.first", "2025.second", "2023.third")
    recorded.services = replace(recorded.services, pseudonyms=lambda _: kept)
    recorded.app.state.services = recorded.services
    found = done(recorded.post("auditor", "/v1/records/search", body))
    assert found["not_looked_into"] == {"interfaces": ["public-security/unplaced"], "years": []}
    since = {**body, "from": "2021-01-01T00:00:00+08:00"}
    asked = question_of(RecordFilter(**{"from": datetime(2021, 1, 1, tzinfo=CHINA)}), "x")
    assert looked_past(recorded.services, asked, Scope(), Unnamed((), 2021))["years"] == [2021, 2022, 2024]
    named = done(recorded.post("auditor", "/v1/records/search", {**since, "interface": "public-security/household"}))
    assert named["not_looked_into"]["interfaces"] == []
    made = done(recorded.post("auditor", "/v1/records/export", body))
    assert made["not_looked_into"]["interfaces"] == ["public-security/unplaced"]
    assert "not_looked_into" not in done(recorded.get("auditor", "/v1/records"))
