"""Canonical entries: what a record says, as the bytes the log hashes.

An entry is one JSON object: UTF-8, keys sorted by code point at every depth, no white space, no floats, at most
65,535 bytes. Every entry has `v` (1; 2 of uses, whose callers' words are digests), `kind`, `id`, `time` (Unix
nanoseconds), `retain_until` (a date) and `salt`
(16 random bytes, hex): hashes stay in the log when entries are pruned, and without salt a guessed record could be
confirmed by its hash. The bytes are made once, when the record is written, and never again.

INVARIANT: NO-VALUES: an entry names items, counts and digests. Parameter values, bodies, tokens and the data
subject's identifier do not reach this module; of the parameters a grant may constrain, the names are kept. A caller's
own words (purpose, scenario, operator) come as registered names or as digests of texts that stand elsewhere
(`gateway.domain.texts`); a use that bears them as texts gets no entry.
"""

import base64
import hashlib
import os
import re
import threading
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from gateway.domain.calendar import CHINA, CHINA_OFFSET_SECONDS, years_after
from gateway.domain.errors import GatewayError
from gateway.domain.free_text import holds_identity_number
from gateway.domain.texts import WITHHELD, may_stand
from gateway.domain.uses import Outcome, RecordKind, Use
from gateway.ledger.journal.frames import MAX_PAYLOAD_BYTES

FORMAT = 1
USE_FORMAT = 2
"""Of `use.opened` and `use.refused`; under 1, purpose, scenario and operator stood there in callers' own words."""

_is_plain = re.compile(r"[\w.:-]*", re.ASCII).fullmatch
_ENCODER = msgspec.json.Encoder(order="sorted")
_SALT_BLOCK = 256
_MAX_CONSTANTS = 8192
_MAX_CONSTANT_BYTES = 60_000
"""Of the part of a record that a verdict fixes: what remains of an entry is ample for the rest."""
_LISTS = ("asked", "items", "policies", "parameters", "articles")
_MAX_ROOM_BYTES = 4096
"""Largest call, list of items or rendered part that is kept; what is larger is rendered each time."""


def canonical(value: dict[str, Any]) -> bytes:
    """`value` as canonical JSON.

    Raises:
        GatewayError: `invalid-input` if it holds a float or is longer than an entry may be.
    """
    if holds_float(value):
        raise GatewayError("invalid-input", "a record holds no fractions; give an integer and its unit")
    content = _ENCODER.encode(value)
    if len(content) > MAX_PAYLOAD_BYTES:
        raise GatewayError("invalid-input", f"a record is at most {MAX_PAYLOAD_BYTES} bytes")
    return content


def holds_float(value: Any) -> bool:
    """Whether a float stands anywhere in `value`."""
    if isinstance(value, float):
        return True
    if isinstance(value, dict):
        return any(holds_float(each) for each in value.values())
    if isinstance(value, (list, tuple)):
        return any(holds_float(each) for each in value)
    return False


