"""Settings come from one file and the environment; what is unknown or wrong is named, with what was meant."""

import tomllib
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.ledger.log.notes import COSIGNATURE, VerifierKey
from gateway.runtime.settings import DataPlaneSettings, Settings, commented_file, load_settings
from gateway.runtime.worker.worker import limits_of


def _load(tmp_path: Path, text: str, **environment: str) -> Settings:
    file = tmp_path / "gateway.toml"
    file.write_text(text, "utf-8")
    return load_settings(file, environment)


def _faults(tmp_path: Path, text: str, **environment: str) -> dict[str, str]:
    with pytest.raises(GatewayError) as caught:
        _load(tmp_path, text, **environment)
    assert caught.value.code == "invalid-input"
    return {fault["field"]: fault["fault"] for fault in caught.value.members.get("faults", [])}


def test_the_commented_file_changes_nothing(tmp_path: Path) -> None:
    """What `gateway init` writes is the defaults, said aloud."""
    assert _load(tmp_path, commented_file()) == Settings()


def test_every_line_of_the_commented_file_is_valid_when_uncommented(tmp_path: Path) -> None:
    """Take one `#` away, anywhere or everywhere: it is TOML, and what has a default works as it did."""
    lines = commented_file().splitlines()
    for at, line in enumerate(lines):
        tomllib.loads("\n".join([*lines[:at], line.removeprefix("#").removeprefix(" "), *lines[at + 1 :]]))
    text = "\n".join(
        line.removeprefix("#").removeprefix(" ") if line.startswith("#") and "# unset" not in line else line
        for line in lines
    )
    assert len(tomllib.loads(text)["data_plane"]) > 5
    assert _load(tmp_path, text) == Settings()
    unset = "\n".join(line.removeprefix("# ") if "# unset" in line else line for line in lines)
    assert all("is empty" in fault for fault in _faults(tmp_path, unset).values())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xef\xbb\xbfformat = 1\n", "byte order mark"),
        ("format = 1\n".encode("utf-16"), "UTF-16"),
        ("format = 1\n".encode("utf-16-le"), "UTF-16"),
        ("format = 1\n# 数据共享\n".encode("gbk"), "GBK .* from line 2"),
        (b"format = 1\n# \xff\xff\n", "is not UTF-8"),
        (b"format = = 1\n", "is not TOML"),
    ],
)
def test_file_in_another_encoding_is_told_as_that(tmp_path: Path, content: bytes, said: str) -> None:
    """Notepad and older editors write these; the sentence says which, and what to do."""
    (tmp_path / "gateway.toml").write_bytes(content)
    with pytest.raises(GatewayError, match=said):
        load_settings(tmp_path / "gateway.toml", {})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("drain_seconds = inf", "finite"),
        ("drain_seconds = nan", "finite"),
        ("port = true", "true or false"),
        ("host = true", "true or false"),
        ('host = ""', "is empty"),
        ('host = " "', "is empty"),
        ('tls_certificate = ""', "is empty"),
        ('client_certificates = ""', "is empty"),
    ],
)
def test_what_would_be_taken_for_something_else_is_refused(tmp_path: Path, line: str, said: str) -> None:
    """Each with the setting's name."""
    name = f"data_plane.{line.partition(' ')[0]}"
    assert said in _faults(tmp_path, f"[data_plane]\n{line}\n")[name]


def test_a_text_where_a_list_is_meant_is_told_how_a_list_is_written(tmp_path: Path) -> None:
    """One network, one layer or one witness is the usual case, and the brackets are what is left out."""
    for section, name in (("suppliers", "networks"), ("policies", "layers"), ("ledger", "witnesses")):
        assert "in brackets" in _faults(tmp_path, f'[{section}]\n{name} = "x"\n')[f"{section}.{name}"]


def test_unknown_and_wrong_settings_are_told_together(tmp_path: Path) -> None:
    """One correction is enough."""
    faults = _faults(tmp_path, "[data_plane]\nwokers = 3\nport = 70000\n", GATEWAY_LEDGER__ORIGN="x")
    assert len(faults) == 3


def test_relative_paths_are_of_the_home(tmp_path: Path) -> None:
    """Not of wherever the command was typed."""
    settings = _load(tmp_path, '[identity]\nkeys = "ring"\n', GATEWAY_POLICIES__ROOT="own/policies")
    assert settings.identity.keys == tmp_path / "ring"
    assert settings.policies.root == tmp_path / "own" / "policies"


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    """The environment wins, and a list is written with commas, a table with `=` besides."""
    settings = _load(
        tmp_path,
        "[data_plane]\nport = 9000\n",
        GATEWAY_DATA_PLANE__PORT="9001",
        GATEWAY_POLICIES__LAYERS="national,zhongshan",
        GATEWAY_IDENTITY__SIGNERS="token=hsm:token,log=hsm:log",
        GATEWAY_HOME="elsewhere",
        PATH="/bin",
    )
    assert settings.data_plane.port == 9001
    assert settings.policies.layers == ("national", "zhongshan")
    assert settings.identity.signers == {"token": "hsm:token", "log": "hsm:log"}


