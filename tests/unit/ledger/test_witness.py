"""Witnesses: a log that others watch, and that a restored copy cannot fork."""

import shutil
import threading

import httpx
import pytest

from gateway.domain.errors import GatewayError
from gateway.ledger.index.queries import RecordQuery
from gateway.ledger.log.checkpoints import parse_checkpoint, verify_cosignature
from gateway.ledger.log.notes import COSIGNATURE, VerifierKey, parse_note, sign_note
from gateway.ledger.log.proofs import Hashes, parse_proof
from gateway.ledger.process.answers import Answers
from gateway.ledger.process.service import LedgerService
from gateway.ledger.retention.retention import Holds
from gateway.ledger.verify.record import verify_log, verify_record
from gateway.ledger.witness.cosigning import Cosigning
from gateway.ledger.witness.witness import Witness, WitnessClient, WitnessTarget, parse_request, request_body
from tests.support.ledger import ORIGIN, City, TestSigner, open_ledger

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
    from gateway.ledger.log.notes import ED25519, VerifierKey  # noqa: PLC0415 — used here alone

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
    note = parse_note(service.cosigning.cosigned().note)
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


def asked_by(answer, witness=None):
    """A transport for a witness that answers with `answer`."""
    return httpx.MockTransport(lambda request: answer(request) or served(witness).handle_request(request))


def open_asking(directory, transport, keys):
    return LedgerService(
        directory,
        origin=ORIGIN,
        signer=LOG,
        witnesses=[WitnessTarget(f"https://w{n}.example/w", key) for n, key in enumerate(keys)],
        witness_transport=transport,
        memory_bytes=256 << 20,
    )


def test_cosigning_asks_only_about_what_is_in_place(tmp_path, witness, monkeypatch):
    """While a slow disk still takes a commit's tiles, the checkpoint before it is the one that is cosigned."""
    service = open_watched(tmp_path / "ledger", witness)
    service.prepare()
    grow(service, 200)
    before = service.log.size
    placing, go_on = threading.Event(), threading.Event()
    sync = service.log.files.sync

    def slow():
        placing.set()
        assert go_on.wait(60)
        sync()

    monkeypatch.setattr(service.log.files, "sync", slow)
    commit = threading.Thread(target=grow, args=(service, 300, 2))
    commit.start()
    assert placing.wait(60)
    (answer,) = service.cosigning.round()
    assert (answer.fault, service.status().cosigned) == ("", before)
    go_on.set()
    commit.join()
    (answer,) = service.cosigning.round()
    assert (answer.fault, service.status().cosigned) == ("", service.log.size)
    service.close()


def test_readers_go_by_what_is_published_while_a_commit_is_put_in_place(tmp_path, witness, monkeypatch):
    """Shown, proven and planned from one checkpoint: the cosigned one where it reaches, else the published one."""
    service = open_watched(tmp_path / "ledger", witness)
    service.prepare()
    grow(service, 40)
    rows = service.index.find(RecordQuery(), None, 1).rows
    service.cosigning.round()
    cosigned = service.log.size
    grow(service, 40, 2)
    rows += service.index.find(RecordQuery(), None, 1).rows
    published = service.log.size
    placing, go_on = threading.Event(), threading.Event()

    def slow():
        placing.set()
        assert go_on.wait(60)

    monkeypatch.setattr(service.log.files, "sync", slow)
    # Nothing of a commit is in place before it is synced, as far as a reader may rely on it.
    monkeypatch.setattr(service.log.files, "put_tile", lambda *_: None)
    commit = threading.Thread(target=service.log.commit, args=(list(City(3).entries(400)), {}))
    commit.start()
    assert placing.wait(60)
    answers = Answers(service)
    for row, size, signatures in zip(rows, (cosigned, published), (2, 1), strict=True):
        assert answers.show({"record": row.record}, lambda _done, _of: None).leaf == row.leaf
        proof = answers.prove({"record": row.record}, lambda _done, _of: None).encode()
        assert verify_record(proof, service.log.key.text(), record=row.record).size == size
        assert len(parse_note(parse_proof(proof).checkpoint).signatures) == signatures
    assert service.plan_retention(Holds()).entries == 0
    go_on.set()
    commit.join()
    service.close()


def test_a_restarted_log_knows_what_is_cosigned(tmp_path, witness):
    """Proofs bear cosignatures again before any witness has answered."""
    service = open_watched(tmp_path / "ledger", witness)
    service.prepare()
    grow(service, 40)
    service.cosigning.round()
    size = service.log.size
    record = service.index.find(RecordQuery(), None, 1).rows[0].record
    service.close()
    service = open_watched(tmp_path / "ledger", witness)
    service.integrator.catch_up()
    assert service.status().cosigned == size
    proof = Answers(service).prove({"record": record}, lambda _done, _of: None).encode()
    assert len(parse_note(parse_proof(proof).checkpoint).signatures) == 2
    service.close()


