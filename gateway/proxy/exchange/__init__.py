"""One use, from call to record: the walk of one exchange.

1. Identify: who calls (`exchange`).
2. Resolve: which interface, by path (`routes`).
3. Decide: what the policies say (`exchange`); `lanes` remember it for a repeated request.
4. Record: the use is durable before anybody is called (`recording`).
5. Forward: to the supplier, as `admission` and `slots` let it (`forwarding`).
6. Release: the answer, reduced to the granted items, as long as `standing` holds (`release`).
7. Close: outcome and digests on record (`endings`).

    states      one exchange as a table: states, events, where they lead
    state       what an exchange has and where it stands
    exchange    who calls, which interface, what the policies say
    recording   the use and its record
    forwarding  to the supplier and back
    release     the answer on its way to the caller
    closing     how a streamed answer says that it ends here
    endings     every way out
    constrained parameters that a grant constrains, in every place where a caller can put one
    asked       what a request says itself, at the places that the entry names
    requests    what a request asks, and how it is told to the supplier
    routes      what is made once of an interface's entry and of a verdict
    lanes       what a repeated request means
    standing    whether what was decided still stands
    admission   whether a call may go to its supplier now
    slots       how many calls an interface takes at once
    refusals    problems as they leave
    digests     digests of requests and answers

Used from outside: `digests`, `endings`, `exchange`, `lanes`, `refusals`, `requests`, `routes`, `slots`,
`standing`, `states`.
"""
