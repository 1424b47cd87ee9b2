"""Verify mode compares what people mean, and of one row at a time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.proxy.projection.matching import Matching, Question
from gateway.proxy.projection.meanings import meant

SAME = [
    ("440524188001010014", "440524188001010014"),
    ("11010519491231002X", "11010519491231002x"),
    ("110105491231002", "11010519491231002X"),
    ("１１０１０５４９１２３１００２", "11010519491231002X"),
    ("91350100M000100Y43", "91350100m000100y43"),
    ("张三", " 张　三 "),
    ("张三", "张 三"),
    ("买买提·艾力", "买买提•艾力"),
    ("买买提·艾力", "买买提・艾力"),
    ("买买提·艾力", "买买提．艾力"),
    ("买买提·艾力", "买买提 · 艾力"),
    ("ＡＢＣ １２", "ABC 12"),
    ("Anna  Maria", "Anna Maria"),
    ("1990-01-01", "1990年1月1日"),
    ("1990-01-01", "1990/1/1"),
    ("1990-01-01", "19900101"),
    ("1990-01-01", "1990-01-01T00:00:00"),
    ("caf\u0065\u0301", "caf\u00e9"),
]
OTHER = [
    ("110105491231002", "11010519491231003X"),
    ("11010519491231002X", "110105194912310021"),
    ("张三", "张三丰"),
    ("AnnaMaria", "Anna Maria"),
    ("1990-01-01", "1990-10-01"),
    ("1990-02-30", "1990-03-02"),
    ("19900231", "1990-03-03"),
    ("a.b", "a·b"),
    ("1.5", "15"),
    ("007", "7"),
    ("男", "女"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_means_the_same_has_one_form(one: str, other: str) -> None:
    """Identity numbers of 15 and 18 digits, codes, full-width forms, names with blanks and dots, dates."""
    assert meant(one) == meant(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_means_something_else_has_another_form(one: str, other: str) -> None:
    """No convenience makes two persons one."""
    assert meant(one) != meant(other)


TYPED = [
    ("number", "1,234.50", "１２３４.5", True),
    ("number", "007", "7", True),
    ("number", "-0.0", "0", True),
    ("number", "+15", "15", True),
    ("number", "1,23", "123", False),
    ("integer", "110105491231002", "11010519491231002X", False),
    ("string", "110105491231002", "11010519491231002X", True),
    ("string", "007", "7", False),
    ("number", "20200101", "2020-01-01", False),
    ("date", "18991231", "1899年12月31日", True),
    ("date", "1990-01-01 08:30:00", "1990/1/1", True),
    ("date", "19900101083000", "1990-01-01", True),
    ("date", "1990-02-30", "1990-03-02", False),
    ("datetime", "1990-01-01 08:30", "1990-01-01T08:30:00.000", True),
    ("datetime", "19900101083000", "1990年1月1日 08:30:00", True),
    ("datetime", "1990-01-01 08:30:01", "1990-01-01 08:30:00", False),
    ("datetime", "1990-01-01", "1990-01-01T00:00:00", True),
    ("boolean", "是", "Y", True),
    ("boolean", "0", "false", True),
    ("boolean", "是", "否", False),
    ("string", "是", "true", False),
    ("a word of the supplier's own", "1990-01-01", "1990年1月1日", True),
]


@pytest.mark.parametrize(("type_", "one", "other", "is_same"), TYPED)
def test_the_type_of_an_item_says_how_it_is_compared(type_: str, one: str, other: str, *, is_same: bool) -> None:
    """As the directory entry states it: an amount is no identity number, a day has no time, a yes is a yes."""
    assert (meant(one, type_) == meant(other, type_)) is is_same


@given(st.text(max_size=60), st.sampled_from(["", "number", "integer", "date", "datetime", "boolean"]))
def test_the_form_of_a_form_is_itself(text: str, type_: str) -> None:
    """One form, reached in one step."""
    assert meant(meant(text, type_), type_) == meant(text, type_)


def asked(values: dict[str, object], *rows: dict[str, object]) -> dict[str, bool]:
    def raw(each: dict[str, object]) -> dict[str, Raw]:
        return {item: Raw(json.dumps(value).encode()) for item, value in each.items()}

    matching = Matching(Question(raw(values)))
    for each in rows:
        matching.compare([raw(each)])
    found: dict[str, bool] = matching.found()
    return found


def test_several_items_match_in_one_row_or_not_at_all() -> None:
    """One person's name beside another's number is no match; the row that holds most is told of, and no other."""
    zhang = {"name": "张三", "id": "11010519491231002X", "born": 19491231}
    li = {"name": "李四", "id": "440524188001010014", "born": "1988-01-01"}
    assert asked({"name": "张三", "id": "440524188001010014"}, zhang, li) == {"name": True, "id": False}
    assert asked({"name": "李四", "id": "440524188001010014", "born": "19880101"}, zhang, li) == {
        "name": True,
        "id": True,
        "born": True,
    }
    assert asked({"name": "李四", "id": "11010519491231002X", "born": "1949/12/31"}, zhang, li) == {
        "name": False,
        "id": True,
        "born": True,
    }
    assert asked({"name": "王五"}, zhang, li) == {"name": False}


def test_long_texts_are_compared_as_they_stand() -> None:
    """The work of a form grows with the length of a run of marks: what is no name, number or date has none."""
    for text in ("\u0301" * 200_000, " " * 200_000, "张 " * 100_000, "1" * 200_000):
        assert meant(text) == text
