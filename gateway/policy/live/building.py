"""Directory entries, grants and orders as Cedar policies, in Cedar's JSON form.

Policies are built as values and printed or parsed by Cedar itself. An identifier stands only where Cedar expects a
string or an entity id, so no identifier can become syntax. Ids lead back to where a policy comes from:

    entry:<dataset>:v<version>:modes      entry:<dataset>:v<version>:purposes
    grant:<grant>:v<version>              order:<order>
"""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.domain.directory import Dataset, SharingAttribute, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.policy.law.time_limits import unix_seconds

Est = dict[str, Any]

OBTAINING = (SharingMode.QUERY, SharingMode.BATCH, SharingMode.DOWNLOAD)
"""The modes by which values leave (Decree 809 Art. 22)."""


def entity(kind: str, name: str) -> Est:
    """An entity literal in an expression."""
    return {"Value": {"__entity": {"type": kind, "id": name}}}


def grant_policy_id(grant: Grant) -> str:
    """The id of the policy a grant is built into."""
    return f"grant:{grant.id}:v{grant.version}"


def order_policy_id(order: Order) -> str:
    """The id of the policy an order is built into."""
    return f"order:{order.id}"


def build_entry(dataset: Dataset) -> dict[str, Est]:
    """What a released entry itself forbids: modes it does not state, and purposes a conditional entry does not allow.

    Verification is not limited by the entry: it is none of the three modes, and no value leaves by it.

    Source: Decree 809 Art. 13, 15, 22.
    """
    stem = f"entry:{dataset.id}:v{dataset.version}"
    policies: dict[str, Est] = {}
    unstated = [mode for mode in OBTAINING if mode not in dataset.sharing_modes]
    if unstated:
        policies[f"{stem}:modes"] = _policy(
            "forbid",
            f"{stem}:modes",
            "Decree 809 Art. 13",
            "The directory entry does not state this sharing mode",
            action=_actions(unstated),
            resource=_in_dataset(dataset.id),
            refusal="mode-not-granted",
        )
    if dataset.sharing_attribute is SharingAttribute.CONDITIONAL and dataset.purposes:
        policies[f"{stem}:purposes"] = _policy(
            "forbid",
            f"{stem}:purposes",
            "Decree 809 Art. 15",
            "The directory entry does not allow this purpose of use",
            action=_actions(OBTAINING),
            resource=_in_dataset(dataset.id),
            unless=[_contains(_strings(dataset.purposes), _context("purpose"))],
            refusal="purpose-not-granted",
        )
    return policies


def build_grant(grant: Grant, supplier: str) -> dict[str, Est]:
    """The permit a grant is: department, dataset, items, purposes, modes and time, and what else was approved.

    Args:
        grant: the grant.
        supplier: the id of the dataset's supply department, which completes interface ids to keys.

    Raises:
        GatewayError: `invalid-input`, naming every fault: a return-flow grant with an added condition (Decree 809
            Art. 24), an empty scope, a time limit without zone or that ends before it begins, hours out of range.
    """
    faults = grant_faults(grant)
    if faults:
        raise GatewayError(
            "invalid-input",
            "the grant cannot be put in force",
            faults=[{"field": field, "fault": fault} for field, fault in faults],
        )
    # Each a condition of its own: Cedar joins them in this order, and a nested expression takes longer to parse.
    when: list[Est] = [
        *_under(grant.id),
        # A grant serves its own department's systems; a child department is another department.
        _eq(_attribute({"Var": "principal"}, "department"), entity("Department", grant.department)),
        _contains(_strings(grant.purposes), _context("purpose")),
        # INVARIANT: GRANTED-ITEMS-ONLY — what is asked for is within what was granted.
        {"containsAll": {"left": _strings(grant.items), "right": _context("items")}},
        {">=": {"left": _context("now"), "right": {"Value": unix_seconds(grant.valid_from)}}},
        {"<": {"left": _context("now"), "right": {"Value": unix_seconds(grant.valid_until)}}},
    ]
    if grant.systems:
        when.append(_contains({"Set": [entity("System", name) for name in grant.systems]}, {"Var": "principal"}))
    if grant.interfaces:
        keys = {"Set": [entity("Interface", key) for key in interface_keys(grant, supplier)]}
        when.append(_contains(keys, {"Var": "resource"}))
    if grant.hours is not None:
        when += [
            {">=": {"left": _context("minuteOfDay"), "right": {"Value": grant.hours.start_minute}}},
            {"<": {"left": _context("minuteOfDay"), "right": {"Value": grant.hours.end_minute}}},
        ]
    for name, values in sorted(grant.parameters.items()):
        allowed = [{"Record": {"name": {"Value": name}, "value": {"Value": value}}} for value in values]
        when.append({"containsAny": {"left": _context("parameters"), "right": {"Set": allowed}}})
    if grant.assurance is not None:
        when.append({">=": {"left": _context("assurance"), "right": {"Value": grant.assurance.rank}}})
    name = grant_policy_id(grant)
    policy = _policy(
        "permit",
        name,
        "Decree 809 Art. 24" if grant.return_flow else "Decree 809 Art. 20",
        "Data returned to the lower level" if grant.return_flow else "A grant that both sides approved",
        action=_actions(grant.modes),
        resource=_in_dataset(grant.dataset),
        when=when,
    )
    return {name: policy}


