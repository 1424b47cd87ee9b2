"""An export asked for again under its `Idempotency-Key`: one export, one record, and no file kept for the key."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.control.act.examples import GRANT, SUSPENSION
from gateway.control.records.exporting import MAX_AN_OFFICER
from gateway.domain.errors import GatewayError
from tests.support.control import World, done, refused

EXPORT = "/v1/records/export"
QUESTION = {"format": "ndjson", "kind": "order", "subject": "440106199001011234"}
ONCE = {"Idempotency-Key": "export-0001"}
WATCHED = {**ONCE, "Prefer": "respond-async"}


@pytest.fixture
def recorded(make_world: Callable[..., World]) -> World:
    """A world with a ledger in which a grant was issued and suspended."""
    world = make_world(ledger=True)
    world.grant()
    done(world.post("police", f"/v1/grants/{GRANT['id']}/suspension", SUSPENSION))
    found(world, "order", 1)
    return world


def found(world: World, kind: str, least: int) -> list[str]:
    """The ids of records of a kind, once there are so many."""
    deadline = time.monotonic() + 10
    while True:
        rows = done(world.get("auditor", "/v1/records", kind=kind))["items"]
        if len(rows) >= least or time.monotonic() > deadline:
            return [row["record"] for row in rows]
        time.sleep(0.05)


def watched(world: World, begun: httpx.Response) -> httpx.Response:
    """What watching an export ends with."""
    while (answer := world.get("auditor", begun.json()["progress"])).status_code == 202:
        pass
    return answer


def test_a_repeated_export_is_answered_alike_and_made_once(recorded: World) -> None:
    """Same key, same request: the same name, summary and record; the file is one, and on record once."""
    first = recorded.post("auditor", EXPORT, QUESTION, headers=ONCE)
    second = recorded.post("auditor", EXPORT, QUESTION, headers=ONCE)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["Sharing-Record"] == first.headers["Sharing-Record"] == first.json()["record"]
    other = done(recorded.post("auditor", EXPORT, QUESTION))
    assert other["export"] != first.json()["export"]
    assert sorted(found(recorded, "export", 2)) == sorted([first.json()["record"], other["record"]])
    refused(recorded.post("auditor", EXPORT, {**QUESTION, "format": "csv"}, headers=ONCE), "idempotency-mismatch")
    refused(recorded.post("auditor", EXPORT, QUESTION, headers=WATCHED), "idempotency-mismatch")
    assert recorded.post("registrar", EXPORT, QUESTION, headers=ONCE).json() != first.json(), (
        "a key is an officer's own"
    )


def test_side_by_side_one_export_is_kept(recorded: World) -> None:
    """Of the same request sent many times at once one stands; what the others wrote is gone."""
    answers = recorded.at_once("auditor", EXPORT, QUESTION, MAX_AN_OFFICER, headers=ONCE)
    assert {answer.status_code for answer in answers} == {201}
    names = {answer.json()["export"] for answer in answers}
    assert len(names) == 1
    assert {path.name.removesuffix(".manifest") for path in recorded.services.spool.iterdir()} == names
    other = {**WATCHED, "Idempotency-Key": "export-0002"}
    begun = recorded.at_once("auditor", EXPORT, QUESTION, MAX_AN_OFFICER, headers=other)
    assert {answer.status_code for answer in begun} == {202}
    assert len({answer.json()["export"] for answer in begun}) == 1
    done(watched(recorded, begun[0]))
    assert len(found(recorded, "export", 2)) == 2


def test_a_file_that_is_gone_is_not_made_again_under_its_key(recorded: World) -> None:
    """The spool is emptied at a restart: the answer is still repeated, and its addresses say that the file is gone."""
    made = done(recorded.post("auditor", EXPORT, QUESTION, headers=ONCE))
    for path in recorded.services.spool.iterdir():
        path.unlink()
    assert done(recorded.post("auditor", EXPORT, QUESTION, headers=ONCE)) == made
    refused(recorded.get("auditor", made["file"]), "not-found")
    refused(recorded.get("auditor", made["manifest"]), "not-found")


def test_a_watched_export_is_begun_once(recorded: World) -> None:
    """The 202 is repeated with the same name, also when the export is long made; watching says what it came to."""
    first = recorded.post("auditor", EXPORT, QUESTION, headers=WATCHED)
    made = done(watched(recorded, first))
    second = recorded.post("auditor", EXPORT, QUESTION, headers=WATCHED)
    assert (second.status_code, second.json()) == (202, first.json())
    assert second.headers["Preference-Applied"] == "respond-async"
    assert second.headers["Idempotency-Replayed"] == "true"
    assert done(watched(recorded, second)) == made
    assert found(recorded, "export", 1) == [made["record"]]
    refused(recorded.post("auditor", EXPORT, QUESTION, headers=ONCE), "idempotency-mismatch")


def test_what_failed_is_tried_anew_but_what_was_begun_is_told(world: World) -> None:
    """Without a ledger: an export that was waited for leaves its key free; a begun one tells what stopped it."""
    refused(world.post("auditor", EXPORT, QUESTION, headers=ONCE), "unavailable")
    assert world.store.answer_of(ONCE["Idempotency-Key"], "auditor") is None
    headers = {**WATCHED, "Idempotency-Key": "export-0002"}
    begun = [world.post("auditor", EXPORT, QUESTION, headers=headers) for _ in range(2)]
    assert begun[0].json() == begun[1].json()
    refused(watched(world, begun[1]), "unavailable")


@pytest.mark.parametrize("is_watched", [False, True])
def test_no_export_leaves_before_it_is_on_record(
    recorded: World, monkeypatch: pytest.MonkeyPatch, *, is_watched: bool
) -> None:
    """While the act is recorded its file bears no name that could be asked for; where it cannot be, no file is left."""
    spooled: list[str] = []
    named: list[str] = []

    def fail(*_: Any, **__: Any) -> str:
        spooled.extend(path.name for path in recorded.services.spool.iterdir())
        raise GatewayError("records-unavailable", "the act could not be recorded")

    monkeypatch.setattr(recorded.acts, "append_all", fail)
    if is_watched:
        begun = recorded.post("auditor", EXPORT, QUESTION, headers=WATCHED)
        named.append(begun.json()["export"])
        refused(watched(recorded, begun), "records-unavailable")
    else:
        refused(recorded.post("auditor", EXPORT, QUESTION, headers=ONCE), "records-unavailable")
    assert len(spooled) == 2
    monkeypatch.undo()
    for name in spooled:
        refused(recorded.get("auditor", f"{EXPORT}/{name}"), "invalid-input")
    for name in named:
        refused(recorded.get("auditor", f"{EXPORT}/{name}"), "not-found")
        refused(recorded.get("auditor", f"{EXPORT}/{name}/manifest"), "not-found")
    assert list(recorded.services.spool.iterdir()) == []
    done(recorded.post("auditor", EXPORT, QUESTION, headers={"Idempotency-Key": "export-0002"}))


def test_what_is_remembered_holds_no_identifier_and_no_record(recorded: World) -> None:
    """NO-VALUES: the data subject stands there by pseudonym; of the file only its summary."""
    done(recorded.post("auditor", EXPORT, QUESTION, headers=ONCE))
    with recorded.store.database.writing() as connection:
        rows = connection.exec_driver_sql("SELECT digest, content FROM answers").all()
    assert len(rows) == 1
    content = bytes(rows[0][1])
    assert b"440106" not in content
    assert b"entries" not in content
    assert len(content) < 2048


class Endless:
    """A ledger that makes no export to its end."""

    def __init__(self) -> None:
        self.under_way = 0
        self.begun = asyncio.Event()

    async def export(self, *_: Any, **__: Any) -> Any:
        self.under_way += 1
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.under_way -= 1
            self.begun.clear()


@pytest.fixture
def endless(recorded: World, monkeypatch: pytest.MonkeyPatch) -> Endless:
    """What makes the exports of `recorded`."""
    ledger = Endless()
    monkeypatch.setattr(recorded.services.ledger, "export", ledger.export)
    return ledger


def test_an_officer_has_a_few_exports_under_way(recorded: World, endless: Endless) -> None:
    """One more is refused, watched or waited for, and leaves its key free; others have places of their own."""
    watched = {"Prefer": "respond-async"}
    begun = [recorded.post("auditor", EXPORT, QUESTION, headers=watched) for _ in range(MAX_AN_OFFICER)]
    assert {answer.status_code for answer in begun} == {202}
    refused(recorded.post("auditor", EXPORT, QUESTION, headers=WATCHED), "rate-limited")
    refused(recorded.post("auditor", EXPORT, QUESTION), "rate-limited")
    refused(recorded.get("auditor", EXPORT), "rate-limited")
    assert recorded.store.answer_of(ONCE["Idempotency-Key"], "auditor") is None
    assert recorded.post("registrar", EXPORT, QUESTION, headers=watched).status_code == 202
    assert endless.under_way == MAX_AN_OFFICER + 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_leaves_gives_up_the_export_that_was_waited_for(recorded: World, endless: Endless, method: str) -> None:
    """Its work in the ledger ends, and the officer's place is free again."""
    for _ in range(MAX_AN_OFFICER + 1):
        refused(recorded.ask_and_leave("auditor", method, EXPORT, QUESTION, endless.begun.wait), "unavailable")
        assert endless.under_way == 0
