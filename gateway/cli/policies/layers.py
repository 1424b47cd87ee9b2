"""`gateway policies test`, `new` and `fmt`: for whoever writes a layer."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree as ET

import msgspec
import typer

from gateway.cli.policies.shared import LayerNames, Root, layer_sets
from gateway.cli.shell import AsJson, command, err, out, print_json
from gateway.domain.errors import GatewayError
from gateway.ledger.durable import make_directory, replace_file
from gateway.policy.law.layers import (
    ARTICLES_FILE,
    PROOFS_FILE,
    SCHEMA_FILE,
    default_policies_root,
    parse_layers,
    read_set,
)
from gateway.policy.law.positions import Lines, parse_faults
from gateway.policy.law.scopes import NATIONAL
from gateway.policy.offline.coverage import Coverage, covered
from gateway.policy.offline.tables import Outcome, Table, read_tables, run_case
from gateway.policy.offline.writing import first_layer, laid_out


@command
def run_the_tables(
    *,
    root: Root = None,
    layer: LayerNames = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print every case.")] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Say which policies decide no case, and which conditions none fails by.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write what came out there, as JUnit's XML.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the decision tables beside the policies. Exit status 1 where a case comes out otherwise."""
    folder = root or default_policies_root()
    names = tuple(dict.fromkeys(name for one in layer_sets(folder, layer) for name in one))
    found = read_set(folder, names)
    tables = read_tables(found)
    known = {under: parse_layers(found.files, under) for under in dict.fromkeys(table.layers for table in tables)}
    of_tables = [(table, [run_case(known[table.layers], case) for case in table.cases]) for table in tables]
    outcomes = [outcome for _, each in of_tables for outcome in each]
    decided = [
        (layers, [outcome for table, each in of_tables if table.layers == under for outcome in each])
        for under, layers in known.items()
    ]
    shown = covered(decided) if coverage else ()
    if junit is not None:
        _write_report(junit, of_tables)
    if as_json:
        cases = [{"table": one.case.table, "case": one.case.name, "fault": one.fault or None} for one in outcomes]
        print_json({"cases": cases, "coverage": msgspec.to_builtins(shown)} if coverage else cases)
    else:
        _print_outcomes(outcomes, verbose=verbose)
        for one in shown:
            _print_coverage(one)
    if any(outcome.fault for outcome in outcomes):
        raise typer.Exit(1)


