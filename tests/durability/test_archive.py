"""The log on an object store: a real S3 server with object lock, and a proxy before it that does what stores do.

Whatever the store answers, nothing is lost or doubled, uses and the log go on, the fault is told in one sentence, and
the round after it is over brings everything there.
"""

import json
import os
import re
import signal
import threading
from datetime import UTC, datetime

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.verify import verify
from gateway.domain.errors import GatewayError
from gateway.ledger.archive import reading
from gateway.ledger.archive.archiving import PACK_LEAVES, PROGRESS, Archiving
from gateway.ledger.log.notes import parse_verifier_key
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.process.service import LedgerService
from gateway.ledger.verify.over_s3 import StoredLog
from gateway.ledger.verify.report import VerificationFailed
from gateway.ledger.verify.walk import verify_source
from gateway.runtime.operation.status import examine
from tests.support.gateways import running_gateway, wait_for
from tests.support.ledger import ORIGIN, City, TestSigner
from tests.support.s3_server import FaultyStore, Reply, refusal, s3_server

pytestmark = [pytest.mark.deep, pytest.mark.timeout(300)]

ENTRIES = list(City().entries(PACK_LEAVES))
"""Some eight thousand entries: a pack is sealed, another is nearly full, and their time ends on a day in 2029."""
APP = typer.Typer()
APP.command()(verify)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(autouse=True)
def _tried_once(monkeypatch):
    monkeypatch.setattr(reading, "TRIES", 1)


@pytest.fixture
def log(tmp_path):
    made = TiledLog(tmp_path / "ledger", ORIGIN, TestSigner())
    yield made
    made.close()


def archiving(tmp_path, log, target):
    return Archiving(tmp_path / "ledger", log.key, target, pause_seconds=60)


def below(target, tmp_path):
    """A folder of the bucket that is this test's alone, and where the log lies in it."""
    own = msgspec.structs.replace(target, prefix=f"{tmp_path.name}/")
    return own, msgspec.structs.replace(own, prefix=f"{own.prefix}{ORIGIN}/")


def check(target, log, **options):
    return verify_source(StoredLog(target), log.key, **options)


def test_log_is_brought_once_locked_and_verifies_from_the_store_alone(tmp_path, server, log):
    """In steps as it grows; each object has one version, and is locked until the last day of what is in it."""
    target, there = below(server.target(), tmp_path)
    archive = archiving(tmp_path, log, target)
    for end in (10, 300, PACK_LEAVES, PACK_LEAVES + 700, len(ENTRIES)):
        log.commit(ENTRIES[log.size : end], {})
        assert archive.round() == ""
        assert archive.state.size == end
        checked = check(there, log)
        assert (checked.size, checked.entries) == (end, end)
    assert archive.round() == ""
    archive.stop()
    versions = [each for each in server.versions() if each["Key"].startswith(there.prefix)]
    once = [each["Key"] for each in versions if not each["Key"].endswith("/checkpoint")]
    assert len(once) == len(set(once))
    assert len(versions) - len(once) == 5
    ends = datetime(2029, 1, 1, 16, tzinfo=UTC)  # the last day's 24:00 in China
    for each in versions:
        if each["IsLatest"]:
            head = server.client.head_object(Bucket="locked", Key=each["Key"])
            assert head["ObjectLockMode"] == "COMPLIANCE"
            assert head["ObjectLockRetainUntilDate"].astimezone(UTC) == ends
        with pytest.raises(server.client.exceptions.ClientError, match="AccessDenied"):
            server.client.delete_object(Bucket="locked", Key=each["Key"], VersionId=each["VersionId"])


def test_what_is_there_is_found_when_it_is_not_known_here(tmp_path, server, log):
    """`archive.json` is lost, or the process ended before it was kept: nothing is put twice."""
    target, there = below(server.target(), tmp_path)
    log.commit(ENTRIES[: PACK_LEAVES + 300], {})
    first = archiving(tmp_path, log, target)
    assert first.round() == ""
    before = len(server.versions())
    (tmp_path / "ledger" / PROGRESS).unlink()
    second = archiving(tmp_path, log, target)
    assert second.round() == ""
    after = [each for each in server.versions() if each["Key"].startswith(there.prefix)]
    assert len(server.versions()) - before <= 1, "the checkpoint alone is put again"
    assert check(there, log).size == len(ENTRIES[: PACK_LEAVES + 300])
    assert after


