"""A small world to decide in: departments of two regions, datasets of each attribute, grants as a test needs them."""

from datetime import UTC, datetime
from typing import Any

from gateway.domain.callers import Assurance
from gateway.domain.directory import (
    DataItem,
    Dataset,
    Department,
    EntryState,
    Interface,
    Level,
    SharingAttribute,
    SharingMode,
    UpdateCycle,
)
from gateway.domain.grants import Approval, Grant
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.domain.state import SliceState
from gateway.domain.verdicts import Call
from gateway.policy import default_policies_root, load_layers

ROOT = default_policies_root()
NATIONAL = load_layers(ROOT, ["national"])
ZHONGSHAN = load_layers(ROOT, ["national", "zhongshan"])

NOON = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
"""Noon in China, a Monday."""
NOW = int(NOON.timestamp())


MATTERS = ("marriage-registration",)


def department(name: str = "civil-affairs", region: str = "442000", **more: Any) -> Department:
    fields: dict[str, Any] = {"id": name, "name": name, "region": region, "level": Level.CITY, "matters": MATTERS}
    return Department(**{**fields, **more})


def dataset(name: str = "d1", **more: Any) -> Dataset:
    fields: dict[str, Any] = {
        "id": name,
        "code": f"307010001/{name}",
        "name": "household register",
        "supplier": "police",
        "items": (DataItem("name"), DataItem("id_number", sensitive=True), DataItem("address")),
        "sharing_attribute": SharingAttribute.CONDITIONAL,
        "update_cycle": UpdateCycle.DAY,
        "format": "json",
        "grade": 2,
        "classification": "population",
        "sharing_modes": (SharingMode.QUERY, SharingMode.BATCH, SharingMode.DOWNLOAD),
        "state": EntryState.RELEASED,
    }
    return Dataset(**{**fields, **more})


def interface(name: str = "people", of: str = "d1", **more: Any) -> Interface:
    fields: dict[str, Any] = {
        "id": name,
        "supplier": "police",
        "dataset": of,
        "upstream": "https://police.example",
        "modes": tuple(SharingMode),
        "scope_parameters": ("region",),
    }
    return Interface(**{**fields, **more})


def grant(name: str = "g1", **more: Any) -> Grant:
    fields: dict[str, Any] = {
        "id": name,
        "department": "civil-affairs",
        "dataset": "d1",
        "items": ("name", "id_number"),
        "purposes": ("marriage-registration",),
        "modes": (SharingMode.QUERY,),
        "valid_from": datetime(2026, 1, 1, tzinfo=UTC),
        "valid_until": datetime(2027, 1, 1, tzinfo=UTC),
        "legal_basis": "Marriage Registration Regulations Art. 5",
        "scenario": "marriage registration",
        "scope_of_use": "registration counter",
        "demand_approval": Approval("Li", datetime(2025, 12, 1, tzinfo=UTC)),
        "supply_approval": Approval("Wang", datetime(2025, 12, 10, tzinfo=UTC)),
    }
    return Grant(**{**fields, **more})


def order(name: str = "o1", reach: Reach = Reach.GRANT, target: str = "g1", **more: Any) -> Order:
    fields: dict[str, Any] = {
        "id": name,
        "kind": OrderKind.SUSPENSION,
        "reach": reach,
        "target": target,
        "reason": "use beyond the purpose",
        "ordered_by": "officer-1",
        "ordered_at": NOON,
    }
    return Order(**{**fields, **more})


def state(**more: Any) -> SliceState:
    fields: dict[str, Any] = {
        "sequence": 1,
        "department": department(),
        "ancestors": (),
        "supplier": department("police"),
        "dataset": dataset(),
        "interfaces": (interface(),),
        "grants": (grant(),),
        "orders": (),
    }
    return SliceState(**{**fields, **more})


def call(**more: Any) -> Call:
    fields: dict[str, Any] = {
        "system": "marriage-desk",
        "department": "civil-affairs",
        "assurance": Assurance.DPOP,
        "interface": "police/people",
        "dataset": "d1",
        "mode": SharingMode.QUERY,
        "purpose": "marriage-registration",
        "items": ("name",),
        "declared": ("operator", "scenario", "subject"),
    }
    return Call(**{**fields, **more})
