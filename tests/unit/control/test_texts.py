"""Texts that records name by digest are read by whoever may read the record, and no other record shows them."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.control.records.texts import GONE, UNREADABLE, told_texts
from gateway.domain.calendar import china_day
from gateway.domain.texts import digest_in, sealed, text_digest
from gateway.domain.uses import Use
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
