"""What may go from the log and when, and nothing else (Decree 809 Art. 29; Civil Code Art. 201 to 203).

    retention  what may go, why, and that nothing else does
    spool      exports in the gateway's keeping, which go with their first record

Used from outside: `retention`, `spool`.
"""
