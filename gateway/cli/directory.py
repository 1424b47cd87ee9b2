"""`gateway directory`: what is shared (Decree 809 Art. 12 to 17)."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from gateway.cli.interfaces import AnswerFile, Query, read_interface, read_sample, tell
from gateway.cli.listing import every, tell_act, write_sample
from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    IfMatch,
    command,
    matching,
    open_api,
    out,
    print_json,
    print_table,
)
from gateway.domain.classification import class_of, secret_of
from gateway.domain.errors import GatewayError

directory = typer.Typer(name="directory", help="Import, list and export the directory.", no_args_is_help=True)

EntryId = Annotated[str, typer.Argument(help="The entry's id.")]
Version = Annotated[int, typer.Argument(help="Which of its versions.")]

MAX_GRADE = 4
KINDS = ("departments", "purposes", "datasets", "interfaces")


Revives = Annotated[
    bool, typer.Option("--revives", help="What standing grants give again, or more, by the release shall flow.")
]


@directory.command("import")
@command
def import_(
    file: Annotated[Path, typer.Argument(help="A directory as .json, or entries as .csv or .xlsx.")],
    submit_only: Annotated[
        bool, typer.Option("--submit-only", help="Submit for examination; release nothing.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Say what it would do; change nothing.")] = False,
    if_match: Annotated[
        str | None,
        typer.Option(
            "--if-match", help="Only if nothing it names was changed since: the `etag` of `export` or `import --check`."
        ),
    ] = None,
    revives: Revives = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Import a directory file, whole or not at all; every fault is listed by row and field."""
    content = file.read_bytes()
    if file.suffix.lower() == ".json":
        try:
            body = json.loads(content)
        except ValueError as error:
            raise GatewayError("invalid-input", f"`{file}` is not JSON") from error
    else:
        body = {"file": file.name, "content_base64": base64.b64encode(content).decode()}
    release = "false" if submit_only else "true"
    with open_api(home, officer) as api:
        path = f"/v1/directory?release={release}&check={'true' if check else 'false'}"
        path += "&revives=true" if revives else ""
        answer, tag = api.post_once(path, body, headers=matching(if_match))
    answer["etag"] = tag
    if as_json:
        print_json(answer)
        return
    counted = ", ".join(f"{answer[kind]} {kind}" for kind in KINDS)
    done = "would import" if check else "imported and released" if answer["released"] else "submitted"
    out.print(f"{done}: {counted}; {answer['unchanged_datasets']} datasets unchanged", markup=False)
    out.print(f"etag {tag}", markup=False)
    _print_reviving(answer.get("reviving_grants", []))
    for each in answer["skipped"]:
        out.print(f"note: {each}", markup=False)
    for entry, version in sorted(answer.get("versions", {}).items()):
        out.print(f"  {entry}, version {version}", markup=False)
    _print_remarks(answer)
    _print_losing(answer.get("losing_grants", ()))


@directory.command("schema")
@command
def schema(as_json: AsJson = False) -> None:
    """Print the JSON schema of a directory file."""
    from gateway.runtime.operation.formats import directory_schema  # noqa: PLC0415 -- loads what no other command needs

    # A schema is JSON, asked for so or not.
    _ = as_json
    print_json(directory_schema())


@directory.command("sample")
@command
def sample(
    file: Annotated[Path, typer.Argument(help="Where to write it; .json, .xlsx or .csv says as what.")],
    as_json: AsJson = False,
) -> None:
    """Write a directory file that `import` takes as it is: to look at, and to put your own in its place."""
    from gateway.runtime.operation.formats import directory_sample  # noqa: PLC0415 -- likewise

    write_sample(file, directory_sample(file.suffix), as_json=as_json)


