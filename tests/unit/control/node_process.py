"""A node's control process in small: hub, feed and barrier over a shared state.

    python node_process.py STATE_URL NODE HUB_SOCKET

Reads grants from standard input, one a line; withdraws each and holds the barrier; answers with one JSON line.
"""

import json
import sys
import time
from pathlib import Path

import msgspec

from gateway.control.barrier.barrier import Barrier
from gateway.control.barrier.feed import Feed
from gateway.control.barrier.hub import Hub
from gateway.domain.changes import ChangeKind
from gateway.store import Store


def main(url: str, node: str, socket_path: str) -> None:
    store = Store.open(url, migrate_forward=False)
    hub = Hub(Path(socket_path), after_another=False, acknowledge_within=0.4)
    feed = Feed(store, hub, node=node, book=store, now=time.time)
    feed.start()
    listener = store.listen(lambda _changes: feed.wake())
    barrier = Barrier(hub, feed.tell, node=node, nodes=store)
    print("ready", flush=True)
    for line in sys.stdin:
        grant = line.strip()
        with store.transaction() as tx:
            tx.change(ChangeKind.GRANT, grant, grant=grant, withdraws=True)
        print(json.dumps(msgspec.to_builtins(barrier.hold(tx.changes))), flush=True)
    listener.close()
    feed.stop()
    hub.stop()
    store.close()


main(*sys.argv[1:])
