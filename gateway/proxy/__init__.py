"""The data plane: a reverse proxy that forwards one use after its record is durable and releases granted items only.

    plane       what one worker serves
    handshakes  a caller's TLS, in its turn
    downstream  a caller's connection
    exchange    one use, from call to record
    http        heads, targets, bodies, and connections to suppliers
    projection  the answer reduced to the granted items
    ports       what it asks of the house: identify, resolve, decide, record, meter
    limits      every bound in one place
    turns       when calls begin
    long_work   when long answers and bodies are worked on
    shares      who holds how much of the worker, and the most that may be
    troubles    which interfaces are in trouble, and why
    counters    what is counted
    wheel       deadlines on one coarse clock
    guards      one wrapper for whatever the loop calls
    leaving     what was written to a caller, and whether it has arrived
    kernel      what the kernel holds of a connection
    tls         contexts for callers and suppliers

The rules (`http.heads`, `http.targets`, `http.framing`, `http.hygiene`, `projection`, `exchange.states`) are pure;
`downstream`, `http.upstream` and `plane` move bytes. `DataPlane` is the one name others use.
"""

from gateway.proxy.limits import Limits
from gateway.proxy.plane import DataPlane

__all__ = ["DataPlane", "Limits"]
