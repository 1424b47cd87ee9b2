"""The worker: the data plane over the state, the policies, the caller's identity and the ledger.

    worker      the data plane, wired
    book        what evaluations look up
    checks      the listener for those who carry calls themselves
    link        a worker's side of the control socket
    resolver    path to interface, and what a change touches
    words       what callers say: names stay, texts are sealed before a record names them
    kernel_end  the kernel ends a worker that no longer cuts

Used from outside: `checks`, `worker`.
"""
