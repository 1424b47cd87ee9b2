"""The state: departments, systems, the directory, grants and orders, on SQLite or PostgreSQL, with a change feed.

    store.py            `Store`: open, read, list, write in transactions, follow the feed
    schema.py           the tables; `migrations/` builds them, `migrate.py` runs those under a lock
    database.py         one writer and many readers over SQLite or PostgreSQL; failures as sentences
    readings.py         reads by id, and the one reading a decision needs
    listings.py         lists by page
    transaction.py      writes of grants, orders and duties; `directory_writes.py` those of the directory
    policies.py         sets of policies, and which is in force
    scope.py            whether a change takes access away
    bulk.py             imports of many grants
    feed.py             listening to the change feed
    coordination.py     one-time values, quotas, nodes
    belonging.py        what ties the state to its home and its log
    figures.py          figures for supervision, and the duties behind them
    applications.py     applications for sharing and their clocks
    effects.py          what a release would change, grant by grant
    validation.py       whether an entry is one, by article
    directory_file.py   directory files: reading them, naming every fault; `spreadsheet.py` and `columns.py` for sheets
    directory_import.py a whole directory file in one transaction; `directory_export.py` writes one, `dcat.py` as DCAT
    directory_rows.py   the directory as it stands, and the tag by which its states are told apart
    openapi.py          an interface proposed from a supplier's OpenAPI document
    values.py           pages, filters, entity tags and other values besides the domain's

The life of a suspension: `transaction()` takes the writer's lock, the grant's new state and the order are written, a
`Change` with `withdraws` gets the next sequence, the commit is synced to disk, listeners are woken, and only then
does the block end; `tx.changes` is what the barrier is then held on.
"""

from gateway.store.belonging import Difference, KnownHome, KnownLog
from gateway.store.store import Store, StoreTransaction
from gateway.store.values import (
    Answer,
    DatasetFilter,
    Disposal,
    Drawn,
    GrantFilter,
    LegacyKey,
    Node,
    OrderFilter,
    Page,
    etag,
)

__all__ = [
    "Answer",
    "DatasetFilter",
    "Difference",
    "Disposal",
    "Drawn",
    "GrantFilter",
    "KnownHome",
    "KnownLog",
    "LegacyKey",
    "Node",
    "OrderFilter",
    "Page",
    "Store",
    "StoreTransaction",
    "etag",
]
