"""Decision tables: cases of use and of officers' acts, readable beside the decree, run against the layers.

A table is a YAML file `policies/<layer>/tests/*.yaml`:

    about: Decree 809 Art. 14
    layers: [national]
    given:                      # what every case of the table shares; domain names of fields
      dataset: {sharing_attribute: conditional, grade: 2}
    cases:
      - case: non-shareable data is not obtained, whatever the grant
        dataset: {sharing_attribute: non-shareable}
        expect: {deny: non-shareable, by: [national-art14-non-shareable]}

A case changes only the fields it names; the rest is the table's `given`, and below it the plain case of this module:
a permitted query of one conditional dataset under one grant, at noon of 2 March 2026 in China. `grant: null` takes the
grant away; `grants: [...]` gives several; `orders: [...]` puts orders in force; `drawn: {month: [...]}` says what the
department has lately drawn, `drawn: {family: {month: [...]}, learnt: {line: {day: [...]}}}` what others did too, or had
compared; `settled: {decision: "", longest_grant_days: 365}` what the gateway's settings say. With `officer`, `act`
and `matter` a case is about an officer's act.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from gateway.domain.directory import Dataset, Department, Interface, System
from gateway.domain.errors import PROBLEMS, GatewayError
from gateway.domain.grants import Grant
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.orders import Order
from gateway.domain.policies import PolicySet
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call, Verdict
from gateway.policy.law.documents import Document, DocumentError
from gateway.policy.law.drawn import FACTS_BY_PATH, Drawn, completed
from gateway.policy.law.layers import TABLES_FOLDER, Layers, parse_layers
from gateway.policy.law.settled import EXAMINED, Settled
from gateway.policy.law.time_limits import unix_seconds
from gateway.policy.live.acts import decide_act
from gateway.policy.live.slices import Slice


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a case expects.

    Args:
        deny: the problem code of a denial; None for a permit.
        by: policies that must be among the determining ones.
        under: the grant a permit must be given under; "" is none; None does not matter.
        items: the items that must leave, or in verify mode may be compared; None does not matter.
        masks: item -> mask; None does not matter.
    """

    deny: str | None = None
    by: tuple[str, ...] = ()
    under: str | None = None
    items: tuple[str, ...] | None = None
    masks: dict[str, str] | None = None


class Case(msgspec.Struct, frozen=True):
    """One line of a table, ready to be decided.

    Args:
        table: the file, below the policies root.
        name: what the line says.
        expected: what it expects.
        facts: everything given, merged: domain fields by thing.
        number: which of the table's it is, from 0.
    """

    table: str
    name: str
    expected: Expected
    facts: dict[str, Any]
    number: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """How a case came out: `fault` is "" where it came out as expected."""

    case: Case
    verdict: Verdict | None
    fault: str


class Table(msgspec.Struct, frozen=True):
    """One file: the layers its cases are decided under, and the cases."""

    file: str
    about: str
    layers: tuple[str, ...]
    cases: tuple[Case, ...]


