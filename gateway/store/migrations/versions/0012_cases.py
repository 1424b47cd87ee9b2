"""Cases of processes: one set of tables for all; the table of applications, which nothing ever filled, goes."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the tables."""
    op.drop_table("applications")
    op.create_table(
        "cases",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("process", sa.String(24), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("supplier", sa.String(64)),
        sa.Column("demand", sa.String(64)),
        sa.Column("dataset", sa.String(128)),
        sa.Column("grant_id", sa.String(64)),
        sa.Column("waits_supplier", sa.Integer, nullable=False),
        sa.Column("waits_demand", sa.Integer, nullable=False),
        sa.Column("waits_competent", sa.Integer, nullable=False),
        sa.Column("due_on", sa.String(10)),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("cases_id", "cases", ["id"], unique=True)
    op.create_index("cases_process", "cases", ["process", "number", "supplier"])
    op.create_index("cases_state", "cases", ["process", "state", "number", "supplier"])
    op.create_index("cases_supplier", "cases", ["supplier", "process", "number"])
    op.create_index("cases_demand", "cases", ["demand", "process", "number"])
    op.create_index("cases_grant", "cases", ["grant_id", "process"])
    for party, columns in (("supplier", ["supplier"]), ("demand", ["demand"]), ("competent", [])):
        waits = sa.text(f"waits_{party} = 1")
        op.create_index(
            f"cases_waits_{party}",
            "cases",
            [*columns, "due_on", "number"],
            sqlite_where=waits,
            postgresql_where=waits,
        )
    runs = sa.text("due_on IS NOT NULL")
    op.create_index("cases_due", "cases", ["due_on", "number"], sqlite_where=runs, postgresql_where=runs)
    op.create_table(
        "case_events",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("case_id", "number"),
    )
    op.create_table(
        "case_files",
        sa.Column("case_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("case_id", "digest"),
    )
