"""Every row of the table of attacks is refused, with the sentence the table says, and repeats nothing that was sent."""

import logging
from pathlib import Path

import pytest

from tests.unit.identity.attack_row import ATTACKS, Attack
from tests.unit.identity.attack_table import refusal_of
from tests.unit.identity.identity_kit import House
from tests.unit.identity.legacy_kit import Legacy, national


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: f"{row.group}: {row.name}")
def test_attack_is_refused(row: Attack, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The attack fails for the reason given. INVARIANT: NO-VALUES: no part of a credential is answered or logged."""
    caplog.set_level(logging.DEBUG)
    house = Legacy(tmp_path)
    answered = refusal_of(row, house)
    assert row.reason in answered
    parts = {part for value in house.sent for part in value.replace(" ", ".").split(".") if len(part) >= 16}
    for part in parts:
        assert part[:16] not in caplog.text + answered


def test_honest_counterparts_pass(tmp_path: Path) -> None:
    """What the attacks are variations of is itself taken, so that no row passes for want of a working original."""
    house: House = Legacy(tmp_path)
    house.bearer(house.token())
    token = house.token(cnf={"jkt": house.key.thumbprint})
    house.call(("authorization", f"DPoP {token}"), ("dpop", house.proof(token)))
    house.call(*national(house.now()).items())
    assert len({row.group for row in ATTACKS}) == 6
