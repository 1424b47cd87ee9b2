"""What the data plane makes once of an interface's entry and of a verdict, so that a hot call only looks it up."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from msgspec import Raw

from gateway.domain.directory import AnswerFormat, Interface, SharingMode
from gateway.domain.errors import GatewayError
from gateway.domain.hosts import parse_upstream
from gateway.domain.verdicts import Call, Verdict
from gateway.proxy.counters import Tally
from gateway.proxy.exchange.asked import Asks
from gateway.proxy.exchange.refusals import status_line
from gateway.proxy.exchange.slots import Slots
from gateway.proxy.http.heads import Block
from gateway.proxy.http.pools import Pool
from gateway.proxy.ports import Credential
from gateway.proxy.projection.answers import make_projector
from gateway.proxy.projection.envelope import not_filterable
from gateway.proxy.projection.masks import parse_mask
from gateway.proxy.projection.projected import Projected, Projector, Steps

_SAFE = "!#$&'*+-.^_`|~:/@,()=?"

MAX_PROJECTORS = 64
"""Projectors kept of an entry, one for each set of items, masks and bounds that grants give."""


class Route:
    """An interface's entry, taken apart.

    Args:
        interface: the entry.
        tally: where its calls are counted.

    Raises:
        GatewayError: `supplier-unreachable` where the entry's base URL is none, or is `http:` without leave, or a place
            that it names is none.
    """

    __slots__ = (
        "_methods",
        "asks",
        "base",
        "credential",
        "host",
        "interface",
        "is_tls",
        "key",
        "modes",
        "parameter_names",
        "paths",
        "place",
        "port",
        "projectors",
        "request_fields",
        "scope_fields",
        "scope_names",
        "sought_names",
        "sought_words",
        "tally",
    )

    def __init__(self, interface: Interface, tally: Tally) -> None:
        try:
            upstream = parse_upstream(interface.upstream)
        except ValueError:
            raise GatewayError("supplier-unreachable", "the interface's entry has no usable base URL") from None
        self.is_tls = upstream.is_tls
        if not self.is_tls and not interface.plain_http:
            raise GatewayError("supplier-unreachable", "the interface's entry does not allow plain HTTP")
        self.interface = interface
        self.tally = tally
        self.place: tuple[Slots, Pool] | None = None
        self.credential: Credential | None = None
        self.projectors: dict[Any, Projector | None] = {}
        self.key = interface.key
        self.host = upstream.address
        self.port = upstream.port
        self.base = upstream.path.encode()
        self._methods = {mode: frozenset(name.encode() for name in interface.methods_of(mode)) for mode in SharingMode}
        self.modes = {mode.value: mode for mode in interface.modes}
        names = set(interface.scope_parameters)
        if interface.subject_parameter:
            names.add(interface.subject_parameter)
        self.parameter_names = tuple(sorted(names))
        self.scope_names = tuple(sorted(interface.scope_parameters))
        self.asks = None if interface.request.is_empty else Asks(interface)
        self.sought_names = tuple(name for name in self.scope_names if name not in interface.request.parameters)
        self.sought_words = {name.casefold(): name for name in self.sought_names}
        plain = (name.lower().replace("-", "").replace("_", "").encode() for name in self.scope_names)
        self.scope_fields = frozenset(plain)
        self.paths = tuple(tuple(path.split("/")) for path in interface.paths)
        self.request_fields = frozenset(name.lower().encode() for name in interface.request_fields)

    @property
    def authority(self) -> bytes:
        """The value of `Host` for the supplier."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.is_tls else 80
        return (host if self.port == default else f"{host}:{self.port}").encode()

    def is_asked_by_values(self, mode: SharingMode) -> bool:
        """Whether a call of that mode brings the values that are compared here; else it goes on as it is."""
        return mode is SharingMode.VERIFY and not self.interface.match_codes

    def methods(self, mode: SharingMode) -> frozenset[bytes]:
        """The request methods that the interface's entry allows in a sharing mode."""
        return self._methods[mode]

    def mode(self, asked: str) -> SharingMode:
        """The sharing mode a call asks for; the interface's first where it asks for none.

        Raises:
            GatewayError: `mode-not-granted` where the interface does not serve it.
        """
        if not asked:
            return self.interface.modes[0]
        mode = self.modes.get(asked)
        if mode is None:
            raise GatewayError("mode-not-granted", "the interface does not serve this sharing mode")
        return mode


