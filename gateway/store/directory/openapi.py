"""From a supplier's OpenAPI document to an interface: where each data item stands in the answer, for confirmation.

What is derived is a proposal. An officer confirms it; only then is it registered. Nothing outside the document is
read: a `$ref` to another file or host is a fault.

Source: OpenAPI 3.0 and 3.1, Swagger 2.0; JSON Pointer RFC 6901.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.domain.directory import AnswerFormat, DataItem, Dataset, Interface, SharingMode
from gateway.domain.errors import GatewayError
from gateway.store.directory.validation import Fault, validate_interface

MAX_DEPTH = 12
"""How deep a schema is followed: real answers nest four levels; a `$ref` may lead in a circle."""

MAX_STEPS = 20_000
"""Schemas looked at in one document. Two references to oneself double the way at every level: a document of 1 KB would
keep a processor busy for days. An answer of a thousand fields takes some 5,000."""

MAX_FIELDS = 5000
"""How many fields of an answer are looked at: a document of circles has no end."""

_ROWS_BELOW = 3
"""How many levels below the answer's root rows are looked for."""

_READING = ("get", "post", "head")
_ROW_NAMES = ("data", "datas", "rows", "records", "items", "list", "content", "result", "results", "biz_data", "value")

Schema = Mapping[str, Any]


class _Rows(NamedTuple):
    pointer: str
    row: Schema
    is_list: bool


class DerivedInterface(msgspec.Struct, frozen=True):
    """A proposed interface, and what an officer has to look at before confirming it.

    Args:
        interface: the proposal.
        unplaced: items of the dataset that were not found in the answer.
        unclaimed: fields of a row that are no item of the dataset: they will never leave.
        query_parameters: names of the query parameters, of which some may be `scope_parameters`.
        notes: what was guessed, in words.
        faults: what keeps the proposal from being registered as it is, each with `field` and `fault`.
    """

    interface: Interface
    unplaced: tuple[str, ...]
    unclaimed: tuple[str, ...]
    query_parameters: tuple[str, ...]
    notes: tuple[str, ...]
    faults: tuple[Fault, ...] = ()


def derive_interface(
    openapi: Mapping[str, Any],
    path: str,
    *,
    dataset: Dataset,
    id: str,  # noqa: A002 - the domain's name
    upstream: str | None = None,
    methods: Sequence[str] = ("GET",),
) -> DerivedInterface:
    """Propose the interface that serves `dataset` by one path of an OpenAPI document.

    Args:
        openapi: the document, parsed.
        path: a key of its `paths`; what stands before its first template is the upstream's path.
        dataset: the entry whose items are looked for.
        id: the interface's id.
        upstream: base URL to use instead of the document's first server.
        methods: the request methods to propose; a document's other ones are never proposed by themselves.

    Raises:
        GatewayError: `invalid-input`, saying what the document lacks.
    """
    document = _Document(openapi)
    item = document.resolve(document.member(openapi, "paths")).get(path)
    if not isinstance(item, Mapping):
        raise _refuse("path", f"the document has no path `{path[:100]}`")
    wanted = [method.lower() for method in methods]
    lacking = [method.upper() for method in wanted if method not in item or method not in _READING]
    if lacking or not wanted:
        has = ", ".join(method.upper() for method in _READING if method in item) or "none"
        raise _refuse("methods", f"`{path[:100]}` has no {', '.join(lacking)} that reads; it has {has}: name those")
    operation = document.resolve(item[wanted[0]])
    notes: list[str] = []
    format_, schema = document.answer(operation)
    is_json = format_ is AnswerFormat.JSON
    rows = document.rows(schema, dataset.items, notes) if is_json else _Rows("", schema, is_list=True)
    fields = list(document.fields(rows.row)) if format_ is not AnswerFormat.OPAQUE else []
    places, unclaimed = _places(dataset.items, fields, notes, is_csv=format_ is AnswerFormat.CSV)
    envelope = document.envelope(schema, rows.pointer, dataset.items, places) if is_json else ()
    base = upstream or _server(openapi)
    parameters = [document.resolve(each) for each in (*_list(item, "parameters"), *_list(operation, "parameters"))]
    query = tuple(dict.fromkeys(str(each.get("name")) for each in parameters if each.get("in") == "query"))
    if query:
        notes.append(
            f"which of {', '.join(query)} names the person or company asked about? Set `subject_parameter`: without it "
            "no question about a person finds these uses"
        )
    if "{" in path:
        notes.append("the path is a template: callers append what stands after its fixed part")
    if format_ is AnswerFormat.OPAQUE:
        notes.append("the answer cannot be filtered: it leaves only under a grant of all items")
    others = [
        method.upper() for method in ("post", "put", "patch", "delete") if method in item and method not in wanted
    ]
    if others:
        notes.append(f"not proposed: {', '.join(others)}; a grant to query is none to change anything")
    interface = Interface(
        id=id,
        supplier=dataset.supplier,
        dataset=dataset.id,
        upstream=base.rstrip("/") + path.partition("{")[0].rstrip("/"),
        title=str(operation.get("summary", ""))[:200],
        methods=tuple(method.upper() for method in wanted),
        modes=dataset.sharing_modes or (SharingMode.QUERY,),
        format=format_,
        rows=rows.pointer,
        places=places,
        envelope=envelope,
        plain_http=base.startswith("http://"),
    )
    return DerivedInterface(
        interface=interface,
        unplaced=tuple(item.name for item in dataset.items if item.name not in places),
        unclaimed=unclaimed,
        query_parameters=query,
        notes=tuple(notes),
        faults=tuple(validate_interface(interface, dataset)),
    )


