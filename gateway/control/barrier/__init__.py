"""The barrier: when a withdrawing act returns, nothing more leaves under what it withdrew.

How leases, changes and acknowledgements make that true stands in `gateway.control`.

    wire         frames and messages of the control socket
    roster       who holds which lease and who has applied which change: pure
    settling     whether a stop is settled on this node: pure
    roll         every process that may hold a caller's socket, as the supervisor tells
    pulse        what a worker says of itself by memory alone
    hub          the socket, on a thread and an event loop of its own
    hub_link     one worker's connection to it
    feed         reads the change feed for the hub
    lease_clock  seconds that never go back
    barrier      what an act waits on

Used from outside: `barrier`, `feed`, `hub`, `lease_clock`, `pulse`, `roll`, `settling`, `wire`.
"""
