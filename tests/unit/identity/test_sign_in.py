"""Officers come by a session token through a local account or an OpenID provider, and by nothing else."""

import asyncio
import base64
import json
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import argon2
import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from gateway.client.keys import ClientKey
from gateway.control.sign_in.command_line import command_line_routers
from gateway.control.sign_in.possession import Possession
from gateway.control.sign_in.sign_in import OfficerSignIn, SecondFactor, SignInServices, sign_in_router
from gateway.domain.errors import GatewayError, problem_document
from gateway.domain.officers import Authenticator, Officer, ProviderSession
from gateway.identity.officers.accounts import LocalAccounts
from gateway.identity.officers.oidc import OpenIdSignIn, Provider, local_path
from gateway.identity.officers.passwords import HashingPool, require_strong
from tests.unit.identity.identity_kit import ISSUER, OFFICER, House

PASSWORD = "nine cups of jasmine tea"
FAST = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
IDP = "https://idp.test/realms/gov"


class Slow(argon2.PasswordHasher):
    """The real hasher, which counts, and waits while it may not go."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=64, parallelism=1)
        self.checked = 0
        self.may_go = threading.Event()
        self.may_go.set()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # noqa: A002 -- argon2's name
        self.checked += 1
        assert self.may_go.wait(60)
        return super().verify(hash, password)


class Idp:
    """An OpenID provider: metadata, keys, and ID tokens for whoever brings the code that belongs to the challenge."""

    def __init__(self, house: House) -> None:
        self.now = house.now
        self.key = ClientKey(rsa.generate_private_key(65537, 2048), "idp-1")
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {
            "issuer": IDP,
            "authorization_endpoint": IDP + "/auth",
            "token_endpoint": IDP + "/token",
            "jwks_uri": IDP + "/keys",
        }
        self.algorithm = "RS256"
        self.kid: str | None = "idp-1"
        self.padding = 0
        self.secret = "client secret"
        self.token: Callable[[dict[str, Any]], str] | None = None
        self.userinfo: dict[str, Any] | None = None
        self.names_keys = True
        self.nonce = ""
        self.challenge = ""
        self.exchanges = 0

    def knows_client(self, request: httpx.Request, form: dict[str, list[str]]) -> bool:
        """By RFC 6749 §2.3.1, each half of Basic form-decoded, or by an assertion."""
        if "client_assertion" in form:
            assertion = jwt.decode(form["client_assertion"][0], options={"verify_signature": False})
            return (assertion["iss"], assertion["aud"]) == ("sharing-gateway", IDP + "/token")
        halves = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode().split(":")
        return [unquote_plus(half) for half in halves] == ["sharing-gateway", self.secret]

    def logout_token(self, **changed: Any) -> str:
        at = int(self.now())
        event = {"http://schemas.openid.net/event/backchannel-logout": {}}
        claims = {"iss": IDP, "aud": "sharing-gateway", "iat": at, "exp": at + 120, "jti": "l-1", "sub": "u-1"}
        claims = {name: value for name, value in {**claims, "events": event, **changed}.items() if value is not None}
        return jwt.encode(claims, self.key._key, self.algorithm, headers={"kid": "idp-1", "typ": "logout+jwt"})

    def authorize(self, url: str) -> dict[str, str]:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["code_challenge_method"] == "S256"
        self.nonce, self.challenge = asked["nonce"], asked["code_challenge"]
        return {"code": "code-1", "state": asked["state"]}

    async def serve(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/realms/gov")
        if path == "/.well-known/openid-configuration":
            return httpx.Response(200, json=self.metadata)
        if path == "/keys":
            left_out = {"alg"} if self.names_keys else {"alg", "kid"}
            jwk = {k: v for k, v in self.key.registration().items() if k not in left_out}
            return httpx.Response(200, json={"keys": [jwk]})
        if path == "/userinfo":
            known = request.headers["authorization"] == "Bearer at" and self.userinfo is not None
            return httpx.Response(200, json=self.userinfo) if known else httpx.Response(401)
        self.exchanges += 1
        form = parse_qs(request.content.decode())
        if not self.knows_client(request, form):
            return httpx.Response(401, json={"error": "invalid_client"})
        from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415 -- what it is compared with

        if create_s256_code_challenge(form["code_verifier"][0]) != self.challenge:
            return httpx.Response(400, json={"error": "invalid_grant"})
        at = int(self.now())
        claims = {
            "iss": IDP,
            "sub": "u-1",
            "aud": "sharing-gateway",
            "iat": at,
            "exp": at + 300,
            "nonce": self.nonce,
            "preferred_username": OFFICER.id,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        claims["padding"] = "x" * self.padding
        headers = {"kid": self.kid} if self.kid else None
        token = self.token(claims) if self.token else jwt.encode(claims, self.key._key, self.algorithm, headers=headers)
        return httpx.Response(200, json={"id_token": token, "access_token": "at", "token_type": "Bearer"})


class Office:
    """The control plane's sign-in over the house, with a browser's cookies."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.idp = Idp(house)
        self._app: FastAPI | None = None
        self.hashes = {OFFICER.id: FAST.hash(PASSWORD)}
        self.told: list[tuple[str, str]] = []
        self.accounts = LocalAccounts(house.officers.get, self.hashes.get, house.now, pool=HashingPool(FAST))
        self.persons: dict[str, str] = {}
        self.ended: list[tuple[str, str, str]] = []
        self.authenticators: dict[str, Authenticator] = {}
        self.noted: list[ProviderSession] = []
        self.client_secret = "client secret"
        self.assertion: Callable[[str], str] | None = None

    def app(self) -> FastAPI:
        house = self.house
        provider = OpenIdSignIn(
            Provider(
                IDP,
                "sharing-gateway",
                self.client_secret,
                ISSUER + "/sign-in/provider/answer",
                assertion=self.assertion,
            ),
            house.now,
            client=httpx.AsyncClient(transport=httpx.MockTransport(self.idp.serve)),
        )
        services = SignInServices(
            issuer=house.issuer,
            officer=house.officers.get,
            open_session=house.open_session,
            known_as=self.known_as,
            tell=lambda _officer: (),
            end_as=lambda out: self.ended.append((out.issuer, out.subject, out.sid)),
            note_provider=self.noted.append,
            security=house.security,
            accounts=self.accounts,
            provider=provider,
            cipher=house.ring.field_cipher,
            use_once=house.once,
            signed_in=self.signed_in,
            second_factor=SecondFactor(self.authenticators.get, house.ring.field_cipher, house.once, house.now),
            possession=(possession := Possession(house.proofs, house.replay.use_once, ISSUER)),
        )
        app = FastAPI()
        for router in (sign_in_router(services), *command_line_routers(services)):
            app.include_router(router)
        sign_in = OfficerSignIn(house.verifier, house, house.security, house.now, possession)

        @app.get("/v1/me")
        def me(officer: Officer = Depends(sign_in.officer_of)) -> dict[str, Any]:  # noqa: B008 -- FastAPI's way
            return {"id": officer.id, "roles": list(officer.roles)}

        @app.exception_handler(GatewayError)
        def refused(request: Request, error: GatewayError) -> JSONResponse:
            document = problem_document(error)
            return JSONResponse(document, document["status"], headers=dict(error.headers))

        return app

    def known_as(self, issuer: str, subject: str, officer: str) -> None:
        assert issuer == IDP
        if self.persons.setdefault(officer, subject) != subject:
            raise GatewayError("credential-invalid", "another person's name")

    def signed_in(self, officer: Officer, method: str) -> None:
        self.told.append((officer.id, method))

    def browse(self, story: Callable[[httpx.AsyncClient], Any]) -> Any:
        async def run() -> Any:
            self._app = self._app or self.app()
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
                return await story(client)

        return asyncio.run(run())

    def password(self, officer: str = OFFICER.id, password: str = PASSWORD, device: str = "") -> httpx.Response:
        async def story(client: httpx.AsyncClient) -> httpx.Response:
            body = {"officer": officer, "password": password, "device": device}
            return await client.post("/sign-in", json=body)

        return self.browse(story)

    def me(self, authorization: str | None) -> httpx.Response:
        async def story(client: httpx.AsyncClient) -> httpx.Response:
            headers = {"Authorization": authorization} if authorization is not None else {}
            return await client.get("/v1/me", headers=headers)

        return self.browse(story)

    def through_provider(self, **answer: str) -> tuple[httpx.Response, httpx.Cookies]:
        async def story(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Cookies]:
            away = await client.get("/sign-in/provider", params={"return_to": "/console/uses"})
            assert away.status_code == 303
            back = {**self.idp.authorize(away.headers["Location"]), **answer}
            return await client.get("/sign-in/provider/answer", params=back), client.cookies

        return self.browse(story)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(House(tmp_path))


