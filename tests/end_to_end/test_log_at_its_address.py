"""A gateway's own log, verified over HTTP by whoever may read it, beside the gateway at work."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.runtime.operation.session.officer_tokens import officer_token
from tests.support.gateways import RunningGateway, running_gateway, wait_for

pytestmark = pytest.mark.deep


def verify(gateway: RunningGateway, token: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """What `gateway verify` says of the log at its address, as JSON."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "verify", f"{gateway.control}/log", "--json", *options],
        env={**environment, "GATEWAY_LOG_KEY": str(gateway.made["verifier_key"]), "GATEWAY_TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return {**json.loads(done.stdout), "exit": done.returncode}


def test_log_of_a_running_gateway_is_verified_at_its_address(tmp_path: Path) -> None:
    """Without a right to entries the tree alone; with it everything, again as it grows, and every reading on record."""
    with running_gateway(tmp_path) as gateway:
        token = officer_token(gateway.home.root, "auditor-he", 600)
        refused = verify(gateway, "")
        assert (refused["exit"], refused["type"]) == (1, "/problems/credential-missing")
        assert verify(gateway, "", ["--tree-only"])["entries"] == 0
        kept = ["--resume", str(tmp_path / "walk")]
        first = verify(gateway, token, kept)
        assert (first["exit"], first["entries"]) == (0, first["size"])

        def grown() -> int:
            note = httpx.get(f"{gateway.control}/log/checkpoint", trust_env=False).text
            return int(note.splitlines()[1]) if int(note.splitlines()[1]) > first["size"] else 0

        assert wait_for(grown, 60), "the readings themselves are records"
        again = verify(gateway, token, kept)
        assert (again["exit"], again["entries"] > first["entries"]) == (0, True)
