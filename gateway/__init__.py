"""The sharing gateway: a policy-enforcing reverse proxy between government departments' data.

The rooms, and what each is for:

    domain    what the regulation talks about; pure values, no I/O, no clock
    policy    law + directory + grants + orders -> Cedar; decide, explain, compare, check
    identity  credential -> Caller; tokens; the key ring
    proxy     the data plane: one exchange from caller to supplier and back
    ledger    use records: journal, log, proofs, index, retention, offline verifier
    authorizer  the same decision and record for proxies and platforms that carry calls themselves
    store     the state: SQL on SQLite or PostgreSQL, migrations, change feed
    control   the control plane's HTTP API, and the barrier
    console   pages for officers and auditors, over the control API alone
    client    what a demand department's developer imports
    runtime   settings, processes, metrics, logging; wires everything
    cli       the `gateway` command
"""

__version__ = "0.1.0"
