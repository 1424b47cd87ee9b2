"""Rights without a grant have a grant's limits: one named person, few wrong guesses, nothing that can be tried out."""

import json
from typing import Any

import pytest
import uvloop

from gateway.domain.directory import SharingMode
from gateway.proxy.projection.matching import guessable, parse_question
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, json_answer, permit, request, serving

WHO = "Sharing-Scenario: counter\r\nSharing-Operator: li\r\n"
VERIFY = "Sharing-Mode: verify\r\n"
OPEN = {"grant": None, "grant_version": 0, "meter": "~m", "metered": True, "calls_a_day": 9, "guesses_a_day": 2}
ONE = json_answer('{"code":0,"data":[{"xm":"张三","hyzk":"married"}]}')
MANY = json_answer('{"code":0,"data":[{"xm":"张三"},{"xm":"李四"}]}')


def asked(*questions: tuple[str, str, Any], answer: bytes = ONE, **changes: Any) -> tuple[list[int], House, Supplier]:
    """The statuses of several calls (target, fields, body), at an interface that names the person by `id`."""

    async def story() -> tuple[list[int], House, Supplier]:
        async with Supplier(answer) as supplier:
            entry = interface_for(
                supplier.port,
                subject_parameter="id",
                methods=("GET", "POST"),
                modes=(SharingMode.QUERY, SharingMode.VERIFY),
            )
            house = House(entry)
            house.verdict = permit(**{**OPEN, **changes})
            statuses = []
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                for target, fields, body in questions:
                    content = b"" if body is None else json.dumps(body).encode()
                    method = "GET" if body is None else "POST"
                    answered = await caller.ask(request(f"/hukou/person{target}", method, fields, content))
                    statuses.append(answered[0])
            return statuses, house, supplier

    return uvloop.run(story())


@pytest.mark.parametrize(
    ("target", "fields", "body", "declared", "subjects"),
    [
        ("?id=7", WHO, None, ("operator", "scenario", "subject"), 1),
        ("?id=7", "", None, ("subject",), 1),
        ("", WHO, None, ("operator", "scenario"), 0),
        ("?id=7&income_from=5000", WHO, None, ("operator", "other", "scenario", "subject"), None),
        ("/rich?id=7", WHO, None, ("operator", "other", "scenario", "subject"), None),
        ("?id=7", "", {"ids": [8, 9]}, ("other", "subject"), None),
        ("?id=7", WHO + VERIFY, {"values": {"xm": "张三"}}, ("operator", "scenario", "subject"), 1),
        ("?id=7", VERIFY, {"values": {"xm": "张三"}, "query": {"income": 5000}}, ("other", "subject"), None),
    ],
)
def test_policies_are_told_what_a_use_declares(
    target: str, fields: str, body: Any, declared: Any, subjects: int | None
) -> None:
    """Scenario, operator, how many are asked about; and whether it asks by what the entry does not tell of.

    There more may be named, and how many is not known.
    """
    _, house, _ = asked((target, fields, body))
    assert (house.calls[-1].declared, house.calls[-1].subjects) == (declared, subjects)


@pytest.mark.parametrize(
    ("value", "is_guessable"),
    [
        (5000, True),
        ("5000", True),
        ("05000.00", True),
        ("５０００", True),
        ("5e3", True),
        ("12000000", True),
        (True, True),
        ("男", True),
        ("", True),
        ("12345678", False),
        ("442000199001011234", False),
        ("张三", False),
    ],
)
def test_what_could_be_found_by_trying_all_there_are_is_told(value: Any, is_guessable: bool) -> None:
    """However the number is written; a name, a telephone number and an identity number are not of few."""
    question = parse_question(json.dumps({"values": {"x": value, "y": "张三"}}).encode())
    assert guessable(question) == (("x",) if is_guessable else ())


def test_wrong_guesses_about_one_person_end_and_right_ones_do_not_count() -> None:
    """After two wrong answers the supplier is asked no more about that person, and goes on being asked about others."""
    right = ("?id=7", WHO + VERIFY, {"values": {"xm": "张三"}})
    wrong = ("?id=7", WHO + VERIFY, {"values": {"xm": "王五"}})
    half = ("?id=7", WHO + VERIFY, {"values": {"xm": "张三", "hyzk": "single"}})
    statuses, _, supplier = asked(right, right, right, wrong, right, half, right, wrong)
    assert statuses == [200, 200, 200, 200, 200, 200, 429, 429]
    assert len(supplier.requests) == 6
    assert asked(wrong, wrong, wrong, ("?id=70", *wrong[1:]))[0] == [200, 200, 429, 200]


def test_a_verification_without_a_grant_is_about_one_person() -> None:
    """Whether anybody in a register is so is refused, also where the supplier answers it; under a grant it is not."""
    question = ("?id=7", WHO + VERIFY, {"values": {"xm": "张三"}})
    assert asked(question, answer=MANY)[0] == [502]
    assert asked(question, answer=MANY, grant="g-1", guesses_a_day=None)[0] == [200]


def test_what_is_drawn_without_a_grant_is_metered() -> None:
    """The rule's calls a day are drawn as a grant's are."""
    statuses, house, _ = asked(*[("?id=7", WHO, None)] * 3, guesses_a_day=None)
    assert statuses == [200] * 3
    assert house.meter.calls == (1 << 30) - 3
