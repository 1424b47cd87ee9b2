"""What a developer meets: one line to the first call, errors that carry their answer, and nothing lost in silence."""

import asyncio
import copy
import gzip
import logging
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from gateway.client import (
    AnswerCut,
    AsyncSharingClient,
    BodyNotRepeatable,
    ClientKey,
    GatewayUnavailable,
    RateLimited,
    SharingAuth,
    SharingClient,
    SharingProblem,
    TokenRefused,
    TokenTimeout,
    new_private_key,
    public_jwk,
    raise_for_problem,
    source,
)
from gateway.client.core import pause
from gateway.client.keys import SoftwareSigner
from gateway.proxy.exchange.closing import LINE, Closing
from tests.support.gateways import wait_for

LOOPS = ("asyncio", "trio")
GATEWAY, CONTROL = "https://data.example", "https://control.example/oauth/token"
KEY = new_private_key()
Handler = Callable[[httpx.Request], httpx.Response]


class Endpoint(httpx.BaseTransport):
    """A token endpoint that does as told, and counts."""

    def __init__(self, *answers: Handler, seconds: float = 0.0) -> None:
        self.answers = list(answers)
        self.seconds = seconds
        self.requests: list[httpx.Request] = []
        self.release = threading.Event()
        self.hangs = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.hangs:
            self.release.wait(20)
            raise httpx.ReadTimeout("hangs")
        time.sleep(self.seconds)
        if self.answers:
            return self.answers.pop(0)(request)
        return given(request)


def given(_: httpx.Request, lifetime: int = 300) -> httpx.Response:
    document = {"access_token": f"t{time.monotonic_ns()}", "token_type": "DPoP", "expires_in": lifetime}
    return httpx.Response(200, json=document, headers={"DPoP-Nonce": "n"})


def refused(_: httpx.Request) -> httpx.Response:
    return httpx.Response(401, json={"error": "invalid_client"})


def busy(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503, json={"error": "temporarily_unavailable"})