def test_second_node_that_writes_the_same_origin_is_found(tmp_path, server, log):
    """Neither puts anything over what the other put."""
    target, there = below(server.target(), tmp_path)
    log.commit(ENTRIES[:600], {})
    assert archiving(tmp_path, log, target).round() == ""
    other = TiledLog(tmp_path / "other" / "ledger", ORIGIN, TestSigner())
    other.commit(ENTRIES[100:900], {})
    assert "holds other bytes than the log's" in archiving(tmp_path / "other", other, target).round()
    behind = TiledLog(tmp_path / "behind" / "ledger", ORIGIN, TestSigner())
    behind.commit(ENTRIES[:256], {})
    assert (
        "another node writes there, or this log was restored" in archiving(tmp_path / "behind", behind, target).round()
    )
    assert check(there, log).size == 600
    other.close()
    behind.close()


def test_damage_on_this_disk_is_not_locked_there(tmp_path, server, log):
    target, _ = below(server.target(), tmp_path)
    log.commit(ENTRIES[:PACK_LEAVES], {})
    (pack,) = (tmp_path / "ledger").rglob("*.pack")
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    archive = archiving(tmp_path, log, target)
    assert "is damaged" in archive.round()
    pack.write_bytes(whole)
    assert archiving(tmp_path, log, target).round() == ""


def skewed(request, _ask):
    return refusal(403, b"RequestTimeTooSkewed")


def cut_short(request, ask):
    """What arrives at the store is not all that was sent."""
    return ask(request.body[:-1]) if request.method == "PUT" and request.body else ask()


def truncated(_request, ask):
    """What arrives here is not all that the store sent."""
    reply = ask()
    if len(reply.body) < 1000:
        return reply
    return Reply(reply.status, {**reply.headers, "Content-Length": str(len(reply.body) + 9)}, reply.body)


def cut_off(_request, _ask):
    return None


def lost_answers(request, ask):
    """What is put stands there, and nobody is told."""
    ask()
    return None if request.method == "PUT" else ask()


def other_checksum(request, ask):
    reply = ask()
    named = {name.lower(): value for name, value in reply.headers.items()}
    if request.method == "HEAD":
        named["x-amz-checksum-sha256"] = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
    if request.method == "GET" and "tile/" in request.path:
        return Reply(reply.status, named, bytes([reply.body[0] ^ 1]) + reply.body[1:])
    return Reply(reply.status, named, reply.body)


def unlocked(request, ask):
    """The store takes the lock and forgets it."""
    reply = ask()
    kept = {name: value for name, value in reply.headers.items() if "object-lock" not in name.lower()}
    return Reply(reply.status, kept, reply.body)


def deletes_early(request, ask):
    if "lifecycle" not in request.path:
        return ask()
    rule = b"<Rule><ID>tidy</ID><Status>Enabled</Status><Filter/><Expiration><Days>30</Days></Expiration></Rule>"
    return Reply(
        200, {"Content-Type": "application/xml"}, b"<LifecycleConfiguration>%b</LifecycleConfiguration>" % rule
    )


def silent(stop):
    def wait(_request, _ask):
        stop.wait(60)

    return wait


FAULTS = [
    ("403", lambda *_: refusal(403, b"AccessDenied"), "refuses it \\(403\\)"),
    ("404", lambda *_: refusal(404, b"NoSuchBucket"), "the bucket is not there"),
    (
        "412",
        lambda request, ask: refusal(412, b"PreconditionFailed") if request.method == "PUT" else ask(),
        "not there",
    ),
    ("500", lambda *_: refusal(500, b"InternalError"), "answered 500 InternalError"),
    ("503", lambda *_: refusal(503, b"SlowDown"), "answered 503 SlowDown"),
    ("clock", skewed, "put the clock right"),
    ("cut off", cut_off, "does not answer"),
    ("cut short", cut_short, "not what was sent|answered 400"),
    ("lost answers", lost_answers, "does not answer"),
    ("wrong checksum", other_checksum, "checksum|other bytes"),
    ("forgotten lock", unlocked, "does not say it is locked"),
    ("lifecycle", deletes_early, "deletes by its own rule \\(`tidy`\\)"),
]