def test_password_gives_a_session(office: Office) -> None:
    """The right password is answered with a token that the control API takes; the sign-in is told of."""
    answer = office.password()
    assert answer.headers["Cache-Control"] == "no-store"
    token = answer.json()["access_token"]
    assert office.me(f"Bearer {token}").json() == {"id": OFFICER.id, "roles": ["supplier"]}
    assert office.told == [(OFFICER.id, "password")]


def test_sign_in_that_cannot_be_recorded_ends_without_a_token(office: Office) -> None:
    """By either way: a problem, no token and no session cookie; once records can be written it goes again."""

    def fail(_officer: Officer, _method: str) -> None:
        raise GatewayError("records-unavailable", "the act could not be recorded")

    office.signed_in = fail  # type: ignore[method-assign]
    by_password, (by_provider, cookies) = office.password(), office.through_provider()
    for answer in (by_password, by_provider):
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/records-unavailable")
        assert "access_token" not in answer.text
    assert "__Host-sharing-session" not in cookies
    del office.signed_in
    office._app = None
    assert office.password().status_code == 200


def test_roles_and_dismissal_hold_at_once(office: Office) -> None:
    """A session of an officer who is dismissed afterwards is worth nothing."""
    token = office.password().json()["access_token"]
    office.house.officers[OFFICER.id] = msgspec.structs.replace(OFFICER, active=False)
    assert office.me(f"Bearer {token}").status_code == 401
    assert office.password().status_code == 401


