"""The client gets a token from the real token endpoint, declares the use, and repeats only what is safe."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import Request
from fastapi.responses import JSONResponse

from gateway.client import (
    CallMalformed,
    ClientKey,
    CredentialRefused,
    GatewayUnavailable,
    NotGranted,
    RateLimited,
    SharingAuth,
    SharingProblem,
    SharingStopped,
    TokenRefused,
    raise_for_problem,
)
from gateway.client.core import Token
from gateway.client.problems import _CLASSES
from gateway.domain.callers import Caller
from gateway.domain.errors import PROBLEMS, GatewayError, problem_document
from gateway.identity.callers.dpop import ProofVerifier
from gateway.identity.callers.nonces import Nonces, NonceSecret
from tests.support.bridge import Bridge
from tests.support.gateways import wait_for
from tests.support.loopback import Loopback
from tests.unit.identity.identity_kit import AUDIENCE, ISSUER, PEER, House, head


class Plane:
    """Token endpoint and a stand-in for the data plane that identifies callers by the real `Identifier`."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.calls: list[Request] = []
        self.token_requests = 0
        self.busy: list[int] = []
        self.nodes: list[ProofVerifier] = []
        self.answers: list[Callable[[Request], JSONResponse]] = []
        self.app = house.app()
        self.app.add_api_route("/{supplier}/{interface}", self.serve, methods=["GET", "POST"])

    async def serve(self, request: Request) -> JSONResponse:
        self.calls.append(request)
        if self.nodes:
            self.house.proofs = self.nodes.pop(0)
            self.house.identify = self.house.new_identifier()
        fields = [(name.decode(), value.decode("latin-1")) for name, value in request.headers.raw]
        changes = {"method": request.method.encode(), "path": request.url.path.encode()}
        try:
            found = self.house.identify(head(*fields, **changes), PEER)
            caller = found if isinstance(found, Caller) else await found
        except GatewayError as error:
            return problem(error)
        if self.answers:
            return self.answers.pop(0)(request)
        return JSONResponse({"data": [caller.assurance]})

    async def __call__(self, scope: dict[str, object], receive: object, send: object) -> None:
        if scope["path"] == "/oauth/token":
            self.token_requests += 1
            if self.busy:
                busy = JSONResponse({"error": "temporarily_unavailable"}, self.busy.pop(), headers={"Retry-After": "0"})
                await busy(scope, receive, send)  # type: ignore[arg-type]
                return
        await self.app(scope, receive, send)  # type: ignore[arg-type]

    def client(self, auth: httpx.Auth) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self), base_url=AUDIENCE, auth=auth)


def problem(error: GatewayError, **headers: str) -> JSONResponse:
    document = problem_document(error)
    bears = {**dict(error.headers), **headers}
    return JSONResponse(document, document["status"], headers=bears, media_type="application/problem+json")


@pytest.fixture(params=[False, True], ids=["no nonce", "nonce"])
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Plane:
    return Plane(House(tmp_path, nonces=request.param))


def auth_of(plane: Plane, **options: object) -> SharingAuth:
    chosen = {
        "purpose": "marriage-registration",
        "clock": plane.house.now,
        "transport": Bridge(plane),
        **options,
    }
    return SharingAuth(ISSUER + "/oauth/token", "marriage", plane.house.key._key, **chosen)  # type: ignore[arg-type]


def get(plane: Plane, auth: httpx.Auth, times: int = 1) -> httpx.Response:
    async def run() -> httpx.Response:
        async with plane.client(auth) as client:
            for _ in range(times):
                response = await client.get("/public-security/household", params={"id": "1"})
        return response

    return asyncio.run(run())


def test_call_is_bound_and_declared(plane: Plane) -> None:
    """The first call fetches a token, proves possession of the key, and declares purpose, scenario and items."""
    response = get(plane, auth_of(plane, scenario="婚姻登记", items=("name", "status"), operator="desk-3"))
    assert raise_for_problem(response).json() == {"data": ["dpop"]}
    headers = plane.calls[-1].headers
    assert headers["sharing-purpose"] == "marriage-registration"
    assert headers["sharing-items"] == "name,status"
    assert headers["sharing-operator"] == "desk-3"
    assert headers["sharing-scenario"] == quote("婚姻登记")


