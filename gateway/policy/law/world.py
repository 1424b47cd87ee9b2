"""What the policies can see: directory, grants, regions and officers as Cedar entities, a call as a Cedar request."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import cedarpy
import msgspec

from gateway.domain.directory import Department, Level, SharingMode, SystemDates
from gateway.domain.officers import Matter, Officer, Role
from gateway.domain.orders import Order, Reach
from gateway.domain.recipients import bounds_of
from gateway.domain.regions import region_chain
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call
from gateway.policy.law.attributes import Attributes
from gateway.policy.law.calendar import calendar_context
from gateway.policy.law.settled import EXAMINED, FIVE_YEARS_DAYS
from gateway.policy.law.time_limits import minute_of_day
from gateway.policy.law.words import class_word, grade_word, in_strings, word, words

Entity = dict[str, Any]

USE_GROUPS: dict[str, tuple[str, ...]] = {
    "use": (),
    "obtain": ("use",),
    SharingMode.QUERY: ("obtain", "use"),
    SharingMode.BATCH: ("obtain", "use"),
    SharingMode.DOWNLOAD: ("obtain", "use"),
    SharingMode.VERIFY: ("use",),
}
"""Each action of a use and the groups it is in, as the schema states them; a test compares the two."""


Facts = Mapping[str, Mapping[str, Callable[[Any], Any]]]
"""Kind of entity -> attribute -> how it is told of a value of the domain."""


def facts_looked_at(conditions: Iterable[Any], *, knows_words: bool = True) -> Facts:
    """Those of `FACTS` that policies with these conditions, and built policies, look at.

    The others decide nothing, and cost time to parse for every slice: a dataset's items above all.

    Args:
        conditions: of the policies.
        knows_words: whether the policies' schema has the closed lists as types (`policy.law.words`).
    """
    looked_at = Attributes(conditions)
    read = {
        kind: {name: tell for name, tell in facts.items() if name in looked_at.of(kind)}
        for kind, facts in FACTS.items()
    }
    return facts_of(read, knows_words=knows_words)


def facts_of(facts: Facts, *, knows_words: bool) -> Facts:
    """The same facts, told to a schema that has the closed lists as types, or to one that has strings for them."""
    if knows_words:
        return facts
    return {kind: {name: _in_strings(tell) for name, tell in told.items()} for kind, told in facts.items()}


def _in_strings(tell: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda one: in_strings(tell(one))


def slice_entities(state: SliceState, facts: Facts | None = None) -> list[Entity]:
    """The entities of one department and one dataset: everything a use can touch but its caller's.

    Args:
        state: must have a department, a supplier and a dataset.
        facts: what is told of them; None tells everything.
    """
    assert state.department is not None
    assert state.supplier is not None
    assert state.dataset is not None
    departments = {department.id: department for department in (state.supplier, *state.ancestors, state.department)}
    told = FACTS if facts is None else facts
    entities = [
        *(
            _told(told, "Department", one.id, one, [] if one.parent is None else [_uid("Department", one.parent)])
            for one in departments.values()
        ),
        _told(told, "Dataset", state.dataset.id, state.dataset),
        *(_told(told, "Interface", one.key, one, [_uid("Dataset", one.dataset)]) for one in state.interfaces),
        *(_told(told, "Grant", one.id, one) for one in state.grants),
        *region_entities(department.region for department in departments.values()),
    ]
    return _with_stops(entities, state)


def _reaches(order: Order, department: str, lineage: Collection[str]) -> bool:
    return order.target == department or (order.subordinates and order.target in lineage)


def caller_entities(call: Call) -> str:
    """The calling system and the call's action, as a JSON document to add to the entities of its slice."""
    groups = [_uid("Action", group) for group in USE_GROUPS[call.mode]]
    action = _entity("Action", call.mode.value, {}, groups)
    return _json([system_entity(call.system, call.department, call.dates), action])


