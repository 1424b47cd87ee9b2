"""What officers say in acts: the log names it by digest, who may read the record reads it, and it can be erased."""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.control.act.examples import GRANT, LIFT, SUSPENSION
from gateway.control.records.texts import GONE
from gateway.domain.calendar import china_day, years_after
from gateway.domain.texts import digest_in, text_digest
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.verify.record import verify_export
from gateway.runtime.start.reconciling import reconcile
from gateway.store import Store
from tests.support.control import World, done, refused
from tests.unit.control.test_records_api import until_found

VIOLATION = "Li Wei of the counter asked about a neighbour"
PATH = f"/v1/grants/{GRANT['id']}/suspension"
WHY = {"reason": "the person named asked for it"}


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world with a ledger and a grant that the police has suspended, saying why."""
    made = make_world(ledger=True)
    made.grant()
    return made


def suspended(world: World, violation: str = VIOLATION, **options: Any) -> str:
    """The id of the record of a suspension."""
    answer = world.post("police", PATH, {**SUSPENSION, "violation": violation}, **options)
    record: str = done(answer)["record"]
    on_record(world, record)
    return record


def on_record(world: World, record: str) -> None:
    """Wait until the log has it."""
    for _ in range(200):
        if world.get("auditor", f"/v1/records/{record}").is_success:
            return
        time.sleep(0.05)
    raise AssertionError(f"record {record} is not in the log")


def texts(world: World, record: str, officer: str = "auditor") -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = done(world.get(officer, f"/v1/records/{record}")).get("texts", {})
    return found


def held(world: World, text: str) -> bool:
    """Whether a text stands in any octet of the state's files or the ledger's."""
    folder = world.services.tree.parents[1]
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_record_shows_what_was_said_with_what_proves_it(world: World, tmp_path: Path) -> None:
    """The log holds the digest alone; the text comes beside it, and beside an export, each with its salt."""
    record = suspended(world)
    for officer in ("auditor", "civil", "police"):
        shown = done(world.get(officer, f"/v1/records/{record}"))
        said, told = shown["entries"][0]["reason"], shown["texts"]["reason"]
        assert told["text"] == VIOLATION
        assert text_digest(bytes.fromhex(told["salt"]), VIOLATION) == digest_in(said)
    refused(world.get("stranger", f"/v1/records/{record}"), "not-found")
    log = b"".join(path.read_bytes() for path in world.services.tree.parent.rglob("*") if path.is_file())
    assert VIOLATION.encode() not in log
    made = done(world.post("auditor", "/v1/records/export", {"format": "ndjson", "kind": "order"}))
    file = tmp_path / "acts.ndjson"
    for name, path in (("file", file), ("manifest", file.with_name(f"{file.name}.manifest"))):
        path.write_bytes(world.get("auditor", made[name]).content)
    beside = world.get("auditor", f"{made['file']}/texts").content
    file.with_name(f"{file.name}.texts").write_bytes(beside)
    assert VIOLATION in {json.loads(line)["text"] for line in beside.splitlines()}
    assert any("texts beside it" in each for each in verify_export(file, world.ledger_key).checked)


def test_what_is_erased_is_gone_wherever_it_stood(world: World) -> None:
    """From the record's texts, the order, its case and what is answered to who asks again; nothing else changes."""
    key = {"headers": {"Idempotency-Key": "said-once-1"}}
    record = suspended(world, **key)
    order = next(each for each in done(world.get("police", "/v1/orders"))["items"] if each["target"] == GRANT["id"])
    assert order["reason"] == VIOLATION
    erased = done(world.post("registrar", f"/v1/records/{record}/erasure", WHY))
    note = f"(erased: record {erased['record']})"
    assert texts(world, record) == {"reason": {"text": note, "erased": erased["record"]}}
    again = done(world.get("police", f"/v1/orders/{order['id']}"))
    assert again["reason"] == note
    assert {**again, "reason": ""} == {**order, "reason": ""}
    repeated = world.post("police", PATH, {**SUSPENSION, "violation": VIOLATION}, **key)
    assert done(repeated)["order"]["reason"] == note
    assert not held(world, VIOLATION)
    refused(world.post("registrar", f"/v1/records/{record}/erasure", WHY), "conflict")
    done(world.post("police", f"{PATH}/lift", {**LIFT, "order": order["id"]}))


@pytest.mark.parametrize("said", ["suspension", "grant", GRANT["id"], "police", "true", "2026-12-31", "notified"])
def test_an_erasure_takes_words_and_no_fact_that_reads_the_same(world: World, said: str) -> None:
    """Whoever says a word of the state's own as a reason and has it erased would damage the order that stops."""
    key = {"headers": {"Idempotency-Key": "said-once-1"}}
    record = suspended(world, said, **key)
    (order,) = [each for each in world.store.list_orders().items if each.target == GRANT["id"]]
    case = done(world.get("police", f"/v1/rectifications/r{order.id.removeprefix('o')}"))["rectification"]
    erased = done(world.post("registrar", f"/v1/records/{record}/erasure", WHY))["record"]
    (left,) = [each for each in world.store.list_orders().items if each.target == GRANT["id"]]
    assert left == msgspec.structs.replace(order, reason=f"(erased: record {erased})")
    assert done(world.get("police", f"/v1/rectifications/{case['id']}"))["rectification"] == case
    assert done(world.post("police", PATH, {**SUSPENSION, "violation": said}, **key))["order"]["id"] == order.id
    done(world.post("police", f"{PATH}/lift", {**LIFT, "order": order.id}))


