"""The shape of a state: all that decides in it, with every name replaced that no policy names.

To Cedar an id is equal to another or not, and nothing more; so two states that differ in ids alone are decided alike,
id for id, unless a policy names one of them. A million grants have few shapes, and each is compared once.

Kept as they are: ids that a policy names, and everything else that a policy or the deciding looks at. Times of a grant
that lie further than `HORIZON` from now, from one another and from the seconds at which policies turn are moved, their
order kept: a comparison looks a day ahead from each.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from gateway.domain.directory import Dataset, Department, Interface, Recipients
from gateway.domain.grants import Approval, Grant
from gateway.domain.orders import Order, Reach
from gateway.domain.recipients import bounds_of
from gateway.domain.state import SliceState
from gateway.policy.law.layers import Layers
from gateway.policy.law.time_limits import FOREVER_UNIX, unix_seconds
from gateway.policy.live.conditions import interface_keys
from gateway.policy.offline.probing import Words

HORIZON = timedelta(days=3)
FAR = timedelta(days=3650)

Literals = Mapping[str, frozenset[str]]
"""Entity type -> ids of that type that some policy names."""

_TOKEN = re.compile("\ue000[^\ue001]*\ue001")
_APPROVAL = Approval("", datetime(2000, 1, 1, tzinfo=UTC))
_TYPES = {
    Reach.GRANT: "Grant",
    Reach.SYSTEM: "System",
    Reach.DEPARTMENT: "Department",
    Reach.DATASET: "Dataset",
    Reach.SUPPLIER: "Department",
}


def literals_of(sets: Iterable[Layers]) -> Literals:
    """What the policies of `sets` name."""
    found: dict[str, set[str]] = {}
    for layers in sets:
        for policy in layers.policies.values():
            for kind, names in Words.of(policy).entities.items():
                found.setdefault(kind, set()).update(names)
    # Who is named with an interface is named.
    found.setdefault("Department", set()).update(key.partition("/")[0] for key in found.get("Interface", ()))
    return {kind: frozenset(names) for kind, names in found.items()}


class Shape:
    """A state with its names replaced, and the way back.

    Attributes:
        state: the state so changed; it is decided like the one it was made of.
        key: equal for states of one shape.
    """

    __slots__ = ("_back", "_literals", "_tokens", "key", "state")

    def __init__(self, state: SliceState, literals: Literals, now_unix: int, instants: Iterable[int] = ()) -> None:
        self._literals = literals
        self._tokens: dict[tuple[str, str], str] = {}
        self._back: dict[str, str] = {}
        assert state.department is not None
        assert state.supplier is not None
        assert state.dataset is not None
        supplier = state.dataset.supplier
        # In the order of ids, so that the tokens' order is theirs: the smaller id breaks a tie between two grants.
        for grant in sorted(state.grants, key=lambda grant: grant.id):
            self._name("Grant", grant.id)
        moved = _moved_bounds(state.grants, now_unix, instants)
        self.state = SliceState(
            sequence=0,
            department=self._department(state.department),
            ancestors=tuple(self._department(each) for each in state.ancestors),
            supplier=self._department(state.supplier),
            dataset=self._dataset(state.dataset),
            interfaces=tuple(self._interface(each) for each in state.interfaces),
            grants=tuple(self._grant(each, supplier, moved, now_unix) for each in state.grants),
            orders=tuple(self._order(each) for each in state.orders),
        )
        self.key = msgspec.msgpack.encode(self.state)

    def named(self, text: str) -> str:
        """`text` (an id, or a built policy's id) with the state's own names."""
        return _TOKEN.sub(lambda match: self._back[match[0]], text)

    def _name(self, kind: str, name: str) -> str:
        if name in self._literals.get(kind, ()):
            return name
        token = self._tokens.get((kind, name))
        if token is None:
            token = f"\ue000{kind} {len(self._tokens):06}\ue001"
            self._tokens[kind, name] = token
            self._back[token] = name
        return token

    def _key(self, key: str) -> str:
        """An interface's key: its supplier's name and its own."""
        supplier, _, name = key.partition("/")
        own = name if key in self._literals.get("Interface", ()) else self._local(key, name)
        return f"{self._name('Department', supplier)}/{own}"

    def _local(self, key: str, name: str) -> str:
        token = self._name("Interface", key)
        self._back[token] = name
        return token

    def _department(self, one: Department) -> Department:
        parent = None if one.parent is None else self._name("Department", one.parent)
        name = self._name("Department", one.id)
        return Department(
            name,
            "",
            one.region,
            one.level,
            parent,
            one.competent,
            matters=tuple(sorted(one.matters)),
            # That it has ended decides; what it became does not.
            succeeded_by=None if one.succeeded_by is None else "successor",
            succeeds=tuple(sorted(self._name("Department", name) for name in one.succeeds)),
        )

    def _dataset(self, one: Dataset) -> Dataset:
        return Dataset(
            id=self._name("Dataset", one.id),
            code="",
            name="",
            supplier=self._name("Department", one.supplier),
            items=tuple(msgspec.structs.replace(item, title="") for item in one.items),
            sharing_attribute=one.sharing_attribute,
            update_cycle=one.update_cycle,
            format="",
            grade=one.grade,
            classification=one.classification,
            sharing_modes=one.sharing_modes,
            purposes=one.purposes,
            recipients=self._recipients(bounds_of(one)),
            version=one.version,
            state=one.state,
        )

    def _recipients(self, bounds: Recipients) -> Recipients:
        departments = tuple(sorted(self._name("Department", name) for name in bounds.departments))
        return msgspec.structs.replace(bounds, departments=departments)

    def _interface(self, one: Interface) -> Interface:
        supplier, _, own = self._key(one.key).partition("/")
        return Interface(
            own,
            supplier,
            self._name("Dataset", one.dataset),
            "",
            modes=one.modes,
            scope_parameters=one.scope_parameters,
        )

    def _grant(self, one: Grant, supplier: str, moved: Mapping[datetime, datetime], now_unix: int) -> Grant:
        begins, ends = (moved.get(bound, bound) for bound in (one.valid_from, one.valid_until))
        if _is_timed(one) and unix_seconds(begins) <= now_unix:
            begins = datetime.fromtimestamp(now_unix, UTC) - FAR
        # What is not named here stays as it is: a field that is new makes more shapes, and none that is wrong.
        return msgspec.structs.replace(
            one,
            id=self._name("Grant", one.id),
            department=self._name("Department", one.department),
            dataset=self._name("Dataset", one.dataset),
            valid_from=begins,
            valid_until=ends,
            legal_basis="",
            scenario="",
            scope_of_use="",
            demand_approval=_APPROVAL,
            supply_approval=_APPROVAL,
            systems=tuple(self._name("System", name) for name in one.systems),
            interfaces=tuple(self._key(key) for key in interface_keys(one, supplier)),
            combination=tuple(self._name("Dataset", name) for name in one.combination),
            disputed=False,
        )

    def _order(self, one: Order) -> Order:
        return Order(
            id=self._name("order", one.id),
            kind=one.kind,
            reach=one.reach,
            target=self._name(_TYPES[one.reach], one.target),
            reason="",
            ordered_by="",
            ordered_at=_APPROVAL.at,
            lifted_at=None if one.is_in_force else _APPROVAL.at,
            supplier=None if one.supplier is None else self._name("Department", one.supplier),
            subordinates=one.subordinates,
        )


def _is_timed(grant: Grant) -> bool:
    """Whether a grant's times say when it holds; without a zone they are a fault, and stay one."""
    zoned = grant.valid_from.tzinfo is not None and grant.valid_until.tzinfo is not None
    return zoned and grant.valid_from < grant.valid_until


def _moved_bounds(grants: Iterable[Grant], now_unix: int, instants: Iterable[int]) -> Mapping[datetime, datetime]:
    """Bounds of grants after now that lie far from everything else, and where to: nearer, in the same order.

    `instants` stay where they are, and so does what lies within `HORIZON` of them or of now, also through
    others between. What lies so together keeps its distances and its time of day; what lies alone need not.
    """
    grants = list(grants)
    if not all(map(_is_timed, grants)):
        return {}
    now = datetime.fromtimestamp(now_unix, UTC)
    fixed = {now, *(datetime.fromtimestamp(second, UTC) for second in instants if now_unix < second <= FOREVER_UNIX)}
    bounds = {bound for one in grants for bound in (one.valid_from, one.valid_until) if bound > now}
    moved: dict[datetime, datetime] = {}
    last = now
    for together in _together(sorted(fixed | bounds)):
        first = together[0]
        shift = timedelta(0)
        if fixed.isdisjoint(together):
            shift = first - last - HORIZON
            if len(together) > 1:
                shift = timedelta(days=shift.days)
        moved |= {bound: bound - shift for bound in together if bound in bounds}
        last = together[-1] - shift
    return moved


def _together(moments: Iterable[datetime]) -> Iterator[list[datetime]]:
    """Sorted moments in groups, further apart than `HORIZON`."""
    group: list[datetime] = []
    for moment in moments:
        if group and moment - group[-1] > HORIZON:
            yield group
            group = []
        group.append(moment)
    if group:
        yield group
