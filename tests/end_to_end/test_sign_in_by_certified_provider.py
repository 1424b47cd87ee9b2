"""Officers sign in at the certified provider from npm, on a gateway that runs, from a machine that has no home."""

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from base64 import b32decode
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import jwt
import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.domain.errors import GatewayError
from gateway.identity.officers.one_time_codes import STEP_SECONDS, code_at
from gateway.runtime.operation.session.api import open_api
from gateway.runtime.operation.session.sessions import KeptSession, SessionFolder
from gateway.runtime.operation.session.signing_in import (
    Door,
    by_browser,
    by_code,
    by_device,
    by_password,
    find_door,
    sign_out,
)
from gateway.store import Store
from tests.support.gateways import RunningGateway, running_gateway, wait_for
from tests.support.openid_provider import Browser, CertifiedProvider

pytestmark = pytest.mark.deep
NO_HOME = Path("/nonexistent")
PASSWORD = "seven cups of green tea"


@pytest.fixture(scope="module")
def provider() -> Iterator[CertifiedProvider]:
    with CertifiedProvider() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(provider: CertifiedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    folder = tmp_path_factory.mktemp("certified")
    secret = folder / "client-secret"
    secret.write_text(provider.secret)
    settings = {
        "GATEWAY_OFFICERS__PROVIDER": provider.issuer,
        "GATEWAY_OFFICERS__CLIENT_ID": provider.client_id,
        "GATEWAY_OFFICERS__CLIENT_SECRET_FILE": str(secret),
        "GATEWAY_OFFICERS__SCOPES": "profile,offline_access",
        "GATEWAY_LOG__LEVEL": "debug",
    }
    with running_gateway(folder / "home", **settings) as running:
        provider.serve_client(running.control)
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionFolder:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("GATEWAY_TOKEN", "GATEWAY_OFFICER", "GATEWAY_CONTROL_URL"):
        monkeypatch.delenv(name, raising=False)
    return SessionFolder()


@pytest.fixture
def door(gateway: RunningGateway) -> Iterator[Door]:
    with find_door(NO_HOME, gateway.control) as found:
        yield found


def through_browser(door: Door, browser: Browser) -> KeptSession:
    """Sign in at a command line, while `browser` is led through the pages."""
    led: list[threading.Thread] = []

    def show(page: str, words: str) -> None:
        def lead() -> None:
            browser.pages.clear()
            browser.open(page)
            assert all(words in text for text in browser.pages if 'name="ticket"' in text)

        led.append(threading.Thread(target=lead))
        led[0].start()

    try:
        return by_browser(door, show).session
    finally:
        led[0].join()


def signed_in(door: Door, folder: SessionFolder, person: str) -> KeptSession:
    with Browser(person) as browser:
        session = through_browser(door, browser)
    folder.keep(session)
    return session


def is_taken(gateway: RunningGateway) -> bool:
    """Whether the kept session is still taken."""
    with contextlib.suppress(GatewayError), open_api(NO_HOME, url=gateway.control) as api:
        api.get("/v1/account")
        return True
    return False


def session_id(session: KeptSession) -> str:
    return str(jwt.decode(session.token, options={"verify_signature": False})["sid"])


@contextlib.contextmanager
def stored(gateway: RunningGateway) -> Iterator[Store]:
    """The gateway's own state."""
    store = Store.open(gateway.home.state_url(gateway.home.settings()))
    try:
        yield store
    finally:
        store.close()


def test_whole_command_line_works_without_a_home(
    gateway: RunningGateway, door: Door, folder: SessionFolder, tmp_path: Path
) -> None:
    """`gateway sign-in --url` in a process of its own, commands in it, `gateway sign-out`: nothing of it is left."""
    environment = {**os.environ, "GATEWAY_CONTROL_URL": gateway.control, "HOME": str(tmp_path)}
    environment["GATEWAY_HOME"] = str(NO_HOME)

    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "sign-in", "--no-browser", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as asking:
        assert asking.stderr is not None
        lines = iter(asking.stderr.readline, "")
        page = next(line.strip() for line in lines if line.strip().startswith("http"))
        words = next(line for line in lines if "only if it shows" in line)
        with Browser("auditor-he") as browser:
            browser.open(page)
            assert re.search(r"[A-Z0-9]{4}-[A-Z0-9]{4}", words)
            assert words.split()[-1] in browser.pages[-1]
        out, _ = asking.communicate(timeout=60)
        assert json.loads(out)["officer"] == "auditor-he"
    run("records", "find", "--json")
    kept = folder.find(gateway.control)
    assert kept is not None
    assert "signed out" in run("sign-out")
    assert list(folder.folder.iterdir()) == []
    folder.keep(kept)
    assert not is_taken(gateway)
    log = gateway.log.read_text("utf-8")
    assert kept.token not in log


def test_another_device_signs_in(gateway: RunningGateway, door: Door, folder: SessionFolder) -> None:
    """RFC 8628: a code is typed elsewhere; the session is the command line's, and its key's."""

    def show(asked: dict[str, str]) -> None:
        with Browser("police-chen") as browser:
            browser.open(asked["verification_uri"], user_code=asked["user_code"])

    session = by_device(door, show, lambda _seconds: None).session
    assert (session.officer, session.renews) == ("police-chen", True)
    folder.keep(session)
    with open_api(NO_HOME, url=gateway.control) as api:
        (found,) = [each for each in api.get("/v1/account")["sessions"] if each["method"] == "device"]
    assert found["officer"] == "police-chen"


def test_who_says_no_gets_nothing(door: Door) -> None:
    """On the gateway's page of consent; the command line is told at once."""
    with Browser("auditor-he", agrees=False) as browser, pytest.raises(GatewayError, match="not agreed"):
        through_browser(door, browser)


def test_whom_the_gateway_does_not_know_is_refused(door: Door) -> None:
    """The provider signs anyone in; whether that is an officer is the gateway's own register."""
    with Browser("stranger") as browser, pytest.raises(GatewayError, match="the gateway does not"):
        through_browser(door, browser)


def test_session_goes_on_and_ends_with_the_person(
    gateway: RunningGateway, provider: CertifiedProvider, door: Door, folder: SessionFolder
) -> None:
    """It is renewed at the provider; one that is disabled there loses it at the next renewal, on record."""
    first = signed_in(door, folder, "competent-lin")
    soon = int(time.time()) + 600
    folder.keep(msgspec.structs.replace(first, expires_unix=soon))
    assert is_taken(gateway)
    renewed = folder.find(gateway.control)
    assert renewed is not None
    assert renewed.token != first.token
    assert renewed.expires_unix > soon
    second = signed_in(door, folder, "competent-lin")
    assert second.token != first.token
    provider.tell(disable="competent-lin")
    folder.keep(msgspec.structs.replace(second, expires_unix=soon))
    with pytest.raises(GatewayError, match="does not renew"), open_api(NO_HOME, url=gateway.control):
        pass
    assert folder.find(gateway.control) is None
    folder.keep(second)
    assert not is_taken(gateway)
    with stored(gateway) as store:
        ended = store.session(session_id(second))
        assert ended is not None
        assert ended.ended_by == "not renewed by the provider"


def test_logout_at_the_provider_ends_its_session_alone(
    gateway: RunningGateway, provider: CertifiedProvider, door: Door, folder: SessionFolder
) -> None:
    """A logout token with `sid` ends the session that it names; the officer's other one stands."""
    kept = [signed_in(door, folder, "auditor-he") for _ in range(2)]
    with stored(gateway) as store:
        found = store.provider_session(session_id(kept[1]))
    assert found is not None
    assert is_taken(gateway)
    provider.tell(sign_out="auditor-he", sid=found.sid)
    assert not is_taken(gateway)
    folder.keep(kept[0])
    assert is_taken(gateway)


def test_sign_out_gives_the_refresh_token_back(
    gateway: RunningGateway, provider: CertifiedProvider, door: Door, folder: SessionFolder
) -> None:
    """RFC 7009; and where the browser then signs out there, its other sessions here end too (RP-Initiated Logout)."""
    with Browser("auditor-he") as browser:
        first, other = (through_browser(door, browser) for _ in range(2))
        folder.keep(first)
        ended = sign_out(door, folder, everywhere=False)
        assert "stays at the OpenID provider" not in gateway.log.read_text("utf-8")
        with pytest.raises(GatewayError, match="nobody is signed in"):
            sign_out(door, folder, everywhere=False)
        folder.keep(other)
        assert is_taken(gateway)
        page = ended["provider_sign_out"]
        assert page.startswith(f"{provider.issuer}/session/end?client_id={provider.client_id}")
        browser.open(page)
        wait_for(lambda: not is_taken(gateway), 30)
        assert not is_taken(gateway)


def test_rotation_at_the_provider_is_met_at_once(
    gateway: RunningGateway, provider: CertifiedProvider, door: Door, folder: SessionFolder
) -> None:
    """The first ID token of a new key signs in."""
    provider.tell(rotate=True)
    assert signed_in(door, folder, "auditor-he").officer == "auditor-he"


def test_local_account_signs_in_elsewhere(gateway: RunningGateway, door: Door, folder: SessionFolder) -> None:
    """By the code that was handed over, then by password and authenticator; signing out everywhere ends each."""
    with gateway.officer() as registrar:
        code = registrar.post("/v1/officers/police-chen/enrolment")["code"]
    first = by_code(door, "police-chen", code, PASSWORD).session
    folder.keep(first)
    home = ["--home", str(gateway.home.root)]
    here = CliRunner().invoke(app, ["sign-in", "--officer", "police-chen", *home], input=f"{PASSWORD}\n")
    assert here.exit_code == 0, here.output
    assert PASSWORD not in here.output
    assert CliRunner().invoke(app, ["grants", "list", *home]).exit_code == 0
    with open_api(NO_HOME, url=gateway.control) as api:
        secret = b32decode(api.post("/v1/account/authenticator")["secret"])
        step = int(time.time()) // STEP_SECONDS
        api.post("/v1/account/authenticator/confirmation", {"code": code_at(secret, step)})
    with pytest.raises(GatewayError, match="one-time code") as asked:
        by_password(door, "police-chen", PASSWORD, first.device, None)
    assert asked.value.members["needs"] == "one-time-code"
    begun = by_password(door, "police-chen", PASSWORD, first.device, code_at(secret, step + 1))
    assert [event["what"] for event in begun.told][-1] == "a second factor was added"
    folder.keep(begun.session)
    sign_out(door, folder, everywhere=True)
    for session in (first, begun.session):
        folder.keep(session)
        assert not is_taken(gateway)


@pytest.mark.timeout(400)
def test_prompts_at_a_terminal(gateway: RunningGateway, folder: SessionFolder, tmp_path: Path) -> None:
    """Each in a process of its own at a terminal: another device's code; authenticator, password and one-time code."""
    environment = {**os.environ, "GATEWAY_CONTROL_URL": gateway.control, "HOME": str(tmp_path), "COLUMNS": "200"}
    with Terminal(["sign-in", "--device"], environment) as asking, Browser("auditor-he") as browser:
        page = asking.read(r"(http\S+)\s")
        code = asking.read(r"or shows it: (\S+)\s")
        browser.open(page.partition("?")[0], user_code=code)
        assert asking.read(r"signed in at \S+ as `(\S+)`") == "auditor-he"
    with gateway.officer() as registrar:
        code = registrar.post("/v1/officers/civil-wu/enrolment")["code"]
    with find_door(NO_HOME, gateway.control) as door:
        folder.keep(by_code(door, "civil-wu", code, PASSWORD).session)
    with Terminal(["officers", "authenticator"], environment) as adding:
        secret = b32decode(adding.read(r"authenticator: ([A-Z2-7=]+)\s"))
        step = int(time.time()) // STEP_SECONDS
        adding.read("(code that it shows): $")
        adding.type(code_at(secret, step))
        adding.read("(counts from now on)")
    with Terminal(["sign-in", "--officer", "civil-wu"], environment) as signing:
        signing.read("(password of civil-wu).*: $")
        signing.type(PASSWORD)
        signing.read("(one-time code of your authenticator): $")
        signing.type(code_at(secret, step + 1))
        assert signing.read(r"signed in at \S+ as `(\S+)`") == "civil-wu"
    assert PASSWORD not in adding.text + signing.text
    assert is_taken(gateway)


class Terminal:
    """A command at a terminal of its own: what it shows is read up to a pattern, what it asks for is typed.

    A prompt for a secret ends in a space once the terminal shows nothing that is typed, and not before.
    """

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self._fd, theirs = os.openpty()
        self.text = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *words],
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def read(self, pattern: str, seconds: float = 60.0) -> str:
        """The first group of the pattern, once it is shown."""
        until = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)) and time.monotonic() < until:
            if select.select([self._fd], [], [], 0.5)[0]:
                try:
                    self.text += os.read(self._fd, 65536).decode(errors="replace")
                except OSError:  # the other side is closed: the command has ended
                    break
        found = re.search(pattern, self.text)
        assert found is not None, self.text
        return found[1]

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._fd, f"{text}\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_unused: object) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


def test_gateway_in_between_is_not_believed(gateway: RunningGateway, folder: SessionFolder) -> None:
    """Mix-up: a host that passes everything on to the gateway is given neither a password nor a session."""
    import http.server  # noqa: PLC0415 -- here alone

    seen: list[str] = []

    class Between(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            passed = httpx.get(gateway.control + self.path, trust_env=False)
            self.send_response(passed.status_code)
            self.end_headers()
            self.wfile.write(passed.content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the same
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Between) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(GatewayError, match="calls itself"):
            find_door(NO_HOME, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
    assert seen == ["/sign-in"]