@pytest.mark.parametrize("officer", [OFFICER.id, "nobody"])
def test_wrong_password_says_nothing(office: Office, officer: str) -> None:
    """A wrong password and an unknown officer are refused alike, and neither is repeated."""
    answer = office.password(officer, "wrong password entirely")
    assert answer.status_code == 401
    assert answer.json()["detail"] == "officer or password is not right"
    assert "entirely" not in answer.text


def test_guessing_is_slowed_and_ends(office: Office) -> None:
    """After three failures even the right password waits; the wait doubles; success forgets."""
    for _ in range(3):
        assert office.password(password="guess guess guess").status_code == 401
    slowed = office.password()
    assert (slowed.status_code, slowed.headers["Retry-After"]) == (429, "2")
    office.house.now.at += 1.1
    assert office.password(password="guess guess guess").status_code == 401
    office.house.now.at += 1.1
    assert office.password().status_code == 429
    office.house.now.at += 1
    assert office.password().status_code == 200
    assert office.password(password="guess guess guess").status_code == 401
    assert office.password().status_code == 200


def test_address_that_tries_many_accounts_is_slowed(office: Office) -> None:
    """Twenty failures over different accounts slow the address, also for accounts it has not tried."""
    for number in range(20):
        office.password(f"officer-{number}", "guess guess guess")
    assert office.password().status_code == 429


