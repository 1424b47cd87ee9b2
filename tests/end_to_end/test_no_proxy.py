"""No token goes through a proxy that the environment names, from any command and any client of ours."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

import gateway
from gateway.cli import app
from gateway.client import SharingClient
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from gateway.runtime.operation.session.api import REGISTRAR
from tests.support.commands import commands, filled, options_of
from tests.support.gateways import running_gateway
from tests.support.loopback import Eavesdropper

NOT_ASKING = {"init", "serve", "demo", "restore", "backup", "verify", "check", "docs"}
"""They serve, or speak no HTTP: of files alone, or over a socket of the home."""
CLIENTS = {"Client", "AsyncClient", "get", "post", "put", "request", "stream"}
WITNESS = "gateway/ledger/witness/witness.py"
"""It bears no credential; over TLS it may go by way of a proxy, within the machine it does not."""


def clients_made() -> Iterator[tuple[str, ast.Call]]:
    root = Path(gateway.__file__).parent
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            made = node.func if isinstance(node, ast.Call) else None
            if isinstance(made, ast.Attribute) and isinstance(made.value, ast.Name) and made.value.id == "httpx":
                assert isinstance(node, ast.Call)
                if made.attr in CLIENTS:
                    yield str(file.relative_to(root.parent)), node


def test_every_http_client_of_the_house_leaves_the_environment_alone() -> None:
    """Each is made with `trust_env=False`, said where it is made."""
    made = list(clients_made())
    wrong = [
        f"{file}:{call.lineno}"
        for file, call in made
        if file != WITNESS
        and not any(
            word.arg == "trust_env" and isinstance(word.value, ast.Constant) and word.value.value is False
            for word in call.keywords
        )
    ]
    assert wrong == []
    assert len(made) > 8


def test_every_curl_that_bears_a_token_asks_no_proxy() -> None:
    """Of those that a page, a program or the demo's story hands to a person: curl obeys `http_proxy` in lower case."""
    root = Path(gateway.__file__).parent.parent
    kept = [file for room in ("docs", "gateway", "deploy", "clients") for file in (root / room).rglob("*")]
    lines = [
        (file.name, line)
        for file in (*kept, *root.glob("*.md"))
        if file.suffix in {".md", ".py", ".sh", ".html", ".yaml", ".yml", ".service"}
        for line in re.findall(r"\bcurl (?:[^\n]*\\\n)*[^\n]*", file.read_text("utf-8"))
        if "Authorization" in line or "--config" in line
    ]
    assert [(name, line) for name, line in lines if "--noproxy '*'" not in line] == []
    assert {name for name, _ in lines} >= {"operate.md", "stage.py", "first-call.sh"}


@pytest.mark.deep
def test_no_command_and_no_client_asks_the_environments_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that speaks to the control plane does so itself, and so does a system's client."""
    file = tmp_path / "file.json"
    file.write_text(json.dumps({"x": 1}), "utf-8")
    asked: set[str] = set()
    sending = httpx.AsyncClient.send

    async def send(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        asked.add(word)
        return await sending(client, request, **options)

    with running_gateway(tmp_path / "var") as running:
        proxy = Eavesdropper()
        for name, value in proxy.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GATEWAY_HOME", str(running.home.root))
        monkeypatch.setattr(httpx.AsyncClient, "send", send)
        monkeypatch.chdir(tmp_path)
        tried = 0
        for words, command in commands():
            if words[0] in NOT_ASKING:
                continue
            word, tried = " ".join(words), tried + 1
            acting = ["--as", REGISTRAR] if "--as" in options_of(command) else []
            CliRunner().invoke(app, [*words, *filled(command, file), *acting], input="")
        person = running.population.persons[3]
        with SharingClient(
            running.data_plane,
            token_endpoint=f"{running.control}/oauth/token",
            client_id=SYSTEM,
            key=running.key,
            purpose=PURPOSE,
        ) as sharing:
            assert sharing.call("public-security/persons", id_number=person["id_number"]).json()["data"]
        proxy.close()
    assert proxy.heard == 0
    print(f"{len(asked)} of {tried} commands asked: {sorted(asked)}")
    assert len(asked) > 40
