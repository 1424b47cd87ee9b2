"""A gateway whose token and log keys live in another program: what an HSM or KMS looks like from here."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.domain.errors import GatewayError
from gateway.identity.signer import LogSigner
from gateway.ledger.log.notes import ED25519, VerifierKey
from gateway.ledger.verify.record import verify_record
from gateway.runtime.operation.session.api import Api
from gateway.runtime.ring import outside_signers
from gateway.runtime.settings import Settings
from tests.support.gateways import RunningGateway, running_gateway, wait_for

KMS = '''
"""Holds the keys, and signs what comes over its socket: a line with the key's name, then the message."""
import json, socketserver, sys
from gateway.identity.signer import SoftwareSigner

KEYS = {"token": SoftwareSigner.generate("ES256"), "log": SoftwareSigner.generate("EdDSA")}

class Sign(socketserver.StreamRequestHandler):
    def handle(self):
        name, message = self.rfile.readline().decode().strip(), self.rfile.read()
        key = KEYS[name]
        public = {"kid": key.kid, "algorithm": key.algorithm, "public_jwk": key.public_jwk}
        signature = key.sign(message).hex() if message else ""
        self.wfile.write(json.dumps({**public, "signature": signature}).encode())

with socketserver.ThreadingUnixStreamServer(sys.argv[1], Sign) as server:
    print("ready", flush=True)
    server.serve_forever()
'''

DRIVER = '''
"""What a bureau writes to put its KMS behind the gateway's interface."""
import json, os, socket

class KmsSigner:
    def __init__(self, name):
        self._name = name
        about = self._ask(b"")
        self.kid, self.algorithm, self.public_jwk = about["kid"], about["algorithm"], about["public_jwk"]

    def _ask(self, message):
        with socket.socket(socket.AF_UNIX) as kms:
            kms.connect(os.environ["BUREAU_KMS"])
            kms.sendall(self._name.encode() + b"\\n" + message)
            kms.shutdown(socket.SHUT_WR)
            return json.loads(b"".join(iter(lambda: kms.recv(65536), b"")))

    def sign(self, message):
        return bytes.fromhex(self._ask(message)["signature"])

def token_signer():
    return KmsSigner("token")

def log_signer():
    return KmsSigner("log")
'''


@contextlib.contextmanager
def kms(folder: Path) -> Iterator[Path]:
    socket = folder / "kms.sock"
    process = subprocess.Popen([sys.executable, "-c", KMS, str(socket)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield socket
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    (tmp_path / "bureau_kms.py").write_text(DRIVER)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with kms(tmp_path) as socket, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        environment = {
            "PYTHONPATH": path,
            "BUREAU_KMS": str(socket),
            "GATEWAY_IDENTITY__SIGNERS": "token=bureau_kms:token_signer,log=bureau_kms:log_signer",
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        with running_gateway(tmp_path / "home") as running:
            yield running


@pytest.mark.deep
def test_gateway_signs_by_keys_it_does_not_hold(gateway: RunningGateway) -> None:
    """Tokens and checkpoints by keys of another process: calls pass, records verify, the files' keys sign nothing."""
    signers = outside_signers(gateway.home.settings())
    published = httpx.get(f"{gateway.control}/.well-known/jwks.json", trust_env=False).json()["keys"]
    assert [key["kid"] for key in published] == [signers["token"].kid]
    number = gateway.population.persons[0]["id_number"]
    with gateway.client() as client:
        answer = client.get("/public-security/persons", params={"id_number": number})
        assert answer.status_code == 200
    record = answer.headers["Sharing-Record"]
    origin = str(gateway.made["origin"])
    key = VerifierKey(origin, ED25519, LogSigner(origin, signers["log"]).public_bytes).text()
    with gateway.officer("auditor-he") as api:
        assert wait_for(lambda: _verifies(api, record, key), 30)
        assert not _verifies(api, record, str(gateway.made["verifier_key"]))
    with gateway.officer("operator") as api, pytest.raises(GatewayError, match="rotate it there"):
        api.post("/v1/keys/token/rotation", {"reason": "yearly"})


def _verifies(api: Api, record: str, key: str) -> bool:
    try:
        verify_record(api.text(f"/v1/records/{record}/proof").encode(), key)
    except GatewayError:
        return False
    return True


@pytest.mark.parametrize("name", ["no_such_module:signer", "json:no_such_function", "json:loads", "json", ""])
def test_signer_that_cannot_be_had_stops_the_start(name: str) -> None:
    """A gateway that shall sign in hardware never falls back to a file: one sentence says which signer is missing."""
    settings = Settings.model_validate({"identity": {"signers": {"token": name}}})
    with pytest.raises(GatewayError, match="token signer"):
        outside_signers(settings)
