"""The control API by its own document, for each role: Schemathesis walks it, stateful and with all its checks.

A walk begins anywhere, follows the links between operations with what they answered, and sends what the document allows
and what it does not. In two of three bodies that may be sent the document's example stands, under an id of its own, so
that walks come to things that exist. Nothing that comes may be a 500, a status, type or body that the document does not
tell, an answer without a sign-in where it asks for one, or an acceptance of what it forbids.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.engine import Status, events, from_schema
from schemathesis.hooks import unregister

from gateway.control.act.examples import STANDS_AT
from gateway.control.app.app import create_app
from gateway.identity.callers.security_log import FailureBudget
from tests.answers.world import Clock, FullWorld, quick_ledger

ROLES = {
    "competent": "registrar",
    "auditor": "auditor",
    "operator": "city-operator",
    "supplier": "police",
    "demand": "civil",
    "nobody": None,
}
SETTINGS = """
seed = 1
continue-on-failure = true

[generation]
max-examples = 25

[phases]
coverage.enabled = false
fuzzing.generation.max-examples = 3

[checks.positive_data_acceptance]
# What the law asks of a body (Decree 809 Art. 20, 21) is told as faults and stands in no schema; `If-Match` is a guess.
expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 409, 410, 412, 422, 503]

[checks.negative_data_rejection]
# 413: a text that is too long may make the whole body so.
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FullWorld]:
    with quick_ledger():
        made = FullWorld(tmp_path, Clock(STANDS_AT.timestamp()))
        made.furnish()
        made.grant()
        made.use("marriage-registration")
        yield made
        made.close()


@pytest.mark.deep
@pytest.mark.parametrize("role", ROLES)
def test_no_walk_of_a_role_meets_what_the_document_does_not_tell(
    world: FullWorld, role: str, request: pytest.FixtureRequest
) -> None:
    """Every operation, then walks, with all checks; and some of each role's acts were done, others refused."""
    officer = ROLES[role]
    # One address sends them all: how many complaints of one are taken in is not what a walk is about.
    app = create_app(replace(world.services, intake=FailureBudget(lambda: 0.0, per_second=0, burst=1e6)))
    document = app.openapi()
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=schemathesis.Config.from_str(SETTINGS))
    seen: Counter[int] = Counter()

    if officer is not None:

        @schema.auth(refresh_interval=None)
        class SignedIn:
            def get(self, _case: Any, _context: Any) -> str:
                return world.token(officer)

            def set(self, case: Any, token: str, _context: Any) -> None:
                case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}

    def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
        number = seen.total()
        example = _example(document, case)
        if example is not None and number % 3 and case.meta.generation.mode.is_positive:
            case.body = _renamed(example, number)

    made: set[str] = set()

    def after_call(_context: Any, case: Any, response: Any) -> None:
        seen[response.status_code] += 1
        if response.status_code == 201:
            made.add(case.operation.label)

    for hook in (before_call, after_call):
        schemathesis.hook(hook)
        request.addfinalizer(partial(unregister, hook))
    wrong = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            wrong.append(repr(event.__dict__ if hasattr(event, "__dict__") else event.error))
        if isinstance(event, events.ScenarioFinished):
            wrong += [
                f"{check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
                for checks in event.recorder.checks.values()
                for check in checks
                if check.status is Status.FAILURE
            ]
    print(role, sorted(seen.items()))
    assert not wrong, "\n\n".join(wrong)
    assert 500 not in seen
    if officer is None:
        assert {status for status in seen if status < 400 and seen[status]} <= {200, 201, 303}
        assert made <= {"POST /complaints"}, "only a complaint needs no account"
        assert seen[401] > 100
    else:
        assert min(seen[200], seen[403], seen[422]) > 20


def _example(document: dict[str, Any], case: Any) -> Any:
    operation = document["paths"][case.operation.path][case.method.lower()]
    return operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")


def _renamed(example: Any, number: int) -> Any:
    """The example, as a thing of its own."""
    body = copy.deepcopy(example)
    if isinstance(body, dict) and "id" in body and number % 2:
        body["id"] = f"{body['id']}-{number}"
    return body
