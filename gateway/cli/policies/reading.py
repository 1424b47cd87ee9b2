"""`gateway policies check | show | explain | compare`: policies as files, the exact Cedar, one call, two sets."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from gateway.cli.policies.shared import (
    NATIONAL,
    NOT_WHOLE,
    LayerNames,
    Root,
    layer_sets,
    print_strangers,
    print_uncounted,
    proved_line,
)
from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    command,
    err,
    fail,
    open_api,
    out,
    print_json,
    print_table,
    working,
)
from gateway.domain.errors import GatewayError
from gateway.policy.law.layers import default_policies_root, parse_layers, read_set
from gateway.policy.offline.checking import Checked, check
from gateway.policy.offline.comparing import Comparison, compare
from gateway.policy.offline.examining import strangers, until
from gateway.policy.proofs.kept import proof_digest, read_proofs
from gateway.policy.proofs.proving import Compared, compare_all
from gateway.policy.proofs.solver import find_tools

SECONDS = 8.0
"""How long a comparison works that is not asked to be thorough."""


@command
def check_(root: Root = None, layer: LayerNames = None, as_json: AsJson = False) -> None:
    """Check policies: schema, articles, decision tables, and policies that can never matter."""
    folder = root or default_policies_root()
    working(f"checking the policies in {folder}", quiet=as_json)
    results = [check(folder, names) for names in layer_sets(folder, layer)]
    faults = [
        {"field": finding.where, "fault": f"{finding.what} ({finding.kind})"}
        for checked in results
        for finding in checked.findings
    ]
    if faults:
        unsound = GatewayError(
            "invalid-input", "the policies are not sound", faults=[dict(pair) for pair in dict.fromkeys(_items(faults))]
        )
        fail(unsound, as_json=as_json)
    if as_json:
        print_json([_checked(checked) for checked in results])
        return
    kept = {each.of: each for each in read_proofs(folder)}
    for checked in results:
        names = " + ".join(checked.layers)
        counts = f"{checked.policies} policies, {checked.cases} decision table cases, {checked.theorems} theorems"
        out.print(f"{names}: {counts}: sound ({checked.digest[:16]})", markup=False)
        if checked.theorems:
            proved = kept.get(proof_digest(read_set(folder, checked.layers)))
            said = "not proved here: `gateway policies prove` does it"
            out.print(f"  {proved_line(proved) if proved else said}", markup=False)
        if checked.unread:
            out.print(f"  facts that no policy reads: {', '.join(checked.unread)}", markup=False)


@command
def show(
    department: Annotated[str, typer.Argument(help="Demand department.")],
    dataset: Annotated[str, typer.Argument(help="Dataset.")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Print the exact Cedar that governs what DEPARTMENT may do with DATASET."""
    with open_api(home, officer) as api:
        text = api.text("/v1/policies/show", department=department, dataset=dataset)
    if as_json:
        print_json({"department": department, "dataset": dataset, "cedar": text})
    else:
        typer.echo(text)


