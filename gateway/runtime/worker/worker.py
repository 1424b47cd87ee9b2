"""One worker: the data plane over the state, the policies, the caller's identity and the ledger.

A worker opens its door once it holds a lease on the state, or soon without one: it then answers 503. It loads no SQL
migrations and no FastAPI, holds no private token key, and reads the state only for what it does not remember.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import cryptography.hazmat.backends.openssl.backend  # noqa: F401 - else the first call loads it, on the loop
import msgspec

from gateway.control.barrier.pulse import Pulse
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.hosts import Networks
from gateway.identity.callers.caller import Identifier
from gateway.identity.callers.dpop import ProofVerifier
from gateway.identity.callers.legacy import LegacyIdentifier
from gateway.identity.callers.replay import ClusterReplay
from gateway.identity.callers.security_log import FailureBudget, SecurityLog
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.keys.symmetric import Pseudonymiser
from gateway.identity.keys.texts import TextSealer
from gateway.identity.tokens.issuers import ExternalIssuer
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from gateway.ledger.journal.uses import UseJournal
from gateway.policy import Decider, Engine, QuotaMeter
from gateway.policy.offline.activating import PolicyKeeper
from gateway.proxy.kernel import cease_to_listen
from gateway.proxy.limits import Limits
from gateway.proxy.plane import DataPlane
from gateway.proxy.ports import Watch
from gateway.runtime.drawn import StateDrawnBook
from gateway.runtime.home import GatewayHome
from gateway.runtime.listeners.nodes import OwnListeners
from gateway.runtime.listeners.tls import Reloading, listener_context
from gateway.runtime.memory import keep_returning
from gateway.runtime.policies import initial_policies, settled_by
from gateway.runtime.ring import nonce_keeper, open_ring, proofs_once, signature_memory
from gateway.runtime.settings import DataPlaneSettings, Settings
from gateway.runtime.supervision.heartbeat import Heartbeat
from gateway.runtime.suppliers import Contexts, Credentials, SupplierReach
from gateway.runtime.telemetry.metrics import MetricSet, Publisher
from gateway.runtime.telemetry.observing import (
    JournalFigures,
    LinkFigures,
    ObservedPorts,
    PartFigures,
    UseLog,
    take_plane,
)
from gateway.runtime.telemetry.spans import SOCKET as SPANS_SOCKET
from gateway.runtime.telemetry.spans import SpanSender
from gateway.runtime.worker.book import StateBook
from gateway.runtime.worker.checks import ChecksListener
from gateway.runtime.worker.kernel_end import KernelEnd
from gateway.runtime.worker.link import Link
from gateway.runtime.worker.resolver import Resolver, is_decided, is_touched
from gateway.runtime.worker.words import KeptWords
from gateway.store import Store

log = logging.getLogger("gateway.worker")

UseOnce = Callable[[str, str, int], bool | Awaitable[bool]]

FRESH_SECONDS = 0.5
"""How long a starting worker waits for its first lease: calls that meet it are then served. Without one it opens its
door all the same and answers 503 (INVARIANT: STALE-DENIES)."""


class Worker:
    """The data plane of one process.

    Args:
        home: where the gateway lives.
        settings: in force.
        name: `worker-N`; it names the journal.
        issuer: the `iss` of the gateway's own tokens.
        listen_fd: the socket that the supervisor bound.
        pulse: where the supervisor and the control process see whether this worker lives; None where nobody looks.
        stack_fd: where the stack of a loop that stands is written; None for nowhere.
        checks_fd: the socket for those who carry calls themselves; None where there is none.
    """

    def __init__(
        self,
        home: GatewayHome,
        settings: Settings,
        name: str,
        issuer: str,
        listen_fd: int,
        *,
        pulse: Pulse | None = None,
        stack_fd: int | None = None,
        checks_fd: int | None = None,
    ) -> None:
        self._home = home
        self._settings = settings
        self._name = name
        self._issuer = issuer
        self._listener = socket.socket(fileno=listen_fd)
        self._checks_fd = checks_fd
        self._checks: ChecksListener | None = None
        self._pulse = pulse
        self._stack_fd = stack_fd
        self._heartbeat: Heartbeat | None = None
        self._pool = ThreadPoolExecutor(2, "slow")
        self._tasks: list[asyncio.Task[None]] = []
        self._reloading = Reloading(None, settings.data_plane)

    async def start(self) -> dict[str, Any]:
        """Wire the parts, wait for a lease, and open the door."""
        loop = asyncio.get_running_loop()
        home, settings = self._home, self._settings
        self._store = Store.open(home.state_url(settings), memory=home.state_memory, migrate_forward=False)
        self._policies = PolicyKeeper(self._store, initial_policies(settings), settled_by(settings))
        metrics = MetricSet(self._name)
        observed = ObservedPorts(metrics)
        slice_state = observed.slice_state(self._store.slice_state)
        self._engine = Engine(self._policies.now.layers, slice_state, drawn=StateDrawnBook(self._store))
        self._policies.attach(self._engine)
        # No private token key: a worker verifies, it does not issue.
        ring = open_ring(home, settings, frozenset({"field", "pseudonym"}))
        self._nonces = nonce_keeper(home, settings, self._store, ring)
        await asyncio.to_thread(self._nonces.refresh)
        self._tasks.append(asyncio.create_task(self._nonces.run(), name="nonces"))
        self._identifier = self._make_identifier(ring)
        prepare = SupplierReach(
            self._store,
            Contexts(self._store.certificates, ring.field_cipher),
            Credentials(ring.field_cipher, limits_of(settings.data_plane)),
            Networks(settings.suppliers.networks),
            OwnListeners(home, settings, self._store.nodes),
        )
        self._resolver = Resolver(self._store.interface, self._pool, prepare)
        if self._checks_fd is not None:
            book = StateBook(self._store, self._pool)
            self._checks = ChecksListener(home, settings.checks, self._checks_fd, book)
        # A thread of its own: who says something new waits for itself, and nothing else waits behind it.
        self._words_thread = ThreadPoolExecutor(1, "words")
        self._words = KeptWords(
            self._store, TextSealer(ring), self._words_thread, time.time, settings.ledger.new_texts_a_day
        )
        self._journal = UseJournal(
            home.ledger,
            self._name,
            loop=loop,
            clock_ns=time.time_ns,
            on_poisoned=self._poisoned,
            low_water_bytes=settings.ledger.low_water_bytes,
        )
        self._link = Link(
            home.control_socket,
            self._name,
            self._apply,
            on_reset=self._drop_everything,
            on_stale=lambda: self._cut_all("the lease on the state has run out"),
            counters=self._shadow_counts,
            pulse=self._pulse,
            kernel_end=KernelEnd() if self._pulse is not None else None,
        )
        watches: list[Watch] = [UseLog()] if settings.log.level == "debug" else []
        spans = None
        if settings.traces.endpoint:
            spans = SpanSender(home.run / SPANS_SOCKET, time.time_ns)
            watches.append(spans)
            self._tasks.append(asyncio.create_task(spans.run(), name="spans"))
        self._plane = DataPlane(
            identify=observed.identify(self._identifier),
            resolve=self._resolver,
            reach=self._resolver.reach,
            decide=observed.decide(Decider(self._engine, self._pool, time.time)),
            seal=self._words,
            ledger=self._journal,
            meter=QuotaMeter(self._store.lease_quota, self._pool, time.time, self._store.return_quota),
            pseudonym=Pseudonymiser(ring, time.time),
            is_fresh=self._link.is_fresh,
            limits=limits_of(settings.data_plane),
            digest_key=ring.digest_key(),
            sample_ratio=settings.traces.sample_ratio if spans is not None else 0.0,
            watches=watches,
        )
        fill = (
            lambda: take_plane(metrics, self._plane.snapshot()),
            LinkFigures(metrics, self._link).fill,
            JournalFigures(metrics, self._journal.syncs).fill,
            PartFigures(metrics, self._engine, self._journal, spans).fill,
            lambda: observed.fill(self._plane.lanes.followed),
            *(() if self._checks is None else (partial(self._checks.fill, metrics),)),
        )
        publisher = Publisher(metrics, home.run / "metrics", fill, time.monotonic)
        self._tasks.append(asyncio.create_task(publisher.run(), name="metrics"))
        self._tasks.append(asyncio.create_task(self._link.run(), name="link"))
        self._tasks.append(asyncio.create_task(keep_returning(lambda: self._plane.shares.held_bytes), name="memory"))
        tls = listener_context(settings.data_plane)
        self._reloading = Reloading(tls, settings.data_plane)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._link.wait_fresh(), FRESH_SECONDS)
        if self._pulse is not None and self._stack_fd is not None:
            self._heartbeat = Heartbeat(self._pulse, self._stack_fd)
            self._heartbeat.start()
        await self._plane.serve(sock=self._listener, tls=tls)
        if self._checks is not None:
            await self._checks.open(self._plane, self._name, self._journal.run)
        # At once, so that /readyz knows of this worker before the supervisor says that the gateway is ready.
        publisher.publish()
        return {}

    def _make_identifier(self, ring: KeyRing) -> Identifier:
        identity = self._settings.identity
        # Signatures bear a time and no nonce: they are told by the clock that callers have, too.
        signed = signature_memory(self._home)
        use_proof: UseOnce = proofs_once(self._home, self._settings)
        use_signature: UseOnce = signed.use_once
        if self._home.is_shared(self._settings):
            # A thread of its own: calls do not wait behind what else is slow.
            marking = ThreadPoolExecutor(1, "used-once")
            use_proof = use_signature = ClusterReplay(signed, self._store.use_once_each, marking).use_once
        externals = [
            ExternalIssuer(
                issuer.name,
                issuer.audience,
                issuer.jwks_uri,
                issuer.systems,
                time.time,
                allow_rs256=issuer.allow_rs256,
            )
            for issuer in identity.issuers
        ]
        self._tasks += [asyncio.create_task(issuer.keep_fresh(), name="issuer") for issuer in externals]
        own = OwnIssuer(self._issuer, identity.audience, ring)
        return Identifier(
            TokenVerifier(own, time.time, externals=externals),
            self._store.system,
            time.time,
            proofs=ProofVerifier(time.time, self._nonces.nonces),
            use_once=use_proof,
            origins=identity.origins,
            security=SecurityLog(time.monotonic),
            budget=FailureBudget(time.monotonic),
            legacy=LegacyIdentifier(
                self._store.legacy_key,
                self._store.system,
                ring,
                use_signature,
                time.time,
                national_window_seconds=identity.legacy_window_seconds,
                since=signed.since,
            ),
        )

    async def stop(self) -> None:
        """Drain, then close the journal: the last records are synced before the process ends."""
        if hasattr(self, "_plane"):
            # The supervisor holds the socket too: it would go on taking connections for nobody.
            cease_to_listen(self._listener)
            if self._checks is not None:
                self._checks.cease()
            await self._plane.drain(self._settings.data_plane.drain_seconds)
        for task in self._tasks:
            task.cancel()
        if hasattr(self, "_link"):
            self._link.close()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._checks is not None:
            self._checks.stop()
        if hasattr(self, "_journal"):
            self._journal.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if hasattr(self, "_words"):
            self._words.close()
            self._words_thread.shutdown(wait=False, cancel_futures=True)

    def reload(self) -> None:
        """Read the listener's certificate again; connections that stand are not touched."""
        self._reloading()
        if self._checks is not None:
            self._checks.reload()

    def _apply(self, change: Change) -> None:
        # INVARIANT: BARRIER: everything kept is dropped before anything is cut, and both before the acknowledgement.
        self._plane.forget()
        if change.kind is ChangeKind.POLICY:
            self._policies.changed(self._no_policies)
        self._engine.drop(change)
        self._identifier.forget(change)
        self._resolver.drop(change)
        if self._words.drop(change):
            # What repeated requests said, and what was rendered of them, goes with it.
            self._plane.blocks.forget()
            self._journal.forget()
            self._engine.drop(Change(sequence=change.sequence, kind=ChangeKind.POLICY, subject=change.subject))
        if self._checks is not None:
            self._checks.book.drop(change)
        if change.withdraws:
            self._plane.cut(lambda use: is_touched(change, use), decided=is_decided(change))

    def _drop_everything(self, sequence: int) -> None:
        self._plane.forget()
        # Other policies may be among what cannot be told.
        self._policies.changed(self._no_policies)
        self._engine.drop(Change(sequence=sequence, kind=ChangeKind.POLICY, subject="reset"))
        self._identifier.forget_all()
        self._resolver.drop_all()
        self._words.drop_all()
        if self._checks is not None:
            self._checks.book.drop_all()
        self._cut_all("the changes cannot be told one by one", decided=False)

    def _cut_all(self, reason: str, *, decided: bool = True) -> None:
        cut = self._plane.cut(lambda _: True, decided=decided)
        if cut:
            log.warning("cut %d answers: %s", cut, reason)

    def _poisoned(self, error: BaseException) -> None:
        # A journal that failed to sync is never synced again: this process ends, and its successor repairs the tail.
        log.critical("the journal failed (%s); this worker ends", type(error).__name__)
        os._exit(1)

    def _no_policies(self, error: BaseException) -> None:
        # What is in force cannot be loaded, and what was in force is not: this process ends. Its successor starts
        # only if it can load them.
        log.critical("the policies in force cannot be loaded (%s); this worker ends", type(error).__name__)
        os._exit(1)

    def _shadow_counts(self) -> bytes | None:
        """What the candidate in the shadow has counted, for the control process; None where there is none."""
        report = self._engine.shadow_report()
        return None if report is None else msgspec.msgpack.encode(report)


def limits_of(settings: DataPlaneSettings) -> Limits:
    """The data plane's limits as the settings have them."""
    return Limits(
        connections=settings.max_connections,
        header_timeout_seconds=settings.header_seconds,
        idle_timeout_seconds=settings.idle_seconds,
        body_progress_seconds=settings.body_seconds,
        write_progress_seconds=settings.body_seconds,
        least_rate_bytes=settings.least_rate,
        gather_seconds=settings.gather_seconds,
        exchange_seconds=settings.exchange_seconds,
        held_bytes=settings.held_bytes,
        system_concurrency=settings.system_concurrency,
        pool_idle_connections=settings.supplier_connections,
        queue=settings.waiting_calls,
        queue_seconds=settings.waiting_seconds,
        collect_bytes=settings.answer_bytes,
        collect_total_bytes=settings.gathered_bytes,
        circuit_failures=settings.circuit_failures,
        circuit_seconds=settings.circuit_seconds,
        half_close=settings.half_close,
    )
