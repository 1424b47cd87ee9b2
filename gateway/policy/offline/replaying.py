"""Replay: recorded uses, decided again under a candidate.

A record holds who called, for what, by which mode and items, and how it was decided (`gateway.ledger.journal.entries`).
It does not hold a parameter's value, whether the request named something besides, or a purpose that is no registered
one. So each use is put as every call that it could have been, as far as policies tell these apart; those of them that
the policies of then decide otherwise than is on record were not it; and where the candidate decides the rest alike, it
is decided. What is left over is told, by what is not known, and counted: nothing is guessed.

Grants, orders and the directory are as they stand now. Where these decide a use otherwise than is on record, it is
tried once as its record says that it was: under its grant as issued, and without the orders that came later. Where that
gives no record either, what stood then is not known, and the use is left over.

What was drawn is counted anew in the order of the records: for the policies of then by what they noted, and for the
candidate by what it would have permitted, as if it had been in force all along; before the time from which uses are
decided, by what is on record as permitted. So a first convergence rule shows whom it would have refused. (Put in force,
it counts from then on: what was drawn before was noted for none.)
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations, product
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from gateway.domain.callers import Assurance
from gateway.domain.circles import Circle, Knowing
from gateway.domain.directory import Department, SharingMode
from gateway.domain.grants import GrantState
from gateway.domain.state import SliceState
from gateway.domain.texts import UNKEPT, WITHHELD, digest_in
from gateway.domain.verdicts import Call, Verdict
from gateway.policy.law.drawn import DAYS_OF_PERIOD, FACTS_BY_PATH
from gateway.policy.law.layers import Layers
from gateway.policy.law.time_limits import china_day, next_change
from gateway.policy.live.building import OBTAINING
from gateway.policy.live.refusals import CODES as CODES_OF_REFUSALS
from gateway.policy.live.slices import Slice, is_void
from gateway.policy.offline.aspects_read import PARAMETERS, SUBJECTS, Looks
from gateway.policy.offline.sample_calls import ANY_PURPOSE, ANY_VALUE, REQUEST_FACTS

MAX_FORMS = 64
"""Calls that one use is put as; where it could have been more, it is left over."""

MAX_SLICES = 256
MAX_VERDICTS = 16_384
"""Kept in memory: a slice takes some 50 KiB, a verdict one or two."""

MAX_OUTCOMES = 65_536
"""Outcomes kept in memory, each of one kind of use and as long as no time limit changes it."""

MAX_KINDS = 500
"""Kinds of change told apart; those beyond are counted together."""

EXAMPLES = 5
"""Record ids told of each kind."""

REST = "(others)"

K = TypeVar("K")
V = TypeVar("V")

Change = Literal["refused", "let-through", "gives-less", "gives-more"]


class Recorded(msgspec.Struct, frozen=True):
    """One use on record, opened or refused.

    Args:
        id: of the record.
        at_unix: when.
        said: what the record says of it.
        about_person: whether it names a data subject.
    """

    id: str
    at_unix: int
    said: "Said"
    about_person: bool = False

    @property
    def is_permit(self) -> bool:
        """Whether the policies permitted it."""
        return self.said.decision == "permit" and not self.said.code


class Said(msgspec.Struct, frozen=True):
    """What of `use` in a record is decided by; what is empty there is left out."""

    assurance: Assurance
    dataset: str
    department: str
    interface: str
    mode: SharingMode
    system: str
    decision: str
    code: str = ""
    asked: tuple[str, ...] | None = None
    grant: str | None = None
    operator: str = ""
    parameters: tuple[str, ...] = ()
    policy_digest: str = ""
    purpose: str = ""
    scenario: str = ""
    items: tuple[str, ...] = ()


class Standing(Protocol):
    """What stands now."""

    def read(self, department: str, dataset: str) -> SliceState:
        """The state of a pair."""

    def departments(self) -> Iterable[Department]:
        """Every department."""


class Kind(msgspec.Struct):
    """Uses that the candidate decides otherwise in one way.

    Args:
        change: in which.
        before: the code of the refusal on record, or `permit`.
        after: the code of the candidate's, or `permit`.
        policies: ids of the policies that determine what the candidate says.
        count: how many.
        departments: how many of each department.
        examples: ids of the first records.
    """

    change: Change
    before: str
    after: str
    policies: tuple[str, ...]
    count: int = 0
    departments: dict[str, int] = msgspec.field(default_factory=dict)
    examples: list[str] = msgspec.field(default_factory=list)

    def add(self, use: Recorded) -> None:
        """Count one."""
        self.count += 1
        of = use.said.department
        self.departments[of] = self.departments.get(of, 0) + 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(use.id)


class LeftOver(msgspec.Struct):
    """Uses that cannot be decided again, for one reason.

    Args:
        why: what is not known of them: `purpose`, `items`, `parameters`, `unread`, `declared`, `guessable` (facts that
            records do not hold), several of these joined by `+`, `too-many` (more forms than are tried), `state` (what
            stood then), `gone` (department, dataset or supplier is not in the directory any more), `policies` (those of
            then are not kept).
        count: how many.
        examples: ids of the first records.
    """

    why: str
    count: int = 0
    examples: list[str] = msgspec.field(default_factory=list)


class Replay(msgspec.Struct):
    """What came of it.

    Args:
        new: digest of the candidate's layers.
        uses: how many uses were looked at: those that were decided again, left over, or refused otherwise.
        permitted: of them, how many were permitted.
        same: decided alike.
        as_of_then: of those that were decided, how many under their grant and orders of then, for what stands now
            decides otherwise.
        exact: of those that were decided, how many under the very policies of then, by their digest.
        kinds: those that are decided otherwise.
        left_over: those that cannot be decided.
        otherwise: refused by no policy (a quota, a name that there is not), which no candidate changes, by code.
        drawn_days: how many days the convergence rules look back; 0 where none does.
        first: time of the first use.
        last: time of the last.
        is_whole: False where the limit was reached before the last.
    """

    new: str
    uses: int = 0
    permitted: int = 0
    same: int = 0
    as_of_then: int = 0
    exact: int = 0
    kinds: list[Kind] = msgspec.field(default_factory=list)
    left_over: list[LeftOver] = msgspec.field(default_factory=list)
    otherwise: dict[str, int] = msgspec.field(default_factory=dict)
    drawn_days: int = 0
    first: str = ""
    last: str = ""
    is_whole: bool = True


def drawn_days(*sets: Layers) -> int:
    """How many days before a use the convergence rules of these layers look back, that day included; 0 without any."""
    paths = {path for layers in sets for paths in layers.convergence.values() for path in paths}
    return max((DAYS_OF_PERIOD[FACTS_BY_PATH[path].period] for path in paths if path in FACTS_BY_PATH), default=0)


class Replaying:
    """Decides recorded uses again, one after the other.

    Args:
        candidate: the layers to come.
        then: the layers that were in force at a second; None where they are not kept.
        standing: what stands now.
        purposes: the registered purposes.

    Attributes:
        result: what has come of it so far.
    """

    def __init__(
        self,
        candidate: Layers,
        then: Callable[[int], Layers | None],
        standing: Standing,
        purposes: Iterable[str],
    ) -> None:
        self._candidate = candidate
        self._then = then
        self._standing = standing
        self._registered = frozenset(purposes)
        self._parents = {one.id: one.parent for one in standing.departments()}
        self._books = (_Book(self._parents), _Book(self._parents))
        self._states: OrderedDict[tuple[str, str], SliceState] = OrderedDict()
        self._slices: OrderedDict[tuple[Any, ...], Slice] = OrderedDict()
        self._verdicts: OrderedDict[tuple[Any, ...], tuple[int, int, Verdict]] = OrderedDict()
        self._outcomes: OrderedDict[tuple[Any, ...], _Outcome] = OrderedDict()
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._left: dict[str, LeftOver] = {}
        self._otherwise: Counter[str] = Counter()
        self._looks: dict[str, tuple[Looks, frozenset[str]]] = {}
        self.result = Replay(candidate.digest)

    def before(self, use: Recorded) -> None:
        """Count what a use drew, that is not decided again."""
        if use.is_permit:
            self._note(use)

    def again(self, use: Recorded) -> None:
        """Decide a use again."""
        result, time = self.result, datetime.fromtimestamp(use.at_unix, UTC).isoformat()
        result.first = result.first or time
        result.last = time
        result.uses += 1
        result.permitted += use.is_permit
        if not use.is_permit and use.said.code not in self._codes(use.at_unix):
            self._otherwise[use.said.code] += 1
            return
        found = self._decided(use)
        if found.verdicts is None:
            self._leave(use, found.why)
            # What it drew then is drawn, whatever the candidate would have said.
            if use.is_permit:
                self._note(use)
            return
        result.as_of_then += found.is_then
        result.exact += found.is_exact
        before, after = found.verdicts
        self._note(use, then=use.is_permit, candidate=after.is_permit)
        change = _change(use, before, after)
        if change is None:
            result.same += 1
        else:
            self._kind(change, use, after).add(use)

    def finish(self) -> Replay:
        """The result, the most frequent first."""
        self.result.kinds = sorted(self._kinds.values(), key=lambda kind: (kind.change, -kind.count, kind.policies))
        self.result.left_over = sorted(self._left.values(), key=lambda left: -left.count)
        self.result.otherwise = dict(self._otherwise.most_common())
        return self.result

    def _codes(self, at_unix: int) -> frozenset[str]:
        """The codes that a denial by policies can bear."""
        layers = self._then(at_unix)
        own = () if layers is None else (policy.refusal for policy in layers.policies.values())
        return (CODES_OF_REFUSALS | {code for code in own if code}) - {"quota-exhausted"}

    def _decided(self, use: Recorded) -> "_Outcome":
        """What comes of a use; kept, as long as it holds, for others of its kind."""
        layers = self._then(use.at_unix)
        if layers is None:
            return _Outcome("policies")
        # That there is a scenario and an operator decides, and not which.
        said = msgspec.structs.replace(use.said, scenario=use.said.scenario[:1], operator=use.said.operator[:1])
        key = (layers.digest, said, use.about_person)
        known = self._outcomes.get(key)
        if known is not None and known.since_unix <= use.at_unix < known.until_unix:
            return known
        found = self._decide(use, layers)
        if found.until_unix > use.at_unix:
            self._outcomes[key] = msgspec.structs.replace(found, since_unix=use.at_unix)
            if len(self._outcomes) > MAX_OUTCOMES:
                self._outcomes.popitem(last=False)
        return found

    def _decide(self, use: Recorded, layers: Layers) -> "_Outcome":
        state = self._state(use.said.department, use.said.dataset)
        if is_void(state):
            return _Outcome("gone")
        of_dataset = use.said.dataset
        for of, is_then in ((state, False), (_as_of_then(state, use), True)):
            if of is None:
                continue
            forms = self._forms(use, of, layers)
            if isinstance(forms, str):
                return _Outcome(forms)
            told = [(call, self._verdict(layers, of, call, use, 0, is_then=is_then)) for call in forms]
            fits = [(call, verdict) for call, verdict in told if _is_recorded(use, verdict)]
            if fits:
                verdicts = [self._verdict(self._candidate, of, call, use, 1, is_then=is_then) for call, _ in fits]
                # What was drawn, and what had not been ordered yet, is another matter at the next use.
                until = min(one.valid_until_unix for one in (*(verdict for _, verdict in told), *verdicts))
                drawn = any(each.convergence.keys() & {of_dataset, ""} for each in (layers, self._candidate))
                if is_then or drawn:
                    until = 0
                if len({_gives(verdict) for verdict in verdicts}) > 1:
                    why = "+".join(_telling([call for call, _ in fits], verdicts))
                    return _Outcome(why, until_unix=until)
                is_exact = fits[0][1].policy_digest == use.said.policy_digest
                return _Outcome("", (fits[0][1], _common(verdicts)), is_then, is_exact, until_unix=until)
        return _Outcome("state")

    def _state(self, department: str, dataset: str) -> SliceState:
        pair = (department, dataset)
        return _kept(self._states, pair, MAX_SLICES, lambda: self._standing.read(department, dataset))

    def _verdict(
        self, layers: Layers, state: SliceState, call: Call, use: Recorded, book: int, *, is_then: bool
    ) -> Verdict:
        own = (use.said.grant, tuple(order.id for order in state.orders)) if is_then else ()
        key = (layers.digest, call.department, call.dataset, own)
        part = _kept(self._slices, key, MAX_SLICES, lambda: Slice(layers, state))
        lately = self._books[book].lately(part, call, use.at_unix) if part.drawn_facts else None
        asked = (layers.digest, call, own, None if lately is None else tuple(sorted(lately.items())))
        known = self._verdicts.get(asked)
        if known is not None and known[0] <= use.at_unix < known[1]:
            return known[2]
        verdict = part.evaluate(call, use.at_unix, lately)
        until = verdict.valid_until_unix
        if lately is not None:
            # It holds for what was drawn now; for the same, it holds until the next time limit like any other.
            until = next_change(use.at_unix, part.instants, part.minutes, unknown=part.turns_any_time)
        self._verdicts[asked] = (use.at_unix, until, verdict)
        if len(self._verdicts) > MAX_VERDICTS:
            self._verdicts.popitem(last=False)
        return verdict

    def _forms(self, use: Recorded, state: SliceState, layers: Layers) -> list[Call] | str:
        """The calls that a use could have been, as far as the policies of then and the candidate tell them apart."""
        said = use.said
        looks, facts = self._looked_at(layers)
        asked = _asked(said, state)
        if asked is False:
            return "items"
        # What is compared in a way that no choice of values settles.
        if looks.has_patterns and self._is_unread(said.purpose):
            return "purpose"
        if PARAMETERS in looks.beyond and said.parameters:
            return "parameters"
        if SUBJECTS in looks.aspects:
            # The record names persons by pseudonyms, and not whether the request could have named more.
            return "subjects"
        declared = {
            name
            for name, value in (("operator", said.operator), ("scenario", said.scenario), ("subject", use.about_person))
            if value
        }
        besides: list[tuple[str, ...]] = [()]
        if "declared" in facts:
            besides += [("other",), *([("keeper",), ("keeper", "other")] if said.operator else [])]
        choices: list[Sequence[Any]] = [
            self._purposes(said, state, looks),
            besides,
            REQUEST_FACTS["unread"] + (("body",), ("path",)) if "unread" in facts else ((),),
            self._guessable(said, state) if "guessable" in facts else ((),),
            *(self._values(name, state, looks) for name in said.parameters),
        ]
        total = 1
        for choice in choices:
            total *= len(choice)
        if total > MAX_FORMS:
            return "too-many"
        return [
            Call(
                said.system,
                said.department,
                said.assurance,
                said.interface,
                said.dataset,
                said.mode,
                purpose,
                asked,
                tuple(zip(said.parameters, values, strict=True)),
                unread=unread,
                declared=tuple(sorted(declared.union(other))),
                guessable=guessable,
            )
            for purpose, other, unread, guessable, *values in product(*choices)
        ]

    def _looked_at(self, layers: Layers) -> tuple[Looks, frozenset[str]]:
        known = self._looks.get(layers.digest)
        if known is None:
            rules = [one.est for each in (layers, self._candidate) for one in each.policies.values() if one.for_uses]
            text = msgspec.json.encode(rules).decode()
            facts = frozenset(name for name in REQUEST_FACTS if f'"attr":"{name}"' in text)
            known = self._looks[layers.digest] = (Looks.of(rules), facts)
        return known

    @staticmethod
    def _is_unread(purpose: str) -> bool:
        return digest_in(purpose) is not None or purpose in (UNKEPT, WITHHELD)

    def _purposes(self, said: Said, state: SliceState, looks: Looks) -> Sequence[str]:
        """The purpose on record; of one whose text is not there, all that are named and not registered, and any."""
        if not self._is_unread(said.purpose):
            return (said.purpose,)
        named = {purpose for grant in state.grants for purpose in grant.purposes} | looks.purposes
        named.update(() if state.dataset is None else state.dataset.purposes)
        named.update(() if state.department is None else state.department.matters)
        return (ANY_PURPOSE, *sorted(named - self._registered))

    @staticmethod
    def _guessable(said: Said, state: SliceState) -> Sequence[tuple[str, ...]]:
        if said.mode is not SharingMode.VERIFY:
            return ((),)
        names = said.asked or (() if state.dataset is None else tuple(sorted(state.dataset.item_names)))
        return ((), *((name,) for name in names), tuple(names)) if len(names) > 1 else ((), tuple(names))

    @staticmethod
    def _values(name: str, state: SliceState, looks: Looks) -> Sequence[str]:
        """Values that a parameter could have had: those that a grant or a policy names, and any other."""
        granted = {value for grant in state.grants for value in grant.parameters.get(name, ())}
        return (ANY_VALUE, *sorted(granted | {value for of, value in looks.parameters if of == name}))

    def _note(self, use: Recorded, *, then: bool = True, candidate: bool = True) -> None:
        """Count what a use drew: for the policies of then only where they noted it, for the candidate in any case."""
        said = use.said
        knowing = Knowing.OBTAINED if said.mode in OBTAINING else Knowing.COMPARED
        layers = self._then(use.at_unix) if then else None
        rules = {} if layers is None else layers.convergence
        facts = [FACTS_BY_PATH.get(path) for name in (said.dataset, "") for path in rules.get(name, ())]
        noted = any(fact is not None and (fact.learnt or knowing is Knowing.OBTAINED) for fact in facts)
        for book, counts in zip(self._books, (noted, candidate), strict=True):
            if counts:
                book.note(said.department, said.dataset, china_day(use.at_unix), knowing)

    def _kind(self, change: Change, use: Recorded, after: Verdict) -> Kind:
        key = (change, use.said.code or "permit", after.code or "permit", after.policies)
        if key not in self._kinds and len(self._kinds) >= MAX_KINDS:
            key = (change, REST, REST, ())
        return self._kinds.setdefault(key, Kind(*key))

    def _leave(self, use: Recorded, why: str) -> None:
        left = self._left.setdefault(why, LeftOver(why))
        left.count += 1
        if len(left.examples) < EXAMPLES:
            left.examples.append(use.id)


class _Outcome(msgspec.Struct, frozen=True):
    """What comes of a use.

    Args:
        why: why it is left over; "" where it is not.
        verdicts: that of then, and the candidate's.
        is_then: whether it was decided as its record says that things stood.
        is_exact: whether the verdict of then is by the very policies on record.
        since_unix: the second of the use.
        until_unix: until when it comes to the same for every use of its kind; not at all where that is past.
    """

    why: str
    verdicts: tuple[Verdict, Verdict] | None = None
    is_then: bool = False
    is_exact: bool = False
    since_unix: int = 0
    until_unix: int = 0


class _Book:
    """What departments drew, by day, in the order of the records (`gateway.store.gathering` says who counts whom)."""

    def __init__(self, parents: Mapping[str, str | None]) -> None:
        self._parents = parents
        self._children: dict[str, list[str]] = {}
        for name, parent in parents.items():
            if parent is not None:
                self._children.setdefault(parent, []).append(name)
        self._by_department: dict[str, dict[tuple[str, Knowing], int]] = {}
        """Department -> what came to it -> the last day on which it did."""

    def note(self, department: str, dataset: str, day: int, knowing: Knowing) -> None:
        """Note what a department draws."""
        drawn = self._by_department.setdefault(department, {})
        drawn[dataset, knowing] = max(day, drawn.get((dataset, knowing), day))

    def lately(self, part: Slice, call: Call, at_unix: int) -> dict[str, frozenset[str]]:
        """What was drawn lately, by the facts that the slice's rules look at."""
        today = china_day(at_unix)
        found = {}
        for path in part.drawn_facts:
            fact = FACTS_BY_PATH[path]
            since = today - DAYS_OF_PERIOD[fact.period] + 1
            members = self._circle(call.department, fact.circle)
            found[path] = frozenset(
                dataset
                for member in members
                for (dataset, knowing), day in self._by_department.get(member, {}).items()
                if day >= since and (fact.learnt or knowing is Knowing.OBTAINED)
            ) | {call.dataset}
        return found

    def _circle(self, department: str, circle: Circle) -> set[str]:
        if circle is Circle.OWN:
            return {department}
        above = [department]
        while (parent := self._parents.get(above[-1])) is not None and parent not in above:
            above.append(parent)
        if circle is Circle.LINE:
            return {*above, *self._below(department)}
        parent = self._parents.get(department) or department
        return {*above, *self._below(parent), *(child for one in above for child in self._children.get(one, ()))}

    def _below(self, top: str) -> set[str]:
        found, rest = {top}, [top]
        while rest:
            for child in self._children.get(rest.pop(), ()):
                if child not in found:
                    found.add(child)
                    rest.append(child)
        return found


