"""`gateway verify`: the offline verifier. It needs the file and the log's verifier key, nothing of the gateway."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.shell import AsJson, command, err, out, print_json, working
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.ledger.verify.report import Checked


@command
def verify(
    target: Annotated[Path, typer.Argument(help="A tlog-proof of a record, an export, or a log's folder.")],
    key: Annotated[
        str,
        typer.Option(
            "--key", envvar="GATEWAY_LOG_KEY", help="The log's verifier key (`name+id+base64`), or a file with it."
        ),
    ],
    record: Annotated[
        str | None, typer.Option("--record", help="The record that a proof has to be of; of another it fails.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a record's proof, an export or a whole log, offline."""
    working(f"verifying {target}", quiet=as_json)
    from gateway.ledger.log.export_names import manifest_path  # noqa: PLC0415 -- loads the ledger, which help does not need
    from gateway.ledger.verify.record import parse_key, verify_export, verify_record  # noqa: PLC0415 -- the same

    verifier_key = parse_key(key).text()
    if not target.exists():
        raise GatewayError("not-found", f"`{target}` is not there")
    is_proof = target.is_file() and _begins_as_proof(target)
    if record is not None and not is_proof:
        raise GatewayError("invalid-input", f"`--record` goes with the proof of a record; `{target}` is none")
    if target.is_dir():
        checked = _verify_log(target, verifier_key, quiet=as_json)
    elif manifest_path(target).exists():
        checked = verify_export(target, verifier_key)
    elif is_proof:
        checked = verify_record(target, verifier_key, record=record)
    else:
        raise GatewayError("invalid-input", f"`{target}` is no proof, and no manifest stands beside it")
    if as_json:
        print_json(checked)
        return
    out.print(f"[bold]{checked.what} verified[/bold]: log {json.dumps(checked.origin)} at {checked.size} leaves")
    if checked.record is not None:
        said = checked.record
        grant = "no grant named" if said.grant is None else f"grant {json.dumps(said.grant)}"
        out.print(f"  record {said.id}: {said.kind}, {said.time}, {grant}", markup=False)
    for sentence in checked.checked:
        out.print(f"  holds: {sentence}", markup=False)
    for sentence in checked.not_checked:
        out.print(f"  not shown: {sentence}", markup=False)


def _begins_as_proof(file: Path) -> bool:
    from gateway.ledger.log.proofs import PROOF_HEADER  # noqa: PLC0415 -- as above

    with file.open("rb") as content:
        return content.read(len(PROOF_HEADER)) == PROOF_HEADER.encode()


def _verify_log(directory: Path, verifier_key: str, *, quiet: bool) -> "Checked":
    from rich.progress import Progress  # noqa: PLC0415 -- as above

    from gateway.ledger.verify.log import verify_log  # noqa: PLC0415 -- as above

    with Progress(console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("verifying", total=None)
        return verify_log(directory, verifier_key, progress=lambda done, of: bar.update(task, completed=done, total=of))