def test_without_dpop_the_token_is_bearer(plane: Plane) -> None:
    """`dpop=False` gets a plain token."""
    assert get(plane, auth_of(plane, dpop=False)).json() == {"data": ["bearer"]}


class Card:
    """A signer whose key another program keeps, as an HSM or a KMS does: here `openssl`, asked for each signature.

    Args:
        folder: where the key is.
        key: the key that a test registered.
    """

    algorithm = "ES256"

    def __init__(self, folder: Path, key: ec.EllipticCurvePrivateKey) -> None:
        self._file = folder / "card.pem"
        self._file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.public = ClientKey(key).public

    def sign(self, message: bytes) -> bytes:
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._file)]
        r, s = decode_dss_signature(subprocess.run(command, input=message, capture_output=True, check=True).stdout)
        return r.to_bytes(32) + s.to_bytes(32)


def test_key_may_stay_where_it_is_kept(plane: Plane, tmp_path: Path) -> None:
    """Assertions and proofs signed elsewhere are taken by the real token endpoint and identifier."""
    card = Card(tmp_path, plane.house.key._key)
    auth = SharingAuth(
        f"{ISSUER}/oauth/token", "marriage", card, purpose="p", clock=plane.house.now, transport=Bridge(plane)
    )
    assert get(plane, auth).json() == {"data": ["dpop"]}


def test_token_is_kept_and_renewed_in_time(plane: Plane) -> None:
    """One token serves many calls, and is renewed beside them well before it ends."""
    auth = auth_of(plane)
    get(plane, auth, times=5)
    fetched = plane.token_requests
    assert fetched <= 2
    plane.house.now.at += 230
    assert get(plane, auth).status_code == 200
    assert wait_for(lambda: plane.token_requests > fetched and auth.source.counts["renewal"] == 2)
    plane.house.now.at += 150
    assert get(plane, auth).status_code == 200, "the first token has ended"


def test_tasks_share_one_token(plane: Plane) -> None:
    """A hundred tasks that start at once fetch one token."""

    async def run() -> list[httpx.Response]:
        async with plane.client(auth_of(plane, dpop=False)) as client:
            return await asyncio.gather(*(client.get("/a/b") for _ in range(100)))

    assert {response.status_code for response in asyncio.run(run())} == {200}
    assert plane.token_requests == 1


