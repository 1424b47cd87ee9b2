"""The bounds that one data-plane process keeps, so that no caller and no supplier can take it from the others."""

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Every bound in one place; each default states whom it is like.

    Args:
        request_line_bytes: longest request line; nginx and Envoy allow 8 KiB a line.
        head_bytes: longest header section; nginx allows 4 x 8 KiB.
        fields: most header fields; Envoy's default is 100.
        connections: most callers' connections a worker holds.
        header_timeout_seconds: from a head's first byte to its last (nginx: 60; a call here has no reason to pause).
        idle_timeout_seconds: an idle keep-alive connection (nginx: 75).
        drain_idle_seconds: how long a worker that ends keeps such a connection for a request that is on its way.
        port_timeout_seconds: for what identifying, resolving, deciding or recording must wait for.
        body_progress_seconds: the window in which a request's body must make progress.
        write_progress_seconds: the window in which a caller must take of what was written to it.
        least_rate_bytes: what must move a second, over the whole of such a window, or of the interface's
            `first_byte_timeout_seconds` while its answer comes: a party that drips keeps no place (Kestrel: 240,
            Apache's mod_reqtimeout: 500).
        gather_seconds: from the head of an answer that is gathered whole to its end.
        exchange_seconds: one exchange, where its interface states no total of its own.
        linger_seconds: how long the rest of a body that nobody wants is read and thrown away (nginx: 30), so that the
            answer reaches a caller that reads only when it has written everything.
        linger_bytes: how much of it.
        system_concurrency: calls at once of one calling system; more are `rate-limited`.
        queue: calls waiting for a slot of one interface; more are shed.
        queue_seconds: longest wait for a slot; a tenth of it where the queue has stood for as long.
        share: one supplier, or one system, has one in so many of the connections and octets for itself (`shares`).
        held_bytes: octets held for anyone at once.
        collect_bytes: largest answer that is gathered whole (JSON); it is held about three times while projected.
        collect_total_bytes: all answers being gathered at once.
        unreduced_bytes: how much is gathered of an answer of unknown length from which nothing must be taken out: a
            longer one leaves as it comes.
        row_bytes: longest row of a streamed answer (NDJSON, CSV).
        inflate_ratio: largest ratio of decoded to coded bytes of an answer, above 1 MiB.
        inflate_bytes: largest decoded size of an answer that is streamed.
        unsent_bytes: what the kernel may hold for one caller and has not sent: what can still leave a worker that is
            ended, and that a stop must drop. What is on its way and not acknowledged is not in it, so long paths are
            as fast with it.
        write_high_bytes: bytes buffered for a reader before its sender is paused.
        read_high_bytes: bytes of a caller held unparsed before it is paused.
        pool_idle_seconds: an idle supplier connection; below the 5 s after which common servers close theirs, since
            a request written to a closing connection cannot be sent again.
        pool_idle_connections: idle connections kept for one supplier.
        circuit_failures: failures in a row that open a supplier's circuit.
        circuit_seconds: how long it stays open before one call probes.
        half_close: whether a caller that ends its side after its request is served; else it has gone.
        tick_seconds: how fine time-outs are.
        handshake_timeout_seconds: for a caller's TLS handshake.
    """

    request_line_bytes: int = 8 * 1024
    head_bytes: int = 32 * 1024
    fields: int = 100
    connections: int = 20_000
    header_timeout_seconds: float = 10.0
    idle_timeout_seconds: float = 75.0
    drain_idle_seconds: float = 0.5
    port_timeout_seconds: float = 10.0
    body_progress_seconds: float = 20.0
    write_progress_seconds: float = 30.0
    least_rate_bytes: int = 256
    gather_seconds: float = 60.0
    exchange_seconds: float = 4 * 3600.0
    linger_seconds: float = 5.0
    linger_bytes: int = 16 << 20
    system_concurrency: int = 256
    queue: int = 1024
    queue_seconds: float = 5.0
    share: int = 8
    held_bytes: int = 512 << 20
    collect_bytes: int = 16 << 20
    collect_total_bytes: int = 256 << 20
    unreduced_bytes: int = 1 << 20
    row_bytes: int = 1 << 20
    inflate_ratio: int = 100
    inflate_bytes: int = 4 << 30
    unsent_bytes: int = 64 * 1024
    write_high_bytes: int = 64 * 1024
    read_high_bytes: int = 64 * 1024
    pool_idle_seconds: float = 4.0
    pool_idle_connections: int = 256
    circuit_failures: int = 5
    circuit_seconds: float = 5.0
    half_close: bool = False
    tick_seconds: float = 0.25
    handshake_timeout_seconds: float = 10.0

    @property
    def unseen_bytes(self) -> int:
        """What may wait for a reader before it is counted as held and its sender is paused.

        It is small where there may be many connections: all of them together stay below a quarter of `held_bytes`.
        """
        return max(4096, min(self.write_high_bytes, self.held_bytes // (4 * self.connections)))
