"""Session tokens signed with a home's own keys: for its operator's shell and for scripts on the same machine."""

import time
from pathlib import Path

from gateway.domain.errors import GatewayError
from gateway.identity.tokens.issuing import MAX_OFFICER_TOKEN_SECONDS, TokenIssuer
from gateway.runtime.home import GatewayHome
from gateway.runtime.ring import open_ring
from gateway.store import Store


def officer_token(home_path: Path, officer: str, seconds: int) -> str:
    """A session token of `officer`, good at the gateway that lives in `home_path`.

    Whoever can read the home's keys can act as any of its officers: guard the folder.

    Raises:
        GatewayError: `not-found` where there is no such gateway or officer; `credential-invalid` where the officer is
            dismissed; `invalid-input` for a lifetime out of range.
    """
    home = GatewayHome(home_path)
    home.require()
    settings = home.settings()
    home.require_state(settings)
    if not 1 <= seconds <= MAX_OFFICER_TOKEN_SECONDS:
        raise GatewayError("invalid-input", f"an officer's token lives 1 to {MAX_OFFICER_TOKEN_SECONDS} seconds")
    store = Store.open(home.state_url(settings), memory=home.state_memory)
    try:
        found = store.officer(officer)
        if found is None:
            raise GatewayError("not-found", f"no officer `{officer}`: `gateway officers add` makes one")
        if not found.active:
            raise GatewayError("credential-invalid", "the officer is dismissed")
        session = store.open_session(officer, "home", seconds)
    finally:
        store.close()
    running = home.addresses()
    address = running["control"] if running else home.control_url(settings)
    ring = open_ring(home, settings, frozenset({"token"}))
    issuer = TokenIssuer(ring, settings.control.issuer or str(address), settings.identity.audience, time.time)
    return issuer.issue_officer(found, seconds, session=session.id)
