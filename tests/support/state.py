"""Values of the state for tests: a supplier, a demand department with a system, a dataset, an interface, grants."""

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.domain.directory import (
    DataItem,
    Dataset,
    Department,
    Interface,
    Level,
    Purpose,
    SharingAttribute,
    SharingMode,
    System,
    UpdateCycle,
)
from gateway.domain.grants import Approval, Grant
from gateway.domain.hosts import Host, HostState
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.store import Store

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
APPROVAL = Approval("负责人", NOON - timedelta(days=1), "批准〔2026〕1号")


def department(id: str = "civil-affairs", **fields: Any) -> Department:  # noqa: A002 - the domain's name
    return Department(**{"id": id, "name": "民政局", "region": "442000", "level": Level.CITY, **fields})


def system(id: str = "marriage-desk", **fields: Any) -> System:  # noqa: A002 - the domain's name
    return System(**{"id": id, "department": "civil-affairs", "name": "婚姻登记系统", **fields})


def dataset(id: str = "household", **fields: Any) -> Dataset:  # noqa: A002 - the domain's name
    return Dataset(
        **{
            "id": id,
            "code": f"307010001/{id}",
            "name": "常住人口登记信息",
            "supplier": "public-security",
            "items": (DataItem("name", "姓名"), DataItem("id_number", "身份证号", sensitive=True)),
            "sharing_attribute": SharingAttribute.CONDITIONAL,
            "sharing_modes": (SharingMode.QUERY, SharingMode.VERIFY),
            "update_cycle": UpdateCycle.DAY,
            "format": "json",
            "grade": 3,
            "classification": "personal",
            "scope": "civil affairs departments",
            "purposes": ("marriage-registration",),
            "conditions": "for the matter at hand only",
            **fields,
        }
    )


def interface(id: str = "household-query", **fields: Any) -> Interface:  # noqa: A002 - the domain's name
    return Interface(
        **{
            "id": id,
            "supplier": "public-security",
            "dataset": "household",
            "upstream": "https://household.example/api",
            "places": {"name": "/xm", "id_number": "/sfzh"},
            **fields,
        }
    )


def grant(id: str = "grant-1", **fields: Any) -> Grant:  # noqa: A002 - the domain's name
    return Grant(
        **{
            "id": id,
            "department": "civil-affairs",
            "dataset": "household",
            "items": ("id_number", "name"),
            "purposes": ("marriage-registration",),
            "modes": (SharingMode.QUERY,),
            "valid_from": NOON - timedelta(days=30),
            "valid_until": NOON + timedelta(days=300),
            "legal_basis": "婚姻登记条例",
            "scenario": "marriage registration at the counter",
            "scope_of_use": "checking both parties' identity",
            "demand_approval": APPROVAL,
            "supply_approval": APPROVAL,
            **fields,
        }
    )


def order(id: str = "order-1", **fields: Any) -> Order:  # noqa: A002 - the domain's name
    return Order(
        **{
            "id": id,
            "kind": OrderKind.SUSPENSION,
            "reach": Reach.GRANT,
            "target": "grant-1",
            "reason": "used beyond its purpose",
            "ordered_by": "officer-1",
            "ordered_at": NOON,
            **fields,
        }
    )


def host(**fields: Any) -> Host:
    """The host of `interface()`, confirmed."""
    return Host(
        **{
            "supplier": "public-security",
            "address": "household.example",
            "port": 443,
            "addresses": ("192.0.2.7",),
            "state": HostState.CONFIRMED,
            **fields,
        }
    )


def fill(store: Store) -> None:
    """One released dataset with an interface, and a demand department with a system, below a provincial one."""
    with store.transaction() as tx:
        tx.put_department(department("province", name="省政府", region="440000", level=Level.PROVINCE))
        tx.put_department(department("public-security", name="公安局"))
        tx.put_department(department(parent="province"))
        tx.put_system(system())
        tx.put_purpose(Purpose("marriage-registration", "婚姻登记"))
        entry = tx.submit_dataset(dataset())
        tx.release_dataset(entry.id, entry.version)
        tx.put_host(host())
        tx.put_interface(interface())
