"""What the policies can see: directory, grants, regions and officers as Cedar entities, a call as a Cedar request."""

from collections.abc import Iterable
from typing import Any

import cedarpy
import msgspec

from gateway.domain.directory import Dataset, Department, Interface, SharingMode
from gateway.domain.grants import Grant
from gateway.domain.officers import Matter, Officer
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call
from gateway.policy.time_limits import minute_of_day

Entity = dict[str, Any]

NATION = "000000"

USE_GROUPS: dict[str, tuple[str, ...]] = {
    "use": (),
    "obtain": ("use",),
    SharingMode.QUERY: ("obtain", "use"),
    SharingMode.BATCH: ("obtain", "use"),
    SharingMode.DOWNLOAD: ("obtain", "use"),
    SharingMode.VERIFY: ("use",),
}
"""Each action of a use and the groups it is in, as the schema states them; a test compares the two."""


def slice_entities(state: SliceState, attributes: frozenset[str] | None = None) -> list[Entity]:
    """The entities of one department and one dataset: everything a use can touch but its caller's.

    Args:
        state: must have a department, a supplier and a dataset.
        attributes: those that any policy names; others decide nothing and are left out, for they cost time to parse
            (a dataset's items above all). None keeps every one.
    """
    assert state.department is not None
    assert state.supplier is not None
    assert state.dataset is not None
    departments = {department.id: department for department in (state.supplier, *state.ancestors, state.department)}
    things = [
        *(_department(department) for department in departments.values()),
        _dataset(state.dataset),
        *(_interface(interface) for interface in state.interfaces),
        *(_grant(grant) for grant in state.grants),
    ]
    if attributes is not None:
        for thing in things:
            thing["attrs"] = {name: value for name, value in thing["attrs"].items() if name in attributes}
    return [*things, *region_entities(department.region for department in departments.values())]


def caller_entities(call: Call) -> str:
    """The calling system and the call's action, as a JSON document to add to the entities of its slice."""
    groups = [_uid("Action", group) for group in USE_GROUPS[call.mode]]
    action = _entity("Action", call.mode.value, {}, groups)
    return _json([system_entity(call.system, call.department), action])


def system_entity(system: str, department: str) -> Entity:
    """A demand department's system."""
    home = _uid("Department", department)
    return _entity("System", system, {"department": {"__entity": home}}, [home])


def region_entities(codes: Iterable[str]) -> list[Entity]:
    """The regions named by `codes`, each with all that it lies in: what is named needs no entity of its own."""
    return [
        _entity("Region", code, {}, [_uid("Region", wider) for wider in region_chain(code)[1:]])
        for code in dict.fromkeys(codes)
    ]


def region_chain(code: str) -> list[str]:
    """A division code and the codes of what it lies in, narrowest first: 442000, 440000, 000000.

    A code that is not six digits lies in the nation and in nothing else.
    """
    chain = [code]
    if len(code) == 6 and code.isascii() and code.isdigit():
        for kept in (4, 2):
            wider = code[:kept] + "0" * (6 - kept)
            if wider not in (chain[-1], NATION):
                chain.append(wider)
    if code != NATION:
        chain.append(NATION)
    return chain


def use_request(call: Call, now_unix: int, items: Iterable[str], grant: str | None, drawn: str | None) -> Entity:
    """The Cedar request of a call, made under `grant` or under none.

    Args:
        call: the call.
        now_unix: the second it is decided at.
        items: the items asked for, or those a grant gives where the call names none.
        grant: the id of the grant the use would be made under.
        drawn: `context.drawn` as JSON, where a convergence rule needs it.
    """
    names = [name for name, _ in call.parameters]
    context: dict[str, Any] = {
        "mode": call.mode.value,
        "purpose": call.purpose,
        "items": list(items),
        "assurance": call.assurance.rank,
        "now": now_unix,
        "minuteOfDay": minute_of_day(now_unix),
        # A parameter that stands twice is no parameter at all: which one the supplier reads is not known.
        "parameters": [{"name": name, "value": value} for name, value in call.parameters if names.count(name) == 1],
    }
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


def drawn_context(drawn: dict[str, frozenset[str]]) -> str:
    """`context.drawn`: what was drawn in each period, as JSON; periods not asked for are empty."""
    periods = {"day": (), "week": (), "month": (), "quarter": (), "year": (), **drawn}
    return _json({period: [_reference("Dataset", name) for name in sorted(of)] for period, of in periods.items()})


