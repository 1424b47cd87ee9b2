"""Records on the control plane: questions, exports, the log itself, retention (Decree 809 Art. 29).

    routes     find, show, prove; records that a demand department files
    readings   whose a record of a reading is: watching is not told to the watched
    questions  from query parameters or a body to the ledger's question
    erasing    the act that takes callers' words away for good
    texts      what callers said, where a record names its digest
    exports    records as a file with a signed manifest
    exporting  exports on their way
    log        the log as C2SP tlog-tiles
    witness    cosigning other nodes' logs
    retention  what may go, and the act that lets just that go

Used from outside: `erasing`, `exports`, `log`, `retention`, `routes`, `witness`.
"""
