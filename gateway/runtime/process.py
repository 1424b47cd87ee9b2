"""What a child does first and last: says it is ready or why not, and ends when told to or when left alone.

Started by the supervisor as `python -m gateway.runtime.process ROLE …`. Standard output bears one JSON line,
`{"ready": true, …}` or `{"failed": "one sentence", "code": "unavailable", "faults": […]}`; logs go to standard error.
Standard input is a pipe that the supervisor holds: its end means the supervisor is gone, and the child ends too, where
the kernel has not ended it already (`parentage`).
"""

import argparse
import asyncio
import gc
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import uvloop

from gateway.control.barrier.pulse import Pulse
from gateway.control.barrier.roll import RollReader
from gateway.domain.errors import GatewayError
from gateway.runtime.home import GatewayHome
from gateway.runtime.memory import give_memory_back
from gateway.runtime.settings import Settings
from gateway.runtime.start.modes import keep_private
from gateway.runtime.supervision.parentage import end_with_parent
from gateway.runtime.telemetry.logs import configure_logs

log = logging.getLogger("gateway.process")

SWITCH_SECONDS = 0.00005
"""How long a thread that decides or reads may keep the interpreter from the loop (Python's default is 5 ms): with the
longest call of Cedar, 0.2 to 0.3 ms, that is what a slice being built holds up other calls. It must be shorter than
most of Cedar's calls, for each lets go of the interpreter for an instant: who waits is woken, comes too late, and only
who has waited for a whole interval in vain is given its turn. See `tests/bench/policy_scale.py`, stalls."""


class Part(Protocol):
    """What a role runs."""

    async def start(self) -> dict[str, Any]:
        """Start, and return what the supervisor should know."""

    async def stop(self) -> None:
        """Drain and end."""

    def reload(self) -> None:
        """Read certificates and keys again."""


def main(arguments: list[str] | None = None) -> int:
    """Run one role until told to end; the exit status is 0 after an orderly end, else 1."""
    keep_private()
    parser = argparse.ArgumentParser(prog="gateway.runtime.process")
    parser.add_argument("role", choices=("control", "ledger", "worker", "exporter"))
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen-fd", type=int)
    parser.add_argument("--parent", type=int)
    parser.add_argument("--pulse-fd", type=int)
    parser.add_argument("--stack-fd", type=int)
    parser.add_argument("--roll-fd", type=int)
    parser.add_argument("--checks-fd", type=int)
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--issuer", required=True)
    given = parser.parse_args(arguments)
    if given.parent is not None and not end_with_parent(given.parent):
        return 1
    home = GatewayHome(given.home)
    try:
        settings = home.settings()
        configure_logs(settings.log.level, given.name)
        sys.setswitchinterval(SWITCH_SECONDS)
        uvloop.run(_run(lambda: _part(given, home, settings)))
    except GatewayError as error:
        _say(
            {
                "failed": error.detail or error.problem.title,
                "code": error.code,
                "faults": error.members.get("faults", []),
            }
        )
        return 1
    except Exception as error:
        log.exception("the %s process failed", given.name)
        _say({"failed": f"the {given.name} process failed ({type(error).__name__}); its log says why"})
        return 1
    return 0


async def _part(given: argparse.Namespace, home: GatewayHome, settings: Settings) -> Part:
    # Each role imports only its own rooms: a worker loads no FastAPI, the ledger no Cedar.
    if given.role == "worker":
        give_memory_back()
        from gateway.runtime.worker.worker import Worker  # noqa: PLC0415 -- see above

        return Worker(
            home,
            settings,
            given.name,
            given.issuer,
            given.listen_fd,
            pulse=Pulse(given.pulse_fd) if given.pulse_fd is not None else None,
            stack_fd=given.stack_fd,
            checks_fd=given.checks_fd,
        )
    if given.role == "control":
        from gateway.runtime.control.control import Control  # noqa: PLC0415 -- see above

        roll = RollReader(given.roll_fd) if given.roll_fd is not None else None
        return Control(home, settings, given.issuer, given.listen_fd, is_first=given.first, roll=roll)
    if given.role == "exporter":
        from gateway.runtime.telemetry.exporter import Exporter  # noqa: PLC0415 -- see above

        return Exporter(home, settings)
    from gateway.runtime.journals import Journals  # noqa: PLC0415 -- see above

    return Journals(home, settings)


async def _run(make: Callable[[], Awaitable[Part]]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    part = await make()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, part.reload)
    watch = asyncio.create_task(_until_alone(stop))
    try:
        hello = await part.start()
        # What stands after start lives as long as the process: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        _say({"ready": True, **hello})
        await stop.wait()
    finally:
        watch.cancel()
        gc.unfreeze()
        await part.stop()


async def _until_alone(stop: asyncio.Event) -> None:
    """Set `stop` once standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    await reader.read()
    stop.set()


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
