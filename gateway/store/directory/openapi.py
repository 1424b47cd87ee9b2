"""From a supplier's OpenAPI document to an interface: where each data item stands in the answer, for confirmation.

What is derived is a proposal. An officer confirms it; only then is it registered. Nothing outside the document is
read: a `$ref` to another file or host is a fault.

Source: OpenAPI 3.0 and 3.1; JSON Pointer RFC 6901.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.domain.directory import AnswerFormat, DataItem, Dataset, Interface, SharingMode
from gateway.domain.errors import GatewayError

MAX_DEPTH = 12
"""How deep a schema is followed: real answers nest four levels; a `$ref` may lead in a circle."""

MAX_STEPS = 20_000
"""Schemas looked at in one document. Two references to oneself double the way at every level: a document of 1 KB would
keep a processor busy for days. An answer of a thousand fields takes some 5,000."""

_ROWS_BELOW = 3
"""How many levels below the answer's root rows are looked for."""

_METHODS = ("get", "post", "put", "patch", "delete", "head")
_ROW_NAMES = ("data", "datas", "rows", "records", "items", "list", "result", "results")
_FORMATS = (
    ("application/json", AnswerFormat.JSON),
    ("application/x-ndjson", AnswerFormat.NDJSON),
    ("application/jsonl", AnswerFormat.NDJSON),
    ("text/csv", AnswerFormat.CSV),
)

Schema = Mapping[str, Any]


class DerivedInterface(msgspec.Struct, frozen=True):
    """A proposed interface, and what an officer has to look at before confirming it.

    Args:
        interface: the proposal.
        unplaced: items of the dataset that were not found in the answer.
        unclaimed: fields of a row that are no item of the dataset: they will never leave.
        query_parameters: names of the query parameters, of which some may be `scope_parameters`.
        notes: what was guessed, in words.
    """

    interface: Interface
    unplaced: tuple[str, ...]
    unclaimed: tuple[str, ...]
    query_parameters: tuple[str, ...]
    notes: tuple[str, ...]


