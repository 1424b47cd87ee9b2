"""What authors of a layer do wrong is told by `gateway policies check`, with its place, as `docs/mistakes.md` shows."""

import re

import pytest

from tests.policies.mistakes import PAGE, page, read_mistakes

pytestmark = pytest.mark.deep

_PLACE = re.compile(r"[\w.-]+/[\w./-]+\.(?:cedar|yaml):\d+:\d+: ")
WHOLE_FILE = {"a table that ends in `.yml`", "a policy in a folder of its own"}


def test_each_mistake_is_told_as_the_page_says() -> None:
    """None passes; each is told as `file:line:column`, but for files that nothing reads, which are told by name."""
    told = page()
    assert told == PAGE.read_text(encoding="utf-8"), "write it anew: `python -m tests.policies.mistakes`"
    rows = [line for line in told.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(read_mistakes()) > 40
    without = {row.split(" | ")[0].removeprefix("| ") for row in rows if not _PLACE.match(row.split(" | ", 1)[1])}
    assert without == WHOLE_FILE
