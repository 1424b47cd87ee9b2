"""A counterexample, as `cedar` prints it, told as a case that people read and as a row of a decision table."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import cedarpy
import msgspec

from gateway.domain.calendar import day_facts
from gateway.domain.conditions import MINUTES_OF_A_DAY

_HEAD = re.compile(r"principal: (.*), action: (Action::\".*\"), resource: (.*)")
_ENTITY = re.compile(r"  (\w+::\"(?:[^\"\\]|\\.)*\")(?: in \[(.*)\])?( \{|,)")
_UID = re.compile(r"(\w+)::\"((?:[^\"\\]|\\.)*)\"")


class Counterexample(msgspec.Struct, frozen=True):
    """A request and the world it is made in, for which a claim fails.

    Args:
        principal: as `Type::"id"`.
        action: the action's name.
        resource: as `Type::"id"`.
        context: by name; an entity is `Type::"id"`.
        entities: `Type::"id"` -> its attributes, and `in` with what it lies in.
    """

    principal: str
    action: str
    resource: str
    context: dict[str, Any]
    entities: dict[str, dict[str, Any]]

    def of(self, name: Any, *path: str) -> Any:
        """The attribute that a path leads to from an entity, None where it leads nowhere."""
        value = name
        for step in path:
            value = self.entities.get(str(value), {}).get(step)
        return value


def parse_counterexample(text: str) -> Counterexample:
    """Read what `cedar symcc` prints.

    Raises:
        ValueError: if it is of another form.
    """
    lines = iter(text.splitlines())
    head = _HEAD.fullmatch(next(lines, "").strip())
    if head is None:
        raise ValueError("does not begin with principal, action and resource")
    context: dict[str, Any] = {}
    entities: dict[str, dict[str, Any]] = {}
    of: dict[str, Any] = {}
    for line in lines:
        if line.startswith("context: "):
            context = _value(line.removeprefix("context: "))
        elif (found := _ENTITY.fullmatch(line)) is not None:
            of = entities[found[1]] = {"in": [match[0] for match in _UID.finditer(found[2] or "")]}
        elif line.startswith("    "):
            name, _, value = line.strip().rstrip(",").partition(": ")
            of[name] = _value(value)
    principal, action, resource = head.groups()
    return Counterexample(principal, action.removeprefix('Action::"').removesuffix('"'), resource, context, entities)


def _value(text: str) -> Any:
    """A value that Cedar prints is an expression of Cedar, so Cedar parses it."""
    try:
        document = msgspec.json.decode(
            cedarpy.policies_to_json_str(f"permit (principal, action, resource) when {{ {text} }};")
        )
    except ValueError:
        return text
    (policy,) = document["staticPolicies"].values()
    return _plain(policy["conditions"][0]["body"])


def _plain(node: Any) -> Any:
    if "Value" in node:
        value = node["Value"]
        if isinstance(value, dict) and "__entity" in value:
            return f'{value["__entity"]["type"]}::"{value["__entity"]["id"]}"'
        return value
    if "Set" in node:
        return [_plain(each) for each in node["Set"]]
    if "Record" in node:
        return {name: _plain(each) for name, each in node["Record"].items()}
    if "neg" in node:
        return -_plain(node["neg"]["arg"])
    return str(node)


def told(found: Counterexample, *, chinese: bool = False) -> list[str]:
    """The case in lines for people: who, from where, under which grant in which state, asks what."""
    lines = _use_lines(found) if found.principal.startswith("System::") else _act_lines(found)
    return [zh if chinese else en for en, zh in lines]


def _use_lines(found: Counterexample) -> Iterator[tuple[str, str]]:
    home, dataset = found.of(found.principal, "department"), found.of(found.resource, "dataset")
    supplier, context = found.of(dataset, "supplier"), found.context
    yield (
        f"system {id_of(found.principal)} of department {id_of(home)} in region {id_of(found.of(home, 'region'))}",
        f"部门 {id_of(home)}（区域 {id_of(found.of(home, 'region'))}）的系统 {id_of(found.principal)}",
    )
    items = _listed(context.get("items"))
    yield (
        (
            f"asks by `{found.action}` (the call says {id_of(context.get('mode'))}) for the items {items}, for the "
            f"purpose `{context.get('purpose')}`, with a credential of assurance {context.get('assurance')}"
        ),
        (
            f"以 `{found.action}` 方式（请求写明 {id_of(context.get('mode'))}）请求数据项 {items}，目的 "
            f"`{context.get('purpose')}`，凭证等级 {context.get('assurance')}"
        ),
    )
    of = {name: id_of(found.of(dataset, name)) for name in ("attribute", "classification", "grade", "state")}
    yield (
        (
            f"of dataset {id_of(dataset)} of supplier {id_of(supplier)} in region "
            f"{id_of(found.of(supplier, 'region'))}: "
            f"{of['attribute']}, class {of['classification']}, grade {of['grade']}, {of['state']}"
        ),
        (
            f"数据集 {id_of(dataset)}，提供部门 {id_of(supplier)}（区域 {id_of(found.of(supplier, 'region'))}）："
            f"{of['attribute']}，类别 {of['classification']}，等级 {of['grade']}，{of['state']}"
        ),
    )
    if isinstance(day := context.get("calendar"), dict):
        known = [(en, zh) for name, en, zh in _DAYS if day.get(name) is True]
        names = known or [("day of rest", "休息日")]
        yield (
            f"on a {', '.join(en for en, _ in names)}, day {day.get('weekday')} of the week",
            f"{'、'.join(zh for _, zh in names)}，星期序号 {day.get('weekday')}",
        )
    grant = context.get("grant")
    if grant is None:
        yield "under no grant", "无授权"
        return
    held = {name: id_of(found.of(grant, name)) for name in ("state", "department", "dataset")}
    lists = {name: _listed(found.of(grant, name)) for name in ("items", "purposes", "modes")}
    yield (
        (
            f"under grant {id_of(grant)}, which is {held['state']}, for department {held['department']} and dataset "
            f"{held['dataset']}: items {lists['items']}, purposes {lists['purposes']}, modes {lists['modes']}"
        ),
        (
            f"依据授权 {id_of(grant)}（{held['state']}），部门 {held['department']}，数据集 {held['dataset']}："
            f"数据项 {lists['items']}，目的 {lists['purposes']}，方式 {lists['modes']}"
        ),
    )


_DAYS = (("workday", "working day", "工作日"), ("holiday", "holiday", "节假日"))


def _act_lines(found: Counterexample) -> Iterator[tuple[str, str]]:
    home = found.of(found.principal, "department")
    roles, region = _listed(found.of(found.principal, "roles")), id_of(found.of(found.principal, "region"))
    is_active, is_competent = found.of(found.principal, "active"), found.of(home, "competent")
    yield (
        f"officer {id_of(found.principal)} in the roles {roles}, region {region}, {'' if is_active else 'not '}active",
        f"人员 {id_of(found.principal)}，角色 {roles}，区域 {region}，{'在职' if is_active else '已停用'}",
    )
    yield (
        (
            f"of department {id_of(home)} in region {id_of(found.of(home, 'region'))}, "
            f"{'a' if is_competent else 'no'} competent department"
        ),
        f"所属部门 {id_of(home)}（区域 {id_of(found.of(home, 'region'))}），{'是' if is_competent else '不是'}主管部门",
    )
    matter = found.entities.get(found.resource, {})
    about = ", ".join(f"{name} {_said(value)}" for name, value in sorted(matter.items()) if name != "in") or "-"
    yield f"does `{found.action}` about: {about}", f"作出 `{found.action}`，事项：{about}"


def table_row(found: Counterexample, name: str) -> dict[str, Any]:
    """The case as a row for a decision table, to be denied; what a table has no field for is left out."""
    if found.principal.startswith("System::"):
        return {"case": name, **_use_row(found), "expect": "not-granted"}
    return {"case": name, **_act_row(found), "expect": "act-not-permitted"}


def _use_row(found: Counterexample) -> dict[str, Any]:
    home, dataset = found.of(found.principal, "department"), found.of(found.resource, "dataset")
    supplier, context, grant = found.of(dataset, "supplier"), found.context, found.context.get("grant")
    grade = id_of(found.of(dataset, "grade"))
    items = [{"name": item} for item in dict.fromkeys([*_list(found, dataset, "items"), *_many(context, "items")])]
    row: dict[str, Any] = {
        "department": {
            "id": id_of(home),
            "region": id_of(found.of(home, "region")),
            "matters": _list(found, home, "matters"),
            **({"level": id_of(level)} if (level := found.of(home, "level")) is not None else {}),
            **({"succeeds": was} if (was := _list(found, home, "succeeds")) else {}),
        },
        "supplier": {"id": id_of(supplier), "region": id_of(found.of(supplier, "region"))},
        "dataset": {
            "id": id_of(dataset),
            "supplier": id_of(supplier),
            "sharing_attribute": id_of(found.of(dataset, "attribute")),
            "classification": id_of(found.of(dataset, "classification")),
            "grade": int(grade) if grade.isdigit() else 9,
            "state": id_of(found.of(dataset, "state")),
            "items": items,
            **({"recipients": bounds} if (bounds := _bounds(found, dataset)) else {}),
        },
        "interface": {
            "id": "people",
            "supplier": id_of(supplier),
            "dataset": id_of(dataset),
            "modes": _list(found, found.resource, "modes"),
        },
        "call": {
            "system": id_of(found.principal),
            "department": id_of(home),
            "assurance": ("legacy", "bearer", "dpop", "mtls")[min(3, max(0, int(context.get("assurance", 0))))],
            "interface": f"{id_of(supplier)}/people",
            "dataset": id_of(dataset),
            "mode": found.action,
            "purpose": context.get("purpose", ""),
            "items": _many(context, "items"),
            "unread": _many(context, "unread"),
            "declared": _many(context, "declared"),
            "guessable": _many(context, "guessable"),
            **({"subjects": context["subjects"]} if "subjects" in context else {}),
            **({"dates": dates} if (dates := _dates(found)) else {}),
        },
        "grant": None,
    }
    if (day := day_like(context.get("calendar"))) is not None:
        row["now"] = f"{day.isoformat()}T{_time(context)}+08:00"
    if "decision" in context:
        row["settled"] = {"decision": context["decision"]}
    if grant is not None:
        row["grant"] = {
            "id": id_of(grant),
            "department": id_of(found.of(grant, "department")),
            "dataset": id_of(found.of(grant, "dataset")),
            "items": _list(found, grant, "items"),
            "purposes": _list(found, grant, "purposes"),
            "modes": _list(found, grant, "modes"),
            "state": id_of(found.of(grant, "state")),
            "combination": _list(found, grant, "combination"),
            "return_flow": bool(found.of(grant, "returnFlow")),
        }
    return row


def day_like(calendar: Any, first: date = date(2026, 3, 2)) -> date | None:
    """The first day from `first` on of which the calendar says the same; None where it says that of none it knows."""
    day = first
    while isinstance(calendar, dict) and (facts := day_facts(day)) is not None:
        if msgspec.structs.asdict(facts) == calendar:
            return day
        day += timedelta(days=1)
    return None


def _dates(found: Counterexample) -> dict[str, Any]:
    """The system's dates, where the case has them."""
    names = (("registered", "registered"), ("certified", "certified"), ("certifiedUntil", "certified_until"))
    return {field: value for name, field in names if (value := found.of(found.principal, name)) is not None}


