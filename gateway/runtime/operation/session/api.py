"""The control API for the command line: over HTTP where a gateway runs, here or elsewhere; else in this process.

Either way it is the same application with the same authorisation, the same records and the same barrier; a command
has no second way to change the state. In this process the home's lock is held meanwhile, so that no gateway starts
beside it.
"""

import asyncio
import os
import secrets
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from gateway.domain.errors import PROBLEMS, GatewayError
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.session.officer_tokens import officer_token
from gateway.runtime.operation.session.remote import (
    ACCOUNT_PATH,
    RENEW_SECONDS,
    Bearer,
    KeyAuth,
    auth_of,
    kept_session,
    needs_sign_in,
    trust,
)
from gateway.runtime.operation.session.sessions import SessionFolder, control_url
from gateway.runtime.settings import Settings
from gateway.runtime.start.incarnation import require_own_state

REGISTRAR = "registrar"
"""The officer that `gateway init` makes: of the competent department, for the first acts on a new gateway."""
TOKEN_SECONDS = 300
TIMEOUT_SECONDS = 120.0
AGAIN_SECONDS = (1.0, 3.0)
"""Pauses before an act whose answer was lost is asked for again: a control process is back within them."""
STANDARD_MEMBERS = frozenset({"type", "title", "status", "advice", "detail", "instance"})


