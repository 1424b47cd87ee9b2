"""Values the store speaks in besides the domain's: pages and filters, entity tags, keys of older contracts, answers."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Generic, TypeVar

import msgspec

from gateway.domain.directory import EntryState, SharingAttribute
from gateway.domain.errors import GatewayError
from gateway.domain.grants import GrantState
from gateway.domain.orders import Reach

T = TypeVar("T")

MAX_PAGE = 1000
"""The most rows a page holds: larger answers are read page by page."""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a listing.

    Args:
        items: in the listing's order.
        cursor: pass it to get the next page; None on the last.
    """

    items: tuple[T, ...]
    cursor: str | None


class GrantFilter(msgspec.Struct, frozen=True):
    """Which grants to list; a field left out does not narrow.

    Args:
        states: any of these; empty is every state but superseded, whose versions `grant_history` lists.
        department: demand department.
        dataset: dataset id.
        supplier: supply department.
        region: prefix of the supplier's administrative division code, without trailing zeros.
        expires_after: valid until this moment or later; pages are then ordered by day of expiry.
        expires_before: valid until before this moment; pages are then ordered by day of expiry.
        disputed: whether a dispute is open.
        begins_after: valid from after this moment; pages are then ordered by that, or by day of expiry where a
            department, supplier or dataset narrows besides.
        begins_before: valid from this moment or earlier; pages are then ordered by day of expiry.
    """

    states: tuple[GrantState, ...] = ()
    department: str | None = None
    dataset: str | None = None
    supplier: str | None = None
    region: str | None = None
    expires_after: datetime | None = None
    expires_before: datetime | None = None
    disputed: bool | None = None
    begins_after: datetime | None = None
    begins_before: datetime | None = None

    @property
    def is_wide(self) -> bool:
        """Whether no department, supplier or dataset narrows it."""
        return self.department is None and self.supplier is None and self.dataset is None

    @property
    def is_by_time(self) -> bool:
        """Whether it narrows by when grants hold."""
        moments = (self.expires_after, self.expires_before, self.begins_after, self.begins_before)
        return any(moment is not None for moment in moments)


class DatasetFilter(msgspec.Struct, frozen=True):
    """Which entries to list.

    Args:
        state: of the version; released unless said otherwise.
        supplier: supply department.
        sharing_attribute: Decree 809 Art. 14.
        words: part of the name or code.
    """

    state: EntryState = EntryState.RELEASED
    supplier: str | None = None
    sharing_attribute: SharingAttribute | None = None
    words: str | None = None


class OrderFilter(msgspec.Struct, frozen=True):
    """Which orders to list; a field left out does not narrow. `concerned`: whose data, or for whom, it stops."""

    in_force: bool | None = None
    reach: Reach | None = None
    target: str | None = None
    supplier: str | None = None
    concerned: "Concerned | None" = None


class Concerned(msgspec.Struct, frozen=True):
    """Whom rows must concern, as supplier or as demand department: either narrows by itself, and both are joined.

    Args:
        region: departments of this prefix of the division code; "" is all.
        department: this department.
    """

    region: str | None = None
    department: str | None = None


class LegacyKey(msgspec.Struct, frozen=True):
    """A key of a contract that an older sharing platform speaks (one system, one purpose).

    Args:
        contract: which contract, such as `gjgxjhpt`.
        id: what the caller sends to name it.
        system: the system it belongs to.
        purpose: the one purpose it is bound to.
        secret: encrypted by the key ring; the store never sees it in the clear.
        active: False once withdrawn.
    """

    contract: str
    id: str
    system: str
    purpose: str
    secret: bytes
    active: bool = True


class Answer(msgspec.Struct, frozen=True):
    """What an act answered under an `Idempotency-Key`: `digest` is of the request, so that another is told apart."""

    digest: str
    status: int
    body: bytes


class Node(msgspec.Struct, frozen=True):
    """A node of a shared state.

    Args:
        id: its name.
        beat_unix: when it was last heard, Unix seconds.
        acknowledged: up to which change it has let go.
        address: where the others reach its control plane; "" where they cannot.
        listeners: on what it listens, as nodes write it (`runtime.listeners`).
    """

    id: str
    beat_unix: float
    acknowledged: int
    address: str = ""
    listeners: str = ""


class Drawn(msgspec.Struct, frozen=True):
    """That a department drew from a dataset for a purpose on a day (Decree 809 Art. 25 ¶2)."""

    dataset: str
    purpose: str
    day: date


class Disposal(msgspec.Struct, frozen=True):
    """The duty to dispose of what was drawn under a closed grant (Decree 809 Art. 27 ¶1).

    Args:
        grant: its id.
        department: the demand department that owes it.
        supplier: the supply department it is owed to.
        due_on: the last day.
        provisional: whether `due_on` runs into a year without an announced calendar.
        reason: why the grant was closed.
        destroyed_record: id of the destruction record that fulfils it, or None.
        destroyed_on: the day of the destruction, or None.
    """

    grant: str
    department: str
    supplier: str
    due_on: date
    provisional: bool = False
    reason: str = ""
    destroyed_record: str | None = None
    destroyed_on: date | None = None


def etag(value: msgspec.Struct) -> str:
    """The entity tag of a stored value (RFC 9110 §8.8.3, without quotes): the same value has the same tag."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]


def encode_cursor(place: Sequence[Any]) -> str:
    """An opaque cursor after the row whose sort key is `place`."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(place))).rstrip(b"=").decode()


def _can_stand_in_sql(part: int | str) -> bool:
    """Whether a database takes it as a parameter: integers of 64 bits, text without NUL."""
    return -(2**63) <= part < 2**63 if isinstance(part, int) else "\x00" not in part


def decode_cursor(cursor: str, kinds: Sequence[type]) -> tuple[Any, ...]:
    """The sort key a cursor stands for, checked against the listing's `kinds`.

    Raises:
        GatewayError: `invalid-input` for a cursor this listing did not give.
    """
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(cursor[:2048] + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if (
        not isinstance(place, list)
        or len(place) != len(kinds)
        or any(type(p) is not k for p, k in zip(place, kinds, strict=False))
        or not all(_can_stand_in_sql(part) for part in place)
    ):
        raise GatewayError(
            "invalid-input",
            "the cursor is not one that this listing gave",
            faults=[{"field": "cursor", "fault": "not a cursor of this listing"}],
        )
    return tuple(place)
