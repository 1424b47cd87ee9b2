"""`gateway verify`: needs what is verified and the log's verifier key, nothing of the gateway."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gateway.cli.shell import AsJson, command, err, out, print_json, working
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.ledger.verify.over_http import HttpLog
    from gateway.ledger.verify.over_s3 import StoredLog
    from gateway.ledger.verify.report import Checked


class Walk(NamedTuple):
    """How a log at an address is to be read."""

    resume: Path | None
    tree_only: bool
    accept_pruned: bool


@command
def verify(
    target: Annotated[
        str,
        typer.Argument(
            help="A tlog-proof of a record, an export, a log's folder, or the address at which a log is served or kept "
            "(`https://gateway.example/log`, `s3://bucket/prefix/origin`)."
        ),
    ],
    key: Annotated[
        str,
        typer.Option(
            "--key", envvar="GATEWAY_LOG_KEY", help="The log's verifier key (`name+id+base64`), or a file with it."
        ),
    ],
    record: Annotated[
        str | None, typer.Option("--record", help="The record that a proof has to be of; of another it fails.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            help="Of a log at an address: the file that keeps how far it was verified, and from which it goes on.",
        ),
    ] = None,
    tree_only: Annotated[
        bool, typer.Option("--tree-only", help="Of a log at an address: check its hashes, and ask for no entries.")
    ] = False,
    accept_pruned: Annotated[
        bool,
        typer.Option(
            "--accept-pruned",
            help="Of a log at an address: let entries be missing below its minimum index, though no record in it says "
            "why, as in another program's log.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Verify a record's proof, an export or a whole log, trusting nobody."""
    working(f"verifying {target}", quiet=as_json)
    from gateway.ledger.verify.record import parse_key  # noqa: PLC0415 -- loads the ledger, which help does not need

    verifier_key = parse_key(key).text()
    if "://" in target:
        if record is not None:
            raise GatewayError("invalid-input", "`--record` goes with the proof of a record; this is a log's address")
        walk = Walk(resume, tree_only, accept_pruned)
        checked = _verify_served(target, verifier_key, walk, quiet=as_json)
    else:
        if resume is not None or tree_only or accept_pruned:
            raise GatewayError(
                "invalid-input",
                "`--resume`, `--tree-only` and `--accept-pruned` go with a log at an address; a folder is read whole",
            )
        checked = _verify_file(Path(target), verifier_key, record, quiet=as_json)
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


def _verify_file(target: Path, verifier_key: str, record: str | None, *, quiet: bool) -> "Checked":
    from gateway.ledger.log.export_names import manifest_path  # noqa: PLC0415 -- as above
    from gateway.ledger.verify.record import verify_export, verify_record  # noqa: PLC0415 -- as above

    if not target.exists():
        raise GatewayError("not-found", f"`{target}` is not there")
    is_proof = target.is_file() and _begins_as_proof(target)
    if record is not None and not is_proof:
        raise GatewayError("invalid-input", f"`--record` goes with the proof of a record; `{target}` is none")
    if target.is_dir():
        return _verify_log(target, verifier_key, quiet=quiet)
    if manifest_path(target).exists():
        return verify_export(target, verifier_key)
    if is_proof:
        return verify_record(target, verifier_key, record=record)
    raise GatewayError("invalid-input", f"`{target}` is no proof, and no manifest stands beside it")


def _begins_as_proof(file: Path) -> bool:
    from gateway.ledger.log.proofs import PROOF_HEADER  # noqa: PLC0415 -- as above

    with file.open("rb") as content:
        return content.read(len(PROOF_HEADER)) == PROOF_HEADER.encode()


def _verify_log(directory: Path, verifier_key: str, *, quiet: bool) -> "Checked":
    from gateway.ledger.verify.log import verify_log  # noqa: PLC0415 -- as above

    with _bar(quiet=quiet) as progress:
        return verify_log(directory, verifier_key, progress=progress)


def _verify_served(url: str, verifier_key: str, walk: Walk, *, quiet: bool) -> "Checked":
    from gateway.ledger.log.notes import parse_verifier_key  # noqa: PLC0415 -- as above
    from gateway.ledger.verify.walk import verify_source  # noqa: PLC0415 -- as above

    source = _stored(url) if url.startswith("s3://") else _served(url)
    try:
        with _bar(quiet=quiet) as progress:
            return verify_source(
                source,
                parse_verifier_key(verifier_key),
                resume=walk.resume,
                trees_only=walk.tree_only,
                accept_pruned=walk.accept_pruned,
                progress=progress,
            )
    finally:
        source.close()


def _stored(url: str) -> "StoredLog":
    from gateway.ledger.archive.target import Target, parse_address  # noqa: PLC0415 -- as above
    from gateway.ledger.verify.over_s3 import StoredLog  # noqa: PLC0415 -- as above

    return StoredLog(Target(*parse_address(url)))


def _served(url: str) -> "HttpLog":
    from gateway.ledger.verify.over_http import HttpLog  # noqa: PLC0415 -- as above
    from gateway.runtime.operation.session.remote import Bearer, auth_of, kept_session, trust  # noqa: PLC0415 -- as above
    from gateway.runtime.operation.session.sessions import SessionFolder  # noqa: PLC0415 -- as above

    given, control = os.environ.get("GATEWAY_TOKEN"), url.rstrip("/").removesuffix("/log")
    session = None if given else kept_session(SessionFolder(), control)
    auth = Bearer(given) if given else auth_of(session, control) if session else None
    return HttpLog(url, auth=auth, trust=trust())


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import Progress  # noqa: PLC0415 -- as above

    with Progress(console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("verifying", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
