"""`gateway policies activate | rollback | history | shadow`: which policies are in force, through the control API."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from gateway.cli.policies.shared import NOT_WHOLE, print_strangers, print_uncounted, proved_line
from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    IfMatch,
    command,
    err,
    fail,
    matching,
    open_api,
    out,
    print_json,
    print_table,
)
from gateway.domain.errors import GatewayError
from gateway.domain.policies import Proved
from gateway.policy.law.layers import read_set

EXAMINE_SECONDS = 1830.0
"""As long as the gateway may examine a set, and a little more."""

shadow = typer.Typer(
    name="shadow",
    help="A candidate decides beside the policies in force, on live traffic, and only counts.",
    no_args_is_help=True,
)

Root = Annotated[Path, typer.Argument(help="Folder with the schema, the table of articles and the layers.")]
LayerNames = Annotated[str, typer.Option("--layers", help="Layers in order, separated by commas.")]
NoLoss = Annotated[
    bool, typer.Option("--no-loss", help="Refuse where anything that stands loses (Decree 809 Art. 15, 39(2)).")
]
Thorough = Annotated[
    bool,
    typer.Option("--thorough", help="Compare everything that stands, however long it takes, and not a few seconds."),
]
Revives = Annotated[bool, typer.Option("--revives", help="What did not flow before shall flow: see `--dry-run`.")]
Reason = Annotated[str | None, typer.Option(help="Why, in words; it stands in the act's record.")]


@command
def activate(
    *,
    root: Root,
    layers: LayerNames = "national",
    layer: Annotated[
        str | None,
        typer.Option("--layer", help="One layer of ROOT, such as a region's own; all else stays as it is in force."),
    ] = None,
    if_match: IfMatch = None,
    no_loss: NoLoss = False,
    revives: Revives = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and compare, and put nothing in force.")] = False,
    thorough: Thorough = False,
    reason: Reason = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Put the policies in ROOT in force: checked, compared with what is in force, recorded, at once on every worker.

    Where the gateway asks for two persons (`policies.two_persons`), propose them to another one.
    """
    body = _set(root, layers) if layer is None else {**_set(root, layer), "only": layer}
    if dry_run:
        found = _post(home, officer, "compare", {**body, **_thorough(thorough)})
        answer = {"checked": found["checked"], "proving": found["proving"], "loss": found["comparison"]}
    else:
        said = {**_said(no_loss, revives), **_thorough(thorough)}
        answer = _act(home, officer, "activation", {**body, **said}, reason, if_match, as_json=as_json)
    told(answer, as_json=as_json)
    if dry_run and no_loss and answer["loss"]["takes_away"]:
        raise typer.Exit(1)


@command
def roll_back(
    *,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="The number of a step of the history; default: the set before.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Go back in this layer alone; all else stays as it is in force.")
    ] = None,
    if_match: IfMatch = None,
    no_loss: NoLoss = False,
    revives: Revives = False,
    thorough: Thorough = False,
    reason: Reason = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Put policies in force that were in force before: the ones before the present, or those of a step.

    Who is competent for a region goes back in that region's layers alone.
    """
    chosen = {name: value for name, value in (("to", to), ("layer", layer)) if value is not None}
    said = {**_said(no_loss, revives), **_thorough(thorough), **chosen}
    told(_act(home, officer, "rollback", said, reason, if_match, as_json=as_json), as_json=as_json)


@command
def history(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many steps, newest first.")] = 50,
    layer: Annotated[str | None, typer.Option("--layer", help="The steps that changed this layer.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List what was put in force and in the shadow, by whom and when, newest first."""
    with open_api(home, officer) as api:
        found = api.get("/v1/policies/activations", limit=limit, layer=layer)
    if as_json:
        print_json(found)
        return
    if not found["items"]:
        out.print("the policies of the settings are in force; no others ever were", markup=False)
        return
    print_table(
        "policies, newest first",
        ("number", "step", "layers", "changed", "digest", "by", "at", "record", "reason"),
        (
            (
                one["number"],
                one["step"],
                " + ".join(one["layers"]),
                ", ".join(one.get("changed") or ()) or "-",
                one["digest"][:16],
                one["by"] or "(settings)",
                one["at"],
                one["record"],
                one["reason"],
            )
            for one in found["items"]
        ),
    )


