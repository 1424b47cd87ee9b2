"""Who answers for a directory entry: nobody takes it or its grants over by submitting a version of it."""

from gateway.control.act.examples import DATASET, SUSPENSION
from tests.support.control import World, done, refused

ENTRY = DATASET["id"]


def test_withdrawn_entry_stays_its_suppliers(world: World) -> None:
    """Another supplier's submission of a withdrawn entry is refused, and gives no right over its grants."""
    world.grant()
    done(world.post("registrar", f"/v1/datasets/{ENTRY}/withdrawal", {"reason": "duties moved"}))
    assert world.store.entry_owner(ENTRY) == "public-security"
    stolen = {**DATASET, "supplier": "market"}
    refused(world.post("market-both", "/v1/datasets", stolen), "act-not-permitted")
    with world.store.transaction() as tx:
        # Even a version that stands there unexamined makes nobody the owner.
        released = world.store.dataset_versions(ENTRY)[0]
        tx.submit_dataset(type(released)(**{**_fields(released), "supplier": "market"}))
    assert world.store.entry_owner(ENTRY) == "public-security"
    refused(world.get("market-both", "/v1/grants/g-2026-0001"), "not-found")
    refused(world.post("market-both", "/v1/grants/g-2026-0001/suspension", SUSPENSION), "not-found")
    done(world.get("police", "/v1/grants/g-2026-0001"))


def test_operator_reads_no_grant_in_the_policies_or_the_figures(world: World) -> None:
    """Decree 809 Art. 36: built policies and overdue duties are grants and orders; an operator sees numbers."""
    world.grant()
    asked = {"department": "civil-affairs", "dataset": ENTRY}
    refused(world.get("operator", "/v1/policies/show", **asked), "act-not-permitted")
    refused(world.get("operator", "/v1/figures/overdue"), "act-not-permitted")
    done(world.get("operator", "/v1/figures"))
    assert world.get("police", "/v1/policies/show", **asked).status_code == 200


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__struct_fields__}  # type: ignore[attr-defined]
