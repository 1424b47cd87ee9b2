"""`gateway sign-in` and `sign-out`: how a person at a command line comes by a session, and is rid of it.

    by_browser    the OpenID provider's pages, in a browser on this machine (RFC 8252)
    by_device     the same on any device, by a code (RFC 8628)
    by_password   a local account

Whichever it is, a key is made first that the session is bound to, and stands beside it in the user's own folder.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import httpx

from gateway.client.keys import ClientKey, new_private_key
from gateway.domain.errors import GatewayError
from gateway.identity.officers.pairing import challenge_of, new_verifier, words_of
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.session.api import error_of, own_trust, unreachable
from gateway.runtime.operation.session.loopback import Listener
from gateway.runtime.operation.session.remote import ACCOUNT_PATH, WAYS_PATH, KeyAuth, auth_of, trust
from gateway.runtime.operation.session.sessions import KeptSession, SessionFolder, control_url

BROWSER_SECONDS = 600.0
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Door:
    """A control plane that can be signed in at.

    Args:
        url: as it is reached.
        issuer: as it calls itself; what sessions are bound to.
        ways: what it said of the ways to sign in.
        client: asks it.
    """

    url: str
    issuer: str
    ways: dict[str, Any]
    client: httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.client.close()


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that has begun.

    Args:
        session: to be kept.
        told: what others did about the account since its owner was last told.
    """

    session: KeptSession
    told: tuple[dict[str, Any], ...]


def find_door(home_path: Path, url: str | None) -> Door:
    """The control plane at `url`, or of the gateway that runs in `home_path`.

    Raises:
        GatewayError: `invalid-input` where what stands at `url` calls itself otherwise, so that a session would be
            given to a stranger in between; `not-found` and `unavailable` as of every command.
    """
    if url is not None:
        place, verify = control_url(url), trust()
    else:
        home = GatewayHome(home_path)
        home.require()
        addresses = home.addresses()
        if not addresses:
            raise GatewayError("unavailable", f"no gateway runs in `{home.root}`: start it, or give `--url`")
        place, verify = str(addresses["control"]).rstrip("/"), own_trust(home.settings())
    client = httpx.Client(
        base_url=place, verify=verify, timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
    )
    try:
        ways = _asked(client, "GET", WAYS_PATH)
        issuer = str(ways.get("issuer", "")).rstrip("/")
        # RFC 8414 §3.3: what names itself otherwise than it was asked for is not believed.
        if url is not None and issuer != place:
            what = f"the gateway at {place} calls itself `{issuer[:200]}`: sign in there"
            raise GatewayError("invalid-input", what)  # noqa: TRY301 -- the client is closed in one place
    except BaseException:
        client.close()
        raise
    return Door(place, issuer, ways, client)


def by_password(door: Door, officer: str, password: str, device: str, one_time_code: str | None) -> Begun:
    """Sign in by a local account.

    Raises:
        GatewayError: `credential-invalid`, with the member `needs` where a one-time code is asked for.
    """
    body = {"officer": officer, "password": password, "device": device}
    if one_time_code is not None:
        body["one_time_code"] = one_time_code
    pem = new_private_key()
    return _kept(door, pem, _asked(door.client, "POST", WAYS_PATH, json=body, auth=_auth(door, pem)))


def by_code(door: Door, officer: str, code: str, password: str) -> Begun:
    """Set the password of a local account by the code that was handed over, and sign in.

    Raises:
        GatewayError: `credential-invalid`; `invalid-input` for a weak password.
    """
    body = {"officer": officer, "code": code, "password": password}
    pem = new_private_key()
    return _kept(door, pem, _asked(door.client, "POST", f"{WAYS_PATH}/enrolment", json=body, auth=_auth(door, pem)))