def _as_of_then(state: SliceState, use: Recorded) -> SliceState | None:
    """What stood when a use was permitted, as its record says: its grant as issued, and no order that came later."""
    if not use.is_permit:
        return None
    orders = tuple(one for one in state.orders if one.ordered_at.timestamp() <= use.at_unix)
    grants = tuple(
        msgspec.structs.replace(one, state=GrantState.ISSUED) if one.id == use.said.grant else one
        for one in state.grants
    )
    if orders == state.orders and grants == state.grants:
        return None
    return msgspec.structs.replace(state, orders=orders, grants=grants)


def _is_recorded(use: Recorded, verdict: Verdict) -> bool:
    """Whether a verdict is the one on record."""
    if not use.is_permit:
        return verdict.code == use.said.code
    # The quota of the first may have been used up: one that stood in for it is on record then.
    return verdict.is_permit and any(one.grant == use.said.grant for one in verdict.in_turn())


def _change(use: Recorded, before: Verdict, after: Verdict) -> Change | None:
    if use.is_permit != after.is_permit:
        return "let-through" if after.is_permit else "refused"
    if not after.is_permit:
        return None
    kept, masked = set(before.items) - set(after.items), set(after.masks) - set(before.masks)
    if kept or masked:
        return "gives-less"
    gained, unmasked = set(after.items) - set(before.items), set(before.masks) - set(after.masks)
    return "gives-more" if gained or unmasked else None