def cut(_: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("cut")


def problem(code: str, status: int, **headers: str) -> Handler:
    document = {"type": f"/problems/{code}", "title": code, "status": status, "detail": "because"}
    fields = {"Content-Type": "application/problem+json", **headers}
    return lambda request: httpx.Response(status, json=document, headers=fields, request=request)


class Plane(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A data plane that answers in turn, then with a row."""

    def __init__(self, *answers: Handler) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(request.stream, httpx.SyncByteStream):
            self.bodies.append(b"".join(request.stream))
        answer = self.answers.pop(0) if self.answers else lambda _: httpx.Response(200, json={"data": [{"a": 1}]})
        return answer(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


def client(plane: Plane, endpoint: Endpoint | None = None, **options: Any) -> SharingClient:
    chosen = {"token_endpoint": CONTROL, "client_id": "s", "key": KEY, "purpose": "p", **options}
    return SharingClient(GATEWAY, transport=plane, token_transport=endpoint or Endpoint(), environment={}, **chosen)


def test_authorities_that_are_not_whole_are_an_error(tmp_path: Path) -> None:
    """OpenSSL would load what comes before the cut, or nothing, and say nothing."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    begins, ends = (datetime(year, 1, 1, tzinfo=UTC) for year in (2026, 2199))
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, begins, ends)
    whole = made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    path = tmp_path / "ca.pem"
    for content in (whole + whole[:200], b"", b"-----BEGIN CERTIFICATE-----\n", whole.replace(b"M", b"-", 1)):
        path.write_bytes(content)
        for given in ({"ca": path}, {"environment": {"GATEWAY_CA": str(path)}}):
            with pytest.raises(ValueError, match="its authorities are not whole"):
                SharingClient(GATEWAY, token_endpoint=CONTROL, client_id="s", key=KEY, purpose="p", **given)
    path.write_bytes(whole)
    SharingClient(GATEWAY, token_endpoint=CONTROL, client_id="s", key=KEY, purpose="p", ca=path, environment={}).close()


def test_one_line_calls(tmp_path: Path) -> None:
    """Interface and parameters; purpose, items, operator and scenario per call, Chinese text and one item as such."""
    plane = Plane()
    with client(plane) as sharing:
        answer = sharing.call(
            "public-security/persons", id_number="1", items="status", purpose="别的", operator="张", scenario="窗口"
        )
        sharing.call("a/b", json={"id": 1})
    assert answer.json() == {"data": [{"a": 1}]}
    request = plane.requests[0]
    assert str(request.url) == f"{GATEWAY}/public-security/persons?id_number=1"
    raw = dict(request.headers.raw)
    assert raw[b"Sharing-Items"] == b"status"
    assert raw[b"Sharing-Purpose"].decode() == quote("别的")
    assert plane.requests[1].method == "POST"
    assert dict(plane.requests[1].headers)["sharing-purpose"] == "p"
    key = tmp_path / "key.pem"
    key.write_text(KEY, "ascii")
    environment = {
        "GATEWAY_URL": GATEWAY, "GATEWAY_TOKEN_URL": CONTROL, "GATEWAY_CLIENT_ID": "s", "GATEWAY_KEY_FILE": str(key),
        "GATEWAY_PURPOSE": "p",
    }  # fmt: skip
    with SharingClient(transport=plane, token_transport=Endpoint(), environment=environment) as sharing:
        assert sharing.call("a/b").is_success
    for name in ("GATEWAY_URL", "GATEWAY_TOKEN_URL", "GATEWAY_CLIENT_ID", "GATEWAY_KEY_FILE"):
        with pytest.raises(ValueError, match=name):
            SharingClient(environment={each: value for each, value in environment.items() if each != name})


@pytest.mark.parametrize("loop", LOOPS)
def test_async_calls_the_same(loop: str) -> None:
    """The same words, awaited, on asyncio's loop and on trio's; waits between attempts too."""

    async def run() -> list[dict[str, Any]]:
        options = {"token_endpoint": CONTROL, "client_id": "s", "key": KEY, "purpose": "p", "environment": {}}

        async def body() -> AsyncIterator[bytes]:
            yield b"read once, so its nonce is had before"

        plane = Plane(problem("draining", 503))
        async with AsyncSharingClient(GATEWAY, transport=plane, token_transport=Endpoint(), **options) as sharing:
            assert (await sharing.call("a/b", x=1)).json() == {"data": [{"a": 1}]}
            sharing.auth.source.state._nonces.clear()
            assert (await sharing.call("a/b", content=body())).is_success
            return [row async for row in sharing.rows("a/b")]

    assert anyio.run(run, backend=loop) == [{"a": 1}]


def test_endpoint_that_never_answers_holds_nobody() -> None:
    """Threads and tasks leave at their own time; the next ones find the fetch that goes on, and not a second one."""
    endpoint = Endpoint()
    endpoint.hangs = True
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint)
    with httpx.Client(transport=Plane(), auth=auth, timeout=0.2) as http, ThreadPoolExecutor(5) as pool:
        for failed in [pool.submit(http.get, GATEWAY) for _ in range(5)]:
            with pytest.raises(TokenTimeout):
                failed.result(20)

    outcomes: list[type[BaseException]] = []

    async def run() -> None:
        async def call() -> None:
            try:
                await http.get(GATEWAY)
            except TokenTimeout as error:
                outcomes.append(type(error))

        # More than there are threads for: none of them is held by another's wait.
        async with httpx.AsyncClient(transport=Plane(), auth=auth, timeout=0.2) as http:
            with anyio.fail_after(5):
                async with anyio.create_task_group() as group:
                    for _ in range(120):
                        group.start_soon(call)

    for loop in LOOPS:
        anyio.run(run, backend=loop)
    assert len(outcomes) == 240
    assert len(endpoint.requests) == 1
    endpoint.release.set()


