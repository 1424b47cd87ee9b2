"""A session on a user's machine: its file, its listener, and the URL that it is for."""

import socket
import stat
from pathlib import Path

import httpx
import jwt
import pytest

from gateway.client.keys import ClientKey, new_private_key
from gateway.domain.errors import GatewayError
from gateway.runtime.operation.session.loopback import Listener
from gateway.runtime.operation.session.remote import auth_of
from gateway.runtime.operation.session.sessions import KeptSession, SessionFolder, control_url

URL = "https://share.example"
SESSION = KeptSession(URL, "lin", "the token", new_private_key(), 2_000_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    return SessionFolder({"XDG_CONFIG_HOME": str(tmp_path / "config")})


def only_file(folder: SessionFolder) -> Path:
    (found,) = folder.folder.iterdir()
    return found


def test_session_is_its_users_alone(folder: SessionFolder) -> None:
    """0600 in 0700, found again under its URL and no other, gone when it is forgotten, and never shown."""
    folder.keep(SESSION)
    assert stat.S_IMODE(only_file(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.folder.stat().st_mode) == 0o700
    assert folder.find(URL) == SESSION
    assert folder.find("https://another.example") is None
    assert "token" not in repr(SESSION)
    assert [folder.forget(URL), folder.forget(URL)] == [True, False]
    assert list(folder.folder.iterdir()) == []


def test_home_stands_in_for_the_config_folder(tmp_path: Path) -> None:
    """`$XDG_CONFIG_HOME` if it is absolute, else `~/.config`."""
    for config in ("", "relative/config"):
        found = SessionFolder({"XDG_CONFIG_HOME": config, "HOME": str(tmp_path)}).folder
        assert found == tmp_path / ".config" / "sharing-gateway" / "sessions"


def _opened_to_others(file: Path) -> None:
    file.chmod(0o640)


def _another_gateways(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"share.example", b"other.example"))


def _torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


def _a_link(file: Path) -> None:
    target = file.with_name("elsewhere")
    file.rename(target)
    file.symlink_to(target)


def _a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("spoil", [_opened_to_others, _another_gateways, _torn, _a_link, _a_folder])
def test_file_that_another_may_have_written_is_refused(folder: SessionFolder, spoil: object) -> None:
    """Whoever could write it could have this user act elsewhere, or as another."""
    folder.keep(SESSION)
    assert callable(spoil)
    spoil(only_file(folder))
    with pytest.raises(GatewayError, match="remove it and sign in again"):
        folder.find(URL)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://Share.Example/", URL),
        ("https://share.example:443", URL),
        (" https://share.example ", URL),
        ("https://share.example:8443/control/", "https://share.example:8443/control"),
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("http://[::1]:8081", "http://[::1]:8081"),
        ("http://share.example", None),
        ("http://127.0.0.1.attacker.test", None),
        ("https://lin@share.example", None),
        ("https://share.example/?x", None),
        ("https://share.example:99999", None),
        ("ftp://share.example", None),
        ("share.example", None),
        ("", None),
    ],
)
def test_urls_are_written_in_one_way(written: str, read: str | None) -> None:
    """What can be written in two ways is one; over plain HTTP only this machine is asked."""
    if read is None:
        with pytest.raises(GatewayError, match="https://"):
            control_url(written)
    else:
        assert control_url(written) == read


@pytest.mark.parametrize("elsewhere", ["https://attacker.test/v1", f"{URL}.attacker.test/v1", f"{URL}:444/v1"])
def test_session_is_shown_to_its_gateway_alone(elsewhere: str) -> None:
    """A request of the same client to any other host is not sent at all."""
    sent: list[str] = []

    def serve(request: httpx.Request) -> httpx.Response:
        sent.append(str(request.url))
        return httpx.Response(200, headers={"DPoP-Nonce": "n"})

    with httpx.Client(transport=httpx.MockTransport(serve), auth=auth_of(SESSION, URL)) as client:
        client.get(f"{URL}/v1/account")
        with pytest.raises(GatewayError, match="begun at"):
            client.get(elsewhere)
    assert sent == [f"{URL}/sign-in", f"{URL}/v1/account"]


def test_bodies_are_sent_once_and_proofs_name_the_gateway() -> None:
    """A nonce is had before the first body; where it has lapsed the request is proven anew."""
    sent: list[tuple[str, str]] = []
    proven: list[tuple[str, str]] = []

    def serve(request: httpx.Request) -> httpx.Response:
        sent.append((request.method, request.headers.get("Authorization", "")))
        if request.method == "GET":
            return httpx.Response(200, headers={"DPoP-Nonce": "first"})
        claims = jwt.decode(request.headers["DPoP"], options={"verify_signature": False})
        assert jwt.get_unverified_header(request.headers["DPoP"])["jwk"] == ClientKey(SESSION.key).public
        proven.append((claims["htu"], claims["nonce"]))
        challenge = {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "second"}
        return httpx.Response(401 if claims["nonce"] == "first" else 200, headers=challenge)

    local = "http://127.0.0.1:9"
    with httpx.Client(transport=httpx.MockTransport(serve), auth=auth_of(SESSION, local)) as client:
        assert client.post(f"{local}/v1/grants?x=y", content=b"body").status_code == 200
    assert sent == [("GET", ""), ("POST", "DPoP the token"), ("POST", "DPoP the token")]
    assert proven == [(f"{URL}/v1/grants", "first"), (f"{URL}/v1/grants", "second")]


def test_listener_takes_the_one_answer() -> None:
    """Another user of the machine can neither have its port nor answer in the browser's place; nothing is printed."""
    state, issuer = "s" * 43, "https://share.example"
    with Listener(state, issuer) as listener:
        base, right = listener.redirect_uri, {"code": "c", "state": state, "iss": issuer}
        with socket.socket() as squatter:
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                squatter.setsockopt(socket.SOL_SOCKET, option, 1)
            with pytest.raises(OSError, match="in use"):
                squatter.bind(("127.0.0.1", listener.port))
        with httpx.Client(trust_env=False) as client:
            wrong = [
                client.get(base),
                client.get(base, params={**right, "state": "x"}),
                client.get(base, params={**right, "iss": "https://attacker.test"}),
                client.get(base, params={"code": "c", "state": state}),
                client.get(f"{base}?code=a&code=b&state={state}&iss={issuer}"),
                client.get(base.replace("signed-in", "other"), params=right),
                client.get(base, params=right, headers={"Host": "attacker.test"}),
                client.post(base, params=right),
                client.get(base, params={**right, "code": "c" * 9000}),
            ]
            assert {answer.status_code for answer in wrong} <= {400, 501}
            assert listener.wait(0) is None
            assert client.get(base, params=right).status_code == 200
            assert client.get(base, params={**right, "code": "of another"}).status_code == 400
        found = listener.wait(0)
    assert found is not None
    assert found["code"] == "c"
