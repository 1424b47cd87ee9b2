"""The house plan holds: who may import whom, and no room that is only a name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "gateway"

MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "policy": {"domain"},
    "identity": {"domain"},
    "ledger": {"domain"},
    "store": {"domain"},
    "proxy": {"domain"},
    "control": {"domain", "store", "policy", "ledger", "identity"},
    "client": set(),
    "runtime": {"domain", "store", "policy", "ledger", "identity", "proxy", "control", "client"},
    # The command line reaches the house through `runtime`; beside it only what needs no home: words and checks.
    "cli": {"runtime", "domain", "ledger", "policy"},
}

FOREIGN = {
    "domain": {"sqlalchemy", "fastapi", "httpx", "asyncio", "cedarpy", "duckdb", "socket", "time"},
    "policy": {"sqlalchemy", "fastapi", "httpx"},
    "proxy": {"sqlalchemy", "fastapi", "cedarpy", "duckdb", "httpx"},
    "client": {"sqlalchemy", "fastapi", "cedarpy", "duckdb"},
}


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""


def _rooms() -> list[str]:
    return sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name in MAY_IMPORT)


@pytest.mark.parametrize("room", _rooms())
def test_room_imports_only_what_the_plan_allows(room: str) -> None:
    """Each room imports the rooms below it and nothing beside it."""
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in (PACKAGE / room).rglob("*.py")
        for name in _imports(file)
        if name.startswith("gateway.") and name.split(".")[1] not in MAY_IMPORT[room] | {room}
    ]
    assert wrong == []


@pytest.mark.parametrize("room", sorted(FOREIGN))
def test_room_keeps_out_frameworks_that_belong_elsewhere(room: str) -> None:
    """The pure rooms know no SQL, no web framework and no clock."""
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in (PACKAGE / room).rglob("*.py")
        for name in _imports(file)
        if name.split(".")[0] in FOREIGN[room]
    ]
    assert wrong == []


def test_every_package_of_the_house_is_in_the_plan_and_has_content() -> None:
    """No room stands empty, and none was added beside the plan."""
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert packages == set(MAY_IMPORT)
    for room in packages:
        assert any(len(file.read_text("utf-8")) > 400 for file in (PACKAGE / room).rglob("*.py")), room


def test_folder_map_names_the_rooms_that_stand_and_no_other() -> None:
    """The package's docstring is the folder map: each room once, none that is only planned."""
    described = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))) or ""
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert sorted(re.findall(r"^    (\w+) +\S", described, re.MULTILINE)) == sorted(packages)


def test_map_of_the_data_plane_names_each_of_its_modules_once() -> None:
    """The data plane's docstring is its map: who opens it for the first time finds every module there."""
    described = ast.get_docstring(ast.parse((PACKAGE / "proxy" / "__init__.py").read_text("utf-8"))) or ""
    modules = {path.stem for path in (PACKAGE / "proxy").iterdir() if not path.name.startswith("_")}
    assert sorted(re.findall(r"^    (\w+) +\S", described, re.MULTILINE)) == sorted(modules)
