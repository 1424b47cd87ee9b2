"""The state: departments, systems, the directory, grants and orders, on SQLite or PostgreSQL, with a change feed.

    store         `Store`: open, read, list, write in transactions, follow the feed
    schema        the tables
    database      one writer and many readers over SQLite or PostgreSQL; failures as sentences
    servers       which PostgreSQL server is the primary of the newest history
    deadlines     an end to what a server does not answer
    turns         whose turn it is to write, what is urgent first
    readings      reads by id, and the one reading a decision needs
    listings      lists by page
    transaction   writes of grants, orders and duties
    migrations    the versions of the tables
    migrate       runs them under a lock
    hosts         suppliers' hosts: claims, and whose a host is
    certificates  suppliers' certificates, named
    credentials   what suppliers are shown of who calls, named
    accounts      writes of officers' accounts: sessions, one-time codes, news
    policies      sets of policies, and which is in force
    scope         whether a change takes access away
    bulk          imports of many grants
    feed          listening to the change feed
    belonging     what ties the state to its home and its log
    coordination  one-time values, quotas, nodes
    gathering     what departments drew, counted together
    figures       figures for supervision, and the duties behind them
    texts         callers' words, sealed, by the digest that records name
    cases         cases of processes, their history and attachments
    proposals     grants on their way
    directory     the directory and its files: sheets, JSON, DCAT, OpenAPI
    values        pages, filters, entity tags and other values besides the domain's

The life of a suspension: `transaction()` takes the writer's lock, the grant's new state and the order are written, a
`Change` with `withdraws` gets the next sequence, the commit is synced to disk, listeners are woken, and only then
does the block end; `tx.changes` is what the barrier is then held on.
"""

from gateway.store.belonging import Difference, KnownHome, KnownLog
from gateway.store.cases import CaseFilter
from gateway.store.store import Store, StoreTransaction
from gateway.store.values import (
    Answer,
    Concerned,
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
    "CaseFilter",
    "Concerned",
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