def test_fetch_that_ends_between_two_looks_is_the_callers_too(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who saw no token, and comes to ask for one just as another's fetch has ended, takes what that one got."""
    source = auth_of(plane).source
    look = source._held

    def ended_meanwhile() -> Token | None:
        found = look()
        monkeypatch.setattr(source, "_held", look)
        source.token(30)
        return found

    monkeypatch.setattr(source, "_held", ended_meanwhile)
    assert source.token(30) is source.token(30)
    assert source.counts["renewal"] == 1


def test_withdrawn_token_is_renewed_once(plane: Plane) -> None:
    """A token that the gateway no longer takes is replaced, and the call sent again."""
    auth = auth_of(plane)
    get(plane, auth)
    plane.house.ring.rotate("token", overlap_seconds=0)
    plane.house.now.at += 1.1
    assert get(plane, auth).status_code == 200


def test_refused_credential_is_not_tried_forever(plane: Plane) -> None:
    """A system that is revoked gets its refusal after one renewal."""
    auth = auth_of(plane)
    get(plane, auth)
    plane.house.revoke("marriage")
    plane.house.identify.forget_all()
    with pytest.raises(TokenRefused) as refusal:
        get(plane, auth)
    assert refusal.value.status == 401


def test_call_that_was_not_made_is_sent_again(plane: Plane) -> None:
    """`draining`, `state-stale`, `records-unavailable`: the supplier was not called, so even a POST is repeated."""
    busy = GatewayError("draining")
    plane.answers = [lambda _: problem(busy, **{"Retry-After": "0"})] * 2

    async def run() -> httpx.Response:
        async with plane.client(auth_of(plane)) as client:
            return await client.post("/public-security/household", json={"id": "1"})

    assert asyncio.run(run()).status_code == 200


def test_call_that_may_have_been_made_is_not_repeated(plane: Plane) -> None:
    """After `supplier-timeout` the caller decides."""
    plane.answers = [lambda _: problem(GatewayError("supplier-timeout"))] * 2
    assert get(plane, auth_of(plane)).status_code == 504
    assert len(plane.answers) == 1


@pytest.mark.parametrize("status", [401, 503])
def test_answer_with_a_record_is_of_a_call_that_was_made(plane: Plane, status: int) -> None:
    """A supplier's own 401 or 503, even in the gateway's words: the call was made, and is not repeated."""
    auth = auth_of(plane)
    get(plane, auth)
    fetched = plane.token_requests
    supplied = problem_document(GatewayError("draining"))
    headers = {"Sharing-Record": "r1", "Retry-After": "0"}
    answer = JSONResponse(supplied, status, headers=headers, media_type="application/problem+json")
    plane.answers = [lambda _: answer] * 2

    async def run() -> httpx.Response:
        async with plane.client(auth) as client:
            return await client.post("/public-security/household", json={"id": "1"})

    assert asyncio.run(run()).status_code == status
    assert len(plane.answers) == 1
    get(plane, auth)
    assert plane.token_requests == fetched


@pytest.mark.parametrize(("status", "kind"), [(503, GatewayUnavailable), (429, RateLimited)])
def test_token_endpoint_that_is_busy_is_asked_again(plane: Plane, status: int, kind: type[SharingProblem]) -> None:
    """A token request is repeated, by a new assertion each time; where it stays busy the error says so."""
    plane.busy = [status, status]
    assert get(plane, auth_of(plane)).status_code == 200
    assert plane.token_requests >= 3
    plane.busy = [status] * 4
    with pytest.raises(kind) as raised:
        get(plane, auth_of(plane))
    assert raised.value.status == status


def test_nodes_with_nonces_of_their_own_are_one_gateway(tmp_path: Path) -> None:
    """Attempts that meet one node after another take each one's nonce, until one meets the node that gave it."""
    plane = Plane(House(tmp_path, nonces=True))
    auth = auth_of(plane)
    get(plane, auth)
    own = plane.house.proofs
    other = ProofVerifier(plane.house.now, Nonces([NonceSecret(1, b"another node", 0)], plane.house.now))
    plane.nodes = [other, own, other, other]
    calls = len(plane.calls)
    assert get(plane, auth).status_code == 200
    assert len(plane.calls) - calls == 4
    plane.nodes = [own, other] * 4
    assert get(plane, auth).status_code == 401
    assert len(plane.nodes) == 4


@pytest.mark.parametrize(("method", "attempts"), [("GET", 2), ("POST", 1)])
def test_recorded_call_is_repeated_only_where_that_is_safe(plane: Plane, method: str, attempts: int) -> None:
    """The gateway's own `draining` after a record was opened: the supplier may have been called."""
    document = problem_document(GatewayError("draining"), instance="r1")
    headers = {"Sharing-Record": "r1", "Retry-After": "0"}
    plane.answers = [lambda _: JSONResponse(document, 503, headers, media_type="application/problem+json")]
    auth = auth_of(plane, dpop=False)

    async def run() -> httpx.Response:
        async with plane.client(auth) as client:
            return await client.request(method, "/public-security/household")

    assert asyncio.run(run()).status_code == (200 if attempts == 2 else 503)
    assert len(plane.calls) == attempts


def test_streamed_body_is_not_sent_again(plane: Plane) -> None:
    """A body that can be read once is sent once."""
    plane.answers = [lambda _: problem(GatewayError("draining"), **{"Retry-After": "0"})] * 2

    async def body() -> AsyncIterator[bytes]:
        yield b"{}"

    async def run() -> httpx.Response:
        async with plane.client(auth_of(plane, dpop=False)) as client:
            return await client.post("/public-security/household", content=body())

    assert asyncio.run(run()).status_code == 503


class Served:
    """The plane on a socket of loopback, as a demand system meets it."""

    def __init__(self, folder: Path) -> None:
        loopback = Loopback()
        self.url, self.close = loopback.url, loopback.close
        self.plane = Plane(House(folder, nonces=True, issuer=self.url, audience=self.url))
        loopback.start(self.plane)

    def auth(self, **options: object) -> SharingAuth:
        key = self.plane.house.key._key
        return SharingAuth(self.url + "/oauth/token", "marriage", key, purpose="p", **options)  # type: ignore[arg-type]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()


def test_sync_client_calls_over_a_socket(served: Served) -> None:
    """`httpx.Client` over real HTTP: token, proof, nonce, call; then calls without another token."""
    with httpx.Client(base_url=served.url, auth=served.auth()) as client:
        assert raise_for_problem(client.get("/public-security/household?id=1")).json() == {"data": ["dpop"]}
        fetched = served.plane.token_requests
        assert client.post("/public-security/household", json={"id": "1"}).json() == {"data": ["dpop"]}
        with client.stream("GET", "/public-security/household") as streamed:
            assert b"".join(streamed.iter_raw()) == b'{"data":["dpop"]}'
        assert served.plane.token_requests == fetched


def test_threads_share_one_token(served: Served) -> None:
    """Ten threads that start at once on one client fetch one token among them, and all calls pass."""
    with httpx.Client(base_url=served.url, auth=served.auth(dpop=False)) as client:
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: client.get("/public-security/household").status_code, range(30)))
        assert set(answers) == {200}
        assert served.plane.token_requests == 1


