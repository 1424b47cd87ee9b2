"""Policies put in force on a running gateway: on every worker at once, through restarts, and in the shadow first."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain.calendar import china_day, day_facts
from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicyEvent, PolicySet, PolicyStep
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from gateway.runtime.demo.stage import bearer_token
from gateway.runtime.demo.story import PURPOSE
from gateway.store import Store
from tests.policies.layering import note
from tests.support.barrier import read_to_end
from tests.support.gateways import RunningGateway, running_gateway, wait_for
from tests.support.streaming import EndlessSupplier, SlowCaller, furnish_endless, grant_document

PERSONS = "/public-security/persons"
NO_WITHDRAWALS = f'forbid (principal, action in Action::"use", resource) when {{ context.purpose == "{PURPOSE}" }};'
SHIPPED = read_set(default_policies_root(), ("national",))
BOTH = read_set(default_policies_root(), ("national", "zhongshan"))
MORE = 'permit (principal is System, action == Action::"query", resource) when { context.purpose == "relief" };'
PERMITS = PolicySet(("national", "city"), {**SHIPPED.files, "city/c.cedar": note("city-permit") + MORE})
CITY = PolicySet(("national", "city"), {**SHIPPED.files, "city/c.cedar": note("city-rule") + NO_WITHDRAWALS})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with running_gateway(tmp_path_factory.mktemp("policies") / "home") as running:
        yield running


@pytest.fixture(autouse=True)
def _as_it_was(gateway: RunningGateway) -> Iterator[None]:
    yield
    with gateway.officer() as api:
        with suppress(GatewayError):
            api.post("/v1/policies/activation", {**body_of(SHIPPED), **SAID})
        with suppress(GatewayError):
            api.post("/v1/policies/shadow/end", {})


def body_of(policies: PolicySet) -> dict[str, Any]:
    return {"layers": list(policies.layers), "files": dict(policies.files)}


SAID = {"reason": "a trial", "revives": True}


def activate(gateway: RunningGateway, policies: PolicySet, **more: Any) -> Any:
    with gateway.officer() as api:
        return api.post("/v1/policies/activation", {**SAID, **body_of(policies), **more})


def statuses(gateway: RunningGateway, connections: int = 6) -> set[int]:
    """What calls over that many new connections are answered: the workers share the port, so each gets some."""
    found = set()
    for _ in range(connections):
        with gateway.client() as client:
            found.add(client.get(PERSONS, params={"id_number": "x"}).status_code)
    return found


def served(gateway: RunningGateway, status: int) -> bool:
    with suppress(httpx.HTTPError):
        return statuses(gateway) == {status}
    return False


def test_what_takes_away_holds_everywhere_when_the_call_returns(gateway: RunningGateway) -> None:
    """BARRIER: both workers confirm, the very next calls are refused, and the auditor finds the act's record."""
    assert statuses(gateway) == {200}
    said = activate(gateway, CITY)
    assert statuses(gateway) == {403}
    assert said["barrier"]["confirmed"] == ["worker-0", "worker-1"]
    assert "G-2026-0001" in said["loss"]["grants_losing"]
    with gateway.officer() as api:
        back = api.post("/v1/policies/rollback", {"reason": "too strict", "revives": True})
    assert statuses(gateway) == {200}
    assert back["barrier"]["confirmed"] == ["worker-0", "worker-1"]
    acts = {said["record"], back["record"]}
    with gateway.officer("auditor-he") as api:
        assert wait_for(lambda: acts <= {one["record"] for one in api.get("/v1/records", kind="policy")["items"]}, 10)


@pytest.mark.deep
def test_what_is_in_force_outlives_workers_and_the_gateway(gateway: RunningGateway) -> None:
    """Who starts again starts with what is in force, not with the settings."""
    said = activate(gateway, CITY)
    ended = gateway.pid("worker-0")
    os.kill(ended, signal.SIGKILL)
    assert wait_for(lambda: gateway.pid("worker-0") != ended and served(gateway, 403), 20)
    assert gateway.stop() == 0
    gateway.start()
    assert wait_for(lambda: served(gateway, 403), 20)
    with gateway.officer() as api:
        assert api.get("/v1/policies")["digest"] == said["activation"]["digest"]


