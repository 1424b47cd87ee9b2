"""What is kept of the rooms' changes is still so: a few are tried again, others with each commit."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.mutating import changed, counting, mutants_of

SOURCE = '''"""A module."""
ROWS = ("one", "two")
def passes(value, limit):
    """A guard."""
    log.info("asked")
    if value <= limit and value != 0:
        raise ValueError(value)
    self.count += 1
'''


def test_each_change_is_one_and_has_a_name_of_its_own(tmp_path: Path) -> None:
    """Comparison, condition, statement, number and member of a list; not what is only logged, nor a docstring."""
    path = tmp_path / "module.py"
    path.write_text(SOURCE, "utf-8")
    mutants = mutants_of("module", path)
    said = {mutant.key.split(": ")[1] for mutant in mutants}
    assert said == {
        "lacks",
        "always",
        "never",
        "and is or, or is and",
        "LtE is its neighbour",
        "NotEq is its neighbour",
        "one more than",
        "left out",
    }
    sources = {compile_and_show(path, mutant.number) for mutant in mutants}
    assert len(sources) == len({mutant.key for mutant in mutants}) == len(mutants)
    assert not any("asked" not in source or "A guard" not in source for source in sources)


def compile_and_show(path: Path, number: int) -> str:
    """The source with a change, which Python takes."""
    tree = changed(path, number)
    compile(tree, str(path), "exec")
    return ast.unparse(tree)


def test_a_counting_module_tells_of_each_function(tmp_path: Path) -> None:
    """Also of one within another, and its docstring stays the first that it says."""
    path = tmp_path / "module.py"
    path.write_text(SOURCE, "utf-8")
    shown = ast.unparse(counting(path, "module"))
    assert shown.count("_entered(") == 1
    assert shown.index('"""A guard."""') < shown.index("_entered('module', 'passes')")


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_what_was_noticed_is_noticed() -> None:
    """The seed is the commit: who takes a check out of a test is found, if not today then soon."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "--sample", "8"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "noticed" in done.stdout
