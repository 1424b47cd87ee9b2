"""NO-VALUES for people's own words: no identity number enters the log by any field that takes a text from outside."""

import ast
import json
from pathlib import Path

import msgspec
import pytest

from gateway.domain.errors import GatewayError
from gateway.domain.free_text import holds_identity_number
from gateway.domain.texts import ACT_WORDS, CITED, WITHHELD, Phrase
from gateway.domain.uses import RecordKind
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.journal.entries import constant_part
from gateway.proxy.http.heads import parse_block
from gateway.proxy.limits import Limits
from tests.support.ledger import City

NUMBER = "110101199001011234"
FORMS = {
    "as it is": NUMBER,
    "not a valid one": "999999999999999999",
    "with a check sign": "11010119900101123X",
    "with a small one": "11010119900101123x",
    "of fifteen": "110101900101123",
    "full-width": "１１０１０１１９９００１０１１２３４",
    "full-width check sign": "11010119900101123Ｘ",
    "Arabic-Indic": "".join(chr(0x660 + int(each)) for each in NUMBER),
    "in blanks": "110101 19900101 1234",
    "in hyphens": "110101-19900101-1234",
    "in dots": "110101.19900101.1234",
    "in middle dots": "110101·19900101·1234",
    "in full-width blanks": "110101\u3000199001011234",
    "digit by digit": " ".join(NUMBER),
    "in signs of no width": "110101\u200b19900101\u200b1234",
    "in underlines": "110101_19900101_1234",
    "in mixed signs": "110101 - 19900101 / 1234",
    "in a sentence": f"本人身份证号{NUMBER}，请核实",
    "behind letters": f"ID{NUMBER}",
    "behind a date": f"2026-11-29 {NUMBER}",
    "before a number": f"{NUMBER} 12",
    "apart from its check sign": "110101 19900101 123 X",
}
NONE_OF_THEM = {
    "a date": "2026-11-29 at 10:15",
    "a moment": "2026-11-29T10:15:00+08:00",
    "an entry's code": "see 307001001/000001 and 307001001.000001",
    "a telephone": "0760-88888888",
    "twenty digits": "12345678901234567890",
    "fourteen": "12345678901234",
    "words": "窗口办理, article 27 ¶1 of 2020",
}


@pytest.mark.parametrize("form", FORMS)
def test_an_identity_number_is_seen_in_every_form(form):
    assert holds_identity_number(FORMS[form])


@pytest.mark.parametrize("form", NONE_OF_THEM)
def test_what_is_none_is_let_through(form):
    assert not holds_identity_number(NONE_OF_THEM[form])


@pytest.mark.parametrize("field", ["Sharing-Purpose", "Sharing-Scenario", "Sharing-Operator"])
def test_a_caller_s_words_with_a_number_are_refused_with_a_hint(field):
    """The refusal names the field and not the number."""
    block = f"host: gateway\r\n{field}: {FORMS['full-width']}\r\n\r\n".encode()
    with pytest.raises(GatewayError, match="15 or 18 digits") as refused:
        parse_block(block, Limits())
    assert NUMBER not in str(refused.value)


def test_a_use_s_record_withholds_the_number_in_a_grant_of_before():
    """The basis of a grant from before such numbers were refused: the record stands, without it."""
    use = City().use()
    verdict = msgspec.structs.replace(use.verdict, legal_basis=f"for {NUMBER}")
    assert json.loads(constant_part(msgspec.structs.replace(use, verdict=verdict)))["legal_basis"] == WITHHELD


@pytest.mark.parametrize("text", ["for a permit", NUMBER, "sealed:", "sealed:" + "0" * 63, "sealed:" + "G" * 64, "li"])
@pytest.mark.parametrize("field", ["operator", "purpose", "scenario"])
def test_a_use_that_bears_a_caller_s_own_words_gets_no_record(field, text):
    """INVARIANT: NO-VALUES: whoever made it: nothing but names and digests stands in an entry."""
    if field == "purpose" and text == "li":
        return  # as a registered name may be
    with pytest.raises(GatewayError, match="not sealed"):
        constant_part(msgspec.structs.replace(City().use(), **{field: text}))
    assert constant_part(msgspec.structs.replace(City().use(), **{field: WITHHELD}))


