"""A second factor is asked for beside the password, counts once, and is guessed no faster than a password."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain.officers import Authenticator
from gateway.identity.officers.one_time_codes import STEP_SECONDS, code_at, new_secret, step_of, text_of, uri_of
from tests.unit.identity.identity_kit import OFFICER, House
from tests.unit.identity.test_sign_in import PASSWORD, Office

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("unix", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130")],
)
def test_codes_are_those_of_the_standard(unix: int, code: str) -> None:
    """RFC 6238 Appendix B, SHA-1, the last six digits."""
    assert code_at(SECRET, unix // STEP_SECONDS) == code
    assert step_of(SECRET, f"{code[:3]} {code[3:]}", unix) == unix // STEP_SECONDS
    assert step_of(SECRET, code, unix + 2 * STEP_SECONDS) is None
    assert step_of(SECRET, "", unix) is None


def test_secrets_are_told_as_authenticators_read_them() -> None:
    """Base32 without padding, and a URI whose label and issuer agree."""
    assert text_of(SECRET) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert uri_of(SECRET, "lin", "https://share.example") == (
        "otpauth://totp/https:%2F%2Fshare.example:lin?"
        "secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=https%3A%2F%2Fshare.example"
    )
    assert new_secret() != new_secret()


def test_code_is_asked_for_and_counts_once(tmp_path: Path) -> None:
    """Only who has the password is asked; a wrong code is a wrong password; a code that was used is none."""
    office = Office(House(tmp_path))
    sealed = office.house.ring.field_cipher().seal(SECRET, f"authenticator/{OFFICER.id}")
    office.authenticators[OFFICER.id] = Authenticator(OFFICER.id, True, sealed)

    async def story(client: httpx.AsyncClient) -> None:
        async def sign_in(password: str, code: str | None) -> tuple[int, dict[str, Any]]:
            body = {"officer": OFFICER.id, "password": password, "one_time_code": code}
            answer = await client.post(
                "/sign-in", json={name: value for name, value in body.items() if value is not None}
            )
            client.cookies.clear()
            return answer.status_code, answer.json()

        right = code_at(SECRET, int(office.house.now()) // STEP_SECONDS)
        guessed = await sign_in("a guess at it", right)
        assert (guessed[0], guessed[1].get("needs")) == (401, None)
        for _ in range(5):
            asked = await sign_in(PASSWORD, None)
            assert (asked[0], asked[1]["needs"]) == (401, "one-time-code")
        wrong = await sign_in(PASSWORD, "000000")
        assert (wrong[0], wrong[1]["detail"]) == (401, guessed[1]["detail"])
        assert (await sign_in(PASSWORD, right))[0] == 200
        assert office.told == [(OFFICER.id, "password")]
        statuses = [(await sign_in(PASSWORD, right))[0] for _ in range(6)]
        assert statuses == [401, 401, 401, 429, 429, 429]
        office.authenticators[OFFICER.id] = Authenticator(OFFICER.id, False, sealed)
        office.house.now.at += 3600
        assert (await sign_in(PASSWORD, None))[0] == 200

    office.browse(story)
