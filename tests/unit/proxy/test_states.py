"""The exchange's table: complete, and every state can be left from either side."""

import pytest

from gateway.proxy.exchange.states import TRANSITIONS, Event, State, following

RUNNING = [state for state in State if state is not State.CLOSED]


@pytest.mark.parametrize("state", RUNNING)
@pytest.mark.parametrize("event", [Event.CALLER_GONE, Event.CUT, Event.TIMED_OUT])
def test_every_running_state_can_be_cancelled(state: State, event: Event) -> None:
    """The caller may go, an order may cut and time may run out at any moment."""
    assert following(state, event) in {State.CLOSED, State.FLUSHING}


@pytest.mark.parametrize("state", [State.CONNECTING, State.FORWARDING, State.COLLECTING, State.STREAMING])
def test_the_supplier_may_fail_wherever_it_is_called(state: State) -> None:
    """A failing supplier ends the exchange: by a problem before release, by a cut after it began."""
    assert following(state, Event.SUPPLIER_FAILED) is (State.CLOSED if state is State.STREAMING else State.FLUSHING)


def test_nothing_follows_the_end() -> None:
    """CLOSED is final."""
    assert TRANSITIONS[State.CLOSED] == {}


def test_record_first_stands_in_the_table() -> None:
    """RECORD-FIRST: the supplier's states are reached through RECORDED alone."""
    before = {State.IDENTIFYING, State.RESOLVING, State.DECIDING, State.ADMITTING, State.RECORDING}
    at_supplier = {State.CONNECTING, State.FORWARDING, State.COLLECTING, State.STREAMING}
    ways = [(state, event) for state in before for event, after in TRANSITIONS[state].items() if after in at_supplier]
    assert ways == [(State.RECORDING, Event.RECORDED)]


def test_a_refusal_is_impossible_once_the_answer_has_begun() -> None:
    """No problem document is ever appended to released data."""
    assert Event.REFUSED not in TRANSITIONS[State.STREAMING]
    assert Event.REFUSED not in TRANSITIONS[State.FLUSHING]


def test_an_event_out_of_place_is_an_error() -> None:
    """A mistake of the gateway raises instead of leaking."""
    with pytest.raises(LookupError):
        following(State.IDENTIFYING, Event.RELEASED)
