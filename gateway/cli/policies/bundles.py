"""`gateway policies approve | export | import`: a set as another person, or another gateway, gets to see it.

A bundle is a set of policies with the proof of the record of the act that put it in force: who did that, when, and
that it is this set, is checked with the log's verifier key alone (`gateway.ledger.verify`), far from the gateway.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from gateway.cli.policies.activation import EXAMINE_SECONDS, told
from gateway.cli.shell import DEFAULT_HOME, AsJson, AsOfficer, Home, command, open_api, out, print_json
from gateway.domain.errors import GatewayError
from gateway.domain.policies import IN_FORCE_STEPS, PolicySet
from gateway.domain.texts import digest_in
from gateway.policy.offline.activating import set_faults

FORMAT = "sharing-gateway policies 1"
MAX_BUNDLE_BYTES = 64 << 20


@command
def approve(
    number: Annotated[int, typer.Argument(min=1, help="The number of the proposal: see `gateway policies history`.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and compare, and put nothing in force.")] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Put the policies in force that another person proposed, examined anew."""
    with open_api(home, officer) as api:
        found = api.get(f"/v1/policies/activations/{number}/set")
        if found["step"].get("proposed") is None:
            raise GatewayError("conflict", f"step {number} proposes nothing: it is `{found['step']['step']}`")
        if dry_run:
            body = {"layers": found["layers"], "files": found["files"]}
            said = api.post("/v1/policies/compare", body, timeout_seconds=EXAMINE_SECONDS)
            answer = {"checked": said["checked"], "proving": said["proving"], "loss": said["comparison"]}
        else:
            body = {"number": number, "set": found["step"]["set"]}
            answer = api.post("/v1/policies/approval", body, timeout_seconds=EXAMINE_SECONDS)
    told(answer, as_json=as_json)


@command
def export(
    file: Annotated[Path, typer.Argument(help="Where the bundle is written; a file that is there is not replaced.")],
    number: Annotated[
        int | None,
        typer.Option(min=1, help="The step of the history; default: what put the present policies in force."),
    ] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Write a set of policies that was put in force, with the proof of that act's record, to FILE."""
    with open_api(home, officer) as api:
        if number is None:
            since = api.get("/v1/policies")["since"]
            if since is None:
                raise GatewayError(
                    "conflict", "the policies of the settings are in force, which no act put there: `activate` does"
                )
            number = int(since["number"])
        found = api.get(f"/v1/policies/activations/{number}/set")
        step, record = found["step"]["step"], found["step"].get("record")
        if not record:
            raise GatewayError("conflict", f"step {number} was no act: it has no record that proves anything")
        if step not in IN_FORCE_STEPS:
            raise GatewayError("conflict", f"step {number} is `{step}`: it put no policies in force")
        proof = api.text(f"/v1/records/{record}/proof")
    bundle = {"format": FORMAT, "layers": found["layers"], "files": found["files"], "record": record, "proof": proof}
    _write_new(file, json.dumps(bundle, ensure_ascii=False, indent=1).encode() + b"\n")
    if as_json:
        print_json({"file": str(file), "set": found["step"]["set"], "record": record})
        return
    out.print(f"{file}: {' + '.join(found['layers'])} ({found['step']['digest'][:16]}), record {record}", markup=False)


@command
def import_(
    file: Annotated[Path, typer.Argument(help="A bundle that `gateway policies export` wrote.")],
    key: Annotated[
        str,
        typer.Option(
            "--key", envvar="GATEWAY_LOG_KEY", help="The verifier key of the log of the gateway it came from."
        ),
    ],
    root: Annotated[
        Path | None, typer.Option(help="An empty or new folder to write the policies to, for `activate`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle, say who put its policies in force and when, and with `--root` write them to a folder."""
    policies, entry = read_bundle(file, key)
    if root is not None:
        if root.exists() and any(root.iterdir()):
            raise GatewayError("conflict", f"`{root}` is not empty")
        for name, text in policies.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_new(path, text.encode("utf-8"))
    said = {name: str(entry.get(name) or "") for name in ("id", "step", "officer", "digest", "reason")}
    if as_json:
        print_json({"set": policies.id, "layers": policies.layers, "files": sorted(policies.files), "record": said})
        return
    out.print(
        f"verified: {' + '.join(policies.layers)} ({said['digest'][:16]}), {len(policies.files)} files", markup=False
    )
    # Why is told by that gateway alone, where it can be erased; a record of before has it in words.
    why = said["reason"] if said["reason"] and digest_in(said["reason"]) is None else "-"
    out.print(f"  record {said['id']}: {said['step']} by {said['officer']}: {why}", markup=False)
    out.print("  not shown: why, and whether other policies were put in force since; ask its auditors", markup=False)
    if root is not None:
        layers = ",".join(policies.layers)
        out.print(f"  put it in force here: gateway policies activate {root} --layers {layers}", markup=False)


def read_bundle(file: Path, key: str) -> tuple[PolicySet, dict[str, Any]]:
    """The set of a bundle, and the entry of the record that proves it.

    Raises:
        GatewayError: `invalid-input` where it is no bundle; `verification-failed` where proof and set do not fit.
    """
    from gateway.ledger.log.proofs import parse_proof  # noqa: PLC0415 -- the other commands need no ledger
    from gateway.ledger.verify.record import parse_key, verify_record  # noqa: PLC0415 -- as above
    from gateway.ledger.verify.report import VerificationFailed  # noqa: PLC0415 -- as above

    policies, record, proof = _parsed(file)
    verify_record(proof, parse_key(key).text(), record=record)
    # By the parser that has verified it: no second meaning of the same octets.
    entry: dict[str, Any] = msgspec.json.decode(parse_proof(proof).extra, type=dict[str, Any])
    # One that was proposed, or tried in the shadow, has a record too, and was not put in force by it.
    if (
        entry.get("kind") != "policy"
        or entry.get("step") not in IN_FORCE_STEPS
        or entry.get("policy_set") != policies.id
    ):
        raise VerificationFailed(str(file), "the record is not of an act that put this set of policies in force")
    return policies, entry


def _parsed(file: Path) -> tuple[PolicySet, str, bytes]:
    if not file.is_file():
        raise GatewayError("not-found", f"`{file}` is not there")
    if file.stat().st_size > MAX_BUNDLE_BYTES:
        raise GatewayError("invalid-input", f"`{file}` is no bundle: it is longer than {MAX_BUNDLE_BYTES >> 20} MiB")
    try:
        found = json.loads(file.read_bytes())
        is_bundle = found["format"] == FORMAT
        layers, files, record, proof = found["layers"], found["files"], found["record"], found["proof"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise GatewayError("invalid-input", f"`{file}` is no bundle of policies") from error
    is_bundle = is_bundle and isinstance(layers, list) and isinstance(files, dict)
    if not is_bundle or not all(isinstance(each, str) for each in (*layers, *files.values(), record, proof)):
        raise GatewayError("invalid-input", f"`{file}` is no bundle of policies")
    policies = PolicySet(tuple(layers), files)
    # Their names are paths below a root: none leads out of it.
    faults = set_faults(policies)
    if faults:
        raise GatewayError("invalid-input", f"`{file}` is no bundle of policies", faults=faults)
    return policies, record, proof.encode("utf-8", "replace")


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, for its owner alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise GatewayError("conflict", f"`{path}` is there already, and is not replaced") from error
    except OSError as error:
        raise GatewayError("invalid-input", f"cannot write `{path}`: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as written:
        written.write(content)
