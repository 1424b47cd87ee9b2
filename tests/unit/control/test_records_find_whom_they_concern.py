"""An act's record is found by every department that the act concerns, wherever who acted is, and by no other."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway.control.act.deeds import Deed
from gateway.control.act.examples import COMPLAINT, DATASET, DEPARTMENT, GRANT, PURPOSE, REORGANISATION
from gateway.control.processes import complaints
from gateway.control.suppliers.checks import HostChecks
from gateway.domain.hosts import Host, HostState, Networks
from gateway.domain.officers import Act, Matter, Officer, Role
from gateway.domain.uses import EVERY_DEPARTMENT, RecordKind
from gateway.store import StoreTransaction
from tests.support.control import CITY, World, done

Rows = list[tuple[RecordKind, Mapping[str, Any]]]


@pytest.fixture
def rows(world: World, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """What is recorded from now on."""
    found: Rows = []
    append = world.acts.append_all

    def noting(kind: RecordKind, told: Sequence[Mapping[str, Any]], **options: Any) -> tuple[str, ...]:
        found.extend((kind, each) for each in told)
        return append(kind, told, **options)

    monkeypatch.setattr(world.acts, "append_all", noting)
    return found


def found_by(rows: Rows) -> set[str | None]:
    """Whose records they are; None for one that is nobody's."""
    return {
        department
        for _, row in rows
        for department in ({row.get("department"), row.get("supplier")} - {None} or {None})  # type: ignore[arg-type]
    }


def test_a_purpose_is_everybodys_and_so_is_its_record(world: World, rows: Rows) -> None:
    """All use it: all find that it was rewritten, whoever did."""
    done(world.post("province", "/v1/purposes", {**PURPOSE, "name": "婚姻登记（新）"}))
    assert found_by(rows) == {EVERY_DEPARTMENT}


def test_a_department_finds_what_became_of_it(world: World, rows: Rows) -> None:
    """Of another region's act, too; a file that changes several departments is told to each of these, and no other."""
    done(world.post("province", "/v1/departments", {**DEPARTMENT, "name": "市公安局（新）"}))
    assert found_by(rows) == {DEPARTMENT["id"]}
    rows.clear()
    named = [
        done(world.get("province", f"/v1/departments/{each}")) for each in ("market", "elsewhere", "civil-affairs")
    ]
    changed = [{**each, "name": each["name"] + "（新）"} for each in named[:2]]
    done(world.post("province", "/v1/directory", {"departments": [*changed, named[2]]}))
    assert found_by(rows) == {"market", "elsewhere"}


def test_a_file_of_several_suppliers_is_found_by_each(world: World, rows: Rows) -> None:
    """Also by who answered for an entry that another takes over."""
    other = {**DATASET, "id": "x.1", "code": "x/1", "supplier": "market"}
    done(world.post("registrar", "/v1/directory", {"datasets": [DATASET, other]}))
    assert found_by(rows) == {"public-security", "market"}
    assert [kind for kind, _ in rows] == [RecordKind.DIRECTORY] * 2
    rows.clear()
    done(world.post("registrar", "/v1/directory?release=false", {"datasets": [{**other, "supplier": "civil-affairs"}]}))
    assert found_by(rows) == {"civil-affairs", "market"}


def test_what_concerns_very_many_is_told_to_all(world: World, rows: Rows) -> None:
    """A province's whole directory is no record for each of its departments."""
    made = [{**DEPARTMENT, "id": f"bureau-{number}", "name": f"{number}"} for number in range(65)]
    done(world.post("registrar", "/v1/directory", {"departments": made}))
    assert found_by(rows) == {EVERY_DEPARTMENT}
    assert len(rows) == 1


def test_an_officer_who_goes_elsewhere_is_on_record_at_both(world: World, rows: Rows) -> None:
    """The department that loses one finds it as the one that gains one does."""
    moved = {"id": "civil", "department": "market", "region": CITY, "roles": ["demand"], "name": ""}
    done(world.post("registrar", "/v1/officers", moved))
    assert found_by(rows) == {"civil-affairs", "market"}


def test_a_reorganisation_is_found_by_givers_and_receivers(world: World, rows: Rows) -> None:
    """Each department that it touches."""
    said = {"document": "中编办发〔2026〕9号", "reason": "institutional reform"}
    body = {**REORGANISATION, **said, "departments": ["civil-affairs", "public-security"], "successor": "market"}
    planned = done(world.post("registrar", "/v1/reorganisations/plan", body))["plan"]
    done(world.post("registrar", "/v1/reorganisations", {**body, "plan": planned}))
    assert found_by(rows) == {"civil-affairs", "public-security", "market"}
    # What it withdraws is told once, so that a state put back from before it holds each stop once.
    assert [bool(row.get("withdraws")) for _, row in rows] == [True, *([False] * (len(rows) - 1))]


