"""One row of the table of attacks, and the list that rows are added to."""

from collections.abc import Callable
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.client.keys import ClientKey
from tests.unit.identity.identity_kit import House


class Attack(msgspec.Struct, frozen=True):
    """One row.

    Args:
        group: what is attacked.
        name: what is done.
        source: the rule that it breaks.
        attempt: does it; must raise.
        reason: part of the sentence it is refused with.
    """

    group: str
    name: str
    source: str
    attempt: Callable[[House], object]
    reason: str


ATTACKS: list[Attack] = []


def attack(group: str, name: str, source: str, reason: str) -> Callable[[Callable[[House], object]], Any]:
    def add(attempt: Callable[[House], object]) -> Callable[[House], object]:
        ATTACKS.append(Attack(group, name, source, attempt, reason))
        return attempt

    return add


TOKEN, ASSERTION, PROOF, KEY = "access token", "client assertion", "DPoP proof", "key registration"
SIGNED, OFFICER_TOKEN = "signed headers", "officer's token"


def own_jwk() -> dict[str, Any]:
    return ClientKey(ec.generate_private_key(ec.SECP256R1())).public
