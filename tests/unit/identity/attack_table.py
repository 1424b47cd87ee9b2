"""Attacks on credentials, each tried for real: `.venv/bin/python tests/unit/identity/attack_table.py` prints them.

Every row makes what an attacker would send, with whatever the attacker could hold (an own key, a captured token, the
public key), and names the sentence it is refused with. `test_attacks.py` runs each row as a test.
"""

import logging
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))

from gateway.domain.errors import GatewayError
from gateway.identity.strict import Unreadable
from tests.unit.identity import (
    attacks_on_bindings,
    attacks_on_headers,
    attacks_on_keys,
    attacks_on_senders,
    attacks_on_tokens,
)
from tests.unit.identity.attack_row import ATTACKS, Attack
from tests.unit.identity.identity_kit import House
from tests.unit.identity.legacy_kit import Legacy

PARTS = (attacks_on_tokens, attacks_on_bindings, attacks_on_senders, attacks_on_headers, attacks_on_keys)


def refusal_of(row: Attack, house: House) -> str:
    """The sentence the attack is refused with; raises `AssertionError` where it is let through."""
    try:
        row.attempt(house)
    except GatewayError as error:
        if error.code not in {"credential-invalid", "invalid-input"}:
            raise
        return error.detail
    except Unreadable as error:
        return str(error)
    raise AssertionError(f"let through: {row.group}, {row.name}")


def main() -> int:
    """Try every attack and print the table; exit status 1 if one got through."""
    through = 0
    print(f"{'attack':<70} {'rule':<28} refused with")
    for row in ATTACKS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                answer = refusal_of(row, Legacy(Path(folder)))
            except AssertionError:
                answer, through = "LET THROUGH", through + 1
        print(f"{row.group + ': ' + row.name:<70} {row.source:<28} {answer}")
    print(f"\n{len(ATTACKS)} attacks tried, {through} let through")
    return 1 if through else 0


if __name__ == "__main__":
    logging.getLogger("gateway.security").setLevel(logging.ERROR)
    sys.exit(main())
