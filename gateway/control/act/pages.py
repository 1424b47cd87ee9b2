"""Lists by page, to who may see them: what is hidden is left out before a page is cut, and cursors tell nothing.

A cursor is sealed for one officer and one list: it cannot be made, read or lent. It stands for the last row that was
shown, so that neither it nor the length of a page tells of rows that were not.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.responses import Response

from gateway.control.act.acting import Services, SignedIn, is_permitted
from gateway.control.act.paging import Cursor, Limit, json_response
from gateway.control.act.problems import invalid
from gateway.control.act.scopes import region_prefix
from gateway.control.act.services import ControlServices
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.store import Concerned, Page
from gateway.store.values import encode_cursor

T = TypeVar("T")

READ_AT_ONCE = 1000


class Pager:
    """One request for a page.

    Args:
        services: the rooms.
        request: for its path, which a cursor is bound to.
        officer: who asks, whom it is bound to as well.
        cursor: as it was sent; None for the first page.
        limit: rows a page.

    Raises:
        GatewayError: `invalid-input` for a cursor that this list did not give to this officer.
    """

    def __init__(
        self, services: ControlServices, request: Request, officer: Officer, cursor: str | None, limit: int
    ) -> None:
        self._services = services
        self._bound = f"cursor/{officer.id} {request.url.path}"
        self.cursor = None if cursor is None else self.opened(cursor)
        self.limit = limit

    def opened(self, sealed: str) -> str:
        """What a cursor stands for; raises `invalid-input`."""
        try:
            return self._services.unseal(sealed.replace("~", "."), self._bound).decode()
        except (GatewayError, UnicodeDecodeError) as error:
            fault = "is not the `next` of a page before of this list, given to you"
            raise invalid([{"field": "cursor", "fault": fault}]) from error

    def sealed(self, cursor: str | None) -> str | None:
        """The cursor as it goes out."""
        if cursor is None:
            return None
        # A dot would be taken for the mark of a node.
        return self._services.seal(cursor.encode(), self._bound).replace(".", "~")

    def response(self, items: Any, cursor: str | None) -> Response:
        """One page: `items`, and `next` where another page follows."""
        return json_response({"items": items, "next": self.sealed(cursor)})

    def of_visible(
        self,
        listing: Callable[[str | None, int], Page[T]],
        may_see: Callable[[T], bool],
        place: Callable[[T], Sequence[Any]],
    ) -> Response:
        """The next rows that may be seen, as many as a page holds; where the next page begins only they tell.

        Args:
            listing: rows after a cursor, at most so many; narrowed to what concerns the officer.
            may_see: asks the policies.
            place: a row's sort key.
        """
        shown: list[T] = []
        cursor = self.cursor
        while len(shown) <= self.limit:
            page = listing(cursor, READ_AT_ONCE)
            shown += [each for each in page.items if may_see(each)]
            cursor = page.cursor
            if cursor is None:
                break
        rows = shown[: self.limit]
        return self.response(rows, encode_cursor(place(rows[-1])) if len(shown) > self.limit else None)


async def _pager(
    request: Request, services: Services, officer: SignedIn, cursor: Cursor = None, limit: Limit = 100
) -> Pager:
    return Pager(services, request, officer, cursor, limit)


Pages = Annotated[Pager, Depends(_pager)]


def concerned_of(services: ControlServices, officer: Officer, *acts: Act) -> Concerned | None:
    """What a list is narrowed to in the state, so that it reads no more than may be seen; None where nothing may.

    The policies are asked for the officer's region, and for the own department as either side; each row is asked for
    besides.
    """
    own = services.store.department(officer.department)
    of_own = None if own is None else own.region
    region = Matter(region=officer.region, demand_region=officer.region)
    sides = (
        Matter(supplier=officer.department, region=of_own),
        Matter(demand=officer.department, demand_region=of_own),
    )
    sees_region = any(is_permitted(services, officer, act, region) for act in acts)
    sees_own = any(is_permitted(services, officer, act, side) for act in acts for side in sides)
    if not sees_region and not sees_own:
        return None
    return Concerned(
        region=region_prefix(officer.region) if sees_region else None,
        department=officer.department if sees_own else None,
    )
