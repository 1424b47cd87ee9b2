"""The same decision and record for those who carry calls themselves: existing gateways, proxies and platforms.

It runs in each worker, beside the data plane and on the same engine, link and journal, behind a listener of its own
that answers nobody but those whom the settings name (`checks`). What it says rests on what a call through the gateway
rests on: identity, decision, quota, RECORD-FIRST, STALE-DENIES and BARRIER are those of `gateway.proxy.exchange`.

A call that a carrier asks about goes so:

1. The carrier shows its credential, and describes the call by the header fields of its kind (`described`).
2. `carried` walks the steps of an exchange up to the durable record. What the carrier could not keep within the grant
   is denied: it reduces no answer, compares nothing and counts no rows.
3. The answer is 200 with the `Sharing-*` fields to set, and `Sharing-Close`, by which the use is closed.
4. The carrier tells how it ended: by a second call (`closing`), or by a line of its log (`hook`). A use that nobody
   closes is closed by itself, as `unknown`, in bounded time (`open_uses`).

    authzen     what the policies say, asked by the standard
    askers      who may ask, by which credential, and about what
    described   a call as a carrier's header fields describe it
    carried     a use whose bytes somebody else carries
    open_uses   the uses that carriers have not closed yet
    closing     how a use ended, as its carrier tells it
    relay       a closing that came to another worker than the use
    hook        closings by the lines of a carrier's log
    connection  the listener's connections, and what they ask for
    question    a question that is no use of data
    desk        what all of them share
"""
