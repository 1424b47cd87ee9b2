"""Whatever is good once, used on a running gateway, and shown again each time that its clock is set.

A call with a DPoP proof, a call by an older contract's signature, a client's assertion and an act under an
`Idempotency-Key`: each as it came the first time, octet by octet.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from gateway.client.keys import ClientKey
from gateway.runtime.demo.story import PURPOSE, SYSTEM
from gateway.runtime.demo.world import grant_documents
from tests.support.gateways import RunningGateway, wait_for
from tests.unit.identity.legacy_kit import national

MARRIAGES = "/civil-affairs/marriages"
PERSONS = "/public-security/persons"
KEY = "used-once"
SECRET = "0" * 32


class UsedOnce:
    """What was used, and how to use it again.

    Args:
        gateway: it runs; the demand system gets a key of an older contract.
    """

    def __init__(self, gateway: RunningGateway) -> None:
        self._gateway = gateway
        self._again: list[tuple[str, Callable[[], bool]]] = []
        self._acts = 0
        with gateway.officer() as api:
            api.put(f"/v1/systems/{SYSTEM}/legacy-keys/gjgxjhpt/{KEY}", {"purpose": PURPOSE, "secret": SECRET})

    def use(self) -> None:
        """Use one more of each; each is taken, if not at once, then with another try of its own."""
        for way in (self._proof, self._signature, self._assertion, self._act):
            assert wait_for(way, 60), f"{way.__name__} is not taken"

    def show_again(self) -> dict[str, int]:
        """Show everything again; how many of each kind were shown, none of which was taken as new."""
        shown: dict[str, int] = {}
        for kind, again in self._again:
            assert not again(), f"{kind} was taken twice"
            shown[kind] = shown.get(kind, 0) + 1
        return shown

    def _proof(self) -> bool:
        person = self._gateway.population.persons[1]["id_number"]
        with self._gateway.client() as client:
            try:
                answer = client.get(PERSONS, params={"id_number": person})
            except httpx.HTTPError:
                return False
        if answer.status_code != 200:
            return False
        sent = answer.request
        assert "dpop" in sent.headers
        self._again.append(("proof", lambda: _is_taken(sent.url, sent.headers)))
        return True

    def _signature(self) -> bool:
        person = self._gateway.population.marriages[0]["wife"]["id_number"]
        url = httpx.URL(f"{self._gateway.data_plane}{MARRIAGES}", params={"id_number": person})
        fields = {**national(time.time(), secret=SECRET, rid=KEY), "Sharing-Purpose": PURPOSE}
        if not _is_taken(url, fields):
            return False
        self._again.append(("signature", lambda: _is_taken(url, fields)))
        return True

    def _assertion(self) -> bool:
        endpoint = f"{self._gateway.control}/oauth/token"
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": ClientKey(self._gateway.key).assertion(SYSTEM, endpoint, int(time.time())),
        }

        def is_taken() -> bool:
            return httpx.post(endpoint, data=form, trust_env=False, timeout=15).status_code == 200

        if not is_taken():
            return False
        self._again.append(("assertion", is_taken))
        return True

    def _act(self) -> bool:
        self._acts += 1
        named, key = f"once-{self._acts}-{time.time_ns()}", f"key-{self._acts}-{time.time_ns()}"
        grant = next(each for each in grant_documents(datetime.now(UTC)) if each["id"] == "G-2026-0002") | {"id": named}

        def is_done() -> bool:
            """Whether this asking was acted on; one that was answered before is told so."""
            with self._gateway.officer("civil-wu") as api:
                answer = api._run("POST", "/v1/grants", json=grant, headers={"Idempotency-Key": key})
            return answer.headers.get("Idempotency-Replayed") != "true"

        if not is_done():
            return False
        self._again.append(("act", is_done))
        return True


def _is_taken(url: httpx.URL, fields: Any) -> bool:
    """Whether a call is let through to its supplier; refused as stale it is not taken, and nothing is said of it."""
    answer = httpx.get(url, headers=fields, trust_env=False, timeout=15)
    return "sharing-record" in answer.headers and answer.status_code not in {401, 403, 429, 503}
