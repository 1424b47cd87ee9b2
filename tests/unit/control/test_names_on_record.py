"""NO-VALUES for what is no statement: questions and ids stand in the log as they are, so no text and no number may."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.control.act.examples import GRANT, SYSTEM
from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger.journal.acts import ActJournal
from tests.support.control import World, done, refused

NUMBER = "110101199001011234"
TEXTS = {
    "interface": "ZQ: what Li Wei asked/for",
    "code": "zq li wei",
    "policy": "ZQ: the counter's Li Wei",
    "kind": "zq-li-wei",
}
NAMES = ("system", "dataset", "grant", "officer", "purpose", "policy", "code")


def asked(world: World, how: str, question: dict[str, Any]) -> Any:
    if how == "search":
        return world.post("auditor", "/v1/records/search", {"format": "ndjson", **question})
    if how == "export":
        return world.post("auditor", "/v1/records/export", {"format": "ndjson", **question})
    return world.ask("auditor", "GET", {"find": "/v1/records", "stats": "/v1/records/stats"}[how], params=question)


def in_log(world: World, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in world.services.tree.parent.rglob("*") if path.is_file())


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(ledger=True)


@pytest.mark.parametrize("how", ["find", "search", "stats", "export"])
def test_no_text_enters_the_log_as_a_question(world: World, how: str) -> None:
    """Each field of a question has the form of a name, by every way of asking, and is refused before it is recorded."""
    for field, text in TEXTS.items():
        assert [each["field"] for each in refused(asked(world, how, {field: text}), "invalid-input")["faults"]] == [
            field
        ]
    for field in NAMES:
        told = refused(asked(world, how, {field: NUMBER}), "invalid-input")
        assert NUMBER not in str(told)
    for field in ("department", "supplier"):
        refused(asked(world, how, {field: NUMBER}), "invalid-input")
    refused(asked(world, how, {"interface": f"police/{NUMBER}"}), "invalid-input")
    time.sleep(0.2)
    for text in (NUMBER, *TEXTS.values()):
        assert not in_log(world, text)
    for field, name in (
        ("kind", "use.refused"),
        ("code", "no-grant"),
        ("policy", "national-art22"),
        ("interface", "a/b"),
    ):
        done(asked(world, how, {field: name}))


def test_a_name_of_before_that_has_so_many_digits_is_still_asked_for(world: World) -> None:
    """It is registered: an entry's code without its sign, or an officer of an earlier version."""
    with world.store.transaction() as tx:
        person = tx.officer("civil")
        tx.put_officer(type(person)(NUMBER, person.department, person.region, person.roles))
    done(asked(world, "find", {"officer": NUMBER}))
    done(world.post("registrar", "/v1/officers", {
        "id": NUMBER, "department": "civil-affairs", "region": "442000", "roles": ["demand"], "active": False,
    }))  # fmt: skip


def test_no_id_and_no_key_is_named_by_a_person_s_number(world: World) -> None:
    """They stand in the record of whatever is done by them or about them."""
    person = {"id": NUMBER, "department": "civil-affairs", "region": "442000", "roles": ["demand"]}
    refused(world.post("registrar", "/v1/officers", person), "invalid-input")
    refused(world.post("registrar", "/v1/officers", {**person, "id": f"civil-affairs.{NUMBER}"}), "invalid-input")
    refused(world.post("civil", "/v1/systems", {**SYSTEM, "id": f"civil-affairs.{NUMBER}"}), "invalid-input")
    keys = [{**SYSTEM["keys"][0], "kid": f"li-wei-{NUMBER}"}]
    told = refused(
        world.post("civil", "/v1/systems", {**SYSTEM, "id": "civil-affairs.new", "keys": keys}), "invalid-input"
    )
    assert [each["field"] for each in told["faults"]] == ["keys.0"]
    refused(world.post("civil", f"/v1/systems/{SYSTEM['id']}/keys", {"key": keys[0]}), "invalid-input")
    refused(world.post("registrar", "/v1/grants", {**GRANT, "id": NUMBER}), "invalid-input")
    time.sleep(0.2)
    assert not in_log(world, NUMBER)


@pytest.mark.parametrize("text", ["zq li wei", "到期", "a\tb", ["a", "b c"]])
def test_a_question_in_words_is_no_record(tmp_path, text):
    """INVARIANT: NO-VALUES: whoever asks the journal to write it."""
    journal = ActJournal(tmp_path, "control", clock_ns=lambda: 1, low_water_bytes=0)
    with pytest.raises(GatewayError, match="a record holds names"):
        journal.append(RecordKind.CONSULTATION, {"question": {"policy": text}})
    journal.close()