@pytest.mark.parametrize("loop", LOOPS)
def test_fetch_outlives_callers_that_are_shorter_than_it(loop: str) -> None:
    """Callers whose time is shorter than the endpoint's still end with a token: their fetch is nobody's to cancel."""
    endpoint = Endpoint(seconds=0.4)
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint)

    async def run() -> None:
        async with httpx.AsyncClient(transport=Plane(), auth=auth) as http:
            for _ in range(3):
                with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                    await http.get(GATEWAY)
            assert (await http.get(GATEWAY)).is_success

    anyio.run(run, backend=loop)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("answer", [busy, cut, refused], ids=["503", "cut", "refused"])
def test_outcome_is_shared_and_remembered(answer: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred threads get one fetch's failure, and a hundred calls within its time do not ask again."""
    monkeypatch.setattr(source, "FAILED_SECONDS", 60.0)
    monkeypatch.setattr(source, "REFUSED_SECONDS", (60.0, 60.0))
    endpoint = Endpoint(*[answer] * 50)
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint)
    with httpx.Client(transport=Plane(), auth=auth, timeout=30) as http:

        def call(_: int) -> type[BaseException] | None:
            try:
                http.get(GATEWAY)
            except SharingProblem as error:
                return type(error)
            return None

        with ThreadPoolExecutor(100) as pool:
            outcomes = set(pool.map(call, range(100)))
        assert outcomes == {TokenRefused if answer is refused else GatewayUnavailable}
        asked = len(endpoint.requests)
        assert asked == (1 if answer is refused else 4)
        assert {call(0) for _ in range(100)} == outcomes
        assert len(endpoint.requests) == asked


def test_held_token_is_used_while_the_endpoint_fails() -> None:
    """Renewal begins well before the end, beside the calls; its failure takes nothing from a token that holds."""
    now = [1_000_000.0]
    endpoint = Endpoint(given, *[busy] * 40)
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint, clock=lambda: now[0])
    with httpx.Client(transport=Plane(), auth=auth) as http:
        assert http.get(GATEWAY).is_success
        now[0] += 240
        for _ in range(20):
            assert http.get(GATEWAY).is_success
        assert wait_for(lambda: auth.source.counts["renewal-failed unavailable"] == 1, 30)
        now[0] += 60
        with pytest.raises(GatewayUnavailable):
            http.get(GATEWAY)


def test_token_goes_to_the_gateway_alone() -> None:
    """One client, many hosts: neither token, proof nor purpose reaches another; a redirecting endpoint is an error."""
    plane = Plane()
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=Endpoint(), gateway=GATEWAY)
    with httpx.Client(transport=plane, auth=auth) as http:
        http.get("https://elsewhere.example/x")
        http.get(f"{GATEWAY}:443/x")
        http.get("http://data.example/x")
    fields = {"authorization", "dpop", "sharing-purpose"}
    assert [bool(fields & set(request.headers)) for request in plane.requests] == [False, True, False]
    moved = Endpoint(lambda _: httpx.Response(307, headers={"Location": "https://thief.example/"}))
    with client(Plane(), moved) as sharing, pytest.raises(TokenRefused, match="redirect"):
        sharing.call("a/b")
    assert [request.url.host for request in moved.requests] == ["control.example"]


