"""The console's languages: every text in both, with the same gaps; days and articles as each writes them."""

import re
import tomllib
from io import StringIO
from pathlib import Path

import pytest

pytest.importorskip("babel", reason="the environment is older than the console")

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po

from gateway.console.words import CATALOGUES, words_of

ROOT = Path(__file__).parents[3]
_GAP = re.compile(r"%\((\w+)\)s")


def _texts() -> dict[str, str | tuple[str, ...]]:
    """Every text in code and templates, as `make messages` collects them."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["babel"]["mappings"]
    methods = [(each["pattern"], each["method"]) for each in said]
    keywords = {**DEFAULT_KEYWORDS, "N_": None}
    found = extract_from_dir(ROOT / "gateway/console", methods, keywords=keywords)
    return {text[0] if isinstance(text, tuple) else text: text for _, _, text, _, _ in found}


def _chinese() -> Catalog:
    with (CATALOGUES / "zh/LC_MESSAGES/console.po").open("rb") as file:
        return read_po(file, locale="zh")


def test_every_text_is_said_in_chinese() -> None:
    """None is missing, empty, fuzzy or left over, and the gaps for names and numbers are the same."""
    texts, chinese = _texts(), _chinese()
    kept = {
        message.id[0] if isinstance(message.id, tuple) else message.id: message for message in chinese if message.id
    }
    assert set(texts) - set(kept) == set(), "not in the catalogue"
    assert set(kept) - set(texts) == set(), "said nowhere any more"
    for text, message in kept.items():
        said = [message.string] if isinstance(message.string, str) else list(message.string)
        assert not message.fuzzy, text
        assert all(each.strip() for each in said), text
        assert all(set(_GAP.findall(each)) == set(_GAP.findall(text)) for each in said), text
        assert not re.search(r"[,;!?]|\w\.$", re.sub(_GAP, "", "".join(said))), f"English punctuation: {said}"


def test_a_text_without_its_chinese_is_noticed() -> None:
    """The check above can fail: a catalogue that lacks one text, or is unsure of it, is no catalogue of them all."""
    texts = set(_texts())
    assert len(texts) > 150
    po = StringIO('#, fuzzy\nmsgid "Sign in"\nmsgstr "登录"\n')
    assert [message.fuzzy for message in read_po(po) if message.id] == [True]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cited", "chinese"),
    [
        ("Decree 809 Art. 27 ¶2", "《政务数据共享条例》第二十七条第二款"),
        ("Decree 809 Art. 20, 21", "《政务数据共享条例》第二十条、第二十一条"),
        ("Decree 809 Art. 14(3)", "《政务数据共享条例》第十四条第三项"),
        (
            "Decree 809 Art. 27 ¶1; Decree 809 Art. 29",
            "《政务数据共享条例》第二十七条第一款；《政务数据共享条例》第二十九条",
        ),
        ("Zhongshan Art. 8", "《中山市政务数据管理办法》第八条"),
        ("some other law", "some other law"),
    ],
)
def test_articles_are_cited_as_the_law_numbers_them(cited: str, chinese: str) -> None:
    """English as the policies cite; Chinese in the decree's own numbering."""
    assert words_of("zh").article(cited) == chinese
    assert words_of("en").article(cited) == cited


def test_moments_are_told_in_china_standard_time() -> None:
    """Whatever zone a moment comes in, and as each language writes days and numbers."""
    for moment in ("2026-05-31T18:30:00Z", "2026-06-01T02:30:00+08:00", 1_780_252_200):
        assert words_of("zh").moment(moment) == "2026年6月1日 02:30"
        assert words_of("en").moment(moment) == "1 Jun 2026, 02:30"
    assert words_of("zh").day("2026-06-01") == "2026年6月1日"
    assert words_of("en").number(1234567) == "1,234,567"
    assert words_of("en").moment(None) == ""
