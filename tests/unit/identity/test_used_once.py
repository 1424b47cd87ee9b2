"""An assertion is good once, whichever process takes it and however often the gateway starts anew."""

from pathlib import Path

import pytest

from gateway.domain.errors import GatewayError
from gateway.identity.callers.assertions import AssertionVerifier
from gateway.store import Store
from tests.unit.identity.identity_kit import ISSUER, House


def test_assertion_is_used_up_across_processes_and_restarts(tmp_path: Path) -> None:
    """Two openings of the state share what was used, and a restart does not forget it."""
    house = House(tmp_path)
    url = f"sqlite:///{tmp_path / 'state.db'}"
    assertion = house.key.assertion("marriage", ISSUER, int(house.now())).encode()

    def attempt(store: Store) -> str:
        verifier = AssertionVerifier(ISSUER, ISSUER + "/oauth/token", house.system, store.use_once, house.now)
        return verifier.verify(assertion, "marriage").system.id

    first, second = Store.open(url), Store.open(url)
    assert attempt(first) == "marriage"
    with pytest.raises(GatewayError, match="used before"):
        attempt(second)
    first.close()
    second.close()
    restarted = Store.open(url)
    with pytest.raises(GatewayError, match="used before"):
        attempt(restarted)
    restarted.close()


def test_assertion_that_does_not_hold_uses_nothing_up(tmp_path: Path) -> None:
    """Nobody can burn another's `jti`: only a verified assertion is remembered."""
    house = House(tmp_path)
    good = house.key.assertion("marriage", ISSUER, int(house.now()))
    with pytest.raises(GatewayError, match="no client of that name"):
        house.assertions.verify((good[:-8] + "AAAAAAAA").encode(), None)
    assert house.once.seen == set()
    assert house.assertions.verify(good.encode(), None).key == house.key.thumbprint
