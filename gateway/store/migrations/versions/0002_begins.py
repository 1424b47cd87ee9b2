"""Grants by when they begin: pages of those that are not valid yet."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the index."""
    op.create_index("grants_begins", "grants", ["valid_from", "number"], unique=False)