def system_entity(system: str, department: str, dates: SystemDates | None = None) -> Entity:
    """A demand department's system. Dates that are not known are left out: a policy that asks for them is in error."""
    home = _uid("Department", department)
    told: Entity = {"department": {"__entity": home}}
    if dates is not None:
        told |= {
            "registered": dates.registered,
            "certified": dates.certified,
            "certifiedUntil": dates.certified_until,
        }
    return _entity("System", system, told, [home])


def _with_stops(entities: list[Entity], state: SliceState) -> list[Entity]:
    """The entities, each with how many of the orders in force are on it, where it tells that."""
    lineage = {one.id for one in (state.department, *state.ancestors) if one is not None}
    home = None if state.department is None else state.department.id
    on = [order for order in state.orders if order.is_in_force]
    for entity in entities:
        kind, name = entity["uid"]["type"], entity["uid"]["id"]
        if "stops" not in entity["attrs"]:
            continue
        if kind == "Grant":
            entity["attrs"]["stops"] = sum(order.reach is Reach.GRANT and order.target == name for order in on)
            continue
        # An order on a department above stops it too, where the order says so; of those above nothing else is read.
        entity["attrs"]["stops"] = sum(
            (order.reach is Reach.DEPARTMENT and _reaches(order, name, lineage if name == home else frozenset()))
            or (order.reach is Reach.SYSTEM and name == home)
            or (order.reach is Reach.SUPPLIER and order.target == name)
            for order in on
        )
    return entities


def department_entity(department: Department, *, knows_words: bool = True) -> Entity:
    """A department and what is told of it, without what it lies in."""
    return _told(facts_of(FACTS, knows_words=knows_words), "Department", department.id, department)


def region_entities(codes: Iterable[str]) -> list[Entity]:
    """The regions named by `codes`, each with all that it lies in: what is named needs no entity of its own."""
    return [
        _entity("Region", code, {}, [_uid("Region", wider) for wider in region_chain(code)[1:]])
        for code in dict.fromkeys(codes)
    ]


def use_request(
    call: Call,
    now_unix: int,
    items: Iterable[str],
    grant: str | None,
    drawn: str | None,
    *,
    knows_words: bool = True,
    decision: str = EXAMINED.decision,
) -> Entity:
    """The Cedar request of a call, made under `grant` or under none.

    Args:
        call: the call.
        now_unix: the second it is decided at.
        items: the items asked for, or those a grant gives where the call names none.
        grant: the id of the grant the use would be made under.
        drawn: `context.drawn` as JSON, where a convergence rule needs it.
        knows_words: whether the policies' schema has the closed lists as types (`policy.law.words`).
        decision: the decision by which a region's rules on uses without a grant are in force; "" is none.
    """
    names = [name for name, _ in call.parameters]
    asked = list(items)
    context: dict[str, Any] = {
        "mode": word("Mode", call.mode) if knows_words else call.mode.value,
        "purpose": call.purpose,
        "items": asked,
        "itemsAsked": len(set(asked)),
        "assurance": call.assurance.rank,
        "now": now_unix,
        "minuteOfDay": minute_of_day(now_unix),
        # A parameter that stands twice is no parameter at all: which one the supplier reads is not known.
        "parameters": [{"name": name, "value": value} for name, value in call.parameters if names.count(name) == 1],
        "unread": list(call.unread),
        "declared": list(call.declared),
        "guessable": list(call.guessable),
        "decision": decision,
    }
    # What is not known is left out, though the schema has it: a policy that asks for it is in error, which denies.
    calendar = calendar_context(now_unix)
    if calendar is not None:
        context["calendar"] = calendar
    if call.subjects is not None:
        context["subjects"] = call.subjects
    if grant is not None:
        context["grant"] = {"__entity": _uid("Grant", grant)}
    if drawn is not None:
        context["drawn"] = msgspec.Raw(drawn.encode())
    return {
        "principal": _uid("System", call.system),
        "action": _uid("Action", call.mode.value),
        "resource": _uid("Interface", call.interface),
        "context": _json(context),
    }


