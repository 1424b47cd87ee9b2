"""`gateway policies prove`: the sentences of the law, proved of the policies over every request there can be."""

from typing import Annotated, Any

import msgspec
import typer
import yaml
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from gateway.cli.policies.shared import LayerNames, Root, layer_sets
from gateway.cli.shell import AsJson, command, err, out, print_json
from gateway.domain.errors import GatewayError
from gateway.domain.policies import Proved
from gateway.policy.law.layers import default_policies_root, read_set
from gateway.policy.proofs.kept import proved_of, write_proofs
from gateway.policy.proofs.proving import Proof, prove
from gateway.policy.proofs.solver import find_tools


@command
def prove_(
    root: Root = None,
    layer: LayerNames = None,
    theorem: Annotated[
        list[str] | None, typer.Option("--theorem", help="A theorem's or policy's id, repeated; default: all.")
    ] = None,
    chinese: Annotated[bool, typer.Option("--chinese", "--zh", help="Counterexamples in Chinese.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep what came of it below the root, as `proofs.json`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove the theorems of each layer, and of each policy that it never errs, can matter and says more than others.

    A refuted one is told with a case that is decided otherwise, and with a row for a decision table. Exit status 1 on
    anything but proved. Needs `cedar` with its feature `analyze`, and `cvc5`.
    """
    tools = find_tools()
    folder = root or default_policies_root()
    found: list[Proof] = []
    kept: list[Proved] = []
    if keep and theorem:
        raise GatewayError("invalid-input", "the results of some theorems are not kept: leave out `--theorem`")
    with _progress(quiet=as_json) as progress:
        task = progress.add_task("questions answered", total=None)
        for names in layer_sets(folder, layer):
            of = read_set(folder, names)
            proofs = prove(of, tools, only=theorem or (), progress=lambda: progress.advance(task))
            kept.append(proved_of(of, proofs, tools))
            found += proofs
    if keep:
        write_proofs(folder, kept)
    if theorem and not set(theorem) <= {proof.subject for proof in found}:
        raise GatewayError("invalid-input", f"no theorem or policy is called {sorted(set(theorem))}")
    if as_json:
        print_json({"tools": tools.versions, "proofs": msgspec.to_builtins(found)})
    else:
        for proof in found:
            _print_refuted(proof, chinese=chinese)
        for line in proof_lines(found):
            out.print(line, markup=False)
        out.print(f"by {' and '.join(tools.versions)}", markup=False)
    if any(proof.result != "proved" for proof in found):
        raise typer.Exit(1)


def proof_lines(found: list[Proof]) -> list[str]:
    """How many theorems and policies are proved, a line a combination of layers."""
    lines = []
    for layers in dict.fromkeys(proof.layers for proof in found):
        of = [proof for proof in found if proof.layers == layers]
        theorems = [proof for proof in of if proof.statement == "theorem"]
        others = [proof for proof in of if proof.statement != "theorem"]
        lines.append(
            f"{' + '.join(layers)}: {_proved(theorems)} of {len(theorems)} theorems proved, and {_proved(others)} of "
            f"{len(others)} statements about {len({proof.subject for proof in others})} policies"
        )
    return lines


def _proved(proofs: list[Proof]) -> int:
    return sum(proof.result == "proved" for proof in proofs)


def _print_refuted(proof: Proof, *, chinese: bool) -> None:
    if proof.result == "proved":
        return
    under = " + ".join(proof.layers)
    out.print(f"{proof.result.upper()}  {proof.subject} ({proof.statement}; {under}): {proof.what}", markup=False)
    if proof.case is None:
        return
    out.print("  允许了这样的情形：" if chinese else "  this case is decided otherwise:", markup=False)
    for line in proof.case.lines_zh if chinese else proof.case.lines:
        out.print(f"    {line}", markup=False)
    if proof.case.row:
        out.print("  as a row of a decision table:", markup=False)
        for line in row_lines(proof.case.row):
            out.print(f"    {line}", markup=False)


def row_lines(row: dict[str, Any]) -> list[str]:
    """A row of a decision table, as it stands in the file."""
    text = yaml.safe_dump([row], allow_unicode=True, sort_keys=False, default_flow_style=None, width=110)
    return text.rstrip().splitlines()


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.completed} {task.description}"),
        TimeElapsedColumn(),
        console=err,
        disable=quiet or not err.is_terminal,
        transient=True,
    )
