"""Every command that asks the control API does so with `--url` and no home; every other one says that it cannot."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.support.commands import commands, filled, options_of

URL = "http://127.0.0.1:1"
OWN = {("sign-in",), ("sign-out",), ("officers", "password")}
"""They begin, end or need no session."""


def test_keys_of_a_home_are_not_for_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--as` with `--url` is refused: nothing is signed for another gateway."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["grants", "list", "--as", "registrar", "--url", URL])
    assert result.exit_code == 1
    assert "leave `--as`" in result.stderr


def test_authorities_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$GATEWAY_CA`: which variable, and which file."""
    monkeypatch.setenv("GATEWAY_CA", str(tmp_path / "none.pem"))
    monkeypatch.setenv("GATEWAY_TOKEN", "t")
    result = CliRunner().invoke(app, ["grants", "list", "--url", "https://share.example"])
    assert result.exit_code == 1
    assert "$GATEWAY_CA" in result.stderr
    assert "none.pem" in result.stderr


@pytest.mark.parametrize(("words", "command"), [pytest.param(*found, id=" ".join(found[0])) for found in commands()])
def test_command_works_elsewhere_or_says_that_it_cannot(
    words: tuple[str, ...], command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `--url`, no home is looked for: what is missing is a session there; the rest is about files of a home."""
    options = options_of(command)
    assert ("--home" in options) is ("--url" in options)
    if "--home" not in options or words in OWN:
        return
    if "--as" in options:
        told = " ".join(options["--as"].help.split())
        assert "$GATEWAY_TOKEN" in told
        assert "`gateway sign-in`" in told
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for variable in ("GATEWAY_TOKEN", "GATEWAY_OFFICER", "GATEWAY_CONTROL_URL"):
        monkeypatch.delenv(variable, raising=False)
    file = tmp_path / "given.json"
    file.write_text("{}", "utf-8")
    elsewhere = ["--home", str(tmp_path / "none"), "--url", URL]
    result = CliRunner().invoke(app, [*words, *filled(command, file), *elsewhere], input="")
    assert result.exit_code in (1, 2), result.output
    if "--as" not in options:
        assert "files of the gateway's home" in result.stderr
    elif f"nobody is signed in at {URL}" not in result.stderr:
        # What is wrong with what it was given is said first, as with a home.
        assert "no gateway" not in result.stderr
        print(result.stderr)