def test_what_is_fetched_for_the_caller_is_not_his_answer() -> None:
    """A hook that raises for every error and a limit of two redirects meet the answer alone; its history is empty."""
    plane = Plane(problem("draining", 503, **{"Retry-After": "0"}))
    endpoint = Endpoint(lambda _: httpx.Response(400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": "n"}))
    with client(plane, endpoint) as sharing:
        sharing._http.event_hooks = {"response": [lambda answer: answer.raise_for_status()]}
        sharing._http.max_redirects = 2
        answer = sharing.call("a/b")
    assert answer.history == []
    assert len(plane.requests) == 2


def test_history_shows_no_token() -> None:
    """On a client of one's own a first attempt that was refused stands in the history, without what it showed."""
    wants = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "m"}
    plane = Plane(problem("credential-invalid", 401, **wants), problem("draining", 503))
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=Endpoint())
    with httpx.Client(transport=plane, auth=auth) as http:
        answer = http.post(GATEWAY, json={"id": 1})
    assert [each.status_code for each in answer.history] == [401, 503]
    assert {"authorization", "dpop"} <= set(answer.request.headers)
    for each in answer.history:
        assert not {"authorization", "dpop"} & set(each.request.headers)
    assert plane.bodies == [b'{"id":1}'] * 3
    assert answer.request.content == b'{"id":1}'


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("60", 60.0, 67.0), ("0", 0.0, 1.0), ("Sun, 01 Mar 2026 00:00:30 GMT", 30.0, 34.0), ("nonsense", 0.0, 1.0)],
)
def test_retry_after_is_honoured_and_spread(asked: str, least: float, most: float) -> None:
    """Seconds or a date, never earlier, not all at once; where the caller has no such time, at once an error."""
    headers = {"Retry-After": asked, "Date": "Sun, 01 Mar 2026 00:00:00 GMT"}
    response = httpx.Response(429, headers=headers, request=httpx.Request("GET", GATEWAY))
    try:
        raise_for_problem(response)
    except SharingProblem as raised:
        wanted = raised.retry_after
    waits = [pause(1, wanted, 1000.0) for _ in range(50)]
    assert all(wait is not None and least <= wait <= most for wait in waits)
    assert len(set(waits)) > 40
    if least:
        assert pause(1, wanted, least / 2) is None
        plane = Plane(problem("rate-limited", 429, **headers))
        with client(plane) as sharing, pytest.raises(RateLimited) as refusal:
            sharing.call("a/b", deadline_seconds=5.0)
        assert refusal.value.retry_after == wanted
        assert len(plane.requests) == 1


class Down(Plane):
    """There is no connection to it so many times."""

    times = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.times:
            self.times -= 1
            raise httpx.ConnectError("connection refused")
        return super().handle_request(request)


@pytest.mark.parametrize("loop", ["threads", *LOOPS])
def test_call_without_a_connection_is_made_again(loop: str) -> None:
    """Nothing was sent, so a POST and a body that can be read once are too; where it lasts, `httpx`'s error ends it."""
    plane, words = Down(), {"token_endpoint": CONTROL, "client_id": "s", "key": KEY, "purpose": "p"}
    options = {**words, "transport": plane, "token_transport": Endpoint(), "environment": {}}
    plane.times = 2

    async def run() -> None:
        async with AsyncSharingClient(GATEWAY, **options) as sharing:
            assert (await sharing.call("a/b", json={"id": 1})).is_success
            plane.times = 9
            with pytest.raises(httpx.ConnectError):
                await sharing.call("a/b")

    if loop == "threads":
        with SharingClient(GATEWAY, **options) as sharing:
            assert sharing.call("a/b", content=iter([b'{"id"', b":1}"])).is_success
            plane.times = 9
            with pytest.raises(httpx.ConnectError):
                sharing.call("a/b")
    else:
        anyio.run(run, backend=loop)
    assert plane.bodies == [b'{"id":1}']
    assert (len(plane.requests), plane.times) == (1, 9 - 4)


@pytest.mark.parametrize(
    ("words", "times"), [({}, 2), ({"json": {}}, 1), ({"content": iter([b"1"]), "method": "GET"}, 1)]
)
def test_broken_connection_is_met_again_only_where_that_is_safe(words: dict[str, Any], times: int) -> None:
    """A GET goes on where an idle connection closes under it; a POST, or a body that was read, might be made twice."""

    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")

    plane = Plane(broken)
    with client(plane) as sharing:
        if times == 2:
            assert sharing.call("a/b", **words).is_success
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                sharing.call("a/b", **words)
    assert len(plane.requests) == times


