"""What suppliers are shown of who calls, on the wire: once, beside nothing of the caller's, and after the record."""

import asyncio
import contextlib
import socket
import threading
import time
from functools import partial
from typing import Any

import pytest
import uvloop

from gateway.domain.credentials import CredentialKind, SupplierCredential
from gateway.domain.directory import Interface, SharingMode
from gateway.domain.errors import GatewayError
from gateway.identity.suppliers.showing import Fixed
from gateway.identity.suppliers.tokens import ClientCredentials
from gateway.proxy import Limits
from gateway.proxy.http.asking import ANSWER_BYTES, ask
from gateway.proxy.http.pools import Pool
from gateway.proxy.http.upstream import SupplierConnection
from gateway.proxy.kernel import first_waiting
from gateway.proxy.ports import Credential, Reach
from tests.support.proxy_ports import (
    CallerSide,
    House,
    Supplier,
    interface_for,
    json_answer,
    permit,
    request,
    serving,
    until,
)


class Asked(House):
    """A house whose supplier asks for a credential."""

    def __init__(self, credential: Credential, *interfaces: Interface) -> None:
        super().__init__(*interfaces)
        self.credential = credential

    def reach(self, interface: Interface) -> Reach:
        found = super().reach(interface)
        return Reach(found.addresses, found.context, found.name, self.credential)


def fixed(kind: str, *secrets: bytes, **said: Any) -> Fixed:
    until = int(time.time()) + 3600
    stored = SupplierCredential("hukou", "key", CredentialKind(kind), before_until_unix=until, **said)
    return Fixed(stored, secrets or (b"s&1",), time.time)


@pytest.mark.parametrize(
    ("credential", "line", "wire"),
    [
        (fixed("field", field="X-Api-Key"), b"GET /api/v1?id=1 ", b"X-Api-Key: s&1\r\n"),
        (fixed("basic", user="a"), b"GET /api/v1?id=1 ", b"Authorization: Basic YTpzJjE=\r\n"),
        (fixed("parameter", field="appcode"), b"GET /api/v1?id=1&appcode=s%261 ", b"\r\n\r\n"),
    ],
)
def test_a_request_bears_it_once_and_nothing_of_that_name_from_its_caller(
    credential: Fixed, line: bytes, wire: bytes
) -> None:
    """ONE-MEANING: neither beside the gateway's own field, nor in another spelling; a repeated call too."""

    async def story() -> None:
        async with Supplier() as supplier:
            house = Asked(credential, interface_for(supplier.port))
            async with serving(house) as (plane, port):
                caller = await CallerSide.connect(port)
                mine = request(fields="x-API-key: mine\r\nX-Api_Key: mine\r\nX-Other: yes\r\n")
                for _ in range(4):
                    assert (await caller.ask(mine))[0] == 200
                assert plane.lanes.followed
                assert (await caller.ask(request("/hukou/person/v1?id=1&appCode=2")))[0] == (
                    400 if credential.parameters else 200
                )
        for sent in supplier.requests[:4]:
            assert sent.startswith(line)
            assert wire in sent
            assert (b"x-api-key: mine" in sent.lower()) is (credential.names != {b"x-api-key"})
            assert b"x-other: yes" in sent.lower()
            assert sent.lower().count(b"authorization:") == (b"Basic" in wire)
        assert [kind for kind in house.ledger.kinds() if kind == "opened"] == ["opened"] * 5

    uvloop.run(story())


def test_verify_mode_shows_it_too() -> None:
    """The question's request bears it as every request does."""

    async def story() -> None:
        async with Supplier() as supplier:
            modes = {"modes": (SharingMode.QUERY, SharingMode.VERIFY)}
            house = Asked(fixed("field", field="X-Api-Key"), interface_for(supplier.port, **modes))
            house.verdict = permit(metered=True, guesses_a_day=9)
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                body = '{"values":{"xm":"张三"}}'.encode()
                asked = request(method="POST", fields="Sharing-Mode: verify\r\n", body=body)
                assert (await caller.ask(asked))[2] == b'{"matches":{"xm":true}}'
        assert b"X-Api-Key: s&1\r\n" in supplier.requests[0]

    uvloop.run(story())


