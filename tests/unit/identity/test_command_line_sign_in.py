"""A command line comes by a session that is bound to its key, and nobody else comes by it in its place."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gateway.client.keys import ClientKey, new_private_key
from gateway.identity.officers.pairing import challenge_of, words_of
from tests.unit.identity.identity_kit import ISSUER, OFFICER, House
from tests.unit.identity.test_sign_in import Office

LISTENER = "http://127.0.0.1:49152/signed-in"
STATE, VERIFIER, OTHER = "s" * 43, "v" * 43, "w" * 43
KEY, THIEF = ClientKey(new_private_key()), ClientKey(new_private_key())


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(House(tmp_path, nonces=True))


class CommandLine:
    """A command line and the officer's browser, at an office."""

    def __init__(self, office: Office, client: httpx.AsyncClient) -> None:
        self.office = office
        self.client = client

    def proof(self, method: str, path: str, key: ClientKey = KEY, token: str | None = None, **changes: Any) -> str:
        assert self.office.house.nonces is not None
        nonce = changes.get("nonce", self.office.house.nonces.current())
        uri = changes.get("uri", ISSUER + path)
        return key.proof(method, uri, int(self.office.house.now()), nonce=nonce, token=token)

    async def begin(self, **changes: str) -> httpx.Response:
        asked = {"redirect_uri": LISTENER, "state": STATE, "code_challenge": challenge_of(VERIFIER)}
        return await self.client.get("/sign-in/browser", params={**asked, "dpop_jkt": KEY.thumbprint, **changes})

    async def page(self) -> str:
        """The page of consent, once the officer has signed in at the provider."""
        away = await self.begin()
        back = self.office.idp.authorize(away.headers["Location"])
        page = await self.client.get("/sign-in/provider/answer", params=back)
        assert page.status_code == 200, page.text
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        return page.text

    async def consent(self, page: str, answer: str = "yes") -> httpx.Response:
        found = re.search(r'name="ticket" value="([^"]+)"', page)
        assert found is not None
        return await self.client.post("/sign-in/browser/consent", data={"ticket": found[1], "answer": answer})

    async def code(self) -> str:
        return told(await self.consent(await self.page()))["code"]

    async def redeem(self, code: str, key: ClientKey | None = KEY, **changes: str) -> httpx.Response:
        headers = {"DPoP": self.proof("POST", "/sign-in/code", key)} if key is not None else {}
        body = {"code": code, "verifier": VERIFIER, "redirect_uri": LISTENER, **changes}
        return await self.client.post("/sign-in/code", json=body, headers=headers)

    async def me(self, token: str, key: ClientKey | None = KEY, scheme: str = "DPoP", **changes: Any) -> httpx.Response:
        headers = {"Authorization": f"{scheme} {token}"}
        if key is not None:
            headers["DPoP"] = self.proof("GET", "/v1/me", key, token, **changes)
        return await self.client.get("/v1/me", headers=headers)


def told(answer: httpx.Response) -> dict[str, str]:
    """What a redirect to the listener says."""
    location = answer.headers["Location"]
    assert location.startswith(LISTENER + "?")
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def browse(office: Office, story: Callable[[CommandLine], Any]) -> Any:
    return office.browse(lambda client: story(CommandLine(office, client)))


def test_command_line_signs_in_by_a_browser(office: Office) -> None:
    """The page shows its words; the code is redeemed once, by its key; the sign-in is on record then, and no sooner."""

    async def story(line: CommandLine) -> None:
        page = await line.page()
        assert words_of(challenge_of(VERIFIER)) in page
        assert OFFICER.id in page
        back = told(await line.consent(page))
        assert (back["state"], back["iss"]) == (STATE, ISSUER)
        assert office.told == []
        begun = (await line.redeem(back["code"])).json()
        assert (begun["token_type"], begun["officer"]) == ("DPoP", OFFICER.id)
        assert office.told == [(OFFICER.id, "provider")]
        assert (await line.me(begun["access_token"])).json()["id"] == OFFICER.id
        assert (await line.redeem(back["code"])).status_code == 401

    browse(office, story)


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://attacker.test/signed-in",
        "https://127.0.0.1:49152/signed-in",
        "http://127.0.0.1:49152@attacker.test/signed-in",
        "http://127.0.0.1.attacker.test:49152/signed-in",
        "http://127.0.0.1:49152/signed-in?x=y",
        "http://127.0.0.1:49152/elsewhere",
        "http://localhost:49152/signed-in",
        "http://127.0.0.1/signed-in",
        "http://127.0.0.1:49152/signed-in\n",
    ],
)
def test_codes_go_to_loopback_alone(office: Office, redirect_uri: str) -> None:
    """No other host, scheme, path or name is sent a code."""

    async def story(line: CommandLine) -> int:
        return (await line.begin(redirect_uri=redirect_uri)).status_code

    assert browse(office, story) == 422


async def _another_key(line: CommandLine) -> httpx.Response:
    return await line.redeem(await line.code(), THIEF)


async def _no_key(line: CommandLine) -> httpx.Response:
    return await line.redeem(await line.code(), None)


async def _another_verifier(line: CommandLine) -> httpx.Response:
    return await line.redeem(await line.code(), verifier=OTHER)


async def _challenge_for_verifier(line: CommandLine) -> httpx.Response:
    return await line.redeem(await line.code(), verifier=challenge_of(VERIFIER))


