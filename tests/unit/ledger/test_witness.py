"""Witnesses: a log that others watch, and that a restored copy cannot fork."""

import shutil

import httpx
import pytest

from gateway.domain.errors import GatewayError
from gateway.ledger.checkpoints import parse_checkpoint, verify_cosignature
from gateway.ledger.notes import parse_note, sign_note
from gateway.ledger.proofs import Hashes
from gateway.ledger.service import LedgerService
from gateway.ledger.verify import verify_log
from gateway.ledger.witness import Witness, WitnessTarget, parse_request, request_body
from tests.support.ledger import ORIGIN, City, TestSigner

LOG = TestSigner()
NAME = "witness.example/finance"


@pytest.fixture
def witness(tmp_path):
    key = LedgerKey()
    made = Witness(
        tmp_path / "witness.db",
        name=NAME,
        signer=TestSigner(b"\x07" * 32),
        logs={ORIGIN: [key]},
        clock=lambda: 1_800_000_000,
    )
    yield made
    made.close()


def LedgerKey():  # noqa: N802 — reads as the value it is
    from gateway.ledger.notes import ED25519, VerifierKey  # noqa: PLC0415 — used here alone

    return VerifierKey(ORIGIN, ED25519, LOG.public_bytes)


def served(witness):
    """The witness behind HTTP, in process."""

    def answer(request):
        assert request.url.path == "/w/add-checkpoint"
        said = witness.add_checkpoint(request.read())
        return httpx.Response(said.status, text=said.body, headers={"content-type": said.content_type})

    return httpx.MockTransport(answer)


def open_watched(directory, witness):
    return LedgerService(
        directory,
        origin=ORIGIN,
        signer=LOG,
        witnesses=[WitnessTarget("https://witness.example/w/", witness.key.text())],
        witness_transport=served(witness),
        memory_bytes=256 << 20,
    )


def grow(service, uses, seed=1):
    entries = list(City(seed).entries(uses))
    service.log.commit(entries, {})
    service.index.add(entries)


def body(service, old):
    size = service.log.size
    return request_body(old, Hashes(size, service.log.files.tile).consistency(old) if old else (), service.log.note)


def test_a_witness_cosigns_what_continues(tmp_path, witness):
    """Checkpoint after checkpoint gets a cosignature that verifies, and the cosigned note is kept."""
    service = open_watched(tmp_path / "ledger", witness)
    service.prepare()
    for seed in range(3):
        grow(service, 200, seed)
        (answer,) = service.cosigning.round()
        assert answer.fault == ""
        assert answer.seen_unix == 1_800_000_000
    note = parse_note(service.cosigning.cosigned())
    assert parse_checkpoint(note.text).size == service.log.size == service.status().cosigned
    assert verify_cosignature(note.text, note.signatures[1], witness.key) == 1_800_000_000
    key = service.log.key.text()
    service.close()
    report = verify_log(tmp_path / "ledger", key)
    assert any("cosigned checkpoint" in each for each in report.checked)


def test_the_protocol_s_table(tmp_path, witness):
    """c2sp.org/tlog-witness: each refusal has its status, and none changes what was cosigned."""
    service = open_watched(tmp_path / "ledger", witness)
    grow(service, 100)
    ask = witness.add_checkpoint
    note = parse_note(service.log.note)
    assert ask(b"").status == 400
    assert ask(b"old 01\n\n" + service.log.note).status == 400
    assert ask(b"old x\n\n" + service.log.note).status == 400
    unknown = sign_note(note.text.replace(ORIGIN, "unknown.example"), "unknown.example", LOG).encode().encode()
    assert ask(request_body(0, (), unknown)).status == 404
    forged = sign_note(note.text, ORIGIN, TestSigner(b"\x09" * 32)).encode().encode()
    assert ask(request_body(0, (), forged)).status == 403
    assert ask(request_body(service.log.size + 1, (), service.log.note)).status == 400
    assert ask(request_body(5, (bytes(32),), service.log.note)).body == "0\n"
    assert ask(body(service, 0)).status == 200
    first = service.log.size
    conflict = ask(body(service, 0))
    assert (conflict.status, conflict.body, conflict.content_type) == (409, f"{first}\n", "text/x.tlog.size")
    grow(service, 100)
    assert ask(request_body(first, (bytes(32),), service.log.note)).status == 422
    fork = sign_note(parse_note(service.log.note).text.replace("\n", "\n", 1), ORIGIN, LOG)
    lines = fork.text.split("\n")
    other = sign_note(f"{ORIGIN}\n{first}\n{lines[2]}\n", ORIGIN, LOG).encode().encode()
    assert ask(request_body(first, (), other)).status == 409
    assert ask(body(service, first)).status == 200
    service.close()


def test_a_request_comes_back():
    """What the client sends is what the witness reads."""
    note = sign_note(f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", ORIGIN, LOG)
    proof = (bytes(32), bytes([1]) * 32)
    assert parse_request(request_body(7, proof, note.encode().encode())) == (7, proof, note)


def test_never_forked_by_a_copy_that_a_witness_has_outrun(tmp_path, witness):
    """INVARIANT: NEVER-FORKED: a disk image from before what a witness cosigned does not sign again."""
    service = open_watched(tmp_path / "ledger", witness)
    service.prepare()
    grow(service, 100)
    service.cosigning.round()
    service.close()
    shutil.copytree(tmp_path / "ledger", tmp_path / "image")
    service = open_watched(tmp_path / "ledger", witness)
    service.prepare()
    grow(service, 50, 2)
    service.cosigning.round()
    size = service.log.size
    service.close()
    restored = open_watched(tmp_path / "image", witness)
    with pytest.raises(GatewayError, match=f"has cosigned {size} leaves"):
        restored.prepare()
    restored.close()


def test_never_forked_by_a_ledger_begun_anew(tmp_path, witness):
    """INVARIANT: NEVER-FORKED: with everything lost, the witness still remembers that there was a log."""
    service = open_watched(tmp_path / "ledger", witness)
    service.prepare()
    grow(service, 100)
    service.cosigning.round()
    service.close()
    fresh = open_watched(tmp_path / "fresh", witness)
    with pytest.raises(GatewayError, match="this log stands at 0"):
        fresh.prepare()
    fresh.close()


def test_a_witness_that_does_not_answer_is_no_obstacle(tmp_path, witness):
    """Uses go on while witnesses are away; the status says so."""

    def refuse(request):
        raise httpx.ConnectError("away")

    service = LedgerService(
        tmp_path / "ledger",
        origin=ORIGIN,
        signer=LOG,
        witnesses=[WitnessTarget("https://witness.example/w", witness.key.text())],
        witness_transport=httpx.MockTransport(refuse),
    )
    service.prepare()
    grow(service, 10)
    service.cosigning.round()
    assert service.status().witnesses == {NAME: "it does not answer"}
    service.close()
