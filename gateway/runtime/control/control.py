"""The control process: the control API on uvicorn, the hub its workers hang on, the feed, and the acts' journal."""

import asyncio
import hmac
import logging
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from gateway.control.act.addresses import Proxies, address_behind
from gateway.control.act.lanes import share_threads
from gateway.control.act.nodes import NodeRoads
from gateway.control.act.services import ControlServices
from gateway.control.app.app import create_app
from gateway.control.barrier.feed import Feed
from gateway.control.barrier.hub import Hub
from gateway.control.barrier.roll import RollReader
from gateway.control.policies.desk import PolicyDesk
from gateway.control.sign_in.by_provider import bound_for_good, ender, noter
from gateway.control.sign_in.credentials import credentials_router
from gateway.control.sign_in.enrolment import people_routers
from gateway.control.sign_in.oauth import TOKEN_PATH, OAuthServices, presented_certificate
from gateway.control.sign_in.possession import Possession
from gateway.control.sign_in.sign_in import OfficerSignIn, SecondFactor, SignInServices, recorder, teller
from gateway.control.suppliers.checks import HostChecks
from gateway.domain.changes import Change
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import Networks
from gateway.identity.callers.assertions import AssertionVerifier
from gateway.identity.callers.dpop import ProofVerifier
from gateway.identity.callers.nonces import NonceKeeper
from gateway.identity.callers.security_log import FailureBudget, SecurityLog
from gateway.identity.keys.keyring import KeyRing
from gateway.identity.keys.symmetric import Pseudonymiser
from gateway.identity.keys.texts import TextSealer
from gateway.identity.officers.accounts import LocalAccounts
from gateway.identity.officers.oidc import OpenIdSignIn
from gateway.identity.tokens.issuing import TokenIssuer
from gateway.identity.tokens.verify import OwnIssuer, TokenVerifier
from gateway.ledger.journal.acts import ActJournal, acts_low_water_bytes
from gateway.ledger.log.notes import parse_verifier_key
from gateway.ledger.process.client import LedgerClient
from gateway.ledger.witness.witness import Witness
from gateway.policy import Engine
from gateway.policy.offline.activating import PolicyKeeper
from gateway.proxy.limits import Limits
from gateway.proxy.ports import Reach
from gateway.runtime.control.console import serve_console
from gateway.runtime.control.examining import Examiner
from gateway.runtime.control.provider import provider_of
from gateway.runtime.control.readiness import StateProof, answer_probes, readiness
from gateway.runtime.control.scraping import ScrapeCredential
from gateway.runtime.control.trying import Trials
from gateway.runtime.drawn import StateDrawnBook
from gateway.runtime.home import GatewayHome
from gateway.runtime.listeners.control import control_server, nodes_trust, own_address
from gateway.runtime.listeners.nodes import OwnListeners
from gateway.runtime.listeners.tls import Reloading, listener_context
from gateway.runtime.policies import initial_policies, policies_root, settled_by
from gateway.runtime.probe import probe_socket
from gateway.runtime.ring import nonce_keeper, open_ring, proofs_once
from gateway.runtime.settings import Settings
from gateway.runtime.start.adopting import adopt_certificates, pin_inherited
from gateway.runtime.start.incarnation import Position, begin_life, is_put_back
from gateway.runtime.start.naming import unnamed
from gateway.runtime.start.reconciling import after_failover, reconcile, settle
from gateway.runtime.suppliers import Contexts, Credentials, SupplierReach
from gateway.runtime.telemetry.coarse import CoarseFigures
from gateway.runtime.telemetry.due import Due
from gateway.runtime.telemetry.metrics import MetricSet, Publisher, read_snapshots, render
from gateway.runtime.telemetry.observing import ObservedBarrier
from gateway.store import Store
from gateway.store.feed import Listener

log = logging.getLogger("gateway.control")

FORGET_SECONDS = 60.0
"""How often one-time values whose time is over are forgotten."""
FIRST_SECONDS = 900.0
"""When for the first time after a start: no value that is good once is good for as long."""
SETTLE_SECONDS = 5.0
"""How often the log's newest checkpoint is kept in the state: as many seconds of records are read at a start."""
LISTENERS_SECONDS = 0.5
"""How often this node's listeners are told, until all of them listen."""

