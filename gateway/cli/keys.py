"""`gateway keys` and `gateway officers`: the keys everything rests on, and the people who act."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.shell import (
    DEFAULT_HOME,
    AsJson,
    AsOfficer,
    Home,
    Url,
    command,
    err,
    home_at,
    is_elsewhere,
    open_api,
    out,
    print_json,
    print_table,
    read_secret,
)
from gateway.domain.errors import GatewayError
from gateway.domain.officers import AUDITOR, OPERATOR, Role

if TYPE_CHECKING:
    from gateway.runtime.home import GatewayHome

keys = typer.Typer(
    name="keys", help="List and rotate the gateway's keys; register keys of older contracts.", no_args_is_help=True
)
legacy = typer.Typer(
    name="legacy", help="Keys of the contracts that existing sharing platforms' callers speak.", no_args_is_help=True
)
officers = typer.Typer(
    name="officers",
    help="Register officers, give them codes for a password, sign their tokens.",
    no_args_is_help=True,
)
keys.add_typer(legacy)

Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the record.")]
SystemName = Annotated[str, typer.Argument(help="The system's id.")]
ContractName = Annotated[str, typer.Argument(help="gjgxjhpt, gjzwfwpt, zhejiang or guangdong.")]
KeyName = Annotated[str, typer.Argument(help="What the caller sends to name the key (rid, access key, paasid).")]
OfAuditor = Annotated[bool, typer.Option("--auditor", help="Of an auditor: acts as the home's auditor by default.")]
OfficerName = Annotated[str, typer.Argument(help="The officer's id.")]


@keys.command("make")
@command
def make(
    file: Annotated[Path, typer.Argument(help="Where to write the private key, PEM; the public JWK goes beside it.")],
    as_json: AsJson = False,
) -> None:
    """Make a demand system's key: FILE for the system alone, FILE.jwk for `gateway systems add --key`."""
    from gateway.runtime.operation.formats import new_key  # noqa: PLC0415 -- loads what no other command needs

    public = file.with_name(f"{file.name}.jwk")
    if public.exists():
        raise GatewayError("conflict", f"`{public}` exists already")
    pem, jwk = new_key()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise GatewayError("conflict", f"`{file}` exists already") from error
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(pem)
    public.write_text(json.dumps(jwk, indent=2) + "\n", "utf-8")
    if as_json:
        print_json({"private": str(file), "public": str(public), "kid": jwk["kid"]})
    else:
        out.print(f"private key {file}, for the system alone; public key {public}, kid {jwk['kid']}", markup=False)


@keys.command("list")
@command
def list_keys(home: Home = DEFAULT_HOME, officer: AsOfficer = None, as_json: AsJson = False) -> None:
    """List every key: purpose, name, algorithm, age and state; the log's origin and verifier key; never a secret."""
    with open_api(home, officer, otherwise=_operator()) as api:
        found = api.get("/v1/keys")["keys"]
    origin, verifier_key = (None, None) if is_elsewhere() else _log_identity(home_at(home))
    if as_json:
        print_json({"keys": found, "origin": origin, "verifier_key": verifier_key})
        return
    rows = [
        (key["purpose"], key["id"], key["algorithm"], _day(key["created_unix"]), key["state"], _until(key))
        for key in found
    ]
    print_table("keys", ("purpose", "name", "algorithm", "made", "state", "verifies until"), rows)
    if origin is None:
        return
    out.print(f"log: {origin}", markup=False)
    out.print(f"verifier key, for auditors: {verifier_key or 'the key ring cannot be read from here'}", markup=False)


def _log_identity(home: "GatewayHome") -> tuple[str, str | None]:
    """The log's origin and verifier key; no key where the ring cannot be read."""
    from gateway.ledger.log.notes import ED25519, VerifierKey  # noqa: PLC0415 -- loads the keys
    from gateway.runtime.ring import open_ring  # noqa: PLC0415 -- the same

    settings = home.settings()
    origin = home.origin(settings)
    try:
        signer = open_ring(home, settings, frozenset({"log"})).log_signer(origin)
    except GatewayError:
        return origin, None
    return origin, VerifierKey(origin, ED25519, signer.public_bytes).text()


