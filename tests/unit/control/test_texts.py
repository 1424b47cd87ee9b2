"""Texts that records name by digest are read by whoever may read the record, and no other record shows them."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.control.records.texts import GONE, UNREADABLE, told_texts
from gateway.domain.calendar import china_day
from gateway.domain.texts import digest_in, sealed, text_digest
from gateway.domain.uses import Use
from gateway.ledger.verify.record import VerificationFailed, verify_export
from gateway.store.texts import NewText
from tests.support.control import World, done, refused
from tests.support.ledger import City, record_uses
from tests.unit.control.test_records_api import until_found


def keep(world: World, system: str, text: str, department: str = "civil-affairs") -> str:
    """What a record of that system names the text by."""

    def seal() -> tuple[str, str]:
        made = world.texts.seal(text)
        return made.digest, made.sealed

    mark = world.texts.mark(system, text)
    wanted = NewText(mark, world.texts.mark("", text), system, department, 3, seal)
    return sealed(world.store.keep_texts([wanted], china_day(world.now()), 100)[mark])


def record(world: World, *said: tuple[str, str, str], system: str = "marriage-registry") -> list[str]:
    """Uses on record, each of a purpose, a scenario and an operator as records name them."""
    city = City()
    like = city.use(int(world.now() * 1e9))
    call = like.call.__class__(
        **{name: getattr(like.call, name) for name in like.call.__struct_fields__}
        | {"department": "civil-affairs", "system": system, "purpose": "asked"}
    )
    uses = [
        Use(like.caller, call, like.verdict, "public-security", scenario, operator, "0" * 32, "0" * 64, None,
            int(world.now() * 1e9), purpose=purpose)
        for purpose, scenario, operator in said
    ]  # fmt: skip
    return asyncio.run(record_uses(world.services.tree.parent, uses, city, writer=f"w-{time.monotonic_ns()}"))


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world with a ledger."""
    return make_world(ledger=True)


def one(world: World, **asked: Any) -> dict[str, Any]:
    (row,) = until_found(world, "auditor", kind="use", **asked)
    return row


def test_a_row_and_a_record_show_the_text_and_what_proves_it(world: World) -> None:
    """The log holds the digest; the answer the text, and the salt under which it is that digest."""
    scenario, operator = keep(world, "marriage-registry", "at the counter"), keep(world, "marriage-registry", "Li Wei")
    (id_,) = record(world, ("marriage-registration", scenario, operator))
    row = one(world)
    assert (row["scenario"], row["operator"], row["purpose"]) == ("at the counter", "Li Wei", "marriage-registration")
    for officer in ("auditor", "civil", "police"):
        shown = done(world.get(officer, f"/v1/records/{id_}"))
        assert shown["entries"][0]["use"]["operator"] == operator
        assert set(shown["texts"]) == {"scenario", "operator"}
        told = shown["texts"]["operator"]
        assert text_digest(bytes.fromhex(told["salt"]), told["text"]) == digest_in(operator)
    refused(world.get("stranger", f"/v1/records/{id_}"), "not-found")
    log = b"".join(path.read_bytes() for path in world.services.tree.parent.rglob("*") if path.is_file())
    assert b"Li Wei" not in log


def test_a_question_for_a_purpose_finds_those_that_no_registry_has(world: World) -> None:
    """Whoever said it, and whether its record has the name or the digest; figures tell it, and no record of reading."""
    mine, theirs = keep(world, "marriage-registry", "curiosity"), keep(world, "other", "curiosity", "market")
    assert mine != theirs
    record(world, (mine, "", ""), ("marriage-registration", "", ""))
    row = one(world, purpose="curiosity")
    assert row["purpose"] == "curiosity"
    keys = {each["key"] for each in done(world.get("auditor", "/v1/records/stats", by="purpose"))["items"]}
    assert {"curiosity", "marriage-registration"} <= keys
    questions = [
        done(world.get("auditor", f"/v1/records/{row['record']}"))["entries"][0].get("question", {})
        for row in until_found(world, "auditor", kind="consultation")
    ]
    assert any(digest_in(each.get("purpose")) for each in questions)
    assert "curiosity" not in json.dumps(questions)