GATHER_SECONDS = 1.0
"""How often the workers' counts for a candidate in the shadow are kept; they send them as often."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a control plane is made of, to start and to close.

    Args:
        services: what the routes need.
        store: the state.
        acts: the journal of officers' acts.
        ring: the keys, for what falls due.
        nonces: keeps DPoP nonces made with the cluster's secrets.
        proof: proves that the state takes writes.
        feed: reads the change feed for the hub; None in a command on a stopped home.
        hub: what workers hang on; None likewise.
        provider: the OpenID provider that officers sign in at; None where settings name none.
    """

    services: ControlServices
    store: Store
    acts: ActJournal
    ring: KeyRing
    nonces: NonceKeeper
    proof: StateProof
    feed: Feed | None
    hub: Hub | None
    provider: OpenIdSignIn | None = None

    def close(self) -> None:
        """Stop in reverse order; the acts' journal is synced."""
        if self.feed is not None:
            self.feed.stop()
        if self.hub is not None:
            self.hub.stop()
        self.acts.close()
        self.store.close()


def assemble(
    home: GatewayHome,
    settings: Settings,
    issuer: str,
    *,
    with_hub: bool,
    is_first: bool = False,
    roll: RollReader | None = None,
) -> Parts:
    """Wire a control plane for `home`.

    Args:
        home: where the gateway lives.
        settings: in force.
        issuer: the `iss` of its tokens, its public base URL.
        with_hub: whether workers hang on this process; else acts wait for nobody here.
        is_first: whether no other control process can have granted leases that still run.
        roll: tells the hub of every worker process, also of those that never spoke to it.
    """
    home.require_state(settings)
    store = Store.open(home.state_url(settings), memory=home.state_memory)
    keeper = PolicyKeeper(store, initial_policies(settings), settled_by(settings))
    engine = Engine(keeper.now.layers, store.slice_state, drawn=StateDrawnBook(store))
    keeper.attach(engine)
    ring = open_ring(home, settings, frozenset({"token", "field", "pseudonym", "witness"}))
    tokens = TokenIssuer(ring, issuer, settings.identity.audience, time.time)
    security = SecurityLog(time.monotonic)
    proxies = Proxies(settings.identity.trusted_proxies)
    address = address_behind(proxies)
    acts = ActJournal(
        home.ledger,
        "control",
        clock_ns=time.time_ns,
        low_water_bytes=acts_low_water_bytes(settings.ledger.low_water_bytes),
    )
    nonces = nonce_keeper(home, settings, store, ring)
    nonces.refresh()
    possession = Possession(ProofVerifier(time.time, nonces.nonces), proofs_once(home, settings), issuer)
    provider = provider_of(settings, issuer)
    sign_in = SignInServices(
        issuer=tokens,
        officer=store.officer,
        open_session=store.open_session,
        known_as=bound_for_good(store),
        security=security,
        accounts=LocalAccounts(store.officer, store.officer_secret, time.monotonic),
        provider=provider,
        cipher=ring.field_cipher,
        use_once=store.use_once,
        end_as=ender(store, acts),
        note_provider=noter(store),
        tell=teller(store),
        signed_in=recorder(acts),
        possession=possession,
        second_factor=SecondFactor(store.authenticator, ring.field_cipher, store.use_once, time.time),
        address=address,
    )
    oauth = OAuthServices(
        issuer=tokens,
        assertions=AssertionVerifier(issuer, issuer.rstrip("/") + TOKEN_PATH, store.system, store.use_once, time.time),
        proofs=ProofVerifier(time.time, nonces.nonces),
        system=store.system,
        use_once=store.use_once,
        jwks=ring.jwks,
        security=security,
        budget=FailureBudget(time.monotonic),
        client_certificate=presented_certificate(proxies),
        address=address,
        further=(credentials_router(ring), *people_routers(sign_in)),
    )
    verifier = TokenVerifier(OwnIssuer(issuer, settings.identity.audience, ring), time.time)
    pseudonymiser = Pseudonymiser(ring, time.time)
    hub = feed = None
    many = home.is_shared(settings)
    # One log, one origin, one node: three gateways on one host have three names.
    node = home.origin(settings) if many else None
    position = Position(home)
    texts = TextSealer(ring)
    word_of = partial(texts.mark, "")
    if with_hub:
        hub = Hub(
            home.control_socket,
            freshness=settings.state.freshness_seconds,
            after_another=not is_first,
            roll=roll,
        )
        feed = Feed(
            store,
            hub,
            node=node,
            book=store if many else None,
            now=time.time if many else None,
            on_policies=keeper.refresh,
            on_history=lambda: after_failover(store, acts, home.ledger, home.origin(settings), position, word_of),
        )

    def tell(changes: Sequence[Change]) -> None:
        if feed is not None:
            feed.tell(changes)
        if many:
            try:
                position.note(changes)
            except (OSError, GatewayError):
                # The act stands, and its barrier is held all the same.
                log.exception("up to where the state stands cannot be noted in the home")

    barrier = ObservedBarrier(
        hub,
        tell,
        node=node,
        nodes=store if many else None,
        freshness=settings.state.freshness_seconds,
        unsent_bytes=Limits().unsent_bytes,
    )
    roads = NodeRoads(node, store.nodes, time.time, nodes_trust(settings.control)) if node is not None else None
    proof = StateProof(store, home.origin(settings))
    coarse, scraping = CoarseFigures(home.run / "metrics"), ScrapeCredential(home, settings)
    ledger = LedgerClient(home.ledger_socket)
    spool = home.run / "spool"
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(mode=0o700)
    services = ControlServices(
        store=store,
        engine=engine,
        acts=acts,
        ledger=ledger,
        sign_in=OfficerSignIn(verifier, store, security, time.time, possession, address=address),
        barrier=barrier,
        now=time.time,
        tree=home.ledger / "tree",
        spool=spool,
        policies_root=policies_root(settings),
        policies=PolicyDesk(
            store,
            keeper,
            Examiner(home.state_url(settings), settled=settled_by(settings)),
            node=home.origin(settings),
            counters=hub,
            proofs=settings.policies.proofs,
            two_persons=settings.policies.two_persons,
        ),
        oauth=oauth,
        hub=hub,
        metrics=lambda: _metrics(home, coarse),
        may_scrape=scraping.is_held,
        readiness=lambda: readiness(home, hub, proof),
        witness=_witness(home, settings, ring),
        roads=roads,
        hosts=host_checks(home, settings, store, ring),
        trials=Trials(partial(_reach_once, home, settings, store, ring)),
        unseal=lambda sealed, context: ring.field_cipher().unseal(sealed, context),
        seal=lambda secret, context: ring.field_cipher().seal(secret, context),
        open_text=texts.open,
        seal_text=texts.seal,
        word_of=word_of,
        secret_mark=lambda secret: hmac.digest(ring.derived_secret("idempotency"), secret.encode(), "sha256").hex(),
        pseudonyms=lambda identifier: tuple(pseudonymiser.every(identifier, ring.pseudonym_years())),
        address=address,
    )
    return Parts(services, store, acts, ring, nonces, proof, feed, hub, provider)