@keys.command("rotate")
@command
def rotate(
    purpose: Annotated[str, typer.Argument(help="token, log, witness, pseudonym or field.")],
    reason: Reason,
    overlap: Annotated[
        int, typer.Option("--overlap", help="Seconds the replaced token key still verifies; 0 withdraws it at once.")
    ] = 3600,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Make a new key for a purpose and put it in use; the rotation is recorded first."""
    body = {"reason": reason, "overlap_seconds": overlap}
    with open_api(home, officer, otherwise=_operator()) as api:
        answer = api.post(f"/v1/keys/{purpose}/rotation", body)
    if as_json:
        print_json(answer)
        return
    rotation = answer["rotation"]
    out.print(f"rotated the {purpose} key: `{rotation['new']}` is in use; record {answer['record']}", markup=False)
    if purpose == "log":
        out.print("the ledger signs with it from its next start: give auditors the new verifier key", markup=False)


@keys.command("bundle")
@command
def bundle(
    file: Annotated[Path, typer.Argument(help="Where to write it; it must not be there yet.")],
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Write the whole ring as one document: for $GATEWAY_KEYS, or the systemd credential `gateway-keys`."""
    from gateway.runtime.operation.recovery.ring_document import write_ring_document  # noqa: PLC0415 -- loads the keys

    count = write_ring_document(home, file)
    if as_json:
        print_json({"file": str(file), "keys": count})
    else:
        out.print(f"wrote {count} keys to {file}; it is as secret as the ring itself", markup=False)


@legacy.command("add")
@command
def add_legacy(
    system: SystemName,
    contract: ContractName,
    name: KeyName,
    purpose: Annotated[str, typer.Option("--purpose", help="The one purpose the key is bound to.")],
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Register a key of an older contract; its secret is read from standard input or asked for."""
    body = {"purpose": purpose, "secret": read_secret("secret")}
    with open_api(home, officer) as api:
        answer = api.put(f"/v1/systems/{system}/legacy-keys/{contract}/{name}", body)
    _say(answer, f"registered key `{name}` of {contract} for system `{system}`", as_json=as_json)


@legacy.command("withdraw")
@command
def withdraw_legacy(
    system: SystemName,
    contract: ContractName,
    name: KeyName,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a key of an older contract: nothing is taken under it once this returns."""
    with open_api(home, officer) as api:
        answer = api.delete(f"/v1/systems/{system}/legacy-keys/{contract}/{name}")
    _say(answer, f"withdrew key `{name}` of {contract} from system `{system}`", as_json=as_json)


@officers.command("list")
@command
def list_officers(
    department: Annotated[str | None, typer.Option("--department", help="Only this department's.")] = None,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """List officers whom you may manage, or whose records you may read."""
    with open_api(home, officer) as api:
        found = api.get("/v1/officers", department=department, limit=1000)["items"]
    if as_json:
        print_json({"officers": found})
        return
    rows = [
        (each["id"], each["department"], each["region"], ", ".join(each["roles"]), _state(each), each.get("name", ""))
        for each in found
    ]
    print_table("officers", ("officer", "department", "region", "roles", "state", "name"), rows)


@officers.command("add")
@command
def add_officer(
    name: OfficerName,
    department: Annotated[str, typer.Option("--department", help="The officer's department.")],
    region: Annotated[str, typer.Option("--region", help="Division code the officer's competence covers.")],
    role: Annotated[list[Role], typer.Option("--role", help="A role; repeat for several.")],
    person: Annotated[str, typer.Option("--name", help="The officer's name, for people.")] = "",
    dismissed: Annotated[bool, typer.Option("--dismissed", help="Dismiss: nothing is let through any more.")] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Register an officer, or change one; what each role may do is the policies' answer.

    Auditors are registered by an auditor: by the one that `gateway init` made, unless another is named.
    """
    body = {
        "id": name,
        "department": department,
        "region": region,
        "roles": [each.value for each in role],
        "name": person,
        "active": not dismissed,
    }
    with open_api(home, officer, otherwise=_appointer(of_auditor=role == [Role.AUDITOR])) as api:
        answer = api.post("/v1/officers", body)
    _say(answer, f"officer `{name}` is {'dismissed' if dismissed else 'registered'}", as_json=as_json)


@officers.command("enrol")
@command
def enrol(
    name: OfficerName,
    auditor: OfAuditor = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Print a one-time code by which an officer sets a first password, on record; hand it to the officer."""
    with open_api(home, officer, otherwise=_appointer(of_auditor=auditor)) as api:
        answer = api.post(f"/v1/officers/{name}/enrolment", None)
    _say_code(name, answer, as_json=as_json)


@officers.command("recover")
@command
def recover(
    name: OfficerName,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; the first of two persons says it.")] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Agree to it, as the second person.")] = False,
    auditor: OfAuditor = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Have an officer set another password: one person asks, another agrees and is given a one-time code."""
    if approve is (reason is not None):
        raise typer.BadParameter("say `--reason` to ask for it, or `--approve` to agree to it")
    with open_api(home, officer, otherwise=_appointer(of_auditor=auditor)) as api:
        if approve:
            _say_code(name, api.post(f"/v1/officers/{name}/recovery/approval", None), as_json=as_json)
            return
        answer = api.post(f"/v1/officers/{name}/recovery", {"reason": reason})
    _say(answer, f"another password is asked for `{name}`: another person runs this with --approve", as_json=as_json)


@officers.command("password")
@command
def set_password(
    name: OfficerName,
    by_code: Annotated[bool, typer.Option("--code", help="By the one-time code that was handed over.")] = False,
    url: Url = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Set your own password: by the one you have, or by a one-time code; both are read from standard input or asked."""
    held = read_secret("code" if by_code else "password that holds now")
    password = read_secret("new password", twice=True)
    if by_code and url is not None:
        answer = _set_elsewhere(url, name, held, password)
    else:
        with open_api(home, name if url is None else None) as api:
            if by_code:
                answer = api.post("/sign-in/enrolment", {"officer": name, "code": held, "password": password})
            else:
                answer = api.post("/v1/account/password", {"current": held, "password": password})
    if as_json:
        print_json(answer)
    else:
        out.print(f"the password of `{name}` is set; every session of before has ended", markup=False)


def _set_elsewhere(url: str, name: str, code: str, password: str) -> dict[str, Any]:
    """Nobody is signed in yet: whoever sets the password is from then on."""
    from gateway.runtime.operation.session.sessions import SessionFolder  # noqa: PLC0415 -- help needs none of it
    from gateway.runtime.operation.session.signing_in import by_code, find_door  # noqa: PLC0415 -- the same

    with find_door(DEFAULT_HOME, url) as door:
        session = by_code(door, name, code, password).session
    SessionFolder().keep(session)
    return {"officer": session.officer, "url": session.url, "expires_unix": session.expires_unix}


@officers.command("authenticator")
@command
def authenticator(
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw it, by a last code of it.")] = False,
    home: Home = DEFAULT_HOME,
    officer: AsOfficer = None,
    as_json: AsJson = False,
) -> None:
    """Add an authenticator to your own local account: its one-time codes are asked for beside the password then."""
    with open_api(home, officer) as api:
        if withdraw:
            answer = api.post("/v1/account/authenticator/withdrawal", {"code": read_secret("one-time code of it")})
        else:
            begun = api.post("/v1/account/authenticator")
            err.print(f"type into your authenticator: {begun['secret']}\nor let it read: {begun['uri']}", markup=False)
            code = read_secret("one-time code that it shows")
            answer = api.post("/v1/account/authenticator/confirmation", {"code": code})
    _say(answer, f"the authenticator {'is withdrawn' if withdraw else 'counts from now on'}", as_json=as_json)


@officers.command("token")
@command
def token(
    name: OfficerName,
    seconds: Annotated[int, typer.Option("--seconds", help="How long it holds, at most 43200.")] = 1800,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Sign a session token of an officer with the keys of this home, and print it."""
    from gateway.runtime.operation.session.officer_tokens import officer_token  # noqa: PLC0415 -- loads the store and the keys

    made = officer_token(home, name, seconds)
    if as_json:
        print_json({"access_token": made, "token_type": "Bearer", "expires_in": seconds})
    else:
        sys.stdout.write(made + "\n")


def _appointer(*, of_auditor: bool) -> str | None:
    """Who acts for auditors where nobody is named: the auditor that `gateway init` made."""
    return AUDITOR if of_auditor else None


def _say_code(name: str, answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    out.print(f"code for `{name}`, good once: {answer['code']}", markup=False)
    out.print(f"the officer runs `gateway officers password {name} --code`; record {answer['record']}", markup=False)


def _operator() -> str:
    """Who acts where nobody is named: the operator that `gateway init` made, since keys are its task."""
    return OPERATOR


def _say(answer: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        out.print(f"{sentence}; record {answer['record']}", markup=False)


def _state(officer: dict[str, Any]) -> str:
    return "active" if officer.get("active", True) else "dismissed"


def _day(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d")


def _until(key: dict[str, Any]) -> str:
    until = key.get("not_after_unix")
    return datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if until else ""
