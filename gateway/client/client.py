"""One line to the first call: `SharingClient().call("public-security/persons", id_number="…")`.

Everything can come from the environment: `GATEWAY_URL` (the data plane), `GATEWAY_TOKEN_URL` (the token endpoint),
`GATEWAY_CLIENT_ID`, `GATEWAY_KEY_FILE`, `GATEWAY_KEY_PASSWORD`, `GATEWAY_PURPOSE`, `GATEWAY_OPERATOR`, `GATEWAY_CA`.
"""

import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from gateway.client.answers import Progress, RowReader, Saving
from gateway.client.auth import DEADLINE_SECONDS, SharingAuth, Verify
from gateway.client.core import Declared
from gateway.client.keys import Key
from gateway.client.observing import Told, name_of
from gateway.client.problems import SharingProblem, raise_for_problem, raise_for_problem_async
from gateway.client.quiet import keep_quiet_about
from gateway.client.sending import AsyncSharingTransport, MadeAnew, SharingTransport

Content = bytes | str | Iterable[bytes] | AsyncIterable[bytes] | Callable[[], "bytes | Iterable[bytes]"]
Items = str | Sequence[str]


class _Settings:
    """What both clients are made of, from arguments and the environment."""

    def __init__(
        self,
        gateway: str | None = None,
        *,
        token_endpoint: str | None = None,
        client_id: str | None = None,
        key: "Key | None" = None,
        password: "str | bytes | None" = None,
        kid: str | None = None,
        purpose: str | None = None,
        operator: str | None = None,
        scenario: str | None = None,
        items: "Items | None" = None,
        ca: "str | Path | None" = None,
        certificate: "tuple[str, str] | str | None" = None,
        verify: "Verify | None" = None,
        dpop: bool = True,
        deadline_seconds: float = DEADLINE_SECONDS,
        timeout: "httpx.Timeout | float" = 30.0,
        observe: Callable[[str, str], None] | None = None,
        transport: Any = None,
        token_transport: httpx.BaseTransport | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.base = httpx.URL(_needed(gateway or environment.get("GATEWAY_URL"), "gateway", "GATEWAY_URL"))
        endpoint = _needed(
            token_endpoint or environment.get("GATEWAY_TOKEN_URL"), "token_endpoint", "GATEWAY_TOKEN_URL"
        )
        client_id = _needed(client_id or environment.get("GATEWAY_CLIENT_ID"), "client_id", "GATEWAY_CLIENT_ID")
        key_file = environment.get("GATEWAY_KEY_FILE")
        key = key if key is not None else Path(key_file) if key_file else None
        if key is None and certificate is None:
            _needed(None, "key", "GATEWAY_KEY_FILE")
        if verify is None:
            verify = _context(ca or environment.get("GATEWAY_CA"), certificate)
        self.auth = SharingAuth(
            endpoint,
            client_id,
            key,
            password=password or environment.get("GATEWAY_KEY_PASSWORD"),
            kid=kid,
            purpose=purpose or environment.get("GATEWAY_PURPOSE"),
            operator=operator or environment.get("GATEWAY_OPERATOR"),
            scenario=scenario,
            items=items,
            dpop=dpop,
            gateway=str(self.base),
            verify=verify,
            transport=token_transport,
            deadline_seconds=deadline_seconds,
            observe=observe,
        )
        self.verify = verify
        self.timeout = timeout
        self.transport = transport
        keep_quiet_about(self.base)


class _Calls:
    """What both clients do alike: requests from a call's words."""

    _http: Any
    auth: SharingAuth

    def _told(self, request: httpx.Request) -> Told:
        return Told(self.auth.source.observe, name_of(request), request, self.auth.source.note)

    def _request(
        self,
        interface: str,
        method: str | None,
        *,
        purpose: str | None = None,
        items: "Items | None" = None,
        operator: str | None = None,
        scenario: str | None = None,
        mode: str | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: "Content | None" = None,
        headers: Mapping[str, str] | None = None,
        deadline_seconds: float | None = None,
    ) -> httpx.Request:
        made_anew = content if callable(content) else None
        request: httpx.Request = self._http.build_request(
            method or ("GET" if json is None and content is None else "POST"),
            "/" + interface.lstrip("/"),
            params=dict(params or {}),
            json=json,
            content=None if made_anew is not None else content,
            headers=dict(headers or {}),
        )
        if made_anew is not None:
            request.headers["Transfer-Encoding"] = "chunked"
            request.stream = MadeAnew(made_anew)
        Declared(purpose, scenario, operator, items).apply(request)
        if mode is not None:
            request.headers["Sharing-Mode"] = mode
        if deadline_seconds is not None:
            request.extensions = {**request.extensions, "sharing_deadline": deadline_seconds}
        return request


class SharingClient(_Calls):
    """Calls suppliers' interfaces through the gateway. For threads, forks; closed by `with`.

    Args:
        gateway: URL of the data plane.
        token_endpoint: URL of the gateway's `/oauth/token`.
        client_id: the system's id.
        key: its private key: a path, PEM, DER, a JWK, a `cryptography` key or a `Signer` (see `keys.Key`).
        password: opens an encrypted key.
        kid: the name the key is registered under.
        purpose, operator, scenario, items: declared with every call that does not say otherwise.
        ca: a file of the gateway's private authorities; one that is not whole is a `ValueError`.
        certificate: a registered client certificate: PEM chain and key, in one file or two (RFC 8705).
        verify: TLS as a context of your own, in place of `ca` and `certificate`.
        dpop: whether tokens are bound to the key (RFC 9449).
        deadline_seconds: the longest a call may take to its answer's head, waits and repetitions included.
        timeout: of each step of a call, as `httpx` has it.
        observe: told of calls, renewals, retries and refusals (see `observing`).
        transport, token_transport: what calls and token requests are sent by, in place of connections of its own.
        environment: where what is not given is looked for.
    """

    def __init__(self, gateway: str | None = None, **options: Any) -> None:
        made = _Settings(gateway, **options)
        self.auth = made.auth
        inner = made.transport or httpx.HTTPTransport(verify=made.verify)
        self._http = httpx.Client(
            base_url=made.base,
            transport=SharingTransport(inner, made.auth),
            timeout=made.timeout,
            headers={"Accept-Encoding": "identity"},
            trust_env=False,  # no token goes through a proxy that the environment names
        )

    def call(self, interface: str, *, method: str | None = None, **words: Any) -> httpx.Response:
        """The answer of one call; any word that is none of the following is a parameter of the interface.

        Args:
            interface: `supplier/interface`, and what the interface takes below.
            method: GET, or POST where there is a body.
            words: `purpose`, `items`, `operator`, `scenario`, `mode`, `params`, `json`, `content`, `headers`,
                `deadline_seconds`; all others are query parameters.

        Raises:
            SharingProblem: of the class that says what to do.
        """
        request = self._request(interface, method, **_sorted_words(words))
        with self._told(request) as told:
            told.answer = raise_for_problem(self._http.send(request))
        return told.answer

    def stream(
        self, interface: str, *, method: str | None = None, **words: Any
    ) -> AbstractContextManager[httpx.Response]:
        """As `call`, the answer unread: `with sharing.stream(…) as answer`."""
        request = self._request(interface, method, **_sorted_words(words))
        return _Streamed(self._http, request, self._told)

    def rows(self, interface: str, **words: Any) -> Iterator[dict[str, Any]]:
        """The rows of a JSON, NDJSON or CSV answer, one by one; a cut answer ends in `AnswerCut` and not in silence."""
        with self.stream(interface, **words) as answer:
            reader = RowReader(answer)
            for chunk in answer.iter_bytes():
                yield from reader.take(chunk)
            yield from reader.end()

    def download(
        self, interface: str, path: "str | Path", *, progress: "Progress | None" = None, resumes: int = 3, **words: Any
    ) -> str:
        """Save an answer as a file, whole or not at all; returns its SHA-256.

        Where it is cut, it is gone on with from where it broke off if the supplier has ranges, else begun anew.

        Args:
            interface: as in `call`, and so are `words`.
            path: where the file will be.
            progress: told of (octets so far, octets in all or None) as it grows.
            resumes: how often it is gone on with.
            words: the call's.
        """
        own = words.get("headers")
        saving = Saving(Path(path), progress, resumes)
        while True:
            try:
                words["headers"] = saving.fields(own)
                with self.stream(interface, **words) as answer:
                    saving.begin(answer)
                    for chunk in answer.iter_bytes():
                        saving.take(chunk)
                return saving.finish()
            except (httpx.TransportError, SharingProblem) as error:
                if saving.is_over(error):
                    raise

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSharingClient(_Calls):
    """As `SharingClient`, on asyncio's loop or trio's; closed by `async with`."""

    def __init__(self, gateway: str | None = None, **options: Any) -> None:
        made = _Settings(gateway, **options)
        self.auth = made.auth
        inner = made.transport or httpx.AsyncHTTPTransport(verify=made.verify)
        self._http = httpx.AsyncClient(
            base_url=made.base,
            transport=AsyncSharingTransport(inner, made.auth),
            timeout=made.timeout,
            headers={"Accept-Encoding": "identity"},
            trust_env=False,  # no token goes through a proxy that the environment names
        )

    async def call(self, interface: str, *, method: str | None = None, **words: Any) -> httpx.Response:
        """As `SharingClient.call`."""
        request = self._request(interface, method, **_sorted_words(words))
        with self._told(request) as told:
            told.answer = await raise_for_problem_async(await self._http.send(request))
        return told.answer

    def stream(
        self, interface: str, *, method: str | None = None, **words: Any
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """As `SharingClient.stream`: `async with sharing.stream(…) as answer`."""
        request = self._request(interface, method, **_sorted_words(words))
        return _StreamedAsync(self._http, request, self._told)

    async def rows(self, interface: str, **words: Any) -> AsyncIterator[dict[str, Any]]:
        """As `SharingClient.rows`: `async for row in sharing.rows(…)`."""
        async with self.stream(interface, **words) as answer:
            reader = RowReader(answer)
            async for chunk in answer.aiter_bytes():
                for row in reader.take(chunk):
                    yield row
            for row in reader.end():
                yield row

    async def download(
        self, interface: str, path: "str | Path", *, progress: "Progress | None" = None, resumes: int = 3, **words: Any
    ) -> str:
        """As `SharingClient.download`; what comes is written as it comes, by the loop."""
        own = words.get("headers")
        saving = Saving(Path(path), progress, resumes)
        while True:
            try:
                words["headers"] = saving.fields(own)
                async with self.stream(interface, **words) as answer:
                    saving.begin(answer)
                    async for chunk in answer.aiter_bytes():
                        saving.take(chunk)
                return saving.finish()
            except (httpx.TransportError, SharingProblem) as error:
                if saving.is_over(error):
                    raise

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Streamed(AbstractContextManager[httpx.Response]):
    def __init__(self, http: httpx.Client, request: httpx.Request, told: Callable[[httpx.Request], Told]) -> None:
        self._http = http
        self._request = request
        self._tell = told

    def __enter__(self) -> httpx.Response:
        self._told = self._tell(self._request)
        try:
            with self._told.sending():
                answer = self._told.answer = self._http.send(self._request, stream=True)
                return raise_for_problem(answer)
        except BaseException as error:
            if self._told.answer is not None:
                self._told.answer.close()
            self._told.end(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._told.answer is not None
        self._told.answer.close()
        self._told.end(error)


class _StreamedAsync(AbstractAsyncContextManager[httpx.Response]):
    def __init__(self, http: httpx.AsyncClient, request: httpx.Request, told: Callable[[httpx.Request], Told]) -> None:
        self._http = http
        self._request = request
        self._tell = told

    async def __aenter__(self) -> httpx.Response:
        self._told = self._tell(self._request)
        try:
            with self._told.sending():
                answer = self._told.answer = await self._http.send(self._request, stream=True)
                return await raise_for_problem_async(answer)
        except BaseException as error:
            if self._told.answer is not None:
                await self._told.answer.aclose()
            self._told.end(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._told.answer is not None
        await self._told.answer.aclose()
        self._told.end(error)


_WORDS = frozenset(
    ("purpose", "items", "operator", "scenario", "mode", "params", "json", "content", "headers", "deadline_seconds")
)


def _sorted_words(words: Mapping[str, Any]) -> dict[str, Any]:
    """A call's own words, and all others as parameters."""
    own = {name: value for name, value in words.items() if name in _WORDS}
    params = {**(own.pop("params", None) or {}), **{name: words[name] for name in words if name not in _WORDS}}
    return {**own, "params": params}


def _needed(value: str | None, name: str, variable: str) -> str:
    if not value:
        raise ValueError(f"give `{name}`, or set {variable}")
    return value


def _context(ca: "str | Path | None", certificate: "tuple[str, str] | str | None") -> Verify:
    if ca is None and certificate is None:
        return True
    if ca is not None:
        _require_whole(Path(ca))
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        chain, key = (certificate, None) if isinstance(certificate, str) else certificate
        context.load_cert_chain(chain, key)
    return context


def _require_whole(ca: Path) -> None:
    """OpenSSL loads what comes before a block that is cut off, and says nothing; here it is an error."""
    from cryptography import x509  # noqa: PLC0415 -- only for who has authorities of his own

    content = ca.read_bytes()
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError:
        found = []
    if not found or content.count(b"-----BEGIN ") != len(found):
        raise ValueError(f"`ca`: `{ca}` holds a block that is cut off or no certificate: its authorities are not whole")


def rows_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The rows of an answer that has been read."""
    reader = RowReader(answer)
    return [*reader.take(answer.content), *reader.end()]