def _reach_once(home: GatewayHome, settings: Settings, store: Store, ring: KeyRing, interface: Interface) -> Reach:
    """How an interface that is tried is called; what is opened for that is held no longer than the call."""
    reach = SupplierReach(
        store,
        Contexts(store.certificates, ring.field_cipher),
        Credentials(ring.field_cipher, Limits()),
        Networks(settings.suppliers.networks),
        OwnListeners(home, settings, store.nodes),
    )
    return reach(interface)


def host_checks(home: GatewayHome, settings: Settings, store: Store, ring: KeyRing) -> HostChecks:
    """What suppliers' hosts are judged by."""
    contexts = Contexts(store.certificates, ring.field_cipher)
    return HostChecks(
        networks=Networks(settings.suppliers.networks),
        is_own=OwnListeners(home, settings, store.nodes),
        context=lambda host: contexts.context(host.supplier, host.authority, None),
    )


def _witness(home: GatewayHome, settings: Settings, ring: KeyRing) -> Witness | None:
    """This node as a witness of the logs in its settings, or None where there are none."""
    keys = [parse_verifier_key(text) for text in settings.ledger.witnessed_logs]
    if not keys:
        return None
    name = home.witness_name(settings)
    return Witness(
        home.root / "witness.db",
        name=name,
        signer=ring.witness_signer(name),
        logs={key.name: [key] for key in keys},
        clock=time.time,
    )


async def _gather_shadow(desk: PolicyDesk) -> None:
    """Keep what this node's workers count for a candidate in the shadow, so that it outlives them."""
    while True:
        await asyncio.sleep(GATHER_SECONDS)
        try:
            await asyncio.to_thread(desk.gather)
        except GatewayError as error:
            log.warning("what the candidate in the shadow counts is not kept for now: %s", error.code)


