"""Wires the rooms into processes and keeps them running.

`serve` is a *supervisor* with children: one *control* process (the control API, the barrier's hub), one *ledger*
process (integration, index, questions) and N *workers* (the data plane). The supervisor opens the data plane's
listening sockets, one a worker in one `SO_REUSEPORT` group, and keeps them: a worker that dies leaves its queue of
connections to the one that takes its place. A child says `ready` or one sentence of failure on a pipe; it ends by
itself when its supervisor is gone, and the kernel ends it in that instant.

    settings      `gateway.toml` and `GATEWAY_*`, one source for names, defaults, units and words
    home          the folder a gateway lives in, its paths and its lock
    ring          where the keys come from
    policies      the policies of the settings
    process       what a child does first and last
    supervision   one process starts the others, watches them and ends them
    worker        the data plane, wired
    control       the control plane, wired
    journals      the ledger process, wired
    start         what is made sure before a gateway serves
    listeners     on what it listens, and under which TLS
    suppliers     by which addresses and TLS contexts suppliers are called
    drawn         what departments have lately drawn, kept in the state
    memory        memory that is let go returns to the system
    probe         whether the control process lives and can serve, over a socket of the home
    operation     what an operator does: set up, status, backup, restore, the API for the command line
    telemetry     figures, logs and traces
    demo          three supply departments, a demand department and the story of their data
"""
