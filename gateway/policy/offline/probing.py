"""Random calls and acts to try a policy on, made of what the policy speaks of and of plain values."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

import cedarpy
import msgspec

from gateway.domain.directory import Department, Level, SystemDates
from gateway.domain.officers import Act, Matter, Officer, Role
from gateway.domain.orders import Reach
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call
from gateway.policy.law.drawn import FACTS_BY_PATH, drawn_context
from gateway.policy.law.layers import Layers, StaticPolicy, est_document
from gateway.policy.law.words import WORDS
from gateway.policy.law.words import words as told_words
from gateway.policy.law.world import (
    ACT_ENTITIES,
    FACTS,
    USE_GROUPS,
    act_request,
    caller_entities,
    department_entity,
    facts_of,
    region_entities,
    slice_entities,
    use_request,
)
from gateway.policy.live.slices import build_policies
from gateway.policy.offline.tables import PLAIN, case_call

Json = dict[str, Any]


class Words(msgspec.Struct, frozen=True):
    """Values to probe with: plain ones and those a policy speaks of."""

    strings: tuple[str, ...]
    numbers: tuple[int, ...]
    entities: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, policy: StaticPolicy) -> "Words":
        """What `policy` speaks of."""
        strings: set[str] = set()
        numbers: set[int] = set()
        entities: dict[str, set[str]] = {}
        _collect(policy.est["conditions"], strings, numbers, entities)
        for scope in ("principal", "action", "resource"):
            _collect(policy.est[scope], strings, numbers, entities)
        return cls(
            tuple(sorted(strings)),
            tuple(sorted({near for number in numbers for near in (number - 1, number, number + 1) if near in _LONG})),
            {kind: tuple(sorted(names)) for kind, names in entities.items()},
        )

    def pick(self, chance: random.Random, kind: str, *plain: str) -> str:
        """An entity id of `kind`: one the policy names half the time, if it names any."""
        named = self.entities.get(kind, ())
        return chance.choice(named) if named and chance.random() < 0.5 else chance.choice(plain)

    def word(self, chance: random.Random, *plain: str) -> str:
        """A string the policy names, or a plain one."""
        return chance.choice((*plain, *self.strings))

    def words(self, chance: random.Random, *plain: str) -> list[str]:
        """Some of the strings the policy names and the plain ones."""
        known = sorted({*plain, *self.strings})
        return chance.sample(known, chance.randint(0, len(known)))

    def number(self, chance: random.Random, *plain: int) -> int:
        """A number at, just below or just above one that the policy names, or a plain one."""
        return chance.choice((*plain, *self.numbers))


_LONG = range(-(1 << 63), 1 << 63)
"""What Cedar has numbers for."""


def _collect(node: Any, strings: set[str], numbers: set[int], entities: dict[str, set[str]]) -> None:
    if isinstance(node, list):
        for part in node:
            _collect(part, strings, numbers, entities)
    elif isinstance(node, dict):
        if isinstance(node.get("type"), str) and isinstance(node.get("id"), str):
            entities.setdefault(node["type"], set()).add(node["id"])
            return
        literal = node.get("Value")
        if isinstance(literal, bool):
            return
        if isinstance(literal, str):
            strings.add(literal)
        elif isinstance(literal, int):
            numbers.add(literal)
        for part in node.values():
            _collect(part, strings, numbers, entities)


def use_probe(chance: random.Random, words: Words, *, knows_words: bool = True) -> tuple[Json, cedarpy.Entities]:
    """A use whose facts are drawn at random; the grant, if any, mostly fits.

    Args:
        chance: draws.
        words: what it is drawn from.
        knows_words: whether the schema has the closed lists as types (`policy.law.words`).
    """
    home = words.pick(chance, "Department", "demand", "supply")
    supplier = words.pick(chance, "Department", "supply")
    name = words.pick(chance, "Dataset", "dataset")
    mode = chance.choice([action for action in words.entities.get("Action", ()) if action in _MODES] or _MODES)
    region = words.pick(chance, "Region", "442000", "110000")
    purpose, items = words.word(chance, "purpose", ""), words.words(chance, "item")
    facts: Json = {
        "now": "2026-03-02T12:00:00+08:00",
        "department": {
            "id": home,
            "name": "",
            "region": region,
            "level": words.pick(chance, "Level", "city"),
            "matters": chance.choice([[purpose], []]),
            "succeeds": chance.choice([[], [], ["former"]]),
        },
        "supplier": {
            "id": supplier,
            "name": "",
            "region": chance.choice([region, words.pick(chance, "Region", "442000", "110000")]),
            "level": words.pick(chance, "Level", "city"),
        },
        "dataset": {
            "id": name,
            "code": name,
            "name": "",
            "supplier": supplier,
            "items": [{"name": item, "sensitive": chance.random() < 0.5} for item in items],
            "sharing_attribute": chance.choice(WORDS["SharingAttribute"]),
            "sharing_modes": [chance.choice(["query", "batch", "download"])],
            "purposes": words.words(chance, "purpose"),
            "recipients": _recipient_facts(chance, words, home, region, purpose),
            "update_cycle": "day",
            "format": "json",
            "grade": chance.choice([1, 2, 3, 4, 9]),
            "classification": words.pick(chance, "Classification", "general", "unknown"),
            "state": words.pick(chance, "EntryState", "released", "released", "withdrawn"),
        },
        "interface": {
            "id": "interface",
            "supplier": supplier,
            "dataset": name,
            "upstream": "",
            "modes": chance.choice([[mode], ["query"], _MODES]),
        },
        "grants": [],
        "call": {
            "system": words.pick(chance, "System", "system"),
            "department": chance.choice([home, home, home, "other"]),
            "assurance": chance.choice(["legacy", "bearer", "dpop", "mtls"]),
            "interface": f"{supplier}/interface",
            "dataset": name,
            "mode": mode,
            "purpose": purpose,
            "items": chance.choice([items, items[:1]]),
            "parameters": [[words.word(chance, "region"), words.word(chance, "442000")]],
            "unread": words.words(chance, "body", "path"),
            "declared": words.words(chance, "operator", "scenario", "subject", "other", "keeper"),
            "guessable": chance.choice([[], items]),
            "subjects": words.number(chance, 0, 1),
            "dates": {name: words.number(chance, 0, 1_700_000_000, 1_900_000_000) for name in _DATES},
        },
    }
    named = sorted({name, *words.entities.get("Dataset", ())})
    grant = words.pick(chance, "Grant", "grant") if chance.random() < 0.7 else None
    if grant is not None:
        facts["grants"] = [_grant_facts(chance, words, grant, facts, named)]
    state, call, now = case_call(facts)
    drawn = {path: frozenset(chance.sample(named, chance.randint(0, len(named)))) for path in FACTS_BY_PATH}
    asked, moment = call.items or (), words.number(chance, now)
    request = use_request(call, moment, asked, grant, drawn_context(drawn), knows_words=knows_words)
    context = msgspec.json.decode(request["context"])
    context["minuteOfDay"] = words.number(chance, context["minuteOfDay"])
    context["itemsAsked"] = words.number(chance, context["itemsAsked"])
    context["calendar"] = {
        "workday": chance.random() < 0.5,
        "holiday": chance.random() < 0.5,
        "weekday": words.number(chance, 1, 7),
    }
    context["decision"] = chance.choice([context["decision"], ""])
    request["context"] = msgspec.json.encode(context).decode()
    told = slice_entities(state, facts_of(FACTS, knows_words=knows_words))
    for entity in told:
        if "stops" in entity["attrs"]:
            entity["attrs"]["stops"] = words.number(chance, 0, 1)
    entities = cedarpy.Entities.from_json_str(msgspec.json.encode(told).decode())
    return request, entities.with_added_json_str(caller_entities(call))


def _recipient_facts(chance: random.Random, words: Words, home: str, region: str, purpose: str) -> Json:
    """Who may have the data: mostly everybody, or whoever asks."""
    return {
        "departments": chance.choice([[], [], [home], ["former"], ["other"]]),
        "levels": chance.choice([[], [], [words.pick(chance, "Level", "city")], ["national"]]),
        "regions": chance.choice([[], [], [region], ["440000"], ["110000"]]),
        "matters": chance.choice([[], [], [purpose], ["other"]]),
    }


def _grant_facts(chance: random.Random, words: Words, name: str, facts: Json, named: list[str]) -> Json:
    call, approval = facts["call"], {"person": "", "at": "2026-01-01T00:00:00Z"}
    return {
        "id": name,
        "department": chance.choice([call["department"], "other"]),
        "dataset": chance.choice([call["dataset"], "other"]),
        "items": chance.choice([call["items"], words.words(chance, "item")]),
        "purposes": chance.choice([[call["purpose"]], words.words(chance, "purpose")]),
        "modes": chance.choice([[call["mode"]], ["query"]]),
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2027-01-01T00:00:00Z",
        "legal_basis": "",
        "scenario": "",
        "scope_of_use": "",
        "demand_approval": approval,
        "supply_approval": approval,
        "combination": chance.sample([*named, "other"], chance.randint(0, len(named) + 1)),
        "return_flow": chance.random() < 0.3,
        "state": chance.choice(["issued", "issued", *WORDS["GrantState"]]),
    }


def act_probe(chance: random.Random, words: Words, *, knows_words: bool = True) -> tuple[Json, cedarpy.Entities]:
    """An officer's act whose facts are drawn at random; the officer's own department is mostly concerned."""
    told = _roles if knows_words else list
    home = words.pick(chance, "Department", "supply", "demand")
    acts = [action for action in words.entities.get("Action", ()) if action in _ACTS] or _ACTS
    regions = [words.pick(chance, "Region", "442000", "440000", "000000", "110000") for _ in range(3)]
    about: Json = {}
    for name, kind, value in (
        ("supplier", "Department", chance.choice([home, "supply"])),
        ("demand", "Department", chance.choice([home, "demand"])),
        ("region", "Region", chance.choice(regions)),
        ("demandRegion", "Region", chance.choice(regions)),
        ("dataset", "Dataset", words.pick(chance, "Dataset", "dataset")),
    ):
        if chance.random() < 0.7:
            about[name] = {"__entity": {"type": kind, "id": value}}
    for name in ("proposedBy", "approvedBy", "suppliedBy"):
        if chance.random() < 0.5:
            about[name] = {"__entity": {"type": "Officer", "id": chance.choice(["officer", "another"])}}
    if chance.random() < 0.5:
        about["whole"] = {"__entity": {"type": "Region", "id": chance.choice(regions)}}
        about["widens"] = chance.random() < 0.5
    if chance.random() < 0.5:
        about["layer"] = words.word(chance, "layer")
    if chance.random() < 0.5:
        about["validDays"] = words.number(chance, 365, 36_500)
    if chance.random() < 0.5:
        about["person"] = {"__entity": {"type": "Officer", "id": chance.choice(["officer", "another", "another"])}}
        about["roles"] = told(chance.sample(WORDS["Role"], chance.choice([1, 1, 1, 2])))
    officer = {
        "department": {"__entity": {"type": "Department", "id": home}},
        "region": {"__entity": {"type": "Region", "id": regions[0]}},
        "roles": told(chance.sample(WORDS["Role"], chance.choice([1, 1, 1, 2]))),
        "active": chance.random() < 0.9,
    }
    level = Level(words.pick(chance, "Level", "city"))
    office = Department(home, "", chance.choice([regions[0], *regions]), level, competent=chance.random() < 0.5)
    entities = [
        {"uid": {"type": "Officer", "id": "officer"}, "attrs": officer, "parents": []},
        {"uid": {"type": "Matter", "id": "matter"}, "attrs": about, "parents": []},
        department_entity(office, knows_words=knows_words),
        *region_entities(regions),
        *ACT_ENTITIES,
    ]
    request = {
        "principal": {"type": "Officer", "id": "officer"},
        "action": {"type": "Action", "id": chance.choice(acts)},
        "resource": {"type": "Matter", "id": "matter"},
        "context": msgspec.json.encode(
            {"now": words.number(chance, 1_772_424_000), "longestDays": words.number(chance, 365)}
        ).decode(),
    }
    return request, cedarpy.Entities.from_json_str(msgspec.json.encode(entities).decode())


def _roles(names: Iterable[str]) -> list[Any]:
    return told_words("Role", names)


_DATES = SystemDates.__struct_fields__
_MODES = [str(action) for action in USE_GROUPS if action not in ("use", "obtain")]
_ACTS = [act.value for act in Act]


def _every_shape() -> tuple[SliceState, Call, int]:
    """A call under a grant with every condition, with an order of every reach in force."""
    grant = {
        **PLAIN["grant"],
        "systems": ["marriage-desk"],
        "interfaces": ["people"],
        "hours": {"start_minute": 0, "end_minute": 1440},
        "parameters": {"region": ["442000"]},
        "assurance": "dpop",
        "combination": ["household"],
    }
    facts: Json = {
        **PLAIN,
        "dataset": {**PLAIN["dataset"], "sharing_modes": ["query"], "purposes": ["marriage-registration"]},
        "grants": [grant],
        "orders": [{**PLAIN["order"], "id": reach, "reach": reach, "supplier": "police"} for reach in Reach],
        "call": {**PLAIN["call"], "parameters": [["region", "442000"]]},
    }
    return case_call(facts)


def built_of_every_shape() -> dict[str, Json]:
    """The policies built from it, one of each shape that there is."""
    return build_policies(_every_shape()[0])[0]


def _fitting(request: Json, entities: str, facts: Mapping[str, frozenset[str]]) -> tuple[Json, str]:
    """Both without what the schema of an older gateway does not have: its policies ask for nothing of it."""
    known = facts["Use" if request["resource"]["type"] == "Interface" else "Acting"]
    context = {name: value for name, value in msgspec.json.decode(request["context"]).items() if name in known}
    told = [
        {**one, "attrs": {name: of for name, of in one["attrs"].items() if name in facts.get(one["uid"]["type"], ())}}
        for one in msgspec.json.decode(entities)
    ]
    return {**request, "context": msgspec.json.encode(context).decode()}, msgspec.json.encode(told).decode()


def schema_faults(layers: Layers) -> list[str]:
    """What of the policies, entities and requests that the gateway itself makes does not fit the layers' schema.

    Whatever stands in identifiers and values, they all have the shape of these few: what fits these fits all.
    """
    state, call, now = _every_shape()
    built, _ = build_policies(state)
    officer = Officer("officer", "police", "442000", (Role.SUPPLIER,))
    matter = Matter("police", "civil-affairs", "442000", "household", "442000", "another", (Role.DEMAND,))
    drawn = drawn_context({}, in_circles=layers.knows_circles)
    knows = layers.knows_words
    asked = use_request(call, now, ["name"], "G1", drawn, knows_words=knows)
    acted, about = act_request(officer, Act.SUSPEND.value, matter, now, knows_words=knows)
    facts = facts_of(FACTS, knows_words=knows)
    of_use = msgspec.json.encode([*slice_entities(state, facts), *msgspec.json.decode(caller_entities(call))]).decode()
    faults = layers.faults_of(built)
    nothing = cedarpy.PolicySet.from_json_str(est_document({}))
    bare = use_request(call, now, ["name"], None, None, knows_words=knows)
    for each in ((asked, of_use), (bare, of_use), (acted, about)):
        request, entities = _fitting(*each, layers.schema_facts)
        try:
            known = cedarpy.Entities.from_json_str(entities, layers.schema)
            faults += map(str, cedarpy.is_authorized(request, nothing, known, layers.schema).diagnostics.errors)
        except ValueError as error:
            faults.append(str(error))
    return list(dict.fromkeys(faults))
