"""Who keeps a system's keys (Decree 809 Art. 10): who entered one that it has now, as the acts say and no body."""

from typing import Any

from gateway.control.act.examples import SYSTEM
from gateway.domain.callers import Assurance, Caller
from tests.support.control import World, done, refused

PATH = f"/v1/systems/{SYSTEM['id']}"


def keepers(world: World) -> tuple[str, ...]:
    system = world.store.system(SYSTEM["id"])
    assert system is not None
    return system.keepers


def key(kid: str) -> dict[str, Any]:
    """A public key of its own."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key  # noqa: PLC0415
    from jwt.algorithms import ECAlgorithm  # noqa: PLC0415

    jwk: dict[str, Any] = ECAlgorithm.to_jwk(generate_private_key(SECP256R1()).public_key(), as_dict=True)
    return {**jwk, "kid": kid}


def test_who_enters_a_key_keeps_it_until_it_is_withdrawn(world: World) -> None:
    """Another officer's key makes another keeper; a key that goes takes its keeper along."""
    assert keepers(world) == ("civil",)
    done(world.post("registrar", f"{PATH}/keys", {"key": key("second")}))
    assert keepers(world) == ("civil", "registrar")
    done(world.ask("registrar", "DELETE", f"{PATH}/keys/{SYSTEM['keys'][0]['kid']}"))
    assert keepers(world) == ("registrar",)


def test_no_body_says_who_keeps_a_system(world: World) -> None:
    """What acts write is no field of a body."""
    body = {**SYSTEM, "id": "another", "keys": [], "kept_by": {"x": "police"}}
    refused(world.post("civil", "/v1/systems", body), "invalid-input")


def test_a_keeper_is_known_by_the_name_that_the_call_gives() -> None:
    """However it is spelt; nobody and others are not."""
    caller = Caller("s", "d", Assurance.DPOP, "", 1 << 40, keepers=("civil-affairs.li",))
    assert caller.is_keeper(" Civil-Affairs.LI ")
    assert not caller.is_keeper("")
    assert not caller.is_keeper("civil-affairs.wu")