@command
def explain(
    *,
    system: Annotated[str, typer.Argument(help="The calling system.")],
    interface: Annotated[str, typer.Argument(help="The interface, `supplier/id`.")],
    department: Annotated[str, typer.Option(help="The system's department.")],
    purpose: Annotated[str, typer.Option(help="The declared purpose.")],
    items: Annotated[
        str | None, typer.Option(help="Items asked for, separated by commas; default: none named.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="query, verify, batch or download.")] = None,
    assurance: Annotated[str, typer.Option(help="legacy, bearer, dpop or mtls.")] = "mtls",
    parameter: Annotated[list[str] | None, typer.Option(help="A query parameter, `name=value`.")] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="A time, `2027-01-01T09:00:00+08:00`; if nothing changed until then.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Under these policies, over this home's state; default: in force.")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option("--layer", help="With --root: a layer, in order.")] = None,
    chinese: Annotated[bool, typer.Option("--chinese", "--zh", help="In Chinese.")] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Say why a call would be permitted or denied, now or at a time, and what to do about it."""
    supplier, slash, name = interface.partition("/")
    if not slash:
        raise GatewayError("invalid-input", f"`{interface}` is no interface: write `supplier/id`")
    body = {
        "department": department,
        "system": system,
        "supplier": supplier,
        "interface": name,
        "purpose": purpose,
        "assurance": assurance,
        "mode": mode,
        "items": None if items is None else [item.strip() for item in items.split(",") if item.strip()],
        "parameters": _parameters(parameter or []),
        "at": at,
    }
    asked = {key: value for key, value in body.items() if value is not None}
    if root is not None:
        answer = _explained_under(home, root, layer or [NATIONAL], asked)
    elif layer:
        raise GatewayError("invalid-input", "`--layer` names layers of other policies: name their `--root` too")
    else:
        with open_api(home, officer) as api:
            answer = api.post("/v1/policies/explain", asked)
    if as_json:
        print_json(answer)
        return
    for line in explanation_lines(answer["verdict"], chinese=chinese):
        out.print(line, markup=False)


@command
def compare_(
    old: Annotated[Path, typer.Argument(help="Policies root before.")],
    new: Annotated[Path, typer.Argument(help="Policies root after.")],
    layer: Annotated[list[str] | None, typer.Option("--layer", help="A layer in both, repeated in order.")] = None,
    new_layer: Annotated[
        list[str] | None, typer.Option("--new-layer", help="The layers after, where they are not those before.")
    ] = None,
    no_loss: Annotated[
        bool,
        typer.Option(
            "--no-loss", help="Fail where anything that stands loses, or may lose (Decree 809 Art. 15, 39(2))."
        ),
    ] = False,
    thorough: Annotated[
        bool,
        typer.Option("--thorough", help="Compare everything that stands, however long it takes, and not ten seconds."),
    ] = False,
    ever: Annotated[
        bool,
        typer.Option("--ever", help="Compare too what could ever be, over all requests: needs what `prove` needs."),
    ] = False,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """List over all standing grants and datasets who gains and who loses from OLD to NEW."""
    from gateway.runtime.operation.standing import open_standing  # noqa: PLC0415 -- checking files needs no gateway

    sets = read_set(old, layer or [NATIONAL]), read_set(new, new_layer or layer or [NATIONAL])
    before, after = (parse_layers(each.files, each.layers) for each in sets)
    over_all = compare_all(*sets, find_tools()) if ever else ()
    with open_standing(home) as standing, _progress(quiet=as_json) as progress:
        task = progress.add_task("compared", total=None)
        may_go_on = until(float("inf") if thorough else SECONDS)
        found = compare(before, after, standing, int(time.time()), lambda: progress.advance(task), may_go_on=may_go_on)
        unknown = strangers(after, standing)
    if as_json:
        print_json({**_compared(found), "differences": found.differences, "ever": over_all, "strangers": unknown})
    else:
        print_strangers(unknown)
        print_uncounted(found.uncounted)
        _print_comparison(found)
        _print_ever(over_all)
    if no_loss and found.takes_away:
        raise typer.Exit(1)


def explanation_lines(verdict: dict[str, Any], *, chinese: bool) -> list[str]:
    """A verdict's JSON form as lines for people."""
    if verdict["decision"] == "permit":
        grant = verdict.get("grant")
        lines = [f"允许（授权 {grant}）" if chinese else f"permitted under grant {grant}"] if grant else []
        lines = lines or ["允许（无需授权）" if chinese else "permitted without a grant"]
        label = "可提供的数据项" if chinese else "items that leave"
        return [
            *lines,
            f"  {label}: {', '.join(verdict.get('items', ())) or '-'}",
            *_rests_on(verdict, chinese=chinese),
        ]
    explanation = verdict.get("explanation") or {}
    lines = [f"{'拒绝' if chinese else 'denied'}: {verdict['code']}"]
    for near in explanation.get("near", ()):
        lines.append(f"  {'授权' if chinese else 'grant'} {near['grant']}:")
        sentences = near.get("detail_zh" if chinese else "detail", ())
        lines += [f"    - {sentence}" for sentence in sentences]
    lines += _rests_on(verdict, chinese=chinese)
    for rule in explanation.get("rules", ()):
        words = f"{rule['title_zh']}（{rule['id']}）" if chinese else f"{rule['title']} ({rule['id']})"
        lines.append(f"  {'规则' if chinese else 'rule'}: {words}")
    if explanation.get("articles"):
        lines.append(f"  {'依据条款' if chinese else 'articles'}: {'; '.join(explanation['articles'])}")
    lines.append(
        f"  {'下一步' if chinese else 'what to do'}: {explanation.get('next_step_zh' if chinese else 'next_step')}"
    )
    return lines


def _explained_under(home: Path, root: Path, layers: Sequence[str], asked: dict[str, Any]) -> dict[str, Any]:
    from gateway.runtime.operation.standing import explain_under  # noqa: PLC0415 -- checking files needs no gateway

    verdict = explain_under(home, read_set(root, layers), asked, int(time.time()))
    return {"verdict": msgspec.to_builtins(verdict)}


def _rests_on(verdict: dict[str, Any], *, chinese: bool) -> list[str]:
    if not verdict.get("policies"):
        return []
    return [f"  {'依据策略' if chinese else 'policies'}: {', '.join(verdict['policies'])}"]


def _parameters(given: list[str]) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in given]
    wrong = [name for name, equals, _ in pairs if not (name and equals)]
    if wrong:
        raise GatewayError("invalid-input", f"`{wrong[0]}` is no parameter: write `name=value`")
    return {name: value for name, _, value in pairs}


