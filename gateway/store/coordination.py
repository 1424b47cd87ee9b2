"""What processes and nodes share besides the state: one-time values, quota blocks, liveness, what was drawn lately.

These writes are brief: a crash of the process keeps them, a loss of power may take the last of them. Two are durable,
since they are relied on: a quota block that was forgotten would be drawn twice, and what was drawn and forgotten would
not count against a combination. There are few: a grant leases some hundred blocks a day, and a department's draw of a
dataset is noted once a day.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

from sqlalchemy import Connection, delete, insert, select, text, update

from gateway.domain.circles import Circle, Knowing
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Session
from gateway.store import gathering, schema
from gateway.store.database import Database
from gateway.store.values import Drawn, Node

_USE_ONCE = text(
    """
    INSERT INTO one_time (namespace, digest, expires) VALUES (:namespace, :digest, :expires)
    ON CONFLICT (namespace, digest) DO UPDATE SET expires = excluded.expires WHERE one_time.expires <= :now
    """
)
_USE_ONCE_EACH = text(
    """
    INSERT INTO one_time (namespace, digest, expires)
    SELECT * FROM unnest(CAST(:namespaces AS varchar[]), CAST(:digests AS varchar[]), CAST(:expires AS bigint[]))
    ON CONFLICT (namespace, digest) DO UPDATE SET expires = excluded.expires WHERE one_time.expires <= :now
    RETURNING namespace, digest
    """
)
"""PostgreSQL: a whole batch in one statement, so that a data plane's proofs cost a round trip a batch."""
_ADD_NONCE_SECRET = text(
    """
    INSERT INTO nonce_secrets (number, sealed, made) VALUES (:number, :sealed, :made) ON CONFLICT (number) DO NOTHING
    """
)
_OPEN_QUOTA = text(
    """
    INSERT INTO quota_used (grant_id, day, kind, used) VALUES (:grant_id, :day, :kind, 0)
    ON CONFLICT (grant_id, day, kind) DO UPDATE SET used = quota_used.used
    RETURNING used
    """
)
_BEAT = text(
    """
    INSERT INTO nodes (id, beat_ms, acknowledged) VALUES (:id, :beat_ms, 0)
    ON CONFLICT (id) DO UPDATE SET beat_ms = excluded.beat_ms WHERE nodes.beat_ms < excluded.beat_ms
    """
)
_ANNOUNCE = text(
    """
    INSERT INTO nodes (id, beat_ms, acknowledged, address) VALUES (:id, 0, 0, :address)
    ON CONFLICT (id) DO UPDATE SET address = excluded.address
    """
)
_TELL_LISTENERS = text(
    """
    INSERT INTO nodes (id, beat_ms, acknowledged, listeners) VALUES (:id, 0, 0, :listeners)
    ON CONFLICT (id) DO UPDATE SET listeners = excluded.listeners
    """
)
_ACKNOWLEDGE = text(
    """
    INSERT INTO nodes (id, beat_ms, acknowledged) VALUES (:id, 0, :sequence)
    ON CONFLICT (id) DO UPDATE SET acknowledged = excluded.acknowledged
    WHERE nodes.acknowledged < excluded.acknowledged
    """
)
_COUNT_SHADOW = text(
    """
    INSERT INTO shadow_counts (shadow, node, body) VALUES (:shadow, :node, :body)
    ON CONFLICT (shadow, node) DO UPDATE SET body = excluded.body
    """
)

DRAWN_DAYS = 400
"""How long what was drawn is remembered for convergence rules (Decree 809 Art. 25 ¶2)."""

KEPT_ONE_TIME_SECONDS = 2 * 3600
"""How long a one-time value is remembered after its time: a clock that is set back by less brings back none."""

KEPT_SESSION_SECONDS = 86_400
"""How long a session is remembered after its time: a token that names it is refused with or without it."""


def timeline_of(connection: Connection) -> str:
    """Which history of the state PostgreSQL's server writes: promoting a standby begins another one."""
    # The first eight digits of a segment's name are its timeline.
    return str(connection.execute(text("SELECT pg_walfile_name(pg_current_wal_lsn())")).scalar_one())[:8]


