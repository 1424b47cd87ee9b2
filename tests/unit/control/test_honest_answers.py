"""No answer misleads: what is not there is told apart from what is not known, and each advice helps in its case."""

import asyncio
import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from gateway.cli import app
from gateway.control.act.examples import CLOSURE, DISPOSAL, GRANT, STANDS_AT
from gateway.domain.verdicts import Explanation, NearMiss
from gateway.ledger.verify.record import verify_export
from tests.support.control import World, done, refused
from tests.support.ledger import City, record_uses

EIGHT_IN_THE_MORNING = int(STANDS_AT.timestamp() - 3600) * 1_000_000_000


@pytest.fixture
def used(make_world: Callable[..., World]) -> World:
    """A world with a grant, one use under it on the day of the examples, and an attempt that its suspension refused."""
    world = make_world(ledger=True)
    world.grant()
    city = City()

    def of_grant(use: Any, **verdict: Any) -> Any:
        call = replace(use.call, department=GRANT["department"], dataset=GRANT["dataset"])
        caller = replace(use.caller, department=GRANT["department"])
        verdict = replace(use.verdict, **verdict)
        return replace(use, caller=caller, call=call, verdict=verdict, supplier="public-security")

    near = Explanation(near=(NearMiss(GRANT["id"], ("suspended",), ("Decree 809 Art. 27 ¶2",)),))
    uses = [replace(of_grant(city.use(EIGHT_IN_THE_MORNING), grant=GRANT["id"]), subject=None)]
    attempt = of_grant(city.refused(EIGHT_IN_THE_MORNING, "suspended"), explanation=near, policies=("order:O1",))
    asyncio.run(record_uses(world.services.tree.parent, uses, city, refused=[attempt]))
    found_of(world, grant=GRANT["id"], kind="use.refused")
    return world


def found_of(world: World, officer: str = "auditor", **question: Any) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 20
    while True:
        answer = world.get(officer, "/v1/records", **question)
        items = [] if answer.status_code == 503 else done(answer)["items"]
        if items or time.monotonic() > deadline:
            return list(items)
        time.sleep(0.05)


def test_records_of_a_grant_include_the_attempts_that_its_suspension_refused(used: World) -> None:
    """By grant, by reason, and in a table: the attempt stands under the grant that it came nearest."""
    found = found_of(used, grant=GRANT["id"])
    assert {(row["kind"], row["code"]) for row in found if row["kind"].startswith("use")} == {
        ("use", None),
        ("use.refused", "suspended"),
    }
    figures = done(used.get("auditor", "/v1/records/stats", by="reason", grant=GRANT["id"]))
    assert [(row["key"], row["refused"]) for row in figures["items"] if row["refused"]] == [("suspended", 1)]
    assert figures["items"] == done(used.get("auditor", "/v1/records/stats", by="code", grant=GRANT["id"]))["items"]
    asked = {"format": "csv", "verdict": "deny", "grant": GRANT["id"]}
    made = done(used.post("auditor", "/v1/records/export", asked))
    rows = list(csv.DictReader(io.StringIO(used.get("auditor", made["file"]).content.decode("utf-8-sig"))))
    assert [row["grant"] for row in rows] == [GRANT["id"]]


def test_nothing_is_destroyed_before_it_was_drawn(used: World) -> None:
    """Art. 27 ¶1: a destruction of the day before the last use leaves what was drawn then; of that day, it does not."""
    path = f"/v1/grants/{GRANT['id']}"
    done(used.post("civil", f"{path}/closure", CLOSURE))
    early = {**DISPOSAL, "destroyed_on": "2026-05-31"}
    document = refused(used.post("civil", f"{path}/disposal", early), "invalid-input")
    assert document["faults"][0]["field"] == "destroyed_on"
    assert "2026-06-01" in document["faults"][0]["fault"]
    refused(used.post("stranger", f"{path}/disposal", early), "not-found")
    done(used.post("civil", f"{path}/disposal", {**DISPOSAL, "destroyed_on": "2026-06-01"}))


def test_a_destruction_is_not_recorded_where_the_uses_are_not_known(world: World) -> None:
    """Without a ledger nobody knows what was drawn last: that is no day on which nothing was."""
    world.grant()
    done(world.post("civil", f"/v1/grants/{GRANT['id']}/closure", CLOSURE))
    refused(world.post("civil", f"/v1/grants/{GRANT['id']}/disposal", DISPOSAL), "unavailable")


LISTS = {
    "/v1/records": ("department", "supplier"),
    "/v1/records/stats": ("department", "supplier"),
    "/v1/grants": ("department", "supplier"),
    "/v1/systems": ("department",),
    "/v1/officers": ("department",),
    "/v1/orders": ("supplier",),
    "/v1/datasets": ("supplier",),
    "/v1/interfaces": ("supplier",),
    "/v1/hosts": ("supplier",),
    "/v1/certificates": ("supplier",),
    "/v1/credentials": ("supplier",),
}


def test_a_department_that_is_none_is_an_error_with_the_nearest(world: World) -> None:
    """No list answers with an empty table for a department that does not exist."""
    for path, fields in LISTS.items():
        for field in fields:
            document = refused(world.get("registrar", path, **{field: "public-securty"}), "invalid-input")
            assert document["faults"][0]["field"] == field, path
            assert "nearest: `public-security`" in document["detail"]
    far = refused(world.get("registrar", "/v1/grants", department="zzz"), "invalid-input")
    assert far["detail"] == "there is no department `zzz`"


def test_an_export_names_the_key_that_verifies_it_and_a_changed_one_is_told_what_to_do(
    used: World, tmp_path: Path
) -> None:
    """The key is signed with the rest; of what was changed nothing is relied on, and nobody "decides again"."""
    made = done(used.post("auditor", "/v1/records/export", {"format": "ndjson", "grant": GRANT["id"]}))
    key = made["summary"]["verifier_key"]
    assert key == used.ledger_key
    file = tmp_path / "uses.ndjson"
    file.write_bytes(used.get("auditor", made["file"]).content)
    Path(f"{file}.manifest").write_bytes(used.get("auditor", made["manifest"]).content)
    assert key in Path(f"{file}.manifest").read_text("utf-8")
    verify_export(file, key)
    file.write_bytes(file.read_bytes() + b"\n")
    told = CliRunner().invoke(app, ["verify", str(file), "--key", key])
    assert told.exit_code == 1
    assert "rely on none of it" in told.stderr
    assert "decide again" not in told.stderr


def test_a_plan_that_lets_nothing_go_says_what_keeps_it(used: World) -> None:
    """A log without a full bundle has none that is past its time."""
    plan = done(used.get("operator", "/v1/retention"))
    assert plan["entries"] == 0
    assert "fill no bundle of 256 yet" in plan["stopped_by"]


def test_a_question_about_a_person_names_what_was_registered_otherwise_at_the_time(used: World) -> None:
    """A use without a subject is named though its interface's entry gives the place today; an export says so too."""
    body = {"format": "ndjson", "subject": "440106199001011234"}
    found = done(used.post("auditor", "/v1/records/search", body))
    assert found["items"] == []
    placeless = found["not_looked_into"]["interfaces"]
    assert len(placeless) == 1
    assert done(used.post("auditor", "/v1/records/export", body))["not_looked_into"]["interfaces"] == placeless
    other = {**body, "interface": "public-security/household"}
    assert done(used.post("auditor", "/v1/records/search", other))["not_looked_into"]["interfaces"] == []
