"""A stretch in the life of a home under whatever release is on the path: `python live.py HOME` prints what it came to.

`test_older_releases` runs it with the version before, and opens the home with the present code; `pack.py` runs it with
versions that have landed, whose homes are kept (`homes/`).

It speaks in what every release has: the furnished gateway of the tests, a call, an officer's acts. What a release has
beside that it says by itself: which rectifications the suspension began, where it begins any.
"""

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.domain.errors import GatewayError
from gateway.runtime.demo.world import grant_documents
from tests.support.gateways import running_gateway

PERSONS, MARRIAGES = "/public-security/persons", "/civil-affairs/marriages"


def main(home: Path) -> None:
    """Calls, a grant that lasts, a suspension that stands; then an orderly end."""
    with running_gateway(home) as gateway:
        lasting = grant_documents(datetime.now(UTC).replace(microsecond=0))[0]
        with gateway.officer("competent-lin") as api:
            # As long as the release lets one hold.
            for days in (1800, 1000, 360):
                ends = (datetime.now(UTC) + timedelta(days=days)).isoformat()
                try:
                    api.post("/v1/grants", {**lasting, "id": "G-2026-9001", "valid_until": ends})
                except GatewayError as error:
                    print(f"{days} days: {error}", file=sys.stderr)
                else:
                    break
        with gateway.client() as client:
            params = {"id_number": gateway.population.persons[1]["id_number"]}
            answers = [client.get(PERSONS, params=params) for _ in range(5)]
            answers.append(client.get(MARRIAGES, params=params))
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        with gateway.officer("civil-wu") as api:
            stop = {"violation": "beyond the purpose", "rectify_by": "2099-01-31"}
            api.post("/v1/grants/G-2026-0002/suspension", stop)
            try:
                begun = [case["id"] for case in api.get("/v1/rectifications")["items"]]
            except GatewayError:
                begun = []
        records = [answer.headers["Sharing-Record"] for answer in answers]
        with gateway.officer("auditor-he") as api:
            until = time.monotonic() + 30
            while not set(records) <= {use["record"] for use in api.get("/v1/records", limit=500)["items"]}:
                assert time.monotonic() < until, "the index does not catch up"
                time.sleep(0.2)
        made = dict(gateway.made)
    size = int((home / "ledger" / "tree" / "checkpoint").read_text("utf-8").splitlines()[1])
    lived = {"verifier_key": made["verifier_key"], "records": records, "size": size, "rectifications": begun}
    sys.stdout.write(json.dumps(lived) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
