"""Callers' contracts of existing sharing platforms, taken as credentials of the weakest assurance (`legacy`).

    contract   fields                                      signature
    gjgxjhpt   gjgxjhpt_rid, _sid, _rtime (ms), _sign      base64 HMAC-SHA-256 of: sid, rid, rtime
    gjzwfwpt   gjzwfwpt_rid, _sid, _rtime (ms), _sign      the same
    zhejiang   x-bg-hmac-access-key, -signature,           base64 HMAC-SHA-256 of these, each ended by a line feed:
               -algorithm, x-bg-date-time (RFC 1123)       METHOD, path, sorted query, access key, date
    guangdong  x-tif-paasid, -timestamp (s), -nonce,       hex SHA-256, in either case, of:
               -signature                                  timestamp, token, nonce, timestamp

None signs the body, and two have no nonce: so a signature is good once within its window, across workers, and policies
by grade may refuse what they yield. A key belongs to one system and one purpose, since the contracts carry none.
Secrets are kept encrypted under the field key and compared in constant time.
"""

import asyncio
import binascii
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote_from_bytes, quote_plus, unquote_to_bytes

import msgspec

from gateway.domain.callers import Assurance, Caller
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import System
from gateway.domain.errors import GatewayError
from gateway.identity.keys.symmetric import FieldCipher
from gateway.identity.strict import Unreadable

NATIONAL_WINDOW_SECONDS = 300
ZHEJIANG_WINDOW_SECONDS = 90
GUANGDONG_WINDOW_SECONDS = 180
MIN_SECRET_BYTES = 16
MAX_KNOWN_KEYS = 16384

_VISIBLE = re.compile(rb"[\x21-\x7e]{1,128}")
_MILLISECONDS = re.compile(rb"[1-9][0-9]{12}")
_SECONDS = re.compile(rb"[1-9][0-9]{9}")
_HEX = re.compile(rb"[0-9A-Fa-f]{64}")
_ESCAPES = re.compile(rb"%([0-9A-Fa-f]{2})")
_PATH_MARKS = frozenset(b"/%?#;")
_QUERY_MARKS = frozenset(b"&=%+#;")
"""Octets that structure a path or a query: escaped, they are part of a name or value."""
_DATE = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
_MONTHS = {
    month: number
    for number, month in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}


class Head(Protocol):
    """What is read of a request's head."""

    @property
    def method(self) -> bytes: ...
    @property
    def path(self) -> bytes: ...
    @property
    def query(self) -> bytes: ...


