"""What clocks, acts and records uphold, as `articles.yaml` says, is done by code that a route of the API reaches.

A file may hold a table that nothing asks. So it is read from the routes: what their functions name, what those name in
turn, and so on; of processes, the steps that have a route.
"""

import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import pytest
from fastapi.routing import APIRoute

from gateway.control.records.routes import FiledKind
from gateway.domain.callers import Assurance, Caller
from gateway.domain.lifecycle import LIFECYCLE
from gateway.domain.officers import Act
from gateway.domain.processes.register import PROCESSES
from gateway.domain.processes.table import Process, Step
from gateway.domain.texts import sealed
from gateway.domain.uses import RecordKind, Use
from gateway.ledger.journal.entries import Salts, UseEntries
from gateway.policy.law.articles import citations, read_articles
from gateway.policy.law.layers import load_layers
from gateway.policy.law.world import ACT_GROUPS
from gateway.policy.live.slices import Slice
from tests.policies.cases import NATIONAL, NOW, ROOT, call, state
from tests.support.control import World

ARTICLES = read_articles(ROOT)
LAYERS = load_layers(ROOT, ["national", "zhongshan"])
DEEP = 4


class Reached:
    """What the routes of an API reach: acts that are decided, kinds of records that are written, clocks that run."""

    def __init__(self, routes: Iterable[Any]) -> None:
        self.acts: set[str] = set()
        self.kinds: set[str] = set()
        self.clocks: set[str] = set()
        self._seen: set[int] = set()
        self.paths = set()
        for route in _flat(routes):
            self.paths.add((next(iter(route.methods)), route.path))
            self._walk(route.endpoint)
        if ("POST", "/v1/records") in self.paths:
            self.kinds |= {kind.value for kind in FiledKind}
        for process in PROCESSES.values():
            for step in process.steps:
                if self.has_route(process, step):
                    self.acts |= {act.value for act in step.acts}
                    self.clocks |= {step.clock.partition("{")[0]} if step.clock else set()

    def has_route(self, process: Process, step: Step) -> bool:
        """Whether a step of a process can be taken over the API."""
        end = f"/v1/{process.name}" if step is process.opening else f"/v1/{process.name}/{{id}}/{step.name}"
        return ("POST", end) in self.paths

    def _walk(self, function: Any) -> None:
        waiting = [function]
        while waiting:
            found = waiting.pop()
            if id(found) in self._seen:
                continue
            self._seen.add(id(found))
            names = set(_names(found.__code__))
            self.acts |= {Act[name].value for name in names & set(Act.__members__) if "Act" in names}
            self.kinds |= {RecordKind[name].value for name in names & set(RecordKind.__members__)}
            known = [found.__globals__[name] for name in names if name in found.__globals__]
            known += [cell.cell_contents for cell in found.__closure__ or () if _is_set(cell)]
            for each in known:
                waiting += _functions(each, DEEP)
                if isinstance(each, types.ModuleType) and each.__name__.startswith("gateway."):
                    waiting += [one for name in names for one in _functions(getattr(each, name, None), 1)]


