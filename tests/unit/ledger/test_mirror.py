"""A mirror may be the last copy of a log: it goes on only with a log that it is the beginning of."""

import shutil
from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.ledger.log.checkpoints import Checkpoint
from gateway.ledger.log.tiled_log import TiledLog
from gateway.ledger.verify.log import verify_log
from gateway.ledger.witness.adopting import adopt_log
from gateway.ledger.witness.mirror import check_mirror, checkpoint_of, mirror_log
from tests.support.ledger import ORIGIN, TestSigner

SIGNER = TestSigner()


def log_of(folder: Path, entries: list[bytes], origin: str = ORIGIN) -> Path:
    """A log with these entries, each a commit of its own; its `tree/`."""
    log = TiledLog(folder, origin, SIGNER)
    for entry in entries:
        log.commit([entry], {})
    log.close()
    return folder / "tree"


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ENTRIES = [b'{"n":%d}' % n for n in range(8)]


def shorter(folder: Path) -> Path:
    return log_of(folder, ENTRIES[:5])


def forked(folder: Path) -> Path:
    return log_of(folder, [*ENTRIES[:7], b'{"n":"other"}', b'{"n":9}'])


def of_another_name(folder: Path) -> Path:
    return log_of(folder, [*ENTRIES, b'{"n":9}'], "another.example/log")


def empty(folder: Path) -> Path:
    return log_of(folder, [])


def nothing(folder: Path) -> Path:
    (folder / "tree").mkdir(parents=True)
    return folder / "tree"


def pruned_without_record(folder: Path) -> Path:
    tree = log_of(folder, [*ENTRIES, b'{"n":9}'])
    (tree / "minimum-index").write_text("8\n")
    return tree


def damaged_where_the_mirror_is_whole(folder: Path) -> Path:
    tree = log_of(folder, ENTRIES)
    (bundle,) = (tree / "tile" / "entries" / "000.p").glob("8.sgb")
    bundle.write_bytes(bundle.read_bytes()[:-3])
    return tree


@pytest.mark.parametrize(
    "make",
    [shorter, forked, of_another_name, empty, nothing, pruned_without_record, damaged_where_the_mirror_is_whole],
)
def test_mirror_is_not_touched_by_a_log_it_is_not_the_beginning_of(tmp_path, make):
    """Each such log is a conflict, and every byte of the mirror stays: it may be the last copy."""
    mirror_log(log_of(tmp_path / "log", ENTRIES), tmp_path / "mirror")
    before = content_of(tmp_path / "mirror")
    tree = make(tmp_path / "other")
    for ask in (check_mirror, mirror_log):
        with pytest.raises(GatewayError) as refused:
            ask(tree, tmp_path / "mirror")
        assert refused.value.code == "conflict"
        assert content_of(tmp_path / "mirror") == before


def test_mirror_goes_on_with_its_log_and_mends_what_is_damaged_in_it(tmp_path):
    """What a wider tile holds goes, a torn file of the mirror is replaced by the log's whole one, strangers stay."""
    tree = log_of(tmp_path / "ledger", ENTRIES)
    mirror_log(tree, tmp_path / "mirror")
    (bundle,) = (tmp_path / "mirror" / "tile" / "entries" / "000.p").glob("8.sgb")
    bundle.write_bytes(bundle.read_bytes()[:-3])
    (tmp_path / "mirror" / "notes.txt").write_text("by a person")
    (tmp_path / "mirror" / "tile" / ".killed.tmp").write_text("half")
    mirror_log(tree, tmp_path / "mirror")
    log = TiledLog(tmp_path / "ledger", ORIGIN, SIGNER)
    log.commit([b'{"n":%d}' % n for n in range(300)], {})
    log.close()
    mirror_log(tree, tmp_path / "mirror")
    assert verify_log(tmp_path / "mirror", log.key.text()).size == 308
    standing = content_of(tmp_path / "mirror")
    assert not any("000.p/8" in name or name.endswith(".tmp") for name in standing)
    assert "notes.txt" in standing


def test_mirror_in_the_place_of_the_log_is_recognised_and_goes_on_under_another_name(tmp_path):
    """NEVER-FORKED: refused with the ways out, also without its mark; adopted, its entries stand in the new log."""
    mirror_log(log_of(tmp_path / "log", ENTRIES), tmp_path / "new" / "tree")
    with pytest.raises(GatewayError, match=r"is a mirror .*--ledger.*--new-origin"):
        TiledLog(tmp_path / "new", ORIGIN, SIGNER)
    shutil.copytree(tmp_path / "new", tmp_path / "bare")
    (tmp_path / "bare" / "tree" / "MIRROR").unlink()
    with pytest.raises(GatewayError, match=r"signer\.db.*is not there.*--ledger"):
        TiledLog(tmp_path / "bare", ORIGIN, SIGNER)
    with pytest.raises(GatewayError, match="old origin"):
        adopt_log(tmp_path / "new", ORIGIN, SIGNER)
    other = TestSigner(bytes([1]) * 32)
    adopt_log(tmp_path / "new", "restored.example/log", other)
    log = TiledLog(tmp_path / "new", "restored.example/log", other)
    log.commit([b'{"n":9}'], {})
    log.close()
    assert verify_log(tmp_path / "new", log.key.text()).size == 9
    assert checkpoint_of(tmp_path / "log" / "tree").root == log.files.edge(8).root()


def test_log_that_is_less_than_the_state_knows_is_refused(tmp_path):
    """NEVER-FORKED: less, nothing at all, or another tree of the same name: each is told with the ways out."""
    log_of(tmp_path / "log", ENTRIES)
    known = checkpoint_of(tmp_path / "log" / "tree")
    assert known is not None
    TiledLog(tmp_path / "log", ORIGIN, SIGNER, known).close()
    log_of(tmp_path / "less", ENTRIES[:3])
    log_of(tmp_path / "other", [*ENTRIES[:7], b'{"n":"other"}'])
    for folder in ("less", "other", "none"):
        with pytest.raises(GatewayError, match="--new-origin"):
            TiledLog(tmp_path / folder, ORIGIN, SIGNER, known)
    assert not (tmp_path / "none" / "signer.db").exists()
    TiledLog(tmp_path / "none", ORIGIN, SIGNER, Checkpoint(ORIGIN, 0, known.root)).close()


def test_log_whose_key_was_replaced_is_signed_anew_at_its_next_start(tmp_path):
    """A stolen key vouches for nothing more: the same size and root, under the new key, before any new entry."""
    tree = log_of(tmp_path / "log", ENTRIES)
    before = checkpoint_of(tree)
    TiledLog(tmp_path / "log", ORIGIN, TestSigner(bytes([1]) * 32)).close()
    key = TiledLog(tmp_path / "log", ORIGIN, TestSigner(bytes([1]) * 32))
    key.close()
    assert checkpoint_of(tree) == before
    assert verify_log(tmp_path / "log", key.key.text()).size == 8
