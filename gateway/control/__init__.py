"""The control plane: where officers, auditors and token requests come in, and where a stop becomes a stop.

**An act's life.** A request names its officer by a token; the body becomes domain values, every fault at once; the
policies decide the act (`Engine.authorize`); one transaction writes the state, its changes and the remembered answer;
inside it the act's record becomes durable, so no act stands without its record; after the commit the barrier holds
until every worker has dropped what it held. Then the answer leaves.

**The barrier.** The state's change feed is the one order of things. In each control process

    feed     a thread that reads the feed and says *when it asked*; on many nodes it also beats for its node
    hub      a thread with its own event loop: a Unix socket, leases, changes down, acknowledgements up; never slow
    barrier  what an act waits on: every worker here, then every other node

A worker may release only under a *lease*. A lease counts from the moment the worker asked for it, and ends at the
latest `freshness` (2 s) after the moment at which this control process began its last successful reading of the feed.
A lease reaches a worker after every change of that reading, on the same ordered stream. So whatever dies, stops or is
cut off: once `freshness` has passed since a change was committed, nobody holds a lease from before it. That bound
needs no clocks compared between machines; acknowledgements only make the wait shorter.

    worker   -> Hello(last applied)            hub -> Reset(position) | Changes…
    worker   -> Ask(n, applied)                hub -> Lease(n, milliseconds, position)
    hub      -> Changes                        worker: drop, cut, then -> Applied(sequence)
    worker   -> Counted(numbers)               read by /metrics

A worker that has not applied a change in time gets no further lease; when its last one has run out it is *out*, and is
killed (by pidfd), because what a stopped process had already given to its kernel could still reach a caller.

    act        what every route is made of: the one path of every act, bodies, pages, problems
    barrier    feed, hub, roster and wire: how a stop reaches every worker
    app        the FastAPI application
    directory  departments, systems, officers, purposes, entries, interfaces
    suppliers  where suppliers' services stand, and what they are called with
    grants     grants, the acts of their life, orders, figures
    processes  applications, verifications, disputes: routes made from the tables of the law
    records    questions, exports, the log, retention
    policies   what is in force, and what would change
    sign_in    tokens, sessions and credentials
"""
