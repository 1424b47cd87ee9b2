"""The `gateway` command: one sub-command a matter, all over the control API but what concerns files alone."""

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import operate
from gateway.cli.activation import policies
from gateway.cli.certificates import certificates
from gateway.cli.departments import departments, purposes
from gateway.cli.directory import directory
from gateway.cli.docs import docs
from gateway.cli.grants import grants
from gateway.cli.hosts import hosts
from gateway.cli.interfaces import interfaces
from gateway.cli.keys import keys, officers
from gateway.cli.orders import orders
from gateway.cli.records import records
from gateway.cli.retention import retention
from gateway.cli.systems import systems
from gateway.cli.verify import verify


def print_version(asked: bool) -> None:
    """Print the version and end, if asked to."""
    if asked:
        typer.echo(f"gateway {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="gateway",
    help="Share government data: only what was granted, for the purpose granted, as long as granted, on record.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Take what stands before a sub-command."""


for function in (
    operate.init,
    operate.serve,
    operate.status,
    operate.check,
    operate.backup,
    operate.restore,
    operate.differences,
    operate.demo,
    docs,
    verify,
):
    app.command()(function)
for group in (
    directory,
    departments,
    purposes,
    hosts,
    certificates,
    interfaces,
    systems,
    officers,
    grants,
    orders,
    policies,
    records,
    retention,
    keys,
):
    app.add_typer(group)


def main() -> None:
    """Run the command line."""
    app()
