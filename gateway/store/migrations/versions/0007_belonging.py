"""What ties a state to its home and log: acts on record, each log's largest known checkpoint, the homes it serves."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the tables; a state of before knows nothing of its home, and is taken over as it stands."""
    op.create_table(
        "acts",
        sa.Column("run", sa.String(length=64), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=8), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run", "first"),
    )
    op.create_index("acts_outcome", "acts", ["outcome", "run", "first"], unique=False)
    op.create_table(
        "logs",
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("settled", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("origin"),
    )
    op.create_table(
        "homes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("incarnation", sa.String(length=64), nullable=False),
        sa.Column("restored", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
