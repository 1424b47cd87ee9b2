"""The story that the demo tells: each step is one act over real HTTP, with what it should show and a check of it.

A step says in plain words what is tried, makes the call, and compares what came back with what the law asks for.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.client import SharingAuth
from gateway.ledger.log.export_names import manifest_path
from gateway.ledger.verify.record import verify_export
from gateway.runtime.demo.population import Population
from gateway.runtime.demo.suppliers import SupplierServer
from gateway.runtime.operation.session.api import Api

PURPOSE = "housing-fund-withdrawal"
SYSTEM = "housing-fund-approval"
GRANT = "G-2026-0001"
FIND_SECONDS = 10.0
WORKERS = 2


class Step(msgspec.Struct, frozen=True):
    """What happened at one step.

    Args:
        words: what was tried, in plain words.
        answer: what came back, in one line.
        went_as_told: whether that is what it should be.
    """

    words: str
    answer: str
    went_as_told: bool


class World(msgspec.Struct, frozen=True):
    """What the story acts on.

    Args:
        data_plane: base URL of the data plane.
        control: base URL of the control plane.
        key: PEM of the demand system's private key.
        population: whom the suppliers know.
        suppliers: the suppliers' servers, by id.
        officer: opens the control API as one officer.
        verifier_key: the log's, as an auditor was given it.
        short_grant_ends_unix: when the grant ends that the story finds expired.
        wait_for: calls a function until it gives something or the seconds are over.
    """

    data_plane: str
    control: str
    key: str
    population: Population
    suppliers: dict[str, SupplierServer]
    officer: Callable[[str], AbstractContextManager[Api]]
    verifier_key: str
    short_grant_ends_unix: float
    wait_for: Callable[[Callable[[], Any], float], Any]


def tell(world: World) -> Iterator[Step]:
    """Every step of the story, in order, as it happens."""
    person = world.population.persons[0]
    wife = world.population.marriages[0]["wife"]
    police = world.suppliers["public-security"]
    # A client of a demand department resolves the gateway's address by itself; no proxy stands between.
    with httpx.Client(base_url=world.data_plane, trust_env=False, timeout=15) as client:

        def call(
            path: str, number: str, purpose: str = PURPOSE, items: tuple[str, ...] | None = None
        ) -> httpx.Response:
            auth = SharingAuth(f"{world.control}/oauth/token", SYSTEM, world.key, purpose=purpose, items=items)
            parameter = "uscc" if "companies" in path else "id_number"
            return client.get(path, params={parameter: number}, auth=auth)

        number = person["id_number"]
        persons = "/public-security/persons"
        reached = police.calls

        answer = call(persons, number)
        expected = {"name": person["name"], "birth_date": person["birth_date"], "address": {"city": "示例市"}}
        yield _step(
            "a granted use: the supplier sends nine items, the three granted ones leave",
            answer,
            answer.status_code == 200 and answer.json()["data"] == [expected] and police.calls == reached + 1,
        )
        answer = call("/civil-affairs/marriages", wife["id_number"])
        yield _step(
            "another register under another grant: marital status and date, no names",
            answer,
            answer.status_code == 200 and set(answer.json()["data"][0]) == {"status", "registered_on"},
        )
        reached = police.calls
        answer = call(persons, number, items=("name", "phone"))
        yield _refusal("an item outside the grant (phone)", answer, "items-not-granted", police.calls == reached)
        answer = call(persons, number, purpose="statistical-survey")
        yield _refusal("another purpose than the granted one", answer, "purpose-not-granted", police.calls == reached)
        time.sleep(max(0.0, world.short_grant_ends_unix - time.time()))
        code = world.population.companies[0]["uscc"]
        answer = call("/market-regulation/companies", code)
        yield _refusal("a grant that has just ended", answer, "grant-expired", True)
        answer = call("/public-security/clues", number)
        yield _refusal("a dataset that no grant can open", answer, "non-shareable", police.calls == reached)

        yield _suspend(world)
        answer = call(persons, number)
        yield _refusal("the very next call under it", answer, "suspended", police.calls == reached)
        with world.officer("police-chen") as api:
            lifted = api.post(f"/v1/grants/{GRANT}/suspension/lift", {"reason": "整改完成，复核通过"})
        is_issued = lifted["grant"]["state"] == "issued"
        yield Step("the supplier's officer lifts the suspension", f"{GRANT} is {lifted['grant']['state']}", is_issued)

        answer = call(persons, number)
        yield _step("the same call again", answer, answer.status_code == 200 and police.calls == reached + 1)
    yield from _audit(world)


def _suspend(world: World) -> Step:
    rectify_by = date.today() + timedelta(days=30)  # noqa: DTZ011 -- a date on the officer's own calendar
    with world.officer("police-chen") as api:
        suspended = api.post(
            f"/v1/grants/{GRANT}/suspension",
            {"violation": "超出授权目的使用，存在转供嫌疑", "rectify_by": rectify_by.isoformat()},
        )
    confirmed = len(suspended["barrier"]["confirmed"]) == WORKERS and not suspended["barrier"]["out"]
    return Step(
        "the supplier's officer suspends the grant",
        _stopped(suspended),
        suspended["grant"]["state"] == "suspended" and confirmed,
    )


def _audit(world: World) -> Iterator[Step]:
    wanted = {"completed": 3, "refused": 5}
    with world.officer("auditor-he") as api:

        def found() -> dict[str, int] | None:
            uses = api.get("/v1/records", department="housing-fund", limit=100)["items"]
            counts = {
                "completed": sum(use["kind"] == "use" and use["status"] == 200 for use in uses),
                "refused": sum(use["kind"] == "use.refused" for use in uses),
            }
            return counts if counts == wanted else None

        counts = world.wait_for(found, FIND_SECONDS)
        yield Step(
            "the auditor finds those uses, each with its reason",
            f"{wanted['completed']} uses completed, {wanted['refused']} refused" if counts else "not found",
            counts is not None,
        )
        with tempfile.TemporaryDirectory() as folder:
            made = api.post("/v1/records/export", {"department": "housing-fund", "format": "ndjson"})
            export = Path(folder) / "uses.ndjson"
            api.download(made["file"], {}, export)
            api.download(made["manifest"], {}, manifest_path(export))
            checked = verify_export(export, world.verifier_key)
        yield Step(
            "the auditor verifies the export offline, with the log's public key alone",
            f"{checked.what} verified: {'; '.join(checked.checked)}",
            True,
        )


def _step(words: str, answer: httpx.Response, went_as_told: bool) -> Step:
    return Step(words, f"{answer.status_code} {answer.text.strip()}", went_as_told)


def _refusal(words: str, answer: httpx.Response, code: str, nobody_was_called: bool) -> Step:
    problem = answer.json()
    refused = answer.status_code == 403 and problem.get("type") == f"/problems/{code}" and nobody_was_called
    return Step(words, f"{answer.status_code} {problem.get('type')}: {problem.get('title')}", refused)


def _stopped(answer: dict[str, Any]) -> str:
    grant, barrier = answer["grant"], answer["barrier"]
    workers = len(barrier["confirmed"])
    return f"{grant['id']} is {grant['state']}; {workers} workers confirmed it within {barrier['milliseconds']} ms"