async def _another_listener(line: CommandLine) -> httpx.Response:
    return await line.redeem(await line.code(), redirect_uri=LISTENER.replace("49152", "49153"))


async def _late(line: CommandLine) -> httpx.Response:
    code = await line.code()
    line.office.house.now.at += 121
    return await line.redeem(code)


async def _ticket_for_code(line: CommandLine) -> httpx.Response:
    page = await line.page()
    found = re.search(r'name="ticket" value="([^"]+)"', page)
    assert found is not None
    return await line.redeem(found[1])


async def _dismissed_meanwhile(line: CommandLine) -> httpx.Response:
    code = await line.code()
    line.office.house.officers.clear()
    return await line.redeem(code)


async def _consent_of_another_browser(line: CommandLine) -> httpx.Response:
    page = await line.page()
    line.client.cookies.clear()
    return await line.consent(page)


async def _consent_twice(line: CommandLine) -> httpx.Response:
    page, cookies = await line.page(), dict(line.client.cookies)
    await line.consent(page, "no")
    for name, value in cookies.items():
        line.client.cookies.set(name, value)
    return await line.consent(page)


async def _consent_late(line: CommandLine) -> httpx.Response:
    page = await line.page()
    line.office.house.now.at += 601
    return await line.consent(page)


async def _consent_of_an_older_page(line: CommandLine) -> httpx.Response:
    page = await line.page()
    await line.begin()
    return await line.consent(page)


@pytest.mark.parametrize(
    "attempt",
    [
        _another_key,
        _no_key,
        _another_verifier,
        _challenge_for_verifier,
        _another_listener,
        _late,
        _ticket_for_code,
        _dismissed_meanwhile,
        _consent_of_another_browser,
        _consent_twice,
        _consent_late,
        _consent_of_an_older_page,
    ],
)
def test_code_is_for_who_asked(office: Office, attempt: Callable[[CommandLine], Any]) -> None:
    """Whoever has seen a code, or sends the officer a page of before, gets no session; and no sign-in is on record."""
    assert browse(office, attempt).status_code == 401
    assert office.told == []


def test_a_thief_does_not_spoil_the_code(office: Office) -> None:
    """A code that somebody without the key has tried is still good for who asked."""

    async def story(line: CommandLine) -> list[int]:
        code = await line.code()
        return [(await line.redeem(code, key)).status_code for key in (THIEF, None, KEY, KEY)]

    assert browse(office, story) == [401, 401, 200, 401]


def test_refusals_reach_the_command_line_in_our_words(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """It is told that the officer said no, or that the provider signed nobody in; not in the provider's own words."""

    async def story(line: CommandLine) -> None:
        assert told(await line.consent(await line.page(), "no"))["error"] == "access_denied"
        state = parse_qs(urlsplit((await line.begin()).headers["Location"]).query)["state"][0]
        said = {"error": "<b>hunter2</b>", "error_description": "hunter2", "state": state}
        back = await line.client.get("/sign-in/provider/answer", params=said)
        assert "begin again" in told(back)["error_description"]
        assert "hunter2" not in back.headers["Location"] + back.text + caplog.text
        # Another's answer in this browser tells the command line nothing.
        await line.begin()
        strange = await line.client.get("/sign-in/provider/answer", params={"error": "x", "state": "another"})
        assert strange.status_code == 401

    browse(office, story)


def test_session_is_worth_nothing_without_its_key(office: Office) -> None:
    """Bare, as a bearer token, by another key, for another address or method, or with a proof of before: refused."""

    async def story(line: CommandLine) -> None:
        body = {"officer": OFFICER.id, "password": "nine cups of jasmine tea"}
        headers = {"DPoP": line.proof("POST", "/sign-in")}
        token = (await line.client.post("/sign-in", json=body, headers=headers)).json()["access_token"]
        bare = (await line.client.post("/sign-in", json=body)).json()["access_token"]
        assert (await line.me(token)).status_code == 200
        assert (await line.me(bare, None, "Bearer")).status_code == 200
        refused = [
            await line.me(token, None, "Bearer"),
            await line.me(token, KEY, "Bearer"),
            await line.me(token, None),
            await line.me(token, THIEF),
            await line.me(bare, KEY),
            await line.me(token, uri=f"{ISSUER}/v1/you"),
            await line.me(token, uri="https://attacker.test/v1/me"),
            await line.client.get(
                "/v1/me",
                headers={"Authorization": f"DPoP {token}", "DPoP": line.proof("POST", "/v1/me", KEY, token)},
            ),
            await line.client.get(
                "/v1/me",
                headers={"Authorization": f"DPoP {token}", "DPoP": line.proof("GET", "/v1/me", KEY, bare)},
            ),
        ]
        assert [each.status_code for each in refused] == [401] * len(refused)
        proven = {"Authorization": f"DPoP {token}", "DPoP": line.proof("GET", "/v1/me", KEY, token)}
        assert [(await line.client.get("/v1/me", headers=proven)).status_code for _ in range(2)] == [200, 401]
        stale = await line.me(token, nonce="of yesterday")
        assert "use_dpop_nonce" in stale.headers["WWW-Authenticate"]
        assert (await line.me(token, nonce=stale.headers["DPoP-Nonce"])).status_code == 200

    browse(office, story)
