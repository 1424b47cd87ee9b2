"""`gateway applications | verifications | …`: commands made from the tables of the processes, one a step."""

import inspect
import mimetypes
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
import typer

from gateway.cli.listing import tell_act
from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    IfMatch,
    command,
    home_at,
    is_elsewhere,
    matching,
    open_api,
    out,
    print_json,
    print_table,
)
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant
from gateway.domain.processes.register import PROCESSES
from gateway.domain.processes.table import Process, Step
from gateway.domain.words import field_words

_PARAMETER = inspect.Parameter.KEYWORD_ONLY


def commands_of(name: str) -> typer.Typer:
    """The commands of one process."""
    process = PROCESSES[name]
    made = typer.Typer(name=name, help=f"{process.title}.", no_args_is_help=True)
    _add_reading(made, process)
    for step in process.steps:
        made.command(step.name, help=f"{step.effect[:1].upper()}{step.effect[1:]} ({step.article}).")(
            _step_command(process, step)
        )
    return made


def _add_reading(made: typer.Typer, process: Process) -> None:
    @made.command("list")
    @command
    def list_(
        *,
        state: Annotated[str | None, typer.Option(help=", ".join(each.name for each in process.states))] = None,
        department: Annotated[str | None, typer.Option(help="Demand department.")] = None,
        supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
        limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows.")] = 100,
        cursor: Annotated[str | None, typer.Option(help="`next` of the page before.")] = None,
        home: Home = DEFAULT_HOME,
        officer: AsOfficer = None,
        as_json: AsJson = False,
    ) -> None:
        """List those you may see, the newest first."""
        with open_api(home, officer) as api:
            asked = {"state": state, "department": department, "supplier": supplier}
            page = api.get(f"/v1/{process.name}", **asked, limit=limit, cursor=cursor)
        if as_json:
            print_json(page)
            return
        columns = ("id", "demand", "supplier", "dataset", "grant", "state", "due")
        rows = ([*(each.get(name) for name in columns[:-1]), due_told(each.get("due"))] for each in page["items"])
        print_table(process.name, columns, rows)
        if page["next"]:
            out.print(f"more with --cursor {page['next']}", markup=False)

    @made.command("show")
    @command
    def show(
        case: Annotated[str, typer.Argument(help=f"Id of the {process.singular}.")],
        home: Home = DEFAULT_HOME,
        officer: AsOfficer = None,
        as_json: AsJson = False,
    ) -> None:
        """Show one with its history, and what you may do now."""
        with open_api(home, officer) as api:
            body, tag = api.get_tagged(f"/v1/{process.name}/{case}")
        body["etag"] = tag
        if as_json:
            print_json(body)
            return
        told = body[process.singular]
        rows = [(name, told[name]) for name in ("state", "demand", "supplier", "dataset", "grant") if told.get(name)]
        rows += [
            ("due", due_told(told.get("due"))),
            ("etag", tag),
            ("yours now", ", ".join(body["yours"]) or "nothing"),
        ]
        rows += [(name, _shown(value)) for name, value in told["facts"].items()]
        rows += [(f"attachment {each['name']}", each["digest"]) for each in body["attachments"]]
        rows += [(each["at"][:16], f"{each['step']} by {each['officer']}") for each in body["history"]]
        print_table(f"{process.singular} {case}", ("", ""), rows)

    @made.command("comment")
    @command
    def comment(
        case: Annotated[str, typer.Argument(help=f"Id of the {process.singular}.")],
        comment: Annotated[str, typer.Argument(help="What there is to say.")],
        home: Home = DEFAULT_HOME,
        officer: AsOfficer = None,
        as_json: AsJson = False,
    ) -> None:
        """Comment; nothing else changes."""
        with open_api(home, officer) as api:
            answer = api.post(f"/v1/{process.name}/{case}/comments", {"comment": comment})
        tell_act(answer, f"commented on {case}", as_json=as_json)

    @made.command("attach")
    @command
    def attach(
        case: Annotated[str, typer.Argument(help=f"Id of the {process.singular}.")],
        file: Annotated[Path, typer.Argument(help="PDF, PNG, JPEG or plain text; 8 MiB at most.")],
        home: Home = DEFAULT_HOME,
        officer: AsOfficer = None,
        as_json: AsJson = False,
    ) -> None:
        """Attach a file."""
        media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        with open_api(home, officer) as api:
            path = f"/v1/{process.name}/{case}/attachments"
            answer = api.post_bytes(path, file.read_bytes(), media_type, name=file.name)
        tell_act(answer, f"attached {file.name} to {case}", as_json=as_json)

    @made.command("lifecycle")
    @command
    def lifecycle(
        layer: Annotated[
            list[str] | None, typer.Option("--layer", help="A policy layer, repeated in order; default: national.")
        ] = None,
        home: Home = DEFAULT_HOME,
        officer: AsOfficer = None,
        as_json: AsJson = False,
    ) -> None:
        """Print the table of states and steps: who may take each by the policies, and by which article.

        Who may is asked of the policies in force in the home; without a home, or with --layer, of the shipped ones.
        """
        if layer is None and (is_elsewhere() or home_at(home).settings_file.exists()):
            with open_api(home, officer) as api:
                body = api.get(f"/v1/{process.name}/lifecycle")
        else:
            from gateway.policy.law.layers import default_policies_root, load_layers  # noqa: PLC0415 -- loads Cedar
            from gateway.policy.live.powers import table_of  # noqa: PLC0415 -- the same

            body = msgspec.to_builtins(
                table_of(load_layers(default_policies_root(), layer or ["national"]), process, 0)
            )
        if as_json:
            print_json(body)
            return
        print_table(
            process.title,
            ("step", "Cedar action", "who may", "from", "to", "must state", "clock", "article", "effect"),
            (
                (
                    row["name"] + (", once" if row["is_once"] else "") + (", if overdue" if row["is_late"] else ""),
                    " or ".join(row["acts"]),
                    ", ".join(each["who"] for each in row["who"]) or "nobody",
                    ", ".join(row["before"]) or "nothing",
                    row["after"] or "unchanged",
                    ", ".join(row["states"]) or "nothing",
                    row["clock"] or ("puts it off" if row["extends"] else "stops" if row["clock"] == "" else "goes on"),
                    row["article"],
                    row["effect"],
                )
                for row in body["items"]
            ),
        )
        for region, clocks in (("", body["clocks"]), *body["regional"].items()):
            for name, clock in clocks.items():
                where = f" in {region}" if region else ""
                more = f", at most {clock['extension']} more" if clock["extension"] else ""
                out.print(f"clock {name}{where}: {clock['days']} working days{more} ({clock['article']})", markup=False)


