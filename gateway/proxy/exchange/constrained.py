"""Parameters that a grant constrains, read in every place where a caller can put one. Pure.

A grant for one region is kept only where the gateway reads the region as the supplier does. So each place is read with
one meaning, and what is not read is told to the policies (`Call.unread`), which then keep no such grant:

    query   once, spelt exactly (`targets.parameters_of`)
    path    where the interface's entry describes it (`Interface.paths`)
    body    a form, read as a query, or JSON, in which the name is looked for at every depth; a parameter for which
            the entry names a place is read there alone (`asked`)
    header  fields of a parameter's name are refused

One parameter in two places is refused, equal or not: which of them the supplier reads is not known.

INVARIANT: ONE-MEANING.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from gateway.domain.grants import MAX_VALUE_BYTES
from gateway.proxy.exchange.routes import Route
from gateway.proxy.http.heads import Block, malformed
from gateway.proxy.http.targets import is_form, is_form_text, parameters_of, path_parameters
from gateway.proxy.projection.matching import MAX_BODY_BYTES

Parameters = tuple[tuple[str, str], ...]

_JSON = re.compile(rb"application/(?:[a-z0-9.+-]+\+)?json *(?:; *charset=\"?utf-8\"?)? *", re.IGNORECASE)
_OF_HTTP = frozenset({b"accept", b"date", b"from", b"host", b"range"})
"""Fields that have a meaning of their own, whatever a parameter is called."""


def constrained_of(route: Route, block: Block, query: Parameters, rest: bytes) -> tuple[Parameters, tuple[str, ...]]:
    """The constrained parameters in query and path, and which places of the request are not read.

    A body counts as unread until `of_body` has read it.

    Raises:
        GatewayError: `malformed-request`.
    """
    if not route.scope_names:
        return (), ()
    for name, _ in block.fields:
        plain = name.removeprefix(b"x-").replace(b"-", b"").replace(b"_", b"")
        if plain in route.scope_fields and name not in _OF_HTTP:
            raise malformed("a header field bears the name of a parameter that grants constrain")
    in_path, is_read = path_parameters(rest, route.paths, route.scope_names)
    unread = () if is_read else ("path",)
    if block.content_length != 0:
        unread = ("body", *unread)
    return joined(query, in_path), unread


def is_readable(block: Block) -> bool:
    """Whether the request's body is one that is read for parameters: short, of a known length, a form or JSON."""
    if not block.content_length or block.content_length > MAX_BODY_BYTES:
        return False
    kinds = [value for name, value in block.fields if name == b"content-type"]
    codings = [value for name, value in block.fields if name == b"content-encoding"]
    return len(kinds) == 1 and not codings and (is_form(kinds[0]) or _JSON.fullmatch(kinds[0]) is not None)


def of_body(route: Route, block: Block, body: bytes) -> Parameters | None:
    """The constrained parameters in a body that `is_readable`; None where it is not what its type says.

    Raises:
        GatewayError: `malformed-request`.
    """
    kind = next(value for name, value in block.fields if name == b"content-type")
    if _JSON.fullmatch(kind):
        return of_json(route, body)
    return parameters_of(body, route.sought_names) if is_form_text(body) else None


def of_json(route: Route, body: bytes) -> Parameters | None:
    """The constrained parameters at every depth of a JSON text; None where it is none.

    Raises:
        GatewayError: `malformed-request`.
    """
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_Members,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_no_number,
        )
        found: dict[str, str] = {}
        for name, value in _members(document):
            exact = route.sought_words.get(name.partition("[")[0].rpartition(".")[2].strip().casefold())
            if exact is None:
                continue
            if name != exact:
                raise malformed(f"the parameter `{exact}` is spelt in another way in the body")
            if exact in found:
                raise malformed(f"the parameter `{exact}` stands twice in the body")
            if not isinstance(value, str):
                raise malformed(f"the parameter `{exact}` is neither a text nor a number in the body")
            found[exact] = str(value)
    except (UnicodeDecodeError, RecursionError, ValueError):
        return None
    return tuple(sorted(found.items()))


def joined(*places: Parameters) -> Parameters:
    """What stands in several places, sorted.

    Raises:
        GatewayError: `malformed-request` where one parameter stands in two of them, or is too long.
    """
    found: dict[str, str] = {}
    for name, value in (pair for place in places for pair in place):
        if name in found:
            raise malformed(f"the parameter `{name}` stands in two places of the request")
        # Verdicts are kept under them, and no grant allows a longer one.
        if len(value.encode()) > MAX_VALUE_BYTES:
            raise malformed(f"the parameter `{name}` is longer than {MAX_VALUE_BYTES} bytes")
        found[name] = value
    return tuple(sorted(found.items()))


class _Members(list[tuple[str, Any]]):
    """The members of an object, those that stand twice, too."""


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _no_number(_word: str) -> NoReturn:
    raise ValueError("no JSON number")


def _members(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, _Members):
        for name, value in node:
            yield name, value
            yield from _members(value)
    elif isinstance(node, list):
        for value in node:
            yield from _members(value)
