"""A mistake in the settings opens no door in silence: what does nothing is refused, what is open or ended is said."""

import os
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.cli import app
from gateway.control.act.addresses import Proxies
from gateway.domain.errors import GatewayError
from gateway.runtime.control.readiness import StateProof, readiness
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import load_settings
from gateway.runtime.start.exposure import findings
from gateway.runtime.start.modes import open_files
from gateway.store import Store
from tests.support.deploy_tools import ROOT

PROVIDER = '[officers]\nprovider = "https://idp.example"\nclient_id = "gateway"\n'
ISSUER = '[[identity.issuers]]\nname = "https://idp.example"\naudience = "here"\njwks_uri = "%s"\nsystems = {a = "b"}'
PLANE, CONTROL = "[data_plane]\n", "[control]\n"
TLS = 'tls_certificate = "/c.pem"\n'
IDENTITY = "[identity]\n"


def faults(tmp_path: Path, text: str, **environment: str) -> list[str]:
    file = tmp_path / "gateway.toml"
    file.write_text(text, "utf-8")
    try:
        load_settings(file, environment)
    except GatewayError as error:
        return [f"{fault['field']}: {fault['fault']}" for fault in error.members["faults"]]
    return []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1"])
@pytest.mark.parametrize("issuer", ["", "https://gateway.example"])
def test_control_plane_on_every_address_without_a_name_is_said(home: GatewayHome, host: str, issuer: str) -> None:
    """Its tokens would name an address that nobody can reach."""
    text = f'[control]\nhost = "{host}"\n' + (f'issuer = "{issuer}"\n' if issuer else "")
    file = home.root / "other.toml"
    file.write_text(text, "utf-8")
    said = [each for each in findings(home, load_settings(file, {})) if each.part == "control.issuer"]
    assert bool(said) is (host != "127.0.0.1" and not issuer)


@pytest.mark.parametrize("section", [PLANE, CONTROL])
@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ('tls_key = "/k.pem"', "tls_key"),
        ('client_ca = "/ca.pem"', "client_ca"),
        ('client_certificates = "optional"', "client_certificates"),
        ('client_certificates = "optional"\nclient_ca = "/ca.pem"', "client_certificates"),
        (TLS + 'client_certificates = "optional"', "client_certificates"),
        (TLS + 'client_ca = "/ca.pem"', "client_ca"),
    ],
)
def test_tls_setting_without_effect_is_refused(tmp_path: Path, section: str, text: str, setting: str) -> None:
    """Whoever set it believes that TLS or a client certificate is asked for: nothing starts without."""
    found = faults(tmp_path, section + text)
    assert any(fault.startswith(f"{section[1:-2]}.{setting}: ") for fault in found), found