@pytest.mark.parametrize(("fault", "said"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_fault_of_the_store_is_told_and_what_waited_arrives(tmp_path, server, log, fault, said):
    """The log goes on meanwhile; afterwards everything is there, each object once."""
    with FaultyStore(server) as store:
        target, there = below(server.target(port=store.port), tmp_path)
        log.commit(ENTRIES[:300], {})
        archive = archiving(tmp_path, log, target)
        store.fault = fault
        for end in (700, 900):
            found = archive.round()
            assert re.search(said, found), found
            assert archive.state.fault == found
            log.commit(ENTRIES[log.size : end], {})
        assert archive.state.waiting_seconds > 0
        store.fault = None
        assert archive.round() == ""
        archive.stop()
        assert (archive.state.size, archive.state.fault, archive.state.waiting_seconds) == (900, "", 0.0)
    _, there = below(server.target(), tmp_path)
    assert check(there, log).entries == 900
    keys = [each["Key"] for each in server.versions() if each["Key"].startswith(there.prefix)]
    once = [key for key in keys if not key.endswith("/checkpoint")]
    assert len(once) == len(set(once))


def test_bucket_without_lock_is_refused_before_anything_is_put(tmp_path, server, log):
    target, there = below(server.target("plain"), tmp_path)
    log.commit(ENTRIES[:300], {})
    assert "has no object lock" in archiving(tmp_path, log, target).round()
    assert not [each for each in server.versions("plain") if each["Key"].startswith(there.prefix)]


def test_silent_store_delays_no_entry_and_no_end(tmp_path, server, monkeypatch):
    """Uses never wait for the store: the service integrates, answers and stops while a request hangs."""
    monkeypatch.setattr(reading, "SILENCE_SECONDS", 2.0)
    stop = threading.Event()
    with FaultyStore(server) as store:
        store.fault = silent(stop)
        target, there = below(server.target(port=store.port), tmp_path)
        service = LedgerService(
            tmp_path / "ledger", origin=ORIGIN, signer=TestSigner(), archive=target, archive_seconds=0.1
        )
        ended = threading.Event()
        worker = threading.Thread(target=service.run, args=(ended,))
        worker.start()
        assert wait_for(lambda: store.asked, 60), "the store was asked"
        service.on_integrator(lambda: service.log.commit(ENTRIES[:300], {}))
        assert service.status().size >= 300
        assert wait_for(lambda: "does not answer" in service.status().archive.fault, 60)
        stop.set()
        store.fault = None
        assert wait_for(lambda: service.status().archive.size >= 300, 60)
        ended.set()
        worker.join()
        service.close()
    assert check(below(server.target(), tmp_path)[1], service.log).entries >= 300
    assert there


@pytest.mark.parametrize(
    ("name", "said"), [("tile/0/000", "tile 0 at level 0|leaf"), ("tile/entries/000.pack", "leaf|damaged|leaves")]
)
def test_object_that_was_put_over_is_found(tmp_path, server, log, name, said):
    """Who may put can put a version over a locked one: the verifier sees it, and the locked one stays."""
    target, there = below(server.target(), tmp_path)
    log.commit(ENTRIES[:PACK_LEAVES], {})
    assert archiving(tmp_path, log, target).round() == ""
    key = there.prefix + name
    held = server.client.get_object(Bucket="locked", Key=key)["Body"].read()
    server.client.put_object(Bucket="locked", Key=key, Body=held[:40] + bytes([held[40] ^ 1]) + held[41:])
    with pytest.raises(VerificationFailed, match=said):
        check(there, log)
    oldest = [each for each in server.versions() if each["Key"] == key][-1]["VersionId"]
    assert server.client.get_object(Bucket="locked", Key=key, VersionId=oldest)["Body"].read() == held


def test_command_verifies_a_store_and_goes_on(tmp_path, server, log, monkeypatch):
    """From anywhere: with an address, the environment's credentials, and the key."""
    target, there = below(server.target(), tmp_path)
    archive = archiving(tmp_path, log, target)
    for name, value in {
        "AWS_SHARED_CREDENTIALS_FILE": there.credentials,
        "AWS_ENDPOINT_URL_S3": there.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    command = [there.address, "--key", log.key.text(), "--resume", str(tmp_path / "walk"), "--json"]
    for end in (500, PACK_LEAVES + 10):
        log.commit(ENTRIES[log.size : end], {})
        assert archive.round() == ""
        said = CliRunner().invoke(APP, command)
        assert (said.exit_code, json.loads(said.stdout)["entries"]) == (0, end)
    missing = CliRunner().invoke(APP, ["s3://locked/nothing", "--key", log.key.text()])
    assert (missing.exit_code, "has no checkpoint" in missing.output) == (1, True)


@pytest.mark.parametrize(
    ("fault", "code"), [(truncated, "unavailable"), (other_checksum, "conflict"), (cut_off, "unavailable")]
)
def test_verifier_takes_nothing_that_came_broken_and_goes_on(tmp_path, server, log, fault, code):
    target, _ = below(server.target(), tmp_path)
    log.commit(ENTRIES[: PACK_LEAVES + 300], {})
    assert archiving(tmp_path, log, target).round() == ""
    kept = tmp_path / "walk"
    with FaultyStore(server) as store:
        passed = iter(range(1_000_000))
        store.fault = lambda request, ask: ask() if next(passed) < 12 else fault(request, ask)
        _, reached = below(server.target(port=store.port), tmp_path)
        with pytest.raises(GatewayError) as refused:
            check(reached, log, resume=kept)
        assert refused.value.code in {code, "verification-failed"}
        store.fault = None
        assert check(reached, log, resume=kept).entries == PACK_LEAVES + 300


def test_store_that_holds_too_much_is_not_read_into_memory(tmp_path, server, log):
    _, there = below(server.target(), tmp_path)
    server.client.put_object(Bucket="locked", Key=f"{there.prefix}checkpoint", Body=b"a" * 1_000_001)
    with pytest.raises(GatewayError, match="larger than 1000000 bytes"):
        check(there, log)


def test_gateway_at_work_brings_its_log_and_tells_how_it_stands(tmp_path, server):
    """Its ledger process is killed between: the next one goes on, and `gateway status` tells what the store answers."""
    with FaultyStore(server) as store:
        settings = {
            "GATEWAY_ARCHIVE__URL": f"s3://locked/{tmp_path.name}",
            "GATEWAY_ARCHIVE__ENDPOINT": f"http://127.0.0.1:{store.port}",
            "GATEWAY_ARCHIVE__REGION": "us-east-1",
            "GATEWAY_ARCHIVE__PATH_STYLE": "true",
            "GATEWAY_ARCHIVE__CREDENTIALS": str(server.credentials),
            "GATEWAY_ARCHIVE__INTERVAL_SECONDS": "1",
        }
        with running_gateway(tmp_path / "home", **settings) as gateway:

            def part(state):
                found = examine(gateway.home)
                return [row for row in found["parts"] if row[0] == "archive" and row[1] == state]

            assert wait_for(lambda: part("up"), 120)
            store.fault = lambda *_: refusal(403, b"AccessDenied")
            with gateway.client() as client:
                assert client.get("/police/residents/350000199001011234").status_code < 600
            assert wait_for(lambda: part("waits"), 120)
            assert wait_for(lambda: "gateway_archive_faults 1" in gateway.metrics(), 60), gateway.metrics()
            before = gateway.pid("ledger")
            os.kill(before, signal.SIGKILL)
            store.fault = None
            assert wait_for(lambda: part("up"), 120)
            key = parse_verifier_key(str(gateway.made["verifier_key"]))
        there = msgspec.structs.replace(server.target(), prefix=f"{tmp_path.name}/{key.name}/")
        assert verify_source(StoredLog(there), key).entries > 0
