"""The programs that prove: `cedar symcc` makes a question about policies into SMT, cvc5 answers it.

Neither is needed to run the gateway. Where they are missing, `find_tools` says what to install.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Literal

import msgspec

from gateway.domain.errors import GatewayError

CEDAR_VERSION = "4.14.1"
SECONDS = 90
"""Until a question is given up; the solver itself is told to give up after 60 s."""

INSTALL = (
    f"`deploy/tools prove` brings them: `cargo install cedar-policy-cli --version {CEDAR_VERSION} --features analyze "
    "--locked`, and Debian's package `cvc5`; they are looked for in PATH, or where CEDAR and CVC5 say"
)

_BESIDE = Path(__file__).resolve().parents[3] / "build" / "tools" / "bin"


class Tools(msgspec.Struct, frozen=True):
    """The programs, and what they say they are."""

    cedar: str
    cvc5: str
    versions: tuple[str, str]


Kind = Literal["implies", "equivalent", "always-denies", "never-errors", "never-matches"]


class Question(msgspec.Struct, frozen=True):
    """One question to the solver, about one action.

    Args:
        kind: `cedar symcc`'s command: `implies` and `equivalent` of two sets, `always-denies` of one, `never-errors`
            and `never-matches` of one policy.
        action: the action's name.
        principal: the principal's type.
        resource: the resource's type.
        policies: Cedar text of the one or two sets.
    """

    kind: Kind
    action: str
    principal: str
    resource: str
    policies: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True):
    """`proved`; `refuted` with the counterexample as `cedar` prints it; `unknown` with what the programs said."""

    result: Literal["proved", "refuted", "unknown"]
    said: str = ""


def find_tools() -> Tools:
    """The programs.

    Raises:
        GatewayError: `unavailable`, with what to install, if one of them is missing or cannot do it.
    """
    cedar = _program("CEDAR", "cedar")
    cvc5 = _program("CVC5", "cvc5")
    missing = [name for name, path in (("cedar", cedar), ("cvc5", cvc5)) if path is None]
    if cedar is None or cvc5 is None:
        raise _cannot(f"no {' and no '.join(f'`{name}`' for name in missing)} here")
    versions = (_first_line([cedar, "--version"]), _first_line([cvc5, "--version"]).removeprefix("This is "))
    # A `cedar` without the feature knows the command and says that it was built without it.
    told = _run([cedar, "symcc", "--help"])
    if told is None or "never-errors" not in told.stdout:
        raise _cannot(f"`{cedar}` ({versions[0]}) was built without its feature `analyze`")
    return Tools(cedar, cvc5, versions)


def ask(tools: Tools, question: Question, folder: Path, seconds: float = SECONDS) -> Answer:
    """Put one question.

    Args:
        tools: the programs.
        question: what is asked.
        folder: holds the schema (`schema.cedarschema`) and the files of policies that `question.policies` names.
        seconds: until it is given up.
    """
    options = {
        "implies": ("--policies1", "--policies2"),
        "equivalent": ("--policies1", "--policies2"),
        "always-denies": ("--policies",),
        "never-errors": ("--policies",),
        "never-matches": ("--policies",),
    }[question.kind]
    files = [word for pair in zip(options, question.policies, strict=True) for word in pair]
    done = _run(
        [
            tools.cedar,
            "symcc",
            "--principal-type",
            question.principal,
            "--action",
            f'Action::"{question.action}"',
            "--resource-type",
            question.resource,
            "--schema",
            "schema.cedarschema",
            question.kind,
            *files,
        ],
        folder,
        {"CVC5": tools.cvc5},
        seconds,
    )
    if done is None:
        return Answer("unknown", f"no answer within {seconds:.0f} s")
    if done.returncode == 0 and ": VERIFIED" in done.stdout:
        return Answer("proved")
    if done.returncode == 0 and ": DOES NOT HOLD" in done.stdout:
        return Answer("refuted", done.stdout.partition("Counterexample found:\n")[2])
    return Answer("unknown", _plain(done.stderr or done.stdout))


def _program(variable: str, name: str) -> str | None:
    named = os.environ.get(variable)
    if named:
        return shutil.which(named)
    return shutil.which(name) or shutil.which(name, path=str(_BESIDE))


def _run(
    command: list[str], folder: Path | None = None, more: dict[str, str] | None = None, seconds: float = SECONDS
) -> subprocess.CompletedProcess[str] | None:
    """What came of a program; None where it gave no answer in time, or cannot be run."""
    # Nothing of the gateway's surroundings goes to it.
    apart = seconds < SECONDS
    surroundings = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "NO_COLOR": "1", **(more or {})}
    try:
        process = subprocess.Popen(  # noqa: S603 - a program found above, and no shell
            command,
            cwd=folder,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # At a terminal an interrupt reaches them all; what has its own bound is ended by it, whole.
            start_new_session=apart,
        )
    except OSError:
        return None
    with process:
        try:
            told, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            if apart:
                # The solver is a child of `cedar`, and would go on without it.
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            return None
        return subprocess.CompletedProcess(command, process.returncode, told, said)


def _first_line(command: list[str]) -> str:
    done = _run(command)
    return "" if done is None else next(iter(done.stdout.splitlines()), "").strip()


def _plain(said: str) -> str:
    """What a program said on one line."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m|[×│╰─▶├┬·]", " ", said)).strip()[:1_000]


def _cannot(why: str) -> GatewayError:
    return GatewayError("unavailable", f"policies cannot be proved here: {why}; {INSTALL}")
