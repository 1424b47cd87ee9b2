"""Lists by page: `limit` and `cursor` come in, `items` and `next` go out."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Query
from fastapi.responses import Response

from gateway.store import Page

T = TypeVar("T")

Cursor = Annotated[str | None, Query(max_length=2048, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=1000, description="rows a page")]


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` (structs, or what JSON knows) as a JSON response: every field said, also one at its default."""
    return Response(msgspec.json.encode(whole(value)), status, headers, media_type="application/json")


def whole(value: Any) -> Any:
    """`value` with every struct as an object of all its fields.

    The state keeps what differs from the default; a reader of the API should not have to know the defaults.
    """
    if isinstance(value, msgspec.Struct):
        return {field.encode_name: whole(getattr(value, field.name)) for field in msgspec.structs.fields(value)}
    if isinstance(value, dict):
        return {name: whole(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [whole(each) for each in value]
    return value


def page_response(items: Any, cursor: str | None) -> Response:
    """One page: `items`, and `next` where another page follows."""
    return json_response({"items": items, "next": cursor})


def every(listing: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """All rows of a listing, page by page."""
    cursor: str | None = None
    while True:
        page = listing(cursor)
        yield from page.items
        cursor = page.cursor
        if cursor is None:
            return
