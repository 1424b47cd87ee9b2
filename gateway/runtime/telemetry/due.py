"""What falls due, as figures: certificates and keys that age, grants that end, duties that are late.

Read once a minute, in a thread: none of it changes from one call to the next, and counting asks the database.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from gateway.domain.errors import GatewayError
from gateway.identity.keys.keyring import KeyInfo
from gateway.runtime.telemetry.metrics import MetricSet
from gateway.store import Store
from gateway.store.figures import Figures

log = logging.getLogger("gateway.due")

READ_SECONDS = 60.0
SOON_DAYS = (7, 30)


class Due:
    """Reads what falls due and keeps it for the metrics.

    Args:
        metrics: the control process's.
        store: the state.
        keys: the key ring's list.
        certificates: name to PEM file, or to when it ends; a file's chain counts as what ends first.
        now: Unix seconds.
    """

    def __init__(
        self,
        metrics: MetricSet,
        store: Store,
        keys: Callable[[], Iterable[KeyInfo]],
        certificates: Callable[[], Mapping[str, Path | float]],
        now: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._keys = keys
        self._certificates = certificates
        self._now = now

    async def run(self) -> None:
        """Read until cancelled; a database that does not answer leaves the last figures as they were."""
        while True:
            try:
                figures = await asyncio.to_thread(self._read)
            except GatewayError as error:
                log.warning("what falls due could not be read: %s", error.code)
            else:
                self.take(figures)
            await asyncio.sleep(READ_SECONDS)

    def _read(self) -> list[Figures]:
        at = datetime.fromtimestamp(self._now(), UTC)
        return [self._store.figures(at, within_days=days) for days in SOON_DAYS]

    def take(self, figures: list[Figures]) -> None:
        """Set the gauges, on the loop."""
        metrics, newest = self._metrics, figures[-1]
        for moment in figures:
            metrics.gauge("gateway_grants_expiring").set(moment.expiring, (str(moment.within_days),))
        metrics.gauge("gateway_grants_in_force").set(newest.active)
        for kind, count in newest.orders_in_force.items():
            metrics.gauge("gateway_orders_in_force").set(count, (kind,))
        metrics.gauge("gateway_rectifications_overdue").set(newest.rectification_overdue)
        metrics.gauge("gateway_reports_overdue").set(newest.report_overdue)
        metrics.gauge("gateway_disposals_overdue").set(newest.disposals_overdue)
        expiry: dict[str, int] = {}
        for key in self._keys():
            if key.state == "active":
                metrics.gauge("gateway_key_made_timestamp_seconds").set(key.created_unix, (key.purpose,))
            elif key.not_after_unix is not None:
                expiry[key.purpose] = max(expiry.get(key.purpose, 0), key.not_after_unix)
        for purpose, until in expiry.items():
            metrics.gauge("gateway_key_expiry_timestamp_seconds").set(until, (purpose,))
        ends = metrics.gauge("gateway_certificate_expiry_timestamp_seconds")
        ends.clear()
        for name, found in self._certificates().items():
            end = found if isinstance(found, float) else certificate_end_unix(found)
            if end is not None:
                ends.set(end, (name,))


def certificate_end_unix(path: Path) -> float | None:
    """When the first certificate of a PEM chain ends; None where the file cannot be read."""
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None
    return min(certificate.not_valid_after_utc.timestamp() for certificate in chain)