@pytest.mark.deep
def test_what_streams_is_cut_only_where_access_can_be_taken_away(gateway: RunningGateway) -> None:
    """A layer of permits more lets a stream go on; a forbid more cuts it before the call returns."""
    supplier = EndlessSupplier()
    furnish_endless(gateway, supplier)
    with gateway.officer("police-chen") as api:
        api.post("/v1/grants", grant_document("G-STREAM"))
    caller = SlowCaller(gateway)
    assert caller.status == 200
    assert activated_while_it_reads(gateway, caller)
    activate(gateway, CITY)
    read_to_end(caller.socket)
    supplier.close()


def activated_while_it_reads(gateway: RunningGateway, caller: SlowCaller) -> bool:
    """Put permits more in force; whether the answer goes on afterwards.

    The caller reads meanwhile: on a busy machine what is examined takes longer than a caller may take nothing.
    """
    over = threading.Event()

    def read() -> None:
        with suppress(ConnectionError):
            while not over.wait(0.05) and caller.socket.recv(65536):
                pass

    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read)
        try:
            activate(gateway, PERMITS)
        finally:
            over.set()
        reading.result()
    # More than could lie anywhere on the way: what a cut leaves in the caller's kernel is no stream.
    left = 1 << 20
    with suppress(ConnectionError):
        while left > 0 and (data := caller.socket.recv(65536)):
            left -= len(data)
    return left <= 0


@pytest.mark.deep
def test_a_candidate_in_the_shadow_counts_and_decides_nothing(gateway: RunningGateway) -> None:
    """Differences of all workers arrive, outlive a worker that ends, and name no person."""
    with gateway.officer() as api:
        api.post("/v1/policies/shadow", body_of(CITY))
    assert statuses(gateway) == {200}

    def report() -> Any:
        with gateway.officer() as api:
            return api.get("/v1/policies/shadow")

    def lost(at_least: int) -> Any:
        """The report once that many verdicts differ: each worker counts the same call once."""
        return served(gateway, 200) and report()["tally"]["losses"] >= at_least and report()

    found = wait_for(lambda: lost(2), 20)
    assert found
    assert found["nodes"] == {gateway.made["origin"]: ["worker-0", "worker-1"]}
    (difference,) = found["differences"]
    assert difference == {
        "change": "would-lose",
        "department": "housing-fund",
        "dataset": "household",
        "interface": "public-security/persons",
        "mode": "query",
        "active": "permit",
        "candidate": difference["candidate"],
        "grant": "G-2026-0001",
        "policies": ["city-rule"],
    }
    ended = gateway.pid("worker-0")
    os.kill(ended, signal.SIGKILL)
    assert wait_for(lambda: gateway.pid("worker-0") != ended, 20)
    more = wait_for(lambda: lost(3), 20)
    assert more
    with gateway.officer() as api:
        api.post("/v1/policies/shadow/end", {})
    assert report()["running"] is False
    assert report()["tally"]["losses"] >= more["tally"]["losses"]


@pytest.mark.deep
def test_policies_that_end_their_reader_are_a_finding(gateway: RunningGateway) -> None:
    """Nesting on which the parser's process ends is found in a process of its own: the gateway answers on."""
    deep = "permit (principal, action, resource) when { " + "(" * 100_000 + "true" + ")" * 100_000 + " };"
    with pytest.raises(GatewayError) as caught:
        activate(gateway, PolicySet(("national",), {**SHIPPED.files, "national/deep.cedar": deep}))
    assert caught.value.code == "invalid-input"
    assert "nested too deeply" in caught.value.members["faults"][0]["fault"]
    assert statuses(gateway) == {200}


@pytest.mark.deep
def test_a_set_that_does_not_load_closes_the_door(tmp_path: Path) -> None:
    """ERROR-DENIES for policies themselves: what is in force and cannot be loaded is not replaced by what was."""
    with running_gateway(tmp_path / "home") as gateway:
        token = bearer_token(f"{gateway.control}/oauth/token", gateway.key)
        headers = {"Authorization": f"Bearer {token}", "Sharing-Purpose": PURPOSE}

        def code() -> str:
            with suppress(httpx.HTTPError), httpx.Client(trust_env=False, timeout=5) as client:
                answer = client.get(f"{gateway.data_plane}/civil-affairs/marriages?id_number=x", headers=headers)
                return "served" if answer.is_success else str(answer.json()["type"])
            return "no answer"

        assert code() == "served"
        with Store.open(gateway.home.state_url(gateway.home.settings())) as store, store.transaction() as tx:
            tx.put_policy_set(CITY)
            at = datetime.now(UTC)
            event = PolicyEvent(1, PolicyStep.ACTIVATE, CITY.id, "0" * 64, CITY.layers, "somebody", at)
            tx.add_policy_event(event, withdraws=True)
        assert wait_for(lambda: code() != "served")
        assert {code() for _ in range(20)} <= {"/problems/state-stale", "no answer"}


