"""The data plane: a reverse proxy that forwards one use after its record is durable and releases granted items only.

    plane       what one worker serves
    ports       what it asks of the house: identify, resolve, decide, record, meter
    limits      every bound in one place
    counters    what is counted
    wheel       deadlines on one coarse clock

    downstream  a caller's connection
    heads       the request's head: one strict grammar, and llhttp as a second reader that must agree
    targets     the request's target: one spelling of one path
    framing     how a request's body ends
    bodies      a request's body on its way
    kernel      what the kernel holds of a connection
    tls         contexts for callers and suppliers

    states      the exchange as a table of states and transitions
    exchange    one call, in five layers; the first: who calls, which interface, what the policies say
    recording   its second layer: a place at the supplier, the quota, the record
    forwarding  its third: to the supplier and back
    endings     its fourth: every way out
    course      its lowest: what it has and where it stands
    requests    what a request asks of the policies, and how it is told to the supplier
    routes      what is made once of an interface's entry and of a verdict
    lanes       what a repeated request means
    guards      one wrapper for whatever the loop calls
    standing    whether what was decided still stands
    admission   whether a call may go to its supplier now
    digests     of requests and answers, for the record
    refusals    problems as they leave

    upstream    a supplier's connection
    answers     a supplier's answer: its head, and where it ends
    pools       the connections kept to each host of a supplier, and its circuit
    slots       how many calls an interface takes at once, and who waits
    release     the answer on its way to the caller
    hygiene     which header fields go on
    projection  the answer reduced to the granted items

The rules (`heads`, `targets`, `framing`, `hygiene`, `projection`, `states`) are pure; `downstream`, `upstream` and
`plane` move bytes. `DataPlane` is the one name others use.
"""

from gateway.proxy.limits import Limits
from gateway.proxy.plane import DataPlane

__all__ = ["DataPlane", "Limits"]
