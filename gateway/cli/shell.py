"""What every command shares: where the home is, how it prints, how it fails, and how it reaches the control API.

Exit status: 0 done, 1 refused or failed, 2 wrong usage (click's own). A failure is one clear sentence on standard
error, or with `--json` a problem document on standard output; never a traceback.
"""

import functools
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from gateway.domain.errors import GatewayError, problem_document
from gateway.runtime.modes import keep_private

if TYPE_CHECKING:
    from gateway.runtime.home import GatewayHome
    from gateway.runtime.operation.api import Api

P = ParamSpec("P")
T = TypeVar("T")

Home = Annotated[
    Path, typer.Option("--home", envvar="GATEWAY_HOME", help="Where the gateway's state lives.", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
AsOfficer = Annotated[
    str | None,
    typer.Option(
        "--as",
        envvar="GATEWAY_OFFICER",
        help="Act as this officer, with a token signed by the keys of this home. Without it: the session in "
        "$GATEWAY_TOKEN.",
    ),
]
IfMatch = Annotated[
    str | None,
    typer.Option("--if-match", help="Only if it still is as it was read: the `etag` that `show` printed."),
]
DEFAULT_HOME = Path("var")

# A pipe has no width: what a script or an auditor reads there is never folded.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 1000)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def command(function: Callable[P, T]) -> Callable[P, T]:
    """Make nothing that others can read; turn an error or a broken pipe into one sentence and exit status 1."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        keep_private()
        try:
            return function(*args, **kwargs)
        except GatewayError as error:
            fail(error, as_json=bool(kwargs.get("as_json")))
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(1) from None
        except OSError as error:
            what = f"`{error.filename}`: " if error.filename else ""
            code = "not-found" if isinstance(error, FileNotFoundError) else "unavailable"
            refusal = GatewayError(code, f"{what}{(error.strerror or 'the system refused').lower()}")
            fail(refusal, as_json=bool(kwargs.get("as_json")), advise=False)

    run.keeps_private = True  # type: ignore[attr-defined]  # what a test looks for on every command
    return run


def fail(error: GatewayError, *, as_json: bool, advise: bool = True) -> NoReturn:
    """Print `error` and exit 1: as a problem document with `--json`, else as sentences on standard error.

    Args:
        error: what happened.
        as_json: how it is printed.
        advise: whether the code's general advice helps: not where the system itself refused a file.
    """
    if as_json:
        print_json(problem_document(error))
        raise typer.Exit(1)
    err.print(f"gateway: {error.detail or error.problem.title}", markup=False)
    faults = error.members.get("faults")
    if isinstance(faults, Iterable) and not isinstance(faults, (str, bytes)):
        for fault in faults:
            err.print(f"  {_fault_line(fault)}", markup=False)
    # On the command line, what is not available is said with what to do about it; "try again later" would mislead.
    if advise and error.code != "unavailable":
        err.print(f"  what to do: {error.problem.advice}", markup=False)
    raise typer.Exit(1)


def _fault_line(fault: Any) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    place = ", ".join(f"{key} {fault[key]}" for key in ("sheet", "list", "row", "field") if fault.get(key) is not None)
    return f"{place}: {fault.get('fault', '')}" if place else str(fault.get("fault", fault))


@contextmanager
def open_api(home: Path, officer: str | None = None) -> Iterator["Api"]:
    """The control API, see `gateway.runtime.operation.api`; what it takes to speak to it is loaded here."""
    from gateway.runtime.operation.api import open_api as opened  # noqa: PLC0415 -- help needs none of it

    with opened(home, officer) as api:
        yield api


def home_at(root: Path) -> "GatewayHome":
    """The home in that folder; its settings' models are loaded here."""
    from gateway.runtime.home import GatewayHome  # noqa: PLC0415 -- help needs none of it

    return GatewayHome(root)


def said_again(home: Path, officer: str | None) -> str:
    """The options of who acts where, for a command that is told as the next: so that it works as it is printed."""
    acting = f" --as {officer}" if officer and os.environ.get("GATEWAY_OFFICER") != officer else ""
    is_known = home == DEFAULT_HOME or os.environ.get("GATEWAY_HOME") == str(home)
    return acting + ("" if is_known else f" --home {shlex.quote(str(home))}")


def working(what: str, *, quiet: bool = False) -> None:
    """Say at a terminal what a command is about to do that may take longer than a breath; logs and pipes stay as is."""
    if not quiet and err.is_terminal:
        err.print(f"{what} …", markup=False)


def matching(if_match: str | None) -> dict[str, str] | None:
    """The header fields of `--if-match`, with or without its quotes."""
    return {"If-Match": f'"{if_match.strip(chr(34))}"'} if if_match else None


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, indent=2)
    sys.stdout.write(text + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for people."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    out.print(table)
