"""Everything that stands in a home's state, for comparing policies over it; reads and never writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.control.policies.standing import StandingState
from gateway.runtime.home import GatewayHome
from gateway.store import Store


@contextmanager
def open_standing(home_path: Path) -> Iterator[StandingState]:
    """What stands in the state of the home.

    Raises:
        GatewayError: `not-found` where no gateway lives there.
    """
    home = GatewayHome(home_path)
    home.require()
    store = Store.open(home.state_url(home.settings()), memory=home.state_memory, migrate_forward=False)
    try:
        yield StandingState(store)
    finally:
        store.close()
