"""What departments drew is counted together with what their line and family drew, and verification with it.

A node of the version before writes and reads `drawn` alone, as it always did. A rule that looks at more than that
denies there whatever call it is about, so that nothing is drawn which is not noted here.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create the table, and an index by which those below a department are found."""
    op.create_table(
        "gathered",
        sa.Column("circle", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("knowing", sa.String(length=8), nullable=False),
        sa.PrimaryKeyConstraint("circle", "day", "department", "dataset", "knowing"),
    )
    op.create_index("departments_parent", "departments", ["parent", "id"])