async def _settle(services: ControlServices, home: GatewayHome, origin: str) -> None:
    """Keep the log's newest checkpoint in the state: what is less than it is never signed from again.

    And find out what became of acts of which the state did not say whether it has kept them.
    """
    store, unsettled = services.store, services.unsettled
    while True:
        await asyncio.sleep(SETTLE_SECONDS)
        try:
            await asyncio.to_thread(unsettled.settle, store, services.acts)
            await asyncio.to_thread(partial(settle, store, home.ledger, origin, unsettled=unsettled))
        except GatewayError as error:
            log.warning("the log's newest checkpoint is not in the state for now: %s", error.detail)


async def _forget_expired(store: Store) -> None:
    """Forget used one-time values once they could not be accepted anyway, whatever the clock is set to meanwhile."""
    now = unhurried(time.time, time.monotonic)
    while True:
        await asyncio.sleep(FORGET_SECONDS)
        try:
            await asyncio.to_thread(store.forget_expired, int(now()))
        except GatewayError as error:
            log.warning("expired one-time values stay for now: %s", error.code)


def unhurried(now: Callable[[], float], ticks: Callable[[], float]) -> Callable[[], float]:
    """What `now` says, but never more than has gone by since by `ticks`, nor anything for `FIRST_SECONDS`.

    A clock that is set on forgets nothing that would be missed once it is set back; and who starts under such a clock
    waits for longer than any value is good that was used before.
    """
    began, at = now(), ticks()

    def told() -> float:
        gone = ticks() - at
        return min(now(), began + gone) if gone > FIRST_SECONDS else 0.0

    return told


async def _pin_inherited(services: ControlServices) -> None:
    """Look up where hosts are that interfaces inherited; once, beside the start, since a name server may be slow.

    Then say which are called that the settings do not name.
    """
    try:
        await asyncio.to_thread(pin_inherited, services.store, services.hosts)
    except GatewayError as error:
        log.warning("inherited hosts are not looked up before the next start: %s", error.code)
        return
    said = unnamed(services.store.hosts(standing=True), services.hosts.networks)
    if said is not None:
        log.error("%s; what to do: %s", said.what, said.advice)


def _metrics(home: GatewayHome, coarse: CoarseFigures) -> str:
    """The figures of all processes of this gateway, as Prometheus text."""
    text, _ = render(read_snapshots(home.run / "metrics"), time.monotonic(), cover=coarse.cover)
    return text.decode()