def test_problem_is_an_httpx_error_with_its_answer() -> None:
    """Caught as `httpx.HTTPStatusError`, streamed or not; with response, record, article, next step; pickled too."""
    explanation = {"articles": ["Decree 809 Art. 22"], "next_step": "apply", "near": []}
    document = {"type": "/problems/not-granted", "title": "no", "status": 403, "explanation": explanation}
    fields = {"Content-Type": "application/problem+json", "Sharing-Record": "r-1", "Retry-After": "7"}
    plane = Plane(*[lambda request: httpx.Response(403, json=document, headers=fields, request=request)] * 3)
    with client(plane) as sharing:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            sharing.call("a/b")
        with pytest.raises(SharingProblem), sharing.stream("a/b"):
            pass
    found = caught.value
    assert isinstance(found, SharingProblem)
    assert (found.code, found.record, found.article, found.next_step, found.retry_after) == (
        "not-granted", "r-1", "Decree 809 Art. 22", "apply", 7.0,
    )  # fmt: skip
    assert found.response.status_code == 403
    again = pickle.loads(pickle.dumps(found))
    assert (type(again), again.code, again.record, again.members) == (type(found), "not-granted", "r-1", found.members)
    with pytest.raises(SharingProblem):
        raise_for_problem(httpx.Response(302, request=httpx.Request("GET", GATEWAY)))


def test_wrong_clock_is_corrected_by_the_answer() -> None:
    """A machine two minutes off is told by `Date`, and its next assertion is of the gateway's time."""
    now = time.time()
    http_date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now))
    endpoint = Endpoint(lambda _: httpx.Response(401, json={"error": "invalid_client"}, headers={"Date": http_date}))
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint, clock=lambda: now - 120)
    with httpx.Client(transport=Plane(), auth=auth) as http:
        assert http.get(GATEWAY).is_success
    assert abs(auth.source.state.now() - now) < 2
    assert len(endpoint.requests) == 2


def test_streamed_body_has_its_nonce_before_it_is_sent() -> None:
    """A body that can be read once goes out once, with a nonce that is fresh; a function's body is made anew."""
    endpoint, plane = Endpoint(), Plane()
    with client(plane, endpoint) as sharing:
        sharing.call("a/b", method="POST", content=iter([b"1", b"2"]))
        sharing.auth.source.state._nonces.clear()
        sharing.call("a/b", method="POST", content=iter([b"3"]))
        assert plane.bodies == [b"12", b"3"]
        assert len(endpoint.requests) == 2, "the second is for a nonce"
        wants = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "m"}
        plane.answers = [problem("credential-invalid", 401, **wants)]
        with pytest.raises(BodyNotRepeatable):
            sharing.call("a/b", method="POST", content=iter([b"4"]))
        plane.answers = [problem("credential-invalid", 401, **wants)]
        assert sharing.call("a/b", method="POST", content=lambda: [b"5"]).is_success
        assert plane.bodies[-2:] == [b"5", b"5"]
        plane.answers = [problem("credential-invalid", 401)]
        with pytest.raises(BodyNotRepeatable):
            sharing.call("a/b", method="POST", content=iter([b"6"]))
        tokens = len(endpoint.requests)
        assert sharing.call("a/b", method="POST", content=iter([b"7"])).is_success
        assert len(endpoint.requests) > tokens, "a withdrawn token is dropped by a stream too"


class Cutting(httpx.SyncByteStream):
    def __init__(self, *chunks: bytes, error: bool = False) -> None:
        self._chunks = chunks
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._error:
            raise httpx.RemoteProtocolError("peer closed connection")


def answering(content: Cutting, kind: str = "application/json", status: int = 200, **headers: str) -> Handler:
    fields = {"Content-Type": kind, "Transfer-Encoding": "chunked", **headers}
    if headers.pop("open_ended", None):
        fields = {"Content-Type": kind}
    return lambda _: httpx.Response(status, headers=fields, stream=content)


