"""Two nodes that witness each other: each one's checkpoints come to bear the other's cosignature."""

import contextlib
import socket
from pathlib import Path

import httpx
import pytest

from gateway.client import new_private_key
from gateway.identity.keys.keyring import KeyRing
from gateway.ledger.log.checkpoints import verify_cosignature
from gateway.ledger.log.notes import COSIGNATURE, VerifierKey, parse_note, parse_verifier_key, verify_note
from gateway.runtime.demo.population import Population
from gateway.runtime.home import GatewayHome
from gateway.runtime.operation.setup import initialise
from tests.support.gateways import RunningGateway, wait_for


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_cosigned(file: Path, log: VerifierKey, witness: VerifierKey) -> bool:
    """Whether the log's newest cosigned note bears both signatures; the first round may find no witness yet."""
    if not file.exists():
        return False
    note = parse_note(file.read_bytes())
    assert verify_note(note, [log]) == (log,)
    by_witness = [signature for signature in note.signatures if signature.name == witness.name]
    return bool(by_witness) and verify_cosignature(note.text, by_witness[0], witness) > 0


def test_nodes_cosign_each_others_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tlog-witness over HTTP, both ways; a log that is not named in the settings is not cosigned."""
    nodes = {}
    for name in ("node-a", "node-b"):
        monkeypatch.setenv("GATEWAY_LEDGER__ORIGIN", f"example.gov.cn/{name}")
        home = GatewayHome(tmp_path / name)
        made = initialise(home, region="440000", department="data-bureau")
        settings = home.settings()
        witness = home.witness_name(settings)
        public = KeyRing.open(home.keys(settings)).witness_signer(witness).public_bytes
        key = VerifierKey(witness, COSIGNATURE, public)
        nodes[name] = (home, str(made["verifier_key"]), key, _free_port())
    monkeypatch.delenv("GATEWAY_LEDGER__ORIGIN")
    with contextlib.ExitStack() as stack:
        for name, other in (("node-a", "node-b"), ("node-b", "node-a")):
            home, _, _, port = nodes[name]
            _, log_key, witness_key, witness_port = nodes[other]
            gateway = RunningGateway(
                home,
                {},
                Population(persons=1),
                {},
                new_private_key(),
                {
                    "GATEWAY_LEDGER__ORIGIN": f"example.gov.cn/{name}",
                    "GATEWAY_CONTROL__PORT": str(port),
                    "GATEWAY_DATA_PLANE__WORKERS": "1",
                    "GATEWAY_LEDGER__WITNESSES": f"{witness_key.text()} http://127.0.0.1:{witness_port}/witness",
                    "GATEWAY_LEDGER__WITNESSED_LOGS": log_key,
                },
            )
            gateway.start()
            stack.callback(gateway.stop)
            with gateway.officer() as api:
                api.post("/v1/purposes", {"id": "survey", "name": "统计调查", "basis": "《统计法》"})
        for name, other in (("node-a", "node-b"), ("node-b", "node-a")):
            home, log_key, _, _ = nodes[name]
            _, _, witness_key, witness_port = nodes[other]
            cosigned = home.ledger / "tree" / "cosigned"
            assert wait_for(
                lambda file=cosigned, log=log_key, by=witness_key: _is_cosigned(file, parse_verifier_key(log), by), 60
            )
            refused = httpx.post(
                f"http://127.0.0.1:{witness_port}/witness/add-checkpoint",
                content=b"old 0\n\nsomebody.else/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n"
                b"\xe2\x80\x94 somebody.else/log AAAAAAAAAAAAAAAAAAAA\n",
                trust_env=False,
            )
            assert refused.status_code in {400, 404}
