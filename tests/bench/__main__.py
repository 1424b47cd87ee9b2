"""`make bench`: every measurement of the house, one after the other, each in a process of its own.

Machines are shared and noisy: ratios between contestants of one run and medians count, absolute times do not.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SUITES = {
    "data-plane": HERE / "data_plane" / "run.py",
    "traffic": HERE / "data_plane" / "traffic.py",
    "projection": HERE / "projection.py",
    "policies": HERE / "policy_scale.py",
    "state": HERE / "store_scale.py",
    "ledger-journal": HERE / "ledger_journal.py",
    "ledger-integration": HERE / "ledger_integration.py",
    "ledger-questions": HERE / "ledger_questions.py",
    "ledger-memory": HERE / "ledger_memory.py",
    "ledger-decade": HERE / "ledger_decade.py",
    "identity": HERE / "identity_tokens.py",
    "barrier": HERE / "barrier.py",
    "metrics": HERE / "metrics_cost.py",
    "suspension": HERE / "suspension.py",
    "checks": HERE / "checks.py",
    "client-calls": HERE / "client_calls.py",
    "client-peers": HERE / "client_peers.py",
}


def main() -> int:
    """Run the suites named, all by default; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, minutes instead of an hour")
    given = parser.parse_args()
    failed = []
    for name in given.suites or SUITES:
        print(f"== {name}", flush=True)
        command = [sys.executable, str(SUITES[name]), *(["--quick"] if given.quick else [])]
        if subprocess.run(command, check=False, cwd=HERE.parents[1]).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
