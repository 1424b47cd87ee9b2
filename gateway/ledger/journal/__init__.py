"""The journal: what makes a record durable before anybody is called or told.

A record becomes one frame of one writer's segment; one write and one sync confirm all that wait. The file format is
specified byte by byte in `gateway.ledger`.

    entries   canonical entries: a record as the bytes that the log hashes
    frames    frames: length, chained checksum, payload
    marks     a writer's segments by name, and up to where they are durable
    segments  a writer's segments: what is confirmed, repair of a torn tail, reading behind the writer
    writer    group commit by one thread
    uses      the data plane's side: a use is opened, and closed or refused
    acts      officers' side: an act's record is durable before the act stands

Used from outside: `acts`, `entries`, `frames`, `marks`, `segments`, `uses`, `writer`.
"""
