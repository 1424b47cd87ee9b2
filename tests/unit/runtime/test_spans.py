"""What a worker notes of its sampled calls: bounded, sent as datagrams, and dropped where nobody takes it."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.domain.callers import Assurance, Caller
from gateway.domain.directory import SharingMode
from gateway.domain.uses import Outcome, Use
from gateway.domain.verdicts import Call, Decision, Verdict
from gateway.runtime.telemetry.spans import CHUNK, MAX_WAITING, SpanSender, TracedCall

CALLER = Caller("hall", "civil-affairs", Assurance.DPOP, "t1", 2_000_000_000)
CALL = Call("hall", "civil-affairs", Assurance.DPOP, "police/register", "d1", SharingMode.QUERY, "marriage", None)
PERMIT = Verdict(Decision.PERMIT, "", (), "", 2_000_000_000, grant="G-1")
OUTCOME = Outcome(200, (), 1, 90, "", 1500, "complete")
NOW_NS = 10_000_000_000


def use(flags: str) -> Use:
    return Use(CALLER, CALL, PERMIT, "police", "why", "who", "a" * 32, "", None, 7, "b" * 16, "c" * 16, flags)


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[SpanSender]:
    with contextlib.closing(SpanSender(tmp_path / "s", lambda: NOW_NS)) as made:
        yield made


def receiver(path: Path) -> socket.socket:
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    taken.setblocking(False)
    taken.bind(str(path))
    return taken


@pytest.mark.parametrize(("flags", "is_sent"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_sampled_flag_decides(sender: SpanSender, tmp_path: Path, flags: str, is_sent: bool) -> None:
    """The lowest bit, whatever other bits a later version of the standard sets."""
    with receiver(tmp_path / "s") as taken:
        sender.used("r1", use(flags), OUTCOME, 11, 12, 13, 14)
        sender.denied("r2", use(flags))
        sender.send()
        if not is_sent:
            with pytest.raises(BlockingIOError):
                taken.recv(1 << 20)
            return
        used, denied = msgspec.msgpack.decode(taken.recv(1 << 20), type=list[TracedCall])
    assert (used.parent_id, used.span_id, used.flags) == ("c" * 16, "b" * 16, flags)
    moments = (used.started_ns, used.opened_ns, used.durable_ns, used.answered_ns, used.ended_ns)
    assert moments == (7, 11, 12, 13, 14)
    assert (denied.purpose, denied.opened_ns, denied.ended_ns) == ("", 0, NOW_NS)
    assert "why" not in str(used)
    assert "who" not in str(used)


def test_what_nobody_takes_is_dropped_and_counted(sender: SpanSender, tmp_path: Path) -> None:
    """No exporter, or one whose socket is full: the worker goes on and says how many it lost."""
    sender.used("r", use("01"), OUTCOME, 1, 2, 3, 4)
    sender.send()
    assert sender.dropped == 1
    with receiver(tmp_path / "s"):
        sent = 0
        while sender.dropped == 1:
            for _ in range(CHUNK):
                sender.used("r", use("01"), OUTCOME, 1, 2, 3, 4)
            sender.send()
            sent += 1
            assert sent < 10_000, "the socket never fills"
    assert sender.dropped == 1 + CHUNK


def test_worker_notes_no_more_than_it_can_send(sender: SpanSender) -> None:
    """Whoever marks every call as sampled fills no memory."""
    for _ in range(MAX_WAITING + 5):
        sender.denied("r", use("01"))
    assert sender.dropped == 5
