"""The secrets that DPoP nonces are made with, sealed by the key ring; and where each node is reached by the others."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table and the column; each process and node fills in what is its own when it starts."""
    op.create_table(
        "nonce_secrets",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.add_column("nodes", sa.Column("address", sa.String(length=255), nullable=False, server_default=""))
