"""`gateway policies`: the law as Cedar.

`reading` checks policies as files, shows the exact Cedar, explains a call and compares two sets; `layers` is for
whoever writes one; `activation` puts policies in force through the control API, and candidates in the shadow;
`bundles` takes them to another person or gateway; `proofs` proves theorems; `ever` asks whether a dataset can ever be
obtained; `replaying` decides recorded uses again; `shared` is what these share. Here they become one group of commands.
"""

import typer

from gateway.cli.policies.activation import activate, history, roll_back, shadow
from gateway.cli.policies.bundles import approve, export, import_
from gateway.cli.policies.ever import can
from gateway.cli.policies.layers import fmt, new, run_the_tables
from gateway.cli.policies.proofs import prove_
from gateway.cli.policies.reading import check_, compare_, explain, show
from gateway.cli.policies.replaying import replay_

policies = typer.Typer(
    name="policies",
    help="The law as Cedar: check it, test it, read what governs a department, and see what a change takes away.",
    no_args_is_help=True,
)

for name, function in (
    ("check", check_),
    ("test", run_the_tables),
    ("new", new),
    ("fmt", fmt),
    ("show", show),
    ("explain", explain),
    ("compare", compare_),
    ("activate", activate),
    ("approve", approve),
    ("rollback", roll_back),
    ("history", history),
    ("replay", replay_),
    ("prove", prove_),
    ("can", can),
    ("export", export),
    ("import", import_),
):
    policies.command(name)(function)
policies.add_typer(shadow)
