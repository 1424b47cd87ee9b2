"""A grant to query is none to write: methods that change something are listed for the very mode, or do not pass."""

import pytest
import uvloop

from gateway.domain.directory import READING_METHODS, Interface, SharingMode
from tests.support.proxy_ports import CallerSide, House, Supplier, interface_for, request, serving

EVERY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE")


@pytest.mark.parametrize("mode", list(SharingMode))
def test_what_writes_is_never_implied(mode: SharingMode) -> None:
    """Whatever `methods` lists, also in an entry of before."""
    interface = Interface(id="i", supplier="s", dataset="d", upstream="", methods=EVERY)
    assert set(interface.methods_of(mode)) <= READING_METHODS
    listed = Interface(id="i", supplier="s", dataset="d", upstream="", mode_methods={SharingMode.BATCH: ("PUT",)})
    assert listed.methods_of(mode) == (("PUT",) if mode is SharingMode.BATCH else ("GET",))


def test_delete_under_a_grant_to_query_reaches_nobody() -> None:
    """Neither supplier nor ledger sees it, unless the entry lists it for the mode."""

    async def story() -> None:
        async with Supplier() as supplier:
            for fields, status in (
                ({"methods": EVERY}, 405),
                ({"mode_methods": {SharingMode.BATCH: ("DELETE",)}}, 405),
                ({"mode_methods": {SharingMode.QUERY: ("GET", "DELETE")}}, 200),
            ):
                house = House(interface_for(supplier.port, **fields))
                async with serving(house) as (_, port):
                    caller = await CallerSide.connect(port)
                    before = len(supplier.requests)
                    assert (await caller.ask(request(method="DELETE")))[0] == status
                    assert len(supplier.requests) - before == (status == 200)

    uvloop.run(story())