def test_required_certificates_without_tls_are_refused_from_the_environment_too(tmp_path: Path) -> None:
    """The file and the environment are one: half of a pair in each is judged together."""
    required = {"GATEWAY_DATA_PLANE__CLIENT_CERTIFICATES": "required"}
    assert "plain HTTP" in faults(tmp_path, "", **required)[0]
    whole = PLANE + TLS + 'client_ca = "/ca.pem"\n'
    assert faults(tmp_path, whole, **required) == []
    assert faults(tmp_path, PLANE + 'tls_key = "/k.pem"\n', GATEWAY_DATA_PLANE__TLS_CERTIFICATE="/c.pem") == []


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        (IDENTITY + 'trusted_proxies = ["proxy.local"]', "identity.trusted_proxies"),
        (IDENTITY + 'trusted_proxies = ["10.0.0.7:443"]', "identity.trusted_proxies"),
        (IDENTITY + 'trusted_proxies = ["10.0.0.7/24"]', "identity.trusted_proxies"),
        (IDENTITY + 'trusted_proxies = ["0.0.0.0/0"]', "identity.trusted_proxies"),
        (IDENTITY + 'trusted_proxies = ["::/0"]', "identity.trusted_proxies"),
        (IDENTITY + 'trusted_proxies = [""]', "identity.trusted_proxies"),
        (IDENTITY + 'origins = ["share.example"]', "identity.origins"),
        (IDENTITY + 'origins = ["https://share.example/path"]', "identity.origins"),
        (IDENTITY + 'origins = ["https://share.example?x=1"]', "identity.origins"),
        (IDENTITY + 'origins = ["https://*.example"]', "identity.origins"),
        (IDENTITY + 'origins = ["https://user@share.example"]', "identity.origins"),
        (IDENTITY + 'origins = ["https://share.example:port"]', "identity.origins"),
        (IDENTITY + 'origins = ["http://share.example"]\n' + PLANE + TLS, "identity.origins"),
        (CONTROL + 'node_url = "https://10.0.0.7:8081"', "control.node_url"),
        (CONTROL + 'nodes_ca = "/ca.pem"', "control.nodes_ca"),
        (CONTROL + 'node_url = "10.0.0.7"\n[state]\nurl = "postgresql://db/g"', "control.node_url"),
        ('[officers]\nclient_secret_file = "/s"', "officers.client_secret_file"),
        ("[traces]\nsample_ratio = 0.5", "traces.sample_ratio"),
        ('[traces]\nendpoint = "collector:4318"', "traces.endpoint"),
        ('[archive]\nencryption = "aws:kms"', "archive.encryption"),
        ('[archive]\nendpoint = "https://store.example"', "archive.endpoint"),
        ('[archive]\nauthority = "/ca.pem"', "archive.authority"),
        ('[checks]\ntls_certificate = "/c.pem"', "checks.tls_certificate"),
        ('[checks]\nclient_certificates = "required"', "checks.client_certificates"),
        (PROVIDER + 'client_secret_file = "/s"\nclient_key_file = "/k"', "officers.client_secret_file"),
        (CONTROL + 'issuer = "share.example"', "control.issuer"),
        (CONTROL + 'issuer = "https://share.example/?tenant=1"', "control.issuer"),
        (CONTROL + 'issuer = "https://user@share.example"', "control.issuer"),
        (CONTROL + 'issuer = "https://share example"', "control.issuer"),
        ('[ledger]\norigin = "two words"', "ledger.origin"),
        ('[ledger]\nwitnessed_logs = ["log+00000000+AAAA"]', "ledger.witnessed_logs"),
        ('[ledger]\nwitnesses = ["name https://peer/witness"]', "ledger.witnesses"),
        (ISSUER % "http://idp.example/keys", "identity.issuers"),
        (ISSUER % "idp.example/keys", "identity.issuers"),
    ],
)
def test_setting_that_can_never_match_is_refused(tmp_path: Path, text: str, setting: str) -> None:
    """A name where an address is compared, a path where an origin is: it would look set and do nothing."""
    found = faults(tmp_path, text)
    assert [fault.partition(": ")[0] for fault in found] == [setting], found


def test_settings_that_work_are_taken(tmp_path: Path) -> None:
    """The same settings, complete."""
    text = (
        PLANE
        + TLS
        + 'tls_key = "/k"\nclient_ca = "/ca"\nclient_certificates = "required"\n'
        + IDENTITY
        + 'trusted_proxies = ["10.0.0.7", "10.1.0.0/16", "fd00::/8"]\n'
        + 'origins = ["https://share.example.gov.cn", "https://share.example.gov.cn:8443/"]\n'
        + CONTROL
        + 'node_url = "http://10.0.0.12:8081"\n[state]\nurl = "postgresql://db/g"\n'
    )
    assert faults(tmp_path, text) == []


def test_proxies_match_by_address_and_network() -> None:
    """Written as address or network, met as either version; what is no address is nobody."""
    proxies = Proxies(["10.0.0.7", "10.1.0.0/16", "fd00::/8"])
    for address in ("10.0.0.7", "10.1.200.3", "::ffff:10.0.0.7", "fd12::1"):
        assert address in proxies
    for address in ("10.0.0.8", "10.2.0.1", "fe80::1", "", "unix", None, "10.0.0.7 "):
        assert address not in proxies


def certificate(path: Path, *, begins: timedelta, ends: timedelta) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


@pytest.fixture
def home(tmp_path: Path) -> GatewayHome:
    place = GatewayHome(tmp_path / "home")
    before = os.umask(0o077)
    try:
        place.make()
        Store.open(f"sqlite:///{place.root / 'state.db'}").close()
    finally:
        os.umask(before)
    return place


def said(home: GatewayHome, text: str = "") -> str:
    home.settings_file.write_text(text, "utf-8")
    return "\n".join(f"{each.part}: {each.what}; {each.advice}" for each in findings(home, home.settings()))


