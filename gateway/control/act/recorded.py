"""An act's record and what became of the act: it stands, it was voided, or the state has still to say.

A record is durable before its act is committed. Where the commit fails, a second record voids the first. Where the
state did not say whether it has kept the act, because its connection broke or no standby confirmed it, nothing is said
of it until the state is asked: a record that calls a standing stop void would be a false one.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gateway.domain.errors import GatewayError, InDoubtError
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.ledger.journal.acts import ActJournal, void_of
from gateway.store import Store

log = logging.getLogger(__name__)

Told = tuple[Mapping[str, Any], ...]


class Written:
    """The records of one act: none yet, or all of them."""

    def __init__(self, unsettled: "Unsettled") -> None:
        self._unsettled = unsettled
        self.records: tuple[str, ...] = ()
        self.told: Told = ()

    def note(self, records: Sequence[str], told: Sequence[Mapping[str, Any]]) -> None:
        """They are written, and the act is about to be committed."""
        self.records, self.told = tuple(records), tuple(told)
        self._unsettled.begin(self)


class Unsettled:
    """The acts of this process that are on record and of which it is not known yet whether they stand.

    What of them is left when the process ends is found by the next start, which compares record and state.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, Written] = {}
        self._in_doubt: dict[int, Written] = {}

    def __bool__(self) -> bool:
        return bool(self._open or self._in_doubt)

    def begin(self, written: Written) -> None:
        """An act is about to be committed."""
        with self._lock:
            self._open[id(written)] = written

    def end(self, written: Written) -> None:
        """What became of it is known, or it is in doubt."""
        with self._lock:
            self._open.pop(id(written), None)

    def doubt(self, written: Written) -> None:
        """The state did not say whether it has kept it."""
        log.warning("the state did not say whether the act of record `%s` stands: it is asked", written.records[0])
        with self._lock:
            self._in_doubt[id(written)] = written

    def settle(self, store: Store, acts: ActJournal) -> None:
        """Ask the state about each act in doubt, and void the records of those that do not stand.

        A transaction that writes waits for whatever was still being committed, so what it does not find will not come.

        Durability: records are synced on return.

        Raises:
            GatewayError: the state cannot say yet; what is left is asked again.
        """
        for key, written in list(self._in_doubt.items()):
            with store.transaction() as tx:
                stands = bool(tx.has_acts(written.records))
            log.warning("the act of record `%s` %s", written.records[0], "stands" if stands else "does not stand")
            if not stands:
                _void(acts, written)
            with self._lock:
                self._in_doubt.pop(key, None)


@contextmanager
def recorded(unsettled: Unsettled, acts: ActJournal) -> Iterator[Written]:
    """What is noted within stands when this ends; if it raises, it is voided, or in doubt where that is not known."""
    written = Written(unsettled)
    try:
        yield written
    except InDoubtError:
        if written.records:
            unsettled.doubt(written)
        raise
    except BaseException:
        if written.records:
            try:
                _void(acts, written)
            except GatewayError:
                log.error(
                    "record `%s` tells of an act that was not committed, and could not be voided", written.records[0]
                )
        raise
    finally:
        unsettled.end(written)


def _void(acts: ActJournal, written: Written) -> None:
    """Say that what records tell did not come to stand, to whom they are told."""
    rows = [
        void_of(record, fields, Phrase("not committed"))
        for record, fields in zip(written.records, written.told, strict=True)
    ]
    acts.append_all(RecordKind.CONSULTATION, rows)