def by_browser(door: Door, show: Callable[[str, str], None]) -> Begun:
    """Sign in by the OpenID provider's pages.

    Args:
        door: where.
        show: given the URL to open, and the words that the page of consent must show.

    Raises:
        GatewayError: `credential-invalid` where the officer did not agree or did nothing.
    """
    pem, verifier = new_private_key(), new_verifier()
    challenge, state = challenge_of(verifier), challenge_of(secrets.token_hex(32))
    with Listener(state, str(door.ways["issuer"])) as listener:
        asked = {
            "redirect_uri": listener.redirect_uri,
            "state": state,
            "code_challenge": challenge,
            "dpop_jkt": ClientKey(pem).thumbprint,
        }
        show(f"{door.issuer}{WAYS_PATH}/browser?{urlencode(asked)}", words_of(challenge))
        answer = listener.wait(BROWSER_SECONDS)
        if answer is None:
            raise GatewayError("credential-invalid", "nobody signed in within ten minutes: begin again")
        if "code" not in answer:
            why = answer.get("error_description", "it was not agreed to")[:200]
            raise GatewayError("credential-invalid", f"nobody is signed in: {why if why.isprintable() else '?'}")
        body = {"code": answer["code"], "verifier": verifier, "redirect_uri": listener.redirect_uri}
    return _kept(door, pem, _asked(door.client, "POST", f"{WAYS_PATH}/code", json=body, auth=_auth(door, pem)))


def by_device(door: Door, show: Callable[[dict[str, Any]], None], sleep: Callable[[float], None] = time.sleep) -> Begun:
    """Sign in on another device; `show` is given `verification_uri`, `verification_uri_complete` and `user_code`.

    Raises:
        GatewayError: `credential-invalid` where the officer did not agree or did nothing.
    """
    pem = new_private_key()
    auth = _auth(door, pem)
    asked = _asked(door.client, "POST", f"{WAYS_PATH}/device", auth=auth)
    show(asked)
    interval, until = float(asked["interval"]), time.monotonic() + float(asked["expires_in"])
    while time.monotonic() < until:
        sleep(interval)
        try:
            answer = _asked(
                door.client, "POST", f"{WAYS_PATH}/device/answer", json={"device": asked["device"]}, auth=auth
            )
        except GatewayError as error:
            if error.code != "rate-limited":
                raise
            interval += 5  # RFC 8628 §3.5
            continue
        if "access_token" in answer:
            return _kept(door, pem, answer)
    raise GatewayError("credential-invalid", "nobody signed in in time: begin again")


def sign_out(door: Door, folder: SessionFolder, *, everywhere: bool) -> dict[str, Any]:
    """End the session at `door`; whatever comes of it, nothing of it stays on this machine.

    Raises:
        GatewayError: `credential-missing` where there is none; what the control plane refuses; `unavailable`.
    """
    session = folder.find(door.issuer)
    if session is None:
        raise GatewayError("credential-missing", f"nobody is signed in at {door.issuer}")
    try:
        auth = auth_of(session, door.url)
        body = {"everywhere": everywhere}
        ended: dict[str, Any] = _asked(door.client, "POST", f"{ACCOUNT_PATH}/sign-out", json=body, auth=auth)
        return ended
    finally:
        folder.forget(door.issuer)


def sign_out_away(folder: SessionFolder, url: str | None, error: GatewayError) -> GatewayError:
    """What is said where the control plane at `url` cannot be asked: this machine forgets its session all the same."""
    session = folder.find(control_url(url)) if url is not None else None
    if session is None:
        return error
    folder.forget(session.url)
    ends = time.strftime("%H:%M:%SZ", time.gmtime(session.expires_unix))
    gone = f"the session is gone from this machine; at {session.url} it stands until {ends}"
    return GatewayError(error.code, f"{error.detail}. {gone}")


def _auth(door: Door, pem: str) -> KeyAuth:
    return KeyAuth(door.url, ClientKey(pem), issuer=door.issuer)


def _kept(door: Door, pem: str, answer: dict[str, Any]) -> Begun:
    if answer.get("token_type") != "DPoP":
        raise GatewayError("unavailable", "the control plane did not bind the session to its key")
    session = KeptSession(
        url=door.issuer,
        officer=str(answer["officer"]),
        token=str(answer["access_token"]),
        key=pem,
        expires_unix=int(time.time()) + int(answer["expires_in"]),
        renews=bool(answer.get("renews")),
        device=str(answer.get("device", "")),
    )
    return Begun(session, tuple(answer.get("told", ())))


def _asked(client: httpx.Client, method: str, path: str, **options: Any) -> dict[str, Any]:
    try:
        answer = client.request(method, path, **options)
    except httpx.HTTPError as error:
        raise unreachable(error) from error
    if answer.is_error:
        raise error_of(answer)
    try:
        found: dict[str, Any] = answer.json()
    except ValueError as error:
        raise GatewayError("unavailable", f"what answers at {client.base_url} is no control plane") from error
    return found
