"""Whether uses can be served: what /readyz says of each part.

That the state can be written is tried and not supposed: a gateway whose disk has become read-only, or whose database
has, goes on deciding from what it remembers, and the first suspension would fail.
"""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.control.barrier.hub import Hub
from gateway.domain.errors import GatewayError
from gateway.runtime.home import GatewayHome
from gateway.runtime.telemetry.metrics import read_snapshots
from gateway.store import Store

log = logging.getLogger("gateway.readiness")

HEARD_SECONDS = 3.0
"""How long a worker's last word counts for readiness; it speaks every second, later on a slow disk."""
PROVE_SECONDS = 2.0
"""How often a write of the state is tried."""
READ_SECONDS = 0.5
"""How long a reading may take before the state counts as away: who asks is answered within a second."""

PROBE_SECONDS = 3.0
"""How long who asked may take to hear the answer."""


async def answer_probes(path: Path, parts: Callable[[], Mapping[str, bool]]) -> asyncio.Server:
    """Answer each connection on the socket `path` with what `parts` says, as one JSON line (`probe`)."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            working = dict(await asyncio.to_thread(parts))
            writer.write(json.dumps({"ready": all(working.values()), "parts": working}).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), PROBE_SECONDS)
        except (OSError, TimeoutError):
            log.info("who asked how the gateway is has gone")
        finally:
            writer.close()

    await asyncio.to_thread(path.unlink, missing_ok=True)
    return await asyncio.start_unix_server(answer, path)


class StateProof:
    """Proves by a write of its own, every two seconds, that the state takes writes.

    A write that waits its turn behind a bulk import is no failure; one that is refused is.

    Args:
        store: the state.
        node: this node's name.
    """

    def __init__(self, store: Store, node: str) -> None:
        self._store = store
        self._node = node
        self.is_writable = True
        self._reading = threading.Lock()
        self._could_read = False

    def reads(self) -> bool:
        """Whether the state can be read now, told within `READ_SECONDS` whatever hangs; one asks for all."""
        if self._reading.acquire(blocking=False):
            asked = threading.Thread(target=self._read, name="state-readiness", daemon=True)
            asked.start()
            asked.join(READ_SECONDS)
            return not asked.is_alive() and self._could_read
        # Somebody asks already: what comes of it in time counts for all.
        if not self._reading.acquire(timeout=READ_SECONDS):
            return False
        self._reading.release()
        return self._could_read

    def _read(self) -> None:
        try:
            self._store.sequence()
            self._could_read = True
        except Exception:
            self._could_read = False
            log.exception("the state cannot be read")
        finally:
            self._reading.release()

    def works(self) -> bool:
        """Whether the state can be read and written, and keeps what is written."""
        trouble = self._store.database.trouble
        if trouble:
            log.error("%s", trouble)
        return not trouble and self.is_writable and self.reads()

    def prove(self) -> None:
        """Write; may block.

        Raises:
            GatewayError: `unavailable` where the state takes no writes.
        """
        try:
            self._store.use_once("ready", self._node, 0)
        except GatewayError:
            self.is_writable = False
            raise
        self.is_writable = True

    async def run(self) -> None:
        """Prove for ever; what changes is logged once."""
        while True:
            await asyncio.sleep(PROVE_SECONDS)
            before = self.is_writable
            try:
                await asyncio.to_thread(self.prove)
            except GatewayError as error:
                if before:
                    log.error("the state takes no writes, so no stop could be kept: %s", error.detail)
            else:
                if not before:
                    log.warning("the state takes writes again")


def readiness(home: GatewayHome, hub: Hub | None, proof: StateProof) -> Mapping[str, bool]:
    """Which parts work: a use can be served only where all do.

    What a connected worker says of itself counts for `HEARD_SECONDS`; one that is just taking up a change still has its
    lease. The ledger process is none of the parts: without it uses go on into the journals, and once their disk is
    nearly full, no worker takes records any more.
    """
    connected = set(hub.workers()) if hub is not None else set()
    heard = [
        snapshot
        for snapshot in read_snapshots(home.run / "metrics", "worker-*")
        if snapshot.age_seconds(time.monotonic()) <= HEARD_SECONDS and snapshot.process in connected
    ]
    return {
        "state": proof.works(),
        "workers": any(snapshot.gauge("gateway_fresh") for snapshot in heard),
        "records": any(snapshot.gauge("gateway_journal_accepts") for snapshot in heard),
    }