class _Document:
    """An OpenAPI document whose references are followed within it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _refuse("openapi", "its schemas are too many, or lead back to themselves in too many ways")

    def member(self, value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        found = value.get(name)
        if not isinstance(found, Mapping):
            raise _refuse("openapi", f"the document has no `{name}`")
        return found

    def resolve(self, value: Any) -> Schema:
        """A value with its reference followed; an empty schema for what is none."""
        for _ in range(MAX_DEPTH):
            self._step()
            if not isinstance(value, Mapping):
                return {}
            reference = value.get("$ref")
            if not isinstance(reference, str):
                return value
            value = self._at(reference)
        raise _refuse("openapi", "a `$ref` leads in a circle")

    def _at(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise _refuse("openapi", "a `$ref` leads out of the document; bundle it first")
        found: Any = self._root
        for token in reference[2:].split("/"):
            name = token.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                raise _refuse("openapi", f"`$ref` `{reference[:100]}` leads nowhere")
            found = found[name]
        return found

    def answer(self, operation: Schema) -> tuple[AnswerFormat, Schema]:
        """The format and schema of the successful answer; of Swagger 2.0 too, where it stands in the response."""
        responses = self.resolve(operation.get("responses"))
        code = next((code for code in ("200", "2XX", "201", "default") if code in responses), None)
        response = self.resolve(responses.get(code)) if code else {}
        if "schema" in response:
            kinds = [str(kind) for kind in _list(operation, "produces") or _list(self._root, "produces")]
            format_ = next((found for kind in kinds if (found := _format_of(kind)) is not None), AnswerFormat.JSON)
            return format_, self.resolve(response.get("schema"))
        for kind, value in self.resolve(response.get("content")).items():
            format_of = _format_of(str(kind))
            if format_of is not None:
                return format_of, self.resolve(self.resolve(value).get("schema"))
        return AnswerFormat.OPAQUE, {}

    def variants(self, schema: Schema, depth: int = 0) -> Iterator[Schema]:
        """A schema, and those it is made of or may be; never the mere null that it may be instead."""
        if depth > MAX_DEPTH:
            return
        yield schema
        for name in ("allOf", "anyOf", "oneOf"):
            for part in _list(schema, name):
                found = self.resolve(part)
                if found.get("type") != "null":
                    yield from self.variants(found, depth + 1)

    def properties(self, schema: Schema) -> dict[str, Schema]:
        """The properties of an object schema, with those of what it is made of."""
        found: dict[str, Schema] = {}
        for part in self.variants(schema):
            own = self.resolve(part.get("properties"))
            found = {**{str(name): self.resolve(each) for name, each in own.items()}, **found}
        return found

    def element(self, schema: Schema) -> Schema | None:
        """The schema of a list's elements; None for what is no list."""
        for part in self.variants(schema):
            if "items" in part:
                return self.resolve(part["items"])
        return None

    def rows(self, schema: Schema, items: tuple[DataItem, ...], notes: list[str]) -> _Rows:
        """Where the rows stand: the list or single record that holds most of the items, by itself or nearest below.

        A list inside a record is a part of that record. Of places that hold equally many items, a list of a usual name
        for rows goes before a record, usual names before others, what stands higher before what stands lower, and a
        list before a record beside it. Other places that hold some are told.
        """

        def worth(each: tuple[int, _Rows, int]) -> tuple[int, ...]:
            depth, found, held = each
            name = found.pointer.rpartition("/")[2]
            usual = -_ROW_NAMES.index(name) if name in _ROW_NAMES else -len(_ROW_NAMES)
            return held, found.is_list and (name in _ROW_NAMES or not depth), usual, -depth, found.is_list

        every = [(depth, rows, self._held(rows.row, items)) for depth, rows in self._candidates(schema, "", 0)]
        _, best, most = max(every, key=worth)
        beside = [rows.pointer or "the root" for _, rows, _ in every if most and self._holds_beside(rows, best, items)]
        if beside:
            told = ", ".join(beside[:20])
            notes.append(f"rows were taken from {best.pointer or 'the root'}; fields of items stand at {told} too")
        if not best.is_list:
            notes.append("no list of rows was found that holds the items; the answer is taken as a single row")
        return best

    def _candidates(self, schema: Schema, pointer: str, depth: int) -> Iterator[tuple[int, _Rows]]:
        element = self.element(schema)
        if element is not None:
            yield depth, _Rows(pointer, element, is_list=True)
            return
        yield depth, _Rows(pointer, schema, is_list=False)
        if depth < _ROWS_BELOW:
            for name, each in self.properties(schema).items():
                if self.properties(each) or self.element(each) is not None:
                    yield from self._candidates(each, f"{pointer}/{_escape(name)}", depth + 1)

    def _held(self, row: Schema, items: tuple[DataItem, ...]) -> int:
        """How many items stand in a row, in it or in records of it, not in lists within it."""
        names = [(_name_of(place), schema) for place, schema in self.fields(row)]
        return sum(any(_is_named(item, name, schema) for name, schema in names) for item in items)

    def _holds_beside(self, rows: _Rows, best: _Rows, items: tuple[DataItem, ...]) -> bool:
        """Whether fields of items stand at a place that is no part of the best one, nor it of theirs alone."""
        if rows is best or (not rows.is_list and rows.pointer.startswith(f"{best.pointer}/")):
            return False
        inside = best.pointer.removeprefix(rows.pointer) if best.pointer.startswith(f"{rows.pointer}/") else None
        return any(
            _is_named(item, _name_of(place), schema)
            for place, schema in self.fields(rows.row)
            if inside is None or not place.startswith(f"{inside}/")
            for item in items
        )

    def envelope(
        self, schema: Schema, pointer: str, items: tuple[DataItem, ...], places: Mapping[str, str]
    ) -> tuple[str, ...]:
        """The plain members beside the rows, but for any that is an item, by its name or as it is called in rows."""
        if not pointer:
            return ()
        called = {_name_of(place).casefold() for place in places.values()}
        return tuple(
            name
            for name, each in self.properties(schema).items()
            if name != pointer.split("/")[1].replace("~1", "/").replace("~0", "~")
            and not self.properties(each)
            and self.element(each) is None
            and name.casefold() not in called
            and not any(_is_named(item, name, each) for item in items)
        )

    def fields(self, row: Schema) -> Iterator[tuple[str, Schema]]:
        """Pointer below a row to schema, of every field that is no object itself; the nearest first."""
        waiting: deque[tuple[str, Schema, int]] = deque([("", row, 0)])
        told = 0
        while waiting and told < MAX_FIELDS:
            pointer, schema, depth = waiting.popleft()
            for name, each in self.properties(schema).items():
                place = f"{pointer}/{_escape(name)}"
                if self.properties(each) and self.element(each) is None:
                    if depth < MAX_DEPTH:
                        waiting.append((place, each, depth + 1))
                else:
                    told += 1
                    yield place, each


