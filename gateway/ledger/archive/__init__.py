"""The log on an object store: the same files under the same names, written once, under object lock.

Durable on this disk comes first; uses never wait for the store. Below `<prefix>/<origin>/` lie

    tile/<L>/<N>[.p/<W>]             hash tiles, as tlog-tiles serves them
    tile/entries/<N>.pack            sixteen full bundles at rest, `log.at_rest`; loose ones as `.sgb`
    tile/entries/<N>.kept            what retention had kept of such a pack before it came here
    kept, minimum-index              as in `tree/`, where entries were pruned before they came here
    checkpoint                       the signed note up to which all of this stands; put last

Each object but the last three is put once (`If-None-Match`), locked in compliance mode until the last day of the newest
entry in it, and confirmed: its checksum and its lock are read back. `checkpoint` is replaced only where it is the one
that this node put there (`If-Match`): a second node that writes the same origin is found, and the first goes on.

    target     where a store is, and how it is reached
    reading    objects, read: bounded in size and time
    writing    objects put once, locked, and read back
    archiving  what is in the log and not in the store, brought there round by round

Used from outside: `archiving`, `reading`, `target`.
"""