@command
def new(
    name: Annotated[str, typer.Argument(help="The layer's name, such as that of its region.")],
    root: Annotated[
        Path,
        typer.Option("--root", help="Folder of the layers; where there is none, the shipped national layer goes in."),
    ],
    region: Annotated[
        str | None,
        typer.Option("--region", help="The division code of the region whose layer it is; it acts on that alone."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a layer to begin with: one rule with its table, which passes its check, in ROOT/NAME."""
    files = first_layer(name, region)
    if (root / name).exists():
        raise GatewayError("conflict", f"`{root / name}` is there already: choose another name, or go on in it")
    if root.exists() and not ((root / SCHEMA_FILE).is_file() and (root / NATIONAL).is_dir()):
        advice = "name a folder of layers, or one that is not yet there"
        raise GatewayError("invalid-input", f"`{root}` holds no `{SCHEMA_FILE}` beside `{NATIONAL}`: {advice}")
    _make(root, name, files)
    if as_json:
        print_json({"root": str(root), "layers": [NATIONAL, name], "files": sorted(files)})
        return
    for file in sorted(files):
        out.print(f"wrote {root / file}", markup=False)
    options = f"--root {root} --layer {NATIONAL} --layer {name}"
    out.print(f"next: gateway policies check {options}", markup=False)
    out.print(f"      gateway policies test {options} --coverage", markup=False)
    out.print(f"      gateway policies activate {root} --layers {NATIONAL},{name} --dry-run", markup=False)


@command
def fmt(
    files: Annotated[list[Path], typer.Argument(help="Cedar files, or folders with some.", show_default=False)],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit status 1 where a file would be written.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Lay Cedar files out as Cedar's own formatter does; what they say stays, and so do comments."""
    chosen = {file: sorted(file.rglob("*.cedar")) if file.is_dir() else [file] for file in files}
    for file, found in chosen.items():
        if not found:
            raise GatewayError("invalid-input", f"`{file}` holds no `*.cedar`")
    texts = {file: _text(file) for found in chosen.values() for file in found}
    faults = [
        {"field": Lines(text).place(str(file), at), "fault": fault}
        for file, text in texts.items()
        for at, fault in parse_faults(text)
    ]
    if faults:
        raise GatewayError("invalid-input", "nothing was written: some of it is no Cedar", faults=faults)
    changed = {file: formatted for file, text in texts.items() if (formatted := laid_out(text)) != text}
    for file, formatted in {} if check else changed.items():
        _write(file, formatted)
    if as_json:
        print_json({"files": len(texts), "changed": [str(file) for file in changed], "written": not check})
    else:
        for file in changed:
            out.print(f"{'would write' if check else 'wrote'} {file}", markup=False)
        out.print(f"{len(texts)} files, {len(changed)} {'to be ' if check else ''}laid out anew", markup=False)
    if check and changed:
        raise typer.Exit(1)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise GatewayError("invalid-input", f"`{file}` cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise GatewayError("invalid-input", f"`{file}` is not UTF-8: byte {error.start}") from error


def _write(file: Path, text: str) -> None:
    """A file's new text; its mode stays, for others of a department may read and write it, and so does a link to it."""
    target = file.resolve()
    mode = target.stat().st_mode
    replace_file(target, text.encode())
    target.chmod(mode & 0o777)


def _make(root: Path, name: str, files: Mapping[str, str]) -> None:
    """The layer in its root, whole or not at all: what is half made stands beside, and goes where it fails."""
    is_first = not root.exists()
    made = root if is_first else root / name
    make_directory(made.parent)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=made.parent) as beside:
        whole = Path(beside) / "policies"
        if is_first:
            _copy_shipped(whole)
        for file, text in files.items():
            (whole / file).parent.mkdir(parents=True, exist_ok=True)
            (whole / file).write_text(text, encoding="utf-8")
        try:
            (whole if is_first else whole / name).rename(made)
        except OSError as error:
            if made.exists():
                raise GatewayError("conflict", f"`{made}` was made meanwhile: look at what is there") from error
            raise


def _copy_shipped(root: Path) -> None:
    shipped = default_policies_root()
    root.mkdir()
    for name in (SCHEMA_FILE, ARTICLES_FILE, PROOFS_FILE):
        shutil.copyfile(shipped / name, root / name)
    shutil.copytree(shipped / NATIONAL, root / NATIONAL)


def _print_outcomes(outcomes: Sequence[Outcome], *, verbose: bool) -> None:
    for outcome in outcomes:
        if outcome.fault:
            err.print(f"WRONG  {outcome.case.table}: {outcome.case.name}: {outcome.fault}", markup=False)
        elif verbose:
            out.print(f"right  {outcome.case.table}: {outcome.case.name}", markup=False)
    failed = sum(bool(outcome.fault) for outcome in outcomes)
    out.print(f"{len(outcomes)} cases, {failed} wrong", markup=False)


def _print_coverage(one: Coverage) -> None:
    decided, conditions = one.policies - len(one.undecided), one.conditions - len(one.unshown)
    out.print(
        f"{one.layer}: {decided} of {one.policies} policies decide a case; "
        f"of their {one.conditions} conditions {conditions} are what some case fails by alone",
        markup=False,
    )
    for name in one.undecided:
        out.print(f"  {name}: decides no case", markup=False)
    for name, condition in one.unshown:
        out.print(f"  {name}: no case fails by this alone: {condition}", markup=False)


def _write_report(file: Path, of_tables: Sequence[tuple[Table, Sequence[Outcome]]]) -> None:
    if not file.parent.is_dir():
        raise GatewayError("invalid-input", f"`{file.parent}` is no folder: make it, or name another for the report")
    replace_file(file, _junit(of_tables))


def _junit(of_tables: Sequence[tuple[Table, Sequence[Outcome]]]) -> bytes:
    """What came out, one suite a table (the form that build servers read)."""
    suites = ET.Element("testsuites", name="decision tables")
    for table, outcomes in of_tables:
        failures = str(sum(bool(one.fault) for one in outcomes))
        suite = ET.SubElement(suites, "testsuite", name=_xml(table.file), tests=str(len(outcomes)), failures=failures)
        for one in outcomes:
            case = ET.SubElement(suite, "testcase", classname=_xml(table.file), name=_xml(one.case.name))
            if one.fault:
                ET.SubElement(case, "failure", message=_xml(one.fault))
    written: bytes = ET.tostring(suites, "utf-8", xml_declaration=True)
    return written


def _xml(text: Any) -> str:
    """Text without what no XML document may hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(text))