def test_unknown_names_are_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    """A misspelt setting is never ignored, in the file or in the environment."""
    faults = _faults(tmp_path, "[data_plane]\nwokers = 3\n[contrl]\nport = 1\n", GATEWAY_LEDGER__ORIGN="x")
    assert "`workers`" in faults[f"{tmp_path}/gateway.toml: [data_plane]: wokers"]
    assert "`control`" in faults[f"{tmp_path}/gateway.toml: contrl"]
    assert "`GATEWAY_LEDGER__ORIGIN`" in faults["GATEWAY_LEDGER__ORIGN"]


def test_values_of_the_wrong_kind_are_all_named_at_once(tmp_path: Path) -> None:
    """Every fault is listed, so that one correction is enough."""
    faults = _faults(tmp_path, '[data_plane]\nport = 70000\nworkers = "many"\n')
    assert set(faults) == {"data_plane.port", "data_plane.workers"}


WITNESS = VerifierKey("peer/w", COSIGNATURE, bytes(32)).text()


@pytest.mark.parametrize(
    "url",
    [
        "https://peer.example/witness",
        "http://127.0.0.1:8081/witness",
        "http://[::1]:8081/witness",
        "http://localhost/w",
    ],
)
def test_a_witness_is_asked_over_tls_or_on_this_machine(tmp_path: Path, url: str) -> None:
    """NEVER-FORKED rests on what a witness says, so nobody on the way may speak for it."""
    settings = _load(tmp_path, "", GATEWAY_LEDGER__WITNESSES=f"{WITNESS} {url}")
    assert settings.ledger.witnesses == (f"{WITNESS} {url}",)


@pytest.mark.parametrize(
    ("witness", "why"),
    [
        ("peer/w+00+AA http://peer.example/witness", "`peer/w` is asked over plain http"),
        ("peer/w+00+AA http://127.0.0.1.peer.example/witness", "`peer/w` is asked over plain http"),
        ("peer/w+00+AA http://127.0.0.1@peer.example/witness", "`peer/w` is asked over plain http"),
        ("peer/w+00+AA ftp://peer.example/witness", "`<verifier key> <url>`"),
        ("peer/w+00+AA https://[", "`<verifier key> <url>`"),
        ("https://peer.example/witness", "`<verifier key> <url>`"),
        ("peer/w+00+AA", "`<verifier key> <url>`"),
    ],
)
def test_a_witness_that_anyone_could_speak_for_is_refused(tmp_path: Path, witness: str, why: str) -> None:
    """The fault names the setting and what to write."""
    assert why in _faults(tmp_path, "", GATEWAY_LEDGER__WITNESSES=witness)["ledger.witnesses"]


def test_freshness_limit_cannot_be_loosened(tmp_path: Path) -> None:
    """Two seconds is what suppliers were promised; a setting may only be stricter."""
    assert set(_faults(tmp_path, "[state]\nfreshness_seconds = 30\n")) == {"state.freshness_seconds"}


@pytest.mark.parametrize("text", ["not toml at all [", "\x00", "format = 99\n"])
def test_an_unreadable_or_newer_file_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    """What cannot be understood is not guessed at."""
    with pytest.raises(GatewayError, match=r"gateway\.toml"):
        _load(tmp_path, text)


def test_every_limit_of_the_data_plane_that_has_a_setting_follows_it() -> None:
    """Each bound is set apart from its default and from the others, and arrives where it counts."""
    fields = DataPlaneSettings.model_fields
    apart = {name: fields[name].default + 1 for name in fields if isinstance(fields[name].default, (int, float))}
    limits = limits_of(DataPlaneSettings(**apart))
    seen = {
        "max_connections": limits.connections,
        "system_concurrency": limits.system_concurrency,
        "header_seconds": limits.header_timeout_seconds,
        "idle_seconds": limits.idle_timeout_seconds,
        "body_seconds": limits.body_progress_seconds,
        "least_rate": limits.least_rate_bytes,
        "gather_seconds": limits.gather_seconds,
        "exchange_seconds": limits.exchange_seconds,
        "held_bytes": limits.held_bytes,
        "supplier_connections": limits.pool_idle_connections,
        "waiting_calls": limits.queue,
        "waiting_seconds": limits.queue_seconds,
        "answer_bytes": limits.collect_bytes,
        "gathered_bytes": limits.collect_total_bytes,
        "circuit_failures": limits.circuit_failures,
        "circuit_seconds": limits.circuit_seconds,
        "half_close": limits.half_close,
    }
    assert seen == {name: value for name, value in apart.items() if name not in {"port", "workers", "drain_seconds"}}
