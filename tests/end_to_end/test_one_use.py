"""One use from call to record, against a real gateway: supervisor, control, ledger and two workers."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.domain.errors import GatewayError
from gateway.ledger.verify.record import verify_log, verify_record
from gateway.runtime.telemetry.coarse import STEP
from gateway.runtime.telemetry.families import FAMILIES
from tests.support.gateways import RunningGateway, running_gateway, wait_for

PERSONS = "/public-security/persons"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One furnished gateway for the module; tests leave its grants as they found them."""
    with running_gateway(tmp_path_factory.mktemp("home") / "var") as running:
        yield running


def _entries(gateway: RunningGateway) -> list[dict[str, object]]:
    with gateway.officer("auditor-he") as api:
        return list(api.get("/v1/records", limit=500)["items"])


def test_granted_items_only(gateway: RunningGateway) -> None:
    """GRANTED-ITEMS-ONLY: the supplier sends whole rows, the caller gets the granted items in them."""
    person = gateway.population.persons[1]
    with gateway.client() as client:
        answer = client.get(PERSONS, params={"id_number": person["id_number"]})
    assert answer.status_code == 200
    assert answer.json()["data"] == [
        {"name": person["name"], "birth_date": person["birth_date"], "address": {"city": person["address"]["city"]}}
    ]
    assert answer.headers["Sharing-Grant"] == "G-2026-0001"
    assert answer.headers["Sharing-Record"]


def test_no_values_in_anything_the_gateway_writes(gateway: RunningGateway) -> None:
    """NO-VALUES: what was asked for and answered stands nowhere under the home: ledger, state, logs, figures."""
    person = gateway.population.persons[2]
    with gateway.client() as client:
        assert client.get(PERSONS, params={"id_number": person["id_number"]}).status_code == 200
        assert client.get(PERSONS, params={"id_number": person["id_number"], "x": "y" * 9000}).status_code == 414
    wait_for(lambda: len(_entries(gateway)) > 0)
    figures = gateway.metrics()
    assert person["id_number"] not in figures
    marks = [person["id_number"].encode(), person["name"].encode(), person["phone"].encode()]
    for file in gateway.home.root.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert [mark for mark in marks if mark in content] == [], file


def test_a_use_is_on_record_with_who_what_for_and_under_which_grant(gateway: RunningGateway) -> None:
    """Decree 809 Art. 29: the record names demand, supply, purpose, grant, items and outcome."""
    person = gateway.population.persons[3]
    with gateway.client() as client:
        answer = client.get(PERSONS, params={"id_number": person["id_number"]})
    record = answer.headers["Sharing-Record"]

    def closed() -> dict[str, object] | None:
        return next((use for use in _entries(gateway) if use["record"] == record and use.get("status") == 200), None)

    use = wait_for(closed)
    assert use is not None
    expected = {
        "department": "housing-fund",
        "system": "housing-fund-approval",
        "supplier": "public-security",
        "dataset": "household",
        "purpose": "housing-fund-withdrawal",
        "grant": "G-2026-0001",
        "kind": "use",
        "rows": 1,
    }
    assert {name: use.get(name) for name in expected} == expected


def test_a_use_is_shown_and_proven_to_those_it_concerns_and_to_nobody_else(gateway: RunningGateway) -> None:
    """Decree 809 Art. 29: the supplier and the auditor may consult it; another supplier's officer may not."""
    with gateway.client() as client:
        record = client.get(PERSONS, params={"id_number": "x"}).headers["Sharing-Record"]
    assert wait_for(lambda: any(use["record"] == record and use.get("status") == 200 for use in _entries(gateway)))
    for officer in ("auditor-he", "police-chen"):
        with gateway.officer(officer) as api:
            shown = api.get(f"/v1/records/{record}")
            assert [entry["kind"] for entry in shown["entries"]] == ["use.opened", "use.closed"]
            proofs = [api.text(f"/v1/records/{record}/proof", part=part) for part in ("opened", "closed")]
        for proof, kind in zip(proofs, ("use.opened", "use.closed"), strict=True):
            checked = verify_record(proof.encode(), str(gateway.made["verifier_key"]), record=record)
            assert checked.origin == gateway.made["origin"]
            assert checked.record is not None
            assert checked.record.kind == kind
    with gateway.officer("civil-wu") as api:
        for path in (f"/v1/records/{record}", f"/v1/records/{record}/proof"):
            with pytest.raises(GatewayError, match="not-found"):
                api.text(path)


