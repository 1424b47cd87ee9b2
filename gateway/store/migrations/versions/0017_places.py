"""Officers' own words stand in the state, sealed; with each is told where else it stands."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the column."""
    op.add_column("texts", sa.Column("places", sa.Text))