def test_all_that_a_department_s_officers_said_alike_goes_and_another_s_stays(world: World) -> None:
    """The record that is named is one of several; with `everywhere` others' words go too, where the officer may."""
    first = suspended(world)
    order = next(each for each in done(world.get("police", "/v1/orders"))["items"] if each["target"] == GRANT["id"])
    done(world.post("police", f"{PATH}/lift", {"order": order["id"], "reason": VIOLATION}))
    theirs = done(world.post("civil", PATH, {"emergency": True, "incident": VIOLATION}))["record"]
    on_record(world, theirs)
    assert done(world.post("registrar", f"/v1/records/{first}/erasure", WHY))["erased"] == 2
    assert texts(world, theirs)["reason"]["text"] == VIOLATION
    mine = suspended(world)
    assert done(world.post("registrar", f"/v1/records/{mine}/erasure", {**WHY, "everywhere": True}))["erased"] == 2
    assert not held(world, VIOLATION)


def test_nobody_erases_the_own_department_s_words(world: World) -> None:
    """Nor do who it concerns, the auditor or the operator: an authority above who said it does."""
    record = suspended(world)
    for officer in ("civil", "police", "auditor"):
        refused(world.post(officer, f"/v1/records/{record}/erasure", WHY), "act-not-permitted")
    for officer in ("stranger", "city-operator"):
        refused(world.post(officer, f"/v1/records/{record}/erasure", WHY), "not-found")
    order = next(each for each in done(world.get("police", "/v1/orders"))["items"] if each["target"] == GRANT["id"])
    lifted = done(world.post("registrar", f"{PATH}/lift", {**LIFT, "order": order["id"]}))["record"]
    on_record(world, lifted)
    refused(world.post("registrar", f"/v1/records/{lifted}/erasure", WHY), "act-not-permitted")
    assert texts(world, lifted)["reason"]["text"] == LIFT["reason"]
    # The reason of an erasure is an officer's text as any other.
    why = done(world.post("registrar", f"/v1/records/{record}/erasure", {"reason": "whom it names has asked"}))[
        "record"
    ]
    on_record(world, why)
    assert texts(world, why)["reason"]["text"] == "whom it names has asked"
    log = b"".join(path.read_bytes() for path in world.services.tree.parent.rglob("*") if path.is_file())
    assert b"whom it names has asked" not in log


def test_an_act_that_did_not_come_to_stand_leaves_no_words(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record names a text that the state never held, and so does the one that voids it."""

    def fail(*_args: object, **_options: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr("gateway.store.transaction.WriteBase.seal", fail)
        answer = world.post("police", PATH, {**SUSPENSION, "violation": VIOLATION})
        assert answer.status_code >= 500
    (row,) = [each for each in until_found(world, "auditor", kind="order") if each["grant"] == GRANT["id"]]
    voided = row["record"]
    assert texts(world, voided) == {"reason": {"text": GONE}}
    assert not held(world, VIOLATION)


def test_words_go_when_the_time_of_their_records_is_over(world: World) -> None:
    """Three years after the last day on which a record could name them, and no day before."""
    record = suspended(world)
    digest = digest_in(done(world.get("auditor", f"/v1/records/{record}"))["entries"][0]["reason"]) or ""
    last = years_after(china_day(world.now()), 3)
    with world.store.transaction() as tx:
        tx.forget_texts(last, ())
        assert digest in tx.texts([digest])
        tx.forget_texts(years_after(china_day(world.now()), 4), ["public-security"])
        assert digest in tx.texts([digest]), "records of that department are in dispute"
        tx.forget_texts(years_after(china_day(world.now()), 4), ())
        assert digest not in tx.texts([digest])


def test_a_state_put_back_from_before_erases_again_wherever_it_stood(world: World, tmp_path: Path) -> None:
    """By the act's record: the text, and the order and case that a backup brings back with it."""
    record = suspended(world)
    with closing(sqlite3.connect(world.services.tree.parents[1] / "state.db")) as state:
        state.execute("VACUUM INTO ?", [str(tmp_path / "before.db")])
    erased = done(world.post("registrar", f"/v1/records/{record}/erasure", WHY))["record"]
    on_record(world, erased)
    back = Store.open(f"sqlite:///{tmp_path / 'before.db'}")
    acts = ActJournal(tmp_path / "acts", "control", clock_ns=time.time_ns, low_water_bytes=1)
    try:
        assert VIOLATION.encode() in (tmp_path / "before.db").read_bytes()
        found = reconcile(
            back, acts, world.services.tree.parent, "control.example/log", world.services.word_of, put_back=True
        )
        assert erased in {each.record for each in found.differences}
        (order,) = [each for each in back.list_orders().items if each.target == GRANT["id"]]
        assert order.reason == f"(erased: record {erased})"
    finally:
        acts.close()
        back.close()
