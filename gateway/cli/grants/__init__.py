"""`gateway grants`: issue, look at, suspend, lift, terminate, close, dispose, dispute (Decree 809 Art. 20 to 28).

`proposing` lets both sides approve by acts, `issuing` enters grants of paper from files, `acts` does one act on one
grant, `reading` shows what stands, what is due and who may do what. Here they become one group of commands.
"""

import typer

from gateway.cli.grants.acts import close, dispose, dispute, lift, suspend, terminate
from gateway.cli.grants.issuing import issue, renew, sample
from gateway.cli.grants.proposing import approve, decline, proposals, propose
from gateway.cli.grants.reading import figures, lifecycle, list_, overdue, show

grants = typer.Typer(
    name="grants",
    help="Issue grants, look at them, and stop them: a stop is effective when the command returns.",
    no_args_is_help=True,
)

# In the order of the help: as a grant goes through its life, then over all of them.
for name, function in (
    ("sample", sample),
    ("propose", propose),
    ("proposals", proposals),
    ("approve", approve),
    ("decline", decline),
    ("issue", issue),
    ("renew", renew),
    ("list", list_),
    ("show", show),
    ("suspend", suspend),
    ("lift", lift),
    ("terminate", terminate),
    ("close", close),
    ("dispose", dispose),
    ("dispute", dispute),
    ("figures", figures),
    ("overdue", overdue),
    ("lifecycle", lifecycle),
):
    grants.command(name)(function)