PLAIN: Mapping[str, Any] = {
    "now": "2026-03-02T12:00:00+08:00",
    "department": {
        "id": "civil-affairs",
        "name": "Civil Affairs Bureau",
        "region": "442000",
        "level": "city",
        "matters": ["marriage-registration"],
    },
    "supplier": {"id": "police", "name": "Public Security Bureau", "region": "442000", "level": "city"},
    "dataset": {
        "id": "household",
        "code": "household",
        "name": "household register",
        "supplier": "police",
        "items": [{"name": "name"}, {"name": "id_number", "sensitive": True}, {"name": "address"}],
        "sharing_attribute": "conditional",
        "sharing_modes": ["query", "batch", "download"],
        "update_cycle": "day",
        "format": "json",
        "grade": 2,
        "classification": "population",
        "state": "released",
    },
    "interface": {
        "id": "people",
        "supplier": "police",
        "dataset": "household",
        "upstream": "https://police.example",
        "modes": ["query", "verify", "batch", "download"],
    },
    "grant": {
        "id": "G1",
        "department": "civil-affairs",
        "dataset": "household",
        "items": ["name", "id_number"],
        "purposes": ["marriage-registration"],
        "modes": ["query"],
        "valid_from": "2026-01-01T00:00:00+08:00",
        "valid_until": "2027-01-01T00:00:00+08:00",
        "legal_basis": "Marriage Registration Regulations",
        "scenario": "marriage registration",
        "scope_of_use": "registration counter",
        "demand_approval": {"person": "Li", "at": "2025-12-01T09:00:00+08:00"},
        "supply_approval": {"person": "Wang", "at": "2025-12-08T09:00:00+08:00"},
    },
    "order": {
        "id": "O1",
        "kind": "suspension",
        "reach": "grant",
        "target": "G1",
        "reason": "use beyond the purpose",
        "ordered_by": "officer",
        "ordered_at": "2026-03-01T09:00:00+08:00",
    },
    "call": {
        "system": "marriage-desk",
        "department": "civil-affairs",
        "assurance": "dpop",
        "interface": "police/people",
        "dataset": "household",
        "mode": "query",
        "purpose": "marriage-registration",
        "items": ["name"],
        "declared": ["operator", "scenario", "subject"],
        "subjects": 1,
    },
    "system": {"registered_unix": 1_577_836_800},
    "officer": {"id": "officer", "department": "police", "region": "442000", "roles": ["supplier"]},
    "office": {"name": "", "level": "city", "competent": False},
    "matter": {
        "supplier": "police",
        "demand": "civil-affairs",
        "region": "442000",
        "demand_region": "442000",
        "dataset": "household",
    },
    "settled": msgspec.structs.asdict(EXAMINED),
}
"""The plain case: what holds where a table says nothing else."""


_THINGS = frozenset(PLAIN)
_FIELDS: Mapping[str, frozenset[str]] = {
    thing: frozenset(kind.__struct_encode_fields__)
    for thing, kind in {
        "department": Department,
        "supplier": Department,
        "office": Department,
        "dataset": Dataset,
        "interface": Interface,
        "grant": Grant,
        "order": Order,
        "call": Call,
        "system": System,
        "officer": Officer,
        "matter": Matter,
        "settled": Settled,
    }.items()
}
"""What a case may say of a thing: a name that is misspelt would test nothing."""
_OTHERS = frozenset({"grants", "orders", "drawn", "ancestors", "act", "case", "expect"})


def read_tables(policies: PolicySet) -> list[Table]:
    """Every table of the set's layers.

    Raises:
        GatewayError: `invalid-input`, naming the file and what is wrong with it.
    """
    return [
        _read_table(name, policies.files[name])
        for layer in policies.layers
        for name in sorted(policies.files)
        if re.fullmatch(rf"{re.escape(layer)}/{TABLES_FOLDER}/[^/]+\.yaml", name)
    ]


def run_tables(policies: PolicySet, tables: list[Table], loaded: Layers | None = None) -> Iterator[Outcome]:
    """Decide every case of every table, under the layers the table names.

    Args:
        policies: the set that the tables are of.
        tables: the tables.
        loaded: used where a table's layers are these, so that they are not parsed twice.

    Raises:
        GatewayError: `invalid-input`, if a table names layers that are not in the set, or that do not load.
    """
    known = {} if loaded is None else {loaded.names: loaded}
    for table in tables:
        layers = known.get(table.layers)
        if layers is None:
            layers = known[table.layers] = parse_layers(policies.files, table.layers)
        for case in table.cases:
            yield run_case(layers, case)


def run_case(layers: Layers, case: Case) -> Outcome:
    """Decide one case."""
    try:
        verdict = _decide(layers, case.facts)
    except (msgspec.ValidationError, GatewayError) as error:
        return Outcome(case, None, f"cannot be put to the policies: {error}")
    return Outcome(case, verdict, _difference(case.expected, verdict))


