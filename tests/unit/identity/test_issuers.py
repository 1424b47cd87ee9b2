"""External issuers are trusted for their own clients, by keys from one place, asked for at a limited rate."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.client.keys import ClientKey
from gateway.domain.callers import Caller
from gateway.domain.errors import GatewayError
from gateway.identity.signer import SoftwareSigner
from gateway.identity.tokens import issuers
from gateway.identity.tokens.issuers import MAX_AGE_SECONDS, ExternalIssuer
from gateway.identity.tokens.issuing import TokenIssuer
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, PEER, Clock, House, head

NAME = "https://idp.province.test"


class Provider:
    """A provincial identity service: signs tokens, publishes keys, counts who asks."""

    def __init__(self, now: Clock) -> None:
        self.now = now
        self.signer = SoftwareSigner.generate("ES256")
        self.published: list[dict[str, Any]] = []
        self.publish()
        self.asked = 0
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(200, json={"keys": self.published})
        self.delay = 0.0

    def token_signer(self) -> SoftwareSigner:
        return self.signer

    def publish(self) -> None:
        self.published.append({**self.signer.public_jwk, "kid": self.signer.kid, "use": "sig"})

    async def serve(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        assert str(request.url) == NAME + "/keys"
        await asyncio.sleep(self.delay)
        return self.answer()

    def token(self, system: str = "marriage-idp") -> str:
        from gateway.domain.directory import System  # noqa: PLC0415

        return TokenIssuer(self, NAME, AUDIENCE, self.now).issue(System(system, "", ""))[0]


class Setup:
    """A house that trusts the provider for one client."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.house = House(folder)
        self.provider = Provider(self.house.now)
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.provider.serve))
        self.issuer = ExternalIssuer(
            NAME, AUDIENCE, NAME + "/keys", {"marriage-idp": "marriage"}, self.house.now, client=client, **options
        )
        own = OwnIssuer(ISSUER, AUDIENCE, self.house.ring)
        self.house.verifier = TokenVerifier(own, self.house.now, externals=(self.issuer,))
        self.house.identify = self.house.new_identifier()

    async def call(self, token: str) -> Caller:
        found = self.house.identify(head(("authorization", f"Bearer {token}")), PEER)
        return await found if isinstance(found, Awaitable) else found


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_listed_client_is_its_system(setup: Setup) -> None:
    """The first token fetches the keys; the client becomes the system that settings say."""
    caller = asyncio.run(setup.call(setup.provider.token()))
    assert (caller.system, caller.department) == ("marriage", "civil-affairs")
    assert setup.provider.asked == 1


def test_unlisted_client_is_nobody(setup: Setup) -> None:
    """An issuer cannot name a system that settings did not give it, not even by its id here."""
    for name in ("tax", "marriage"):
        with pytest.raises(GatewayError, match="does not vouch"):
            asyncio.run(setup.call(setup.provider.token(name)))
    assert setup.provider.asked == 0


def test_unknown_kid_asks_at_a_limited_rate(setup: Setup) -> None:
    """A thousand tokens of unknown keys make one request; ten seconds later another is allowed."""

    async def run() -> None:
        await setup.call(setup.provider.token())
        setup.house.now.at += 60
        setup.provider.signer = SoftwareSigner.generate("ES256")
        for _ in range(1000):
            with pytest.raises(GatewayError):
                await setup.call(setup.provider.token())
        assert setup.provider.asked == 2
        setup.provider.publish()
        setup.house.now.at += 11
        await setup.call(setup.provider.token())
        assert setup.provider.asked == 3

    asyncio.run(run())


def test_those_who_wait_share_one_request(setup: Setup) -> None:
    """Tokens that come while keys are being asked for wait for that answer and all pass."""

    async def run() -> None:
        setup.provider.delay = 0.05
        tokens = [setup.provider.token() for _ in range(20)]
        callers = await asyncio.gather(*(setup.call(token) for token in tokens))
        assert len(callers) == 20
        assert setup.provider.asked == 1

    asyncio.run(run())


def test_withdrawn_key_ends_remembered_tokens(setup: Setup) -> None:
    """Once the issuer no longer publishes a key, tokens under it are refused, remembered or not."""

    async def run() -> None:
        token = setup.provider.token()
        await setup.call(token)
        setup.provider.signer = SoftwareSigner.generate("ES256")
        setup.provider.published = []
        setup.provider.publish()
        setup.house.now.at += 11
        await setup.issuer.refresh()
        with pytest.raises(GatewayError, match="key is not known"):
            await setup.call(token)

    asyncio.run(run())


