"""`Idempotency-Key` on every act, on both databases; retention applied once under it."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gateway.control.act.examples import DEPARTMENT
from gateway.domain.errors import GatewayError
from gateway.ledger.process.service import Pruned
from gateway.ledger.retention.retention import RULE, Holds, RetentionPlan
from tests.support.control import World, done, refused
from tests.support.postgres import Postgres, running_postgres

RETENTION = "/v1/retention"
ONCE = {"Idempotency-Key": "same-key-0001"}
QUESTIONS = {
    "/v1/interfaces/derivation",
    "/v1/interfaces/trial",
    "/v1/policies/compare",
    "/v1/policies/explain",
    "/v1/records/search",
    "/v1/reorganisations/plan",
}
"""What is asked by POST and does nothing: no key is needed to ask again."""


class Log:
    """A log that holds 512 entries of which 256 may go, once."""

    def __init__(self) -> None:
        self.pruned: list[str] = []

    async def plan_retention(self, _holds: Holds) -> RetentionPlan:
        first = 256 * len(self.pruned)
        return RetentionPlan(first, 256, date(2030, 1, 2), 256 - first, RULE, "the rest is young", date(2030, 1, 1))

    async def apply_retention(self, plan: RetentionPlan, _holds: Holds, *, by: str) -> Pruned:
        await asyncio.sleep(0)
        self.pruned.append(by)
        return Pruned(f"prune-{len(self.pruned)}", plan.first, plan.end, 4096, plan.entries, 0)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world on SQLite and one on PostgreSQL, with a ledger."""
    url = ""
    if request.param == "postgresql":
        running: Postgres = request.getfixturevalue("server")
        url = running.url(running.create_database())
    world = World(tmp_path, ledger=True, state_url=url)
    yield world
    world.close()


def with_log(world: World) -> Log:
    """Put a log into the world from which records may go."""
    log = Log()
    world.services = replace(world.services, ledger=log)  # type: ignore[arg-type] - what retention asks of it
    world.app.state.services = world.services
    return log


@pytest.mark.parametrize(
    ("officer", "path", "body", "other"),
    [
        (
            "registrar",
            "/v1/directory",
            {"departments": [DEPARTMENT]},
            {"departments": [{**DEPARTMENT, "name": "改名"}]},
        ),
        ("auditor", "/v1/records/export", {"format": "csv"}, {"format": "ndjson"}),
        ("operator", RETENTION, None, {"plan": "0" * 64}),
    ],
)
def test_the_same_request_acts_once(either: World, officer: str, path: str, body: Any, other: Any) -> None:
    """The same key and request is answered alike and acted on once; another request under the key is refused."""
    if path == RETENTION:
        with_log(either)
        body = {"plan": done(either.get(officer, path))["plan"]}
    first = either.post(officer, path, body, headers=ONCE)
    done(first)
    second = either.post(officer, path, body, headers=ONCE)
    assert (second.status_code, second.json()) == (first.status_code, first.json())
    assert second.headers["Sharing-Record"] == first.headers["Sharing-Record"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    refused(either.post(officer, path, other, headers=ONCE), "idempotency-mismatch")
    either.store.forget_expired(int(either.now()) + 24 * 3600 + 1)
    assert either.store.answer_of(ONCE["Idempotency-Key"], officer) is None, "it is kept for a day"


def test_a_plan_is_applied_once_with_and_without_a_key(world: World) -> None:
    """Sent many times side by side under one key, records go once and all are told so; without it the plan is stale."""
    log = with_log(world)
    plan = {"plan": done(world.get("operator", RETENTION))["plan"]}
    answers = world.at_once("operator", RETENTION, plan, 5, headers=ONCE)
    assert log.pruned == ["operator"]
    assert {answer.json()["pruned"]["record"] for answer in answers} == {"prune-1"}
    assert {answer.status_code for answer in answers} == {200}
    refused(world.post("operator", RETENTION, plan), "precondition-failed")
    refused(world.post("operator", RETENTION, plan, headers={"Idempotency-Key": "another-0001"}), "precondition-failed")
    assert log.pruned == ["operator"]


def test_a_refused_plan_leaves_its_key_free(world: World) -> None:
    """What was not done is not remembered: the same key is good once the plan is today's."""
    log = with_log(world)
    plan = {"plan": done(world.get("operator", RETENTION))["plan"]}
    log.pruned.append("somebody")
    refused(world.post("operator", RETENTION, plan, headers=ONCE), "precondition-failed")
    log.pruned.clear()
    done(world.post("operator", RETENTION, plan, headers=ONCE))


def test_what_is_gone_is_told_also_where_it_cannot_be_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records are gone and on record: a state that cannot be written then does not make it a failure."""
    log = with_log(world)
    plan = {"plan": done(world.get("operator", RETENTION))["plan"]}

    def fail() -> None:
        raise GatewayError("unavailable", "the state cannot be written")

    monkeypatch.setattr(world.store, "transaction", fail)
    assert done(world.post("operator", RETENTION, plan, headers=ONCE))["pruned"]["record"] == "prune-1"
    monkeypatch.undo()
    refused(world.post("operator", RETENTION, plan, headers=ONCE), "precondition-failed")
    assert log.pruned == ["operator"]


def test_every_act_takes_a_key(world: World) -> None:
    """The OpenAPI document shows `Idempotency-Key` on all that is made or done, and on no question."""
    document = world.app.openapi()
    without = {
        path
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if path.startswith("/v1/") and method != "get" and "Idempotency-Key" not in _fields(operation)
    }
    assert without == QUESTIONS
    assert "If-Match" in _fields(document["paths"]["/v1/directory"]["post"])


def _fields(operation: dict[str, Any]) -> set[str]:
    return {each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"}