class Control:
    """The control process.

    Args:
        home: where the gateway lives.
        settings: in force.
        issuer: the `iss` of its tokens.
        listen_fd: the listening socket that the supervisor opened.
        is_first: whether this is the home's first control process since it was locked.
        roll: the supervisor's roll of workers.
    """

    def __init__(
        self,
        home: GatewayHome,
        settings: Settings,
        issuer: str,
        listen_fd: int,
        *,
        is_first: bool,
        roll: RollReader | None = None,
    ) -> None:
        self._is_first = is_first
        self._roll = roll
        self._home = home
        self._settings = settings
        self._issuer = issuer
        self._listener = socket.socket(fileno=listen_fd)
        self._parts: Parts | None = None
        self._server: uvicorn.Server | None = None
        self._reloading = Reloading(None, self._settings.control)
        self._telling: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._figures: list[asyncio.Task[None]] = []
        self._heard: Listener | None = None
        self._probe: asyncio.Server | None = None

    async def start(self) -> dict[str, Any]:
        """Migrate the state, take up the feed, and answer."""
        self._parts = await asyncio.to_thread(
            assemble,
            self._home,
            self._settings,
            self._issuer,
            with_hub=True,
            is_first=self._is_first,
            roll=self._roll,
        )
        # A gateway that cannot keep a stop does not start.
        await asyncio.to_thread(self._parts.proof.prove)
        assert self._parts.feed is not None
        services = self._parts.services
        clients = self._home.keys(self._settings) / "suppliers"
        await asyncio.to_thread(adopt_certificates, services.store, clients, services.seal, time.time)
        # Before any worker gets a lease: what a state put back from a backup has lost is held by then.
        await asyncio.to_thread(self._reconcile, self._parts)
        await asyncio.to_thread(self._parts.feed.start)
        if self._home.is_shared(self._settings):
            # Another node's change is heard at once, and not only at the next reading of the feed.
            feed = self._parts.feed
            self._heard = self._parts.store.listen(lambda _changes: feed.wake())
            address = own_address(self._settings.control, self._listener)
            await asyncio.to_thread(self._parts.store.announce, self._home.origin(self._settings), address)
            self._telling = asyncio.create_task(self._tell_listeners(self._parts.store), name="listeners")
        self._publish_figures(self._parts)
        tls = listener_context(self._settings.control)
        self._reloading = Reloading(tls, self._settings.control)
        share_threads()
        app = create_app(self._parts.services)
        serve_console(app, self._parts.services, self._settings.control, self._issuer)
        self._server = control_server(app, tls)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="uvicorn")
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.01)
        self._probe = await answer_probes(probe_socket(self._home.root), self._parts.services.readiness)
        return {}

    async def _tell_listeners(self, store: Store) -> None:
        """Tell the other nodes on what this one listens: at once by its settings, and when all of it does."""
        own, node = OwnListeners(self._home, self._settings), self._home.origin(self._settings)
        is_whole = False
        while not is_whole:
            is_whole = await asyncio.to_thread(self._home.addresses) is not None
            try:
                await asyncio.to_thread(lambda: store.tell_listeners(node, own.told()))
            except GatewayError as error:
                log.warning("the other nodes are not told of this one's listeners yet: %s", error.code)
                is_whole = False
            await asyncio.sleep(LISTENERS_SECONDS)

    def _reconcile(self, parts: Parts) -> None:
        home, store = self._home, parts.store
        origin = home.origin(self._settings)
        reconcile(store, parts.acts, home.ledger, origin, parts.services.word_of, put_back=is_put_back(home, store))
        if self._is_first:
            begin_life(home, store)

    def _publish_figures(self, parts: Parts) -> None:
        metrics = MetricSet("control")
        files = {
            "data-plane": self._settings.data_plane.tls_certificate,
            "control": self._settings.control.tls_certificate,
        }
        own: dict[str, Path | float] = {name: file for name, file in files.items() if file is not None}
        stored = parts.store.all_certificates

        def certificates() -> dict[str, Path | float]:
            return own | {f"supplier-{one.supplier}-{one.name}": float(one.not_after_unix) for one in stored()}

        due = Due(metrics, parts.store, parts.ring.list, certificates, time.time)
        barrier = parts.services.barrier
        assert isinstance(barrier, ObservedBarrier)
        state = parts.store.database

        def state_trouble() -> None:
            metrics.gauge("gateway_state_trouble").set(int(bool(state.trouble)))

        filling = [lambda: barrier.fill(metrics), state_trouble]
        publisher = Publisher(metrics, self._home.run / "metrics", filling, time.monotonic)
        self._figures = [
            asyncio.create_task(due.run(), name="due"),
            *([asyncio.create_task(parts.provider.watch(), name="provider")] if parts.provider else []),
            asyncio.create_task(publisher.run(), name="metrics"),
            asyncio.create_task(_forget_expired(parts.store), name="forget"),
            asyncio.create_task(_settle(parts.services, self._home, self._home.origin(self._settings)), name="settle"),
            asyncio.create_task(parts.nonces.run(), name="nonces"),
            asyncio.create_task(parts.proof.run(), name="state-proof"),
            asyncio.create_task(_gather_shadow(parts.services.policies), name="shadow"),
            asyncio.create_task(_pin_inherited(parts.services), name="hosts"),
        ]

    async def stop(self) -> None:
        """Finish running requests, then let go of hub, journal and state."""
        if self._probe is not None:
            self._probe.close()
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        for task in (*self._figures, *([self._telling] if self._telling else [])):
            task.cancel()
        if self._heard is not None:
            await asyncio.to_thread(self._heard.close)
        if self._parts is not None:
            await asyncio.to_thread(self._parts.close)

    def reload(self) -> None:
        """Read the listener's certificate again; the key ring notices rotated keys by itself."""
        self._reloading()


def local_app(home: GatewayHome, settings: Settings, issuer: str) -> tuple[FastAPI, AbstractAsyncContextManager[None]]:
    """The control API for a command on a stopped home, and what closes it; the caller holds the home's lock."""
    parts = assemble(home, settings, issuer, with_hub=False)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(parts.close)

    return create_app(parts.services), lifespan()
