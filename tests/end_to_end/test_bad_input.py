"""What goes wrong at the command line ends with status 1 and one clear sentence, and changes nothing."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gateway.cli import app
from gateway.runtime.demo.world import directory_document
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise

UPSTREAMS = dict.fromkeys(("public-security", "civil-affairs", "market-regulation"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that was initialised and never served."""
    root = tmp_path_factory.mktemp("made") / "var"
    initialise(GatewayHome(root), region="440000", department="data-bureau")
    return root


def _gateway(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *map(str, arguments)]
    everything = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=everything)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def _sentences(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 1, done.stdout
    return [line for line in done.stderr.splitlines() if not line.startswith("{")]


def test_port_in_use_is_one_sentence_that_says_what_to_do(made: Path) -> None:
    """Another program on the port: nothing of the gateway is left running."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        said = _sentences(_gateway("serve", "--home", made, GATEWAY_DATA_PLANE__PORT=port))
    assert len(said) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in said[0]
    assert "choose another port" in said[0]
    assert not GatewayHome(made).is_running()


@pytest.mark.parametrize(("lost", "sentence"), [("keys", "no key ring"), ("keys/log-*", "no log key")])
def test_missing_key_is_one_sentence(made: Path, tmp_path: Path, lost: str, sentence: str) -> None:
    """A key that is not there is never made anew in silence."""
    home = tmp_path / "var"
    shutil.copytree(made, home)
    for path in home.glob(lost):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = _sentences(_gateway("serve", "--home", home, GATEWAY_DATA_PLANE__PORT="0", GATEWAY_CONTROL__PORT="0"))
    assert len(said) == 1
    assert sentence in said[0]


def test_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A file stands where the home should be."""
    (tmp_path / "var").write_text("occupied", "utf-8")
    said = _sentences(_gateway("init", tmp_path / "var"))
    assert len(said) == 1
    assert "cannot write the home" in said[0]


def test_faulty_directory_is_refused_whole_with_every_fault(made: Path, tmp_path: Path) -> None:
    """Good rows beside faulty ones are not imported either; each fault has its row and field."""
    document: dict[str, Any] = directory_document(UPSTREAMS)
    del document["datasets"][2]["update_cycle"]
    document["datasets"][4]["grade"] = 9
    document["datasets"][5]["legal_basis"] = ""
    file = tmp_path / "directory.json"
    file.write_text(json.dumps(document), "utf-8")
    done = _gateway("directory", "import", file, "--home", made, "--json", "--as", "registrar")
    assert done.returncode == 1
    faults = json.loads(done.stdout)["faults"]
    assert {(fault["row"], fault["field"].rpartition(".")[2]) for fault in faults} >= {
        (3, "update_cycle"),
        (5, "grade"),
    }
    listed = _gateway("directory", "list", "--home", made, "--json", "--as", "registrar")
    assert json.loads(listed.stdout)["items"] == []


def test_grant_with_many_faults_is_refused_with_all_of_them(made: Path, tmp_path: Path) -> None:
    """An unknown dataset, item, purpose and a system of nobody's: all reasons at once."""
    approval = {"person": "周主任", "at": "2026-01-01T00:00:00Z"}
    grant = {
        "id": "G-1",
        "department": "data-bureau",
        "dataset": "nothing",
        "items": ["name"],
        "purposes": ["none"],
        "modes": ["query"],
        "systems": ["of-nobody"],
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2029-01-01T00:00:00Z",
        "legal_basis": "",
        "scenario": "x",
        "scope_of_use": "x",
        "demand_approval": approval,
        "supply_approval": approval,
    }
    file = tmp_path / "grant.json"
    file.write_text(json.dumps(grant), "utf-8")
    done = _gateway("grants", "issue", file, "--home", made, "--json", "--as", "registrar")
    assert done.returncode == 1
    fields = {fault["field"] for fault in json.loads(done.stdout)["faults"]}
    assert {"dataset", "purposes", "systems", "legal_basis"} <= fields


@pytest.mark.parametrize("content", ["[[[", "", "\x00", '{"datasets": 7}', '{"datasets": [7]}'])
def test_directory_file_that_is_none_is_refused(made: Path, tmp_path: Path, content: str) -> None:
    """Whatever is in the file: one answer, no traceback."""
    file = tmp_path / "directory.json"
    file.write_text(content, "utf-8")
    done = _gateway("directory", "import", file, "--home", made, "--json", "--as", "registrar")
    assert done.returncode == 1
    assert json.loads(done.stdout)["type"].startswith("/problems/")


def test_wrong_usage_ends_with_status_2() -> None:
    """An unknown option is not a refusal."""
    assert _gateway("serve", "--no-such-option").returncode == 2


def test_state_that_is_gone_is_never_made_anew_in_silence(made: Path, tmp_path: Path) -> None:
    """An empty state would forget every stop; the sentence says to restore it."""
    home = tmp_path / "var"
    shutil.copytree(made, home)
    (home / "state.db").unlink()
    for arguments in (("serve",), ("grants", "list")):
        said = _sentences(_gateway(*arguments, "--home", home, GATEWAY_DATA_PLANE__PORT="0", GATEWAY_CONTROL__PORT="0"))
        assert len(said) == 1
        assert "restore it from a backup" in said[0]
    assert not (home / "state.db").exists()


def test_faulty_policies_are_all_named_and_nothing_serves(made: Path) -> None:
    """What a child refuses to start with is said by the command, fault by fault."""
    environment = {
        "GATEWAY_DATA_PLANE__PORT": "0",
        "GATEWAY_CONTROL__PORT": "0",
        "GATEWAY_POLICIES__LAYERS": "national,atlantis",
    }
    said = _sentences(_gateway("serve", "--home", made, **environment))
    assert said == [
        "gateway: the policies have faults; nothing was put in force",
        "  field atlantis: is no folder with policies below the policies root",
    ]


def test_home_that_is_too_deep_for_sockets_is_one_sentence(tmp_path: Path) -> None:
    """A Unix socket's path has an end; the home is not made."""
    home = tmp_path / ("x" * 120)
    said = _sentences(_gateway("init", home))
    assert len(said) == 1
    assert "too long for its sockets" in said[0]
    assert not home.exists()


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from _commands(inner, (*path, name))


def test_every_command_takes_json() -> None:
    """Whatever a person can ask, a script can ask."""
    commands = {
        path: {option for parameter in command.params for option in parameter.opts}
        for path, command in _commands(typer.main.get_command(app))
    }
    assert len(commands) > 40
    assert [path for path, options in commands.items() if "--json" not in options] == []
