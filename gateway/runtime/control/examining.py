"""Examining a candidate in a process of its own, which reads a question and answers.

What officers send is read here first. Cedar's parser ends its process on policies that are nested deeply enough, and a
YAML file can be small and mean gigabytes; here that is a finding. What has passed here is parsed by the control process
and the workers on stacks at least twice as deep. A comparison over many grants takes long and would hold up the thread
that grants leases; here it holds up nobody.
"""

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

import msgspec

import gateway
from gateway.control.policies.standing import StandingState
from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicySet
from gateway.policy.law.settled import EXAMINED, Settled
from gateway.policy.offline.checking import Checked, Finding
from gateway.policy.offline.examining import Examined, Solve, examine
from gateway.store import Store

STACK_BYTES = 2 << 20
"""The parsing thread's stack here; elsewhere a thread has the system's default, 8 MiB."""

MEMORY_BYTES = 4 << 30
LIMIT_SECONDS = 1800.0
"""The longest examination; a comparison over a million grants of some ten thousand kinds takes a few minutes."""

NICE = 10


class Question(msgspec.Struct, frozen=True):
    """What is asked of the process.

    Args:
        candidate: the set to check.
        current: the set to compare it with; None compares nothing.
        state: URL of the state to compare over.
        now_unix: the second from which it is looked at.
        solve: what the solver is asked, where there is one.
        thorough: whether everything that stands is compared, however long it takes.
        settled: what the settings say.
    """

    candidate: PolicySet
    current: PolicySet | None
    state: str
    now_unix: int
    solve: tuple[Literal["prove", "compare"], ...] = ()
    thorough: bool = False
    settled: Settled = EXAMINED


class Examiner:
    """Examines one candidate at a time, each in a process of its own.

    Args:
        state: URL of the state.
        limit_seconds: the longest that one may take.
        settled: what the settings say.
    """

    def __init__(self, state: str, limit_seconds: float = LIMIT_SECONDS, settled: Settled = EXAMINED) -> None:
        self._settled = settled
        self._state = state
        self._limit_seconds = limit_seconds
        self._one = threading.Lock()

    def __call__(
        self,
        candidate: PolicySet,
        current: PolicySet | None,
        now_unix: int,
        solve: Solve = (),
        *,
        thorough: bool = False,
    ) -> Examined:
        """What the examination found; blocks.

        Raises:
            GatewayError: `conflict` while another runs; `unavailable` if the state could not be read or it took too
                long.
        """
        asked = Question(candidate, current, self._state, now_unix, tuple(solve), thorough, self._settled)
        question = msgspec.msgpack.encode(asked)
        if not self._one.acquire(blocking=False):
            raise GatewayError("conflict", "another set of policies is being examined; try again")
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "gateway.runtime.control.examining"],
                input=question,
                stdout=subprocess.PIPE,
                env={**_plain_environment(), "PYTHONPATH": str(Path(gateway.__file__).parent.parent)},
                timeout=self._limit_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise GatewayError("unavailable", "the policies could not be examined in time") from error
        finally:
            self._one.release()
        if done.returncode == 0:
            return msgspec.msgpack.decode(done.stdout, type=Examined)
        if done.returncode == UNREADABLE:
            raise GatewayError("unavailable", "the state could not be read to compare the policies over it")
        what = "end the process that reads them: they are nested too deeply, or ask for too much memory"
        return Examined(Checked(candidate.layers, "", 0, 0, (Finding("fault", "policies", what),)))


def _plain_environment() -> dict[str, str]:
    """The environment without what unlocks keys or speaks for an officer: hostile text is read over there."""
    return {name: value for name, value in os.environ.items() if name not in ("GATEWAY_PASSPHRASE", "GATEWAY_TOKEN")}


UNREADABLE = 3
"""Exit status where the state could not be read."""


def main() -> int:
    """Answer the question on standard input on standard output."""
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question)
    store = None
    try:
        store = Store.open(question.state, migrate_forward=False, read_only=True)
        found = examine(
            question.candidate,
            question.current,
            StandingState(store),
            question.now_unix,
            question.solve,
            thorough=question.thorough,
            settled=question.settled,
        )
    except GatewayError:
        return UNREADABLE
    finally:
        if store is not None:
            store.close()
    sys.stdout.buffer.write(msgspec.msgpack.encode(found))
    return 0


def _on_a_small_stack() -> int:
    threading.stack_size(STACK_BYTES)
    status = [1]
    thread = threading.Thread(target=lambda: status.__setitem__(0, main()))
    thread.start()
    thread.join()
    return status[0]


if __name__ == "__main__":
    sys.exit(_on_a_small_stack())
