"""What suppliers are shown of who calls: what is taken as a credential, and tokens that are fetched for it."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from gateway.domain.credentials import ClientAuth, CredentialKind, Shown, SupplierCredential
from gateway.domain.errors import GatewayError
from gateway.identity.suppliers.credentials import seal_credential
from gateway.identity.suppliers.showing import Fixed
from gateway.identity.suppliers.tokens import FAILED_SECONDS, ClientCredentials, token_request

NOW = 1_760_000_000.0
OAUTH = SupplierCredential(
    "police", "token", CredentialKind.OAUTH, user="gate:way", token_url="https://sso.police.example/oauth/token"
)


def stored(kind: str, **said: Any) -> SupplierCredential:
    return SupplierCredential("police", "key", CredentialKind(kind), **said)


def sealed(said: SupplierCredential, secret: str, known: SupplierCredential | None = None, overlap: int = 0) -> Any:
    def seal(octets: bytes, context: str) -> str:
        return f"{context}:{octets.hex()}"

    return seal_credential(said, secret, known, overlap_seconds=overlap, seal=seal, now_unix=NOW)


@pytest.mark.parametrize(
    ("said", "secret", "field"),
    [
        (stored("field", field="X-Key"), "", "secret"),
        (stored("field", field="X-Key"), "x" * 5000, "secret"),
        (stored("field", field="X-Key"), "a\r\nHost: evil", "secret"),
        (stored("field", field="X-Key"), "钥匙", "secret"),
        (stored("field", field="X-Key"), " padded", "secret"),
        (stored("field"), "s", "field"),
        (stored("field", field="X Key"), "s", "field"),
        (stored("field", field="X_Key"), "s", "field"),
        (stored("field", field="Content-Length"), "s", "field"),
        (stored("field", field="Sharing-Department"), "s", "field"),
        (stored("field", field="X-Key", prefix="a\nb"), "s", "prefix"),
        (stored("field", field="X-Key", user="me"), "s", "user"),
        (stored("parameter", field="a&b"), "s", "field"),
        (stored("parameter", field="key", prefix="x "), "s", "prefix"),
        (stored("basic"), "s", "user"),
        (stored("basic", user="a:b"), "s", "user"),
        (stored("basic", user="a"), "line\nend", "secret"),
        (stored("oauth", user="a"), "s", "token_url"),
        (stored("oauth", user="a", token_url="https://u:p@h.example/t"), "s", "token_url"),
        (stored("oauth", user="a", token_url="https://h.example/t", scope="a  b"), "s", "scope"),
    ],
)
def test_what_is_no_credential_is_refused_by_name(said: SupplierCredential, secret: str, field: str) -> None:
    """NO-VALUES: each fault names its field, and none repeats a secret."""
    with pytest.raises(GatewayError, match="invalid-input") as refused:
        sealed(said, secret)
    told = refused.value.members["faults"]
    assert [fault["field"] for fault in told] == [field]
    assert len(secret) < 2 or secret not in repr(told)


def test_a_secret_overlaps_only_one_of_its_own_kind() -> None:
    """What is shown where the new one is refused is what this supplier took before, in the same place."""
    first = sealed(stored("field", field="X-Key"), "old")
    with pytest.raises(GatewayError) as refused:
        sealed(stored("field", field="X-Other"), "new", first, 60)
    assert refused.value.members["faults"][0]["field"] == "overlap_seconds"
    second = sealed(stored("field", field="X-Key"), "new", first, 60)
    assert (second.before, second.before_until_unix) == (first.sealed, int(NOW) + 60)
    assert sealed(stored("field", field="X-Key"), "third", second).before == ""


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (stored("field", field="Authorization", prefix="APPCODE "), Shown(b"Authorization: APPCODE s&/s\r\n")),
        (stored("parameter", field="appcode"), Shown(query=b"appcode=s%26%2Fs")),
        (stored("basic", user="张三"), Shown(b"Authorization: Basic %b\r\n" % base64.b64encode("张三:s&/s".encode()))),
    ],
)
def test_a_fixed_credential_is_rendered_once(said: SupplierCredential, shown: Shown) -> None:
    """As the supplier reads it; its text shows nothing."""
    credential = Fixed(said, (b"s&/s",), lambda: NOW)
    assert credential.show() == shown
    assert credential.show() is credential.show()
    assert "s&" not in repr(credential.show())


def test_the_other_secret_is_tried_until_the_overlap_ends() -> None:
    """Each side changes at its own time; calls under way that are refused together change it once."""
    clock = [NOW]
    said = stored("field", field="X-Key", before_until_unix=int(NOW) + 60)
    credential = Fixed(said, (b"new", b"old"), lambda: clock[0])
    first = credential.show()
    credential.refused(first)
    credential.refused(first)
    assert credential.show().fields == b"X-Key: old\r\n"
    clock[0] += 60
    assert credential.show() is first
    credential.refused(first)
    assert credential.show() is first


class Endpoint:
    """A token endpoint: what it is asked, and what it answers, at a clock of its own."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answers: list[tuple[int, bytes] | Exception] = []
        self.now = 100.0
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self.asked.append(request)
        await self.gate.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def token(self, token: str, **more: Any) -> None:
        said = {"access_token": token, "token_type": "Bearer", "expires_in": 100, **more}
        self.answers.append((200, msgspec.json.encode(said)))

    def client(self, *secrets: bytes) -> ClientCredentials:
        return ClientCredentials(OAUTH, secrets or (b"s",), self.ask, lambda: self.now)


