"""What each operation is about, when others ask: the policies' question must come from the thing, not from who asks."""

from typing import Any
from unittest.mock import patch

import msgspec

from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.verdicts import Verdict
from gateway.policy.live.engine import Engine
from tests.answers.teller import Teller

OTHERS = ("stranger", "market-both", "city-operator", "inspector")
"""Officers of other departments, regions and roles than most things of the story."""

Matters = dict[str, dict[str, tuple[str, dict[str, Any]] | None]]
"""Operation -> officer -> the first act that was decided and its matter; None where nothing was."""


def matters_of(teller: Teller) -> Matters:
    """Each operation that was told of, asked again by `OTHERS`, all of whom are denied at the first decision."""
    found: Matters = {}
    asked: list[tuple[Act, Matter]] = []
    authorize = Engine.authorize

    def deny(engine: Engine, officer: Officer, act: Act, matter: Matter, *more: Any, **options: Any) -> Verdict:
        asked.append((act, matter))
        # Nobody without a role may anything, whatever is in force.
        return authorize(engine, msgspec.structs.replace(officer, roles=()), act, matter, *more, **options)

    with patch.object(Engine, "authorize", deny):
        for operation, (path, body, sent) in teller.asked.items():
            found[operation] = {}
            for officer in OTHERS:
                asked.clear()
                teller.world.ask(officer, operation.partition(" ")[0], path, body, **sent)
                first = (asked[0][0].value, msgspec.to_builtins(asked[0][1])) if asked else None
                found[operation][officer] = first
    return found
