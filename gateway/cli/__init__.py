"""The `gateway` command: one sub-command a matter, all over the control API but what concerns files alone.

Only the module of the sub-command that is asked for is loaded: a shell waits for no room that it does not use. `--help`
and unknown words are answered from the table below, which a test holds to what the commands say of themselves.
"""

import importlib
import sys
from typing import Annotated, Any

import typer

from gateway import __version__

COMMANDS = {
    "init": ("operate", "Make a home: settings, keys, state, and the competent department's first officer."),
    "serve": ("operate", "Run the gateway until SIGTERM; SIGHUP reads certificates and keys again."),
    "status": (
        "operate",
        "Tell in one screen what runs, what is wrong and what to do; exit status 1 if something is wrong.",
    ),
    "check": (
        "operate",
        "Look at all that a start needs, without starting: settings, keys, TLS, ports, state, suppliers' addresses.",
    ),
    "backup": (
        "operate",
        'Back up settings, keys, state and the log while the gateway runs; see docs/operate.md, "Back up".',
    ),
    "restore": (
        "operate",
        'Put a backup in place of what was lost, and say what is gone and what to do; see docs/operate.md, "Restore".',
    ),
    "differences": (
        "operate",
        "List acts on record that a restored state does not have, and the orders that hold what they withdrew.",
    ),
    "demo": (
        "operate",
        "Show the main job on embedded defaults: real HTTP, real policies, real records, nobody real.",
    ),
    "sign-in": (
        "sign_in",
        "Begin a session of your own, by the OpenID provider or a password, and keep it in your own folder.",
    ),
    "sign-out": ("sign_in", "End the session that `gateway sign-in` began, and remove it from this machine."),
    "docs": ("docs", "Print a page of the documentation that came with this version."),
    "verify": ("verify", "Verify a record's proof, an export or a whole log, trusting nobody."),
    "directory": ("directory", "Import, list and export the directory."),
    "departments": (
        "reorganising",
        "Register and list departments; merge, split, dissolve and rename them, and hand over what they have.",
    ),
    "purposes": ("departments", "Register and list purposes of use."),
    "hosts": (
        "hosts",
        "Register the hosts of suppliers' services: claim, prove, confirm; then interfaces may lead there.",
    ),
    "certificates": (
        "certificates",
        "Store what suppliers are called with: authorities that sign their certificates, client certificates.",
    ),
    "credentials": (
        "credentials",
        "Store what suppliers are shown of who calls: header fields, parameters, passwords, OAuth clients.",
    ),
    "interfaces": ("interfaces", "Try suppliers' interfaces before callers do."),
    "systems": ("systems", "Register demand departments' systems and their keys."),
    "officers": ("keys", "Register officers, give them codes for a password, sign their tokens."),
    "grants": ("grants", "Issue grants, look at them, and stop them: a stop is effective when the command returns."),
    "applications": ("processes", "An application for sharing, from draft to the first use."),
    "verifications": ("processes", "A request to verify shared data, until it is answered."),
    "disputes": ("processes", "A dispute over sharing, until it is agreed, settled or decided."),
    "rectifications": ("processes", "A rectification within a set time, until it is accepted or sharing ends."),
    "disposals": (
        "processes",
        "The disposal of what was drawn under a grant, until the supplier confirms it.",
    ),
    "incidents": ("processes", "A security incident, from the first measures to its end."),
    "returns": ("processes", "Data to be returned to a lower level, until they came."),
    "complaints": ("processes", "A complaint, from its intake to the reply."),
    "corrections": ("processes", "An order to correct, until it is accepted as done or reported further."),
    "directory-changes": ("processes", "A change of the directory, from its cause to the release."),
    "duties": (
        "duties",
        "List what waits for you: the overdue first, with the days left; dates that are not certain are marked.",
    ),
    "orders": ("orders", "Stop a system, a department, a dataset or a supplier: effective when the command returns."),
    "policies": (
        "policies",
        "The law as Cedar: check it, test it, read what governs a department, and see what a change takes away.",
    ),
    "records": ("records", "Find, export and prove records of use. Each reading is itself recorded."),
    "retention": ("retention", "Let records go after their time, and not before (at least three calendar years)."),
    "keys": ("keys", "List and rotate the gateway's keys; register keys of older contracts."),
}
"""Sub-command to the module in this room that has it, and the first line of its help."""


def print_version(asked: bool) -> None:
    """Print the version and end, if asked to."""
    if asked:
        typer.echo(f"gateway {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Share government data: only what was granted, for the purpose granted, as long as granted, on record."""


def _program() -> typer.Typer:
    made = typer.Typer(name="gateway", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    made.callback()(options)
    return made


def _add(program: typer.Typer, name: str) -> None:
    found: Any = getattr(importlib.import_module(f"gateway.cli.{COMMANDS[name][0]}"), name.replace("-", "_"))
    if isinstance(found, typer.Typer):
        program.add_typer(found)
    else:
        program.command(name)(found)


def _whole() -> typer.Typer:
    """Every sub-command, loaded."""
    program = _program()
    for name in COMMANDS:
        _add(program, name)
    return program


def _words_alone() -> typer.Typer:
    """Every sub-command by its name and first line: for the list of them, and to say which word is none."""
    program = _program()
    for name, (_, summary) in COMMANDS.items():
        program.command(name, help=summary)(lambda: None)
    return program


def __getattr__(name: str) -> Any:
    """`app`, the whole command line, made when it is asked for."""
    if name == "app":
        globals()["app"] = whole = _whole()
        return whole
    raise AttributeError(name)


def main() -> None:
    """Run the command line."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in COMMANDS:
        program = _program()
        _add(program, word)
        program()
    else:
        _words_alone()()
