"""The secrets that DPoP nonces are made with: of the whole cluster, sealed by the key ring."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table; the first process that needs a secret makes it."""
    op.create_table(
        "nonce_secrets",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
