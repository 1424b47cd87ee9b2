"""`ETag` and `If-Match` (RFC 9110 §8.8.3, §13.1.1), so that two officers do not overwrite each other."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from fastapi import Header

from gateway.domain.errors import GatewayError
from gateway.store import etag

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=256, description="`ETag` of what was read; the act is refused if it changed"),
]


def entity_tag(value: msgspec.Struct) -> str:
    """The `ETag` field of a value."""
    return f'"{etag(value)}"'


def require_match(value: msgspec.Struct | None, if_match: str | None) -> None:
    """Raises `precondition-failed` where `If-Match` names another state of `value` than the present one.

    None is what is not there (any more): no state of it matches, not even `*`.
    """
    if value is not None:
        require_tag(if_match, lambda: etag(value))
    elif if_match is not None:
        raise _changed()


def require_tag(if_match: str | None, *current: Callable[[], str]) -> None:
    """Raises `precondition-failed` where `If-Match` names none of the tags, asked for in order until one is named.

    Args:
        if_match: the field, if it was sent; `*` names every tag.
        current: tags without their quotes.
    """
    if if_match is None or if_match.strip() == "*":
        return
    sent = {each.strip() for each in if_match.split(",")}
    if not any(f'"{tag()}"' in sent for tag in current):
        raise _changed()


def _changed() -> GatewayError:
    return GatewayError("precondition-failed", "it was changed since it was read")
