"""A real worker in small: it streams to whoever connects for as long as its lease and its grants allow.

    python sender_process.py HUB_SOCKET NAME [PULSE_DESCRIPTOR]

A client sends the name of a grant and a newline; bytes flow until the grant is withdrawn or the lease has run out,
then the connection is reset and what was unsent is dropped. Prints its port on the first line.
"""

import asyncio
import socket
import struct
import sys
from pathlib import Path

from gateway.control.barrier.pulse import Pulse
from gateway.domain.changes import Change
from gateway.runtime.worker.link import Link

CHUNK = b"x" * 16384


class Sender:
    def __init__(self) -> None:
        self.streams: dict[asyncio.Task[None], tuple[str, asyncio.StreamWriter]] = {}
        self.withdrawn: set[str] = set()
        self.link: Link

    def on_change(self, change: Change) -> None:
        if change.withdraws:
            self.withdrawn.add(change.grant or "")
            self.cut(lambda grant: change.grant is None or grant == change.grant)

    def cut(self, matches) -> None:
        for task, (grant, writer) in list(self.streams.items()):
            if matches(grant):
                del self.streams[task]
                writer.transport.abort()
                task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        grant = (await reader.readline()).decode().strip()
        task = asyncio.current_task()
        self.streams[task] = (grant, writer)
        try:
            while self.link.is_fresh() and grant not in self.withdrawn:
                writer.write(CHUNK)
                await writer.drain()
                await asyncio.sleep(0.002)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.streams.pop(task, None)
            writer.transport.abort()


async def main(hub: str, name: str, page: str = "") -> None:
    sender = Sender()
    sender.link = Link(
        Path(hub),
        name,
        sender.on_change,
        on_reset=lambda _place: sender.cut(lambda grant: True),
        on_stale=lambda: sender.cut(lambda grant: True),
        counters=lambda: b"counted by " + name.encode(),
        pulse=Pulse(int(page)) if page else None,
    )
    running = asyncio.ensure_future(sender.link.run())
    await sender.link.wait_fresh()
    server = await asyncio.start_server(sender.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await running


asyncio.run(main(*sys.argv[1:]))