def act_request(
    officer: Officer,
    act: str,
    matter: Matter,
    now_unix: int,
    home: Department | None = None,
    *,
    knows_words: bool = True,
    longest_days: int = FIVE_YEARS_DAYS,
) -> tuple[Entity, str]:
    """The Cedar request of an officer's act, and its entities as JSON.

    Args:
        officer: who acts.
        act: the act's name.
        matter: what it is about.
        now_unix: when.
        home: the officer's department as the state has it; one that it does not know is no competent one.
        knows_words: whether the policies' schema has the closed lists as types (`policy.law.words`).
        longest_days: for how many days a grant may be approved or entered, by the settings.
    """
    if home is None or home.id != officer.department:
        home = Department(officer.department, "", officer.region, Level.TOWNSHIP)
    regions = [
        officer.region,
        home.region,
        *(code for code in (matter.region, matter.demand_region, matter.whole) if code is not None),
    ]
    about: dict[str, Any] = {
        name: _reference(kind, value)
        for name, kind, value in (
            ("supplier", "Department", matter.supplier),
            ("demand", "Department", matter.demand),
            ("region", "Region", matter.region),
            ("demandRegion", "Region", matter.demand_region),
            ("whole", "Region", matter.whole),
            ("dataset", "Dataset", matter.dataset),
            ("orderedBy", "Department", matter.ordered_by),
            ("person", "Officer", matter.person),
            ("proposedBy", "Officer", matter.proposed_by),
            ("approvedBy", "Officer", matter.approved_by),
            ("suppliedBy", "Officer", matter.supplied_by),
        )
        if value is not None
    }
    if matter.levels:
        levels: list[Any] = words("Level", matter.levels)
        about["levels"] = levels if knows_words else in_strings(levels)
    if matter.valid_days is not None:
        about["validDays"] = matter.valid_days
    if matter.whole is not None:
        about["widens"] = matter.widens
    if matter.layer is not None:
        about["layer"] = matter.layer
    if matter.person is not None:
        about["roles"] = _roles(matter.roles, knows_words=knows_words)
    person = {
        "department": _reference("Department", officer.department),
        "region": _reference("Region", officer.region),
        "roles": _roles(officer.roles, knows_words=knows_words),
        "active": officer.active,
    }
    entities = [
        _entity("Officer", officer.id, person),
        department_entity(home, knows_words=knows_words),
        _entity("Matter", "matter", about),
        *region_entities(regions),
        *ACT_ENTITIES,
    ]
    request = {
        "principal": _uid("Officer", officer.id),
        "action": _uid("Action", act),
        "resource": _uid("Matter", "matter"),
        "context": _json({"now": now_unix, "longestDays": longest_days}),
    }
    return request, _json(entities)


def _roles(roles: Iterable[Role], *, knows_words: bool) -> list[Any]:
    told: list[Any] = words("Role", roles)
    return told if knows_words else in_strings(told)


def parse_entities(entities: Iterable[Entity]) -> cedarpy.Entities:
    """Parse entities; where that takes long, other threads run meanwhile."""
    document = _json(list(entities))
    return cedarpy.Entities.from_json_str(document, release_gil=takes_long(document))


def takes_long(document: str) -> bool:
    """Whether parsing `document` would keep other threads waiting for more than about a fifth of a millisecond.

    A short parse keeps the interpreter: to get it back from a busy event loop takes up to a switch interval, which is
    longer than the parse. See `tests/bench/policy_scale.py`, stalls.
    """
    return len(document) > LONG_DOCUMENT


LONG_DOCUMENT = 2_048


def _told(facts: Facts, kind: str, name: str, of: Any, parents: Iterable[Entity] = ()) -> Entity:
    return _entity(kind, name, {attribute: tell(of) for attribute, tell in facts[kind].items()}, parents)


def _entity(kind: str, name: str, attributes: Entity, parents: Iterable[Entity] = ()) -> Entity:
    return {"uid": _uid(kind, name), "attrs": attributes, "parents": list(parents)}


def _uid(kind: str, name: str) -> Entity:
    return {"type": kind, "id": name}


def _reference(kind: str, name: str) -> Entity:
    return {"__entity": _uid(kind, name)}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


