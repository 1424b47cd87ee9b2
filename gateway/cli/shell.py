"""What every command shares: where the home is, how it prints, how it fails, and how it reaches the control API.

Exit status: 0 done, 1 refused or failed, 2 wrong usage (click's own). A failure is one clear sentence on standard
error, or with `--json` a problem document on standard output; never a traceback.
"""

import functools
import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar, cast

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from gateway.domain.errors import GatewayError, problem_document
from gateway.runtime.start.modes import keep_private

if TYPE_CHECKING:
    from gateway.runtime.home import GatewayHome
    from gateway.runtime.operation.session.api import Api

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
        "$GATEWAY_TOKEN, else the one that `gateway sign-in` began.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="GATEWAY_CONTROL_URL",
        help="Ask the control plane there, in the session that `gateway sign-in --url` began; no home is needed.",
    ),
]
_NoUrl = Annotated[str | None, typer.Option("--url", hidden=True)]
IfMatch = Annotated[
    str | None,
    typer.Option("--if-match", help="Only if it still is as it was read: the `etag` that `show` printed."),
]
DEFAULT_HOME = Path("var")
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
"""How a time is written on the command line, China Standard Time."""

_url: ContextVar[str | None] = ContextVar("url", default=None)
"""What `--url` of the running command says: `open_api` alone reads it."""

# A pipe has no width: what a script or an auditor reads there is never folded.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 1000)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def command(function: Callable[P, T]) -> Callable[P, T]:
    """Make nothing that others can read; turn an error or a broken pipe into one sentence and exit status 1.

    A command that speaks to the control API (it has `--as`) has `--url` besides; one that has `--home` alone is about
    files of the home, and says so to whoever gives it `--url`.
    """
    signature = inspect.signature(function, eval_str=True)
    speaks, own = "officer" in signature.parameters, "url" in signature.parameters

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        keep_private()
        try:
            _url.set(cast("str | None", kwargs.get("url") if own else kwargs.pop("url", None)))
            if not speaks and not own:
                _require_here()
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

    if "home" in signature.parameters and not own:
        added = inspect.Parameter(
            "url", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Url if speaks else _NoUrl
        )
        widened = signature.replace(parameters=[*signature.parameters.values(), added])
        run.__signature__ = widened  # type: ignore[attr-defined]  # what typer reads
    run.keeps_private = True  # type: ignore[attr-defined]  # what a test looks for on every command
    return run


def _require_here() -> None:
    if is_elsewhere():
        raise GatewayError(
            "invalid-input", "this command is about files of the gateway's home: run it there, with `--home`"
        )


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
    for rule in error.members.get("rules") or ():
        err.print(f"  rule: {rule['title']['en']} ({rule['id']})", markup=False)
    # On the command line, what is not available or nobody's is said with what to do about it; "try again later", or how
    # a system gets its token, would mislead.
    if advise and error.code not in ("unavailable", "credential-missing", "credential-invalid"):
        advice = "correct what is named above; nothing was changed"
        err.print(f"  what to do: {advice if error.code == 'invalid-input' else error.problem.advice}", markup=False)
    raise typer.Exit(1)


def _fault_line(fault: Any) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    place = ", ".join(f"{key} {fault[key]}" for key in ("sheet", "list", "row", "field") if fault.get(key) is not None)
    return f"{place}: {fault.get('fault', '')}" if place else str(fault.get("fault", fault))


@contextmanager
def open_api(home: Path, officer: str | None = None, *, otherwise: str | None = None) -> Iterator["Api"]:
    """The control API, see `gateway.runtime.operation.session.api`; what it takes to speak to it is loaded here.

    Args:
        home: where the gateway lives; not looked at where the command was given `--url`.
        officer: who acts, as `--as` says.
        otherwise: who acts at a home where nobody is named or signed in.
    """
    working(f"asking the gateway {f'at {_url.get()}' if _url.get() else f'in {home}'}")
    from gateway.runtime.operation.session.api import open_api as opened  # noqa: PLC0415 -- help needs none of it

    with opened(home, officer, url=_url.get(), otherwise=otherwise) as api:
        yield api


def is_elsewhere() -> bool:
    """Whether the command was given `--url`."""
    return _url.get() is not None


def home_at(root: Path) -> "GatewayHome":
    """The home in that folder; its settings' models are loaded here."""
    from gateway.runtime.home import GatewayHome  # noqa: PLC0415 -- help needs none of it

    return GatewayHome(root)


def read_secret(what: str, *, twice: bool = False) -> str:
    """A secret from standard input, or asked for at a terminal; never an argument, which `ps` shows to everybody."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    answer: str = typer.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)
    return answer


def said_again(home: Path, officer: str | None) -> str:
    """The options of who acts where, for a command that is told as the next: so that it works as it is printed."""
    url = _url.get()
    if url is not None:
        return "" if os.environ.get("GATEWAY_CONTROL_URL") == url else f" --url {shlex.quote(url)}"
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
