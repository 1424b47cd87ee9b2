"""Wires the rooms into processes and keeps them running.

`serve` is a *supervisor* with children: one *control* process (the control API, the barrier's hub), one *ledger*
process (integration, index, questions) and N *workers* (the data plane). The supervisor opens the data plane's
listening sockets, one a worker in one `SO_REUSEPORT` group, and keeps them: a worker that dies leaves its queue of
connections to the one that takes its place. A child says `ready` or one sentence of failure on a pipe; it ends by
itself when its supervisor is gone, and the kernel ends it in that instant.

    settings          `gateway.toml` and `GATEWAY_*`, one source for names, defaults, units and words
    effect            which settings would do nothing, or never match
    exposure          what stands open or ends, by the files that settings name
    modes             files that their owner alone may read
    home              the folder a gateway lives in, its paths and its lock
    incarnation       which life a home is in, and whether the state in it is its own
    reconciling       record and act agree again at each start
    ring              where the keys come from
    tls               the TLS of both listeners
    tls_faults        what is wrong with a file of it, in one sentence
    policies          the policies of the settings
    holders           which processes hold a home
    supervisor        starts, watches, restarts and drains the children
    child             one of them, and its restarts
    watch_dog         which workers must be ended, and why
    process           what a child does first and last
    first_process     the first process of a container reaps
    parentage         a child ends with its parent
    heartbeat         a worker's signs of life, and where its loop stands
    kernel_end        the kernel ends a worker that no longer cuts
    memory            memory that is let go returns to the system
    worker            the data plane, wired
    suppliers         by which addresses and TLS contexts suppliers are called
    trying            an interface's entry tried with a sample
    adopting          hosts and certificates of earlier versions, taken in at a start
    resolver          path to interface, and what a change touches
    drawn             what departments have lately drawn, kept in the state
    listeners         on what the nodes listen
    link              a worker's side of the control socket
    control           the control plane, wired
    provider          the OpenID provider that officers sign in at
    control_listener  its socket
    console           the console on it
    probe             whether it lives and can serve, over a socket of the home
    readiness         whether uses can be served
    scraping          who may scrape figures
    examining         examining a candidate in a process of its own
    journals          the ledger process, wired
    operation         what an operator does: set up, status, backup, restore, the API for the command line
    telemetry         figures, logs and traces
    demo              three supply departments, a demand department and the story of their data
"""
