"""Up to which change a home knows its state in PostgreSQL to have been committed."""

from pathlib import Path

import pytest

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.errors import GatewayError
from gateway.runtime.home import GatewayHome
from gateway.runtime.start.incarnation import POSITION, Position


def change(sequence: int) -> Change:
    return Change(sequence, ChangeKind.GRANT, "g1")


def test_what_was_noted_never_goes_back_but_by_a_comparison(tmp_path: Path) -> None:
    """Out of order, twice and nothing at all; another process reads the same."""
    home = GatewayHome(tmp_path)
    position = Position(home)
    assert position.known() == 0
    for noted in ([], [change(3), change(4)], [change(4)], [change(2)]):
        position.note(noted)
    assert Position(home).known() == 4
    position.begin(1)
    assert Position(home).known() == 1
    position.note([change(2)])
    assert Position(home).known() == 2


@pytest.mark.parametrize("held", [b"", b"-1", b"1.0", b"4\n4", b"\xff\xfe", b"x" * 100_000])
def test_damaged_position_is_no_beginning(tmp_path: Path, held: bytes) -> None:
    """Read as 0 it would let a state of the night pass for the newest one."""
    (tmp_path / POSITION).write_bytes(held)
    with pytest.raises(GatewayError, match="damaged"):
        Position(GatewayHome(tmp_path)).known()
