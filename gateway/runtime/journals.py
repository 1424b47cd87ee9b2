"""The ledger process: integrates every writer's journal into the log, indexes it, and answers questions about it."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.ledger.archive.target import Target, parse_address
from gateway.ledger.log.checkpoints import Checkpoint
from gateway.ledger.process.service import LedgerService
from gateway.ledger.witness.witness import WitnessTarget
from gateway.runtime.home import GatewayHome
from gateway.runtime.ring import open_ring
from gateway.runtime.settings import ArchiveSettings, Settings
from gateway.runtime.telemetry.metrics import MetricSet, Publisher
from gateway.runtime.telemetry.observing import LedgerFigures

log = logging.getLogger("gateway.ledger")


class Journals:
    """One node's ledger service in a process of its own; it alone holds the log's signing key.

    Args:
        home: where the gateway lives.
        settings: in force.
    """

    def __init__(self, home: GatewayHome, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._stop = threading.Event()
        self._service: LedgerService | None = None
        self._thread: threading.Thread | None = None
        self._publishing: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, Any]:
        """Open the log, which checks it and finishes what was cut off, and begin."""
        service = await asyncio.to_thread(self._open)
        metrics = MetricSet("ledger")
        figures = LedgerFigures(metrics, service.status, self._home.ledger)
        publisher = Publisher(metrics, self._home.run / "metrics", [figures.fill], time.monotonic)
        self._publishing = asyncio.create_task(publisher.run(), name="metrics")
        return {}

    def _open(self) -> LedgerService:
        home, settings = self._home, self._settings
        ring = open_ring(home, settings, frozenset({"log"}))
        origin = home.origin(settings)
        service = LedgerService(
            home.ledger,
            origin=origin,
            signer=ring.log_signer(origin),
            witnesses=witness_targets(settings.ledger.witnesses),
            exports=home.run / "spool",
            clock=time.time,
            known=_known(home, settings, origin),
            archive=archive_target(settings.archive),
            archive_seconds=settings.archive.interval_seconds,
        )
        service.serve_questions(home.ledger_socket)
        self._service = service
        self._thread = threading.Thread(target=self._run, name="integrate", daemon=True)
        self._thread.start()
        return service

    def _run(self) -> None:
        assert self._service is not None
        try:
            self._service.run(self._stop)
        except GatewayError as error:
            # It stays up to say so: `gateway status` and /readyz show the fault, and questions are still answered.
            log.critical("the log cannot go on: %s", error.detail)
        except Exception:
            log.exception("integration failed; this process ends and its successor goes on from what is on disk")
            os._exit(1)

    async def stop(self) -> None:
        """Integrate what is confirmed, then close."""
        self._stop.set()
        if self._publishing is not None:
            self._publishing.cancel()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        if self._service is not None:
            await asyncio.to_thread(self._service.close)

    def reload(self) -> None:
        """Nothing to read again: the log's key is fixed for the log's life."""


def _known(home: GatewayHome, settings: Settings, origin: str) -> Checkpoint | None:
    """The largest checkpoint of this log that the state knows; None where it knows none, or cannot say.

    A log whose `signer.db` stands goes on while the state is away, or is being migrated: it knows what it signed.

    Raises:
        GatewayError: `unavailable` where neither can say it.
    """
    from gateway.store import Store  # noqa: PLC0415 -- asked once; the ledger needs no state else

    try:
        with Store.open(
            home.state_url(settings), memory=home.state_memory, migrate_forward=False, read_only=True
        ) as store:
            known = store.known_log(origin)
    except GatewayError as error:
        if not (home.ledger / "signer.db").exists() and home.is_shared(settings):
            raise
        log.warning("the log goes on without what the state knows of it: %s", error.detail)
        return None
    return Checkpoint(origin, known.size, known.root) if known else None


def archive_target(settings: ArchiveSettings) -> Target | None:
    """The object store that the settings name; None where they name none."""
    if settings.url is None:
        return None
    bucket, prefix = parse_address(settings.url)
    return Target(
        bucket,
        prefix,
        endpoint=settings.endpoint or "",
        region=settings.region or "",
        path_style=settings.path_style,
        credentials=str(settings.credentials or ""),
        authority=str(settings.authority or ""),
        encryption="" if settings.encryption == "bucket" else settings.encryption,
    )


def witness_targets(settings: Sequence[str]) -> list[WitnessTarget]:
    """The witnesses of the settings, each `<verifier key> <URL>`, which the settings have checked."""
    targets = []
    for setting in settings:
        key, _, url = setting.strip().partition(" ")
        targets.append(WitnessTarget(url=url.strip(), key=key))
    return targets
