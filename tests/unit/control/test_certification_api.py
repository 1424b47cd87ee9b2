"""A system's certification: entered by the competent department alone, validated, gone with the registration."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.control.act.examples import SYSTEM
from gateway.domain.directory import SystemDates
from tests.support.control import World, done, refused

PATH = f"/v1/systems/{SYSTEM['id']}"
SAID = {"number": "等保测评〔2026〕114号", "since": "2026-03-01", "until": "2027-02-28"}


def dates(world: World) -> SystemDates:
    system = world.store.system(SYSTEM["id"])
    assert system is not None
    return system.dates


def unix(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


def test_a_certification_is_entered_renewed_and_withdrawn(world: World) -> None:
    """On record each time; its days are China's; what changes it withdraws, so that streams are cut."""
    before = dates(world)
    assert (before.certified, before.certified_until) == (0, 0)
    answer = done(world.post("registrar", f"{PATH}/certification", SAID))
    assert answer["system"]["certification"] == SAID
    assert answer["record"]
    begins, ends = unix("2026-03-01T00:00:00+08:00"), unix("2027-03-01T00:00:00+08:00")
    assert (dates(world).certified, dates(world).certified_until) == (begins, ends)
    done(world.post("registrar", f"{PATH}/certification", {**SAID, "until": "2026-12-31"}))
    (change,) = world.store.changes_after(world.store.sequence() - 1)
    assert (change.system, change.withdraws) == (SYSTEM["id"], True)
    done(world.post("registrar", f"{PATH}/certification/withdrawal", {"reason": "found unfit"}))
    assert dates(world) == before
    refused(world.post("registrar", f"{PATH}/certification/withdrawal", {"reason": "again"}), "conflict")


def test_nobody_certifies_the_own_system(world: World) -> None:
    """Neither the department that registers it, nor a supplier, nor an auditor; and no body says it at registration."""
    for officer in ("civil", "police", "auditor"):
        answer = world.post(officer, f"{PATH}/certification", SAID)
        assert answer.status_code in (403, 404), officer
    for name, value in (("certification", SAID), ("registered_unix", 1)):
        body = {**SYSTEM, "id": "another", "keys": [], name: value}
        refused(world.post("civil", "/v1/systems", body), "invalid-input")
    assert dates(world).certified == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"until": "2026-02-28"},
        {"until": "2037-03-01"},
        {"since": "9995-01-01", "until": "9999-12-31"},
        {"since": "0001-01-01", "until": "0001-01-02"},
        {"number": " "},
        {"number": ""},
        {"since": "2026-02-30"},
        {"until": None},
        {"since": "soon"},
        {"more": 1},
    ],
)
def test_what_is_no_certification_is_refused(world: World, changes: dict[str, Any]) -> None:
    refused(world.post("registrar", f"{PATH}/certification", {**SAID, **changes}), "invalid-input")
    assert dates(world).certified == 0


def test_a_system_that_is_registered_has_its_date(world: World) -> None:
    assert abs(dates(world).registered - world.services.now()) < 3600


def test_keys_come_and_go_and_dates_stay(world: World) -> None:
    done(world.post("registrar", f"{PATH}/certification", SAID))
    held = dates(world)
    done(world.ask("registrar", "DELETE", f"{PATH}/keys/{SYSTEM['keys'][0]['kid']}"))
    assert dates(world) == held


def test_a_revoked_system_is_not_certified_nor_when_it_is_registered_anew(world: World) -> None:
    done(world.post("registrar", f"{PATH}/certification", SAID))
    done(world.post("civil", f"{PATH}/revocation", {"reason": "lost"}))
    refused(world.post("registrar", f"{PATH}/certification", SAID), "conflict")
    done(world.post("civil", f"/v1/systems?replaces={SYSTEM['id']}", {**SYSTEM, "keys": []}))
    assert dates(world).certified == 0