async def shown(credential: ClientCredentials) -> bytes:
    found = credential.show()
    return (await found if isinstance(found, Awaitable) else found).fields


def run(story: Callable[[Endpoint], Awaitable[None]]) -> None:
    async def told() -> None:
        await story(Endpoint())

    asyncio.run(told())


def test_a_token_is_fetched_once_for_all_and_renewed_behind_their_back() -> None:
    """Nobody waits for a renewal, and a token is not shown to its last second."""

    async def story(endpoint: Endpoint) -> None:
        endpoint.token("one")
        client = endpoint.client()
        endpoint.gate.clear()
        waiting = [asyncio.ensure_future(shown(client)) for _ in range(9)]
        await asyncio.sleep(0)
        waiting.pop().cancel()
        endpoint.gate.set()
        assert set(await asyncio.gather(*waiting)) == {b"Authorization: Bearer one\r\n"}
        endpoint.now += 75
        endpoint.token("two")
        assert await shown(client) == b"Authorization: Bearer one\r\n"
        await asyncio.sleep(0.001)
        assert await shown(client) == b"Authorization: Bearer two\r\n"
        assert len(endpoint.asked) == 2
        endpoint.now += 90
        endpoint.token("three")
        assert await shown(client) == b"Authorization: Bearer three\r\n"

    run(story)


def test_a_refused_token_is_fetched_anew_once() -> None:
    """Many refusals of one token, or of one just fetched, are no reason to ask again and again."""

    async def story(endpoint: Endpoint) -> None:
        endpoint.token("one")
        client = endpoint.client()
        assert await shown(client) == b"Authorization: Bearer one\r\n"
        one = client.show()
        assert isinstance(one, Shown)
        client.refused(one)
        assert client.show() is one
        endpoint.now += FAILED_SECONDS
        endpoint.token("two")
        client.refused(one)
        client.refused(one)
        assert await shown(client) == b"Authorization: Bearer two\r\n"
        client.refused(one)
        assert await shown(client) == b"Authorization: Bearer two\r\n"
        assert len(endpoint.asked) == 2

    run(story)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((401, b"{}"), "supplier-refused"),
        ((500, b""), "supplier-unreachable"),
        ((302, b""), "supplier-unreachable"),
        ((200, b"<html>"), "supplier-refused"),
        ((200, b"[]"), "supplier-refused"),
        ((200, b'{"access_token":"a\\r\\nb"}'), "supplier-refused"),
        ((200, b'{"access_token":""}'), "supplier-refused"),
        ((200, b'{"access_token":"a","token_type":"mac"}'), "supplier-refused"),
        ((200, b'{"access_token":"a","expires_in":0}'), "supplier-refused"),
        ((200, b'{"access_token":"a","expires_in":"soon"}'), "supplier-refused"),
        ((200, b'{"access_token":"a","expires_in":"nan"}'), "supplier-refused"),
        ((200, b'{"access_token":"a","expires_in":' + b"9" * 400 + b"}"), "supplier-refused"),
        ((200, b'{"access_token":"a\xff"}'), "supplier-refused"),
        ((200, b"[" * 60_000), "supplier-refused"),
        (OSError("whatever it is"), "supplier-unreachable"),
        (GatewayError("supplier-unreachable", "no whole answer came in time"), "supplier-unreachable"),
    ],
)
def test_what_is_no_token_fails_everybody_for_a_moment(answer: Any, code: str) -> None:
    """An endpoint that is down is not asked by every call."""

    async def story(endpoint: Endpoint) -> None:
        endpoint.answers = [answer]
        client = endpoint.client()
        for _ in range(3):
            with pytest.raises(GatewayError, match=code):
                await shown(client)
        assert len(endpoint.asked) == 1
        endpoint.now += FAILED_SECONDS
        endpoint.token("one", expires_in=None)
        assert await shown(client) == b"Authorization: Bearer one\r\n"

    run(story)


def test_the_clients_secret_before_is_tried_where_the_new_one_is_refused() -> None:
    """At one fetch, so that no call fails for a change at the endpoint that comes later."""

    async def story(endpoint: Endpoint) -> None:
        endpoint.answers = [(401, b"")]
        endpoint.token("one")
        assert await shown(endpoint.client(b"new", b"old")) == b"Authorization: Bearer one\r\n"
        assert len(set(endpoint.asked)) == 2

    run(story)


def test_a_client_shows_itself_in_head_or_body() -> None:
    """RFC 6749 §2.3.1: encoded as a form's before it is encoded as Basic's."""
    head = token_request(OAUTH, b"s/1")
    assert base64.b64encode(b"gate%3Away:s%2F1") in head
    assert head.endswith(b"\r\n\r\ngrant_type=client_credentials")
    body = token_request(msgspec.structs.replace(OAUTH, client_auth=ClientAuth.BODY, scope="a b"), b"s/1")
    assert b"Basic" not in body
    assert body.endswith(b"grant_type=client_credentials&scope=a+b&client_id=gate%3Away&client_secret=s%2F1")