def test_a_refusal_of_it_is_told_as_the_suppliers_and_turns_to_the_other_secret() -> None:
    """No request is sent twice: the call that was refused fails, the next one bears the other secret."""

    async def story() -> None:
        async def answer(_reader: Any, writer: asyncio.StreamWriter, head: bytes) -> None:
            status = "200 OK" if b"X-Key: old" in head else "401 Unauthorized"
            writer.write(json_answer('{"data":[]}', status=status))

        async with Supplier(answer) as supplier:
            house = Asked(fixed("field", b"new", b"old", field="X-Key"), interface_for(supplier.port))
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                refused = await caller.ask(request())
                assert (refused[0], b"/problems/supplier-refused" in refused[2]) == (502, True)
                assert (await caller.ask(request()))[0] == 200
            assert len(supplier.requests) == 2

    uvloop.run(story())


def test_one_answer_what_an_endpoint_says_before_it_is_asked_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONE-ANSWER: a token that was there before the question is nobody's answer."""

    listener = socket.create_server(("127.0.0.1", 0))
    stands = threading.Event()

    def speak() -> None:
        with listener.accept()[0] as early, contextlib.suppress(OSError):
            stands.wait(60)
            early.sendall(json_answer('{"access_token":"forged","expires_in":60}'))
            while early.recv(65536):
                pass

    connect = Pool.connect

    async def connected(pool: Pool) -> SupplierConnection:
        connection = await connect(pool)
        stands.set()
        while not first_waiting(connection._fd):
            time.sleep(0.001)  # noqa: ASYNC251 - it is to have come before the loop reads it
        return connection

    async def story() -> None:
        reach, port = Reach(("127.0.0.1",), None, ""), listener.getsockname()[1]
        with pytest.raises(GatewayError, match="before it was asked"):
            await ask(reach, port, b"POST /t HTTP/1.1\r\n\r\n", Limits(), seconds=5)

    monkeypatch.setattr(Pool, "connect", connected)
    speaking = threading.Thread(target=speak)
    speaking.start()
    uvloop.run(story())
    speaking.join(10)
    listener.close()


@pytest.mark.parametrize("answer", ["token", "silence", "flood", "compressed", "gone"])
def test_a_token_is_fetched_after_the_record_and_never_waited_for_without_end(answer: str) -> None:
    """RECORD-FIRST and BOUNDED: an endpoint that answers badly, slowly or without end fails the call, and no more."""

    async def story() -> None:
        events: list[str] = []

        async def endpoint(_reader: Any, writer: asyncio.StreamWriter, head: bytes) -> bool:
            events.append("token" if head.startswith(b"POST") else "call")
            if events[-1] == "call":
                writer.write(json_answer('{"data":[{"xm":"张"}]}'))
                return True
            said = {
                "token": json_answer('{"access_token":"t-1","expires_in":60}'),
                "silence": b"",
                "flood": json_answer("x" * (ANSWER_BYTES + 1)),
                "compressed": json_answer("{}", fields="Content-Encoding: gzip\r\n"),
                "gone": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
            }[answer]
            writer.write(said)
            return answer == "silence"

        async with Supplier(endpoint) as supplier:
            stored = SupplierCredential(
                "hukou", "t", CredentialKind.OAUTH, user="us", token_url=f"http://127.0.0.1:{supplier.port}/token"
            )
            asks = partial(
                ask,
                Reach(("127.0.0.1",), None, ""),
                supplier.port,
                limits=Limits(),
                seconds=0.2 if answer == "silence" else 9,
            )
            credential = ClientCredentials(stored, (b"s",), asks, time.monotonic)
            house = Asked(credential, interface_for(supplier.port))
            house.ledger.hold = True
            async with serving(house) as (_, port):
                caller = await CallerSide.connect(port)
                caller.writer.write(request())
                await until(lambda: bool(house.ledger.events))
                assert events == []
                house.ledger.release()
                status, _, content = await caller.answer()
                if answer == "token":
                    assert status == 200
                    assert events == ["token", "call"]
                    assert b"Authorization: Bearer t-1\r\n" in supplier.requests[1]
                else:
                    assert (status, b"/problems/supplier-unreachable" in content) == (502, True)
                    assert events == ["token"]

    uvloop.run(story())
