"""The page of facts: every fact of the schema stands on it, with examples that the schema takes."""

import re
from pathlib import Path

import cedarpy
import pytest

from gateway.policy import default_policies_root
from gateway.policy.law.layers import SCHEMA_FILE

PAGE = Path(__file__).parents[2] / "docs" / "facts.md"
SCHEMA = (default_policies_root() / SCHEMA_FILE).read_text("utf-8")
_CODE = re.compile(r"`([^`]+)`")
SCOPES = {
    "Of a use": 'principal is System, action in Action::"use", resource is Interface',
    "Of an act": 'principal is Officer, action in Action::"act", resource is Matter',
}


def rows() -> list[tuple[str, str, str]]:
    """Part of the page, fact, and the cell of examples."""
    found, part = [], ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            part = line.removeprefix("## ")
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            found.append((part, cells[0], cells[-1]))
    return found


def examples() -> list[tuple[str, str]]:
    return [(part, code) for part, _, cell in rows() for code in _CODE.findall(cell) if "." in code or " " in code]


@pytest.mark.parametrize(("part", "condition"), examples())
def test_an_example_is_taken_by_the_schema(part: str, condition: str) -> None:
    """As a policy's condition, strictly validated: types, words of closed lists, facts that may be missing."""
    policy = f'@id("x") forbid ({SCOPES[part]}) when {{ {condition} }};'
    result = cedarpy.validate_policies(policy, SCHEMA)
    assert result.validation_passed, (condition, [str(error) for error in result.errors])


def test_an_example_that_the_schema_does_not_take_is_seen() -> None:
    for wrong in ('context.assurance == Grade::"3"', "context.grant.constrained", "principal.department.nothing"):
        policy = f'@id("x") forbid ({SCOPES["Of a use"]}) when {{ {wrong} }};'
        assert not cedarpy.validate_policies(policy, SCHEMA).validation_passed


def test_every_fact_of_the_schema_stands_on_the_page() -> None:
    """Each attribute of each entity, of both contexts and of what was drawn, in an example."""
    bare = re.sub(r"//[^\n]*", "", SCHEMA)
    said = " ".join(condition for _, condition in examples())
    things = re.findall(r"(?:entity|type) (\w+)(?: in \[\w+\])?(?: =)? ?\{(.*?)\n\}", bare, re.DOTALL)
    facts = [(name, fact) for name, body in things for fact in re.findall(r"^\s+(\w+)\??:", body, re.MULTILINE)]
    missing = [(name, fact) for name, fact in facts if not re.search(rf"\b{fact}\b", said)]
    assert missing == []
    assert len(facts) > 70
