"""Credential to `Caller`: what the token endpoint and the data plane ask.

    assertions    client authentication at the token endpoint (RFC 7523)
    dpop          proofs of possession (RFC 9449)
    nonces        what proofs must bear: of the whole cluster
    certificates  binding to client certificates (RFC 8705)
    legacy        contracts of existing sharing platforms
    replay        what was used once, shared by a node's workers, or by a cluster's
    caller        credential to `Caller`
    security_log  counters and a rate-limited log of refusals; budgets of failures

Used from outside: `assertions`, `caller`, `certificates`, `dpop`, `legacy`, `nonces`, `replay`, `security_log`.
"""
