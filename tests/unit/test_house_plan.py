"""The house plan holds: who may import whom, and no room that is only a name."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gateway.cli.policies.shared import layer_sets
from gateway.policy import default_policies_root
from gateway.policy.law.layers import read_set
from gateway.policy.proofs.kept import proof_digest, read_proofs

PACKAGE = Path(__file__).parents[2] / "gateway"

MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "policy": {"domain"},
    "identity": {"domain"},
    "ledger": {"domain"},
    "store": {"domain"},
    "proxy": {"domain"},
    "control": {"domain", "store", "policy", "ledger", "identity"},
    # It speaks to what the data plane speaks to, through the data plane's own ports.
    "authorizer": {"domain", "proxy"},
    # The console asks the control API as any officer's program does; what it shares are words and the calendar.
    "console": {"domain"},
    "client": set(),
    "runtime": {
        "domain",
        "store",
        "policy",
        "ledger",
        "identity",
        "proxy",
        "control",
        "authorizer",
        "console",
        "client",
    },
    # The command line reaches the house through `runtime`; beside it only what needs no home: words and checks.
    "cli": {"runtime", "domain", "ledger", "policy"},
}

FOREIGN = {
    "domain": {"sqlalchemy", "fastapi", "httpx", "asyncio", "cedarpy", "duckdb", "socket", "time"},
    "policy": {"sqlalchemy", "fastapi", "httpx"},
    "proxy": {"sqlalchemy", "fastapi", "cedarpy", "duckdb", "httpx"},
    "authorizer": {"sqlalchemy", "fastapi", "cedarpy", "duckdb", "httpx"},
    "console": {"sqlalchemy", "fastapi", "cedarpy", "duckdb"},
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


WITHOUT_A_DOOR = {
    "migrations": "found by alembic by path",
    "demo": "a story, entered by one file",
    "projection": "a pipeline",
}
"""Inner rooms that are no part of the plan of doors, and why."""

INNER_ROOMS = sorted(
    path.parent
    for path in PACKAGE.glob("*/*/__init__.py")
    if path.parent.name not in WITHOUT_A_DOOR and path.parent.parent.name != "cli"
)
MAPPED = sorted(path for path in PACKAGE.iterdir() if path.name in MAY_IMPORT and path.name not in {"cli", "client"})


def _map_of(room: Path) -> tuple[str, list[str]]:
    """A room's docstring, and the modules that it lists, one an indented line."""
    described = ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8"))) or ""
    return described, re.findall(r"^    (\w+) +\S", described, re.MULTILINE)


@pytest.mark.parametrize("room", [*MAPPED, *INNER_ROOMS], ids=lambda room: str(room.relative_to(PACKAGE)))
def test_map_of_a_room_names_each_of_its_modules(room: Path) -> None:
    """A room's docstring is its map: who opens it for the first time finds every module there."""
    _, listed = _map_of(room)
    modules = {path.stem for path in room.iterdir() if not path.name.startswith("_") and path.suffix in {".py", ""}}
    assert modules - set(listed) == set()


@pytest.mark.parametrize("room", INNER_ROOMS, ids=lambda room: str(room.relative_to(PACKAGE)))
def test_door_of_an_inner_room_names_what_others_use(room: Path) -> None:
    """What is imported from outside an inner room stands in its docstring as used from outside, and nothing else."""
    described, _ = _map_of(room)
    door = re.search(r"Used from outside: ([^.]*)\.", described)
    if door is None:
        pytest.fail(f"{room.relative_to(PACKAGE)}/__init__.py has no line `Used from outside: ….`")
    dotted = ".".join(room.relative_to(PACKAGE.parent).parts) + "."
    used = {
        name.removeprefix(dotted).split(".")[0]
        for module, file in MODULES.items()
        if not f"{module}.".startswith(dotted)
        for name in _modules_imported(file)
        if name.startswith(dotted)
    }
    assert set(re.findall(r"`(\w+)`", door[1])) == used


def _module_name(file: Path) -> str:
    name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {_module_name(file): file for file in PACKAGE.rglob("*.py")}

CIRCLES = {
    frozenset({"gateway.ledger.process.answers", "gateway.ledger.process.service"}): (
        "the answers are functions of the service, which hands them to the socket that it opens as it starts"
    ),
}
"""Circles of files that stand, each with its reason."""


@cache
def _modules_imported(file: Path, *, typing_only: bool = True) -> set[str]:
    """The modules of the house that a file imports; without `typing_only`, those of run time alone."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if not typing_only and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                for alias in child.names:
                    full = f"{child.module}.{alias.name}"
                    found.add(full if full in MODULES else child.module or "")
            visit(child)

    visit(ast.parse(file.read_text("utf-8")))
    return {name for name in found if name in MODULES}


def test_no_files_import_each_other_in_a_circle() -> None:
    """Every file can be read after those it imports; what stands in a circle has a reason in `CIRCLES`."""
    below = {module: _modules_imported(file, typing_only=False) for module, file in MODULES.items()}

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        queue = [start]
        while queue:
            for name in below[queue.pop()] - seen:
                seen.add(name)
                queue.append(name)
        return seen

    reach = {module: reached(module) for module in below}
    circles = {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in below
        if module in reach[module]
    }
    assert circles == set(CIRCLES)


def test_what_is_kept_of_proofs_is_of_the_policies_that_stand() -> None:
    """Who changes a shipped policy, a theorem or the shape of a built one proves them again: `make prove KEEP=1`."""
    root = default_policies_root()
    kept = read_proofs(root)
    assert [one.result for one in kept] == ["proved"] * len(kept)
    assert {one.layers: one.of for one in kept} == {
        layers: proof_digest(read_set(root, layers)) for layers in layer_sets(root, None)
    }