def _time(context: dict[str, Any]) -> str:
    minute = context.get("minuteOfDay", 720) % MINUTES_OF_A_DAY
    return f"{minute // 60:02}:{minute % 60:02}:00"


def _bounds(found: Counterexample, dataset: Any) -> dict[str, list[str]]:
    """Who may have the data, as far as it is bounded."""
    named = {
        field: _list(found, dataset, f"recipient{field.capitalize()}")
        for field in ("departments", "levels", "regions", "matters")
    }
    return {field: names for field, names in named.items() if names}


def _act_row(found: Counterexample) -> dict[str, Any]:
    officer, home = found.entities.get(found.principal, {}), found.of(found.principal, "department")
    matter = found.entities.get(found.resource, {})
    about: dict[str, Any] = {
        field: id_of(matter[name]) if name in matter else None
        for name, field in (
            ("supplier", "supplier"),
            ("demand", "demand"),
            ("region", "region"),
            ("demandRegion", "demand_region"),
            ("dataset", "dataset"),
            ("orderedBy", "ordered_by"),
            ("person", "person"),
            ("proposedBy", "proposed_by"),
            ("approvedBy", "approved_by"),
        )
    }
    if "roles" in matter:
        about["roles"] = [id_of(role) for role in matter["roles"]]
    for name, field in (("validDays", "valid_days"), ("layer", "layer"), ("widens", "widens")):
        if name in matter:
            about[field] = matter[name]
    if "whole" in matter:
        about["whole"] = id_of(matter["whole"])
    return {
        "officer": {
            "id": id_of(found.principal),
            "department": id_of(home),
            "region": id_of(officer.get("region")),
            "roles": [id_of(role) for role in officer.get("roles", ())],
            "active": bool(officer.get("active")),
        },
        "office": {"region": id_of(found.of(home, "region")), "competent": bool(found.of(home, "competent"))},
        "act": found.action,
        "matter": about,
        **({"settled": {"longest_grant_days": most}} if (most := found.context.get("longestDays")) is not None else {}),
    }


def id_of(name: Any) -> str:
    """The id of an entity; the solver's own names are short words."""
    match = _UID.fullmatch(name) if isinstance(name, str) else None
    return match[2] if match else str(name)


def _said(value: Any) -> str:
    return _listed(value) if isinstance(value, list) else id_of(value)


def _listed(values: Any) -> str:
    return f"[{', '.join(id_of(value) for value in values or ())}]"


def _many(of: dict[str, Any], name: str) -> list[Any]:
    return [id_of(value) for value in of.get(name) or ()]


def _list(found: Counterexample, entity: Any, name: str) -> list[str]:
    return [id_of(value) for value in found.of(entity, name) or ()]