def test_address_that_must_wait_does_not_keep_an_account_waiting(office: Office) -> None:
    """Who has guessed at many accounts cannot, without being checked, hold one of them for its officer."""
    for _ in range(4):
        office.house.now.at += 60
        office.password(password="guess guess guess")
    for number in range(22):
        office.house.now.at += 2.0 ** max(0, number - 16)
        assert office.password(f"officer-{number}", "guess guess guess").status_code == 401
    for _ in range(5):
        office.house.now.at += 1
        assert office.password(password="guess guess guess").status_code == 429
    officer = office.accounts.sign_in(OFFICER.id, PASSWORD, "198.51.100.7")
    assert officer == OFFICER


def test_guesses_side_by_side_are_no_more_than_one_by_one(office: Office) -> None:
    """Forty guesses at once: three are checked, as three in a row would be; the rest wait."""
    hasher = Slow()
    accounts = LocalAccounts(office.house.officers.get, office.hashes.get, office.house.now, pool=HashingPool(hasher))

    def guess(number: int) -> str:
        try:
            accounts.sign_in(OFFICER.id, f"guess number {number}", f"192.0.2.{number}")
        except GatewayError as error:
            return error.code
        return "let through"

    with ThreadPoolExecutor(40) as pool:
        answers = Counter(pool.map(guess, range(40)))
    assert answers == {"credential-invalid": 3, "rate-limited": 37}
    assert hasher.checked == 3


def test_flood_of_sign_ins_holds_few_threads(office: Office) -> None:
    """Of many sign-ins at once eight are taken in, checked two by two; the rest are answered without waiting."""
    hasher = Slow()
    accounts = LocalAccounts(office.house.officers.get, office.hashes.get, office.house.now, pool=HashingPool(hasher))
    others_answered = threading.Barrier(33)

    def attempt(number: int) -> str:
        try:
            accounts.sign_in(f"officer-{number}", "a long enough guess", f"192.0.2.{number}")
        except GatewayError as error:
            if error.code == "rate-limited":
                others_answered.wait(60)
            return error.code
        return "let through"

    def release() -> None:
        others_answered.wait(60)
        hasher.may_go.set()

    hasher.may_go.clear()
    threading.Thread(target=release).start()
    with ThreadPoolExecutor(40) as pool:
        answers = Counter(pool.map(attempt, range(40)))
    assert answers == {"credential-invalid": 8, "rate-limited": 32}


def test_network_of_one_machine_is_one_address(office: Office) -> None:
    """The addresses of one /64 are slowed together, as those of one machine are."""
    for number in range(20):
        with pytest.raises(GatewayError, match="not right"):
            office.accounts.sign_in(f"officer-{number}", "guess guess guess", f"2001:db8:0:1::{number + 1:x}")
    with pytest.raises(GatewayError, match="rate-limited"):
        office.accounts.sign_in("officer-99", "guess guess guess", "2001:db8:0:1:ffff::1")
    with pytest.raises(GatewayError, match="not right"):
        office.accounts.sign_in("officer-99", "guess guess guess", "2001:db8:0:2::1")


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "aaaaaaaaaaaaaaaa",
        OFFICER.id + OFFICER.id,
        f"{OFFICER.name}{OFFICER.department}1",
        "x" * 2000,
        "Password123!Password",
        "qwertyuiop123",
        "1qaz2wsx3edc",
        "iloveyou1234",
        "woaini1314520",
        "123456789012",
    ],
)
def test_weak_passwords_are_refused(password: str) -> None:
    """Too short, too long, one character, known from elsewhere, or made of what is known of the officer."""
    with pytest.raises(GatewayError, match="invalid-input"):
        require_strong(password, (OFFICER.id, OFFICER.name, OFFICER.department))


