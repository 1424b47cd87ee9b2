"""Record ids and moments as they may stand in a record: told from what no record can have."""

import base64
import binascii

from gateway.domain.errors import GatewayError
from gateway.ledger.log.decimals import parse_decimal

MAX_ID = 64
LAST_SECOND = 253_402_214_400
"""9999-12-31T00:00:00Z: later than that there is a moment that has no day in China."""


def check_second(field: str, unix: int) -> None:
    """Raise `invalid-input`, naming `field`, unless `unix` lies between 1970 and the last day of 9999."""
    if not 0 <= unix <= LAST_SECOND:
        raise _invalid(field, "has to lie between 1970-01-01 and 9999-12-31")


def parse_record_id(record: str) -> tuple[str, int]:
    """The run and number of a record id.

    Raises:
        GatewayError: `invalid-input` if it is none: no writer is so called, or counts so far.
    """
    run, _, number = record.rpartition("-")
    fault = _invalid("id", "is not a record id, which is a run, `-` and a number")
    if not run.isascii() or not run.isalnum() or len(record) > MAX_ID or started_unix(run) > LAST_SECOND:
        raise fault
    try:
        return run, parse_decimal(number)
    except ValueError as error:
        raise fault from error


def started_unix(run: str) -> int:
    """When the writer whose run this is began, Unix seconds; 0 where the name does not say."""
    try:
        return int.from_bytes(base64.b32hexdecode(run[:8].upper()), "big")
    except binascii.Error:
        return 0


def _invalid(field: str, fault: str) -> GatewayError:
    return GatewayError("invalid-input", f"`{field}` {fault}", faults=[{"field": field, "fault": fault}])
