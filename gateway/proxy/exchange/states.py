"""One exchange as a table: the states it goes through, what can happen, and where that leads.

    IDENTIFYING   who calls; a request whose meaning is at hand (`lanes`) is permitted from here
    RESOLVING     which interface
    DECIDING      what the policies say
    ADMITTING     waits for a slot at the supplier, then draws on the quota
    RECORDING     the use is being made durable; nobody has been called
    CONNECTING    a connection to the supplier is being made
    FORWARDING    the request goes out; the answer's head is awaited
    COLLECTING    the answer is gathered, to be filtered as a whole
    STREAMING     the answer leaves as it comes, filtered row by row or as it is
    FLUSHING      everything is written; the caller has not yet taken it all
    CLOSED        nothing more happens

Up to COLLECTING nothing has been released, so any failure becomes a problem document (FLUSHING). In STREAMING the
answer has begun, so any failure cuts the connection (CLOSED). In every state the caller may go, an order may cut and
time may run out; from ADMITTING on the supplier may fail. An event that a state does not list is a mistake in the
gateway: `following` raises, and the exchange is cut.
"""

from collections.abc import Mapping
from enum import IntEnum


class State(IntEnum):
    """Where an exchange stands."""

    IDENTIFYING = 0
    RESOLVING = 1
    DECIDING = 2
    ADMITTING = 3
    RECORDING = 4
    CONNECTING = 5
    FORWARDING = 6
    COLLECTING = 7
    STREAMING = 8
    FLUSHING = 9
    CLOSED = 10


class Event(IntEnum):
    """What happens to an exchange."""

    IDENTIFIED = 0
    RESOLVED = 1
    PERMITTED = 2
    ADMITTED = 3
    RECORDED = 4
    CONNECTED = 5
    GATHERS = 6
    STREAMS = 7
    RELEASED = 8
    FLUSHED = 9
    REFUSED = 10
    SUPPLIER_FAILED = 11
    TIMED_OUT = 12
    CUT = 13
    CALLER_GONE = 14
    KNOWN = 15


_REFUSABLE = {
    Event.REFUSED: State.FLUSHING,
    Event.TIMED_OUT: State.FLUSHING,
    Event.CUT: State.CLOSED,
    Event.CALLER_GONE: State.CLOSED,
}
_FORWARDED = {**_REFUSABLE, Event.SUPPLIER_FAILED: State.FLUSHING}

TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.IDENTIFYING: {Event.IDENTIFIED: State.RESOLVING, Event.KNOWN: State.ADMITTING, **_REFUSABLE},
    State.RESOLVING: {Event.RESOLVED: State.DECIDING, **_REFUSABLE},
    # A question about a decision is answered here, and goes no further (`gateway.authorizer`).
    State.DECIDING: {Event.PERMITTED: State.ADMITTING, Event.RELEASED: State.FLUSHING, **_REFUSABLE},
    State.ADMITTING: {Event.ADMITTED: State.RECORDING, **_FORWARDED},
    # Who carries the call itself (`gateway.authorizer`) is told that it may; nobody is called from here.
    State.RECORDING: {Event.RECORDED: State.CONNECTING, Event.RELEASED: State.FLUSHING, **_REFUSABLE},
    State.CONNECTING: {Event.CONNECTED: State.FORWARDING, **_FORWARDED},
    State.FORWARDING: {Event.GATHERS: State.COLLECTING, Event.STREAMS: State.STREAMING, **_FORWARDED},
    State.COLLECTING: {Event.RELEASED: State.FLUSHING, Event.STREAMS: State.STREAMING, **_FORWARDED},
    State.STREAMING: {
        Event.RELEASED: State.FLUSHING,
        Event.SUPPLIER_FAILED: State.CLOSED,
        Event.TIMED_OUT: State.CLOSED,
        Event.CUT: State.CLOSED,
        Event.CALLER_GONE: State.CLOSED,
    },
    State.FLUSHING: {
        Event.FLUSHED: State.CLOSED,
        Event.TIMED_OUT: State.CLOSED,
        Event.CUT: State.CLOSED,
        Event.CALLER_GONE: State.CLOSED,
    },
    State.CLOSED: {},
}

# An enum's member is looked up through a descriptor (165 ns on Python 3.11), which is felt at forty look-ups a call
# (tests/bench/data_plane/in_process.py): hot code uses these names.
(
    IDENTIFYING,
    RESOLVING,
    DECIDING,
    ADMITTING,
    RECORDING,
    CONNECTING,
    FORWARDING,
    COLLECTING,
    STREAMING,
    FLUSHING,
    CLOSED,
) = State
(
    ON_IDENTIFIED,
    ON_RESOLVED,
    ON_PERMITTED,
    ON_ADMITTED,
    ON_RECORDED,
    ON_CONNECTED,
    ON_GATHERS,
    ON_STREAMS,
    ON_RELEASED,
    ON_FLUSHED,
    ON_REFUSED,
    ON_SUPPLIER_FAILED,
    ON_TIMED_OUT,
    ON_CUT,
    ON_CALLER_GONE,
    ON_KNOWN,
) = Event

NEXT = tuple(tuple(TRANSITIONS[state].get(event) for event in Event) for state in State)
"""The table by index, None where it lists nothing: an enum's member as a key is hashed by Python code, twice a step."""


def following(state: State, event: Event) -> State:
    """The state after `event` in `state`.

    Raises:
        LookupError: the table does not list it.
    """
    return TRANSITIONS[state][event]
