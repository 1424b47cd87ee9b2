"""`gateway officers` and `gateway keys` on a home that no gateway runs in: the same API, in the command's process."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.keys import keys, officers
from gateway.domain.officers import Officer, Role
from gateway.identity.keys.keyring import PURPOSES, KeyRing
from gateway.identity.strict import Unreadable
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from gateway.runtime.operation.status import examine
from gateway.store import Store
from tests.unit.identity.identity_kit import Clock

PASSWORD = "nine cups of jasmine tea"
SECRET = "294c30aa4c03c8f51dfdb9f6fb99d845"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made") / "home"
    initialise(GatewayHome(home), region="442000", department="data-bureau")
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GATEWAY_TOKEN", "GATEWAY_OFFICER", "GATEWAY_HOME", "GATEWAY_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    return Path(shutil.copytree(made, tmp_path / "home"))


def run(app: object, home: Path, *words: str, answer: str = "", ok: bool = True) -> Result:
    result = CliRunner().invoke(app, [*words, "--home", str(home)], input=answer)  # type: ignore[arg-type]
    assert (result.exit_code == 0) is ok, result.output
    return result


def test_officer_is_added_and_gets_a_token(home: Path) -> None:
    """An added officer stands in the list, and a token signed at the shell is that officer's."""
    role = ("--department", "data-bureau", "--region", "442000", "--role", "auditor")
    assert "record " in run(officers, home, "add", "li-na", *role, "--name", "李娜").output
    listed = json.loads(run(officers, home, "list", "--json", "--as", "registrar").output)["officers"]
    assert {officer["id"] for officer in listed} == {"auditor", "registrar", "operator", "li-na"}
    token = run(officers, home, "token", "li-na", "--seconds", "60").output.strip()
    settings = GatewayHome(home).settings()
    issuer = f"http://{settings.control.host}:{settings.control.port}"
    ring = KeyRing.open(home / "keys", only=frozenset())
    now = Clock()
    verifier = TokenVerifier(OwnIssuer(issuer, settings.identity.audience, ring), now)
    assert verifier.verify_officer(token.encode()).subject == "li-na"
    now.at += 91
    with pytest.raises(Unreadable, match="expired"):
        verifier.verify_officer(token.encode())


def test_dismissed_officer_gets_no_token(home: Path) -> None:
    """A dismissed officer is refused in one sentence; an unknown one too."""
    store = Store.open(GatewayHome(home).state_url(GatewayHome(home).settings()))
    with store.transaction() as tx:
        tx.put_officer(Officer("li-na", "data-bureau", "442000", (Role.AUDITOR,), active=False))
    store.close()
    assert "dismissed" in run(officers, home, "token", "li-na", ok=False).output
    assert "no officer" in run(officers, home, "token", "nobody", ok=False).output


def test_keys_are_listed_and_rotated(home: Path) -> None:
    """The list shows every purpose; a rotation shows the new key and its record."""
    listed = json.loads(run(keys, home, "list", "--json").output)
    assert {key["purpose"] for key in listed["keys"]} == {"token", "log", "witness", "pseudonym", "field"}
    seen = examine(GatewayHome(home))
    assert (listed["origin"], listed["verifier_key"]) == (seen["origin"], seen["verifier_key"])
    assert seen["verifier_key"] in run(keys, home, "list").output
    before = KeyRing.open(home / "keys").token_signer().kid
    assert "is in use; record " in run(keys, home, "rotate", "token", "--reason", "yearly").output
    assert KeyRing.open(home / "keys").token_signer().kid != before


def test_ring_is_bundled_privately(home: Path, tmp_path: Path) -> None:
    """The whole ring in one file, 0600, with next year's pseudonym key; an existing file is not overwritten."""
    document = tmp_path / "ring.json"
    assert f"wrote {len(PURPOSES) + 1} keys" in run(keys, home, "bundle", str(document)).output
    assert document.stat().st_mode & 0o777 == 0o600
    assert KeyRing.open(document).token_signer().kid == KeyRing.open(home / "keys").token_signer().kid
    assert "is there already" in run(keys, home, "bundle", str(document), ok=False).output


def test_password_is_read_and_not_shown(home: Path) -> None:
    """A password is set by its owner with the code that another was given, and changed by the one that holds."""
    given = run(officers, home, "enrol", "registrar", "--as", "registrar").output
    code = given.partition("good once: ")[2].split()[0]
    run(officers, home, "password", "registrar", "--code", answer=f"guess\n{PASSWORD}\n", ok=False)
    printed = run(officers, home, "password", "registrar", "--code", answer=f"{code}\n{PASSWORD}\n").output
    run(officers, home, "password", "registrar", answer="a guess at it\nforty lamps over the harbour\n", ok=False)
    printed += run(officers, home, "password", "registrar", answer=f"{PASSWORD}\nforty lamps over the harbour\n").output
    assert printed.count("is set; every session of before has ended") == 2
    assert "jasmine" not in printed + given
    store = Store.open(GatewayHome(home).state_url(GatewayHome(home).settings()))
    assert (store.officer_secret("registrar") or "").startswith("$argon2id$")
    store.close()


def test_legacy_key_of_an_unknown_system_is_refused(home: Path) -> None:
    """One clear sentence, and the secret is not in it."""
    words = ("legacy", "add", "ghost", "gjgxjhpt", "caller-7", "--purpose", "p", "--as", "registrar")
    refused = run(keys, home, *words, answer=SECRET + "\n", ok=False).output
    assert "no system `ghost`" in refused
    assert SECRET not in refused