def test_stored_hash_is_argon2id() -> None:
    """What is stored is argon2id with RFC 9106's memory-constrained parameters."""
    require_strong(PASSWORD, (OFFICER.id,))
    assert HashingPool().hash(PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_the_longest_id_is_its_owners_and_no_shorter_one(office: Office) -> None:
    """An id in a department's namespace is taken as it is typed: cut off, it could be another officer's."""
    longest = f"{'a' * 63}.{'b' * 63}"
    for id_, password in ((longest, PASSWORD), (longest[:64], "ten cups of green tea")):
        office.house.officers[id_] = msgspec.structs.replace(OFFICER, id=id_)
        office.hashes[id_] = FAST.hash(password)
    assert office.accounts.sign_in(longest, PASSWORD, "192.0.2.1").id == longest
    with pytest.raises(GatewayError, match="credential-invalid"):
        office.accounts.sign_in(longest, "ten cups of green tea", "192.0.2.2")


def test_failures_of_a_month_keep_nobody_out(office: Office) -> None:
    """Ninety right sign-ins a day behind one proxy, one in ten mistyped before: after thirty days each goes at once."""
    colleagues = [msgspec.structs.replace(OFFICER, id=f"officer-{number}") for number in range(9)]
    for each in colleagues:
        office.house.officers[each.id] = each
        office.hashes[each.id] = office.hashes[OFFICER.id]
    for attempt in range(30 * 90):
        name = colleagues[attempt % 9].id
        if attempt % 10 == 0:
            with pytest.raises(GatewayError, match="not right"):
                office.accounts.sign_in(name, "mistyped", "192.0.2.1")
            office.house.now.at += 5
        assert office.accounts.sign_in(name, PASSWORD, "192.0.2.1").id == name
        office.house.now.at += 300


def test_whoever_guesses_does_not_keep_the_right_person_out(office: Office) -> None:
    """A device that has signed in before has a lane of its own, at an address that guesses, too; another's has none."""
    device = office.password().json()["device"]
    for number in range(40):
        office.house.now.at += 1
        office.password(password=f"guess number {number}")
    assert office.password().status_code == 429
    assert office.password(device=device).status_code == 200
    for number in range(3):
        assert office.password(password=f"guess number {number}", device=device).status_code == 401
    assert office.password(device=device).status_code == 429
    other = msgspec.structs.replace(OFFICER, id="officer-2")
    office.house.officers[other.id], office.hashes[other.id] = other, office.hashes[OFFICER.id]
    office.house.now.at += 3600
    foreign = office.password(other.id).json()["device"]
    for _ in range(3):
        office.password(password="guess guess guess")
    assert office.password(device=foreign).status_code == 429


def test_a_name_that_the_provider_gives_to_another_person_signs_nobody_in(office: Office) -> None:
    """An account is the person who came first; whoever bears that name at the provider later is not let in as them."""
    assert office.through_provider()[0].status_code == 303
    office.idp.claims["sub"] = "u-2"
    assert office.through_provider()[0].status_code == 401
    office.idp.claims["sub"] = "u-1"
    assert office.through_provider()[0].status_code == 303


def test_session_token_is_asked_for(office: Office) -> None:
    """Nothing, another scheme, a system's token, a cookie: none acts on the control plane."""
    system = office.house.token()
    for authorization in (None, "Basic dTpw", "Bearer", "Bearer a.b.c", f"Bearer {system}"):
        answer = office.me(authorization)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    token = office.house.officer_token()

    async def by_cookie(client: httpx.AsyncClient) -> httpx.Response:
        client.cookies.set("__Host-sharing-session", token)
        return await client.get("/v1/me")

    assert office.browse(by_cookie).status_code == 401


def test_session_ends(office: Office) -> None:
    """A session token lives half an hour."""
    token = office.house.officer_token()
    office.house.now.at += 1831
    assert office.me(f"Bearer {token}").status_code == 401
    for seconds in (0, 100_000):
        with pytest.raises(GatewayError, match="invalid-input"):
            office.house.issuer.issue_officer(OFFICER, seconds, session="s")


def test_provider_signs_in(office: Office) -> None:
    """Through the provider and back: a session in a cookie only the host's own pages get, and the page asked for."""
    answer, cookies = office.through_provider()
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/uses")
    set_cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("__Host-sharing-session"))
    for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert attribute in set_cookie
    token = cookies["__Host-sharing-session"]
    assert office.me(f"Bearer {token}").json()["id"] == OFFICER.id
    assert office.told == [(OFFICER.id, "provider")]


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ({"state": "forged"}, {}),
        ({"code": ""}, {}),
        ({"error": "access_denied"}, {}),
        ({"iss": "https://attacker.test"}, {}),
        ({}, {"iss": "https://attacker.test"}),
        ({}, {"aud": "another-client"}),
        ({}, {"aud": ["sharing-gateway", "another-client"]}),
        ({}, {"azp": "another-client"}),
        ({}, {"nonce": "stale"}),
        ({}, {"nonce": None}),
        ({}, {"exp": 1000, "iat": 900}),
        ({}, {"at_hash": "AAAA"}),
        ({}, {"preferred_username": None}),
        ({}, {"preferred_username": "stranger"}),
    ],
)
def test_answer_that_does_not_fit_is_refused(office: Office, answer: dict[str, str], claims: dict[str, Any]) -> None:
    """Another state, code, issuer, audience, party, nonce, time, hash or person: no session."""
    office.idp.claims = claims
    response, cookies = office.through_provider(**answer)
    assert response.status_code == 401
    assert "__Host-sharing-session" not in cookies