@shadow.command("start")
@command
def start(
    root: Root,
    layers: LayerNames = "national",
    reason: Reason = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Let the policies in ROOT decide beside those in force from now on; a candidate before them goes."""
    answer = _act(home, officer, "shadow", _set(root, layers), reason, as_json=as_json)
    if as_json:
        print_json(answer)
        return
    step = answer["shadow"]
    out.print(f"in the shadow: {' + '.join(step['layers'])} ({step['digest'][:16]})", markup=False)
    print_uncounted(answer.get("uncounted", ()))


@shadow.command("report")
@command
def report(home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """Say what the candidate decided otherwise so far, over every worker of every node."""
    with open_api(home, officer) as api:
        found = api.get("/v1/policies/shadow")
    _reported(found, as_json=as_json)


@shadow.command("stop")
@command
def stop(reason: Reason = None, home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """Take the candidate out of the shadow, and say what it decided otherwise."""
    with open_api(home, officer) as api:
        api.post("/v1/policies/shadow/end", {"reason": reason} if reason else {})
        found = api.get("/v1/policies/shadow")
    _reported(found, as_json=as_json)


def _set(root: Path, layers: str) -> dict[str, Any]:
    """The body that holds the set."""
    names = tuple(name.strip() for name in layers.split(",") if name.strip())
    if not root.is_dir():
        raise GatewayError("not-found", f"`{root}` is no folder")
    found = read_set(root, names)
    unread = [name for name, text in found.files.items() if any("\udc80" <= sign <= "\udcff" for sign in text)]
    if unread:
        faults = [{"field": name, "fault": "is not UTF-8"} for name in unread]
        raise GatewayError("invalid-input", "the policies are not sound and are not put in force", faults=faults)
    return {"layers": names, "files": dict(found.files)}


def _said(no_loss: bool, revives: bool) -> dict[str, bool]:
    return {"no_loss": no_loss, **({"revives": True} if revives else {})}


def _thorough(thorough: bool) -> dict[str, bool]:
    return {"thorough": True} if thorough else {}


def _post(home: Path, officer: str | None, path: str, body: dict[str, Any], if_match: str | None = None) -> Any:
    with open_api(home, officer) as api:
        return api.post(f"/v1/policies/{path}", body, headers=matching(if_match), timeout_seconds=EXAMINE_SECONDS)


def _act(
    home: Path,
    officer: str | None,
    path: str,
    body: dict[str, Any],
    reason: str | None,
    if_match: str | None = None,
    *,
    as_json: bool,
) -> Any:
    try:
        return _post(home, officer, path, {**body, **({"reason": reason} if reason else {})}, if_match)
    except GatewayError as error:
        loss, proving = error.members.get("loss"), error.members.get("proving")
        if isinstance(loss, dict) and not as_json:
            _print_loss(loss, err_too=True)
        if isinstance(proving, dict) and not as_json:
            _print_proving(proving, err_too=True)
        fail(error, as_json=as_json)


def told(answer: dict[str, Any], *, as_json: bool) -> None:
    """Say what an activation came to, or what it would."""
    if as_json:
        print_json(answer)
        return
    checked = answer["checked"]
    out.print(f"checked: {checked['policies']} policies, {checked['cases']} decision table cases: sound", markup=False)
    _print_proving(answer["proving"])
    _print_loss(answer["loss"])
    if proposal := answer.get("proposal"):
        out.print(
            f"proposed as step {proposal['number']}, record {answer['record']}: not in force until another person says "
            f"`gateway policies approve {proposal['number']}`",
            markup=False,
        )
    step = answer.get("activation")
    if step is None:
        return
    out.print(
        f"in force: {' + '.join(step['layers'])} ({step['digest'][:16]}), record {answer['record']}", markup=False
    )
    barrier = answer.get("barrier")
    if barrier is not None:
        out.print(f"  confirmed by {', '.join(barrier['confirmed']) or 'no worker: none runs here'}", markup=False)


def _print_proving(proving: dict[str, Any], *, err_too: bool = False) -> None:
    console = err if err_too else out
    proved = proving["proved"]
    console.print(proved_line(None if proved is None else msgspec.convert(proved, Proved)), markup=False)
    if proving["unasked"]:
        console.print(f"  {proving['unasked']}", markup=False)
    for proof in proving["failed"]:
        console.print(f"  {proof['result']}: {proof['subject']} ({proof['statement']}): {proof['what']}", markup=False)
        for line in (proof["case"] or {}).get("lines", ()):
            console.print(f"    {line}", markup=False)
    for one in proving["ever"]:
        console.print(f"  `{one['action']}` can ever be permitted: {one['change']}", markup=False)
        for word, case in (("lost", one["lost"]), ("gained", one["gained"])):
            if case is not None:
                console.print(f"    {word}: {'; '.join(case['lines'])}", markup=False)


def _print_loss(loss: dict[str, Any], *, err_too: bool = False) -> None:
    console = err if err_too else out
    console.print(
        f"compared {loss['grants']} standing grants and {loss['datasets']} datasets without a grant, "
        f"{loss['calls']} calls: {loss['gaining']} grants gain, {loss['losing']} lose, "
        f"{loss['unsettled']} others may lose",
        markup=False,
    )
    if not loss.get("is_whole", True):
        console.print(NOT_WHOLE, markup=False)
    print_strangers(loss.get("strangers", ()), err_too=err_too)
    print_uncounted(loss.get("uncounted", ()), err_too=err_too)
    for one in loss["differences"]:
        under = f"under {one['grant']}" if one["grant"] else "without a grant"
        console.print(
            f"  {one['change']}: {one['department']} {one['mode']} {one['dataset']} {under}, from {one['assurance']}: "
            f"{one['before'] or 'as now'} -> {one['after']} by {', '.join(one['policies']) or 'no policy'}",
            markup=False,
        )


def _reported(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    tally = found["tally"]
    state = "in the shadow" if found["running"] else f"was in the shadow until {found['until']}"
    out.print(f"{' + '.join(found['layers'])} ({found['digest'][:16]}) {state}, since {found['since']}", markup=False)
    out.print(
        f"{tally['same']} verdicts the same, {tally['gains']} would be permitted, {tally['losses']} would be denied, "
        f"{tally['changes']} would change, {tally['failures']} could not be made",
        markup=False,
    )
    print_uncounted(found.get("uncounted", ()))
    for one in found["differences"]:
        out.print(
            f"  {one['change']}: {one['department']} {one['mode']} {one['dataset']} by {one['interface']}: "
            f"{one['active']} -> {one['candidate']} by {', '.join(one['policies']) or 'no policy'}"
            + (f" (grant {one['grant']})" if one["grant"] else ""),
            markup=False,
        )
