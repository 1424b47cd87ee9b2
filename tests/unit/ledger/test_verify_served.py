"""A log at an address is verified whole: whoever serves it can neither forge, nor stall, nor fill the memory."""

import gzip
import json

import httpx
import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.verify import verify
from gateway.domain.errors import GatewayError
from gateway.domain.uses import RecordKind
from gateway.ledger.journal.entries import act_entry
from gateway.ledger.log.bundles import encode_bundle
from gateway.ledger.log.notes import ED25519, VerifierKey
from gateway.ledger.log.tiles import bundle_path
from gateway.ledger.log.tree import leaf_hash
from gateway.ledger.verify import over_http, walk
from gateway.ledger.verify.over_http import MAX_BUNDLE_BYTES, HttpLog
from gateway.ledger.verify.report import VerificationFailed
from gateway.ledger.verify.walk import verify_source
from gateway.runtime.operation.session.remote import Bearer
from tests.support.ledger import NOON_NS, TestSigner
from tests.support.served_log import LogServer, answer, cut, plain_tiles

ORIGIN = "elsewhere.example/log"
OURS, ANOTHER = TestSigner(), TestSigner(b"\x07" * 32)
KEY = VerifierKey(ORIGIN, ED25519, OURS.public_bytes)
ENTRIES = [b"entry %d \x00\xff" % n for n in range(1100)]
APP = typer.Typer()
APP.command()(verify)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(over_http, "PAUSES_SECONDS", (0.0, 0.0))


def log_of(size, signer=OURS, entries=ENTRIES, **others):
    return plain_tiles(entries[:size], ORIGIN, signer, **others)


def check(server, **options):
    source = HttpLog(server.url)
    try:
        return verify_source(source, KEY, **options)
    finally:
        source.close()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1100])
def test_log_of_another_program_verifies_from_the_first_leaf(size):
    """An entry may be any bytes, or none."""
    with LogServer(log_of(size, entries=[b"", *ENTRIES])) as server:
        checked = check(server)
    assert (checked.what, checked.origin, checked.size, checked.entries) == ("log", ORIGIN, size, size)


def test_each_turned_bit_and_each_missing_file_is_found():
    with LogServer(log_of(600)) as server:
        for path in [path for path in server.files if path != "checkpoint"]:
            whole = server.files.pop(path)
            with pytest.raises(VerificationFailed):
                check(server)
            at = len(path) * 101 % len(whole)
            server.files[path] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
            with pytest.raises(VerificationFailed):
                check(server)
            server.files[path] = whole
        assert check(server).entries == 600


def emptied():
    """An entry went from its bundle, and its hash stands."""
    files = log_of(600)
    files[bundle_path(0)] = encode_bundle([b"", *ENTRIES[1:256]])
    return files


def rewritten_with_its_tiles():
    """Entry, bundle and every tile fit; the root that was signed is another."""
    return {**log_of(600, entries=[b"forged", *ENTRIES[1:]]), "checkpoint": log_of(600)["checkpoint"]}


def rewritten_below_its_tiles():
    files = log_of(600, entries=[b"forged", *ENTRIES[1:]], leaves=[leaf_hash(each) for each in ENTRIES[:600]])
    return {**log_of(600), bundle_path(0): files[bundle_path(0)]}


def tile_above_of_another_log():
    other = log_of(600, entries=[b"forged", *ENTRIES[1:]])
    return {**log_of(600), "tile/1/000.p/2": other["tile/1/000.p/2"]}


def dropped_by_its_own_word():
    """Entries went, and the log says that this is so; nothing signed does."""
    files = {**log_of(600), "minimum-index": b"512\n"}
    del files[bundle_path(0)], files[bundle_path(1)]
    return files


FORGED = [
    (emptied, "leaf 0: the entry is not what was logged"),
    (rewritten_with_its_tiles, "do not hash to the signed root"),
    (rewritten_below_its_tiles, "leaf 0: the entry is not what was logged"),
    (tile_above_of_another_log, "tile 0 at level 1: it is not what the tiles below it hash to"),
    (lambda: log_of(600, ANOTHER), "no signature of a known key"),
    (lambda: {**log_of(600), "checkpoint": b"hello\n"}, "not a signed note"),
    (dropped_by_its_own_word, "leaves below 512: entries are missing, and no prune record"),
    (lambda: {**log_of(600), "minimum-index": b"512\n"}, "leaves below 512: entries are missing"),
    (lambda: {**log_of(600), "minimum-index": b"-1\n"}, "does not hold the number of a leaf"),
]


@pytest.mark.parametrize(("forge", "said"), FORGED)
def test_forged_log_is_found(forge, said):
    with LogServer(forge()) as server, pytest.raises(GatewayError, match=said):
        check(server)


