"""The three searches: of the systems, interfaces or modes for which an evaluation says yes.

A search looks at what its evaluator may ask about, in order, and at `MOST_LOOKED_AT` at a time; the token says where
the next page goes on. It gives no more than as many evaluations would have.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from gateway.authorizer.authzen.evaluating import MODES, RESOURCE, SUBJECT, Evaluating, Evaluator, at_hand
from gateway.authorizer.authzen.messages import Action, Asked, Page, Search, whole
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.proxy.http.heads import malformed

MOST_LOOKED_AT = 400
MOST_RESULTS = 100

E = TypeVar("E")


class Searching:
    """Searches, by evaluations.

    Args:
        evaluating: evaluates.
    """

    def __init__(self, evaluating: Evaluating) -> None:
        self._evaluating = evaluating
        self._book = evaluating.book

    async def subjects(self, evaluator: Evaluator, given: Search) -> dict[str, Any]:
        """The systems that may do this with an interface."""
        asked = whole(given, but="subject")
        interface = await self._interface(asked)
        if asked.subject.type != SUBJECT or interface is None or asked.action.name not in MODES:
            return _page([], "")
        scopes = [None] if interface.dataset in evaluator.datasets else sorted(evaluator.departments)
        found, token = await self._look(
            scopes,
            given.page,
            self._book.systems,
            lambda system: self._is_permitted(evaluator, asked, system.id, interface.key) if system.active else _no(),
        )
        return _page([{"type": SUBJECT, "id": system.id} for system in found], token)

    async def resources(self, evaluator: Evaluator, given: Search) -> dict[str, Any]:
        """The interfaces with which a system may do this."""
        asked = whole(given, but="resource")
        system = await at_hand(self._book.system(asked.subject.id or ""))
        if asked.resource.type != RESOURCE or system is None or asked.action.name not in MODES:
            return _page([], "")
        scopes = [None] if system.department in evaluator.departments else sorted(evaluator.datasets)
        found, token = await self._look(
            scopes,
            given.page,
            self._book.interfaces,
            lambda interface: self._is_permitted(evaluator, asked, system.id, interface.key),
        )
        return _page([{"type": RESOURCE, "id": interface.key} for interface in found], token)

    async def actions(self, evaluator: Evaluator, given: Search) -> dict[str, Any]:
        """The modes in which a system may use an interface."""
        asked = whole(given, but="action")
        found = [
            {"name": name}
            for name in MODES
            if (await self._evaluating.evaluate(evaluator, _with(asked, action=Action(name)))).decision
        ]
        return _page(found, "")

    async def _interface(self, asked: Asked) -> Interface | None:
        supplier, _, id_ = (asked.resource.id or "").partition("/")
        try:
            return await at_hand(self._evaluating.plane.resolve(supplier, id_))
        except GatewayError as error:
            if error.code == "interface-unknown":
                return None
            raise

    async def _is_permitted(self, evaluator: Evaluator, asked: Asked, system: str, interface: str) -> bool:
        subject = msgspec.structs.replace(asked.subject, id=system)
        resource = msgspec.structs.replace(asked.resource, id=interface)
        answer = await self._evaluating.evaluate(evaluator, _with(asked, subject=subject, resource=resource))
        return answer.decision

    async def _look(
        self,
        scopes: Sequence[str | None],
        page: Page,
        read: Callable[[str | None, str | None, int], Awaitable[tuple[list[E], str | None]]],
        is_meant: Callable[[E], Awaitable[bool]],
    ) -> tuple[list[E], str]:
        """What is meant in the next pages, until there is some; and the token behind them, "" at the end."""
        most = MOST_RESULTS if page.limit is None else min(max(page.limit, 1), MOST_RESULTS)
        at, cursor = _parse_token(page.token)
        found: list[E] = []
        looked_at = 0
        while at < len(scopes) and not found and looked_at < MOST_LOOKED_AT:
            each, cursor = await read(scopes[at], cursor, most)
            looked_at += len(each)
            found += [one for one in each if await is_meant(one)]
            if cursor is None:
                at += 1
        return found, _token(at, cursor) if at < len(scopes) else ""


async def _no() -> bool:
    return False


def _with(asked: Asked, **changes: Any) -> Asked:
    return msgspec.structs.replace(asked, **changes)


def _page(results: list[dict[str, str]], token: str) -> dict[str, Any]:
    return {"results": results, "page": {"next_token": token, "count": len(results)}}


def _token(at: int, cursor: str | None) -> str:
    return base64.urlsafe_b64encode(f"{at} {cursor or ''}".encode()).decode()


def _parse_token(token: str) -> tuple[int, str | None]:
    if not token:
        return 0, None
    try:
        at, space, cursor = base64.b64decode(token, b"-_", validate=True).decode().partition(" ")
    except (binascii.Error, ValueError):
        at, space, cursor = "", "", ""
    if not space or not at.isdecimal():
        raise malformed("`page.token` is none that was given here")
    return int(at), cursor or None
