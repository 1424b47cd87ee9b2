"""What a restored state does not have and the log tells of, for whoever has to look at it."""

from datetime import UTC, datetime
from typing import Any

from gateway.runtime.home import GatewayHome
from gateway.store import Store


def list_differences(home: GatewayHome) -> list[dict[str, Any]]:
    """Each difference of this home's state, oldest first, with the orders that still hold what it withdrew."""
    home.require()
    settings = home.settings()
    home.require_state(settings)
    with Store.open(home.state_url(settings), memory=home.state_memory, migrate_forward=False, read_only=True) as store:
        found = []
        for each in store.differences():
            orders = [store.order(order) for order in each.orders]
            found.append(
                {
                    "record": each.record,
                    "outcome": each.outcome,
                    "kind": each.kind,
                    "act": each.act,
                    "officer": each.officer,
                    "time": datetime.fromtimestamp(each.time // 1_000_000_000, UTC).isoformat(),
                    "withdraws": list(each.withdraws),
                    "orders": list(each.orders),
                    "in_force": [order.id for order in orders if order is not None and order.is_in_force],
                }
            )
        return found