class Plan:
    """What a permit means on the wire: the fields set for the supplier and the caller, and how the answer is reduced.

    Args:
        route: the interface.
        call: the call.
        verdict: a permit of it.
        pseudonym: for the `hash` mask.
        row_bytes: the longest row of an answer that is reduced as it comes.
    """

    __slots__ = (
        "answer_fields",
        "answers_matches",
        "bounds",
        "call",
        "document_head",
        "is_document",
        "items",
        "masks",
        "own_fields",
        "passes_unfiltered",
        "projector",
        "request_fields",
        "route",
        "told_fields",
        "verdict",
    )

    def __init__(
        self, route: Route, call: Call, verdict: Verdict, pseudonym: Callable[[bytes], str], *, row_bytes: int
    ) -> None:
        self.route = route
        self.call = call
        self.verdict = verdict
        interface = route.interface
        # INVARIANT: GRANTED-ITEMS-ONLY.
        # What cannot be filtered leaves only under a grant of all items, and never where an item is masked.
        # Nor under one that is limited by parameters: whether rows keep to it cannot be seen.
        self.passes_unfiltered = verdict.all_items and not verdict.masks and not verdict.bounds
        self.passes_unfiltered &= not interface.match_codes
        self.masks = {item: parse_mask(mask, pseudonym) for item, mask in verdict.masks}
        self.bounds = {interface.scope_items.get(name, name): frozenset(values) for name, values in verdict.bounds}
        self.items = verdict.items
        self.answers_matches = call.mode is SharingMode.VERIFY and bool(interface.match_codes)
        if self.answers_matches:
            if verdict.grant is None:
                # What the supplier compares is neither counted nor about one person for certain.
                raise GatewayError("mode-not-granted", "the supplier itself compares here, which takes a grant")
            # INVARIANT: GRANTED-ITEMS-ONLY: of a comparison that the supplier makes, its codes leave and no value.
            self.items = tuple(item for item in verdict.items if item in interface.match_codes)
            codes = {item: frozenset(codes) for item, codes in interface.match_codes.items()}
            self.bounds = {item: codes.get(item, texts) & texts for item, texts in self.bounds.items()} | {
                item: texts for item, texts in codes.items() if item not in self.bounds
            }
        if interface.format is not AnswerFormat.OPAQUE and not interface.places.keys() & set(self.items):
            # KNOWN-SHAPE: rows of nothing would read as "nothing is known", and a comparison as "it is not so".
            raise not_filterable("the interface's entry gives no place to any of the items that are granted")
        self.projector = self._projector(row_bytes)
        self.is_document = interface.format is AnswerFormat.JSON and not interface.charset
        told = {
            "Sharing-System": call.system,
            "Sharing-Department": call.department,
            "Sharing-Purpose": call.purpose,
            "Sharing-Mode": call.mode.value,
            "Sharing-Items": ",".join(verdict.items),
        }
        if verdict.grant is not None:
            told["Sharing-Grant"] = verdict.grant
        self.told_fields = b"".join(f"{name}: {quote(value, safe=_SAFE)}\r\n".encode() for name, value in told.items())
        self.request_fields = b"Host: %b\r\nAccept-Encoding: identity\r\n" % route.authority + self.told_fields
        self.own_fields = self.request_fields + b"Via: 1.1 sharing-gateway\r\nSharing-Record: "
        # In verify mode neither status nor content are the supplier's.
        origin = b"gateway" if call.mode is SharingMode.VERIFY and not self.answers_matches else b"supplier"
        self.answer_fields = b"Cache-Control: no-store\r\nSharing-Origin: %b\r\n" % origin
        if verdict.grant is not None:
            self.answer_fields += f"Sharing-Grant: {quote(verdict.grant, safe=_SAFE)}\r\n".encode()

        self.document_head = (
            status_line(200) + b"Content-Type: application/json\r\n" + self.answer_fields + b"Content-Length: "
        )

    def _projector(self, row_bytes: int) -> Projector | None:
        """What reduces the answers: one for all grants that give the same of an entry, since its types cost much.

        INVARIANT: GRANTED-ITEMS-ONLY: it is named by everything of the permit that it is made of, and is the route's,
        which is made anew with the entry.
        """
        kept = self.route.projectors
        bounds = tuple(sorted((item, *sorted(of)) for item, of in self.bounds.items()))
        name = (tuple(self.items), tuple(self.verdict.masks), bounds)
        if name not in kept:
            if len(kept) >= MAX_PROJECTORS:
                del kept[next(iter(kept))]
            # A row of an answer that is gathered is bounded by the answer's own limit.
            kept[name] = make_projector(self.route.interface, self.items, self.masks, self.bounds, row_bytes=row_bytes)
        return kept[name]

    def fields_for(self, block: Block) -> bytes:
        """The fields of a request to the supplier, up to the record's id: what is set here and what goes on of `block`.

        The caller's credential stops here: `forwarded` was cleaned when the block was read. `Via` is continued
        (RFC 9110 §7.6.3); ranges and preconditions go on only where the answer passes as it is.
        """
        conditions = b""
        if block.conditions and self.passes_unfiltered and self.route.interface.format is AnswerFormat.OPAQUE:
            conditions = block.conditions
        via = block.via + b", " if block.via else b""
        listed = b""
        if block.withheld and self.route.request_fields:
            listed = b"".join(field for name, field in block.withheld if name in self.route.request_fields)
        return b"%b%b%b%bVia: %b1.1 sharing-gateway\r\nSharing-Record: " % (
            self.request_fields,
            block.forwarded,
            listed,
            conditions,
            via,
        )

    def project(self, content: bytes, *, is_failure: bool = False) -> Projected:
        """An answer gathered whole, reduced to the granted items; of a failure no rows are asked for.

        Raises:
            GatewayError: `answer-not-filterable`.
        """
        if self.projector is None:
            raise not_filterable("the interface's format cannot be filtered")
        return self.projector.project(content, is_failure=is_failure)

    def steps(self, content: bytes, *, is_failure: bool = False) -> Steps[Projected]:
        """As `project`, of a long answer, in steps."""
        if self.projector is None:
            raise not_filterable("the interface's format cannot be filtered")
        return self.projector.steps(content, is_failure=is_failure)

    def values(self, content: bytes) -> Iterator[list[dict[str, Raw]]]:
        """For each row of an answer its granted items by name, for verify mode, some rows at a time.

        Raises:
            GatewayError: `answer-not-filterable`.
        """
        if self.projector is None:
            raise not_filterable("the interface's format cannot be filtered")
        return self.projector.values(content)
