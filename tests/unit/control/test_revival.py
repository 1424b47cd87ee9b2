"""What starts to flow again is listed and asked for (Decree 809 Art. 15, 16)."""

from typing import Any

import pytest

from gateway.control.act.examples import DATASET, GRANT
from tests.support.control import World, done, refused

ENTRY = DATASET["id"]
EXAMINATION = f"/v1/datasets/{ENTRY}/versions/{{}}/examination"


def submitted(world: World, **fields: Any) -> str:
    """The path of the examination of a version that is submitted anew."""
    version = done(world.post("police", "/v1/datasets", {**DATASET, **fields}))["versions"][ENTRY]
    return EXAMINATION.format(version)


def test_a_withdrawn_entry_comes_back_only_where_that_is_said(world: World) -> None:
    """By examination, by a body or by a file: the grants that wake up are named, and the record names them."""
    world.grant()
    done(world.post("registrar", f"/v1/datasets/{ENTRY}/withdrawal", {"reason": "under review"}))
    path = submitted(world)
    shown = done(world.get("registrar", path.replace("examination", "effects")))
    assert shown["revives"] == [GRANT["id"]]
    assert refused(world.post("registrar", path, {"release": True}), "conflict")["revives"] == [GRANT["id"]]
    refused(world.post("registrar", "/v1/datasets?release=true", DATASET), "conflict")
    refused(world.post("registrar", "/v1/directory", {"datasets": [DATASET]}), "conflict")
    checked = done(world.post("registrar", "/v1/directory?check=true", {"datasets": [DATASET]}))
    assert checked["reviving_grants"] == [GRANT["id"]]
    assert world.store.dataset(ENTRY) is None
    done(world.post("registrar", path, {"release": True, "revives": True}))
    assert world.store.dataset(ENTRY) is not None
    done(world.post("registrar", "/v1/datasets?release=true", {**DATASET, "name": "改名"}))


@pytest.mark.parametrize(
    "stricter",
    [
        {"sharing_attribute": "non-shareable", "non_shareable_reason": "law", "legal_basis": "Act Art. 1"},
        {"items": [item for item in DATASET["items"] if item["name"] != "marital_status"]},
        {"purposes": ["social-assistance"]},
    ],
    ids=["attribute", "items", "purposes"],
)
def test_what_an_entry_lost_comes_back_only_where_that_is_said(world: World, stricter: dict[str, Any]) -> None:
    """Attribute, items and purposes: a grant that was left with less gets it back by an act that says so."""
    done(world.post("province", "/v1/purposes", {"id": "social-assistance", "name": "社会救助"}))
    world.grant()
    if stricter.get("sharing_attribute"):
        stricter = {**stricter, "sharing_modes": []}
    done(world.post("registrar", submitted(world, **stricter), {"release": True}))
    path = submitted(world)
    assert refused(world.post("registrar", path, {"release": True}), "conflict")["revives"] == [GRANT["id"]]
    done(world.post("registrar", path, {"release": True, "revives": True}))


def test_an_easier_grade_lets_more_callers_through_only_where_that_is_said(world: World) -> None:
    """Below grade 3 a credential need not be bound to its sender: who was refused for that obtains data then."""
    world.grant()
    path = submitted(world, grade=2)
    refused(world.post("registrar", path, {"release": True}), "conflict")
    done(world.post("registrar", path, {"release": True, "revives": True}))


def test_what_is_stopped_or_over_does_not_come_back(world: World) -> None:
    """A suspended grant gives nothing by a release, so nothing is asked."""
    world.grant()
    done(world.post("police", f"/v1/grants/{GRANT['id']}/suspension", {"emergency": True, "incident": "a leak"}))
    done(world.post("registrar", f"/v1/datasets/{ENTRY}/withdrawal", {"reason": "under review"}))
    done(world.post("registrar", submitted(world), {"release": True}))