def test_a_refusal_is_a_problem_in_the_callers_language_and_is_on_record(gateway: RunningGateway) -> None:
    """RFC 9457, with what failed and what to do, in English or Chinese; nobody was called."""
    reached = gateway.suppliers["public-security"].calls
    with gateway.client(purpose="statistical-survey") as client:
        answer = client.get(PERSONS, params={"id_number": "x"}, headers={"Accept-Language": "zh-CN,en;q=0.5"})
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["type"] == "/problems/purpose-not-granted"
    assert "使用目的" in problem["title"]
    assert gateway.suppliers["public-security"].calls == reached
    record = answer.headers["Sharing-Record"]
    assert wait_for(lambda: any(use["record"] == record and use["kind"] == "use.refused" for use in _entries(gateway)))


def test_a_call_without_a_credential_is_refused_and_reaches_nobody(gateway: RunningGateway) -> None:
    """Who calls comes before what for."""
    reached = gateway.suppliers["public-security"].calls
    answer = httpx.get(f"{gateway.data_plane}{PERSONS}", headers={"Sharing-Purpose": "x"}, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["type"] == "/problems/credential-missing"
    assert gateway.suppliers["public-security"].calls == reached


def test_suspended_is_refused_at_once_and_lifted_is_served_again(gateway: RunningGateway) -> None:
    """The very next call after a suspension returned is refused; lifting gives back just what it took."""
    with gateway.client() as client:
        for _ in range(3):
            with gateway.officer("police-chen") as api:
                api.post(
                    "/v1/grants/G-2026-0001/suspension",
                    {"violation": "beyond the purpose", "rectify_by": "2099-01-31"},
                )
            answers = [client.get(PERSONS, params={"id_number": "x"}) for _ in range(4)]
            assert {answer.status_code for answer in answers} == {403}
            assert {answer.json()["type"] for answer in answers} == {"/problems/suspended"}
            with gateway.officer("police-chen") as api:
                api.post("/v1/grants/G-2026-0001/suspension/lift", {"reason": "rectified"})
            assert client.get(PERSONS, params={"id_number": "x"}).status_code == 200


def test_another_departments_officer_cannot_suspend(gateway: RunningGateway) -> None:
    """Only the supplier concerned and the competent department may stop a grant (Decree 809 Art. 27 ¶2)."""
    with gateway.officer("civil-wu") as api, pytest.raises(GatewayError, match="not-found"):
        api.post("/v1/grants/G-2026-0001/suspension", {"violation": "x", "rectify_by": "2099-01-31"})


def test_the_whole_log_verifies_with_the_public_key_alone(gateway: RunningGateway) -> None:
    """An auditor who trusts nobody walks the log from its first leaf."""
    checked = verify_log(gateway.home.ledger, str(gateway.made["verifier_key"]))
    assert checked.size > 0


def test_one_scrape_has_every_figure_and_they_move(gateway: RunningGateway) -> None:
    """All processes at one /metrics: uses, denials and a stop are seen in each figure that they concern."""
    with gateway.client(purpose="statistical-survey") as client:
        for _ in range(STEP):
            assert client.get(PERSONS, params={"id_number": "x"}).status_code == 403
    with gateway.officer("police-chen") as api:
        stop = {"violation": "beyond the purpose", "rectify_by": "2099-01-31"}
        api.post("/v1/grants/G-2026-0001/suspension", stop)
        api.post("/v1/grants/G-2026-0001/suspension/lift", {"reason": "rectified"})
    with gateway.client() as client:
        for _ in range(STEP):
            assert client.get(PERSONS, params={"id_number": "x"}).status_code == 200

    def scrape() -> dict[str, float]:
        text = gateway.metrics()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {sample.name + str(sorted(sample.labels.items())): sample.value for sample in samples}

    call = "[('interface', 'public-security/persons'), ('reason', '{}'), ('supplier', 'public-security'), "
    moving = {
        "gateway_calls_total" + call.format("complete") + "('verdict', 'permit')]",
        "gateway_calls_total" + call.format("purpose-not-granted") + "('verdict', 'deny')]",
        "gateway_call_duration_seconds_count[('supplier', 'public-security')]",
        *(
            f"gateway_stage_duration_seconds_count[('stage', '{stage}')]"
            for stage in ("identify", "decide", "record", "supplier", "release")
        ),
        "gateway_barrier_duration_seconds_count[]",
        "gateway_log_entries[]",
    }
    wait_for(lambda: all(scrape().get(name) for name in moving))
    seen = scrape()
    assert {name for name in moving if not seen.get(name)} == set()
    assert all(seen[f"gateway_journal_accepts[('process', 'worker-{n}')]"] == 1 for n in (0, 1))
    # Too few connections and first calls for the step in which they are shown.
    assert {"gateway_connections_total[]", "gateway_slices[]", "gateway_verdicts[]"} & set(seen)
    # What this gateway does not have: a certificate, a replaced key, a collector, a supplier in trouble or mixing up,
    # nobody who asks beside it, and an object store.
    absent = {"gateway_certificate_expiry", "gateway_key_expiry", "gateway_traced_calls"}
    absent |= {"gateway_interface_trouble", "gateway_stray_answers", "gateway_open_uses", "gateway_evaluations"}
    absent |= {"gateway_archive_lag_seconds", "gateway_archive_faults"}
    # Records that come together on a busy machine are one batch: too few of a worker's for the step that is shown.
    absent |= {"gateway_journal_batch_records"}
    names = " ".join(seen)
    missing = [family for family in FAMILIES if family not in names]
    assert [family for family in missing if not family.startswith(tuple(absent))] == []


def test_no_figure_moves_with_each_use(gateway: RunningGateway) -> None:
    """Art. 36: who scrapes as fast as may be finds no series that moves with every single use of a quiet gateway."""
    clocks = ("gateway_snapshot_age", "gateway_change_feed_age", "gateway_barrier", "gateway_change_feed_sequence")
    others = ("gateway_journal_free_bytes",)  # the disk is not the gateway's alone

    def scrape() -> dict[str, float]:
        text = gateway.metrics()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {
            sample.name + str(sorted(sample.labels.items())): sample.value
            for sample in samples
            # The control process itself works for each scrape.
            if not sample.name.startswith(clocks + others) and sample.labels.get("process") != "control"
        }

    with gateway.client() as client:
        client.get(PERSONS, params={"id_number": "x"})
        moved: list[set[str]] = []
        for _ in range(6):
            time.sleep(2.5)
            before, seen = scrape(), set()
            assert client.get(PERSONS, params={"id_number": "x"}).status_code == 200
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                after = scrape()
                seen |= {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)}
                time.sleep(0.1)
            moved.append(seen)
    each_time = set.intersection(*moved)
    assert each_time == set()
    often = [name for name in set().union(*moved) if sum(name in seen for seen in moved) > 2]
    assert often == [], "a series that is shown in steps of ten moves at most once or twice in six uses"