def test_a_round_that_fails_is_a_fault_in_the_status_and_not_the_last(tmp_path, witness, monkeypatch):
    """Whatever goes wrong in one round stands in the status until a later round succeeds."""
    service = open_watched(tmp_path / "ledger", witness)
    service.prepare()
    grow(service, 10)
    tile = service.log.files.tile

    def broken(level, n, width=256):
        raise GatewayError("not-found", "a part of the log is not there")

    monkeypatch.setattr(service.log.files, "tile", broken)
    service.cosigning.round()
    assert service.status().witnesses == {NAME: ""}, "a first cosignature needs no proof"
    monkeypatch.setattr(service.log.files, "tile", tile)
    grow(service, 10, 2)
    monkeypatch.setattr(service.log.files, "tile", broken)
    service.cosigning.round()
    assert "a part of the log is not there" in service.status().witnesses[NAME]
    monkeypatch.setattr(service.log.files, "tile", tile)
    with monkeypatch.context() as patched:
        patched.setattr("gateway.ledger.witness.cosigning.replace_file", refuse_to_write)
        service.cosigning.round()
        assert "OSError" in service.status().witnesses[NAME]
    service.cosigning.round()
    assert service.status().witnesses == {NAME: ""}
    assert service.status().cosigned == service.log.size
    service.close()


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (httpx.Response(409, text="9" * 5000 + "\n"), "without saying what it has cosigned"),
        (httpx.Response(409, text=f"{1 << 63}\n"), "without saying what it has cosigned"),
        (httpx.Response(409, text="-1\n"), "without saying what it has cosigned"),
        (httpx.Response(409, text="١٢\n"), "without saying what it has cosigned"),
        (httpx.Response(409, content=b"\xff\xfe"), "not text"),
        (httpx.Response(409, text="0\n"), "contradicts itself"),
        (httpx.Response(200, text="x" * (1 << 20)), "longer than"),
        (httpx.Response(200, text="\u2014 nobody AAAAAAAA\n"), "no cosignature of its key"),
        (httpx.Response(200, content=b"x", headers={"content-encoding": "br"}), "compressed"),
        (httpx.Response(307, headers={"location": "http://elsewhere.example/"}), "answers 307"),
    ],
    ids=["digits", "too-large", "negative", "other-digits", "bytes", "old-size", "long", "stranger", "packed", "moved"],
)
def test_no_answer_of_a_witness_is_an_obstacle(tmp_path, witness, answer, fault):
    """Whatever one witness sends, the log starts, the other cosigns, and the status says what was wrong."""
    hostile = Witness(
        tmp_path / "hostile.db", name="hostile.example/w", signer=TestSigner(b"\x08" * 32), logs={}, clock=lambda: 0
    )

    def sent(request):
        return answer if request.url.host == "w0.example" else None

    keys = [hostile.key.text(), witness.key.text()]
    service = open_asking(tmp_path / "ledger", asked_by(sent, witness), keys)
    grow(service, 10)
    service.prepare()
    assert fault in service.status().witnesses[hostile.key.name]
    assert service.status().witnesses[NAME] == ""
    assert service.status().cosigned == service.log.size
    service.close()
    hostile.close()


def test_a_witness_that_hangs_holds_nobody(tmp_path, witness):
    """A round ends without it, the others cosign, and it is not asked twice at once."""
    go_on, asked = threading.Event(), []

    def hangs(request):
        if request.url.host == "w0.example":
            asked.append(request)
            assert go_on.wait(60)
            return httpx.Response(503)
        return None

    slow = VerifierKey("slow.example/w", COSIGNATURE, TestSigner(b"\x08" * 32).public_bytes)
    service = open_ledger(tmp_path / "ledger")
    grow(service, 10)
    clients = [
        WitnessClient(WitnessTarget(f"https://w{n}.example/w", key.text()), transport=asked_by(hangs, witness))
        for n, key in enumerate((slow, witness.key))
    ]
    cosigning = Cosigning(service.log, clients, round_seconds=0.3)
    for _ in range(2):
        cosigning.refuse_if_behind()
        assert cosigning.state.faults == {slow.name: "it has not answered in time", NAME: ""}
    assert (cosigning.state.size, len(asked)) == (service.log.size, 1)
    go_on.set()
    cosigning.stop()
    service.close()


def test_a_late_answer_still_stops_a_log_that_is_behind(tmp_path, witness):
    """INVARIANT: NEVER-FORKED: what a slow witness said of an earlier checkpoint counts in a later round."""
    go_on = threading.Event()

    def late(_request):
        assert go_on.wait(60)
        return httpx.Response(409, text="1000000\n")

    def rounds(many):
        for _ in range(many):
            cosigning.refuse_if_behind()

    service = open_ledger(tmp_path / "ledger")
    target = WitnessTarget("https://witness.example/w", witness.key.text())
    cosigning = Cosigning(service.log, [WitnessClient(target, transport=asked_by(late))], round_seconds=0.1)
    rounds(1)
    go_on.set()
    with pytest.raises(GatewayError, match="has cosigned 1000000 leaves"):
        rounds(100)
    cosigning.stop()
    service.close()


def refuse_to_write(*_args, **_options):
    raise OSError(28, "no space left")


def test_cosigning_at_work_goes_on_after_a_fault(tmp_path, witness):
    """The thread outlives what a witness does to it, and cosigns at its next round."""
    calls, cosigned = [], threading.Event()

    def first_fails(request):
        calls.append(request)
        if len(calls) == 1:
            raise RuntimeError("what no one foresaw")
        cosigned.set()

    service = open_ledger(tmp_path / "ledger")
    grow(service, 10)
    target = WitnessTarget("https://witness.example/w", witness.key.text())
    client = WitnessClient(target, transport=asked_by(first_fails, witness))
    cosigning = Cosigning(service.log, [client], pause_seconds=0.01)
    cosigning.start(lambda answer: pytest.fail(answer.fault))
    assert cosigned.wait(60)
    cosigning.stop()
    service.close()
