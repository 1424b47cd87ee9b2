"""Departments change while systems call: they keep working by the paths they know, and stops hold where things are."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.client.problems import TokenRefused
from gateway.domain.errors import GatewayError
from gateway.runtime.demo.story import SYSTEM
from gateway.runtime.demo.world import REGION
from tests.end_to_end.test_law import PERSONS, code_of, grant_document
from tests.support.gateways import RunningGateway, running_gateway, wait_for

HANDED = {"document": "中编办发〔2026〕9号", "reason": "institutional reform"}
STOP = {"emergency": True, "incident": "a leak was seen"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("departments") / "home") as running:
        yield running


def carry_out(gateway: RunningGateway, kind: str, department: str, **said: Any) -> list[dict[str, Any]]:
    """Plan and do one act, as the registrar: its steps."""
    body = {**HANDED, "kind": kind, "departments": [department], **said}
    with gateway.officer() as api:
        plan = api.post("/v1/reorganisations/plan", body)["plan"]
        steps: list[dict[str, Any]] = api.post("/v1/reorganisations", {**body, "plan": plan})["steps"]
        return steps


def part(thing: str, id_: str, to: str) -> dict[str, str]:
    return {"thing": thing, "id": id_, "to": to}


@pytest.mark.deep
def test_callers_keep_working_while_departments_change(gateway: RunningGateway) -> None:
    """An entry, then the calling system, then whole departments go elsewhere; each call is answered, or stopped."""
    with gateway.officer("police-chen") as api:
        api.post("/v1/grants", grant_document("G-KEEP"))
    with gateway.client(items=("name",)) as client:

        def ask(path: str = PERSONS) -> str:
            answer = client.get(path, params={"id_number": gateway.population.persons[0]["id_number"]})
            return code_of(answer) or str(answer.status_code)

        assert ask() == "200"
        # Both interfaces of the register lie at one path of one host: it is not divided.
        alone = {**HANDED, "kind": "transfer", "departments": ["public-security"]}
        with gateway.officer() as api, pytest.raises(GatewayError, match="divided"):
            api.post("/v1/reorganisations/plan", {**alone, "parts": [part("entry", "household", "civil-affairs")]})
        both = [part("entry", each, "civil-affairs") for each in ("household", "criminal-clue")]
        carry_out(gateway, "transfer", "public-security", parts=both)
        assert (ask(), ask("/civil-affairs/persons")) == ("200", "200")

        # The new supplier's stop reaches the caller who comes by the old path; the old supplier has no word any more.
        with gateway.officer("police-chen") as api, pytest.raises(GatewayError):
            api.post("/v1/grants/G-KEEP/suspension", STOP)
        with gateway.officer("civil-wu") as api:
            api.post("/v1/grants/G-KEEP/suspension", STOP)
            assert ask() == "suspended"
            api.post("/v1/grants/G-KEEP/suspension/lift", {"reason": "it was none"})
        assert ask() == "200"

        # What was drawn before the entry went is found by its new supplier, and by its old.
        for officer in ("civil-wu", "police-chen"):
            with gateway.officer(officer) as api:
                asked = {"dataset": "household", "kind": "use", "limit": 100}
                found = wait_for(lambda api=api, asked=asked: _before(api.get("/v1/records", **asked)["items"]))
                assert found, officer
                api.get(f"/v1/records/{found[0]['record']}")

        # The system goes to another department, and its stop goes along.
        with gateway.officer() as api:
            order = {"kind": "emergency", "reach": "department", "target": "housing-fund", "reason": "a leak"}
            stop = api.post("/v1/orders", order)["order"]["id"]
        steps = carry_out(gateway, "transfer", "housing-fund", parts=[part("system", SYSTEM, "human-resources")])
        assert ask() == "suspended"
        (followed,) = [step["becomes"].rpartition(": ")[2] for step in steps if step["rule"] == "stop-follows"]
        with gateway.officer() as api:
            api.post(f"/v1/orders/{stop}/lift", {"reason": "over"})
            assert ask() == "suspended"
            api.post(f"/v1/orders/{followed}/lift", {"reason": "over"})
        assert ask() == "200"

        # Both sides are merged away; the path that the system knows is older than either.
        carry_out(gateway, "merge", "civil-affairs", successor="market-regulation")
        carry_out(gateway, "merge", "human-resources", successor="housing-fund")
        assert (ask(), ask("/civil-affairs/persons")) == ("200", "200")
        with gateway.officer("civil-wu") as api:
            assert api.get("/v1/grants/G-KEEP")["grant"]["department"] == "housing-fund"
        carry_out(gateway, "dissolve", "housing-fund", successor="audit-office")
        with pytest.raises(TokenRefused):
            ask()


def test_each_act_is_shown_before_and_done_as_it_was_shown(gateway: RunningGateway) -> None:
    """A new name, a part that is split off, a department that is dissolved: planned, done by the plan alone, called."""
    with gateway.officer("civil-wu") as api:
        api.post("/v1/grants", grant_document("G-WED", dataset="marriage", items=["status"]))
    with gateway.officer() as api:
        for name in ("wedding-office", "records-office"):
            api.post("/v1/departments", {"id": name, "name": name, "region": REGION, "level": "province"})
    number = gateway.population.marriages[0]["wife"]["id_number"]
    with gateway.client(items=("status",)) as client:

        def ask(path: str = "/civil-affairs/marriages") -> str:
            answer = client.get(path, params={"id_number": number})
            return code_of(answer) or str(answer.status_code)

        def steps_of(kind: str, **said: Any) -> set[tuple[str, str]]:
            """Planned, found unchanged by the plan, and done once: what was planned is what is done."""
            body = {**HANDED, "kind": kind, **said}
            with gateway.officer() as api:
                planned = api.post("/v1/reorganisations/plan", body)
                assert ask() in {"200", "not-granted"}, "a plan does nothing"
                with pytest.raises(GatewayError) as caught:
                    api.post("/v1/reorganisations", {**body, "plan": "0" * 64})
                assert caught.value.code == "conflict"
                done = api.post("/v1/reorganisations", {**body, "plan": planned["plan"]})
            assert done["steps"] == planned["steps"]
            return {(each["thing"], each["rule"]) for each in done["steps"]}

        assert ask() == "200"
        assert steps_of("rename", departments=["civil-affairs"], name="示例省婚姻和社会事务厅")
        with gateway.officer() as api:
            named = api.get("/v1/departments/civil-affairs")
        assert (named["id"], named["name"], ask()) == ("civil-affairs", "示例省婚姻和社会事务厅", "200")

        split = [part("entry", "marriage", "wedding-office")]
        assert ("entry", "entry-moves") in steps_of("split", departments=["civil-affairs"], parts=split)
        assert (ask(), ask("/wedding-office/marriages")) == ("200", "200"), "by the path that it knows, and the new one"
        with gateway.officer() as api:
            assert api.get("/v1/datasets/marriage")["released"]["supplier"] == "wedding-office"

        assert steps_of("dissolve", departments=["wedding-office"], successor="records-office")
        assert ask() != "200", "what a dissolved department supplied is shared no more"
        with gateway.officer() as api:
            assert api.get("/v1/departments/wedding-office")["succeeded_by"] == "records-office"
            uses = {"dataset": "marriage", "kind": "use", "limit": 100}
        with gateway.officer("auditor-he") as api:
            found = wait_for(lambda: {each["supplier"] for each in api.get("/v1/records", **uses)["items"]})
        assert {"civil-affairs", "wedding-office"} <= found, "history stays under the names that it had"


def _before(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Uses of the entry while it was the former supplier's."""
    return [each for each in items if each["supplier"] == "public-security"]
