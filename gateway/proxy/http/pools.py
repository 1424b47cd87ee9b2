"""Connections to one host of a supplier: those kept for the next call, and whether the host is worth calling.

No request is sent twice: a kept connection that turned out closed is passed over before anything is written to it.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable

from gateway.proxy.http.upstream import AnswerHead, SupplierConnection
from gateway.proxy.limits import Limits

MAX_HEADS = 128
"""Heads of answers remembered for one host, see `Pool.learn`."""


class Pool:
    """The connections to one host, and its circuit.

    The circuit opens after `circuit_failures` failures in a row; while it is open every call is refused at once, and
    after `circuit_seconds` one call at a time probes.
    """

    __slots__ = (
        "_failures",
        "_idle",
        "_limits",
        "_now",
        "_open_until",
        "_probing",
        "context",
        "heads",
        "host",
        "name",
        "open",
        "port",
    )

    def __init__(
        self,
        host: str,
        port: int,
        limits: Limits,
        now: Callable[[], float],
        context: ssl.SSLContext | None,
        name: str | None,
    ) -> None:
        self.host = host
        self.port = port
        self.context = context
        self.name = name
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

    def succeeded(self) -> None:
        """The supplier has answered a call."""
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
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self) -> SupplierConnection:
        """A new connection; raises OSError."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: SupplierConnection(self, self._limits),
            self.host,
            self.port,
            ssl=self.context,
            server_hostname=(self.name or self.host) if self.context is not None else None,
        )
        self.open += 1
        return connection

    def learn(self, raw: bytes, head: AnswerHead) -> None:
        """Remember what a head says under which a connection is kept and the content has a length."""
        if len(self.heads) >= MAX_HEADS:
            self.heads.clear()
        self.heads[raw] = head

    def give_back(self, connection: SupplierConnection) -> None:
        """Keep a connection for the next call."""
        if len(self._idle) >= self._limits.pool_idle_connections:
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
