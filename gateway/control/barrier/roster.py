"""Who holds which lease and who has applied which change: the hub's books, without sockets and without a clock.

Times are seconds of one clock that never goes back and counts sleep. A *session* is one connection of a worker. When
it ends its lease does not: a worker that lost its connection may go on until the lease has run out, unless its process
is known to be dead.
"""

from collections.abc import Iterator

import msgspec


class Session(msgspec.Struct):
    """One connection of one worker, or what is left of it.

    Args:
        worker: its name.
        pid: its process; 0 where the system does not tell.
        applied: the last change it has said to have applied.
        leased_until: the latest moment at which its lease can end; 0 if it never had one.
        connected: False once the connection is gone.
        dead: whether its process is known to have ended.
        lagging_since: since when it is behind the position, None while it is not.
        is_superseded: whether its process has connected anew, before the end of this connection was seen.
    """

    worker: str
    pid: int
    applied: int
    leased_until: float = 0.0
    connected: bool = True
    dead: bool = False
    lagging_since: float | None = None
    is_superseded: bool = False


class Roster:
    """The books of one hub.

    Args:
        freshness: how long a reading of the feed may be relied on, seconds; at most 2.
        acknowledge_within: how long a worker may lag before it gets no further lease, seconds.
        started: when this hub began.
        after_another: whether an earlier control process may have granted leases that still run.
    """

    def __init__(
        self, *, freshness: float, acknowledge_within: float, started: float, after_another: bool = True
    ) -> None:
        if not 0 < freshness <= 2.0:
            raise ValueError("the freshness limit is at most 2 seconds")
        self.freshness = freshness
        self.acknowledge_within = acknowledge_within
        self.position = 0
        self._read_at = -1.0
        self._quiet_at = started + freshness if after_another else started
        self._sessions: dict[int, Session] = {}

    def confirm(self, asked_at: float, position: int, now: float) -> None:
        """The feed was read: begun at `asked_at`, it ended at `position`."""
        if position > self.position:
            self.position = position
            for session in self._sessions.values():
                if session.lagging_since is None and session.applied < position:
                    session.lagging_since = now
        self._read_at = max(self._read_at, asked_at)

    def rewind(self, position: int, now: float) -> None:
        """The feed went back to `position`: sequence numbers will be used again, so what was applied is void."""
        self.position = position
        for session in self._sessions.values():
            session.applied = 0
            session.lagging_since = now

    def join(self, key: int, worker: str, pid: int, applied: int, now: float, *, leased_until: float = 0.0) -> Session:
        """A worker has connected and has applied all up to `applied`.

        A lease it was granted on an earlier connection goes on, and is the new session's.

        Args:
            key: of the new session.
            worker: its name.
            pid: its process.
            applied: the last change it has applied.
            now: the moment.
            leased_until: until when it holds, or held, a lease of an earlier control process; 0 if it never did.
        """
        session = Session(worker, pid, applied, leased_until)
        for earlier, left in list(self._sessions.items()):
            if pid and left.pid == pid and not left.dead:
                # What is to be waited for is the process, and it speaks on one connection at a time.
                session.leased_until = max(session.leased_until, left.leased_until)
                left.leased_until, left.is_superseded = 0.0, True
                if not left.connected:
                    del self._sessions[earlier]
        self._sessions[key] = session
        if applied < self.position:
            session.lagging_since = now
        return session

    def applied(self, key: int, sequence: int, now: float) -> None:
        """A worker has applied all up to `sequence`."""
        session = self._sessions[key]
        if sequence > session.applied:
            session.applied = sequence
            session.lagging_since = now if sequence < self.position else None

    def leave(self, key: int) -> None:
        """A worker's connection is gone; its lease is not."""
        session = self._sessions.get(key)
        if session is not None:
            session.connected = False

    def died(self, key: int) -> None:
        """A worker's process has ended: nothing can leave it any more."""
        session = self._sessions.get(key)
        if session is not None:
            session.dead = True

    def lease(self, key: int, now: float) -> int:
        """Milliseconds the worker may be granted now, 0 for none.

        It counts from when the worker asked, which was before `now`: so it ends by the last reading plus
        `freshness`, and `leased_until` bounds it from above.
        """
        session = self._sessions[key]
        if session.is_superseded:
            return 0
        if session.lagging_since is not None and now - session.lagging_since > self.acknowledge_within:
            return 0
        # INVARIANT: STALE-DENIES: what this process has not confirmed itself it cannot grant on.
        left = self._read_at + self.freshness - now if self._read_at >= 0 else 0.0
        milliseconds = max(0, int(left * 1000))
        if milliseconds:
            session.leased_until = max(session.leased_until, now + milliseconds / 1000)
        return milliseconds

    def outstanding(self, sequence: int, since: float, now: float) -> list[int]:
        """Sessions that may still release under the state before `sequence`, committed at `since` or before.

        A worker is waited for while its lease runs; one that is still connected is besides given its time to
        acknowledge, so that a merely slow one is not taken for lost.
        """
        return [key for key, session in self._sessions.items() if self._holds(session, sequence, since, now)]

    def _holds(self, session: Session, sequence: int, since: float, now: float) -> bool:
        if session.dead or session.applied >= sequence or not session.leased_until:
            return False
        patient = session.connected and now < since + self.acknowledge_within
        return patient or now < session.leased_until

    def out(self, sequence: int) -> list[int]:
        """Sessions of processes not known dead that once had a lease and never applied `sequence`."""
        return [
            key
            for key, session in self._sessions.items()
            if not session.dead and session.leased_until and session.applied < sequence
        ]

    @property
    def quiet_at(self) -> float:
        """When leases of an earlier control process have run out, also those that still lie in a worker's socket."""
        return self._quiet_at

    def forget_ended(self, now: float) -> None:
        """Drop what is left of sessions that can no longer release anything."""
        for key, session in list(self._sessions.items()):
            if not session.connected and (session.dead or session.leased_until <= now):
                del self._sessions[key]

    def is_known(self, key: int) -> bool:
        """Whether the session is still in the books."""
        return key in self._sessions

    def session(self, key: int) -> Session:
        """The session of `key`."""
        return self._sessions[key]

    def __iter__(self) -> Iterator[tuple[int, Session]]:
        return iter(self._sessions.items())
