"""What an interface's entry would make of an answer, tried before callers do: one sample call, or a pasted answer.

Nothing of what the supplier answered is told but names of members and counts (INVARIANT: NO-VALUES).
"""

import asyncio
import http.client
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlencode

import msgspec
from msgspec import Raw

from gateway.control.suppliers.tried import TriedAnswer
from gateway.domain.credentials import Shown
from gateway.domain.directory import AnswerFormat, Dataset, Interface
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import parse_upstream
from gateway.domain.places.answers import parse_rows
from gateway.domain.places.language import Kind
from gateway.proxy.limits import Limits
from gateway.proxy.ports import Credential, Reach
from gateway.proxy.projection.answers import XmlProjector, make_projector
from gateway.proxy.projection.codings import Reader
from gateway.proxy.projection.document import DocumentProjector
from gateway.proxy.projection.shapes import shape_of
from gateway.proxy.projection.streams import CsvReducer

CALL_SECONDS = 15.0
ANSWER_BYTES = 4 << 20
_LIMITS = Limits()
"""Those of a worker, for which no setting stands: what it would refuse is told here."""
NAMED = 100
"""How many unknown members are named."""
_DEPTH = 4


class Trials:
    """Tries interfaces.

    Args:
        reach: how a supplier is called; raises where it may not be.
    """

    def __init__(self, reach: Callable[[Interface], Reach]) -> None:
        self._reach = reach

    def call(self, interface: Interface, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        """One GET to the supplier, at its registered address: status and content; blocks.

        Raises:
            GatewayError: `supplier-unreachable`.
        """
        upstream, reach = parse_upstream(interface.upstream), self._reach(interface)
        shown = asyncio.run(_shown(reach.credential)) if reach.credential is not None else Shown()
        asked = "&".join(part for part in (urlencode(query), shown.query.decode()) if part)
        target = (upstream.path + path or "/") + (f"?{asked}" if asked else "")
        try:
            connected = socket.create_connection((reach.addresses[0], upstream.port), interface.connect_timeout_seconds)
        except OSError:
            raise GatewayError("supplier-unreachable", "no connection to the supplier could be made") from None
        over = threading.Timer(CALL_SECONDS, _shut, (connected,))
        over.daemon = True
        over.start()
        try:
            connected.settimeout(CALL_SECONDS)
            if reach.context is not None:
                connected = reach.context.wrap_socket(connected, server_hostname=reach.name)
            asking = http.client.HTTPConnection(upstream.address, upstream.port)
            asking.sock = connected
            headers = {"Host": _authority(interface), "Accept-Encoding": "identity"}
            named = (line.partition(b": ") for line in shown.fields.split(b"\r\n") if line)
            headers |= {name.decode(): value.decode("latin-1") for name, _, value in named}
            asking.request("GET", target, headers=headers)
            answer = asking.getresponse()
            content = answer.read(ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException, ValueError):
            raise GatewayError("supplier-unreachable", "the supplier gave no whole answer in time") from None
        finally:
            over.cancel()
            connected.close()
        if len(content) > ANSWER_BYTES:
            raise GatewayError(
                "supplier-unreachable", f"the sample is larger than {ANSWER_BYTES >> 20} MiB: ask for less"
            )
        return answer.status, content

    @staticmethod
    def judge(interface: Interface, dataset: Dataset, content: bytes) -> TriedAnswer:
        """What the entry makes of an answer."""
        unplaced = tuple(item.name for item in dataset.items if item.name not in interface.places)
        every = tuple(sorted(interface.places))
        if interface.format is AnswerFormat.OPAQUE:
            fault = "the answer cannot be filtered: it leaves only under a grant of all items"
            return TriedAnswer(0, {}, unplaced, (), (), (fault,))
        try:
            if interface.format is AnswerFormat.CSV:
                reducer = CsvReducer(interface.places, every, {}, _LIMITS.row_bytes)
                reducer.feed(content)
                reducer.finish()
                found = dict.fromkeys(sorted(reducer.items), reducer.rows)
                return _told(interface, reducer.rows, found, unplaced, (), ())
            if interface.format is AnswerFormat.XML or _is_nested(interface):
                return _judged(interface, every, unplaced, content)
            is_one = interface.format is AnswerFormat.JSON
            rows, envelope = (interface.rows, interface.envelope) if is_one else ("", ())
            projector = (
                make_projector(interface, every, {}, row_bytes=_LIMITS.row_bytes)
                if is_one
                else DocumentProjector("", interface.places, (), every, {})
            )
            assert projector is not None
            documents = (
                [content] if interface.format is AnswerFormat.JSON else [x for x in content.split(b"\n") if x.strip()]
            )
            if not is_one:
                _require_short(documents)
            held: list[dict[str, Raw]] = []
            passing: set[str] = set()
            for document in documents:
                left = msgspec.json.decode(projector.project(document).content)
                held += [row for rows in projector.values(document) for row in rows]
                if interface.rows and isinstance(left, dict):
                    passing |= left.keys() & set(envelope)
        except GatewayError as error:
            names = shape_of(content, is_xml=interface.format is AnswerFormat.XML)
            seen = (f"found: {', '.join(names)}",) if names else ()
            return TriedAnswer(0, {}, unplaced, (), (), (error.detail, *seen))
        found = {item: sum(item in row for row in held) for item in every if any(item in row for row in held)}
        claimed = {place for item, place in interface.places.items() if item in found}
        unknown = sorted(_unknown(documents, rows, claimed))[:NAMED]
        return _told(interface, len(held), found, unplaced, tuple(unknown), tuple(sorted(passing)))


def _require_short(rows: list[bytes]) -> None:
    if max(map(len, rows), default=0) > _LIMITS.row_bytes:
        raise GatewayError("answer-not-filterable", "a row of the answer is too long")


def _is_nested(interface: Interface) -> bool:
    return interface.format is AnswerFormat.JSON and len(parse_rows(interface.rows, Kind.JSON)) > 1


def _judged(interface: Interface, every: tuple[str, ...], unplaced: tuple[str, ...], content: bytes) -> TriedAnswer:
    """What the entry makes of XML, and of a document within another: rows and items, without what no entry names."""
    reader = Reader("", "", _LIMITS, charset=interface.charset, is_xml=interface.format is AnswerFormat.XML)
    text = b"".join((*reader.feed(content), reader.finish()))
    projector = make_projector(interface, every, {}, row_bytes=_LIMITS.row_bytes)
    assert projector is not None
    if isinstance(projector, XmlProjector) and projector.streams:
        # As it comes, for the row that is too long to be held.
        reducer = projector.reducer()
        reducer.feed(text)
        reducer.finish()
    projector.project(text)
    held = [row for rows in projector.values(text) for row in rows]
    found = {item: sum(item in row for row in held) for item in every if any(item in row for row in held)}
    return _told(interface, len(held), found, unplaced, (), ())


def _told(
    interface: Interface,
    rows: int,
    found: dict[str, int],
    unplaced: tuple[str, ...],
    unclaimed: tuple[str, ...],
    envelope: tuple[str, ...],
) -> TriedAnswer:
    faults = []
    if not rows:
        faults.append("the answer holds no rows: try with a subject that the supplier knows")
    else:
        lost = sorted(set(interface.places) - found.keys())
        if lost:
            faults.append(f"in no row where the entry places it: {', '.join(lost)}")
    return TriedAnswer(rows, found, unplaced, unclaimed, envelope, tuple(faults))


def _unknown(documents: list[bytes], rows: str, claimed: set[str]) -> set[str]:
    """Members of rows that are no item's place, as pointers below a row."""
    found: set[str] = set()
    for document in documents:
        value = msgspec.json.decode(document.removeprefix(b"\xef\xbb\xbf"))
        for token in rows.split("/")[1:]:
            value = value.get(token.replace("~1", "/").replace("~0", "~")) if isinstance(value, dict) else None
        for row in value if isinstance(value, list) else [value]:
            found |= set(_pointers(row, "", claimed, 0))
    return found


def _pointers(value: object, pointer: str, claimed: set[str], depth: int) -> set[str]:
    if pointer in claimed:
        return set()
    if isinstance(value, dict) and value and depth < _DEPTH:
        return set().union(
            *(
                _pointers(each, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", claimed, depth + 1)
                for name, each in value.items()
            )
        )
    return {pointer} if pointer else set()


async def _shown(credential: Credential) -> Shown:
    shown = credential.show()
    return shown if isinstance(shown, Shown) else await shown


def _authority(interface: Interface) -> str:
    upstream = parse_upstream(interface.upstream)
    is_default = upstream.port == (443 if upstream.is_tls else 80)
    return upstream.host.rpartition(":")[0] if is_default else upstream.host


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
