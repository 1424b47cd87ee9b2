"""On what this gateway listens, and under which TLS.

    control     the control plane's socket
    nodes       on what all nodes listen, so that no interface leads there
    tls         the TLS of both listeners
    tls_faults  what is wrong with a file of it, in one sentence

Used from outside: `control`, `nodes`, `tls`, `tls_faults`.
"""
