"""Officers sign in at a real OpenID provider, on a gateway that runs: from the first page to an act, over sockets."""

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from gateway.control.sign_in.sign_in import SESSION_COOKIE
from tests.support.gateways import RunningGateway, running_gateway
from tests.unit.identity.openid_provider import OpenIdProvider

pytestmark = pytest.mark.deep
PASSWORD = "seven cups of green tea"


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    made = OpenIdProvider({"auditor-he": PASSWORD, "police-chen": PASSWORD, "stranger": PASSWORD})
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateway(provider: OpenIdProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    folder = tmp_path_factory.mktemp("provider")
    secret = folder / "client-secret"
    secret.write_text(provider.client_secret + "\n")
    environment = {
        "GATEWAY_OFFICERS__PROVIDER": provider.issuer,
        "GATEWAY_OFFICERS__CLIENT_ID": provider.client_id,
        "GATEWAY_OFFICERS__CLIENT_SECRET_FILE": str(secret),
        "GATEWAY_LOG__LEVEL": "debug",
    }
    with running_gateway(folder / "home", **environment) as running:
        provider.redirect_uris.add(f"{running.control}/sign-in/provider/answer")
        yield running


def browser(gateway: RunningGateway) -> httpx.Client:
    return httpx.Client(base_url=gateway.control, trust_env=False, timeout=15)


def back_from_provider(client: httpx.Client, person: str, password: str = PASSWORD) -> str:
    """Where the provider sends the browser of `person`, who has begun at the gateway."""
    away = client.get("/sign-in/provider", params={"return_to": "/v1/records"})
    assert away.status_code == 303
    form = client.get(away.headers["Location"])
    assert "<form" in form.text
    back = client.post(away.headers["Location"], data={"user": person, "password": password})
    return back.headers.get("Location", "")


def records(client: httpx.Client, token: str) -> httpx.Response:
    return client.get("/v1/records", headers={"Authorization": f"Bearer {token}"})


def test_officer_signs_in_and_acts(gateway: RunningGateway, provider: OpenIdProvider) -> None:
    """Login form, code, ID token, session: the auditor reads records, and nothing secret stands in the log."""
    with browser(gateway) as client:
        back = back_from_provider(client, "auditor-he")
        answer = client.get(back)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/v1/records")
        token = client.cookies[SESSION_COOKIE]
        assert records(client, token).status_code == 200
        assert client.get(answer.headers["Location"]).status_code == 401
        assert client.get(back).status_code == 401
    log = gateway.log.read_text("utf-8")
    code = dict(parse_qsl(urlsplit(back).query))["code"]
    assert [secret for secret in (provider.client_secret, code, token, PASSWORD) if secret in log] == []


def test_rights_are_the_officers_own(gateway: RunningGateway) -> None:
    """A supplier's officer signs in likewise and is bound to its department: policy refuses the rest."""
    with browser(gateway) as client:
        assert client.get(back_from_provider(client, "police-chen")).status_code == 303
        session = {"Authorization": f"Bearer {client.cookies[SESSION_COOKIE]}"}
        assert client.get("/v1/systems", headers=session).status_code in (200, 403)
        refused = client.post("/v1/keys/token/rotation", json={"reason": "x"}, headers=session)
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/act-not-permitted")


def test_whom_only_the_provider_knows_is_refused(gateway: RunningGateway) -> None:
    """The provider says who it is; whether that is an officer is the gateway's own register."""
    with browser(gateway) as client:
        assert client.get(back_from_provider(client, "stranger")).status_code == 401
        assert SESSION_COOKIE not in client.cookies


def test_wrong_password_never_comes_back(gateway: RunningGateway) -> None:
    """The provider's refusal stays at the provider."""
    with browser(gateway) as client:
        assert back_from_provider(client, "auditor-he", "wrong") == ""


def test_code_of_another_browser_is_refused(gateway: RunningGateway, provider: OpenIdProvider) -> None:
    """A code put into another browser's sign-in does not fit its PKCE verifier, and its state not the cookie."""
    with browser(gateway) as victim, browser(gateway) as attacker:
        stolen = dict(parse_qsl(urlsplit(back_from_provider(victim, "auditor-he")).query))
        own = dict(parse_qsl(urlsplit(back_from_provider(attacker, "police-chen")).query))
        before = provider.refused_codes
        mixed = {"code": stolen["code"], "state": own["state"], "iss": provider.issuer}
        refused = attacker.get("/sign-in/provider/answer", params=mixed)
        assert (refused.status_code, refused.json()["type"]) == (401, "/problems/credential-invalid")
        assert provider.refused_codes == before + 1
        assert attacker.get("/sign-in/provider/answer", params=stolen).status_code == 401
        assert SESSION_COOKIE not in attacker.cookies


@pytest.mark.parametrize("change", [{"iss": "https://attacker.test"}, {"iss": ""}, {"state": "x"}, {"code": "x" * 40}])
def test_changed_answer_is_refused(gateway: RunningGateway, change: dict[str, str]) -> None:
    """Another provider, none, another state, an invented code: no session (RFC 9207, RFC 9700)."""
    with browser(gateway) as client:
        answer = dict(parse_qsl(urlsplit(back_from_provider(client, "auditor-he")).query))
        refused = client.get("/sign-in/provider/answer", params={**answer, **change})
        assert refused.status_code == 401
        assert SESSION_COOKIE not in client.cookies