def closed(content: bytes, rows: int) -> bytes:
    """Content and closing line, as the gateway sends them."""
    closing = Closing(LINE, counts_rows=True, is_chunked=False)
    closing.take(content)
    return content + closing.end(rows)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(200, headers={"Content-Type": "application/json"}, stream=Cutting(b'{"data":[]}')),
        answering(Cutting(gzip.compress(b'{"data":[]}')[:-9]), **{"Content-Encoding": "gzip"}),
        answering(Cutting(b'{"data":[{"a":1}]}'), **{"Content-Digest": "sha-256=:AAAA:"}),
        answering(Cutting(b'{"a":1}\n{"a":'), "application/x-ndjson"),
        answering(Cutting(b"a,b\n1,2\n3"), "text/csv"),
        answering(Cutting(closed(b'{"a":1}\n', rows=2)), "application/x-ndjson", **{"Sharing-Closing": "line"}),
        answering(Cutting(closed(b"a", rows=0)[1:]), "text/csv", **{"Sharing-Closing": "line"}),
        answering(Cutting(b'{"a":1}\n', error=True), "application/x-ndjson"),
    ],
    ids=["by close", "gzip", "digest", "ndjson row", "csv row", "row count", "closing digest", "connection"],
)
def test_half_an_answer_is_never_taken_for_all(answer: Handler) -> None:
    """However it is cut, reading it ends in an error and not in silence."""
    with client(Plane(answer)) as sharing, pytest.raises(AnswerCut):
        list(sharing.rows("a/b"))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b'{"code":0,"data":{"rows":[{"a":"1","b":"x\\ny"},{"a":"2","b":""}]}}'),
        ("application/x-ndjson", b'{"a":"1","b":"x\\ny"}\n{"a":"2","b":""}'),
        ("text/csv; charset=utf-8", b'\xef\xbb\xbfa,b\r\n1,"x\ny"\r\n2,\r\n'),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_rows_come_one_by_one_in_every_format(kind: str, content: bytes, size: int) -> None:
    """Whatever the parts they arrive in."""
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    with client(Plane(answering(Cutting(*parts), kind))) as sharing:
        assert list(sharing.rows("a/b")) == [{"a": "1", "b": "x\ny"}, {"a": "2", "b": ""}]


def test_download_resumes_where_the_supplier_has_ranges(tmp_path: Path) -> None:
    """Cut twice, gone on with by `Range` and `If-Range`; else begun anew; a file is there whole or not at all."""
    ranges = {"Accept-Ranges": "bytes", "ETag": '"v1"'}
    first = answering(Cutting(b"abc", error=True), "text/plain", **ranges)
    rest = answering(Cutting(b"def"), "text/plain", 206, **{**ranges, "Content-Range": "bytes 3-5/6"})
    plane, seen = Plane(first, rest), []
    with client(plane) as sharing:
        digest = sharing.download("a/b", tmp_path / "f", progress=lambda have, _: seen.append(have))
        assert (tmp_path / "f").read_bytes() == b"abcdef"
        assert digest == __import__("hashlib").sha256(b"abcdef").hexdigest()
        assert plane.requests[1].headers["Range"] == "bytes=3-"
        assert seen == [3, 6]
        plane.answers = [answering(Cutting(b"abc", error=True), "text/plain"), answering(Cutting(b"xyz"), "text/plain")]
        sharing.download("a/b", tmp_path / "g")
        assert (tmp_path / "g").read_bytes() == b"xyz"
        plane.answers = [answering(Cutting(b"abc", error=True), "text/plain")] * 4
        with pytest.raises(httpx.RemoteProtocolError):
            sharing.download("a/b", tmp_path / "h")
        assert not (tmp_path / "h").exists()


def test_identity_numbers_stay_out_of_httpx_log(caplog: pytest.LogCaptureFixture) -> None:
    """The line that `httpx` writes for each request has no query of a gateway's."""
    caplog.set_level(logging.INFO)
    with client(Plane()) as sharing:
        sharing.call("a/b", id_number="11010519491231002X")
    assert "/a/b" in caplog.text
    assert "11010519491231002X" not in caplog.text