class Coordination:
    """Shared counters and leases over one `Database`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def use_once(self, namespace: str, value: str, expires_unix: int) -> bool:
        """Whether `value` is used for the first time: True once, False until `expires_unix` for every other asker.

        Holds across threads, processes and restarts. Only a digest of the value is stored.

        Args:
            namespace: what kind of value, such as `jti`; at most 32 characters.
            value: of any length.
            expires_unix: when it can be used no more; `KEPT_ONE_TIME_SECONDS` later it may be forgotten.
        """
        parameters = {
            "namespace": namespace,
            "digest": hashlib.sha256(value.encode()).hexdigest(),
            "expires": expires_unix,
            "now": int(self._clock()) - KEPT_ONE_TIME_SECONDS,
        }
        with self._database.brief() as connection:
            return connection.execute(_USE_ONCE, parameters).rowcount == 1

    def use_once_each(self, values: Sequence[tuple[str, str, int]]) -> list[bool]:
        """As `use_once` for each namespace, value and expiry: one transaction, and on PostgreSQL one statement."""
        rows = [(each[0], hashlib.sha256(each[1].encode()).hexdigest(), each[2]) for each in values]
        now = int(self._clock()) - KEPT_ONE_TIME_SECONDS
        # In one order on every node, so that two batches with a value in common cannot wait for each other; a value
        # that stands twice in a batch is used by its first.
        ordered = sorted({row[:2]: row for row in reversed(rows)}.values())
        with self._database.brief() as connection:
            if self._database.is_sqlite:
                fresh = {
                    (namespace, digest)
                    for namespace, digest, expires in ordered
                    if connection.execute(
                        _USE_ONCE, {"namespace": namespace, "digest": digest, "expires": expires, "now": now}
                    ).rowcount
                    == 1
                }
            else:
                columns = [list(column) for column in zip(*ordered, strict=True)]
                parameters = {"namespaces": columns[0], "digests": columns[1], "expires": columns[2], "now": now}
                fresh = {(row.namespace, row.digest) for row in connection.execute(_USE_ONCE_EACH, parameters)}
        answers = []
        for row in rows:
            answers.append(row[:2] in fresh)
            fresh.discard(row[:2])
        return answers

    def nonce_secrets(self) -> list[tuple[int, str, int]]:
        """Number, sealed secret and when it was made (Unix seconds) of each secret of DPoP nonces, by number."""
        table = schema.nonce_secrets
        rows = self._database.read(lambda c: c.execute(select(table).order_by(table.c.number)).all())
        return [(row.number, row.sealed, row.made) for row in rows]

    def add_nonce_secret(self, number: int, sealed: str, made_unix: int) -> None:
        """Add a secret of DPoP nonces, unless another process has added that number; keep it and the one before.

        Durability: durable on return.
        """
        with self._database.writing() as connection:
            connection.execute(_ADD_NONCE_SECRET, {"number": number, "sealed": sealed, "made": made_unix})
            connection.execute(delete(schema.nonce_secrets).where(schema.nonce_secrets.c.number < number - 1))

    def open_session(self, officer: str, method: str, seconds: int) -> Session:
        """A new session of `officer`; whether the officer may have one is the caller's to know.

        Durability: a loss of power may take it, and then it holds no more: its officer signs in again.
        """
        now = int(self._clock())
        session = Session(secrets.token_hex(16), officer, method, now, now + seconds)
        row = {"id": session.id, "officer": officer, "method": method, "begun": now, "expires": now + seconds}
        with self._database.brief() as connection:
            connection.execute(insert(schema.sessions).values(**row, ended_by=""))
        return session

    def forget_expired(self, now_unix: int) -> int:
        """Forget one-time values, remembered answers, old quota days and old drawings; how many rows went."""
        day = datetime.fromtimestamp(now_unix, UTC).date()
        before = date.fromordinal(day.toordinal() - DRAWN_DAYS).isoformat()
        yesterday = date.fromordinal(day.toordinal() - 2).isoformat()
        with self._database.brief() as connection:
            gone = (
                delete(schema.one_time).where(schema.one_time.c.expires <= now_unix - KEPT_ONE_TIME_SECONDS),
                delete(schema.answers).where(schema.answers.c.expires <= now_unix),
                delete(schema.quota_used).where(schema.quota_used.c.day < yesterday),
                delete(schema.drawn).where(schema.drawn.c.day < before),
                delete(schema.gathered).where(schema.gathered.c.day < before),
                delete(schema.enrolments).where(schema.enrolments.c.expires <= now_unix),
                delete(schema.account_events).where(schema.account_events.c.at <= now_unix - 366 * 86_400),
                delete(schema.sessions).where(schema.sessions.c.expires <= now_unix - KEPT_SESSION_SECONDS),
                delete(schema.provider_sessions).where(schema.provider_sessions.c.expires <= now_unix),
            )
            return sum(connection.execute(statement).rowcount for statement in gone)

    def lease_quota(self, grant: str, day: date, kind: str, block: int, limit: int, least: int = 1) -> int:
        """Take up to `block` from what is left of a grant's quota of `day`; nothing where fewer than `least` are left.

        Args:
            grant: its id.
            day: the calendar day, China Standard Time.
            kind: `calls` or `rows`.
            block: how many to take at most, 1 or more.
            limit: the quota of the day.
            least: how many to take at least, 1 or more and at most `block`.

        Durability: what is taken stays taken, also when power or the database server is lost.
        """
        key = {"grant_id": grant, "day": day.isoformat(), "kind": kind}
        with self._database.writing() as connection:
            used = int(connection.execute(_OPEN_QUOTA, key).scalar_one())
            left = limit - used
            taken = min(block, left) if left >= least else 0
            if taken:
                _add_quota(connection, key, taken)
            return taken

    def return_quota(self, grant: str, day: date, kind: str, unused: int) -> None:
        """Give back the unused rest of a leased block."""
        with self._database.brief() as connection:
            _add_quota(connection, {"grant_id": grant, "day": day.isoformat(), "kind": kind}, -unused)

    def beat(self, node: str, now_unix: float) -> None:
        """Say that the node lives; durable as an act is, so that a state that keeps no act gives no lease either."""
        # INVARIANT: STALE-DENIES, ONE-TIMELINE.
        with self._database.proving() as connection:
            connection.execute(_BEAT, {"id": node, "beat_ms": int(now_unix * 1000)})

    def announce(self, node: str, address: str) -> None:
        """Say where the other nodes reach the node's control plane; "" where they cannot."""
        with self._database.brief() as connection:
            connection.execute(_ANNOUNCE, {"id": node, "address": address})

    def tell_listeners(self, node: str, listeners: str) -> None:
        """Say on what the node listens, as the nodes write it."""
        with self._database.brief() as connection:
            connection.execute(_TELL_LISTENERS, {"id": node, "listeners": listeners})

    def acknowledge(self, node: str, sequence: int, timeline: str = "") -> None:
        """Say that the node has let go of everything that changes up to `sequence` touch; never goes back.

        Args:
            node: its name.
            sequence: of a change.
            timeline: the history in which it was read (`Store.timeline`); empty where there is but one.

        Raises:
            GatewayError: `conflict` where the server's is another by now: there the number may name another change.
        """
        with self._database.brief() as connection:
            if timeline and timeline_of(connection) != timeline:
                raise GatewayError("conflict", "another server is the primary: its feed is read anew first")
            connection.execute(_ACKNOWLEDGE, {"id": node, "sequence": sequence})

    def nodes(self) -> tuple[Node, ...]:
        """Every node that has been heard of and not been forgotten."""
        rows = self._database.read(lambda c: c.execute(select(schema.nodes).order_by(schema.nodes.c.id)).all())
        return tuple(Node(row.id, row.beat_ms / 1000, row.acknowledged, row.address, row.listeners) for row in rows)

    def acknowledged(self) -> dict[str, int]:
        """Node to the change up to which it has let go."""
        return {node.id: node.acknowledged for node in self.nodes()}

    def forget_node(self, node: str) -> None:
        """Forget a node that has ended."""
        with self._database.brief() as connection:
            connection.execute(delete(schema.nodes).where(schema.nodes.c.id == node))

    def note_drawn(
        self,
        department: str,
        dataset: str,
        purpose: str,
        day: date,
        knowing: Knowing = Knowing.OBTAINED,
        *,
        in_circles: bool = False,
    ) -> None:
        """Note that a department drew from a dataset for a purpose on `day`; durable on return.

        Args:
            department: who.
            dataset: of which dataset.
            purpose: what for.
            day: when, China Standard Time.
            knowing: how it came to be known.
            in_circles: whether those above it keep it, too, should it leave them.
        """
        with self._database.writing() as connection:
            gathering.note(connection, department, dataset, purpose, day, knowing, in_circles=in_circles)

    def drawn(self, department: str, since: date) -> tuple[Drawn, ...]:
        """What a department has drawn on `since` or later."""
        statement = (
            select(schema.drawn)
            .where(schema.drawn.c.department == department, schema.drawn.c.day >= since.isoformat())
            .order_by(schema.drawn.c.day, schema.drawn.c.dataset, schema.drawn.c.purpose)
        )
        rows = self._database.read(lambda c: c.execute(statement).all())
        return tuple(Drawn(row.dataset, row.purpose, date.fromisoformat(row.day)) for row in rows)

    def gathered(self, department: str, since: date, circle: Circle, *, learnt: bool) -> frozenset[str]:
        """Ids of the datasets that came to a department and its circle on `since` or later.

        Args:
            department: whose circle.
            since: the first day that counts.
            circle: who else counts, as departments stand now, and as they stood when they drew.
            learnt: whether what was compared counts, beside what was obtained.
        """
        return self._database.read(lambda c: gathering.gathered(c, department, since, circle, learnt=learnt))

    def count_shadow(self, shadow: int, node: str, counts: str) -> None:
        """Keep what a node has counted for the candidate that step `shadow` put in the shadow."""
        with self._database.brief() as connection:
            connection.execute(_COUNT_SHADOW, {"shadow": shadow, "node": node, "body": counts})

    def shadow_counts(self, shadow: int) -> dict[str, str]:
        """Node to what it has counted for that candidate."""
        table = schema.shadow_counts
        statement = select(table.c.node, table.c.body).where(table.c.shadow == shadow).order_by(table.c.node)
        rows = self._database.read(lambda c: c.execute(statement).all())
        return {row.node: row.body for row in rows}


def _add_quota(connection: Connection, key: dict[str, str], amount: int) -> None:
    table = schema.quota_used
    connection.execute(
        update(table)
        .where(table.c.grant_id == key["grant_id"], table.c.day == key["day"], table.c.kind == key["kind"])
        .values(used=table.c.used + amount)
    )
