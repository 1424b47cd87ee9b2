"""`gateway init | serve | status | check | backup | restore | demo`: make a gateway, run it, look at it, keep it."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.shell import DEFAULT_HOME, AsJson, Home, command, err, home_at, out, print_json, print_table, working
from gateway.domain.errors import GatewayError

LOOPBACK = "127.0.0.0/8"
"""Where the sample's suppliers stand."""
SAMPLE_REGION = "440000"
"""Of the sample's departments (`gateway.runtime.demo.world`)."""


@command
def init(  # noqa: PLR0917 -- options of a command, by name
    directory: Annotated[Path | None, typer.Argument(help="The home to make; default: --home.")] = None,
    home: Home = DEFAULT_HOME,
    region: Annotated[
        str | None,
        typer.Option(help="Division code of the competent department's region; asked for at a terminal, else 000000."),
    ] = None,
    department: Annotated[str, typer.Option(help="Id of the competent department of data sharing.")] = "data-bureau",
    suite: Annotated[
        str, typer.Option(help="Ciphers of secrets and pseudonyms: international, or commercial (SM3, SM4).")
    ] = "international",
    tokens: Annotated[str, typer.Option(help="What signs tokens: ES256, EdDSA or SM2.")] = "ES256",
    shared_keys: Annotated[
        Path | None, typer.Option(help="Take the keys that all nodes of one state share; the log gets its own.")
    ] = None,
    suppliers: Annotated[
        list[str] | None,
        typer.Option(help="Network that suppliers' services stand in, such as 10.20.0.0/16; again for each."),
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a database that does not answer yet.")] = 60.0,
    sample: Annotated[
        bool,
        typer.Option("--sample", help="With the demo's directory, grants and officers in it, to try; nobody real."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a home: settings, keys, state, and the competent department's first officer."""
    if sample and region not in {None, SAMPLE_REGION}:
        raise GatewayError("invalid-input", f"the sample's departments are of region {SAMPLE_REGION}")
    if sample:
        region = SAMPLE_REGION
    elif region is None:
        question = "division code (GB/T 2260) of the competent department's region"
        region = str(typer.prompt(question, default="000000")) if sys.stdin.isatty() and not as_json else "000000"
    working(f"making a gateway in {directory or home}", quiet=as_json)
    from gateway.runtime.operation.setup import initialise  # noqa: PLC0415 -- loads the store and the keys, which help does not need

    place = home_at(directory or home)

    def make() -> dict[str, Any]:
        return initialise(
            place,
            region=region,
            department=department,
            suite=suite,
            token_algorithm=tokens,
            shared_keys=shared_keys,
            networks=[LOOPBACK] if sample else suppliers or (),
            wait_seconds=wait,
            say=lambda sentence: err.print(sentence, markup=False),
        )

    if sample:
        from gateway.runtime.demo.sample import make_sample  # noqa: PLC0415 -- loads the client and the suppliers

        made = make_sample(place, make, lambda sentence: working(sentence, quiet=as_json))
    else:
        made = make()
    if as_json:
        print_json(made)
        return
    out.print(f"made a gateway in {made['home']}", markup=False)
    out.print(f"  log: {made['origin']}", markup=False)
    out.print(f"  verifier key, for auditors: {made['verifier_key']}", markup=False)
    out.print(
        f"  disk: {made['bytes_a_use']} bytes for each use as long as it is kept, and 96 MiB a worker for journals; "
        f"{made['free_bytes'] >> 30} GiB are free",
        markup=False,
    )
    if not made["networks"]:
        from gateway.domain.hosts import how_to_name  # noqa: PLC0415 -- as above

        out.print(f"  suppliers: nowhere yet, so no host of theirs can be claimed: {how_to_name()}", markup=False)
    if suite == "commercial" or tokens == "SM2":
        out.print("  SM algorithms are chosen: a choice of algorithms, and no certification", markup=False)
    out.print("what to do next:", markup=False)
    for step in _next_steps(made, sample=sample):
        out.print(f"  {step}", markup=False)


def _next_steps(made: dict[str, Any], *, sample: bool) -> list[str]:
    """Commands that work as they are printed, one after the other; the first goes on in a terminal of its own."""
    at = f"--home {shlex.quote(made['home'])}"
    if sample:
        return [f"gateway serve {at}", f"gateway demo {at}"]
    acting = f"--as {made['officer']} {at}"
    return [
        f"gateway serve {at}",
        "gateway directory sample directory.json",
        f"gateway directory import directory.json {acting}",
        f"gateway officers add police-chen --department public-security --region 442000 --role supplier {acting}",
        "gateway docs first-day",
    ]


@command
def serve(
    home: Home = DEFAULT_HOME,
    closed: Annotated[
        bool, typer.Option("--closed", help="Serve officers and auditors, and no caller: to look before callers come.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the gateway until SIGTERM; SIGHUP reads certificates and keys again."""
    working(f"starting the gateway in {home}", quiet=as_json)
    from gateway.runtime.supervision.first_process import leave_the_first_place  # noqa: PLC0415 -- before all others

    leave_the_first_place()
    from gateway.runtime.supervision.supervisor import serve as run  # noqa: PLC0415 -- the same
    from gateway.runtime.telemetry.logs import configure_logs  # noqa: PLC0415 -- only a process that runs writes logs

    place = home_at(home)
    place.require()
    configure_logs(place.settings().log.level, "supervisor")

    def announce(addresses: dict[str, Any]) -> None:
        if as_json:
            typer.echo(json.dumps({"ready": True, **addresses}))
        else:
            out.print(f"data plane     {addresses['data_plane']}", markup=False)
            out.print(f"control plane  {addresses['control']}", markup=False)
            out.print("ready; stop with Ctrl-C or SIGTERM", markup=False)

    run(place, closed=closed, on_ready=announce)


@command
def status(home: Home = DEFAULT_HOME, as_json: AsJson = False) -> None:
    """Tell in one screen what runs, what is wrong and what to do; exit status 1 if something is wrong."""
    working(f"looking at {home}", quiet=as_json)
    from gateway.runtime.operation.status import examine  # noqa: PLC0415 -- loads the store and the keys

    place = home_at(home)
    place.require()
    seen = examine(place)
    if as_json:
        print_json(seen)
    else:
        print_table(f"gateway in {place.root}", ("part", "state", "detail"), [tuple(row) for row in seen["parts"]])
        for notice in seen["notices"]:
            out.print(f"{notice['part']}: {notice['what']}\n  what to do: {notice['advice']}", markup=False)
        for fault in seen["faults"]:
            out.print(f"wrong: {fault['what']}\n  what to do: {fault['advice']}", markup=False)
        if not seen["faults"]:
            out.print("nothing is wrong with the gateway" if seen["notices"] else "nothing is wrong", markup=False)
    if seen["faults"]:
        raise typer.Exit(1)


@command
def check(home: Home = DEFAULT_HOME, as_json: AsJson = False) -> None:
    """Look at all that a start needs, without starting: settings, keys, TLS, ports, state, suppliers' addresses."""
    working(f"checking {home}", quiet=as_json)
    from gateway.runtime.operation.checking import look, told  # noqa: PLC0415 -- loads the store and the keys

    place = home_at(home)
    place.require()
    seen = look(place)
    if as_json:
        print_json(told(seen))
    else:
        rows = [(each.part, "right" if each.ok else "WRONG", each.detail) for each in seen]
        print_table(f"check of {place.root}", ("part", "state", "detail"), rows)
        for each in seen:
            if not each.ok:
                out.print(f"wrong: {each.detail}\n  what to do: {each.advice}", markup=False)
    if not all(each.ok for each in seen):
        raise typer.Exit(1)


@command
def backup(
    target: Annotated[Path, typer.Argument(help="The folder of the backups, outside the home.")],
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Back up settings, keys, state and the log while the gateway runs; see docs/operate.md, "Back up"."""
    from gateway.runtime.operation.recovery.backup import back_up  # noqa: PLC0415 -- loads the ledger, which help does not need

    place = home_at(home)
    place.require()
    working(f"backing up {place.root} into {target}", quiet=as_json)
    done = back_up(place, target)
    if as_json:
        print_json({"state": str(done.state), "log": str(done.log), "copied": done.copied})
        return
    out.print(f"{done.state}: settings, keys and state", markup=False)
    out.print(f"{done.log}: {done.copied} files of the log copied", markup=False)


@command
def restore(
    backup: Annotated[Path, typer.Argument(help="What `gateway backup` wrote to, or one `state-…` folder in it.")],
    home: Home = DEFAULT_HOME,
    at: Annotated[str | None, typer.Option(help="Which `state-…` folder; default: the newest.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Put back only what is not there.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put everything of the backup in place; what is there is kept aside.")
    ] = False,
    ledger: Annotated[
        Path | None, typer.Option(help="The ledger folder of the lost home, where it survived: its log goes on.")
    ] = None,
    new_origin: Annotated[
        str | None, typer.Option(help="A new name for the log, where it needs one; default: made from the old.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place of what was lost, and say what is gone and what to do; see docs/operate.md, "Restore"."""
    working(f"restoring {home} from {backup}", quiet=as_json)
    from gateway.runtime.operation.recovery.restore import restore as put_back  # noqa: PLC0415 -- loads all rooms

    def say(sentence: str) -> None:
        if not as_json:
            err.print(f"{sentence} …", markup=False)

    done = put_back(
        home_at(home), backup, at=at, missing=missing, replace=replace, ledger=ledger, origin=new_origin, say=say
    )
    if as_json:
        print_json(done)
        return
    out.print(f"restored {done.home} from {done.backup}: {', '.join(done.put) or 'nothing was missing'}", markup=False)
    if done.replaced:
        out.print(f"  what was there is kept in {done.replaced}", markup=False)
    out.print(f"  log: {done.origin}, {done.size} leaves", markup=False)
    for lost in done.lost:
        until = f" until {lost.until}" if lost.until else ", until the loss"
        out.print(f"lost: {lost.what}, from {lost.after}{until}", markup=False)
    for difference in done.differences:
        out.print(f"not in the state: {_told(difference)}", markup=False)
    out.print("what to do next:", markup=False)
    for sentence in done.to_do:
        out.print(f"  {sentence}", markup=False)


@command
def differences(home: Home = DEFAULT_HOME, as_json: AsJson = False) -> None:
    """List acts on record that a restored state does not have, and the orders that hold what they withdrew."""
    working(f"comparing the records of {home} with its state", quiet=as_json)
    from gateway.runtime.operation.recovery.differences import list_differences  # noqa: PLC0415 -- loads the store

    found = list_differences(home_at(home))
    if as_json:
        print_json({"differences": found})
        return
    rows = [
        (each["record"], each["act"], each["officer"], each["time"], ", ".join(each["in_force"]) or each["outcome"])
        for each in found
    ]
    print_table("acts on record that the state does not have", ("record", "act", "officer", "time", "held by"), rows)


def _told(difference: Any) -> str:
    held = f"held by {', '.join(difference.orders)}" if difference.orders else "nothing to hold"
    return f"record {difference.record}, `{difference.act}` by {difference.officer}: {held}"


@command
def demo(
    once: Annotated[bool, typer.Option("--once", help="Tell the story and end.")] = False,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Where to live; default: a folder that goes at the end. Of a home that `init --sample` "
            "made and whose gateway runs, the departments are played, and a first call is made."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the main job on embedded defaults: real HTTP, real policies, real records, nobody real."""
    working("playing the departments" if home else "making a gateway and four departments to show", quiet=as_json)
    from gateway.runtime.demo.sample import is_sample, play  # noqa: PLC0415 -- loads the client and the suppliers
    from gateway.runtime.demo.stage import perform  # noqa: PLC0415 -- the same

    if home is not None and is_sample(home_at(home)):
        if not play(home_at(home), once=once, as_json=as_json):
            raise typer.Exit(1)
        return
    if not perform(once=once, home=home, as_json=as_json):
        raise typer.Exit(1)