def case_call(facts: Mapping[str, Any]) -> tuple[SliceState, Call, int]:
    """The state, the call and the second of a case about a use."""
    now = msgspec.convert(facts["now"], datetime)
    department = msgspec.convert(facts["department"], Department)
    dataset = msgspec.convert(facts["dataset"], Dataset)
    state = SliceState(
        sequence=0,
        department=department,
        ancestors=msgspec.convert(facts.get("ancestors", []), tuple[Department, ...]),
        supplier=msgspec.convert(facts["supplier"], Department),
        dataset=dataset,
        interfaces=(msgspec.convert(facts["interface"], Interface),),
        grants=msgspec.convert(facts["grants"], tuple[Grant, ...]),
        orders=msgspec.convert(facts.get("orders", []), tuple[Order, ...]),
    )
    call = msgspec.convert(facts["call"], Call)
    system = {"id": call.system, "department": call.department, "name": "", **facts.get("system", {})}
    if call.dates is None:
        call = msgspec.structs.replace(call, dates=msgspec.convert(system, System).dates)
    return state, call, unix_seconds(now)


def case_drawn(facts: Mapping[str, Any], call: Call) -> Drawn:
    """What a case says was lately drawn, with what it asks for now, counted wherever it counts; {} if it is silent."""
    said = facts.get("drawn", {})
    return completed(dict(_drawn_paths(said)), call.dataset) if said else {}


def _drawn_paths(said: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, list[str]]]:
    """Path of `context.drawn` -> datasets, from a case's nested periods.

    Raises:
        ValueError: if it names what there is not.
    """
    for name, of in said.items():
        if isinstance(of, dict):
            yield from _drawn_paths(of, f"{before}{name}.")
        elif (
            f"{before}{name}" not in FACTS_BY_PATH
            or not isinstance(of, list)
            or not all(isinstance(each, str) for each in of)
        ):
            raise ValueError(f"`drawn: {before}{name}`")
        else:
            yield f"{before}{name}", of


def settled_as(layers: Layers, facts: Mapping[str, Any]) -> Layers:
    """The layers, where the settings say what a case gives."""
    layers = copy.copy(layers)
    layers.settled = msgspec.convert(facts["settled"], Settled)
    return layers


def _decide(layers: Layers, facts: Mapping[str, Any]) -> Verdict:
    layers = settled_as(layers, facts)
    if "act" in facts:
        now = unix_seconds(msgspec.convert(facts["now"], datetime))
        officer = msgspec.convert(facts["officer"], Officer)
        home = msgspec.convert({"id": officer.department, "region": officer.region, **facts["office"]}, Department)
        return decide_act(layers, officer, Act(facts["act"]), msgspec.convert(facts["matter"], Matter), now, home)
    state, call, now = case_call(facts)
    return Slice(layers, state).evaluate(call, now, case_drawn(facts, call))


def _difference(expected: Expected, verdict: Verdict) -> str:
    """What of `verdict` is not as expected, "" if nothing."""
    if verdict.code != (expected.deny or ""):
        by = list(verdict.policies) or "no policy: none permits it, or one is in error"
        return f"expected {_said(expected.deny)}, got {_said(verdict.code or None)} by {by}"
    missing = set(expected.by) - set(verdict.policies)
    if missing:
        return f"expected {sorted(missing)} among the determining policies, which are {list(verdict.policies)}"
    if expected.under is not None and (verdict.grant or "") != expected.under:
        return f"expected grant `{expected.under}`, got `{verdict.grant}`"
    if expected.items is not None and set(verdict.items) != set(expected.items):
        return f"expected the items {sorted(expected.items)}, got {list(verdict.items)}"
    if expected.masks is not None and dict(verdict.masks) != expected.masks:
        return f"expected the masks {expected.masks}, got {dict(verdict.masks)}"
    return ""


def _said(code: str | None) -> str:
    return "a permit" if code is None else f"the denial `{code}`"