EC = ec.generate_private_key(ec.SECP256R1())
ENCRYPTED = EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
JWK = {
    **ClientKey(EC).public,
    "kid": "named",
    "d": __import__("base64").urlsafe_b64encode(EC.private_numbers().private_value.to_bytes(32)).decode().rstrip("="),
}


def test_keys_are_read_from_wherever_they_are_kept(tmp_path: Path) -> None:
    """PEM, DER, path, encrypted, JWK, key object, signer: one public key; a wrong password or kind is one sentence."""
    pem = EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    der = EC.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path / "key.pem"
    path.write_bytes(pem)
    forms: list[tuple[Any, str | None]] = [
        (pem, None), (pem.decode(), None), (der, None), (path, None), (str(path), None), (ENCRYPTED, "secret"),
        (JWK, None), (EC, None), (SoftwareSigner(EC), None),
    ]  # fmt: skip
    assert {ClientKey(key, password=password).thumbprint for key, password in forms} == {ClientKey(EC).thumbprint}
    assert ClientKey(JWK).kid == "named"
    for key, password, words in (
        (ENCRYPTED, None, "is encrypted"), (ENCRYPTED, "wrong", "cannot be read"), (pem, "secret", "not encrypted"),
        (tmp_path / "none", None, "cannot be read: no such file"), (b"nonsense", None, "cannot be read"),
        ({"kty": "EC", "crv": "P-256"}, None, "no private JWK"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            ClientKey(key, password=password)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ClientKey(ec.generate_private_key(ec.SECP521R1()))
    for private in (ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)):
        assert public_jwk(private)["alg"] in {"EdDSA", "PS256"}


def _call_in_child(auth: SharingAuth, results: Any) -> None:
    with httpx.Client(transport=Plane(), auth=auth, timeout=10) as http:
        results.put(http.get(GATEWAY).status_code)


def test_fork_during_a_fetch_hangs_nobody() -> None:
    """A child begins with locks and fetches of its own."""
    endpoint = Endpoint(seconds=0.5)
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    waiter = threading.Thread(target=lambda: httpx.Client(transport=Plane(), auth=auth).get(GATEWAY))
    waiter.start()
    assert wait_for(lambda: endpoint.requests)
    child = context.Process(target=_call_in_child, args=(auth, results))
    child.start()
    assert results.get(timeout=30) == 200
    child.join(30)
    waiter.join(30)
    assert child.exitcode == 0


def test_auth_can_be_copied_and_pickled() -> None:
    """Without its token, which the copy fetches for itself."""
    auth = SharingAuth(CONTROL, "s", KEY, purpose="目的", items=["a", "b"])
    for other in (pickle.loads(pickle.dumps(auth)), copy.copy(auth), copy.deepcopy(auth)):
        assert other.declared.fields == auth.declared.fields
        assert other.source.state.token is None
        assert "BEGIN" not in repr(vars(other))


def test_many_loops_in_threads_share_one_fetch() -> None:
    """Twenty loops, each in a thread of its own: one token request."""
    endpoint = Endpoint(seconds=0.2)
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=endpoint)

    async def call() -> int:
        async with httpx.AsyncClient(transport=Plane(), auth=auth, timeout=20) as http:
            return (await http.get(GATEWAY)).status_code

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _: asyncio.run(call()), range(20))) == {200}
    assert len(endpoint.requests) == 1


def test_hook_that_calls_again_deadlocks_nobody() -> None:
    """A call within a call's hook is a call."""
    auth = SharingAuth(CONTROL, "s", KEY, purpose="p", transport=Endpoint())
    inner = httpx.Client(transport=Plane(), auth=auth)
    with httpx.Client(transport=Plane(), auth=auth, event_hooks={"request": [lambda _: inner.get(GATEWAY)]}) as http:
        assert http.get(GATEWAY).is_success
    inner.close()


def test_import_is_light() -> None:
    """The package loads nothing until a name is used, and then nothing of the house nor of what only servers need."""
    listing = "import sys; import gateway.client; print('httpx' in sys.modules, 'cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
