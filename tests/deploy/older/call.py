"""What every client so far can do, by whichever is on the path; prints what it came to: `python call.py FACTS`."""

import json
import sys
from typing import Any

import httpx

import gateway.client
from gateway.client import SharingAuth, SharingProblem, raise_for_problem


def main(facts: dict[str, Any]) -> None:
    """A token, calls, a body, and each kind of refusal, by the class that a developer catches."""
    auth = SharingAuth(facts["endpoint"], facts["system"], facts["key"], purpose=facts["purpose"])
    told: list[Any] = [gateway.client.__file__]
    with httpx.Client(base_url=facts["data_plane"], auth=auth, trust_env=False, timeout=30) as http:
        for call in facts["calls"]:
            try:
                answer = raise_for_problem(http.request(**call))
            except SharingProblem as problem:
                bases = [kind.__name__ for kind in type(problem).__mro__]
                told.append({"code": problem.code, "class": bases, "record": problem.record})
            else:
                told.append({"answer": answer.json(), "record": answer.headers["Sharing-Record"]})
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