def place_of(policies: PolicySet, case: Case) -> str:
    """Where a case of one of the set's tables stands: `file:line:column`."""
    return Document(policies.files[case.table]).place(case.table, "cases", case.number)


def _read_table(name: str, text: str) -> Table:
    try:
        text.encode()
        document = Document(text)
        said = document.convert(_Said)
        cases = tuple(_case_of(document, name, said.given, number, line) for number, line in enumerate(said.cases))
        return Table(name, str(said.about), said.layers, cases)
    except (DocumentError, UnicodeEncodeError) as error:
        what = f"is no decision table: {error}"
        place = error.place(name) if isinstance(error, DocumentError) else name
        faults = [{"field": place, "fault": what}]
        raise GatewayError("invalid-input", f"`{place}` {what}", faults=faults) from error


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a table says, before its cases are read."""

    layers: tuple[str, ...]
    cases: tuple[dict[str, Any], ...]
    given: dict[str, Any] = {}
    about: Any = ""


def _case_of(document: Document, name: str, given: dict[str, Any], number: int, line: dict[str, Any]) -> Case:
    try:
        return msgspec.structs.replace(read_case(name, given, line), number=number)
    except _StrangeNameError as error:
        top = ("given",) if error.is_given else ("cases", number)
        raise document.fault(str(error), *top, *error.path) from error
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise document.fault(f"`{line.get('case')}` {what}", "cases", number) from error


class _StrangeNameError(ValueError):
    """A name that no case has; where it stands."""

    def __init__(self, said: str, *path: str, is_given: bool = False) -> None:
        super().__init__(said)
        self.path, self.is_given = path, is_given


def read_case(table: str, given: Mapping[str, Any], line: Mapping[str, Any]) -> Case:
    """One line of a table, merged with what the table gives.

    Raises:
        ValueError, KeyError, msgspec.ValidationError: if it is no case.
    """
    name = f"`{line.get('case')}`"
    for said in (given, line):
        for thing in sorted(set(said) - _THINGS - _OTHERS, key=str):
            raise _StrangeNameError(f"{name} names `{thing}`, which no case has", thing, is_given=said is given)
        for thing, fields in _FIELDS.items():
            held = said.get(thing)
            for field in held if isinstance(held, dict) else ():
                if field not in fields:
                    what = f"{name} names `{thing}: {field}`, which there is not"
                    raise _StrangeNameError(what, thing, field, is_given=said is given)
        try:
            list(_drawn_paths(said.get("drawn") or {}))
        except ValueError as error:
            raise _StrangeNameError(
                f"{name} names {error}, which there is not", "drawn", is_given=said is given
            ) from error
    if "act" in line and line["act"] not in set(Act):
        raise _StrangeNameError(f"{name} names the act `{line['act']}`, which there is not", "act")
    facts: dict[str, Any] = {thing: copy.deepcopy(PLAIN[thing]) for thing in PLAIN if thing != "order"}
    for layer in (given, line):
        for thing, changes in layer.items():
            if thing in ("case", "expect"):
                continue
            facts[thing] = {**facts[thing], **changes} if isinstance(changes, dict) and thing in facts else changes
    if "grants" in facts:
        facts["grants"] = [{**(facts["grant"] or PLAIN["grant"]), **(grant or {})} for grant in facts["grants"]]
    else:
        facts["grants"] = [] if facts["grant"] is None else [facts["grant"]]
    facts["orders"] = [{**PLAIN["order"], **(order or {})} for order in facts.get("orders", [])]
    return Case(table, str(line["case"]), _expected(line["expect"]), facts)


def _expected(value: Any) -> Expected:
    if value == "permit":
        return Expected()
    if isinstance(value, str):
        found = Expected(deny=value)
    else:
        found = msgspec.convert({key: entry for key, entry in value.items() if key != "permit"}, Expected)
    if found.deny is not None and found.deny not in PROBLEMS:
        raise _StrangeNameError(f"`{found.deny}` is no problem code", "expect")
    return found