def _format_of(kind: str) -> AnswerFormat | None:
    plain = kind.partition(";")[0].strip().lower()
    if plain in {"application/json", "text/json", "*/*"} or plain.endswith("+json"):
        return AnswerFormat.JSON
    if plain in {"application/x-ndjson", "application/jsonl", "application/ndjson"}:
        return AnswerFormat.NDJSON
    return AnswerFormat.CSV if plain == "text/csv" else None


def _name_of(place: str) -> str:
    return place.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


def _is_named(item: DataItem, name: str, schema: Schema) -> bool:
    """Whether a field is an item: by its name, or by the item's title or name as its title or description."""
    words = {str(schema.get("title", "")).strip(), str(schema.get("description", "")).strip()} - {""}
    return name.casefold() == item.name.casefold() or bool({item.title, item.name} & words)


def _places(
    items: tuple[DataItem, ...], fields: Sequence[tuple[str, Schema]], notes: list[str], *, is_csv: bool
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Item to place, the nearest field of its name; ambiguity is told. And the fields that stay unclaimed."""
    places: dict[str, str] = {}
    claimed: set[str] = set()
    for item in items:
        by_name = [place for place, _ in fields if _name_of(place).casefold() == item.name.casefold()]
        found = by_name or [place for place, schema in fields if _is_named(item, _name_of(place), schema)]
        if not found:
            continue
        place = next((each for each in found if _name_of(each) == item.name), found[0])
        if len(found) > 1:
            others = ", ".join(each for each in found if each != place)
            notes.append(f"`{item.name}` was taken from {place}; it may as well be {others}")
        places[item.name] = _name_of(place) if is_csv else place
        claimed.add(place)
    return places, tuple(place for place, _ in fields if place not in claimed)


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    """A member that is a list; an empty one where it is none."""
    found = value.get(name)
    return found if isinstance(found, list) else []


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _server(openapi: Mapping[str, Any]) -> str:
    servers = openapi.get("servers")
    url = servers[0].get("url") if isinstance(servers, list) and servers and isinstance(servers[0], Mapping) else None
    if url is None and isinstance(openapi.get("host"), str):
        schemes = [each for each in _list(openapi, "schemes") if each in {"https", "http"}] or ["https"]
        scheme = "https" if "https" in schemes else schemes[0]
        url = f"{scheme}://{openapi['host']}{openapi.get('basePath') or ''}"
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise _refuse("upstream", "the document names no server with a full URL; say where the interface is")
    return url


def _refuse(field: str, fault: str) -> GatewayError:
    return GatewayError("invalid-input", fault, faults=[{"field": field, "fault": fault}])
