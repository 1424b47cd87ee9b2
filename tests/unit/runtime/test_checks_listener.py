"""The settings of those who ask beside the data plane: who they are, and what makes a gateway not start."""

from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.runtime.home import GatewayHome
from gateway.runtime.settings import ChecksSettings, Settings, load_settings
from gateway.runtime.worker.checks import askers_of

CARRIER = '{name = "front", kind = "nginx", paths = {"/api/persons" = "police/persons"}}'
EVALUATOR = '{name = "portal", departments = ["housing-fund"]}'


def settings_of(folder: Path, lines: str) -> Settings:
    file = folder / "gateway.toml"
    file.write_text(f"[checks]\n{lines}\n", "utf-8")
    return load_settings(file, {})


def faults_of(folder: Path, lines: str) -> str:
    with pytest.raises(GatewayError) as refused:
        settings_of(folder, lines)
    return " ".join(f"{fault['field']}: {fault['fault']}" for fault in refused.value.members["faults"])


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("unclosed_seconds = 5.0", "has no effect without `port`"),
        ("port = 1", "nobody could ask"),
        (f"port = 1\nhost = '0.0.0.0'\ncarriers = [{CARRIER}]", "in the clear"),
        (f"port = 1\ncarriers = [{CARRIER}, {CARRIER}]", "stands twice"),
        (f"port = 1\ncarriers = [{CARRIER.replace('nginx', 'apache')}]", "kind"),
        (f"port = 1\ncarriers = [{CARRIER.replace('/api/persons', '/api/../x')}]", "is written"),
        (f"port = 1\ncarriers = [{CARRIER.replace('/api/persons', '/')}]", "is written"),
        (f"port = 1\ncarriers = [{CARRIER.replace('police/persons', 'police')}]", "is written"),
        ("port = 1\nevaluators = [{name = 'portal'}]", "named for nothing"),
        ("port = 1\nevaluators = [{name = '../x', datasets = ['a']}]", "name"),
        (f"port = 1\nclient_ca = 'ca.pem'\ncarriers = [{CARRIER}]", "tls_certificate"),
    ],
)
def test_settings_that_would_open_a_door_or_do_nothing_are_refused(tmp_path: Path, lines: str, told: str) -> None:
    """Each with what is wrong, before anything starts."""
    assert told in faults_of(tmp_path, lines)


def test_each_who_asks_has_a_credential_of_its_own(tmp_path: Path) -> None:
    """Missing, short, and shared ones keep a worker from starting; the longest path of a carrier counts first."""
    nested = CARRIER.replace('{"/api', '{"/api" = "police/all", "/api')
    settings = settings_of(tmp_path, f"port = 1\ncarriers = [{nested}]\nevaluators = [{EVALUATOR}]").checks
    home, folder = GatewayHome(tmp_path), tmp_path / "checks"

    def fault(asked: ChecksSettings) -> str:
        with pytest.raises(GatewayError) as refused:
            askers_of(home, asked)
        return refused.value.detail

    assert "cannot be read" in fault(settings)
    folder.mkdir()
    (folder / "front").write_text("short")
    (folder / "portal").write_text("p" * 32)
    assert "20 ASCII characters" in fault(settings)
    (folder / "front").write_text("p" * 32 + "\n")
    assert "are the same" in fault(settings)
    (folder / "front").write_text("f" * 32)
    (carrier,), (evaluator,) = askers_of(home, settings)
    assert [prefix for prefix, _ in carrier.paths] == [b"/api/persons", b"/api"]
    assert (evaluator.may_ask("housing-fund", "any"), evaluator.may_ask("other", "any")) == (True, False)
