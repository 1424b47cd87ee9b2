"""Request bodies to domain values: one model a domain type, made from the type itself, every fault at once.

The domain's structs say what there is and mean; pydantic names all faults of a body in one go (Decree 809 Art. 21:
missing materials are named in one go), msgspec then builds the value. A body that holds an unknown field is refused.
"""

import json
import re
import types
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from fastapi import Request
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool

from gateway.control.act.problems import faults_of
from gateway.domain.errors import GatewayError
from gateway.domain.words import field_words

S = TypeVar("S", bound=msgspec.Struct)

TEXT_LENGTH = 2000
"""Longest text of one field: a page of Chinese."""

Text = Annotated[str, StringConstraints(max_length=TEXT_LENGTH, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")]
"""A text without control characters but tab and line ends."""

Statement = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=TEXT_LENGTH, strip_whitespace=True, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
    ),
]
"""A text that has to say something."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(?:\.[a-z0-9][a-z0-9-]{0,62})?$")]
"""A slug, or one in a department's namespace: `department.slug`, see `domain.directory.namespace_of`."""
MAX_NAME_LENGTH = 127
"""Of a `Name`: what signs in by one takes them all."""
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
EntryId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,126}$")]
Region = Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$")]


_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")


def _moment(value: Any) -> Any:
    """Pydantic takes digits alone for Unix seconds or milliseconds, by their number."""
    if not isinstance(value, str) or not _MOMENT.match(value):
        raise PydanticCustomError("moment", "is no time with its zone, as `2027-01-01T09:00:00+08:00`")
    return value


# What the validator lets through is text that begins as a time; strict, pydantic would then ask for a `datetime`.
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_moment)]
"""A time of RFC 3339, with its zone."""


class Body(BaseModel):
    """What every request body is: strict, and closed to unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def body_model(
    struct: type[msgspec.Struct],
    *,
    name: str | None = None,
    without: frozenset[str] = frozenset(),
    forms: Mapping[str, Any] | None = None,
) -> type[Body]:
    """The body that a domain type is made from.

    Args:
        struct: the type.
        name: of the model in the OpenAPI document; default the type's name and `Body`.
        without: fields that a caller does not set.
        forms: field -> annotation that narrows it.
    """
    words = field_words(struct)
    hints = get_type_hints(struct, include_extras=True)
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        if field.name in without:
            continue
        annotation = (forms or {}).get(field.name, _annotation(hints[field.name]))
        if field.default is not msgspec.NODEFAULT:
            # A default of several fields stands in the OpenAPI document as the JSON that means the same.
            value = msgspec.to_builtins(field.default) if isinstance(field.default, msgspec.Struct) else field.default
            default = Field(default=value, description=words.get(field.name))
        elif field.default_factory is not msgspec.NODEFAULT:
            default = Field(default_factory=field.default_factory, description=words.get(field.name))
        else:
            default = Field(description=words.get(field.name))
        fields[field.name] = (annotation, default)
    summary = (struct.__doc__ or "").strip().partition("\n")[0]
    return create_model(name or f"{struct.__name__}Body", __base__=Body, __doc__=summary, **fields)


def _annotation(hint: Any) -> Any:
    """A domain type's annotation as pydantic shall check it."""
    if hint is str:
        return Text
    if hint is datetime:
        return Moment
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return body_model(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is None:
        return hint
    inner = tuple(each if each is Ellipsis else _annotation(each) for each in arguments)
    if origin in {Union, types.UnionType}:
        return Union[inner]  # noqa: UP007 - built at run time
    return origin[inner]


def parse(model: type[Body], struct: type[S], raw: bytes, *, row: int | None = None, **given: Any) -> S:
    """The domain value of a body.

    Args:
        model: what the body has to be.
        struct: what it becomes.
        raw: JSON.
        row: where it stood in a file, for the faults.
        given: fields that the caller of the API does not set.

    Raises:
        GatewayError: `malformed-request` if it is no JSON, `invalid-input` with every fault.
    """
    try:
        model.model_validate_json(raw)
        return msgspec.convert({**msgspec.json.decode(raw), **given}, struct)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        if found and found[0]["type"] == "json_invalid":
            raise GatewayError("malformed-request", "the body is not JSON") from error
        raise faults_of(found, row=row) from error
    except msgspec.ValidationError as error:
        fault = {"field": None, "fault": "has a value of the wrong kind"}
        at = {"row": row} if row is not None else {}
        raise GatewayError("invalid-input", "the input has 1 fault", faults=[{**at, **fault}]) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError("malformed-request", "the body is not JSON") from error


def body_of(model: type[Body], struct: type[S]) -> Callable[[Request], Awaitable[S]]:
    """A FastAPI dependency that reads a body as `struct`."""

    async def read(request: Request) -> S:
        return parse(model, struct, await read_json(request))

    return read


B = TypeVar("B", bound=Body)


def model_of(model: type[B]) -> Callable[[Request], Awaitable[B]]:
    """A FastAPI dependency that reads a body that is no domain value of its own."""

    async def read(request: Request) -> B:
        try:
            return model.model_validate_json(await read_json(request) or b"{}")
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            if found and found[0]["type"] == "json_invalid":
                raise GatewayError("malformed-request", "the body is not JSON") from error
            raise faults_of(found) from error

    return read


async def read_json(request: Request) -> bytes:
    """The body of a request that says it is JSON; bounded by `Shield`.

    Raises:
        GatewayError: `malformed-request` where it says so of something else, or where a name stands twice in an object:
            readers differ on which of the two holds (RFC 8259 Section 4).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/x-ndjson", "application/jsonl"}:
        raise GatewayError("malformed-request", "send `Content-Type: application/json`")
    raw = await request.body()
    texts = [raw] if kind == "application/json" else raw.splitlines()
    if len(raw) <= _BRIEF_BYTES:
        _require_single_names(texts)
    else:
        await run_in_threadpool(_require_single_names, texts)
    return raw


_BRIEF_BYTES = 1 << 16
"""Of a body that is looked through on the loop: about a millisecond."""


def _require_single_names(texts: list[bytes]) -> None:
    try:
        for text in filter(None, texts):
            json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return  # it is no JSON, which is said where it is read


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise GatewayError("malformed-request", "a name stands twice in one object of the body: send it once")
    return found


def describes(model: type[BaseModel], example: Any = None) -> dict[str, Any]:
    """`openapi_extra` of a route that takes `model`."""
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    if example is not None:
        content["example"] = example
    assert DESCRIBED.setdefault(model.__name__, model) is model, f"two bodies are called `{model.__name__}`"
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def takes(words: str, example: Any) -> dict[str, Any]:
    """`openapi_extra` of a route that takes a JSON object that is no model of its own."""
    content = {"schema": {"type": "object", "description": words}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


DESCRIBED: dict[str, type[BaseModel]] = {}
"""Models that the OpenAPI document names."""