def test_another_key_under_the_name_of_before_is_met_at_once(setup: Setup) -> None:
    """A signature that fails asks the issuer, at the same limited rate; tokens of the replaced key end."""

    async def run() -> None:
        old, name = setup.provider.token(), setup.provider.signer.kid
        await setup.call(old)
        setup.house.now.at += 60
        setup.provider.signer = SoftwareSigner.generate("ES256")
        setup.provider.signer.kid = name
        setup.provider.published = []
        setup.provider.publish()
        await setup.call(setup.provider.token())
        assert setup.provider.asked == 2
        setup.house.now.at += 1
        for _ in range(100):
            with pytest.raises(GatewayError, match="does not verify"):
                await setup.call(old)
        assert setup.provider.asked == 2

    asyncio.run(run())


def test_keys_that_grow_old_verify_no_more(setup: Setup) -> None:
    """An issuer that cannot be reached for an hour is no longer trusted; for less it is."""

    async def run() -> None:
        await setup.call(setup.provider.token())
        setup.provider.answer = lambda: httpx.Response(503)
        setup.house.now.at += MAX_AGE_SECONDS - 60
        await setup.call(setup.provider.token())
        setup.house.now.at += 120
        with pytest.raises(GatewayError, match="key is not known"):
            await setup.call(setup.provider.token())

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(302, headers={"Location": "https://attacker.test/keys"}),
        lambda: httpx.Response(200, content=b"x" * 300_000),
        lambda: httpx.Response(200, content=b'{"keys":[],"keys":[]}'),
        lambda: httpx.Response(200, content=b"[]"),
        lambda: httpx.Response(200, json={"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}] * 65}),
        lambda: httpx.Response(200, content=gzip.compress(b"x" * 10_000), headers={"Content-Encoding": "gzip"}),
    ],
)
def test_bad_key_set_is_not_taken(setup: Setup, answer: Callable[[], httpx.Response]) -> None:
    """A redirect, an endless or compressed set, duplicate members or no set at all: the keys stay as they were."""

    async def run() -> None:
        await setup.call(setup.provider.token())
        setup.provider.answer = answer
        setup.house.now.at += 11
        await setup.issuer.refresh()
        assert setup.provider.asked == 2
        await setup.call(setup.provider.token())

    asyncio.run(run())


def test_unusable_keys_of_a_set_are_left_out(setup: Setup) -> None:
    """Weak keys, keys for encryption, nameless ones and two of one name verify nothing; the good one does."""
    good = setup.provider.published[0]
    weak = {"kty": "oct", "kid": "weak", "k": "AAAA"}
    encrypting = {**SoftwareSigner.generate("ES256").public_jwk, "kid": "enc", "use": "enc"}
    twins = [{**SoftwareSigner.generate("ES256").public_jwk, "kid": "twin"} for _ in range(2)]
    nameless = SoftwareSigner.generate("ES256").public_jwk
    odd = [{**good, "kid": f"odd-{number}", "alg": value} for number, value in enumerate([["ES256"], {}, 5, True])]
    setup.provider.published = [weak, encrypting, *twins, nameless, good, *odd, "no key"]  # type: ignore[list-item]
    asyncio.run(setup.call(setup.provider.token()))
    assert set(setup.issuer.keys()) == {good["kid"]}


def test_failure_of_any_kind_does_not_end_the_asking(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    """What nobody foresaw is logged by its kind, and the next asking comes."""

    def fail() -> httpx.Response:
        raise ZeroDivisionError("with a secret in its words")

    async def run() -> None:
        setup.provider.answer = fail
        await setup.issuer.refresh()
        setup.provider.answer = lambda: httpx.Response(200, json={"keys": setup.provider.published})
        setup.house.now.at += 11
        await setup.call(setup.provider.token())

    asyncio.run(run())
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


def test_dripping_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte now and then, each within the time-out for a read, holds nobody for long."""
    monkeypatch.setattr(issuers, "TIMEOUT_SECONDS", 0.3)

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(100_000):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        ended.set()

    async def run() -> None:
        async with await asyncio.start_server(drip, "127.0.0.1", 0) as server, httpx.AsyncClient() as client:
            uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
            issuer = ExternalIssuer(NAME, AUDIENCE, uri, {}, Clock(), client=client)
            async with asyncio.timeout(10):
                await issuer.refresh()
                await ended.wait()
            assert issuer.keys() == {}

    ended = asyncio.Event()

    asyncio.run(run())


def test_rs256_only_where_settings_say(tmp_path: Path) -> None:
    """An RSA key verifies PS256; RS256 is for issuers that settings allow it."""
    key = ClientKey(rsa.generate_private_key(65537, 2048)).registration()
    jwk = {name: value for name, value in key.items() if name != "alg"}
    document = json.dumps({"keys": [jwk]}).encode()
    for allow, algorithms in [(False, {"PS256"}), (True, {"PS256", "RS256"})]:
        issuer = Setup(tmp_path / str(allow), allow_rs256=allow).issuer
        assert issuer._parse(document)[jwk["kid"]].algorithms == algorithms


def test_keys_come_over_tls_only() -> None:
    """A plain http address off this machine is refused by name."""
    with pytest.raises(GatewayError, match="must come over https"):
        ExternalIssuer(NAME, AUDIENCE, "http://idp.province.test/keys", {}, Clock())