ENDLESS = b"\x00" * (MAX_BUNDLE_BYTES + 1)
BAD = [
    ("tile/0/000", answer(200, b"\x00" * 8191), "tile 0 at level 0"),
    ("tile/0/000", answer(200, b"\x00" * 8193), "larger than 8192 bytes"),
    ("tile/entries/000", answer(200, ENDLESS), f"larger than {MAX_BUNDLE_BYTES} bytes"),
    ("checkpoint", answer(200, b"a" * 1_000_001), "larger than 1000000 bytes"),
    ("minimum-index", answer(200, b"1" * 33), "larger than 32 bytes"),
    ("tile/entries/000", answer(200, gzip.compress(ENDLESS), Content_Encoding="gzip"), "answered compressed"),
    ("tile/0/000", answer(302, Location="http://127.0.0.1:1/elsewhere"), "leads elsewhere"),
    ("tile/0/000", answer(301), "leads elsewhere|answered 301"),
    ("tile/entries/000", answer(401), "auditor's right"),
    ("tile/entries/000", answer(403), "not for the one"),
    ("tile/entries/000", answer(418), "answered 418"),
    ("tile/entries/000", answer(200, encode_bundle(ENTRIES[:255])), "holds 255 entries, not 256"),
    ("tile/entries/000", answer(200, b"\x00\x05ab"), "cut short"),
]


@pytest.mark.parametrize(("path", "given", "said"), BAD)
def test_answer_that_no_such_file_can_be_ends_the_reading(path, given, said):
    """Each is bounded, and none is taken for a part of the log; nothing else is asked because of it."""
    with LogServer(log_of(600)) as server:
        server.answers[path] = [given]
        with pytest.raises(GatewayError, match=said):
            check(server)
        assert not server.answers[path]


PASSING = [answer(503), answer(429, Retry_After="0"), answer(500), cut, answer(200, b"\x00", Content_Length="8192")]


@pytest.mark.parametrize("given", PASSING)
def test_what_may_pass_is_tried_again_and_then_told(given):
    """Twice here; of a server that stays so, the file is named, and whatever was read before is kept."""
    path = "tile/0/001"
    with LogServer(log_of(600)) as server:
        server.answers[path] = [given, given]
        assert check(server).entries == 600
        server.answers[path] = [given, given, given]
        with pytest.raises(GatewayError, match=f"{path}` could not be read") as refused:
            check(server)
        assert refused.value.code == "unavailable"


def test_interrupted_walk_goes_on_and_asks_for_nothing_twice(tmp_path, monkeypatch):
    kept = tmp_path / "walk"
    monkeypatch.setattr(walk, "KEEP_SECONDS", 0.0)
    with LogServer(log_of(1100)) as server:
        server.answers["tile/entries/003"] = [answer(503)] * 3
        with pytest.raises(GatewayError, match="could not be read"):
            check(server, resume=kept)
        server.asked.clear()
        checked = check(server, resume=kept)
        assert (checked.size, checked.entries) == (1100, 1100)
        assert "tile/entries/002" not in server.asked
        assert "leaves 0 to 767 were verified before" in " ".join(checked.checked)


def test_walk_goes_on_with_the_log_as_it_grows(tmp_path):
    kept = tmp_path / "walk"
    with LogServer(log_of(600)) as server:
        for size in (600, 600, 700, 1100):
            server.files = log_of(size)
            assert check(server, resume=kept).entries == size
    assert "tile/entries/000" not in server.asked[-4:]


@pytest.mark.parametrize("size", [600, 599, 700, 1100])
def test_log_that_shrinks_or_forks_is_caught_by_what_was_seen(tmp_path, size):
    """By the note that is kept, though each history verifies alone; and the note stays what it was."""
    kept = tmp_path / "walk"
    with LogServer(log_of(600)) as server:
        check(server, resume=kept)
        note = walk.read_walked(kept).note
        server.files = log_of(size, entries=[*ENTRIES[:520], b"another", *ENTRIES[521:]])
        assert check(server).entries == size
        for _ in range(2):
            with pytest.raises(VerificationFailed, match="does not continue what its key signed before, at 600 leaves"):
                check(server, resume=kept)
        assert walk.read_walked(kept).note == note


def test_fork_behind_an_interruption_is_caught_too(tmp_path):
    """The checkpoint seen first counts, though nothing of it was verified yet."""
    kept = tmp_path / "walk"
    with LogServer(log_of(1100)) as server:
        server.answers["tile/0/000"] = [answer(503)] * 3
        with pytest.raises(GatewayError):
            check(server, resume=kept)
        server.files = log_of(1100, entries=[b"another", *ENTRIES[1:]])
        with pytest.raises(VerificationFailed, match="does not continue"):
            check(server, resume=kept)


@pytest.mark.parametrize("spoil", [lambda it: it[:-1], lambda it: it.replace(b":512", b":513"), lambda _it: b""])
def test_file_that_is_not_a_walk_of_this_log_is_refused(tmp_path, spoil):
    kept = tmp_path / "walk"
    with LogServer(log_of(600)) as server:
        check(server, resume=kept)
        with pytest.raises(GatewayError, match="other parts"):
            check(server, resume=kept, trees_only=True)
        with pytest.raises(GatewayError, match="or another key"):
            verify_source(HttpLog(server.url), VerifierKey("b", ED25519, OURS.public_bytes), resume=kept)
        kept.write_bytes(spoil(kept.read_bytes()))
        with pytest.raises(GatewayError, match="not what an earlier verification kept"):
            check(server, resume=kept)


