"""`gateway check` looks at all that a start needs and starts nothing; a second `serve` is told at once."""

import json
import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.domain.errors import GatewayError
from gateway.identity.keys.keyring import KeyRing
from gateway.ledger.log.signing import SignedState
from gateway.ledger.log.tiled_log import TiledLog
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.checking import look
from gateway.runtime.operation.setup import initialise
from gateway.runtime.supervision.supervisor import serve
from tests.support.certificates import Authority


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GatewayHome:
    monkeypatch.setenv("GATEWAY_DATA_PLANE__PORT", "0")
    monkeypatch.setenv("GATEWAY_CONTROL__PORT", "0")
    made = GatewayHome(tmp_path / "home")
    initialise(made, region="440000", department="data-bureau")
    return made


def wrong(home: GatewayHome) -> dict[str, str]:
    return {each.part: each.detail for each in look(home) if not each.ok}


def test_check_finds_each_thing_that_would_keep_it_from_starting(
    home: GatewayHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole home is right; a taken port, a broken certificate, a foreign state and lost keys are each named."""
    assert wrong(home) == {}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("GATEWAY_CONTROL__PORT", str(taken.getsockname()[1]))
        assert "address already in use" in wrong(home)["port, control plane"]
    monkeypatch.setenv("GATEWAY_CONTROL__PORT", "0")
    monkeypatch.setenv("GATEWAY_CONTROL__TLS_CERTIFICATE", str(home.settings_file))
    assert "is not PEM" in wrong(home)["TLS, control plane"]
    server = home.root.with_name("server.pem")
    Authority().write("127.0.0.1", server)
    server.write_bytes(b" " + server.read_bytes())
    monkeypatch.setenv("GATEWAY_CONTROL__TLS_CERTIFICATE", str(server))
    assert "`control.tls_certificate`: " in wrong(home)["TLS, control plane"]
    monkeypatch.delenv("GATEWAY_CONTROL__TLS_CERTIFICATE")
    other = GatewayHome(home.root.with_name("other"))
    initialise(other, region="440000", department="data-bureau")
    own = (home.root / "state.db").read_bytes()
    (home.root / "state.db").write_bytes((other.root / "state.db").read_bytes())
    assert "by hand" in wrong(home)["state"]
    (home.root / "state.db").write_bytes(own)
    (home.root / "keys" / "ring.json").unlink()
    assert "keys" in wrong(home)


CHECKS = """
[checks]
port = {port}
carriers = [{{name = "front", kind = "nginx", paths = {{"/a" = "civil-affairs/marriages"}}}}]
"""


def test_check_looks_at_the_listener_for_checks_at_policies_and_at_credentials(
    home: GatewayHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would keep it from starting: a credential that is not there, a port twice, a bad file, no such layer."""
    settings = home.settings_file.read_text("utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home.settings_file.write_text(settings.replace("\n[checks]\n", CHECKS.format(port=port), 1), "utf-8")
    assert set(wrong(home)) == {"checks"}
    assert "openssl rand" in wrong(home)["checks"]
    folder = home.root / "checks"
    folder.mkdir(mode=0o700)
    (folder / "front").touch(mode=0o600)
    (folder / "front").write_text("f" * 20, "utf-8")
    assert wrong(home) == {}
    monkeypatch.setenv("GATEWAY_CHECKS__TLS_CERTIFICATE", str(home.settings_file))
    assert "is not PEM" in wrong(home)["TLS, checks"]
    monkeypatch.delenv("GATEWAY_CHECKS__TLS_CERTIFICATE")
    monkeypatch.setenv("GATEWAY_CONTROL__PORT", str(port))
    assert "address already in use" in wrong(home)["port, checks"]
    monkeypatch.setenv("GATEWAY_CONTROL__PORT", "0")
    monkeypatch.setenv("GATEWAY_POLICIES__LAYERS", "national,nowhere")
    assert "nowhere is no folder with policies" in wrong(home)["policies"]
    monkeypatch.delenv("GATEWAY_POLICIES__LAYERS")
    monkeypatch.setenv("GATEWAY_METRICS__CREDENTIAL_FILE", str(home.root / "absent"))
    assert "cannot be read" in wrong(home)["metrics"]


def test_log_keeps_its_name_when_the_machine_is_called_otherwise(
    home: GatewayHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `init` names auditors stands in the settings; a home without it is told which name its log has."""
    named = home.origin(home.settings())
    monkeypatch.setattr("platform.node", lambda: "another")
    assert home.origin(home.settings()) == named
    assert named != "sharing-gateway/another"
    ring = KeyRing.open(home.keys(home.settings()))
    TiledLog(home.ledger, named, ring.log_signer(named)).close()
    assert "log" not in wrong(home)
    monkeypatch.setenv("GATEWAY_LEDGER__ORIGIN", "sharing-gateway/another")
    assert wrong(home)["log"].endswith(f"is `{named}`, and the settings name `sharing-gateway/another`")
    with pytest.raises(GatewayError, match=f'origin = "{named}"'):
        SignedState(home.ledger / "signer.db", "sharing-gateway/another")


def test_check_says_every_fault_of_the_settings_and_exits_with_one(home: GatewayHome) -> None:
    """With `--json` as one document."""
    runner = CliRunner()
    good = runner.invoke(app, ["check", "--home", str(home.root), "--json"])
    assert good.exit_code == 0
    assert json.loads(good.stdout)["ok"] is True
    home.settings_file.write_text("[data_plane]\ndrain_seconds = -1\nwokers = 1\n", "utf-8")
    bad = runner.invoke(app, ["check", "--home", str(home.root), "--json"])
    assert bad.exit_code == 1
    assert len(json.loads(bad.stdout[bad.stdout.index("{") :])["faults"]) == 2


def test_second_serve_says_at_once_that_the_first_runs(home: GatewayHome) -> None:
    """It names the process; it waits only for the children of one that was killed."""
    lock = home.lock()
    home.publish({"pid": os.getpid(), "data_plane": "http://x", "control": "http://y", "children": {}})
    with pytest.raises(
        GatewayError, match=rf"another gateway runs in .* \(process {os.getpid()}; control plane http://y"
    ):
        serve(home)
    lock.release()


def test_version_is_printed_and_nobody_acts_unsaid(home: GatewayHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--version`; and an act without `--as`, `$GATEWAY_OFFICER` or `$GATEWAY_TOKEN` is refused with these three."""
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).stdout.startswith("gateway ")
    monkeypatch.delenv("GATEWAY_TOKEN", raising=False)
    monkeypatch.delenv("GATEWAY_OFFICER", raising=False)
    refused = runner.invoke(app, ["grants", "list", "--home", str(home.root)])
    assert refused.exit_code == 1
    for word in ("--as registrar", "$GATEWAY_OFFICER", "$GATEWAY_TOKEN"):
        assert word in refused.stderr
    assert runner.invoke(app, ["grants", "list", "--as", "registrar", "--home", str(home.root)]).exit_code == 0
    asked = runner.invoke(app, ["records", "find", "--as", "auditor", "--home", str(home.root)])
    assert "no gateway runs in this home; `gateway serve` starts it" in asked.stderr