FACTS: Facts = {
    "Department": {
        "region": lambda one: _reference("Region", one.region),
        "level": lambda one: word("Level", one.level),
        "competent": lambda one: one.competent,
        "matters": lambda one: one.matters,
        "ended": lambda one: one.succeeded_by is not None,
        "succeeds": lambda one: [_reference("Department", name) for name in one.succeeds],
        "stops": lambda _one: 0,
    },
    "Dataset": {
        "supplier": lambda one: _reference("Department", one.supplier),
        "attribute": lambda one: word("SharingAttribute", one.sharing_attribute),
        "classification": lambda one: class_word(one.classification),
        "grade": lambda one: grade_word(one.grade),
        "items": lambda one: [item.name for item in one.items],
        "itemsListed": lambda one: len({item.name for item in one.items}),
        "sensitive": lambda one: [item.name for item in one.items if item.sensitive],
        "purposes": lambda one: one.purposes,
        "modes": lambda one: words("Mode", one.sharing_modes),
        "state": lambda one: word("EntryState", one.state),
        "recipientDepartments": lambda one: [_reference("Department", name) for name in bounds_of(one).departments],
        "recipientLevels": lambda one: words("Level", bounds_of(one).levels),
        "recipientRegions": lambda one: [_reference("Region", code) for code in bounds_of(one).regions],
        "recipientMatters": lambda one: bounds_of(one).matters,
    },
    "Interface": {
        "dataset": lambda one: _reference("Dataset", one.dataset),
        "modes": lambda one: words("Mode", one.modes),
    },
    "Grant": {
        "department": lambda one: _reference("Department", one.department),
        "dataset": lambda one: _reference("Dataset", one.dataset),
        "items": lambda one: one.items,
        "itemsGiven": lambda one: len(set(one.items)),
        "purposes": lambda one: one.purposes,
        "modes": lambda one: words("Mode", one.modes),
        "state": lambda one: word("GrantState", one.state),
        "combination": lambda one: [_reference("Dataset", name) for name in one.combination],
        "returnFlow": lambda one: one.return_flow,
        "stops": lambda _one: 0,
        "constrained": lambda one: bool(one.parameters),
    },
}
"""What can be told of each entity, as the schema states it."""

ACT_GROUPS: dict[str, tuple[str, ...]] = {
    "act": (),
    **dict.fromkeys(("stop", "consult", "keepDirectory", "runPlatform", "share"), ("act",)),
    **dict.fromkeys(
        (
            "issueGrant",
            "proposeGrant",
            "approveDemand",
            "approveSupply",
            "refuseGrant",
            "acceptNarrowed",
            "replyInstead",
        ),
        ("share", "act"),
    ),
    **dict.fromkeys(("suspend", "lift", "terminate", "order"), ("stop", "act")),
    **dict.fromkeys(
        ("consultGrants", "consultRecords", "exportRecords", "consultFigures", "consultPolicies", "readLog"),
        ("consult", "act"),
    ),
    **dict.fromkeys(
        (
            "submitEntry",
            "releaseEntry",
            "manageDepartments",
            "manageSystems",
            "manageInterfaces",
            "confirmHost",
            "manageOfficers",
        ),
        ("keepDirectory", "act"),
    ),
    **dict.fromkeys(("activatePolicies", "applyRetention", "manageKeys"), ("runPlatform", "act")),
    **dict.fromkeys(
        (
            "close",
            "dispose",
            "dispute",
            "settle",
            "reorganise",
            "fileRecords",
            "eraseTexts",
            "keepAccount",
            "consultWatching",
            "examineApplication",
            "superviseSharing",
            "requestVerification",
            "answerVerification",
            "proveRectification",
            "orderCorrection",
            "answerCorrection",
            "reportIncident",
            "examineIncident",
            "requestReturn",
            "answerReturn",
            "handleComplaint",
            "answerComplaint",
            "confirmDisposal",
        ),
        ("act",),
    ),
}
"""Each act of an officer and the groups it is in, as the schema states them; a test compares the two."""

ACT_ENTITIES = tuple(
    _entity("Action", action, {}, [_uid("Action", group) for group in groups]) for action, groups in ACT_GROUPS.items()
)
