"""Checking a set of layers before it is put in force: schema, decision tables, articles, policies that never matter.

That a policy can never matter is found by trying: probes are calls and acts whose facts are drawn from what the
policies themselves speak of (every string, number and identifier in them) and from plain values. A policy that no
probe and no decision table satisfies is reported, with the advice to add a case that does. So the finding is sure for
what is reported as `twin`, and as sure as the probes for the rest.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cedarpy
import msgspec

from gateway.domain.calendar import Clock
from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicySet
from gateway.domain.processes.register import clock_names
from gateway.policy.law.articles import Article, parse_articles
from gateway.policy.law.documents import Document
from gateway.policy.law.drawn import FACTS_BY_PATH
from gateway.policy.law.layers import (
    CLOCKS_FILE,
    SCHEMA_FILE,
    Layers,
    StaticPolicy,
    clocks_of,
    est_document,
    facts_of_schema,
    parse_layers,
    place_of_policy,
    read_set,
)
from gateway.policy.law.scopes import NATIONAL
from gateway.policy.offline.probing import Words, act_probe, built_of_every_shape, schema_faults, use_probe
from gateway.policy.offline.regional import regional_faults, says_so
from gateway.policy.offline.tables import Outcome, Table, place_of, read_tables, run_case, run_tables
from gateway.policy.proofs.questions import theorem_faults
from gateway.policy.proofs.theorems import Theorem, place_of_theorem, read_theorems

PROBES = 300
"""Probes for each policy that no decision table shows, at about a millisecond each."""
MOST_PROBES = 1500
"""Probes until a permit that some of them satisfy is said to be overruled in all."""
_DRAWN = ("Drawn", "Learnt", "Periods")
"""Types of the schema whose facts are told by their paths."""


class Finding(msgspec.Struct, frozen=True):
    """One thing the check found.

    Args:
        kind: `fault` (does not load), `table` (a case came out otherwise), `article` (cites what the table of
            articles lacks), `theorem` (a sentence that is not stated, or badly), `clock` (a period that no process
            knows, or longer than the national one), `widened` (a layer permits what the national layer's tables
            deny), `region` (a region's layer goes beyond what is its own), `taken` (a region's layer leaves nothing of
            what the national layer's tables permit), `unreachable`, `overruled` (a permit that some forbid always
            overrules), `twin` (says the same as another policy).
        subject: the file, case or policy.
        what: one sentence.
        place: of a policy or a theorem, `file:line:column`; "" where the subject says where.
    """

    kind: str
    subject: str
    what: str
    place: str = ""

    @property
    def where(self) -> str:
        """What a reader looks for: the place, and the name of what stands there."""
        return f"{self.place}: {self.subject}" if self.place else self.subject


class Checked(msgspec.Struct, frozen=True):
    """What a check looked at and found; it passes with no findings.

    `theorems` are read and fit the schema; whether they are true is for `gateway policies prove`.

    `unread` names each attribute of the schema, and field of its contexts, that no policy reads: a fact that decides
    nothing (`Department.level`). It is no fault.
    """

    layers: tuple[str, ...]
    digest: str
    policies: int
    cases: int
    findings: tuple[Finding, ...]
    unread: tuple[str, ...] = ()
    theorems: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def check(root: Path, layers: Sequence[str]) -> Checked:
    """Check the named layers below `root`. Findings are values, also that a file is there which nothing reads."""
    try:
        policies = read_set(root, layers)
    except GatewayError as error:
        return Checked(tuple(layers), "", 0, 0, _faults_of(error))
    return check_set(policies)


def check_set(policies: PolicySet) -> Checked:
    """Check a set of policies. Findings are values."""
    if policies.layers[:1] != (NATIONAL,):
        what = f"do not begin with `{NATIONAL}`: without it no sentence of the law holds"
        return Checked(policies.layers, "", 0, 0, (Finding("fault", "layers", what),))
    try:
        loaded = parse_layers(policies.files, policies.layers)
        tables = read_tables(policies)
        articles = parse_articles(policies.files)
        theorems = read_theorems(policies)
        outcomes = list(run_tables(policies, tables, loaded))
    except GatewayError as error:
        return Checked(policies.layers, "", 0, 0, _faults_of(error))
    findings = [
        Finding("table", f"{place_of(policies, outcome.case)}: {outcome.case.name}", outcome.fault)
        for outcome in outcomes
        if outcome.fault
    ]
    findings += [
        Finding("article", policy.id, f"cites `{article}`, which `articles.yaml` does not have")
        for policy in loaded.policies.values()
        for article in policy.articles
        if article not in articles
    ]
    findings += _stated(loaded, articles, theorems)
    findings += _timed(policies, articles)
    findings += _widened(policies, loaded, tables)
    findings += [Finding(*found) for found in regional_faults(policies, loaded, tables)]
    findings += [Finding("fault", SCHEMA_FILE, fault) for fault in schema_faults(loaded)]
    findings += _twins(loaded)
    findings += _tried(loaded, outcomes)
    unread = unread_facts(loaded, policies.files[SCHEMA_FILE])
    placed = tuple(_placed(policies, loaded, theorems, finding) for finding in findings)
    return Checked(policies.layers, loaded.digest, len(loaded.policies), len(outcomes), placed, unread, len(theorems))


def _placed(policies: PolicySet, layers: Layers, theorems: Sequence[Theorem], finding: Finding) -> Finding:
    """A finding about a policy or a theorem, with where that stands."""
    policy = layers.policies.get(finding.subject)
    if policy is not None:
        place = place_of_policy(policy, policies.files[policy.file])
    elif any(theorem.id == finding.subject and not theorem.comes_along for theorem in theorems):
        place = place_of_theorem(policies, finding.subject)
    else:
        return finding
    return msgspec.structs.replace(finding, place=place)


def _faults_of(error: GatewayError) -> tuple[Finding, ...]:
    faults = error.members.get("faults") or [{"field": "policies", "fault": error.detail}]
    return tuple(Finding("fault", str(fault.get("field")), str(fault.get("fault"))) for fault in faults)


def _stated(layers: Layers, articles: Mapping[str, Article], theorems: Sequence[Theorem]) -> Iterator[Finding]:
    """Articles that a policy upholds and no theorem states, and theorems that are badly said or named nowhere."""
    if not layers.knows_words:
        # A set as older gateways put it in force: it states no theorems, and can be gone back to.
        return
    known = {theorem.id for theorem in theorems}
    stated = {name for name, article in articles.items() if not known.isdisjoint(article.theorems)}
    cited = {article: policy.id for policy in layers.policies.values() for article in policy.articles}
    for article, policy in cited.items():
        row = articles.get(article)
        if row is not None and "policy" in row.enforced_by and article not in stated:
            yield Finding("theorem", article, f"is upheld by `{policy}`, and `articles.yaml` names no theorem for it")
    for theorem in theorems:
        for article in theorem.articles:
            if article not in articles:
                yield Finding("theorem", theorem.id, f"cites `{article}`, which `articles.yaml` does not have")
            elif theorem.id not in articles[article].theorems and not theorem.comes_along:
                yield Finding("theorem", theorem.id, f"is not among the theorems of `{article}` in `articles.yaml`")
        yield from (Finding("theorem", theorem.id, fault) for fault in theorem_faults(layers, theorem))


def _timed(policies: PolicySet, articles: Mapping[str, Article]) -> Iterator[Finding]:
    """Periods that nothing begins, that cite what is no article, or that run longer than the national ones."""
    known, national = clock_names(), clocks_of(policies.files, NATIONAL)
    for layer in policies.layers:
        for name, clock in clocks_of(policies.files, layer).items():
            place = f"{_clock_place(policies, layer, name)}: {name}"
            if name not in known:
                yield Finding("clock", place, f"is begun by no process; there are {', '.join(sorted(known))}")
            if clock.article not in articles:
                yield Finding("article", place, f"cites `{clock.article}`, which `articles.yaml` does not have")
            above = national.get(name, clock)
            if clock.days > above.days or clock.days + clock.extension > above.days + above.extension:
                what = f"runs {_days(clock)}, and nationally {_days(above)}: a layer may only shorten a period"
                yield Finding("clock", place, what)


def _days(clock: Clock) -> str:
    return f"{clock.days} working days" + (f" and {clock.extension} more" if clock.extension else "")


def _clock_place(policies: PolicySet, layer: str, name: str) -> str:
    file = f"{layer}/{CLOCKS_FILE}"
    return Document(policies.files[file]).place(file, name)


def _widened(policies: PolicySet, layers: Layers, tables: Sequence[Table]) -> Iterator[Finding]:
    """Acts that the tables of the national layer deny, and that another layer on top of it permits.

    A region's layer may permit a use for which nothing but a grant is missing, and says so by what it permits; it
    gives no officer a power that national law denies, unless the policy names that act in its `@widens`.
    """
    cases = (case for table in tables if table.layers == (NATIONAL,) for case in table.cases)
    for case in cases if len(layers.names) > 1 else ():
        if case.expected.deny is not None and "act" in case.facts:
            verdict = run_case(layers, case).verdict
            if verdict is not None and verdict.is_permit and not says_so(layers, verdict.policies, case.facts["act"]):
                by = ", ".join(f"`{name}`" for name in verdict.policies)
                what = f"is denied by the national layer, and permitted by {by}"
                yield Finding("widened", f"{place_of(policies, case)}: {case.name}", what)


def unread_facts(layers: Layers, schema: str) -> tuple[str, ...]:
    """What of the schema no policy reads, built or static.

    An attribute by name counts as read wherever it stands; of what was drawn each fact is told by its path.
    """
    told = {f"{kind}.{name}": name for kind, names in facts_of_schema(schema).items() for name in names}
    static = [policy.est for policy in layers.policies.values()]
    said = msgspec.json.encode([*static, *built_of_every_shape().values()]).decode()
    read = {path for paths in layers.convergence.values() for path in paths}
    unread = {
        path for path, name in told.items() if path.partition(".")[0] not in _DRAWN and f'"attr":"{name}"' not in said
    }
    facts = {path for path in FACTS_BY_PATH if layers.knows_circles or "." not in path}
    unread |= {f"Use.drawn.{path}" for path in facts - read} if read else {"Use.drawn"}
    return tuple(sorted(unread))


def _twins(layers: Layers) -> Iterator[Finding]:
    seen: dict[bytes, str] = {}
    for policy in layers.policies.values():
        rule = {key: value for key, value in policy.est.items() if key != "annotations"}
        form = msgspec.json.encode([rule, policy.masks], order="deterministic")
        if form in seen:
            yield Finding("twin", policy.id, f"says the same as `{seen[form]}`")
        seen.setdefault(form, policy.id)


def _tried(layers: Layers, outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """Policies that nothing satisfies, and permits that are always overruled."""
    determining = {name for outcome in outcomes if outcome.verdict is not None for name in outcome.verdict.policies}
    for policy in layers.policies.values():
        if policy.id in determining:
            continue
        satisfied, mattered = _try(layers, policy)
        if not satisfied:
            yield Finding(
                "unreachable",
                policy.id,
                "no call or act that was tried satisfies it; if it can be satisfied, add a decision table case",
            )
        elif not mattered:
            yield Finding(
                "overruled",
                policy.id,
                "some forbid overrules it in all that was tried; if it can permit, add a decision table case",
            )


def _try(layers: Layers, policy: StaticPolicy) -> tuple[bool, bool]:
    """Whether some probe satisfies `policy`, and whether it is then ever a determining policy."""
    alone = cedarpy.PolicySet.from_json_str(est_document({policy.id: policy.est}))
    words = Words.of(policy)
    # A fixed seed: the same files are always checked the same way. Nothing is kept secret by it.
    chance = random.Random(policy.id)  # noqa: S311
    satisfied = False
    whole, probe = (layers.use_set, use_probe) if policy.for_uses else (layers.act_set, act_probe)
    for number in range(MOST_PROBES):
        if number >= PROBES and not satisfied:
            break
        request, entities = probe(chance, words, knows_words=layers.knows_words)
        if policy.id in cedarpy.is_authorized(request, alone, entities).diagnostics.reasons:
            satisfied = True
            if policy.effect == "forbid" or cedarpy.is_authorized(request, whole, entities).allowed:
                return True, True
    return satisfied, False