def _gives(verdict: Verdict) -> tuple[Any, ...]:
    """What a caller gets by it."""
    return verdict.decision, verdict.items, verdict.masks


def _common(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict for forms that come to the same: the policies that determine all of them, and every code."""
    first = verdicts[0]
    if len(set(verdicts)) == 1:
        return first
    policies = set(first.policies).intersection(*(verdict.policies for verdict in verdicts))
    codes = sorted({verdict.code for verdict in verdicts})
    return msgspec.structs.replace(first, policies=tuple(sorted(policies)), code="|".join(codes))


def _telling(calls: Sequence[Call], verdicts: Sequence[Verdict]) -> Sequence[str]:
    """The facts by which forms that come to different ends differ: those that alone make a difference, else all."""
    fields = ("purpose", "parameters", "unread", "declared", "guessable")
    of = [tuple(getattr(call, field) for field in fields) for call in calls]
    telling = set()
    for (one, there), (other, here) in combinations(zip(of, verdicts, strict=True), 2):
        apart = [field for field, mine, theirs in zip(fields, one, other, strict=True) if mine != theirs]
        if len(apart) == 1 and _gives(there) != _gives(here):
            telling.add(apart[0])
    return sorted(telling) or [field for place, field in enumerate(fields) if len({values[place] for values in of}) > 1]


def _asked(said: Said, state: SliceState) -> tuple[str, ...] | Literal[False] | None:
    """The items asked for; False where the record holds but their number, and they are not all there are."""
    asked = said.asked
    if asked is None or not (len(asked) == 2 and asked[1].startswith("sha256:")):
        return asked
    names = () if state.dataset is None else tuple(sorted(state.dataset.item_names))
    digest = f"sha256:{hashlib.sha256(msgspec.json.encode(names)).hexdigest()}"
    return names if digest == asked[1] else False


def _kept(of: "OrderedDict[K, V]", key: K, most: int, make: Callable[[], V]) -> V:
    if key in of:
        of.move_to_end(key)
        return of[key]
    value = of[key] = make()
    if len(of) > most:
        of.popitem(last=False)
    return value