def _items(faults: list[dict[str, str]]) -> list[tuple[tuple[str, str], ...]]:
    return [tuple(fault.items()) for fault in faults]


def _checked(checked: Checked) -> dict[str, Any]:
    return {
        "layers": checked.layers,
        "digest": checked.digest,
        "policies": checked.policies,
        "cases": checked.cases,
        "theorems": checked.theorems,
        "sound": checked.is_sound,
        "unread": checked.unread,
    }


def _compared(found: Comparison) -> dict[str, Any]:
    return {
        "old": found.old,
        "new": found.new,
        "grants": found.grants,
        "datasets": found.datasets,
        "calls": found.calls,
        "gaining": found.gaining,
        "losing": found.losing,
        "unsettled": found.unsettled,
        "takes_away": found.takes_away,
        "is_whole": found.is_whole,
        "uncounted": found.uncounted,
    }


def _print_comparison(found: Comparison) -> None:
    out.print(
        f"compared {found.grants} standing grants and {found.datasets} datasets without a grant, {found.calls} calls: "
        f"{len(found.gaining)} grants gain, {len(found.losing)} lose, {len(found.unsettled)} others may lose",
        markup=False,
    )
    if not found.is_whole:
        out.print(NOT_WHOLE, markup=False)
    if not found.differences:
        out.print("nobody gains and nobody loses" + ("" if found.is_whole else " so far"), markup=False)
        return
    print_table(
        "differences",
        ("change", "department", "dataset", "grant", "mode", "from", "before", "after", "by"),
        (
            (
                one.change,
                one.department,
                one.dataset,
                one.grant or "(none)",
                one.mode,
                one.assurance,
                one.before or "as now",
                one.after,
                ", ".join(one.policies),
            )
            for one in found.differences
        ),
    )


def _print_ever(over_all: Sequence[Compared]) -> None:
    """What could ever be, by use and act; what is equal is counted alone."""
    for one in over_all:
        if one.change != "equal":
            out.print(f"over all requests, `{one.action}` is {one.change}", markup=False)
        for word, case in (("no longer", one.lost), ("newly", one.gained)):
            if case is not None:
                out.print(f"  {word} permitted, for example:", markup=False)
                for line in case.lines:
                    out.print(f"    {line}", markup=False)
    if over_all:
        equal = sum(one.change == "equal" for one in over_all)
        out.print(f"over all requests, {equal} of {len(over_all)} uses and acts are equal", markup=False)


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.completed} pairs of department and dataset {task.description}"),
        TimeElapsedColumn(),
        console=err,
        disable=quiet or not err.is_terminal,
        transient=True,
    )