def test_no_record_shows_another_system_s_words(world: World) -> None:
    """A digest copied into a record from before there were any is no key to what it stands for."""
    copied = keep(world, "other", "not yours", "market")
    (id_,) = record(world, ("marriage-registration", copied, ""))
    assert one(world)["scenario"] == GONE
    shown = done(world.get("auditor", f"/v1/records/{id_}"))
    assert shown["texts"] == {"scenario": {"text": GONE}}


def test_a_text_that_does_not_stand_is_told_plainly(world: World) -> None:
    """Lost with an older state, or sealed under a key that is not here: the record is read all the same."""
    lost = sealed("0" * 64)
    record(world, ("marriage-registration", lost, ""))
    assert one(world)["scenario"] == GONE
    kept = keep(world, "marriage-registry", "a")
    with world.store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE texts SET sealed = 'v1.0.AAAA'")
    assert told_texts(world.services, [kept])[kept].shown == UNREADABLE


REASON = {"reason": "the person asked for it"}


def test_an_erased_text_is_gone_and_the_record_says_so(world: World) -> None:
    """Text and salt are in no row, no octet of the state and no answer; the log tells that it happened."""
    scenario, operator = (
        keep(world, "marriage-registry", "at the counter"),
        keep(world, "marriage-registry", "ZQ-Li-Wei"),
    )
    first, second = record(
        world, ("marriage-registration", scenario, operator), ("marriage-registration", "", operator)
    )
    until_found(world, "auditor", kind="use")
    done_ = done(world.post("registrar", f"/v1/records/{first}/erasure", {**REASON, "fields": ["operator"]}))
    assert done_["erased"] == 1
    told = f"(erased: record {done_['record']})"
    for id_ in (first, second):
        shown = done(world.get("auditor", f"/v1/records/{id_}"))
        assert shown["entries"][0]["use"]["operator"] == operator
        assert shown["texts"]["operator"] == {"text": told, "erased": done_["record"]}
    rows = {row["record"]: row for row in until_found(world, "auditor", kind="use")}
    assert {row["operator"] for row in rows.values()} == {told}
    assert rows[first]["scenario"] == "at the counter"
    refused(world.post("registrar", f"/v1/records/{first}/erasure", {**REASON, "fields": ["operator"]}), "conflict")
    # Said again, it is another text: nothing ties it to what was erased.
    assert keep(world, "marriage-registry", "ZQ-Li-Wei") != operator
    entry, *_ = until_found(world, "registrar", kind="erasure")
    act = done(world.get("registrar", f"/v1/records/{entry['record']}"))["entries"][0]
    assert (act["erases"], act["of"], act["act"]) == ([digest_in(operator)], first, "eraseTexts")
    everything = b"".join(path.read_bytes() for path in world.services.tree.parents[1].rglob("*") if path.is_file())
    assert b"ZQ-Li-Wei" not in everything


def test_no_octet_of_an_erased_row_stays_in_sqlite(world: World) -> None:
    """Neither in the file, whose free pages are overwritten, nor in its write-ahead log."""
    operator = keep(world, "marriage-registry", "Li Wei")
    stored = world.store.texts([digest_in(operator) or ""])[digest_in(operator) or ""]
    (id_,) = record(world, ("marriage-registration", "", operator))
    until_found(world, "auditor", kind="use")
    files = lambda: b"".join(path.read_bytes() for path in world.services.tree.parents[1].glob("state.db*"))  # noqa: E731
    assert stored.sealed.encode() in files()
    done(world.post("registrar", f"/v1/records/{id_}/erasure", REASON))
    assert stored.sealed.encode() not in files()