@pytest.mark.parametrize("text", ["due", "for a permit", NUMBER, "sealed:", "sealed:" + "0" * 63, "到期"])
def test_an_officer_s_own_words_enter_no_record(tmp_path, text):
    """INVARIANT: NO-VALUES: whichever field it is and whoever writes it, nothing of the act is written."""
    journal = ActJournal(tmp_path, "control", clock_ns=lambda: 1, low_water_bytes=0)
    for field in sorted(ACT_WORDS):
        for value in (text, [text], ["sealed:" + "0" * 64, text], (text,)):
            if text == "due" and field in {"purpose", "purposes"}:
                continue  # as a registered name may be
            with pytest.raises(GatewayError, match="a record holds its digest"):
                journal.append_all(RecordKind.GRANT, [{"grant": "g-1"}, {field: value}])
    if text != "due":
        with pytest.raises(GatewayError, match="a record holds its digest"):
            journal.append(RecordKind.CONSULTATION, {"question": {"purpose": text}})
    said = {"grant": NUMBER, "reason": "sealed:" + "0" * 64, "method": Phrase("password"), "purposes": ["due"]}
    assert journal.append(RecordKind.GRANT, said).endswith("-1")
    journal.close()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.journal"))
    assert written.count(b'"kind"') == 1
    assert b'"method":"password"' in written


def test_what_a_grant_rests_on_is_told_by_no_identity_number(tmp_path):
    """It stands in the log as it is registered; so a number refuses the act, with a hint that does not repeat it."""
    journal = ActJournal(tmp_path, "control", clock_ns=lambda: 1, low_water_bytes=0)
    for field in sorted(CITED):
        with pytest.raises(GatewayError, match="15 or 18 digits") as refused:
            journal.append(RecordKind.GRANT, {field: FORMS["in hyphens"]})
        assert [each["field"] for each in refused.value.members["faults"]] == [field]
        assert NUMBER not in str(refused.value)
    journal.close()


def test_no_phrase_of_the_gateway_s_own_is_made_of_what_came_in_a_request():
    """A `Phrase` enters the log as it is: it is a constant, or names none of what bodies of requests hold."""
    made = [
        ast.unparse(node.args[0])
        for path in sorted(Path("gateway").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Phrase"
    ]
    others = {each for each in made if not each.startswith("'")}
    assert len(made) > 15
    assert others == {
        "body.outcome.value", "error.detail", "f'key {reason}'", "failure.detail", "method", "order.reason",
        "said.outcome.value", "what",
    }, "say why it is nobody's words, then enter it here"  # fmt: skip


NAMES = {
    "act", "after", "approved_by", "article", "asked_by", "before", "bundle", "case", "contract", "dataset",
    "concerning", "department", "departments", "destroyed_on", "digest", "dispose_by", "entries",
    "erases", "format", "former",
    "grant", "host", "interface", "key", "layers", "of", "of_officer", "of_subject", "officer", "officer_department",
    "order", "order_kind", "period_from", "period_until", "plan", "policy_set", "position", "proof", "proved",
    "question", "reach", "receivers",
    "records", "rectify_by", "region", "report_due", "revives", "roles", "sessions", "sha256", "size", "state", "step",
    "steps", "successor", "supplier", "system", "target", "version", "voids",
}  # fmt: skip
"""Fields of acts' records that are names given by the registry or the gateway, digests, days, numbers and states."""


def recorded_fields():
    """Every field's name that the code writes into an act's record, where it names it."""
    for path in sorted(Path("gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not any("RecordKind" in ast.unparse(each) for each in node.args[:2]):
                continue
            if ast.unparse(node.func).rpartition(".")[2] not in {
                "record",
                "record_each",
                "append",
                "append_all",
                "_record",
            }:
                continue
            yield from ((path, each.arg) for each in node.keywords if each.arg)
            for each in (inner for argument in node.args for inner in ast.walk(argument)):
                if isinstance(each, ast.Dict):
                    yield from ((path, key.value) for key in each.keys if isinstance(key, ast.Constant))


def test_every_field_of_an_act_s_record_is_words_or_a_name():
    """A new field is put in one of the tables: what takes words is looked at."""
    found = {(path.as_posix(), name) for path, name in recorded_fields() if "ledger" not in path.parts}
    assert len(found) > 80
    assert {each for each in found if each[1] not in NAMES | ACT_WORDS | CITED} == set()
