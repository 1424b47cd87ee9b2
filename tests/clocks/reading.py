"""Which files of tests can depend on the clock: read from their source, so that no list has to be kept.

A file does where it, or a helper of the tests that it imports or whose fixtures it may ask for,

- names the machine's clock, or starts a process, which reads it;
- calls what takes a clock, and gives it none (`Store.open` without `clock`);
- imports a module of the house that takes the time by itself, or a room that holds one.

What is left is told the time by its tests. `time.time_ns()` is a stamp of a file or a journal, and no date.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BY_NAME_ALONE = 1 << 16
_PERHAPS = re.compile(r"\btime\.(?:time|localtime|gmtime)\b|\.(?:now|utcnow|today)\b")
"""What a module that says nothing of it need not be parsed for."""
_PROCESS = re.compile(r"\bsubprocess\b|\bPopen\b|\bmultiprocessing\b|\bos\.fork\b|\bposix_spawn\b|\bchromium\b")


def files_on_the_clock(folders: tuple[str, ...]) -> list[str]:
    """The files of tests below the folders that can depend on the clock, by their paths from the house."""
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("test_*.py")))
    return [str(path.relative_to(ROOT)) for path in found if any(map(_is_on_the_clock, _closure(path)))]


def _closure(test: Path) -> set[Path]:
    """A file of tests, the `conftest.py` above it, and the modules of the tests that these import."""
    found: set[Path] = set()
    beside = [folder / "conftest.py" for folder in test.parents if folder.is_relative_to(ROOT / "tests")]
    left = [test, *(path for path in beside if path.exists())]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += [
                _path_of(name) for name in _imported(path) if name.startswith("tests.") and _path_of(name).exists()
            ]
    return found


@cache
def _is_on_the_clock(path: Path) -> bool:
    if _PROCESS.search(path.read_text("utf-8")) or _takes_time(path):
        return True
    if any(name in _takers_of_time() for name in _imported(path)):
        return True
    return any(_lacks_clock(node) for node in ast.walk(_tree(path)) if isinstance(node, ast.Call))


def _lacks_clock(call: ast.Call) -> bool:
    """Whether a call leaves out a clock that what it calls would take from the machine."""
    func = call.func
    called = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    owner = getattr(func.value, "id", "") if isinstance(func, ast.Attribute) else ""
    given = {each.arg for each in call.keywords}
    for name in (called, f"{owner}.{called}"):
        for parameter, place in _with_default_clock().get(name, ()):
            if not given & {parameter, None} and len(call.args) <= place:
                return True
    return False


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def _imported(path: Path) -> frozenset[str]:
    """The modules that a file imports, by their dotted names; a name from a module may be one below it."""
    names = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return frozenset(names)


def _path_of(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _modules() -> dict[str, Path]:
    """The house's modules by their dotted names."""
    paths = (ROOT / "gateway").rglob("*.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@cache
def _takers_of_time() -> frozenset[str]:
    """Modules of the house that take the time by themselves, with the packages above them."""
    found = set()
    for name, path in _modules().items():
        if _takes_time(path):
            found |= {name, *(name.rsplit(".", above)[0] for above in range(1, name.count(".")))}
    return frozenset(found)


@cache
def _takes_time(path: Path) -> bool:
    """Whether a module asks the machine for the time, or hands its clock on, other than where none is given."""
    if not _PERHAPS.search(path.read_text("utf-8")):
        return False
    defaults = {id(each) for node in ast.walk(_tree(path)) for each in _defaults(node)}
    return any(_is_clock(node) and id(node) not in defaults for node in ast.walk(_tree(path)))


def _is_clock(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute):
        return False
    if node.attr in {"now", "utcnow", "today"}:
        return ast.unparse(node.value).rpartition(".")[2] in {"date", "datetime"}
    return node.attr in {"time", "localtime", "gmtime"} and ast.unparse(node.value) == "time"


def _defaults(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from (each for each in (*node.args.defaults, *node.args.kw_defaults) if each is not None)


@cache
def _with_default_clock() -> dict[str, list[tuple[str, int]]]:
    """Callables whose clock is the machine's unless one is given: name -> parameter, arguments before it.

    A class goes by its own name, a method by `Class.method`.
    """
    found: dict[str, list[tuple[str, int]]] = {}
    for path in (*_modules().values(), *(ROOT / "tests" / "support").rglob("*.py")):
        if not _PERHAPS.search(path.read_text("utf-8")):
            continue
        for holder in ast.walk(_tree(path)):
            if not isinstance(holder, ast.ClassDef | ast.Module):
                continue
            for node in holder.body:
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    is_method = isinstance(holder, ast.ClassDef)
                    name = f"{holder.name}.{node.name}" if isinstance(holder, ast.ClassDef) else node.name
                    for parameter, place in _clocks_of(node):
                        found.setdefault(name.removesuffix(".__init__"), []).append((parameter, place - is_method))
    return found


def _clocks_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, int]]:
    places = [*node.args.posonlyargs, *node.args.args]
    for place, default in enumerate(node.args.defaults, len(places) - len(node.args.defaults)):
        if _is_clock(default):
            yield places[place].arg, place
    for given, keyword in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if keyword is not None and _is_clock(keyword):
            yield given.arg, _BY_NAME_ALONE