@directory.command("list")
@command
def list_(
    kind: Annotated[str, typer.Argument(help="datasets, interfaces, departments or purposes.")] = "datasets",
    supplier: Annotated[str | None, typer.Option(help="Supply department.")] = None,
    words: Annotated[str | None, typer.Option(help="Part of an entry's name or code.")] = None,
    state: Annotated[
        str, typer.Option(help="Of entries: released, submitted, rejected, superseded or withdrawn.")
    ] = "released",
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List the directory."""
    if kind not in KINDS:
        raise typer.BadParameter(f"list one of {', '.join(KINDS)}")
    params = {"supplier": supplier} if kind in {"datasets", "interfaces"} else {}
    if kind == "datasets":
        params |= {"words": words, "state": state}
    with open_api(home, officer) as api:
        rows = list(every(api, f"/v1/{kind}", **params))
    if as_json:
        print_json({"items": rows})
        return
    columns = {
        "datasets": ("id", "code", "name", "supplier", "sharing_attribute", "grade", "version"),
        "interfaces": ("supplier", "id", "dataset", "title"),
        "departments": ("id", "name", "region", "level"),
        "purposes": ("id", "name", "basis"),
    }[kind]
    print_table(
        kind, columns, ([row.get(column, 1 if column == "version" else "") for column in columns] for row in rows)
    )


@directory.command("export")
@command
def export(
    file: Annotated[Path, typer.Argument(help="Where to write it; it must not exist.")],
    dcat: Annotated[bool, typer.Option("--dcat", help="As DCAT in JSON-LD, for other catalogues.")] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Export what is released as .json or .xlsx that `import` takes back, the entries as .csv, or all as DCAT."""
    if file.exists():
        raise GatewayError("conflict", f"`{file}` exists already")
    kind = "dcat" if dcat else file.suffix.removeprefix(".")
    if kind not in {"dcat", "json", "csv", "xlsx"}:
        raise GatewayError("invalid-input", f"`{file.name}` ends neither in .json, .csv nor .xlsx")
    with open_api(home, officer) as api:
        written, tag = api.download("/v1/directory", {"format": kind}, file)
    if as_json:
        print_json({"file": str(file), "bytes": written, "etag": tag})
    else:
        out.print(f"wrote {file}, {written} bytes, etag {tag}", markup=False)


@directory.command("show")
@command
def show(entry_id: EntryId, home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """Show an entry: its released version, and every version with its state."""
    with open_api(home, officer) as api:
        body, tag = api.get_tagged(f"/v1/datasets/{entry_id}")
    body["etag"] = tag
    if as_json:
        print_json(body)
        return
    rows: list[tuple[str, object]] = [("etag", tag)]
    rows += [(f"version {each['version']}", each["state"]) for each in body["versions"]]
    for name, value in (body["released"] or {}).items():
        rows.append((name, _brief(value)))
    print_table(f"entry {entry_id}", ("", ""), rows)


@directory.command("diff")
@command
def diff(
    entry_id: EntryId,
    version: Version,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Show what releasing a version would change: field by field, and every standing grant that would lose."""
    with open_api(home, officer) as api:
        effects = api.get(f"/v1/datasets/{entry_id}/versions/{version}/effects")
    if as_json:
        print_json(effects)
        return
    now = f"over version {effects['old_version']}" if effects["old_version"] else "as the first"
    print_table(
        f"version {version} of {entry_id}, released {now}",
        ("field", "old", "new"),
        ((each["field"], _brief(each["old"]), _brief(each["new"])) for each in effects["changes"]),
    )
    out.print(f"{len(effects['grants'])} of {effects['standing']} standing grants would lose", markup=False)
    _print_losing(effects["grants"])
    _print_reviving(effects["revives"])


@directory.command("release")
@command
def release(
    entry_id: EntryId,
    version: Version,
    revives: Revives = False,
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Release a submitted version of an entry (Art. 16, 17); read its `diff` first."""
    said = {"release": True, **({"revives": True} if revives else {})}
    _examine(home, officer, entry_id, version, said, if_match, as_json=as_json)


@directory.command("reject")
@command
def reject(
    entry_id: EntryId,
    version: Version,
    reason: Annotated[str, typer.Option(help="Why, in words; it stands in the act's record.")],
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Reject a submitted version of an entry, with the reason."""
    _examine(home, officer, entry_id, version, {"release": False, "reason": reason}, if_match, as_json=as_json)


@directory.command("withdraw")
@command
def withdraw(
    entry_id: EntryId,
    reason: Annotated[str, typer.Option(help="Why, in words; it stands in the act's record.")],
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw an entry: when this returns, nothing of the dataset is shared any more."""
    with open_api(home, officer) as api:
        answer = api.post(f"/v1/datasets/{entry_id}/withdrawal", {"reason": reason}, headers=matching(if_match))
    tell_act(answer, f"entry `{entry_id}` is withdrawn", as_json=as_json)


@directory.command("derive")
@command
def derive(
    openapi: Annotated[Path, typer.Argument(help="The supplier's OpenAPI or Swagger document, as JSON or YAML.")],
    path: Annotated[str, typer.Option(help="Which of its paths serves the data.")],
    dataset: Annotated[str, typer.Option(help="The dataset's id.")],
    id_: Annotated[str, typer.Option("--id", help="The new interface's id.")],
    upstream: Annotated[str | None, typer.Option(help="Base URL; default: the document's server.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Method to propose, default GET; repeatable.")] = None,
    save: Annotated[Path | None, typer.Option("--out", help="Write the proposal here, for `register`.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Propose an interface from an OpenAPI document: items and places derived, to be confirmed by `register`."""
    body = {"openapi": read_openapi(openapi), "path": path, "dataset": dataset, "id": id_, "methods": method or ["GET"]}
    with open_api(home, officer) as api:
        proposal = api.post("/v1/interfaces/derivation", body | ({"upstream": upstream} if upstream else {}))
    if save is not None:
        interface = {name: value for name, value in proposal["interface"].items() if name != "version"}
        save.write_text(json.dumps(interface, ensure_ascii=False, indent=2) + "\n", "utf-8")
    if as_json:
        print_json(proposal)
        return
    interface = proposal["interface"]
    print_table("items and where they stand in the answer", ("item", "place"), interface["places"].items())
    out.print(f"methods: {', '.join(interface['methods'])}; rows at `{interface['rows']}`", markup=False)
    out.print(f"beside the rows, under every grant: {', '.join(interface['envelope']) or 'nothing'}", markup=False)
    for words, name in (
        ("items without a place", "unplaced"),
        ("fields that are no item", "unclaimed"),
        ("query parameters", "query_parameters"),
        ("to be looked at", "notes"),
    ):
        if proposal[name]:
            out.print(f"{words}: {', '.join(proposal[name])}", markup=False)
    for each in proposal.get("faults", ()):
        out.print(f"cannot be registered so: {each['field']}: {each['fault']}", markup=False)
    out.print("nothing is registered yet: confirm with `gateway directory register`", markup=False)


def read_openapi(file: Path) -> Any:
    """A document of JSON or YAML; YAML's aliases are refused, since a short text of them can stand for a huge one."""
    try:
        text = file.read_text("utf-8-sig")
        if text.lstrip().startswith("{"):
            return json.loads(text)
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)):
            raise GatewayError("invalid-input", f"`{file}` uses YAML aliases: write it as JSON")
        return json.loads(json.dumps(yaml.safe_load(text), default=str))
    except (ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        raise GatewayError("invalid-input", f"`{file}` is neither JSON nor YAML") from error


@directory.command("register")
@command
def register(
    file: Annotated[Path, typer.Argument(help="An interface as JSON, written by hand or by `derive --out`.")],
    answer_file: AnswerFile = None,
    query: Query = None,
    untried: Annotated[bool, typer.Option("--untried", help="Register it without a trial.")] = False,
    if_match: IfMatch = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Register a supplier's interface, or change it, tried first by `--query` or `--answer`; refused if it cannot work.

    With `"active": false` it is withdrawn, and nothing is tried.
    """
    body = read_interface(file)
    if body.get("active") is not False:
        sample = read_sample(answer_file, query)
        if untried is (sample is not None):
            raise typer.BadParameter("say with what to try it, `--query` or `--answer`, or `--untried`")
        body["trial"] = sample
    with open_api(home, officer) as api:
        answer = api.post("/v1/interfaces", body, headers=matching(if_match))
    if answer.get("trial") and not as_json:
        tell(answer["trial"])
    if not as_json:
        _print_remarks(answer)
    tell_act(answer, f"interface `{body['supplier']}/{body['id']}` is registered", as_json=as_json)


@directory.command("mend")
@command
def mend(
    entry_id: Annotated[str | None, typer.Argument(help="The entry's id; none lists those that need it.")] = None,
    classification: Annotated[str | None, typer.Option("--class", help="The class of data it is to name.")] = None,
    grade: Annotated[int | None, typer.Option(help="The grade it is to have, 1 to 4.")] = None,
    submit_only: Annotated[
        bool, typer.Option("--submit-only", help="Submit for examination; release nothing.")
    ] = False,
    *,
    revives: Revives = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Give an entry a class or grade that is known: one stored before these lists were closed gives nothing (Art. 13).

    It is released anew in the same words otherwise; what its grants give again is asked for as by any release.
    """
    with open_api(home, officer) as api:
        if entry_id is None:
            found = [each for each in every(api, "/v1/datasets", state="released") if _unknown_in(each)]
            if as_json:
                print_json({"items": found})
                return
            rows = ((each["id"], each["supplier"], each["classification"], each["grade"]) for each in found)
            print_table("entries of an unknown class or grade", ("id", "supplier", "class", "grade"), rows)
            return
        entry = api.get(f"/v1/datasets/{entry_id}")["released"]
        unknown = set() if entry is None else _unknown_in(entry)
        said = {"classification": classification, "grade": grade}
        changes = {name: value for name, value in said.items() if value is not None}
        if not unknown or set(changes) != unknown:
            needs = " and ".join(sorted(unknown)) or "nothing"
            raise GatewayError("invalid-input", f"of entry `{entry_id}`, as it is released, {needs} is to be mended")
        body = {name: value for name, value in entry.items() if name not in ("version", "state", "released_on")}
        path = f"/v1/datasets?release={'false' if submit_only else 'true'}{'&revives=true' if revives else ''}"
        answer = api.post(path, {**body, **changes})
    tell_act(answer, f"entry `{entry_id}` is {'submitted' if submit_only else 'released'} anew", as_json=as_json)


def _unknown_in(entry: dict[str, Any]) -> set[str]:
    """Which of an entry's words stand in no list: nothing of it is shared while one does."""
    known = class_of(entry["classification"]) or secret_of(entry["classification"])
    return ({"classification"} if not known else set()) | ({"grade"} if not 1 <= entry["grade"] <= MAX_GRADE else set())


def _print_remarks(answer: dict[str, Any]) -> None:
    """What was not tried, and what of interfaces and entries leaves something out."""
    untried = answer.get("untried", [])
    if untried:
        out.print(f"note: not tried, and may yet find nothing: {', '.join(untried)}", markup=False)
        out.print("  `gateway interfaces try` says what each finds in an answer", markup=False)
    for each in answer.get("remarks", ()):
        of = f"interface {each['interface']}" if "interface" in each else f"entry {each['dataset']}"
        out.print(f"note: {of}: {each['field']}: {each['fault']}", markup=False)


def _print_reviving(grants: list[str]) -> None:
    if grants:
        out.print(f"{len(grants)} standing grants would give data again, or more: {', '.join(grants)}", markup=False)
        out.print("to release it all the same: --revives", markup=False)


def _print_losing(grants: Iterable[dict[str, Any]]) -> None:
    for losing in grants:
        lost = [f"{kind} {', '.join(losing[kind])}" for kind in ("items", "modes", "purposes") if losing.get(kind)]
        lost += ["everything"] if losing.get("everything") else []
        lost += ["its department is outside the entry's scope"] if losing.get("out_of_scope") else []
        lost += ["what weak credentials reach: the grade rises"] if losing.get("grade_rises") else []
        words = f"grant `{losing['grant']}` of {losing['department']} would lose {'; '.join(lost)}"
        out.print(f"  {words}", markup=False)


def _brief(value: Any) -> str:
    """A field's value in a cell: of things with names, the names."""
    if isinstance(value, list):
        return ", ".join(str(each.get("name", each)) if isinstance(each, dict) else str(each) for each in value)
    if isinstance(value, dict):
        named = (f"{name} {_brief(each)}" for name, each in value.items() if each)
        return "; ".join(named) or "every department"
    return "" if value is None else str(value)


def _examine(
    home: Path,
    officer: str | None,
    entry_id: str,
    version: int,
    body: dict[str, Any],
    if_match: str | None,
    *,
    as_json: bool,
) -> None:
    path = f"/v1/datasets/{entry_id}/versions/{version}/examination"
    with open_api(home, officer) as api:
        answer = api.post(path, body, headers=matching(if_match))
    tell_act(answer, f"version {version} of `{entry_id}` is {answer['dataset']['state']}", as_json=as_json)
