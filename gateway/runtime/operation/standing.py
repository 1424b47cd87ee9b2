"""What stands in a home's state, for policies that are not in force: compared over it, or asked about one call.

Reads and never writes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from gateway.control.act.problems import faults_of
from gateway.control.policies.calls import CallBody, call_of, interface_of
from gateway.control.policies.standing import StandingState
from gateway.domain.policies import PolicySet
from gateway.domain.verdicts import Verdict
from gateway.policy.law.layers import parse_layers
from gateway.policy.live.slices import Slice
from gateway.runtime.home import GatewayHome
from gateway.store import Store


@contextmanager
def open_standing(home_path: Path) -> Iterator[StandingState]:
    """What stands in the state of the home.

    Raises:
        GatewayError: `not-found` where no gateway lives there.
    """
    with open_state(home_path) as store:
        yield StandingState(store)


def explain_under(home_path: Path, policies: PolicySet, asked: Mapping[str, Any], now_unix: int) -> Verdict:
    """The verdict that a set would give of a call, under the grants and orders that stand in the state of the home.

    What was lately drawn is not in the state: a rule that looks at it finds nothing drawn.

    Args:
        home_path: of the home.
        policies: the set.
        asked: the call, as `/v1/policies/explain` takes it.
        now_unix: the second it is decided at, where `asked` names none.

    Raises:
        GatewayError: where the set does not load, or there is no such home, call or interface.
    """
    layers = parse_layers(policies.files, policies.layers)
    try:
        body = CallBody.model_validate_json(msgspec.json.encode(asked))
    except ValidationError as error:
        raise faults_of(error.errors(include_url=False, include_input=False, include_context=False)) from error
    with open_state(home_path) as store:
        call = call_of(store, interface_of(store, body), body)
        part = Slice(layers, store.slice_state(call.department, call.dataset))
    return part.evaluate(call, now_unix if body.at is None else int(body.at.timestamp()))


@contextmanager
def open_state(home_path: Path) -> Iterator[Store]:
    """The state of the home.

    Raises:
        GatewayError: `not-found` where no gateway lives there.
    """
    home = GatewayHome(home_path)
    home.require()
    store = Store.open(home.state_url(home.settings()), memory=home.state_memory, migrate_forward=False)
    try:
        yield store
    finally:
        store.close()
