"""Callers' own words stand in the state, sealed, and records name them by a digest."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "texts",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("mark", sa.String(64), nullable=False),
        sa.Column("word", sa.String(64), nullable=False),
        sa.Column("system", sa.String(64), nullable=False),
        sa.Column("department", sa.String(64), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("named_until", sa.String(10), nullable=False),
        sa.Column("years", sa.Integer, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
    )
    op.create_index("texts_mark", "texts", ["mark"], unique=True)
    op.create_index("texts_word", "texts", ["word"])
    op.create_index("texts_day", "texts", ["system", "day"])
    op.create_index("texts_until", "texts", ["named_until"])
    op.create_table(
        "erased_texts",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("record", sa.String(128), nullable=False),
    )