def test_one_auth_serves_sync_and_async(served: Served) -> None:
    """The same `SharingAuth` in threads and on loops, asyncio's and trio's, one after another, keeps its token."""
    auth = served.auth()

    async def run() -> int:
        async with httpx.AsyncClient(base_url=served.url, auth=auth) as client:
            return (await client.get("/public-security/household")).status_code

    assert asyncio.run(run()) == 200
    fetched = served.plane.token_requests
    with httpx.Client(base_url=served.url, auth=auth) as client:
        assert client.get("/public-security/household").status_code == 200
    assert trio.run(run) == 200
    assert asyncio.run(run()) == 200
    assert served.plane.token_requests == fetched


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("items-not-granted", NotGranted),
        ("suspended", SharingStopped),
        ("purpose-missing", CallMalformed),
        ("credential-invalid", CredentialRefused),
        ("records-unavailable", GatewayUnavailable),
        ("internal", SharingProblem),
    ],
)
def test_problems_have_types(code: str, kind: type[SharingProblem]) -> None:
    """A problem raises the class that says what to do; its words and record come along."""
    document = problem_document(GatewayError(code, "because"))
    response = httpx.Response(
        document["status"],
        headers={"Content-Type": "application/problem+json", "Sharing-Record": "r1"},
        content=json.dumps(document),
    )
    with pytest.raises(kind) as raised:
        raise_for_problem(response)
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.record, raised.value.detail) == (code, "r1", "because")
    assert "because" in str(raised.value)


def test_every_data_plane_code_has_a_type() -> None:
    """A code the data plane may answer with is not left untyped."""
    control = {"invalid-input", "act-not-permitted", "not-found", "conflict", "precondition-failed", "internal"}
    control |= {"idempotency-mismatch", "barrier-incomplete", "host-not-proved"}
    control |= {"record-pruned", "records-incomplete", "verification-failed"}
    assert set(PROBLEMS) - control <= set(_CLASSES)


def test_suppliers_own_error_is_no_problem_of_the_gateway() -> None:
    """An error page of the supplier raises without a code, and without quoting it."""
    with pytest.raises(SharingProblem) as raised:
        raise_for_problem(httpx.Response(404, content=b"<html>secret</html>"))
    assert raised.value.code == ""
    assert "secret" not in str(raised.value)
    headers = {"content-type": "application/problem+json", "sharing-origin": "supplier"}
    forged = httpx.Response(403, headers=headers, content=b'{"type":"/problems/suspended"}')
    with pytest.raises(SharingProblem) as raised:
        raise_for_problem(forged)
    assert raised.value.code == ""


def test_client_imports_no_room() -> None:
    """A demand department needs httpx, pyjwt and cryptography, and nothing of the gateway's house."""
    listing = "import sys, gateway.client; print([m for m in sys.modules if m.startswith('gateway')])"
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout
    assert set(eval(loaded)) == {"gateway", "gateway.client"}
    listing = "import sys; from gateway.client import SharingClient; print(list(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout
    rooms = {name for name in eval(loaded) if name.startswith("gateway.")}
    assert {name for name in rooms if not name.startswith("gateway.client")} == set()
    assert not {"jwt", "fastapi", "sqlalchemy", "pydantic", "prometheus_client"} & set(eval(loaded))