class Api:
    """Calls on the control API, as one officer.

    Every method raises the `GatewayError` that the answer's problem document describes.

    Args:
        client: sends the requests; its base URL is the control plane's.
        runner: where it runs; kept open between calls.
        lifespan: the application's, where it runs in this process.
        again_seconds: pauses before each time that a lost answer is asked for again.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        runner: asyncio.Runner,
        lifespan: AbstractAsyncContextManager[None] | None = None,
        *,
        again_seconds: Sequence[float] = AGAIN_SECONDS,
    ) -> None:
        self._again_seconds = again_seconds
        self._client = client
        self._runner = runner
        self._lifespan = lifespan
        if lifespan:
            runner.run(lifespan.__aenter__())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and the application where it runs in this process."""
        self._runner.run(self._client.aclose())
        if self._lifespan:
            self._runner.run(self._lifespan.__aexit__(None, None, None))
        self._runner.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON answer to a GET; parameters that are None are left out."""
        return self._json("GET", path, params=_given(params))

    def get_tagged(self, path: str, **params: Any) -> tuple[Any, str]:
        """As `get`, with the answer's entity tag, without quotes; empty where it has none."""
        answer = self._run("GET", path, params=_given(params))
        return answer.json(), _tag_of(answer)

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Any:
        """The JSON answer to a POST."""
        return self._json("POST", path, json=body, headers=dict(headers or {}), timeout=timeout_seconds)

    def post_bytes(self, path: str, content: bytes, media_type: str, **params: Any) -> Any:
        """The JSON answer to a POST of a file."""
        headers = {"Content-Type": media_type}
        return self._json("POST", path, content=content, headers=headers, params=_given(params))

    def post_once(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> tuple[Any, str]:
        """As `post`, under an `Idempotency-Key` of its own; with the answer's entity tag, as `get_tagged`.

        Where the answer is lost on its way, it is asked for again under that key: so nothing is done twice, and what
        was done is told.
        """
        keyed = {**(headers or {}), "Idempotency-Key": f"command-{secrets.token_hex(16)}"}
        answer = self._run("POST", path, json=body, headers=keyed, again=self._again_seconds)
        return answer.json(), _tag_of(answer)

    def put(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON answer to a PUT."""
        return self._json("PUT", path, json=body, headers=dict(headers or {}))

    def delete(self, path: str) -> Any:
        """The JSON answer to a DELETE."""
        return self._json("DELETE", path)

    def text(self, path: str, **params: Any) -> str:
        """The text answer to a GET."""
        return self._run("GET", path, params=_given(params)).text

    def download(self, path: str, params: Mapping[str, Any], out: Path) -> tuple[int, str]:
        """Stream the answer to a GET into `out` by way of a partial file; the bytes written and the entity tag."""
        tag = self._runner.run(self._download(path, params, out))
        return out.stat().st_size, tag

    async def _download(self, path: str, params: Mapping[str, Any], out: Path) -> str:
        partial = out.with_name(out.name + ".partial")
        try:
            async with self._client.stream("GET", path, params=_given(params)) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise self._error_of(answer)
                with partial.open("wb") as file:
                    async for chunk in answer.aiter_bytes():
                        file.write(chunk)
            partial.replace(out)
            return _tag_of(answer)
        except httpx.HTTPError as error:
            raise GatewayError("unavailable", f"the control plane broke off: {type(error).__name__}") from error
        finally:
            partial.unlink(missing_ok=True)

    def _json(self, method: str, path: str, **options: Any) -> Any:
        answer = self._run(method, path, **options)
        return answer.json() if answer.content else None

    def _run(self, method: str, path: str, *, again: Sequence[float] = (), **options: Any) -> httpx.Response:
        pauses = list(again)
        sent = False
        while True:
            try:
                answer = self._runner.run(self._client.request(method, path, **options))
                break
            except httpx.HTTPError as error:
                # What was never sent needs no second asking: nobody is there.
                sent = sent or not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
                if not sent or not pauses:
                    raise unreachable(error) from error
            self._runner.run(asyncio.sleep(pauses.pop(0)))
        if answer.is_error:
            raise self._error_of(answer)
        return answer

    def _error_of(self, answer: httpx.Response) -> GatewayError:
        """In this process there is no ledger to ask: whoever does is told that no gateway runs, and how one does."""
        error = error_of(answer)
        if self._lifespan is None or error.code != "unavailable":
            return error
        said = f"{error.detail}: no gateway runs in this home; `gateway serve` starts it"
        return GatewayError(error.code, said, headers=error.headers, **error.members)


def _tag_of(answer: httpx.Response) -> str:
    """The entity tag without its quotes; empty where there is none."""
    tag: str = answer.headers.get("ETag", "")
    return tag.strip('"')


def unreachable(error: httpx.HTTPError) -> GatewayError:
    """What a command says where the control plane cannot be asked."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        what = "the control plane's certificate is not trusted here: name its authority's file in `$GATEWAY_CA`"
        return GatewayError("unavailable", what)
    return GatewayError("unavailable", f"the control plane cannot be reached: {type(error).__name__}")


def error_of(answer: httpx.Response) -> GatewayError:
    """The error that a problem answer stands for; what is no problem document becomes `unavailable`."""
    try:
        document = answer.json()
        code = str(document["type"]).rpartition("/")[2]
        members = {str(name): value for name, value in document.items() if name not in STANDARD_MEMBERS}
    except (ValueError, KeyError, TypeError, AttributeError):
        return GatewayError("unavailable", f"the control plane answered {answer.status_code} without a problem")
    if code not in PROBLEMS:
        return GatewayError("unavailable", f"the control plane answered {answer.status_code} (`{code}`)")
    members.pop("code", None)
    return GatewayError(code, str(document.get("detail", "")), **members)


@contextmanager
def open_api(
    home_path: Path, officer: str | None = None, *, url: str | None = None, otherwise: str | None = None
) -> Iterator[Api]:
    """The control API of the gateway in `home_path`, or of the one at `url`.

    Who acts is, in this order: `officer`, by a token signed with the home's own keys; the session in `$GATEWAY_TOKEN`;
    the session that `gateway sign-in` keeps for that gateway; `otherwise`, as `officer`. Without any of these nobody
    acts. Who can read the token key of a home can act as any of its officers: guard the folder.

    Raises:
        GatewayError: `invalid-input` where it is not said who acts; `credential-missing` where nobody is signed in at
            `url`; `not-found` where no gateway lives there or the officer is unknown; `unavailable` where it cannot be
            reached; `conflict` where another command holds the home.
    """
    if url is not None:
        with _open_elsewhere(control_url(url), officer) as api:
            yield api
        return
    home = GatewayHome(home_path)
    home.require()
    settings = home.settings()
    addresses = home.addresses()
    if addresses:
        url, lock = str(addresses["control"]), None
    elif home.is_running():
        raise GatewayError("unavailable", f"the gateway in `{home.root}` is starting or stopping: try again")
    else:
        lock = home.lock()
        url = settings.control.issuer or home.control_url(settings)
    try:
        if lock:
            require_own_state(home, settings)
        auth: httpx.Auth = _who(home, officer, otherwise, url.rstrip("/"), (settings.control.issuer or url).rstrip("/"))
        runner = asyncio.Runner()
        transport: httpx.AsyncBaseTransport | None = None
        lifespan, verify = None, own_trust(settings)
        if lock:
            # FastAPI and all rooms load here only where no running gateway can answer.
            from gateway.runtime.control.control import local_app  # noqa: PLC0415 -- see above

            app, lifespan = local_app(home, settings, url)
            transport = httpx.ASGITransport(app=app)
        # An officer's token goes to the control plane itself, whatever proxy the environment names.
        client = httpx.AsyncClient(
            base_url=url, auth=auth, transport=transport, verify=verify, timeout=TIMEOUT_SECONDS, trust_env=False
        )
        with Api(client, runner, lifespan) as api:
            _renew(api, auth)
            yield api
    finally:
        if lock:
            lock.release()


@contextmanager
def _open_elsewhere(url: str, officer: str | None) -> Iterator[Api]:
    if officer is not None:
        raise GatewayError(
            "invalid-input",
            f"`--as {officer}` signs by the keys of a home, and {url} is elsewhere: leave `--as` and "
            f"`$GATEWAY_OFFICER` out, and run `gateway sign-in --url {url}`",
        )
    given = os.environ.get("GATEWAY_TOKEN")
    auth: httpx.Auth
    if given:
        auth = Bearer(given)
    else:
        session = kept_session(SessionFolder(), url)
        if session is None:
            raise needs_sign_in(url)
        auth = auth_of(session, url)
    client = httpx.AsyncClient(base_url=url, auth=auth, verify=trust(), timeout=TIMEOUT_SECONDS, trust_env=False)
    with Api(client, asyncio.Runner()) as api:
        _renew(api, auth)
        yield api


def _renew(api: Api, auth: httpx.Auth) -> None:
    """Let a session that ends soon go on, and keep it so; what cannot be renewed is used as long as it stands."""
    if not isinstance(auth, KeyAuth) or auth.session is None:
        return
    session = auth.session
    if not session.renews or session.expires_unix - time.time() > RENEW_SECONDS:
        return
    try:
        answer = api.post(f"{ACCOUNT_PATH}/renewal")
    except GatewayError as error:
        if error.code == "credential-invalid":
            SessionFolder().forget(session.url)
            raise GatewayError("credential-missing", f"{error.detail}: run `gateway sign-in` again") from error
        return
    expires = int(time.time()) + int(answer["expires_in"])
    auth.session = msgspec.structs.replace(session, token=answer["access_token"], expires_unix=expires)
    SessionFolder().keep(auth.session)


def own_trust(settings: Settings) -> ssl.SSLContext | bool:
    """What the certificate of the running gateway of a home with these settings is checked against."""
    own = settings.control.tls_certificate
    return _pinned(own) if own else True


def _pinned(certificate: Path) -> ssl.SSLContext:
    """Trusts the home's own certificate and no other, whatever host it names: the address is this machine's."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.check_hostname = False
    own.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        own.load_verify_locations(certificate)
    except OSError as error:
        raise GatewayError("unavailable", f"the control plane's certificate `{certificate}` cannot be read") from error
    return own


def _who(home: GatewayHome, officer: str | None, otherwise: str | None, url: str, issuer: str) -> httpx.Auth:
    """What shows who acts, see `open_api`."""
    given = os.environ.get("GATEWAY_TOKEN")
    if officer is None and given:
        return Bearer(given)
    if officer is None:
        session = kept_session(SessionFolder(), issuer)
        if session is not None:
            return auth_of(session, url)
    if officer or otherwise:
        return Bearer(officer_token(home.root, str(officer or otherwise), TOKEN_SECONDS))
    # Who can read a home could act as anyone in it: whoever does says as whom.
    raise GatewayError(
        "invalid-input",
        f"say who acts: `--as OFFICER` (`--as {REGISTRAR}` for the first acts on a new gateway), `$GATEWAY_OFFICER`, "
        "a session token in `$GATEWAY_TOKEN`, or `gateway sign-in`",
    )


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
