"""`python -m tests.clocks.stepping FOLDER`, under a `MovedClock`: a gateway at work while its machine's clock is set.

Caller, officers and gateway have one clock, as on one machine; what they waited for was measured by another.
"""

import collections
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from gateway.ledger.verify.log import verify_log
from gateway.runtime.demo.story import GRANT
from tests.clocks.moved import DAY_SECONDS, MovedClock
from tests.clocks.used_once import UsedOnce
from tests.support.gateways import RunningGateway, running_gateway, wait_for

PERSONS = "/public-security/persons"
CALLERS = 3
WELL_AGAIN = 30
"""Calls that are answered well after a step before the next one comes."""
WITHIN_SECONDS = 90.0
MAY_BE_REFUSED = {401, 503}
"""Just after a step: a token of another time, a worker that has not heard. Never anything else."""


class Calls:
    """Callers at work; what they were answered, in order."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._gateway = gateway
        self._over = threading.Event()
        self.statuses: collections.Counter[int] = collections.Counter()
        self.records: list[str] = []
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _call(self, number: int) -> None:
        person = self._gateway.population.persons[number + 1]
        while not self._over.is_set():
            with self._gateway.client() as client:
                # A token of one's own for each dozen calls: signing in has to go on as well.
                for _ in range(12):
                    try:
                        answer = client.get(PERSONS, params={"id_number": person["id_number"]})
                    except httpx.HTTPError as error:
                        self.statuses[_status(error)] += 1
                        break
                    self.statuses[answer.status_code] += 1
                    if answer.status_code != 200:
                        break
                    self.records.append(answer.headers["Sharing-Record"])

    def until_well(self) -> None:
        """Wait until so many more calls have been answered well."""
        before = len(self.records)
        assert wait_for(lambda: len(self.records) >= before + WELL_AGAIN, WITHIN_SECONDS), self.statuses

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def _status(error: httpx.HTTPError) -> int:
    """What the token endpoint refused with; its 400 for a proof of another time (RFC 9449 §5) is a 401 elsewhere."""
    answer = getattr(error, "response", None)
    found = answer.status_code if answer is not None else 0
    return 401 if found == 400 else found


def step_through(clock: MovedClock, calls: Calls, used: UsedOnce) -> None:
    """Every way in which a clock is set, one after the other, each with calls under way; what was used before it, by
    whatever clock, is good no more after it."""
    calls.until_well()
    used.use()
    for seconds in (-1.0, -3600.0, 3600.0, -3600.0, 3600.0, 20.0 * DAY_SECONDS):
        clock.step(seconds)
        calls.until_well()
        print(f"shown again: {used.show_again()}", flush=True)
        used.use()
        print(f"{seconds:+.0f} s: {dict(calls.statuses)}", flush=True)
    # A leap second as most kernels have it: the last second of the day comes twice.
    at = time.time()
    midnight = (
        datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp() + DAY_SECONDS
    )
    clock.step(midnight - 0.5 - at)
    while time.time() < midnight:
        time.sleep(0.01)
    clock.step(-1.0)
    calls.until_well()
    used.show_again()
    print(f"a leap second: {dict(calls.statuses)}", flush=True)


def require_every_use_on_record(gateway: RunningGateway, records: list[str]) -> None:
    """Each that was answered is found once, with a duration; nothing was set aside, and the ledger goes on."""

    def rows() -> dict[str, dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with gateway.officer("auditor-he") as api:
            page: dict[str, Any] = {"next": None}
            while True:
                page = api.get("/v1/records", limit=1000, kind="use", cursor=page["next"])
                assert "set_aside" not in page["knows"], page["knows"]
                found += page["items"]
                if page["next"] is None:
                    break
        assert len({row["record"] for row in found}) == len(found)
        return {row["record"]: row for row in found}

    wanted = set(records)
    wait_for(lambda: unfinished(rows(), wanted) == [], 30)
    known = rows()
    assert unfinished(known, wanted) == []
    durations = [known[each]["duration_us"] for each in wanted]
    assert min(durations) >= 0
    # No call lasted an hour, whatever the wall clock says.
    assert max(durations) < 120_000_000


def unfinished(known: dict[str, dict[str, Any]], wanted: set[str]) -> list[str]:
    """Those that are not there, or do not say how they ended."""
    return [each for each in wanted if known.get(each, {}).get("status") != 200]


def main(folder: Path) -> None:
    """Run it; whatever does not hold is raised."""
    clock = MovedClock.own()
    with running_gateway(folder / "var") as gateway:
        calls = Calls(gateway)
        try:
            step_through(clock, calls, UsedOnce(gateway))
        finally:
            calls.end()
        assert set(calls.statuses) <= {200, *MAY_BE_REFUSED}, calls.statuses
        require_every_use_on_record(gateway, calls.records)
        with gateway.officer("police-chen") as api:
            api.post(f"/v1/grants/{GRANT}/suspension", {"violation": "a test", "rectify_by": "2099-01-31"})
        with gateway.client() as client:
            answer = client.get(PERSONS, params={"id_number": gateway.population.persons[1]["id_number"]})
            assert answer.status_code == 403, answer.text
        assert httpx.get(f"{gateway.control}/readyz", trust_env=False, timeout=15).status_code == 200
        # Set back by more than it was ever on, and started anew: the ledger opens, and nothing is lost.
        gateway.stop()
        clock.step(-30.0 * DAY_SECONDS)
        gateway.start()
        require_every_use_on_record(gateway, calls.records)
        key = gateway.made["verifier_key"]
        gateway.stop()
        verify_log(gateway.home.ledger, key)
    print(f"{len(calls.records)} uses, each on record once", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