def grant_faults(grant: Grant) -> list[tuple[str, str]]:
    """What keeps a grant from being put in force, as (field, fault) pairs; empty if nothing does."""
    faults = [(field, "is empty") for field in ("items", "purposes", "modes") if not getattr(grant, field)]
    zoned = grant.valid_from.tzinfo is not None and grant.valid_until.tzinfo is not None
    if not zoned:
        faults.append(("valid_until", "a time limit has no time zone"))
    elif grant.valid_from >= grant.valid_until:
        faults.append(("valid_until", "is not after `valid_from`"))
    if grant.hours is not None and not 0 <= grant.hours.start_minute < grant.hours.end_minute <= 1440:
        faults.append(("hours", "are not minutes of one day, start before end"))
    faults += [(f"parameters.{name}", "allows no value") for name, values in grant.parameters.items() if not values]
    if grant.return_flow:
        added = {
            "hours": grant.hours is not None,
            "parameters": bool(grant.parameters),
            "quota": grant.quota is not None,
            "assurance": grant.assurance is not None,
        }
        faults += [
            (field, "data returned to a lower level bears no added condition (Decree 809 Art. 24)")
            for field, is_set in added.items()
            if is_set
        ]
    return faults


def interface_keys(grant: Grant, supplier: str) -> tuple[str, ...]:
    """The interfaces a grant names, as they stand in calls (`supplier/id`)."""
    return tuple(name if "/" in name else f"{supplier}/{name}" for name in grant.interfaces)


def build_order(order: Order) -> dict[str, Est]:
    """The forbid an order in force is: above every grant, at the order's reach.

    Source: Decree 809 Art. 27 ¶2, ¶3, 35.
    """
    everyone: Est = {"op": "All"}
    principal, resource, when = everyone, everyone, []
    match order.reach:
        case Reach.GRANT:
            when += _under(order.target)
        case Reach.SYSTEM:
            principal = {"op": "==", "entity": {"type": "System", "id": order.target}}
        case Reach.DEPARTMENT:
            when.append(_eq(_attribute({"Var": "principal"}, "department"), entity("Department", order.target)))
        case Reach.DATASET:
            resource = _in_dataset(order.target)
        case Reach.SUPPLIER:
            when.append(_supplied_by(order.target))
    if order.supplier is not None:
        when.append(_supplied_by(order.supplier))
    article, title, refusal = _ORDER_WORDS[order.kind]
    name = order_policy_id(order)
    policy = _policy(
        "forbid",
        name,
        article,
        title,
        action={"op": "in", "entity": {"type": "Action", "id": "use"}},
        resource=resource,
        principal=principal,
        when=when,
        refusal=refusal,
    )
    return {name: policy}


_ORDER_WORDS = {
    OrderKind.SUSPENSION: ("Decree 809 Art. 27 ¶2", "Sharing is suspended until it is rectified", "suspended"),
    OrderKind.EMERGENCY: ("Decree 809 Art. 35", "Sharing is suspended in a security emergency", "suspended"),
    OrderKind.TERMINATION: ("Decree 809 Art. 27 ¶2", "Sharing has been terminated", "terminated"),
}


def _policy(
    effect: str,
    name: str,
    article: str,
    title: str,
    *,
    action: Est,
    resource: Est,
    principal: Est | None = None,
    when: Sequence[Est] = (),
    unless: Sequence[Est] = (),
    refusal: str | None = None,
) -> Est:
    annotations = {"id": name, "article": article, "title": title}
    if refusal is not None:
        annotations["refusal"] = refusal
    return {
        "effect": effect,
        "principal": principal or {"op": "All"},
        "action": action,
        "resource": resource,
        "conditions": [
            *({"kind": "when", "body": body} for body in when),
            *({"kind": "unless", "body": body} for body in unless),
        ],
        "annotations": annotations,
    }


def _actions(modes: Iterable[SharingMode]) -> Est:
    return {"op": "in", "entities": [{"type": "Action", "id": mode.value} for mode in modes]}


def _in_dataset(dataset: str) -> Est:
    return {"op": "in", "entity": {"type": "Dataset", "id": dataset}}


def _strings(values: Iterable[str]) -> Est:
    return {"Set": [{"Value": value} for value in values]}


def _attribute(of: Est, name: str) -> Est:
    return {".": {"left": of, "attr": name}}


def _context(name: str) -> Est:
    return _attribute({"Var": "context"}, name)


def _has(name: str) -> Est:
    return {"has": {"left": {"Var": "context"}, "attr": name}}


def _eq(left: Est, right: Est) -> Est:
    return {"==": {"left": left, "right": right}}


def _under(grant: str) -> list[Est]:
    """The use is made under that grant; the first keeps the second from erring where it is made under none."""
    return [_has("grant"), _eq(_context("grant"), entity("Grant", grant))]


def _contains(many: Est, one: Est) -> Est:
    return {"contains": {"left": many, "right": one}}


def _supplied_by(supplier: str) -> Est:
    return _eq(
        _attribute(_attribute({"Var": "resource"}, "dataset"), "supplier"),
        entity("Department", supplier),
    )