class StoredKey(Protocol):
    """A legacy key as it is stored; `secret` is sealed (`seal_secret`)."""

    @property
    def contract(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def system(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def secret(self) -> bytes: ...
    @property
    def active(self) -> bool: ...


class FieldKeys(Protocol):
    """Where sealed fields are opened: the key ring."""

    def field_cipher(self) -> FieldCipher: ...


class Signed(msgspec.Struct, frozen=True):
    """A request's signed headers, read but not verified.

    Args:
        contract: whose contract.
        key_id: which key it says it is by.
        at_unix: when it says it was signed.
        window_seconds: for how long it holds, before and after.
        signature: as sent, in the one form that is compared.
        expected: the signature each accepted way of writing the signed text would have under a secret.
    """

    contract: str
    key_id: str
    at_unix: float
    window_seconds: int
    signature: bytes
    expected: Callable[[bytes], Sequence[bytes]]


class _Known(msgspec.Struct, frozen=True):
    """A key at hand: what it identifies, and its secret; None where it is unknown, withdrawn or of a revoked system."""

    secret: bytes
    caller: Caller | None

    def __repr__(self) -> str:
        """Never shows the secret (INVARIANT: NO-VALUES)."""
        return "_Known(...)"


_NOBODY = _Known(b"", None)


def seal_secret(cipher: FieldCipher, contract: str, key_id: str, secret: str) -> bytes:
    """A legacy key's secret as it is stored.

    Raises:
        GatewayError: `invalid-input` for a contract that is not spoken here, or a secret under 16 bytes.
    """
    if contract not in CONTRACTS:
        raise GatewayError("invalid-input", f"no contract `{contract}`: choose one of {', '.join(CONTRACTS)}")
    if not _VISIBLE.fullmatch(key_id.encode("utf-8")):
        raise GatewayError("invalid-input", "a key's id is 1 to 128 visible ASCII characters")
    if len(secret.encode("utf-8")) < MIN_SECRET_BYTES:
        raise GatewayError("invalid-input", f"the secret is refused: it has fewer than {MIN_SECRET_BYTES} bytes")
    return cipher.seal(secret.encode("utf-8"), f"legacy/{contract}/{key_id}").encode("ascii")


class NotSigned(Unreadable):
    """It is not shown that a registered key signed.

    Args:
        reason: why not.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("no registered key of that name has made this signature")
        self.reason = reason


class LegacyIdentifier:
    """Identifies callers by these contracts. Belongs to one event loop.

    Args:
        key: the stored key of (contract, id), or None; may block, so it runs in an executor, once a key.
        system: the registered system of an id, or None; the same.
        ring: opens secrets.
        use_once: remembers signatures among the workers; at once, or by an awaitable.
        now: the clock, Unix seconds.
        national_window_seconds: the window of the two national contracts, which name none.
        repeats: how often one signature may be used. 1 is right; callers of the Zhejiang contract who send several
            equal requests within one second, or POST to one path faster, sign them all alike and need more, at the
            price that so many replays pass.
        since: signatures made before what it says are refused: from then on the memory of used ones is complete.
    """

    def __init__(
        self,
        key: Callable[[str, str], StoredKey | None],
        system: Callable[[str], System | None],
        ring: FieldKeys,
        use_once: Callable[[str, str, int], bool | Awaitable[bool]],
        now: Callable[[], float],
        *,
        national_window_seconds: int = NATIONAL_WINDOW_SECONDS,
        repeats: int = 1,
        since: Callable[[], float] = lambda: 0,
    ) -> None:
        self._key = key
        self._system = system
        self._ring = ring
        self._use_once = use_once
        self._now = now
        self._national_window = national_window_seconds
        self._repeats = repeats
        self._since = since
        self._known: dict[tuple[str, str], _Known] = {}
        # Apart, so that a flood of invented keys drives out no key that is in use.
        self._unknown: dict[tuple[str, str], _Known] = {}
        self._generation = 0
        self.names = frozenset(name for contract in CONTRACTS.values() for name in contract.fields)

    def identify(
        self, signed: Mapping[bytes, bytes], head: Head, *, may_look_up: bool = True
    ) -> Caller | Awaitable[Caller]:
        """The caller that signed.

        Args:
            signed: the request's fields among `names`, each of which stood once.
            head: the request's head.
            may_look_up: whether a key that is not at hand may be looked up; False for an address that floods.

        Raises:
            Unreadable: where it does not hold.
            GatewayError: `rate-limited` where the key is not at hand and may not be looked up.
        """
        read = self._parse(signed, head)
        at = self._now()
        if abs(at - read.at_unix) > read.window_seconds or read.at_unix < self._since():
            raise Unreadable("the signature is not of now")
        name = (read.contract, read.key_id)
        known = self._known.get(name) or self._unknown.get(name)
        if known is None:
            if not may_look_up:
                raise GatewayError("rate-limited", "too many credentials that do not hold came from this address")
            return self._look_up(read)
        return self._verify(read, known)

    def _parse(self, signed: Mapping[bytes, bytes], head: Head) -> Signed:
        for contract in CONTRACTS.values():
            if not contract.fields.isdisjoint(signed):
                if contract.fields != signed.keys():
                    raise Unreadable("the signed headers are not complete, or of two contracts")
                return contract.parse(signed, head, self._national_window)
        raise Unreadable("the signed headers are of no known contract")

    async def _look_up(self, read: Signed) -> Caller:
        loop = asyncio.get_running_loop()
        while True:
            generation = self._generation
            known = await loop.run_in_executor(None, self._load, read.contract, read.key_id)
            if generation == self._generation:
                break
        kept = self._unknown if known.caller is None else self._known
        if len(kept) >= MAX_KNOWN_KEYS:
            del kept[next(iter(kept))]
        kept[read.contract, read.key_id] = known
        found = self._verify(read, known)
        return found if isinstance(found, Caller) else await found

    def _load(self, contract: str, key_id: str) -> _Known:
        stored = self._key(contract, key_id)
        if stored is None or not stored.active:
            return _NOBODY
        system = self._system(stored.system)
        if system is None or not system.active:
            return _NOBODY
        context = f"legacy/{contract}/{key_id}"
        secret = self._ring.field_cipher().unseal(stored.secret.decode("ascii"), context)
        name = f"{contract}:{key_id}"
        caller = Caller(
            system.id,
            system.department,
            Assurance.LEGACY,
            name,
            0,
            stored.purpose,
            system.keepers,
            system.dates,
        )
        return _Known(secret, caller)

    def _verify(self, read: Signed, known: _Known) -> Caller | Awaitable[Caller]:
        # Nobody's secret is as long in use as anybody's: whether there is such a key shows in no word and no time.
        matching = None
        for expected in read.expected(known.secret):
            if hmac.compare_digest(expected, read.signature):
                matching = expected
        if known.caller is None:
            raise NotSigned("the key is not known or withdrawn")
        if matching is None:
            raise NotSigned("the signature does not verify")
        until = int(read.at_unix) + read.window_seconds + 1
        caller = msgspec.structs.replace(known.caller, expires_unix=until)
        # The signature alone is what is used up: two contracts sign the same text, and might share a secret.
        used = matching.decode("ascii")
        return self._once(caller, used, until, 0)

    def _once(self, caller: Caller, used: str, until: int, attempt: int) -> Caller | Awaitable[Caller]:
        while attempt < self._repeats:
            fresh = self._use_once("legacy", f"{used} {attempt}", until)
            if not isinstance(fresh, bool):
                return self._once_awaited(fresh, caller, used, until, attempt)
            if fresh:
                return caller
            attempt += 1
        raise Unreadable("the signature was used before")

    async def _once_awaited(
        self, fresh: Awaitable[bool], caller: Caller, used: str, until: int, attempt: int
    ) -> Caller:
        if await fresh:
            return caller
        found = self._once(caller, used, until, attempt + 1)
        return found if isinstance(found, Caller) else await found

    def forget(self, change: Change) -> None:
        """Drop the keys that `change` may touch."""
        if change.kind in (ChangeKind.SYSTEM, ChangeKind.KEY, ChangeKind.DEPARTMENT):
            self.forget_all()

    def forget_all(self) -> None:
        """Drop every key: they are few, and read again at their next use."""
        self._generation += 1
        self._known.clear()
        self._unknown.clear()


class _Contract(msgspec.Struct, frozen=True):
    """A contract: the fields it is told by, all of which must be there, and how they are read."""

    fields: frozenset[bytes]
    parse: Callable[[Mapping[bytes, bytes], Head, int], Signed]


def _visible(signed: Mapping[bytes, bytes], name: bytes) -> bytes:
    value = signed[name]
    if not _VISIBLE.fullmatch(value):
        raise Unreadable("a signed header is malformed")
    return value


def _national(contract: str) -> _Contract:
    prefix = contract.encode("ascii")
    rid_name, sid_name, time_name, sign_name = (prefix + part for part in (b"_rid", b"_sid", b"_rtime", b"_sign"))

    def parse(signed: Mapping[bytes, bytes], _head: Head, window_seconds: int) -> Signed:
        rid, sid, at = _visible(signed, rid_name), _visible(signed, sid_name), signed[time_name]
        if not _MILLISECONDS.fullmatch(at):
            raise Unreadable("a signed header is malformed")
        text = sid + rid + at

        def expected(secret: bytes) -> Sequence[bytes]:
            return (_base64_hmac(secret, text),)

        return Signed(contract, rid.decode("ascii"), int(at) / 1000, window_seconds, signed[sign_name], expected)

    return _Contract(frozenset({rid_name, sid_name, time_name, sign_name}), parse)


def _parse_zhejiang(signed: Mapping[bytes, bytes], head: Head, _window_seconds: int) -> Signed:
    key, date = _visible(signed, b"x-bg-hmac-access-key"), signed[b"x-bg-date-time"]
    if signed[b"x-bg-hmac-algorithm"].lower() != b"hmac-sha256":
        raise Unreadable("the signature's algorithm is not hmac-sha256")
    texts = [
        b"\n".join((head.method, place, terms, key, date, b""))
        for place in sorted(_signed_paths(head.path))
        for terms in sorted(_signed_queries(head.query))
    ]

    def expected(secret: bytes) -> Sequence[bytes]:
        return [_base64_hmac(secret, text) for text in texts]

    return Signed(
        "zhejiang",
        key.decode("ascii"),
        _parse_date(date),
        ZHEJIANG_WINDOW_SECONDS,
        signed[b"x-bg-hmac-signature"],
        expected,
    )


def _signed_paths(path: bytes) -> set[bytes]:
    """The forms of a path that clients in use sign: as sent, or decoded where no other path decodes to the same."""
    decoded = unquote_to_bytes(path)
    return {path} if _hides_structure(path, _PATH_MARKS) else {path, decoded}


def _signed_queries(query: bytes) -> set[bytes]:
    """The forms of a query that clients in use sign: as sent, sorted, decoded and sorted, or encoded anew.

    Only what was sent, where another query with another meaning would have one of the other forms: `a=1&b=2` is not
    `a=1%26b=2`, and `a=1&a=2` is not `a=2&a=1`. Whoever meets a signed request on its way could else send the other.
    """
    pairs = query.split(b"&")
    names = [unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" ")) for pair in pairs]
    if not query or len(set(names)) < len(names) or _hides_structure(query, _QUERY_MARKS):
        return {query}
    decoded = sorted(unquote_to_bytes(pair) for pair in pairs)
    return {query, b"&".join(sorted(pairs)), b"&".join(decoded), b"&".join(map(_encoded_anew, decoded))}


def _hides_structure(text: bytes, marks: frozenset[int]) -> bool:
    """Whether an escape in `text` stands for what would mean something else unescaped, or for a control character."""
    found = (int(escape[1], 16) for escape in _ESCAPES.finditer(text))
    return any(byte in marks or byte < 0x20 or byte == 0x7F for byte in found)


def _encoded_anew(pair: bytes) -> bytes:
    """`name=value` as the platform's Java sample encodes it: by form rules, blanks and pluses as %20, `%` left bare."""
    name, _, value = pair.partition(b"=")
    encoded = quote_from_bytes(value, safe="*-._!'()~").replace("%2B", "%20").replace("%25", "%")
    return f"{quote_plus(name, safe='*-._')}={encoded}".encode("ascii")


def _parse_guangdong(signed: Mapping[bytes, bytes], _head: Head, _window_seconds: int) -> Signed:
    key, nonce = _visible(signed, b"x-tif-paasid"), _visible(signed, b"x-tif-nonce")
    at, signature = signed[b"x-tif-timestamp"], signed[b"x-tif-signature"]
    if not _SECONDS.fullmatch(at) or not _HEX.fullmatch(signature):
        raise Unreadable("a signed header is malformed")

    def expected(secret: bytes) -> Sequence[bytes]:
        return (hashlib.sha256(at + secret + nonce + at).hexdigest().encode("ascii"),)

    return Signed("guangdong", key.decode("ascii"), int(at), GUANGDONG_WINDOW_SECONDS, signature.lower(), expected)


def _parse_date(text: bytes) -> float:
    """An RFC 1123 date in GMT, in the one form that clients of the contract send."""
    match = _DATE.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        raise Unreadable("a signed header is malformed")
    day, _, year, hour, minute, second = match.groups()
    try:
        moment = datetime(int(year), _MONTHS[match[2]], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError as error:
        raise Unreadable("a signed header is malformed") from error
    return moment.timestamp()


def _base64_hmac(secret: bytes, text: bytes) -> bytes:
    return binascii.b2a_base64(hmac.digest(secret, text, "sha256"), newline=False)


CONTRACTS: Mapping[str, _Contract] = {
    "gjgxjhpt": _national("gjgxjhpt"),
    "gjzwfwpt": _national("gjzwfwpt"),
    "zhejiang": _Contract(
        frozenset({b"x-bg-hmac-access-key", b"x-bg-hmac-signature", b"x-bg-hmac-algorithm", b"x-bg-date-time"}),
        _parse_zhejiang,
    ),
    "guangdong": _Contract(
        frozenset({b"x-tif-paasid", b"x-tif-timestamp", b"x-tif-nonce", b"x-tif-signature"}), _parse_guangdong
    ),
}
"""The contracts spoken here, by the name that keys are registered under."""