def test_certificates_that_have_ended_or_not_begun_are_said(home: GatewayHome) -> None:
    """By setting and file, with the moment; one that holds is not mentioned, one that is gone or none is."""
    day = timedelta(days=1)
    good = certificate(home.root / "good.pem", begins=-day, ends=day)
    old = certificate(home.root / "old.pem", begins=-2 * day, ends=-day)
    future = certificate(home.root / "future.pem", begins=day, ends=2 * day)
    assert said(home, f'{PLANE}tls_certificate = "{good}"\n') == ""
    assert f"`{old}` (data_plane.tls_certificate) ended on" in said(home, f'{PLANE}tls_certificate = "{old}"\n')
    authorities = f'client_certificates = "optional"\nclient_ca = "{old}"\n'
    assert "(control.client_ca) ended" in said(home, f'{CONTROL}tls_certificate = "{good}"\n{authorities}')
    assert "look at this machine's clock" in said(home, f'{CONTROL}tls_certificate = "{future}"\n')
    assert "no such file" in said(home, f'{CONTROL}tls_certificate = "{home.root / "gone"}"\n')
    (home.root / "text.pem").write_text("no certificate", "utf-8")
    (home.root / "text.pem").chmod(0o600)
    assert "holds no PEM" in said(home, f'{CONTROL}tls_certificate = "{home.root / "text.pem"}"\n')
    half = home.root / "half.pem"
    whole = x509.load_pem_x509_certificate(good.read_bytes()).public_bytes(Encoding.PEM)
    half.write_bytes(whole + whole[:99])
    half.chmod(0o600)
    archive = f'[archive]\nurl = "s3://log"\nauthority = "{half}"\n'
    assert "`archive.authority`: " in said(home, archive)
    assert "is cut off" in said(home, archive)
    half.write_bytes(whole)
    assert said(home, archive) == ""
    suppliers = home.root / "keys" / "suppliers"
    suppliers.mkdir(parents=True, mode=0o700)
    suppliers.parent.chmod(0o700)
    old.rename(suppliers / "police.pem")
    assert "client certificate `police` for suppliers" in said(home)


@pytest.mark.parametrize(
    ("mode", "open_"), [(0o600, False), (0o400, False), (0o440, False), (0o644, True), (0o620, True)]
)
def test_tls_key_open_to_others_is_said(home: GatewayHome, tmp_path: Path, mode: int, open_: bool) -> None:
    """A key in a file of its own, or in the certificate's; a group that may read it is how key groups work."""
    day = timedelta(days=1)
    both = certificate(tmp_path / "both.pem", begins=-day, ends=day)
    both.chmod(mode)
    for text in (f'tls_certificate = "{both}"\n', f'tls_certificate = "{both}"\ntls_key = "{both}"\n'):
        assert ("is open to others" in said(home, PLANE + text)) is open_


def test_files_of_the_home_that_others_may_read_are_said(home: GatewayHome) -> None:
    """Each file and folder is looked at; the advice mends it."""
    assert said(home) == ""
    (home.root / "state.db").chmod(0o644)
    home.root.chmod(0o755)
    found = said(home)
    assert "2 files or folders" in found
    assert f"chmod -R go= {home.root}" in found
    subprocess.run(["chmod", "-R", "go=", home.root], check=True)
    assert said(home) == ""


def test_state_that_takes_no_writes_is_not_ready(home: GatewayHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof writes: a state that can be read alone ends readiness, and comes back by itself."""
    with Store.open(f"sqlite:///{home.root / 'state.db'}") as store:
        proof = StateProof(store, "node")
        proof.prove()
        assert readiness(home, None, proof)["state"] is True
        blocking = sqlite3.connect(home.root / "state.db", isolation_level=None)
        blocking.execute("CREATE TRIGGER no_writes BEFORE INSERT ON one_time BEGIN SELECT RAISE(ABORT, 'disk'); END")
        with pytest.raises(GatewayError):
            proof.prove()
        assert readiness(home, None, proof)["state"] is False
        blocking.execute("DROP TRIGGER no_writes")
        blocking.close()
        proof.prove()
        assert readiness(home, None, proof)["state"] is True
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != home.root / "state.db")
    assert "the state cannot be written" in said(home)


def test_every_command_and_process_keeps_private_first() -> None:
    """No command of the program works under the umask that it was started with."""
    commands = [each.callback for each in app.registered_commands]
    pending = list(app.registered_groups)
    while pending:
        group = pending.pop().typer_instance
        assert group is not None
        commands += [each.callback for each in group.registered_commands]
        pending += group.registered_groups
    assert len(commands) > 40
    for callback in commands:
        assert getattr(callback, "keeps_private", False), callback


def test_home_is_made_private_under_any_umask(tmp_path: Path) -> None:
    """`gateway init` under umask 0: every file 0600 or tighter, every folder 0700."""
    subprocess.run(
        [sys.executable, "-m", "gateway", "init", str(tmp_path / "home"), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        umask=0,
    )
    assert open_files(tmp_path / "home") == []
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not any(stat.S_IMODE(path.stat().st_mode) & 0o111 for path in files)
    (files[0]).chmod(0o604)
    assert open_files(tmp_path / "home") == [files[0]]
