"""The verifier: needs a file or the address of a log, and the log's verifier key; of a file, no network.

It reads the log's formats and never writes one.

    report     what was checked, what was not, and how it failed
    record     one record, and an export
    log        a whole log, from the first leaf
    entries    its entries against their hashes, and the prunes among them
    walk       a whole log that is read from elsewhere, in one pass that can be interrupted
    over_http  such a log as C2SP tiles over HTTP
    over_s3    such a log as it lies in an object store
    beside     what stands beside a log in a ledger's folder

Used from outside: `beside`, `log`, `over_http`, `over_s3`, `record`, `report`, `walk`.
"""