def _flat(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """The routes of an application, also of the routers within it."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _flat(inner.routes)


def _is_set(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _functions(of: Any, deep: int) -> list[Any]:
    """The gateway's functions that a value is, or holds."""
    if isinstance(of, types.FunctionType):
        return [of] if of.__module__.startswith("gateway.") else []
    if deep == 0:
        return []
    if isinstance(of, type):
        inside: Iterable[Any] = vars(of).values() if of.__module__.startswith("gateway.") else ()
    elif isinstance(of, Mapping):
        inside = of.values()
    elif isinstance(of, tuple | list):
        inside = of
    elif isinstance(of, msgspec.Struct):
        inside = msgspec.structs.astuple(of)
    else:
        inside = [getattr(of, name, None) for name in getattr(of, "__dataclass_fields__", ())]
    return [one for each in inside for one in _functions(each, deep - 1)]


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    world = World(tmp_path_factory.mktemp("reached"))
    yield Reached(world.app.routes)
    world.close()


def is_of(cited: str, article: str) -> bool:
    """Whether a citation is of an article, or of a paragraph of it."""
    return cited == article or cited.startswith((f"{article} ", f"{article}("))


def claiming(what: str) -> list[str]:
    return [name for name, row in ARTICLES.items() if what in row.enforced_by]


def acts_of(article: str) -> set[str]:
    """The acts by which an article is upheld: what policies that cite it are about, and steps that cite it take."""
    acts: set[str] = set()
    for policy in LAYERS.policies.values():
        if policy.for_acts and any(is_of(cited, article) for cited in policy.articles):
            scope = policy.est["action"]
            named = {entity["id"] for entity in scope.get("entities") or [scope.get("entity") or {"id": "act"}]}
            acts |= {act for act, groups in ACT_GROUPS.items() if act in named or named & set(groups)}
    steps = [*LIFECYCLE, *(step for process in PROCESSES.values() for step in process.steps)]
    for step in steps:
        if any(is_of(cited, article) for cited in citations(step.article)):
            acts |= {act.value for act in step.acts}
    return acts & set(Act)


@pytest.mark.parametrize("article", claiming("act"))
def test_an_act_that_upholds_an_article_is_decided_on_some_route(reached: Reached, article: str) -> None:
    assert acts_of(article), "no policy and no step that cites it is about an act"
    assert acts_of(article) & reached.acts


@pytest.mark.parametrize("article", claiming("clock"))
def test_a_clock_that_upholds_an_article_is_begun_by_a_step_with_a_route(reached: Reached, article: str) -> None:
    named = {
        name
        for name, clock in LAYERS.clocks_in("442000").items()
        if any(is_of(c, article) for c in citations(clock.article))
    }
    national = load_layers(ROOT, ["national"]).clocks_in(None)
    named |= {name for name, clock in national.items() if any(is_of(c, article) for c in citations(clock.article))}
    assert named
    assert all(any(name.startswith(begun) for begun in reached.clocks) for name in named), named - reached.clocks


IN_RECORDS: Mapping[str, tuple[str, ...]] = {
    "Decree 809 Art. 20": ("use: legal_basis", "use: scenario", "use: purpose", "grant"),
    "Decree 809 Art. 26": ("effect", "process"),
    "Decree 809 Art. 27 ¶1": ("destruction",),
    "Decree 809 Art. 28": ("process",),
    "Decree 809 Art. 29": ("use: scenario", "effect", "storage", "destruction", "consultation"),
    "Decree 809 Art. 29 ¶2": ("use: retain_until", "effect", "storage", "destruction", "consultation"),
    "Decree 809 Art. 34": ("use: system", "use: operator"),
    "Decree 809 Art. 37": ("use: subject",),
    "Decree 809 Art. 38": ("process",),
    "Decree 809 Art. 40": ("use: purpose", "destruction"),
    "Zhongshan Art. 32": ("use: mode", "use: operator", "use: approver", "use: items", "use: interface"),
}
"""Article -> kinds of records, and fields of the record of a use, that hold what it asks for."""


def recorded() -> set[str]:
    """The fields of the record of a use under a grant."""
    caller = Caller("marriage-desk", "civil-affairs", Assurance.DPOP, "jti", 1 << 40)
    verdict = Slice(NATIONAL, state()).evaluate(call(), NOW)
    named = sealed("0" * 64)
    use = Use(caller, call(), verdict, "police", named, named, "0" * 32, "0" * 64, "ab" * 16, NOW * 10**9)
    use = msgspec.structs.replace(use, purpose=use.call.purpose)
    said = msgspec.json.decode(UseEntries("run", Salts()).opened(use)[1])
    return {*said, *said["use"]}


@pytest.mark.parametrize("article", claiming("record"))
def test_a_record_that_upholds_an_article_is_written_on_some_route_or_at_each_use(
    reached: Reached, article: str
) -> None:
    fields = recorded()
    for held in IN_RECORDS[article]:
        field = held.removeprefix("use: ")
        assert field in (fields if field != held else reached.kinds), held


def test_reaching_finds_what_no_route_reaches(reached: Reached) -> None:
    """The walk is no list of everything: an act that a route does not name is not found."""
    bare = Reached([])
    assert (bare.acts, bare.kinds, bare.clocks) == (set(), set(), set())
    assert reached.acts <= set(Act)
    assert len(reached.acts) > 20


def test_every_step_of_every_process_has_a_route(reached: Reached) -> None:
    missing = [
        f"{process.name}: {step.name}"
        for process in PROCESSES.values()
        for step in process.steps
        if not step.is_late and not reached.has_route(process, step)
    ]
    assert missing == []