def test_rules_about_the_day_and_about_how_many_hold_each_way(gateway: RunningGateway) -> None:
    """By the calendar of today as everybody has it; where no notice reaches today, either rule refuses."""
    today = day_facts(china_day(time.time()))
    works, rests = (200, 403) if today and today.workday else (403, 200 if today else 403)
    for condition, status in (
        ("context.calendar.workday", works),
        ("!context.calendar.workday", rests),
        ("context.subjects == 1 && context.itemsAsked >= 1", 200),
        ("context.subjects > 1", 403),
        ("context.itemsAsked > resource.dataset.itemsListed", 403),
    ):
        rule = f'{note("city-rule")} forbid (principal, action in Action::"use", resource) unless {{ {condition} }};'
        activate(gateway, PolicySet(("national", "city"), {**SHIPPED.files, "city/c.cedar": rule}))
        assert statuses(gateway) == {status}, condition


def test_a_constant_of_a_layer_decides_and_is_shown(gateway: RunningGateway) -> None:
    rule = f'{note("city-rule")} forbid (principal, action in Action::"use", resource)'
    rule += ' when { context.purpose == Constant::"closed" };'
    files = {**SHIPPED.files, "city/c.cedar": rule}
    for closed, status in (("another", 200), (PURPOSE, 403)):
        activate(gateway, PolicySet(("national", "city"), {**files, "city/constants.yaml": f"closed: {closed}"}))
        assert statuses(gateway) == {status}
    with gateway.officer() as api, pytest.raises(GatewayError) as refused:
        api.post("/v1/policies/activation", {**body_of(PolicySet(("national", "city"), files)), **SAID})
    assert "`city/constants.yaml`" in str(refused.value.members["faults"])


def test_a_system_is_served_while_it_is_certified(gateway: RunningGateway) -> None:
    """The very next call after the certification is entered, or withdrawn; and one whose last day is over is none."""
    system = "housing-fund-approval"
    condition = "context.now >= principal.certified && context.now < principal.certifiedUntil"
    rule = f'{note("city-rule")} forbid (principal, action in Action::"use", resource) unless {{ {condition} }};'
    activate(gateway, PolicySet(("national", "city"), {**SHIPPED.files, "city/c.cedar": rule}))
    today, path = china_day(time.time()), f"/v1/systems/{system}/certification"
    day = timedelta(days=1)
    assert statuses(gateway) == {403}
    with gateway.officer() as api:
        held = ((today - day, today, 200), (today - 9 * day, today - day, 403), (today, today, 200))
        for since, until, status in held:
            api.post(path, {"number": "114", "since": since.isoformat(), "until": until.isoformat()})
            assert statuses(gateway) == {status}
        api.post(f"{path}/withdrawal", {"reason": "found unfit"})
        assert statuses(gateway) == {403}


def test_an_order_on_one_system_is_a_fact_for_its_sisters(gateway: RunningGateway) -> None:
    """A rule that refuses a department with a stop in force, and from the lift on no more."""
    rule = f'{note("city-rule")} forbid (principal, action in Action::"use", resource)'
    rule += " when { principal.department.stops > 0 };"
    activate(gateway, PolicySet(("national", "city"), {**SHIPPED.files, "city/c.cedar": rule}))
    order = {"kind": "emergency", "reach": "system", "target": "housing-sister", "reason": "a leak"}
    with gateway.officer() as api:
        api.post("/v1/systems", {"id": "housing-sister", "department": "housing-fund", "name": "sister"})
        assert statuses(gateway) == {200}
        stop = api.post("/v1/orders", order)["order"]["id"]
        assert statuses(gateway) == {403}
        api.post(f"/v1/orders/{stop}/lift", {"reason": "over"})
        assert statuses(gateway) == {200}
