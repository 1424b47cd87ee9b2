"""Makes a gateway: home, keys, state, and the first officer, in this order and nothing twice."""

from typing import Any

from gateway.domain.directory import Department, Level
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Officer, Role
from gateway.identity.keyring import KeyRing
from gateway.ledger.log.notes import ED25519, VerifierKey
from gateway.runtime.home import GatewayHome
from gateway.runtime.incarnation import begin_life
from gateway.runtime.operation.api import REGISTRAR
from gateway.runtime.ring import passphrase
from gateway.runtime.settings import Settings
from gateway.store import Store

OPERATOR = "operator"
"""The other officer that `gateway init` makes: it rotates keys and applies retention."""

AUDITOR = "auditor"
"""The third: it reads what the others do, and appoints the other auditors, which nobody whom they watch may."""

_LEVELS = {"00": Level.CITY, "0000": Level.PROVINCE, "000000": Level.NATIONAL}


def initialise(
    home: GatewayHome,
    *,
    region: str,
    department: str,
    suite: str = "international",
    token_algorithm: str = "ES256",  # noqa: S107 -- an algorithm's name
) -> dict[str, Any]:
    """Make a gateway in `home` for the competent department of `region`.

    Its first officers: the registrar imports the directory and adds the other officers, the operator rotates keys, the
    auditor reads the records and adds the other auditors.

    Args:
        home: a folder that holds no gateway yet.
        region: six-digit division code (GB/T 2260); `000000` is the nation.
        department: the competent department's id.
        suite: cipher suite of sealed secrets and pseudonyms: `international` or `commercial`.
        token_algorithm: what tokens are signed with: `ES256`, `EdDSA` or `SM2`.

    Returns:
        what was made: `home`, `origin`, `verifier_key` (for auditors), `state`, `keys`, `officer`.

    Raises:
        GatewayError: `conflict` where a gateway lives there already; `invalid-input` on a region that is no code, an
            unknown suite or algorithm; `unavailable` where the home cannot be written.
    """
    if len(region) != 6 or not (region.isascii() and region.isdigit()):
        raise GatewayError("invalid-input", f"`{region}` is not a six-digit division code, such as 440000")
    if home.settings_file.exists():
        raise GatewayError("conflict", f"a gateway lives in `{home.root}` already")
    home.make()
    try:
        settings = home.settings()
        keys = home.keys(settings)
        ring = KeyRing.create(keys, passphrase=passphrase(), suite=suite, token_algorithm=token_algorithm)
        return _furnish(home, settings, ring, region, department)
    except GatewayError:
        # A half-made home would be taken for a gateway by the next command.
        home.settings_file.unlink(missing_ok=True)
        raise


def _furnish(home: GatewayHome, settings: Settings, ring: KeyRing, region: str, department: str) -> dict[str, Any]:
    store = Store.open(home.state_url(settings))
    try:
        with store.transaction() as tx:
            if tx.department(department) is None:
                tx.put_department(
                    Department(id=department, name=department, region=region, level=_level(region), competent=True)
                )
            # Three persons by right: who runs the gateway reads no records (Decree 809 Art. 36), who watches is no
            # appointment of those who are watched (Art. 29).
            for id_, role in ((REGISTRAR, Role.COMPETENT), (OPERATOR, Role.OPERATOR), (AUDITOR, Role.AUDITOR)):
                tx.put_officer(
                    Officer(id=id_, department=department, region=region, roles=(role,), name=f"first {id_}")
                )
        begin_life(home, store)
    finally:
        store.close()
    origin = home.origin(settings)
    return {
        "home": str(home.root),
        "origin": origin,
        "verifier_key": VerifierKey(origin, ED25519, ring.log_signer(origin).public_bytes).text(),
        "state": home.state_url(settings),
        "keys": str(home.keys(settings)),
        "officer": REGISTRAR,
    }


def _level(region: str) -> Level:
    """The level that a division code's trailing zeros stand for."""
    for zeros in ("000000", "0000", "00"):
        if region.endswith(zeros):
            return _LEVELS[zeros]
    return Level.COUNTY