def test_the_command_line_reaches_the_running_gateway(gateway: RunningGateway) -> None:
    """`--json` prints one document, and a refusal ends with status 1 and one sentence."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway", *arguments, "--home", str(gateway.home.root)]
        settings = {**os.environ, "GATEWAY_SUPPLIERS__NETWORKS": "127.0.0.0/8"}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=settings)

    listed = run("grants", "list", "--json", "--as", "competent-lin")
    assert listed.returncode == 0, listed.stderr
    assert "G-2026-0001" in listed.stdout
    json.loads(listed.stdout)
    status = run("status", "--json")
    assert status.returncode == 0, status.stdout
    assert json.loads(status.stdout)["faults"] == []
    missing = run("grants", "show", "G-none", "--as", "competent-lin")
    assert missing.returncode == 1
    assert "Traceback" not in missing.stderr
    assert len(missing.stderr.strip().splitlines()) <= 3


def test_an_auditor_exports_reports_and_verifies_from_the_command_line(gateway: RunningGateway, tmp_path: Path) -> None:
    """Export, proof and report as files; what was exported verifies with the log's key alone."""
    with gateway.client() as client:
        record = client.get(PERSONS, params={"id_number": "x"}).headers["Sharing-Record"]
    assert wait_for(lambda: any(use["record"] == record and use.get("status") == 200 for use in _entries(gateway)))

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "gateway", *map(str, arguments)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        assert said.returncode == 0, said.stderr
        return said.stdout

    here = ("--home", gateway.home.root, "--as", "auditor-he")
    policy = next(use["policies"] for use in _entries(gateway) if use["record"] == record)[0]
    key = ("--key", gateway.made["verifier_key"], "--json")
    for suffix in ("ndjson", "csv", "parquet"):
        run("records", "export", tmp_path / f"uses.{suffix}", "--status", "200", "--policy", policy, *here)
        assert json.loads(run("verify", tmp_path / f"uses.{suffix}", *key))["what"] == "export"
    assert record in (tmp_path / "uses.csv").read_text("utf-8-sig")
    run("records", "prove", record, "--out", tmp_path / "record.proof", *here)
    for name, kind in (("record", "use.opened"), ("record.closed", "use.closed")):
        proven = json.loads(run("verify", tmp_path / f"{name}.proof", "--record", record, *key))["record"]
        assert (proven["id"], proven["kind"]) == (record, kind)
    made = json.loads(run("records", "report", tmp_path / "report", "--grant", "G-2026-0001", *here, "--json"))
    names = {Path(file).name for file in made["files"]}
    assert {"by-day.csv", "by-dataset.csv", "calls-by-day.svg", "refusals-by-reason.svg", "top-datasets.svg"} <= names
    assert {each["key"] for each in made["figures"]["dataset"]} == {"household"}
    for file in made["files"]:
        assert Path(file).stat().st_size > 0


