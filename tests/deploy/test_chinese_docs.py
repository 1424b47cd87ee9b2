"""The Chinese pages say what the English ones say: same headings, commands, tables, lists and names."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {"README.zh-CN.md": "README.md"} | {
    f"docs/zh/{path.name}": f"docs/{path.name}" for path in sorted((ROOT / "docs" / "zh").glob("*.md"))
}
READ_BY_OFFICERS = {"first-day.md", "directory.md", "auditors.md", "console.md", "processes.md"}


def prose(text: str) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_chinese_page_holds_what_the_english_one_holds(page: str) -> None:
    """Headings by level, blocks to the letter, rows and points by number, and every name in backticks."""
    chinese, english = ((ROOT / name).read_text("utf-8") for name in (page, PAGES[page]))
    for pattern in (r"^```\w+\n.*?^```$", r"^(#+) ", r"^(\||- |\d+\. )"):
        flags = re.DOTALL | re.MULTILINE
        assert re.findall(pattern, chinese, flags) == re.findall(pattern, english, flags), pattern
    names = [Counter(re.findall(r"`([^`\n]+)`", prose(text))) for text in (chinese, english)]
    assert set(names[0]) == set(names[1])
    assert len(re.findall(r"[一-鿿]", prose(chinese))) > len(re.findall(r"[A-Za-z]+", prose(english))) / 2


def test_pages_that_officers_read_stand_in_chinese() -> None:
    """The list is whole."""
    assert {Path(page).name for page in PAGES} - {"README.zh-CN.md"} == READ_BY_OFFICERS