@pytest.mark.parametrize("secret", ["plain", "a+b", "50%", "a&b=c", "a:b", "a b", "pässwörd/?#"])
def test_client_secret_is_form_encoded(office: Office, secret: str) -> None:
    """RFC 6749 §2.3.1: whatever a secret holds, the provider reads the same."""
    office.client_secret = office.idp.secret = secret
    assert office.through_provider()[0].status_code == 303


def test_client_proves_itself_by_key(office: Office) -> None:
    """`private_key_jwt`: an assertion for the token endpoint, and no secret."""
    key = ClientKey(rsa.generate_private_key(65537, 2048), "gateway")
    office.client_secret, office.idp.secret = "", "there is none"
    office.assertion = lambda audience: key.assertion("sharing-gateway", audience, int(office.house.now()))
    assert office.through_provider()[0].status_code == 303


def test_cause_stands_in_the_log_and_the_secret_does_not(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """A client that the provider does not know: which setting, what the provider said; the person is told no more."""
    office.client_secret = "not the right one"
    answer = office.through_provider()[0]
    assert answer.json()["type"] == "/problems/unavailable"
    assert "officers.client_secret_file" in caplog.text
    assert "invalid_client" in caplog.text
    assert "not the right one" not in caplog.text + answer.text


def test_what_providers_send_is_read(office: Office) -> None:
    """Times with a fraction, a token without `kid` where there is one key, and a large one."""
    at = office.house.now()
    office.idp.claims = {"iat": int(at) + 0.25, "exp": int(at) + 300.5}
    office.idp.kid, office.idp.padding = None, 40_000
    office.idp.names_keys = False
    assert office.through_provider()[0].status_code == 303
    office.idp.claims["exp"] = float("inf")
    assert office.through_provider()[0].status_code == 401


def test_rotation_at_the_provider_is_met_at_once_and_withdrawal_within_minutes(office: Office) -> None:
    """Another key under another or the same `kid` signs in on its first token; the old one ends."""
    assert office.through_provider()[0].status_code == 303
    old = office.idp.key
    office.idp.key = ClientKey(rsa.generate_private_key(65537, 2048), "idp-1")
    assert office.through_provider()[0].status_code == 303
    office.house.now.at += 11
    office.idp.key, office.idp.kid = ClientKey(rsa.generate_private_key(65537, 2048), "idp-2"), "idp-2"
    assert office.through_provider()[0].status_code == 303
    shown, office.idp.key = office.idp.key, old
    registration = shown.registration()
    old.registration = lambda: registration  # type: ignore[method-assign] - published is the new one alone
    office.house.now.at += 301
    assert office.through_provider()[0].status_code == 401


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 200),
        ({"nonce": "n"}, 401),
        ({"events": {}}, 401),
        ({"events": None}, 401),
        ({"sub": None}, 401),
        ({"sub": None, "sid": "s-1"}, 200),
        ({"sid": 5}, 401),
        ({"aud": "another"}, 401),
        ({"iss": "https://attacker.test"}, 401),
        ({"exp": 1000, "iat": 900}, 401),
    ],
)
def test_logout_at_the_provider_ends_sessions_here(office: Office, changed: dict[str, Any], status: int) -> None:
    """OpenID Connect Back-Channel Logout: a logout token ends them once; an ID token or a forged one ends nothing."""

    async def story(client: httpx.AsyncClient) -> list[int]:
        form = {"logout_token": office.idp.logout_token(**changed)}
        return [(await client.post("/sign-in/provider/logout", data=form)).status_code for _ in range(2)]

    assert office.browse(story) == [status, status]
    named = {"sub": "u-1", "sid": "", **changed}
    assert office.ended == ([(IDP, named["sub"] or "", named["sid"])] if status == 200 else [])


