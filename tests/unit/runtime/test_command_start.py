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


SLOW = HEAVY - {"cedarpy", "cryptography"}
"""What takes longer to load than a breath."""


@pytest.mark.parametrize(
    "words",
    [
        "init /dev/null/home",
        "serve --home /dev/null/home",
        "status --home /dev/null/home",
        "check --home /dev/null/home",
        "backup /dev/null/backup --home /dev/null/home",
        "restore /dev/null/backup --home /dev/null/home",
        "differences --home /dev/null/home",
        "demo --home /dev/null/home",
        "verify /dev/null/uses.ndjson --key x",
        "directory import /proc/self/status.json --home /dev/null/home",
        "directory list --home /dev/null/home",
        "grants list --home /dev/null/home",
        "records find --home /dev/null/home",
        "policies check --root /dev/null/policies",
        "policies activate /dev/null/policies --home /dev/null/home",
        "policies history --home /dev/null/home",
        "retention plan --home /dev/null/home",
        "keys list --home /dev/null/home",
    ],
)
def test_a_command_says_what_it_does_before_it_loads_what_takes_long(words: str) -> None:
    """At a terminal the first sentence comes from what is loaded within a breath, or it is the answer itself."""
    script = (
        "import sys, json; sys.argv[1:] = json.loads(sys.argv[1]);"
        "from gateway.cli import main, shell;"
        "shell.err = shell.Console(stderr=True, force_terminal=True, soft_wrap=True); say = shell.err.print;"
        "told = lambda *words, **more: (sys.stdout.write(json.dumps([words[0], sorted(sys.modules)]) + chr(10)),"
        "say(*words, **more));"
        "shell.err.print = told; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(words.split())],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said, modules = json.loads(done.stdout.splitlines()[0])
    assert SLOW & {name.partition(".")[0] for name in modules} == set(), said


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
