"""Whose region oversees a case stands in a column of its own: it is not always the supplier's."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the column, fill it, and put it where the supplier stood in what a region's lists are read by."""
    op.add_column("cases", sa.Column("overseen", sa.String(64)))
    op.execute("UPDATE cases SET overseen = COALESCE(supplier, demand)")
    op.drop_index("cases_process", table_name="cases")
    op.drop_index("cases_state", table_name="cases")
    op.create_index("cases_process", "cases", ["process", "number", "overseen"])
    op.create_index("cases_state", "cases", ["process", "state", "number", "overseen"])
    op.create_index("cases_overseen", "cases", ["overseen", "process", "number"])
