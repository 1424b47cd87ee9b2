"""The listener for those who carry calls themselves, as the settings have it (`gateway.authorizer`)."""

import asyncio
import logging
import os
import socket
from pathlib import Path

from gateway.authorizer.askers import CREDENTIAL_CHARACTERS, Carrier, digest_of, make_carrier
from gateway.authorizer.authzen.evaluating import Evaluating, Evaluator
from gateway.authorizer.authzen.questions import AuthZen
from gateway.authorizer.desk import Desk
from gateway.domain.errors import GatewayError
from gateway.proxy.kernel import cease_to_listen
from gateway.proxy.plane import DataPlane
from gateway.runtime.home import GatewayHome
from gateway.runtime.listeners.tls import Reloading, listener_context
from gateway.runtime.settings import ChecksSettings
from gateway.runtime.telemetry.metrics import MetricSet
from gateway.runtime.telemetry.observing import take_desk
from gateway.runtime.worker.book import StateBook

log = logging.getLogger(__name__)

FOLDER = "closings"
"""Of the workers' sockets, in the run folder."""


class ChecksListener:
    """One worker's.

    Args:
        home: where the gateway lives.
        settings: in force.
        descriptor: of the socket that the supervisor bound.
        book: looks up what evaluations ask about.

    Raises:
        GatewayError: `unavailable` where a credential or a certificate cannot be read.
    """

    def __init__(self, home: GatewayHome, settings: ChecksSettings, descriptor: int, book: StateBook) -> None:
        self._home = home
        self._settings = settings
        self._socket = socket.socket(fileno=descriptor)
        self._carriers, self._evaluators = askers_of(home, settings)
        self.book = book
        self._tls = listener_context(settings)
        self._reloading = Reloading(self._tls, settings)
        self._desk: Desk | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self, plane: DataPlane, worker: str, run: str) -> None:
        """Begin to answer.

        Args:
            plane: the data plane whose ports it asks.
            worker: this worker's name.
            run: what its record ids begin with.
        """
        authzen = AuthZen(Evaluating(plane, self.book), self._evaluators)
        self._desk = Desk(plane, self._carriers, authzen, self._settings.unclosed_seconds)
        await self._desk.serve(self._socket, self._home.run / FOLDER, worker, run, self._tls)

    def fill(self, metrics: MetricSet) -> None:
        """Bring the figures up to date."""
        if self._desk is not None:
            take_desk(metrics, len(self._desk.open_uses), self._desk.authzen.asked)

    def cease(self) -> None:
        """Take no more connections: the supervisor holds the socket too."""
        cease_to_listen(self._socket)

    def stop(self) -> None:
        """Close what carriers have not closed; before the journal closes."""
        if self._desk is not None:
            self._desk.stop()

    def reload(self) -> None:
        """Read the listener's certificate again, and the credentials of those who ask."""
        self._reloading()
        self._reading = asyncio.get_running_loop().create_task(self._read(), name="credentials")

    async def _read(self) -> None:
        try:
            carriers, evaluators = await asyncio.to_thread(askers_of, self._home, self._settings)
        except GatewayError as error:
            log.error("%s; the old ones stay", error.detail)
            return
        if self._desk is not None:
            self._desk.carriers = carriers
            self._desk.authzen.evaluators = evaluators


def askers_of(home: GatewayHome, settings: ChecksSettings) -> tuple[tuple[Carrier, ...], tuple[Evaluator, ...]]:
    """Those who may ask for checks and for evaluations, with their credentials.

    Raises:
        GatewayError: `unavailable` where a credential is missing, too short, or another's.
    """
    folder = settings.credentials or home.root / "checks"
    carriers = tuple(
        make_carrier(each.name, each.kind, _credential(folder / each.name), each.paths) for each in settings.carriers
    )
    evaluators = tuple(
        Evaluator(
            each.name,
            digest_of(_credential(folder / each.name)),
            frozenset(each.departments),
            frozenset(each.datasets),
        )
        for each in settings.evaluators
    )
    digests = [*(each.digest for each in carriers), *(each.digest for each in evaluators)]
    if len(set(digests)) < len(digests):
        raise GatewayError("unavailable", f"two of the credentials in `{folder}` are the same: give each its own")
    return carriers, evaluators


def _credential(file: Path) -> bytes:
    try:
        credential = file.read_bytes().strip()
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise GatewayError(
            "unavailable",
            f"the credential `{file}` cannot be read ({reason}): `openssl rand -hex 32 > {file}`",
        ) from error
    if len(credential) < CREDENTIAL_CHARACTERS or not credential.isascii() or b" " in credential:
        raise GatewayError(
            "unavailable", f"the credential `{file}` is no {CREDENTIAL_CHARACTERS} ASCII characters without spaces"
        )
    return credential
