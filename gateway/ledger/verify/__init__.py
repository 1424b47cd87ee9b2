"""The offline verifier: needs a file and the log's verifier key, no gateway and no network.

It reads the log's formats and never writes one.

    report  what was checked, what was not, and how it failed
    record  one record, and an export
    log     a whole log, from the first leaf
    beside  what stands beside a log in a ledger's folder

Used from outside: `beside`, `log`, `record`, `report`.
"""
