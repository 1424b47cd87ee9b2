"""Connections to one host of a supplier: those kept for the next call, and whether the host is worth calling.

No request is sent twice: a kept connection that turned out closed, or on which something came that nobody asked for
(INVARIANT: ONE-ANSWER), is passed over before anything is written to it. A supplier that sends such octets is called
on a new connection each time for a while.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.proxy.http.answers import AnswerHead
from gateway.proxy.http.upstream import SupplierConnection
from gateway.proxy.limits import Limits
from gateway.proxy.ports import Reach

DISTRUST_SECONDS = 3600.0
"""For how long no connection to a supplier is kept that has sent octets which answer nobody. On a kept one they could
come behind the next request, where nothing tells them from its answer; each later answer would be another call's."""
MAX_HEADS = 128
"""Heads of answers remembered for one host, see `Pool.learn`."""
_LONGEST_HEAD = 2048

Stray = Callable[[str, str], None]
"""Is told when octets of a supplier answer nobody: where they came, and behind the answer to which record."""


class Pool:
    """The connections to one host, and its circuit.

    The circuit opens after `circuit_failures` failures in a row; while it is open every call is refused at once, and
    after `circuit_seconds` one call at a time probes.
    """

    __slots__ = (
        "_distrusted_until",
        "_failures",
        "_first",
        "_idle",
        "_limits",
        "_now",
        "_open_until",
        "_probing",
        "_reach",
        "_stray",
        "failed_here",
        "heads",
        "open",
        "port",
    )

    def __init__(
        self,
        reach: Reach,
        port: int,
        limits: Limits,
        now: Callable[[], float],
        stray: Stray,
        failed_here: Callable[[], None],
    ) -> None:
        self._stray = stray
        self._distrusted_until = now()
        self.failed_here = failed_here
        self.port = port
        self._reach = reach
        self._first = 0
        self.open = 0
        self.heads: dict[bytes, AnswerHead] = {}
        self._limits = limits
        self._now = now
        self._idle: deque[SupplierConnection] = deque()
        self._failures = 0
        self._open_until = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open."""
        return self._failures >= self._limits.circuit_failures

    def may_try(self) -> bool:
        """Whether a call may be tried now; claims the probe where the circuit is open and its time has come."""
        if self._failures < self._limits.circuit_failures:
            return True
        if self._probing or self._now() < self._open_until:
            return False
        self._probing = True
        return True

    def answers(self) -> None:
        """The head of an answer has come: other calls may go, but the next failure opens the circuit again."""
        if self._failures >= self._limits.circuit_failures:
            self._failures = self._limits.circuit_failures - 1
            self._probing = False

    def succeeded(self) -> None:
        """The supplier has answered a call whole: a head alone shows little, a supplier that drips sends one too."""
        self._failures = 0
        self._probing = False

    def failed(self) -> None:
        """A call failed on the supplier's side: no connection, no answer, or a broken one."""
        self._failures += 1
        self._probing = False
        self._open_until = self._now() + self._limits.circuit_seconds

    def left(self) -> None:
        """A call ended before the supplier could show anything."""
        self._probing = False

    def take(self) -> SupplierConnection | None:
        """A kept connection, the most recently used first; None where one must be made."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
        return None

    async def connect(self) -> SupplierConnection:
        """A new connection; raises OSError.

        To one address of the host at a time, that which answered last first; one that does not is passed over by the
        next call too, also where this one is given up before it has tried the others.
        """
        loop = asyncio.get_running_loop()
        reach = self._reach
        count = len(reach.addresses)
        for attempt in range(count):
            tried = self._first
            try:
                # INVARIANT: HOST-OWNED: an IP address that was checked, and no name that could mean another one by now.
                _, connection = await loop.create_connection(
                    lambda: SupplierConnection(self, self._limits),
                    reach.addresses[tried],
                    self.port,
                    ssl=reach.context,
                    server_hostname=reach.name if reach.context is not None else None,
                )
                break
            except BaseException as error:
                self._first = (tried + 1) % count
                if attempt == count - 1 or not isinstance(error, OSError):
                    raise
        return connection

    def made(self, connection: SupplierConnection) -> None:
        """Count a connection in; `gone` counts it out, once."""
        connection.idle_since = 0.0
        self.open += 1

    def learn(self, raw: bytes, head: AnswerHead) -> None:
        """Remember what a head says."""
        if len(raw) > _LONGEST_HEAD:
            return
        if len(self.heads) >= MAX_HEADS:
            self.heads.clear()
        self.heads[raw] = head

    def stray(self, when: str, record: str) -> None:
        """Octets of the supplier answered nobody: tell of it, and keep no connection to it for a while."""
        # INVARIANT: ONE-ANSWER.
        self._distrusted_until = self._now() + DISTRUST_SECONDS
        self.close()
        self._stray(when, record)

    def give_back(self, connection: SupplierConnection) -> None:
        """Keep a connection for the next call, where the supplier can be trusted with one."""
        if len(self._idle) >= self._limits.pool_idle_connections or self._now() < self._distrusted_until:
            self.gone(connection)
            connection.transport.close()
            return
        connection.idle_since = self._now()
        self._idle.append(connection)

    def gone(self, connection: SupplierConnection) -> None:
        """A connection is no longer of use."""
        if connection.idle_since >= 0:
            connection.idle_since = -1.0
            self.open -= 1
            if connection in self._idle:
                self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Close connections that have been idle too long."""
        while self._idle and now - self._idle[0].idle_since > self._limits.pool_idle_seconds:
            self._idle.popleft().transport.close()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().transport.close()