def act_request(officer: Officer, act: str, matter: Matter, now_unix: int) -> tuple[Entity, str]:
    """The Cedar request of an officer's act, and its entities as JSON."""
    regions = [officer.region, *(code for code in (matter.region, matter.demand_region) if code is not None)]
    about: dict[str, Any] = {
        name: _reference(kind, value)
        for name, kind, value in (
            ("supplier", "Department", matter.supplier),
            ("demand", "Department", matter.demand),
            ("region", "Region", matter.region),
            ("demandRegion", "Region", matter.demand_region),
            ("dataset", "Dataset", matter.dataset),
        )
        if value is not None
    }
    person = {
        "department": _reference("Department", officer.department),
        "region": _reference("Region", officer.region),
        "roles": [role.value for role in officer.roles],
        "active": officer.active,
    }
    entities = [
        _entity("Officer", officer.id, person),
        _entity("Matter", "matter", about),
        *region_entities(regions),
        *ACT_ENTITIES,
    ]
    request = {
        "principal": _uid("Officer", officer.id),
        "action": _uid("Action", act),
        "resource": _uid("Matter", "matter"),
        "context": _json({"now": now_unix}),
    }
    return request, _json(entities)


def parse_entities(entities: Iterable[Entity]) -> cedarpy.Entities:
    """Parse entities; where that takes long, other threads run meanwhile."""
    document = _json(list(entities))
    return cedarpy.Entities.from_json_str(document, release_gil=takes_long(document))


def takes_long(document: str) -> bool:
    """Whether parsing `document` would keep other threads waiting for more than about half a millisecond.

    A short parse keeps the interpreter: to get it back from a busy event loop costs a whole switch interval (5 ms by
    default), which is longer than the parse. See `tests/bench/policy_scale.py`, stalls.
    """
    return len(document) > LONG_DOCUMENT


LONG_DOCUMENT = 8_192


def _department(department: Department) -> Entity:
    parents = [] if department.parent is None else [_uid("Department", department.parent)]
    facts = {
        "region": _reference("Region", department.region),
        "level": department.level.value,
        "competent": department.competent,
    }
    return _entity("Department", department.id, facts, parents)


def _dataset(dataset: Dataset) -> Entity:
    facts = {
        "supplier": _reference("Department", dataset.supplier),
        "attribute": dataset.sharing_attribute.value,
        "classification": dataset.classification,
        "grade": dataset.grade,
        "items": [item.name for item in dataset.items],
        "sensitive": [item.name for item in dataset.items if item.sensitive],
        "purposes": list(dataset.purposes),
        "modes": [mode.value for mode in dataset.sharing_modes],
        "state": dataset.state.value,
    }
    return _entity("Dataset", dataset.id, facts)


def _interface(interface: Interface) -> Entity:
    home = _uid("Dataset", interface.dataset)
    facts = {"dataset": {"__entity": home}, "modes": [mode.value for mode in interface.modes]}
    return _entity("Interface", interface.key, facts, [home])


def _grant(grant: Grant) -> Entity:
    facts = {
        "department": _reference("Department", grant.department),
        "dataset": _reference("Dataset", grant.dataset),
        "items": list(grant.items),
        "purposes": list(grant.purposes),
        "modes": [mode.value for mode in grant.modes],
        "state": grant.state.value,
        "combination": [_reference("Dataset", name) for name in grant.combination],
        "returnFlow": grant.return_flow,
    }
    return _entity("Grant", grant.id, facts)


def _entity(kind: str, name: str, attributes: Entity, parents: Iterable[Entity] = ()) -> Entity:
    return {"uid": _uid(kind, name), "attrs": attributes, "parents": list(parents)}


def _uid(kind: str, name: str) -> Entity:
    return {"type": kind, "id": name}


def _reference(kind: str, name: str) -> Entity:
    return {"__entity": _uid(kind, name)}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


ACT_GROUPS: dict[str, tuple[str, ...]] = {
    "act": (),
    **dict.fromkeys(("stop", "consult", "keepDirectory", "runPlatform"), ("act",)),
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
            "manageOfficers",
        ),
        ("keepDirectory", "act"),
    ),
    **dict.fromkeys(("activatePolicies", "applyRetention", "manageKeys"), ("runPlatform", "act")),
    **dict.fromkeys(("issueGrant", "close", "dispose", "dispute", "settle", "fileRecords"), ("act",)),
}
"""Each act of an officer and the groups it is in, as the schema states them; a test compares the two."""

ACT_ENTITIES = tuple(
    _entity("Action", action, {}, [_uid("Action", group) for group in groups]) for action, groups in ACT_GROUPS.items()
)