def test_answer_in_another_browser_is_refused(office: Office) -> None:
    """An answer without the cookie of the browser that began is nobody's (login CSRF)."""

    async def story(client: httpx.AsyncClient) -> httpx.Response:
        away = await client.get("/sign-in/provider")
        back = office.idp.authorize(away.headers["Location"])
        client.cookies.clear()
        client.cookies.set("__Host-sharing-sign-in", secrets.token_urlsafe(64))
        return await client.get("/sign-in/provider/answer", params=back)

    assert office.browse(story).status_code == 401
    assert office.idp.exchanges == 0


def test_answer_is_good_once(office: Office) -> None:
    """The same answer a second time, cookie and all, is refused before the provider is asked."""

    async def story(client: httpx.AsyncClient) -> list[int]:
        away = await client.get("/sign-in/provider")
        kept = client.cookies["__Host-sharing-sign-in"]
        back = office.idp.authorize(away.headers["Location"])
        codes = []
        for _ in range(2):
            client.cookies.set("__Host-sharing-sign-in", kept)
            codes.append((await client.get("/sign-in/provider/answer", params=back)).status_code)
        return codes

    assert office.browse(story) == [303, 401]
    assert office.idp.exchanges == 1


def test_provider_that_is_not_itself_is_refused(office: Office) -> None:
    """Metadata of another issuer, or with endpoints off https, are not used."""
    for name, value in [("issuer", "https://attacker.test"), ("token_endpoint", "http://attacker.test/token")]:
        office.idp.metadata = {**office.idp.metadata, name: value}

        async def story(client: httpx.AsyncClient) -> httpx.Response:
            return await client.get("/sign-in/provider")

        assert office.browse(story).status_code == 503


@pytest.mark.parametrize("path", ["https://attacker.test", "//attacker.test", "/\\attacker.test", "x", "/a\nb", ""])
def test_return_goes_nowhere_else(path: str) -> None:
    """After a sign-in the browser is sent to a path of this host, or to its root."""
    assert local_path(path) == "/"
    assert local_path("/console?x=1") == "/console?x=1"


def test_secrets_do_not_show(office: Office) -> None:
    """INVARIANT: NO-VALUES. Neither a provider's secret nor a password stands in what may be printed."""
    assert "client secret" not in repr(Provider(IDP, "c", "client secret", "r"))
    office.password(password="guess guess guess")
    assert "guess" not in json.dumps(office.house.security.counters)
