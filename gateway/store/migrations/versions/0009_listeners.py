"""On what each node of a shared state listens: no supplier may be called there."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the column; each node fills in its own when it has started."""
    op.add_column("nodes", sa.Column("listeners", sa.Text(), nullable=False, server_default=""))