@pytest.mark.deep
def test_serving_a_home_twice_is_refused_in_one_sentence(gateway: RunningGateway) -> None:
    """Two gateways in one home would fork the log."""
    command = [sys.executable, "-m", "gateway", "serve", "--home", str(gateway.home.root)]
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1
    assert "another gateway runs" in again.stderr
    assert "Traceback" not in again.stderr


def test_folders_of_the_home_are_closed_to_others(gateway: RunningGateway) -> None:
    """Keys and sockets are the gateway's own."""
    keys = gateway.home.keys(gateway.home.settings())
    for file in keys.rglob("*"):
        if file.is_file():
            assert file.stat().st_mode & 0o077 == 0, file


def test_home_that_is_missing_says_what_to_do(tmp_path: Path) -> None:
    """A command on no home names the command that makes one."""
    command = [sys.executable, "-m", "gateway", "serve", "--home", str(tmp_path / "none")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert "gateway init" in answer.stderr


ASKING = {
    "subject": ["body~xml/*:Envelope/*:Body/*:CHECK_IDENTITY/*:in0~xml/PACKAGE/DATA/RECORD/GMSFHM"],
    "operator": [
        "body~xml/*:Envelope/*:Body/*:CHECK_IDENTITY/*:in0~xml/PACKAGE/PACKAGEHEAD/QQRXM",
        "body~xml/*:Envelope/*:Body/*:CHECK_IDENTITY/*:in0~xml/PACKAGE/PACKAGEHEAD/QQRGMSFHM",
    ],
    "unit": ["body~xml/*:Envelope/*:Body/*:CHECK_IDENTITY/*:in0~xml/PACKAGE/PACKAGEHEAD/QQRDWDM"],
}


def test_call_that_names_its_people_in_a_package_in_soap_is_found_by_each_of_them(gateway: RunningGateway) -> None:
    """Whom, who and from where stand in the body alone; another unit is refused; the service sees the same bytes."""
    body = (Path(__file__).parents[1] / "support" / "exchange" / "national-soap-call.xml").read_bytes()
    people, operator, unit = ("110101199003070000", "110101199105080000"), "110101198001010000", "11440000000000000X"
    received: list[bytes] = []
    supplier = gateway.suppliers["public-security"]
    answer_get = supplier._server.RequestHandlerClass.do_GET

    def answer_post(handler: Any) -> None:
        received.append(handler.rfile.read(int(handler.headers["Content-Length"])))
        answer_get(handler)

    supplier._server.RequestHandlerClass.do_POST = answer_post
    with gateway.officer() as api:
        home = api.get("/v1/departments/housing-fund")
        (persons,) = (each for each in api.get("/v1/interfaces")["items"] if each["id"] == "persons")
        entry = {name: persons[name] for name in ("supplier", "dataset", "upstream", "places", "modes", "plain_http")}
        api.post("/v1/interfaces", {**entry, "id": "asked", "methods": ["POST"], "request": ASKING})
    with gateway.client() as client:

        def ask(content: bytes) -> httpx.Response:
            return client.post("/public-security/asked", content=content, headers={"Content-Type": "text/xml"})

        other = ask(body)
        assert (other.status_code, other.json()["type"]) == (403, "/problems/unit-mismatch")
        with gateway.officer() as api:
            api.post(
                "/v1/departments", {name: home[name] for name in ("id", "name", "region", "level")} | {"code": unit}
            )
        answer = ask(body)
        assert answer.status_code == 200, answer.text
        assert received == [body]
        for wrong in (
            body.replace(b"<GMSFHM>110101199105080000</GMSFHM>", b""),
            b"<!DOCTYPE x>" + body,
            body.replace(b'encoding="UTF-8"', b'encoding="GBK"'),
        ):
            refused = ask(wrong)
            assert (refused.status_code, refused.json()["type"]) == (400, "/problems/malformed-request")
    assert len(received) == 1
    record = answer.headers["Sharing-Record"]

    def found(person: str) -> list[str]:
        with gateway.officer("auditor-he") as api:
            return [
                each["record"]
                for each in api.post("/v1/records/search", {"subject": person, "format": "ndjson"})["items"]
            ]

    for person in people:
        assert wait_for(lambda person=person: record in found(person)), "the record is not found by its person"
    assert found(operator) == []
    with gateway.officer("auditor-he") as api:
        shown = api.get(f"/v1/records/{record}")
    opened = shown["entries"][0]
    assert len(opened["subjects"]) == 2
    assert opened["use"]["operator"].startswith("sealed:")
    assert re.fullmatch(r"李经办 \d{4}\.[\w-]{22}", shown["texts"]["operator"]["text"])
    for file in gateway.home.root.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert [number for number in (*people, operator) if number.encode() in content] == [], file