def prune_record(**said):
    return act_entry(RecordKind.PRUNE, "r-1", {"first": 0, "end": 512, **said}, "0" * 32, NOON_NS, years=3)


def pruned(*records):
    files = {**log_of(600 + len(records), entries=[*ENTRIES[:600], *records]), "minimum-index": b"512\n"}
    del files[bundle_path(0)], files[bundle_path(1)]
    return files


def test_pruned_log_verifies_by_the_record_in_it():
    with LogServer(pruned(prune_record(step="begun"))) as server:
        checked = check(server)
        assert checked.entries == 89
        assert "below leaf 512 entries were pruned, as a record in the log says" in " ".join(checked.checked)
        server.files = pruned(prune_record(step="begun"), prune_record(step="failed", intent="r-1"))
        with pytest.raises(VerificationFailed, match="no prune record"):
            check(server)


def test_log_of_another_program_may_be_pruned_by_its_own_word_if_one_says_so():
    with LogServer(dropped_by_its_own_word()) as server:
        checked = check(server, accept_pruned=True)
        assert (checked.entries, checked.size) == (88, 600)
        assert "own word alone" in " ".join(checked.checked)
        server.files["minimum-index"] = b"256\n"
        with pytest.raises(VerificationFailed, match="leaves 256 to 511: the bundle is missing"):
            check(server, accept_pruned=True)


def test_log_that_is_pruned_meanwhile_verifies():
    """What was there when it was asked about, and not when it was asked for, is on record in a later checkpoint."""
    later = {**log_of(600), **pruned(prune_record(step="begun"))}
    del later[bundle_path(0)], later[bundle_path(1)]
    with LogServer(log_of(600)) as server:

        def prune(request):
            server.files = later
            answer(404)(request)

        server.answers["tile/entries/001"] = [prune]
        checked = check(server)
        assert checked.size == 601


def test_what_was_missing_stays_so_when_the_walk_goes_on(tmp_path):
    """A log that says less of what it pruned, later, does not get away with it."""
    kept = tmp_path / "walk"
    with LogServer(dropped_by_its_own_word()) as server:
        check(server, resume=kept, accept_pruned=True)
        server.files = log_of(600)
        with pytest.raises(VerificationFailed, match="leaves below 512: entries are missing"):
            check(server, resume=kept)


def test_tree_alone_is_checked_without_a_right_to_entries():
    with LogServer(log_of(600)) as server:
        checked = check(server, trees_only=True)
        assert (checked.size, checked.entries) == (600, 0)
        assert "what the entries say: they were not asked for" in checked.not_checked
        assert not [path for path in server.asked if "entries" in path]
        server.files["tile/0/001"] = server.files["tile/0/000"]
        with pytest.raises(VerificationFailed, match="tile 0 at level 1"):
            check(server, trees_only=True)


def test_token_goes_with_requests_for_entries_and_no_other():
    with LogServer(log_of(600)) as server:
        source = HttpLog(server.url, auth=Bearer("secret"))
        verify_source(source, KEY)
        source.close()
        assert sorted(server.shown) == sorted(path for path in server.asked if "entries" in path)
        assert len(server.shown) == 3


def test_whole_is_bounded_in_time_though_each_octet_comes_soon(monkeypatch):
    """A server that sends on and on, never silent, is left after what one file may take."""
    now = iter(range(0, 1_000_000, 50))

    class Clock:
        monotonic = staticmethod(lambda: next(now))

    monkeypatch.setattr(over_http, "time", Clock)
    drip = httpx.MockTransport(lambda _request: httpx.Response(200, stream=Drip()))
    with pytest.raises(GatewayError, match=r"could not be read \(ReadTimeout\)"):
        HttpLog("http://127.0.0.1:1/log", transport=drip).checkpoint()


class Drip(httpx.SyncByteStream):
    def __iter__(self):
        while True:
            yield b"a"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/log", "http://", "file:///etc/passwd", "https://["])
def test_address_that_is_none_is_refused(url):
    with pytest.raises(GatewayError, match="no address"):
        HttpLog(url)


def test_command_verifies_an_address_and_keeps_how_far(tmp_path):
    """Options that are of an address alone say so where a folder is given."""
    with LogServer(log_of(600)) as server:
        said = CliRunner().invoke(APP, [server.url, "--key", KEY.text(), "--resume", str(tmp_path / "walk"), "--json"])
        assert said.exit_code == 0, said.output
        assert json.loads(said.stdout)["entries"] == 600
        assert walk.read_walked(tmp_path / "walk").size == 512
        again = CliRunner().invoke(APP, [f"{server.url}/", "--key", KEY.text(), "--tree-only"])
        assert "log verified" in again.output
        assert CliRunner().invoke(APP, [server.url, "--key", KEY.text(), "--record", "a-1"]).exit_code == 1
    for option in (["--resume", str(tmp_path / "walk")], ["--tree-only"], ["--accept-pruned"]):
        refused = CliRunner().invoke(APP, [str(tmp_path), "--key", KEY.text(), *option])
        assert (refused.exit_code, "go with a log at an address" in refused.output) == (1, True)
