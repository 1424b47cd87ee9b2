"""The data plane: a reverse proxy that forwards one use after its record is durable and releases granted items only.

    ports       what it asks of the house: identify, resolve, decide, record, meter
    limits      every bound in one place
    heads       the request's head: one strict grammar, and llhttp as a second reader that must agree
    targets     the request's target: one spelling of one path
    framing     how a request's body ends
    hygiene     which header fields go on
    states      the exchange as a table of states and transitions
    exchange    one call, step by step; over `forwarding` (to the supplier and back), `endings` (every way out) and
                `course` (what it has and where it stands)
    downstream  a caller's connection
    upstream    a supplier's connection
    pools       the connections kept to each host of a supplier, and its circuit
    slots       how many calls an interface takes at once, and who waits
    routes      what is made once of an interface's entry and of a verdict
    projection  the answer reduced to the granted items
    refusals    problems as they leave
    wheel       deadlines on one coarse clock
    counters    what is counted
    plane       what one worker serves

The rules (`heads`, `targets`, `framing`, `hygiene`, `projection`, `states`) are pure; `downstream`, `upstream` and
`plane` move bytes. `DataPlane` is the one name others use.
"""

from gateway.proxy.limits import Limits
from gateway.proxy.plane import DataPlane

__all__ = ["DataPlane", "Limits"]
