"""Small changes to a module, each by itself: what stands in the source is parsed, changed in one place and compiled.

A comparison takes its neighbour (`<` and `<=`) or its contrary, a condition is always so or never, `and` is `or`, a
statement that acts is left out, a number is one more, and a list that is data lacks one of its members.
"""

import ast
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

NEIGHBOUR: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_SAID = {"log", "logger"}
"""What is only logged is no promise that a test must hold."""
_MODULE = "module"


class Mutant(NamedTuple):
    """One change.

    Args:
        module: its dotted name.
        key: names it for as long as what it changes reads as it does, wherever that stands.
        function: the function it is in, or `module`.
        number: its place among the changes of the module, from 0.
    """

    module: str
    key: str
    function: str
    number: int


def mutants_of(module: str, path: Path) -> list[Mutant]:
    """Every change to a module, in the order of its source."""
    planter = _Planter()
    planter.visit(ast.parse(path.read_text("utf-8")))
    seen: Counter[str] = Counter()
    found = []
    for number, (function, said) in enumerate(planter.places):
        key = f"{module}:{function}: {said}"
        seen[key] += 1
        found.append(Mutant(module, key if seen[key] == 1 else f"{key} ({seen[key]})", function, number))
    return found


def changed(path: Path, number: int) -> ast.Module:
    """The module with that change."""
    tree = _Planter(number).visit(ast.parse(path.read_text("utf-8")))
    assert isinstance(tree, ast.Module)
    return ast.fix_missing_locations(tree)


def counting(path: Path, module: str) -> ast.Module:
    """The module, each function of which first tells `tests.mutants.covering.entered` that it is called."""
    tree = _Counter(module).visit(ast.parse(path.read_text("utf-8")))
    assert isinstance(tree, ast.Module)
    at = int(ast.get_docstring(tree) is not None)
    tree.body[at:at] = ast.parse("from tests.mutants.covering import entered as _entered").body
    return ast.fix_missing_locations(tree)


class _Scoped(ast.NodeTransformer):
    """Knows in which function it is."""

    def __init__(self) -> None:
        self._scope: list[str] = []

    @property
    def function(self) -> str:
        return ".".join(self._scope) or _MODULE

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._within(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._within(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._within(node)

    def _within(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self._scope.append(node.name)
        try:
            node.body = [each for one in node.body if (each := self.visit(one)) is not None]
        finally:
            self._scope.pop()
        return node


class _Counter(_Scoped):
    def __init__(self, module: str) -> None:
        super().__init__()
        self._module = module

    def _within(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        super()._within(node)
        if not isinstance(node, ast.ClassDef):
            name = ".".join((*self._scope, node.name))
            told = ast.parse(f"_entered({self._module!r}, {name!r})").body
            at = int(ast.get_docstring(node) is not None)
            node.body[at:at] = told
        return node


class _Planter(_Scoped):
    """Names each place for a change, and makes the one that is wanted."""

    def __init__(self, wanted: int | None = None) -> None:
        super().__init__()
        self._wanted = wanted
        self._statement = ""
        self.places: list[tuple[str, str]] = []

    def visit(self, node: ast.AST) -> Any:
        if not isinstance(node, ast.stmt):
            return super().visit(node)
        outer, self._statement = self._statement, ast.unparse(node).partition("\n")[0][:100]
        try:
            return super().visit(node)
        finally:
            self._statement = outer

    def _is_wanted(self, node: ast.AST, what: str) -> bool:
        said = ast.unparse(node).partition("\n")[0][:100]
        where = "" if said in {self._statement, ""} else f" in `{self._statement}`"
        self.places.append((self.function, f"{what}: `{said}`{where}"))
        return len(self.places) - 1 == self._wanted

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        for at, one in enumerate(node.ops):
            if self._is_wanted(node, f"{type(one).__name__} is its neighbour"):
                node.ops[at] = NEIGHBOUR[type(one)]()
        return self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        if self._is_wanted(node, "and is or, or is and"):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        return self._condition(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        return self._condition(node)

    def _condition(self, node: ast.If | ast.IfExp) -> ast.AST:
        test = node.test
        for always in (True, False):
            if self._is_wanted(test, "always" if always else "never"):
                node.test = ast.Constant(always)
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant) or _is_said(node.value):
            return node
        if self._is_wanted(node, "left out"):
            return ast.Pass()
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Pass() if self._is_wanted(node, "left out") else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        return ast.Pass() if self._is_wanted(node, "left out") else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if ast.unparse(node.targets[0]) == "__all__":
            return node
        is_kept = isinstance(node.targets[0], ast.Attribute | ast.Subscript) and not self.function.endswith("__init__")
        if is_kept and self._is_wanted(node, "left out"):
            return ast.Pass()
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        # A type that has a name of its own.
        return node if self.function == _MODULE else self.generic_visit(node)

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        return self._members(node)

    def visit_List(self, node: ast.List) -> ast.AST:
        return self._members(node)

    def visit_Set(self, node: ast.Set) -> ast.AST:
        return self._members(node)

    def _members(self, node: ast.Tuple | ast.List | ast.Set) -> ast.AST:
        if isinstance(getattr(node, "ctx", None), ast.Store) or self.function != _MODULE or len(node.elts) < 2:
            return self.generic_visit(node)
        for member in list(node.elts):
            if self._is_wanted(member, "lacks"):
                node.elts.remove(member)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) in {int, float} and self._is_wanted(node, "one more than"):
            return ast.Constant(node.value + 1)
        return node


def _is_said(node: ast.expr) -> bool:
    """Whether a call only logs."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return isinstance(node.func.value, ast.Name) and node.func.value.id in _SAID
