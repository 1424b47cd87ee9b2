"""Directory entries, grants and orders as Cedar policies, in Cedar's JSON form.

Policies are built as values and printed or parsed by Cedar itself. An identifier stands only where Cedar expects a
string or an entity id, so no identifier can become syntax. Ids lead back to where a policy comes from:

    entry:<dataset>:v<version>:modes      entry:<dataset>:v<version>:purposes
    grant:<grant>:v<version>              order:<order>
"""

from collections.abc import Iterable, Sequence

from gateway.domain.conditions import faults_of
from gateway.domain.directory import Dataset, SharingAttribute, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.policy.live.conditions import permit_conditions
from gateway.policy.live.expressions import Est, attribute, contains, context, entity, equal, has, strings

OBTAINING = (SharingMode.QUERY, SharingMode.BATCH, SharingMode.DOWNLOAD)
"""The modes by which values leave (Decree 809 Art. 22)."""


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
            unless=[contains(strings(dataset.purposes), context("purpose"))],
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
    faults = faults_of(grant)
    if faults:
        raise GatewayError(
            "invalid-input",
            "the grant cannot be put in force",
            faults=[{"field": field, "fault": fault} for field, fault in faults],
        )
    when: list[Est] = [
        *_under(grant.id),
        # A grant serves its own department's systems; a child department is another department.
        equal(attribute({"Var": "principal"}, "department"), entity("Department", grant.department)),
        *permit_conditions(grant, supplier),
    ]
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


def build_order(order: Order, grant: Grant | None = None) -> dict[str, Est]:
    """The forbid an order in force is: above every grant, at the order's reach.

    Args:
        order: in force.
        grant: the grant that an order on a grant names. A suspension of it stops that department's use of that data
            altogether: under other grants, and where a layer permits without one.

    Source: Decree 809 Art. 27 ¶2, ¶3, 35.
    """
    everyone: Est = {"op": "All"}
    principal, resource, when = everyone, everyone, []
    match order.reach:
        case Reach.GRANT if grant is not None and order.stops_the_pair:
            when.append(equal(attribute({"Var": "principal"}, "department"), entity("Department", grant.department)))
            resource = _in_dataset(grant.dataset)
        case Reach.GRANT:
            when += _under(order.target)
        case Reach.SYSTEM:
            principal = {"op": "==", "entity": {"type": "System", "id": order.target}}
        case Reach.DEPARTMENT if order.subordinates:
            principal = {"op": "in", "entity": {"type": "Department", "id": order.target}}
        case Reach.DEPARTMENT:
            when.append(equal(attribute({"Var": "principal"}, "department"), entity("Department", order.target)))
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


def _under(grant: str) -> list[Est]:
    """The use is made under that grant; the first keeps the second from erring where it is made under none."""
    return [has("grant"), equal(context("grant"), entity("Grant", grant))]


def _supplied_by(supplier: str) -> Est:
    return equal(
        attribute(attribute({"Var": "resource"}, "dataset"), "supplier"),
        entity("Department", supplier),
    )