def test_a_reading_is_told_to_nobody_whom_it_is_about(world: World, rows: Rows) -> None:
    """A question of the competent department, and of an auditor, about a department is not that department's."""
    for officer in ("registrar", "auditor"):
        world.get(officer, "/v1/records", supplier="public-security", department="civil-affairs")
    assert len(rows) == 2
    assert not found_by(rows) & {"public-security", "civil-affairs"}


def test_who_finds_an_act_finds_that_it_did_not_come_to_stand(
    world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record that voids another is found by the same departments, under the same grant."""

    def broken(*_: Any) -> None:
        raise OSError("no disk")

    monkeypatch.setattr(StoreTransaction, "note_acts", broken)
    assert world.post("police", "/v1/grants", GRANT).status_code == 500
    assert world.post(None, "/complaints", COMPLAINT).status_code == 500
    (_, granted), (_, voided), (_, complained), (_, voided_too) = rows
    assert voided["act"] == voided_too["act"] == "void"
    for name in ("department", "supplier", "grant", "officer", "officer_department"):
        assert voided[name] == granted[name]
    assert voided_too["department"] == complained["department"]


def test_a_complaint_is_on_record_with_who_takes_it_in(world: World, rows: Rows) -> None:
    """The competent department of the nearest region that has one: not whoever is complained of."""
    done(world.post(None, "/complaints", COMPLAINT))
    assert found_by(rows) == {"data-bureau"}
    assert complaints._takes_in(world.store, "elsewhere") == "elsewhere"
    with world.store.transaction() as tx:
        tx.put_officer(Officer("handler", "civil-affairs", CITY, (Role.DEMAND,)))
    assert done(world.get("handler", "/v1/complaints"))["items"] == []


def test_a_reading_goes_to_no_more_than_its_own_fields_name() -> None:
    """An act is told to the departments that the policies were asked about when it was decided, a reading is not."""
    deed = object.__new__(Deed)
    matter = Matter(supplier="public-security", demand="market")
    deed._decided = [(Act.EXPORT_RECORDS, matter, None)]  # type: ignore[list-item]
    told = {"department": "civil-affairs"}
    for kind in (RecordKind.EXPORT, RecordKind.CONSULTATION):
        assert deed._concerned(kind, told, ()) == []
    assert deed._concerned(RecordKind.GRANT, told, ()) == [{"department": "market"}, {"supplier": "public-security"}]


def test_a_host_with_shares_is_on_record_at_whom_it_concerns(world: World, rows: Rows) -> None:
    """Who has a part of it, who had one before, and whose inherited host it takes the place of: at each step."""
    object.__setattr__(world.services, "hosts", Proving(Networks(["192.0.2.0/24"]), look_up=lambda *_: ("192.0.2.99",)))
    world.app.state.services = world.services

    def claim(shares: dict[str, str]) -> set[str | None]:
        rows.clear()
        body = {"supplier": "public-security", "address": "shared.example", "shares": shares}
        done(world.post("police", "/v1/hosts", body))
        return found_by(rows)

    def step(officer: str, name: str, body: dict[str, Any]) -> set[str | None]:
        rows.clear()
        done(world.post(officer, f"/v1/hosts/public-security/shared.example:443/{name}", body))
        return found_by(rows)

    with world.store.transaction() as tx:
        inherited = Host(
            "elsewhere", "old.example", 443, addresses=("192.0.2.99",), state=HostState.INHERITED, in_networks=True
        )
        tx.put_host(inherited)
    first = {"public-security", "civil-affairs"}
    assert claim({"/civil": "civil-affairs"}) == first
    assert {row.get("shares") and tuple(row["shares"]) for _, row in rows} == {("civil-affairs",)}
    assert step("police", "proof", {}) == first
    assert shown(world, "market-both") == []
    assert step("registrar", "confirmation", {}) == first | {"elsewhere"}
    assert claim({"/market": "market"}) == {"public-security", "market"}
    assert shown(world, "market-both") == [], "a claim is its claimant's"
    step("police", "proof", {})
    assert step("registrar", "confirmation", {}) == {"public-security", "civil-affairs", "market"}
    assert shown(world, "market-both") == ["shared.example"]
    withdrawn = step("police", "withdrawal", {"reason": "the machine is gone"})
    assert withdrawn == {"public-security", "market"}


def shown(world: World, officer: str) -> list[str]:
    return [host["address"] for host in done(world.get(officer, "/v1/hosts"))["items"]]


class Proving(HostChecks):
    """Every service knows of its claim."""

    def prove(self, host: Host, signature: str | None) -> str:
        """By the nonce."""
        return "nonce"