def china_day(unix_ns: int) -> date:
    """The day of `unix_ns` in China Standard Time."""
    return datetime.fromtimestamp(unix_ns // 1_000_000_000, CHINA).date()


def retain_until(unix_ns: int, years: int) -> date:
    """The last day on which a record of `unix_ns` stays: its day `years` calendar years on, never below three.

    Source: Decree 809 Art. 29.
    """
    return years_after(china_day(unix_ns), max(3, years))


class RetentionDays:
    """`retain_until` as text, computed once a day and number of years."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], str] = {}
        self._last = ""
        self._last_years = -1
        self._last_from_ns = self._last_to_ns = 0

    def text(self, unix_ns: int, years: int) -> str:
        """The date as `YYYY-MM-DD`."""
        if years == self._last_years and self._last_from_ns <= unix_ns < self._last_to_ns:
            return self._last
        text = self._last = self._look_up(unix_ns, years)
        self._last_years = years
        in_china = unix_ns // 1_000_000_000 + CHINA_OFFSET_SECONDS
        self._last_from_ns = (in_china // 86_400 * 86_400 - CHINA_OFFSET_SECONDS) * 1_000_000_000
        self._last_to_ns = self._last_from_ns + 86_400 * 1_000_000_000
        return text

    def _look_up(self, unix_ns: int, years: int) -> str:
        key = ((unix_ns // 1_000_000_000 + CHINA_OFFSET_SECONDS) // 86_400, years)
        text = self._kept.get(key)
        if text is None:
            if len(self._kept) > 64:
                self._kept.clear()
            text = self._kept[key] = retain_until(unix_ns, years).isoformat()
        return text


class Salts:
    """Random 16-byte salts as hex, drawn from the kernel a block at a time. Thread-safe."""

    def __init__(self) -> None:
        self._left: list[str] = []
        self._lock = threading.Lock()

    def next(self) -> str:
        """A salt no one has seen."""
        # Taking from the list is one step that no other thread can come between; only filling it needs the lock.
        while True:
            try:
                return self._left.pop()
            except IndexError:
                self._fill()

    def _fill(self) -> None:
        with self._lock:
            if not self._left:
                block = os.urandom(16 * _SALT_BLOCK).hex()
                self._left.extend(block[at : at + 32] for at in range(0, len(block), 32))


def new_run(unix_ns: int) -> str:
    """A name for one start of a writer: 12 characters, sortable by time, unique by 20 random bits besides.

    Record ids are `run-number`; they are not secret.
    """
    seconds = (unix_ns // 1_000_000_000).to_bytes(5, "big")
    noise = base64.b32hexencode(os.urandom(5)).decode().lower()[:4]
    return base64.b32hexencode(seconds).decode().lower() + noise


def text(value: str) -> str:
    """`value` as a JSON string; what needs no escape is taken as it is."""
    if _is_plain(value):
        return f'"{value}"'
    return msgspec.json.encode(value.encode("utf-8", "replace").decode()).decode()


class UseEntries:
    """Entries of uses, rendered fast: what a verdict fixes is rendered once and kept, the rest is filled in.

    Not thread-safe: one event loop calls it. `tests/bench/ledger_journal.py` shows the cost.

    Args:
        run: this writer's start.
        salts: where salts come from.
    """

    def __init__(self, run: str, salts: Salts) -> None:
        self.run = run
        self._number = 0
        self._salt = salts.next
        self._constants: dict[tuple[object, ...], tuple[Use, str]] = {}
        self._latest: dict[int, tuple[Use, str]] = {}
        self._items: dict[tuple[str, ...], str] = {}
        self._days = RetentionDays()

    def opened(self, use: Use) -> tuple[str, bytes]:
        """The record id and the bytes of `use.opened`."""
        return self._first(use, "use.opened")

    def refused(self, use: Use) -> tuple[str, bytes]:
        """The record id and the bytes of `use.refused`."""
        return self._first(use, "use.refused")

    def forget(self) -> None:
        """Forget what was rendered."""
        self._constants.clear()
        self._latest.clear()

    def _first(self, use: Use, kind: str) -> tuple[str, bytes]:
        self._number += 1
        record = f"{self.run}-{self._number}"
        day = self._days.text(use.started_unix_ns, use.verdict.retention_years)
        subject = f'"subject":{text(use.subject)},' if use.subject is not None else ""
        if use.besides:
            subject += f'"subjects":{msgspec.json.encode((use.subject, *use.besides)).decode()},'
        content = (
            f'{{"id":"{record}","kind":"{kind}","request":"{use.request_digest}","retain_until":"{day}",'
            f'"salt":"{self._salt()}",{subject}"time":{use.started_unix_ns},"trace":"{use.trace_id}",'
            f'"use":{self._constant(use)},"v":{USE_FORMAT}}}'
        ).encode()
        if len(content) > MAX_PAYLOAD_BYTES:
            raise GatewayError("records-unavailable", "the record of this use would be longer than an entry may be")
        return record, content

    def closed(self, record: str, use: Use, outcome: Outcome, now_unix_ns: int) -> bytes:
        """The bytes of `use.closed`; a list of released items that does not fit is `counted`."""
        released = self._items.get(outcome.released_items)
        if released is None:
            if len(self._items) > _MAX_CONSTANTS:
                self._items.clear()
            released = msgspec.json.encode(outcome.released_items).decode()
            if len(released) > MAX_PAYLOAD_BYTES // 2:
                released = msgspec.json.encode(counted(outcome.released_items)).decode()
            if 64 * len(outcome.released_items) + len(released) <= _MAX_ROOM_BYTES:
                self._items[outcome.released_items] = released
        day = self._days.text(now_unix_ns, use.verdict.retention_years)
        digest = f'"digest":"{outcome.response_digest}",' if outcome.response_digest else ""
        return (
            f'{{"bytes":{outcome.bytes},{digest}"duration_us":{outcome.duration_us},"end":{text(outcome.end)},'
            f'"id":"{record}","items":{released},"kind":"use.closed","retain_until":"{day}","rows":{outcome.rows},'
            f'"salt":"{self._salt()}","status":{outcome.status},"time":{now_unix_ns},"v":1}}'
        ).encode()

    def recovered(self, record: str, years: int, now_unix_ns: int) -> bytes:
        """The bytes of `recovered`: the use was open when its writer died; what it sent is not known."""
        day = self._days.text(now_unix_ns, years)
        return (
            f'{{"id":"{record}","kind":"recovered","retain_until":"{day}","salt":"{self._salt()}",'
            f'"time":{now_unix_ns},"v":1}}'
        ).encode()

    def _constant(self, use: Use) -> str:
        # Keyed by the verdict's identity: kept verdicts are shared objects, and the entry kept here holds the
        # verdict, so that its id is not given to another while the key stands. A call that the data plane knows from
        # a moment ago comes with the very same parts: comparing them costs less than hashing them.
        latest = self._latest.get(id(use.verdict))
        if latest is not None:
            known = latest[0]
            if (
                known.call is use.call
                and known.caller is use.caller
                and known.scenario == use.scenario
                and known.operator == use.operator
                and known.purpose == use.purpose
                and known.supplier == use.supplier
            ):
                return latest[1]
        words = (use.purpose, use.scenario, use.operator)
        key = (id(use.verdict), use.call, use.caller.credential, use.supplier, words)
        kept = self._constants.get(key)
        if kept is None:
            kept = (use, constant_part(use))
            if use.call.room_bytes + len(kept[1]) > _MAX_ROOM_BYTES:
                return kept[1]
            if len(self._constants) > _MAX_CONSTANTS:
                self._constants.clear()
            self._constants[key] = kept
        if len(self._latest) > _MAX_CONSTANTS:
            self._latest.clear()
        self._latest[id(use.verdict)] = (use, kept[1])
        return kept[1]


def counted(names: Sequence[str]) -> tuple[str, str]:
    """What stands for a list too long for an entry: how many there are, and the SHA-256 of the list as JSON."""
    return f"({len(names)} items)", f"sha256:{hashlib.sha256(msgspec.json.encode(names)).hexdigest()}"


def constant_part(use: Use) -> str:
    """What all uses of one system under one verdict have in common, as canonical JSON.

    Where that does not fit an entry, the longest lists of names are `counted`, so that every use can be recorded.

    Raises:
        GatewayError: `records-unavailable` for a use that bears a caller's words as they were said.
    """
    call, verdict = use.call, use.verdict
    # INVARIANT: NO-VALUES: no text of a caller's enters the log, whoever made the use.
    if not (may_stand(use.purpose, is_purpose=True) and may_stand(use.scenario) and may_stand(use.operator)) or (
        call.purpose and not use.purpose
    ):
        raise GatewayError("records-unavailable", "the caller's words of this use are not sealed")
    said: dict[str, Any] = {
        "approver": verdict.approver,
        # Names that are no items of the dataset could be anything (INVARIANT: NO-VALUES).
        "asked": call.items if verdict.code != "items-unknown" else None,
        "assurance": call.assurance.value,
        "code": verdict.code,
        "credential": use.caller.credential,
        "dataset": call.dataset,
        "decision": verdict.decision.value,
        "department": call.department,
        "grant": verdict.grant,
        "grant_version": verdict.grant_version,
        "interface": call.interface,
        "items": verdict.items,
        "legal_basis": verdict.legal_basis,
        "mode": call.mode.value,
        "operator": use.operator,
        "parameters": [name for name, _ in call.parameters],
        "policies": verdict.policies,
        "policy_digest": verdict.policy_digest,
        "purpose": use.purpose,
        "scenario": use.scenario,
        "supplier": use.supplier,
        "system": call.system,
    }
    if verdict.explanation is not None:
        said["near"] = [
            {"articles": near.articles, "failed": near.failed, "grant": near.grant} for near in verdict.explanation.near
        ]
        said["articles"] = verdict.explanation.articles
    # A grant of before may have its basis in anybody's words.
    if holds_identity_number(verdict.legal_basis):
        said["legal_basis"] = WITHHELD
    present = {key: value for key, value in said.items() if value not in (None, "", (), [], 0)}
    content = _ENCODER.encode(present)
    if len(content) > _MAX_CONSTANT_BYTES:
        lengths = {name: len(msgspec.json.encode(present[name])) for name in _LISTS if name in present}
        for name in sorted(lengths, key=lengths.__getitem__, reverse=True):
            present[name] = counted(present[name])
            content = _ENCODER.encode(present)
            if len(content) <= _MAX_CONSTANT_BYTES:
                break
    return content.decode()


def act_entry(
    kind: RecordKind, record: str, fields: dict[str, Any], salt: str, now_unix_ns: int, *, years: int
) -> bytes:
    """The bytes of an officer's act or a lifecycle record.

    Raises:
        GatewayError: `invalid-input` if a field has a reserved name, holds a float, or the whole is too long.
    """
    reserved = {"id", "kind", "retain_until", "salt", "time", "v"} & fields.keys()
    if reserved:
        raise GatewayError("invalid-input", f"`{min(reserved)}` is set by the ledger")
    body = {key: value for key, value in msgspec.to_builtins(fields).items() if value is not None}
    return canonical(
        {
            **body,
            "id": record,
            "kind": kind.value,
            "retain_until": retain_until(now_unix_ns, years).isoformat(),
            "salt": salt,
            "time": now_unix_ns,
            "v": FORMAT,
        }
    )
