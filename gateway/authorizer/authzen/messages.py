"""Requests of AuthZEN 1.0: what is required is there and of its type, what is unknown is passed over. Pure.

Source: Authorization API 1.0 §5, §6, §7, §8.
"""

from typing import Any, TypeVar

import msgspec

from gateway.domain.errors import GatewayError
from gateway.proxy.http.heads import malformed

MOST_EVALUATIONS = 256
SEMANTICS = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")


class Entity(msgspec.Struct, frozen=True):
    """A subject or a resource, perhaps without what a search asks for or a default gives."""

    type: str | None = None
    id: str | None = None
    properties: dict[str, Any] = {}


class Action(msgspec.Struct, frozen=True):
    """An action."""

    name: str | None = None
    properties: dict[str, Any] = {}


class Tuple(msgspec.Struct, frozen=True):
    """Subject, action, resource and context, each perhaps missing."""

    subject: Entity | None = None
    action: Action | None = None
    resource: Entity | None = None
    context: dict[str, Any] | None = None


class Page(msgspec.Struct, frozen=True):
    """Which page of a search."""

    token: str = ""
    limit: int | None = None


class Search(Tuple, frozen=True):
    """A search."""

    page: Page = Page()


class Options(msgspec.Struct, frozen=True):
    """How evaluations are executed."""

    evaluations_semantic: str = SEMANTICS[0]


class Evaluations(Tuple, frozen=True):
    """Several evaluations with defaults; each is read by itself, so that one fault is one denial."""

    evaluations: tuple[msgspec.Raw, ...] = ()
    options: Options = Options()


class Asked(msgspec.Struct, frozen=True):
    """One evaluation, whole."""

    subject: Entity
    action: Action
    resource: Entity
    context: dict[str, Any]


M = TypeVar("M")


def read(body: bytes, kind: type[M]) -> M:
    """A request's body.

    Raises:
        GatewayError: `malformed-request`, whose detail names the member and no value.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        where = str(error).rpartition(" - at ")[2] if " - at " in str(error) else "the body"
        raise malformed(f"{where} is not of the type that AuthZEN gives it") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise malformed("the body is not JSON") from None


def whole(given: Tuple, *, but: str = "") -> Asked:
    """A request with everything that it must name.

    Args:
        given: the request.
        but: `subject`, `action` or `resource`, whose id or name a search asks for.

    Raises:
        GatewayError: `malformed-request`.
    """
    subject, action, resource = given.subject, given.action, given.resource
    if action is None and but == "action":
        action = Action("")
    for name, entity in (("subject", subject), ("resource", resource)):
        if entity is None or not entity.type or (not entity.id and but != name):
            raise malformed(f"`{name}` is missing, or its `type` or `id` is")
    if action is None or (not action.name and but != "action"):
        raise malformed("`action` is missing, or its `name` is")
    assert subject is not None
    assert resource is not None
    return Asked(subject, action, resource, given.context or {})


def each_of(given: Evaluations) -> list[Asked | GatewayError]:
    """Its evaluations, with the defaults where one names nothing itself; a fault stands in the place of its own.

    An entity replaces the default's whole; only its type, id or name come from there where it lacks them.

    Raises:
        GatewayError: `malformed-request` where there are too many, or the semantic is unknown.
    """
    if len(given.evaluations) > MOST_EVALUATIONS:
        raise malformed(f"more than {MOST_EVALUATIONS} evaluations in one request")
    if given.options.evaluations_semantic not in SEMANTICS:
        raise malformed("`options.evaluations_semantic` is none that AuthZEN names")
    found: list[Asked | GatewayError] = []
    for raw in given.evaluations:
        try:
            found.append(whole(_over(read(bytes(raw), Tuple), given)))
        except GatewayError as error:
            found.append(error)
    return found


def _over(own: Tuple, default: Tuple) -> Tuple:
    return Tuple(
        _entity_over(own.subject, default.subject),
        _action_over(own.action, default.action),
        _entity_over(own.resource, default.resource),
        default.context if own.context is None else own.context,
    )


def _entity_over(own: Entity | None, default: Entity | None) -> Entity | None:
    if own is None or default is None:
        return own or default
    return Entity(own.type or default.type, own.id or default.id, own.properties)


def _action_over(own: Action | None, default: Action | None) -> Action | None:
    if own is None or default is None:
        return own or default
    return Action(own.name or default.name, own.properties)
