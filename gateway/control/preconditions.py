"""`ETag` and `If-Match` (RFC 9110 §8.8.3, §13.1.1), so that two officers do not overwrite each other."""

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
    if if_match is None or (value is not None and if_match.strip() == "*"):
        return
    if value is None or entity_tag(value) not in {each.strip() for each in if_match.split(",")}:
        raise GatewayError("precondition-failed", "it was changed since it was read")
