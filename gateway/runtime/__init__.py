"""Wires the rooms into processes and keeps them running.

`serve` is a *supervisor* with children: one *control* process (the control API, the barrier's hub), one *ledger*
process (integration, index, questions) and N *workers* (the data plane). The supervisor opens the data plane's
listening sockets, one a worker in one `SO_REUSEPORT` group, and keeps them: a worker that dies leaves its queue of
connections to the one that takes its place. A child says `ready` or one sentence of failure on a pipe; it ends by
itself when its supervisor is gone.

    settings    `gateway.toml` and `GATEWAY_*`, one source for names, defaults, units and words
    home        the folder a gateway lives in, its paths and its lock
    supervisor  starts, watches, restarts and drains the children
    process     what a child does first and last
    worker      the data plane, wired
    resolver    path to interface, and what a change touches
    control     the control plane, wired
    journals    the ledger process, wired
    link        a worker's side of the control socket
    setup       makes a gateway
    status      what runs, what is wrong and what to do
    ring        where the keys come from
    officer_tokens  tokens of officers, signed on the spot
    incarnation which life a home is in, and whether the state in it is its own
    reconciling record and act agree again at each start
    backup      copies of all a home needs; `restore` and `restore_log` put them back, `differences` says what lacks
    api         the control API for the command line, over HTTP or in this process
    demo        three supply departments, a demand department and the story of their data
"""
