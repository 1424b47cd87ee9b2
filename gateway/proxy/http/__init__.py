"""HTTP/1.1 with one meaning: heads, targets, bodies, and connections to suppliers.

    heads     a request's head: one strict grammar, and llhttp as a second reader that must agree
    targets   the request target: one spelling of one path
    framing   how a request's body ends
    bodies    a request's body on its way
    hygiene   which header fields go on
    answers   a supplier's answer: what its head says, and where it ends
    upstream  a supplier's connection, one exchange at a time
    pools     connections kept for the next call, and whether a host is worth calling
    asking    one request of the gateway's own

Used from outside: `answers`, `asking`, `bodies`, `framing`, `heads`, `hygiene`, `pools`, `targets`, `upstream`.
"""
