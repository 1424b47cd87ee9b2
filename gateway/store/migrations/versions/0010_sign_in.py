"""What an OpenID provider gave with a session, and the second factor of local accounts."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create both tables; sessions of before have nothing there, and end by their time."""
    op.create_table(
        "provider_sessions",
        sa.Column("session", sa.String(length=32), nullable=False),
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("sid", sa.String(length=255), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("session"),
    )
    op.create_index("provider_sessions_sid", "provider_sessions", ["issuer", "sid"], unique=False)
    op.create_index("provider_sessions_expires", "provider_sessions", ["expires"], unique=False)
    op.create_table(
        "authenticators",
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("confirmed", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("officer"),
    )
