"""The command line starts with what was asked for, and with no more: a shell and a probe wait for it."""

import json
import subprocess
import sys

import pytest
import typer.main

from gateway.cli import COMMANDS, app, shell

HEAVY = {"sqlalchemy", "fastapi", "httpx", "duckdb", "cedarpy", "cryptography", "alembic", "openpyxl"}
"""Pydantic is not among them: typer loads it, where it is there, for its own."""


def loaded(*words: str) -> set[str]:
    """The rooms' heavy libraries that the command has loaded when it ends."""
    script = (
        "import sys, json, atexit; sys.argv[1:] = json.loads(sys.argv[1]);"
        "atexit.register(lambda: sys.stderr.write(json.dumps(sorted({n.partition('.')[0] for n in sys.modules}))));"
        "from gateway.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(words)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & set(json.loads(done.stderr[done.stderr.rindex("[") :]))


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("grants", "--help"), ("verify", "--help"), ("serve", "--help")]
)
def test_help_loads_no_room(words: tuple[str, ...]) -> None:
    """What answers from words alone loads neither database nor web framework nor cryptography."""
    assert loaded(*words) == set()


def test_table_says_what_the_commands_say() -> None:
    """Each name leads to its command, and its line is the first of that command's help."""
    found = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(found) == set(COMMANDS)
    for name, (_, summary) in COMMANDS.items():
        assert (found[name].help or "").splitlines()[0] == summary, name


def test_tables_fit_80_columns_and_pipes_get_plain_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a terminal long cells are folded; in a pipe a row is one line without a control character."""
    row = ("readiness", "not ready", "one very long sentence about what is wrong " * 5)
    monkeypatch.setattr(shell, "out", shell.Console(width=80, highlight=False, soft_wrap=True))
    shell.print_table("parts", ("part", "state", "detail"), [row])
    assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines())
    monkeypatch.setattr(shell, "out", shell.Console(width=1000, highlight=False, soft_wrap=True))
    shell.print_table("parts", ("part", "state", "detail"), [row])
    piped = capsys.readouterr().out
    assert "\x1b" not in piped
    assert sum("not ready" in line for line in piped.splitlines()) == 1
    assert row[2].strip() in piped