def test_who_may_erase_is_above_who_said_it(world: World) -> None:
    """Neither the caller's department, nor the supplier, auditor, operator, or another region's authority."""
    operator = keep(world, "marriage-registry", "Li Wei")
    (id_,) = record(world, ("marriage-registration", "", operator))
    until_found(world, "auditor", kind="use")
    for officer in ("civil", "police", "auditor"):
        refused(world.post(officer, f"/v1/records/{id_}/erasure", REASON), "act-not-permitted")
    for officer in ("stranger", "city-operator", "market-both"):
        refused(world.post(officer, f"/v1/records/{id_}/erasure", REASON), "not-found")
    assert digest_in(operator) in world.store.texts([digest_in(operator) or ""])
    assert not world.store.texts([digest_in(operator) or ""])[digest_in(operator) or ""].erased


def test_a_reason_that_repeats_the_words_is_refused(world: World) -> None:
    """It would stand in the log for good."""
    operator = keep(world, "marriage-registry", "Li Wei")
    (id_,) = record(world, ("marriage-registration", "", operator))
    until_found(world, "auditor", kind="use")
    answer = world.post("registrar", f"/v1/records/{id_}/erasure", {"reason": "Li Wei has asked"})
    assert "Li Wei" not in refused(answer, "invalid-input")["detail"]


def test_everywhere_reaches_other_systems_that_the_officer_may_reach(world: World) -> None:
    """All that say the same, or none: the officer may erase each of them."""
    mine = keep(world, "marriage-registry", "Li Wei")
    theirs = keep(world, "desk", "Li Wei", "market")
    (id_,) = record(world, ("marriage-registration", "", mine))
    until_found(world, "auditor", kind="use")
    far = keep(world, "far", "Li Wei", "elsewhere")
    said = {**REASON, "everywhere": True}
    refused(world.post("registrar", f"/v1/records/{id_}/erasure", said), "act-not-permitted")
    with world.store.transaction() as tx:
        tx.erase_texts([digest_in(far) or ""], "r-0", world.services.word_of)
    assert done(world.post("registrar", f"/v1/records/{id_}/erasure", said))["erased"] == 2
    assert all(each.erased for each in world.store.texts([digest_in(mine) or "", digest_in(theirs) or ""]).values())
    refused(world.post("registrar", "/v1/records/none-1/erasure", said), "not-found")


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_s_texts_are_proven_against_its_records(world: World, form: str, tmp_path: Path) -> None:
    """Digests stand in the file, texts and salts beside it; a text that was changed, added or moved does not verify."""
    scenario = keep(world, "marriage-registry", 'at the counter, "two"\n, 窗口')
    copied = keep(world, "other", "not yours", "market")
    record(world, ("marriage-registration", scenario, copied))
    until_found(world, "auditor", kind="use")
    made = done(world.post("auditor", "/v1/records/export", {"format": form, "kind": "use"}))
    file = tmp_path / f"x.{form}"
    for path, name in ((file, "file"), (file.with_name(f"{file.name}.manifest"), "manifest")):
        path.write_bytes(world.get("auditor", made[name]).content)
    assert b"two" not in file.read_bytes()
    content = world.get("auditor", f"{made['file']}/texts").content
    refused(world.get("registrar", f"{made['file']}/texts"), "not-found")
    (said,) = [json.loads(line) for line in content.splitlines()]
    assert said["text"] == 'at the counter, "two"\n, 窗口'
    beside = file.with_name(f"{file.name}.texts")
    beside.write_bytes(content)
    checked = verify_export(file, world.ledger_key)
    assert any("1 texts" in each for each in checked.checked)
    other = json.loads(json.dumps(said))
    fresh = world.texts.seal("other")
    opened = world.texts.open(fresh.digest, fresh.sealed)
    for broken in (
        {**said, "text": "at the desk"},
        {**said, "salt": "00" * 32},
        {**said, "salt": said["salt"][2:]},
        {**said, "digest": "0" * 64},
        {**other, "more": 1},
        {"digest": fresh.digest, "salt": opened.salt, "text": "other"},
    ):
        beside.write_bytes(content + json.dumps(broken).encode() + b"\n")
        with pytest.raises(VerificationFailed):
            verify_export(file, world.ledger_key)