def _step_command(process: Process, step: Step) -> Callable[..., None]:
    opens = step is process.opening
    words = field_words(step.said)

    def take(**given: Any) -> None:
        home, officer, as_json = given["home"], given["officer"], given["as_json"]
        body = {name: _sent(given[name]) for name in words if given[name] is not None}
        path = f"/v1/{process.name}" if opens else f"/v1/{process.name}/{given['case']}/{step.name}"
        headers = None if opens else matching(given["if_match"])
        with open_api(home, officer) as api:
            answer = api.post(path, body, headers=headers)
        case = answer[process.singular]
        told = f"{process.singular} `{case['id']}` is {case['state']}"
        if case.get("due"):
            told += f", due {due_told(case['due'])}"
        if "digest" in answer:
            told += f"; digest {answer['digest']}"
        tell_act(answer, told, as_json=as_json)

    parameters = [] if opens else [_argument("case", f"Id of the {process.singular}.")]
    parameters += [_option(step.said, name, help_) for name, help_ in words.items()]
    if not opens:
        parameters.append(inspect.Parameter("if_match", _PARAMETER, default=None, annotation=IfMatch))
    for name, default, annotation in (
        ("home", DEFAULT_HOME, Home),
        ("officer", None, AsOfficer),
        ("as_json", False, AsJson),
    ):
        parameters.append(inspect.Parameter(name, _PARAMETER, default=default, annotation=annotation))
    take.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    take.__name__ = step.name.replace("-", "_")
    return command(take)


def _argument(name: str, words: str) -> inspect.Parameter:
    annotation = Annotated[str, typer.Argument(help=words)]
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)


def _option(said: type[msgspec.Struct], name: str, words: str) -> inspect.Parameter:
    """The option of a field of a statement; one that is required has no default."""
    field = next(each for each in msgspec.structs.fields(said) if each.name == name)
    hint: Any = get_type_hints(said)[name]
    help_ = f"{words[:1].upper()}{words[1:]}"
    settings: dict[str, Any] = {"help": help_}
    if hint is Grant:
        hint, settings = Path, {"help": f"JSON file: {words}"}
    elif hint == tuple[str, ...]:
        hint, settings = list[str], {"help": f"{help_} Repeat it for each."}
    elif not isinstance(hint, type) or not issubclass(hint, str | int | StrEnum):
        hint, settings = datetime, {"help": help_, "formats": ["%Y-%m-%d"]}
    required = field.required
    taken = hint if required else hint | None
    annotation = Annotated[taken, typer.Option(**settings)]  # type: ignore[valid-type]  # made at run time
    default = inspect.Parameter.empty if required else None
    return inspect.Parameter(name, _PARAMETER, default=default, annotation=annotation)


def _sent(value: Any) -> Any:
    """An option's value as it is sent."""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, Path):
        try:
            return msgspec.json.decode(value.read_bytes())
        except msgspec.DecodeError as error:
            raise GatewayError("malformed-request", f"`{value}` is no JSON") from error
    return value


def due_told(due: dict[str, Any] | None) -> str:
    """A date as people read it; one that is not certain yet says so."""
    return "" if not due else f"{due['on']}{' (provisional)' if due['provisional'] else ''}"


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


applications = commands_of("applications")
verifications = commands_of("verifications")
disputes = commands_of("disputes")
rectifications = commands_of("rectifications")
disposals = commands_of("disposals")
incidents = commands_of("incidents")
returns = commands_of("returns")
complaints = commands_of("complaints")
corrections = commands_of("corrections")
directory_changes = commands_of("directory-changes")