def derive_interface(
    openapi: Mapping[str, Any],
    path: str,
    *,
    dataset: Dataset,
    id: str,  # noqa: A002 - the domain's name
    upstream: str | None = None,
) -> DerivedInterface:
    """Propose the interface that serves `dataset` by one path of an OpenAPI document.

    Args:
        openapi: the document, parsed.
        path: a key of its `paths`; what stands before its first template is the upstream's path.
        dataset: the entry whose items are looked for.
        id: the interface's id.
        upstream: base URL to use instead of the document's first server.

    Raises:
        GatewayError: `invalid-input`, saying what the document lacks.
    """
    document = _Document(openapi)
    item = document.resolve(document.member(openapi, "paths")).get(path)
    if not isinstance(item, Mapping):
        raise _refuse("path", f"the document has no path `{path[:100]}`")
    operations = {method: document.resolve(item[method]) for method in _METHODS if method in item}
    if not operations:
        raise _refuse("path", f"`{path[:100]}` has no operation")
    operation = next(iter(operations.values()))
    notes: list[str] = []
    format_, schema = document.answer(operation)
    rows, row, envelope = document.rows(schema, notes) if format_ is AnswerFormat.JSON else ("", schema, ())
    fields = dict(document.fields(row)) if format_ is not AnswerFormat.OPAQUE else {}
    places, unclaimed = _places(dataset.items, fields, is_csv=format_ is AnswerFormat.CSV)
    base = upstream or _server(openapi)
    parameters = [document.resolve(each) for each in (*_list(item, "parameters"), *_list(operation, "parameters"))]
    query = tuple(dict.fromkeys(str(each.get("name")) for each in parameters if each.get("in") == "query"))
    if "{" in path:
        notes.append("the path is a template: callers append what stands after its fixed part")
    if format_ is AnswerFormat.OPAQUE:
        notes.append("the answer cannot be filtered: it leaves only under a grant of all items")
    return DerivedInterface(
        interface=Interface(
            id=id,
            supplier=dataset.supplier,
            dataset=dataset.id,
            upstream=base.rstrip("/") + path.partition("{")[0].rstrip("/"),
            title=str(operation.get("summary", ""))[:200],
            methods=tuple(method.upper() for method in operations),
            modes=dataset.sharing_modes or (SharingMode.QUERY,),
            format=format_,
            rows=rows,
            places=places,
            envelope=envelope,
            plain_http=base.startswith("http://"),
        ),
        unplaced=tuple(item.name for item in dataset.items if item.name not in places),
        unclaimed=unclaimed,
        query_parameters=query,
        notes=tuple(notes),
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
        """The format and schema of the successful answer."""
        responses = self.resolve(operation.get("responses"))
        code = next((code for code in ("200", "2XX", "201", "default") if code in responses), None)
        content = self.resolve(self.resolve(responses.get(code)).get("content")) if code else {}
        plain = {str(kind).partition(";")[0].strip().lower(): value for kind, value in content.items()}
        for kind, format_ in _FORMATS:
            if kind in plain:
                return format_, self.resolve(self.resolve(plain[kind]).get("schema"))
        return AnswerFormat.OPAQUE, {}

    def properties(self, schema: Schema, depth: int = 0) -> dict[str, Schema]:
        """The properties of an object schema, with those of its `allOf`."""
        found: dict[str, Schema] = {}
        if depth > MAX_DEPTH:
            return found
        for part in _list(schema, "allOf"):
            found.update(self.properties(self.resolve(part), depth + 1))
        found.update({str(name): self.resolve(each) for name, each in self.resolve(schema.get("properties")).items()})
        return found

    def rows(self, schema: Schema, notes: list[str]) -> tuple[str, Schema, tuple[str, ...]]:
        """Pointer to the rows, the schema of one row, and the other plain members of the root."""
        found = self._array_below(schema, "", 0)
        if found is None:
            single = next(
                (n for n in _ROW_NAMES if self.properties(self.properties(schema).get(n, {}))),
                None,
            )
            notes.append("no list of rows was found; the answer is taken as a single row")
            found = (f"/{single}", self.properties(schema)[single]) if single else ("", schema)
        pointer, row = found
        branch = pointer.split("/")[1] if pointer else None
        envelope = tuple(
            name
            for name, each in self.properties(schema).items()
            if branch is not None and name != branch and not self.properties(each) and "items" not in each
        )
        return pointer, row, envelope

    def _array_below(self, schema: Schema, pointer: str, depth: int) -> tuple[str, Schema] | None:
        if "items" in schema:
            return pointer, self.resolve(schema["items"])
        if depth >= _ROWS_BELOW:
            return None
        members = self.properties(schema)
        for name in sorted(members, key=lambda name: _ROW_NAMES.index(name) if name in _ROW_NAMES else 99):
            found = self._array_below(members[name], f"{pointer}/{_escape(name)}", depth + 1)
            if found is not None and self.properties(found[1]):
                return found
        return None

    def fields(self, row: Schema, pointer: str = "", depth: int = 0) -> Iterator[tuple[str, Schema]]:
        """Pointer below a row to schema, of every field that is no object itself."""
        if depth > MAX_DEPTH:
            return
        for name, schema in self.properties(row).items():
            place = f"{pointer}/{_escape(name)}"
            if self.properties(schema):
                yield from self.fields(schema, place, depth + 1)
            else:
                yield place, schema


def _places(
    items: tuple[DataItem, ...], fields: Mapping[str, Schema], *, is_csv: bool
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Item to place, by the field's name, then by its title or description; and the fields that stay unclaimed."""
    named: dict[str, tuple[int, str]] = {}
    worded: dict[str, tuple[int, str]] = {}
    for order, (place, schema) in enumerate(fields.items()):
        name = place.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        found = (order, name if is_csv else place)
        named.setdefault(name.casefold(), found)
        for word in (str(schema.get("title", "")).strip(), str(schema.get("description", "")).strip()):
            if word:
                worded.setdefault(word, found)
    places: dict[str, str] = {}
    for item in items:
        claims = (named.get(item.name.casefold()), worded.get(item.title), worded.get(item.name))
        first = min((claim for claim in claims if claim is not None), default=None)
        if first is not None:
            places[item.name] = first[1]
    claimed = {f"/{_escape(place)}" if is_csv else place for place in places.values()}
    return places, tuple(place for place in fields if place not in claimed)


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    """A member that is a list; an empty one where it is none."""
    found = value.get(name)
    return found if isinstance(found, list) else []


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _server(openapi: Mapping[str, Any]) -> str:
    servers = openapi.get("servers")
    url = servers[0].get("url") if isinstance(servers, list) and servers and isinstance(servers[0], Mapping) else None
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise _refuse("upstream", "the document names no server with a full URL; say where the interface is")
    return url


def _refuse(field: str, fault: str) -> GatewayError:
    return GatewayError("invalid-input", fault, faults=[{"field": field, "fault": fault}])
