"""A worker's link alone, with a hub that is a script: what does not follow the rules leaves nothing held."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.control.barrier.pulse import Pulse, make_page
from gateway.control.barrier.wire import Applied, Ask, Changes, Down, Frames, Hello, Lease, Reset, Up, frame
from gateway.domain.changes import Change, ChangeKind
from gateway.runtime.worker.link import TURNS, Link

LONG_MILLISECONDS = 60_000
_decoder = msgspec.msgpack.Decoder(Up)


class Hub:
    """Answers a worker with a reset to change 7, its first question with a lease and the next with `then`, once.

    Args:
        milliseconds: of each lease.
        is_leasing: whether more than one question is answered with a lease; until it is said no more.
    """

    def __init__(
        self, then: Callable[[Ask], Down], milliseconds: int = LONG_MILLISECONDS, *, is_leasing: bool = False
    ) -> None:
        self._then: Callable[[Ask], Down] | None = then
        self._milliseconds = milliseconds
        self._has_leased = False
        self.is_leasing = is_leasing
        self.heard: list[Up] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        while data := await reader.read(1 << 16):
            for body in frames.feed(data):
                said = _decoder.decode(body)
                self.heard.append(said)
                if isinstance(said, Hello):
                    writer.write(frame(Reset(7, "h")))
                elif not isinstance(said, Ask) or said.applied != 7:
                    continue
                elif self.is_leasing or not self._has_leased:
                    writer.write(frame(Lease(said.number, self._milliseconds, 7)))
                    self._has_leased = True
                elif self._then is not None:
                    writer.write(frame(self._then(said)))
                    self._then = None
        writer.close()


def change(sequence: int) -> Change:
    return Change(sequence, ChangeKind.GRANT, "g1", withdraws=True)


@pytest.mark.parametrize(
    ("then", "taken"),
    [
        (lambda _asked: Changes(8, (change(9),)), []),
        (lambda _asked: Changes(7, (change(8),)), [8]),
        (lambda asked: Lease(asked.number, LONG_MILLISECONDS, 9), []),
    ],
    ids=["changes with a gap", "a change that cannot be applied", "a lease of changes that were not sent"],
)
def test_what_a_link_cannot_follow_leaves_nothing_held(
    tmp_path: Path, then: Callable[[Ask], Down], taken: list[int]
) -> None:
    """STALE-DENIES, BARRIER: everything goes and the lease with it, nothing is acknowledged, and it begins anew."""
    resets: list[int] = []
    fresh_at_reset: list[bool] = []

    tried: list[int] = []

    def take(change: Change) -> None:
        tried.append(change.sequence)
        if change.sequence == 8:
            raise RuntimeError

    async def told() -> None:
        begun_anew = asyncio.Event()
        hub = Hub(then)
        server = await asyncio.start_unix_server(hub.serve, tmp_path / "s")

        def on_reset(sequence: int) -> None:
            resets.append(sequence)
            fresh_at_reset.append(link.is_fresh())
            if len(resets) == 3:
                begun_anew.set()

        link = Link(tmp_path / "s", "w", take, on_reset=on_reset)
        running = asyncio.create_task(link.run())
        async with asyncio.timeout(20):
            await link.wait_fresh()
            await begun_anew.wait()
        hellos = [each for each in hub.heard if isinstance(each, Hello)]
        assert [each.after for each in hellos] == [None, None]
        assert {each.sequence for each in hub.heard if isinstance(each, Applied)} == {7}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()

    asyncio.run(told())
    # Reset by the hub, by the failure, and by the hub again; the lease is gone before anything is dropped.
    assert resets == [7, 0, 7]
    assert tried == taken
    assert fresh_at_reset == [False, False, False]


def test_a_lease_that_runs_out_cuts(tmp_path: Path) -> None:
    """STALE-DENIES: a hub that answers no more is noticed without anybody asking."""

    async def told() -> None:
        stale = asyncio.Event()
        hub = Hub(lambda asked: Lease(asked.number, 0, 7), milliseconds=200)
        server = await asyncio.start_unix_server(hub.serve, tmp_path / "s")
        link = Link(tmp_path / "s", "w", lambda _change: None, on_reset=lambda _sequence: None, on_stale=stale.set)
        running = asyncio.create_task(link.run())
        async with asyncio.timeout(20):
            await stale.wait()
        assert not link.is_fresh()
        # Who waits for a lease waits for the next one, and leaves the loop to others meanwhile.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await link.wait_fresh()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()

    asyncio.run(told())


class Timer:
    """What the kernel was told of when to end the process."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def at(self, _moment: float) -> None:
        self.told.append("at")

    def never(self) -> None:
        self.told.append("never")


@pytest.mark.parametrize("is_seen", [True, False], ids=["with pulse and timer", "with neither"])
def test_a_worker_that_has_cut_says_so_and_is_not_ended(tmp_path: Path, is_seen: bool) -> None:
    """BARRIER: others see the lease before anything is released under it, and that it is dry once it has cut."""
    pulse, timer = Pulse(make_page("w")), Timer()
    failed: list[dict[str, object]] = []

    async def told() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        stale = asyncio.Event()
        hub = Hub(lambda asked: Lease(asked.number, 0, 7), milliseconds=1000, is_leasing=True)
        server = await asyncio.start_unix_server(hub.serve, tmp_path / "s")
        seen = {"pulse": pulse, "kernel_end": timer} if is_seen else {}
        link = Link(tmp_path / "s", "w", lambda _: None, on_reset=lambda _: None, on_stale=stale.set, **seen)
        running = asyncio.create_task(link.run())
        async with asyncio.timeout(20):
            await link.wait_fresh()
            assert not is_seen or pulse.read().leased_until > 0
            hub.is_leasing = False
            stale.clear()
            await stale.wait()
            for _ in range(2 * TURNS):
                await asyncio.sleep(0)
        assert link.sequence == 7
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()

    asyncio.run(told())
    assert failed == []
    # A machine that stands still for a second loses a lease before its time, and takes another.
    assert [timer.told[0], timer.told[-1]] == ["at", "never"] if is_seen else not timer.told
    assert (pulse.read().leased_until > 0) is pulse.read().is_dry is is_seen
    pulse.close()
