"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table and the feed's one row."""
    op.create_table(
        "answers",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("officer", "key"),
    )
    op.create_index("answers_expires", "answers", ["expires"], unique=False)
    op.create_table(
        "applications",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("supplier", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("due_on", sa.String(length=10), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("applications_department", "applications", ["department", "state", "id"], unique=False)
    op.create_index("applications_state", "applications", ["state", "due_on", "id"], unique=False)
    op.create_index("applications_supplier", "applications", ["supplier", "state", "id"], unique=False)
    op.create_table(
        "changes",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("supplier", sa.String(length=64), nullable=False),
        sa.Column("sharing_attribute", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=128), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", "version"),
    )
    op.create_index(
        "datasets_released",
        "datasets",
        ["id"],
        unique=True,
        sqlite_where=sa.text("state = 'released'"),
        postgresql_where=sa.text("state = 'released'"),
    )
    op.create_index("datasets_state", "datasets", ["state", "id", "version", "name", "code"], unique=False)
    op.create_index("datasets_supplier", "datasets", ["supplier", "state", "id", "version"], unique=False)
    op.create_table(
        "departments",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("parent", sa.String(length=64), nullable=True),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("departments_region", "departments", ["region", "id"], unique=False)
    op.create_table(
        "disposals",
        sa.Column("grant_id", sa.String(length=64), nullable=False),
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("supplier", sa.String(length=64), nullable=False),
        sa.Column("due_on", sa.String(length=10), nullable=False),
        sa.Column("provisional", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("destroyed_record", sa.String(length=128), nullable=True),
        sa.Column("destroyed_on", sa.String(length=10), nullable=True),
        sa.PrimaryKeyConstraint("grant_id"),
    )
    op.create_index("disposals_due", "disposals", ["due_on", "grant_id"], unique=False)
    op.create_table(
        "drawn",
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("department", "day", "dataset", "purpose"),
    )
    op.create_table(
        "feed",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "grant_versions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", "version"),
    )
    op.create_table(
        "grants",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("supplier", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("disputed", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=False),
        sa.Column("expires_day", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(
        "grants_department", "grants", ["department", "state", "number", "valid_until", "supplier"], unique=False
    )
    op.create_index(
        "grants_disputed",
        "grants",
        ["disputed", "number"],
        unique=False,
        sqlite_where=sa.text("disputed = 1"),
        postgresql_where=sa.text("disputed = 1"),
    )
    op.create_index(
        "grants_expiry", "grants", ["state", "expires_day", "number", "valid_until", "valid_from"], unique=False
    )
    op.create_index("grants_id", "grants", ["id"], unique=True)
    op.create_index("grants_slice", "grants", ["dataset", "department", "number"], unique=False)
    op.create_index(
        "grants_state",
        "grants",
        ["state", "number"],
        unique=False,
        sqlite_where=sa.text("state <> 'issued'"),
        postgresql_where=sa.text("state <> 'issued'"),
    )
    op.create_index("grants_supplier", "grants", ["supplier", "state", "number", "valid_until"], unique=False)
    op.create_table(
        "interfaces",
        sa.Column("supplier", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("supplier", "id"),
    )
    op.create_index("interfaces_dataset", "interfaces", ["dataset", "active"], unique=False)
    op.create_table(
        "legacy_keys",
        sa.Column("contract", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("contract", "id"),
    )
    op.create_index("legacy_keys_system", "legacy_keys", ["system"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("beat_ms", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "officers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("officers_department", "officers", ["department", "id"], unique=False)
    op.create_table(
        "one_time",
        sa.Column("namespace", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "digest"),
    )
    op.create_index("one_time_expires", "one_time", ["expires"], unique=False)
    op.create_table(
        "orders",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("reach", sa.String(length=16), nullable=False),
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("supplier", sa.String(length=64), nullable=True),
        sa.Column("in_force", sa.Integer(), nullable=False),
        sa.Column("rectify_by", sa.String(length=10), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("orders_in_force", "orders", ["in_force", "id"], unique=False)
    op.create_index("orders_target", "orders", ["reach", "target", "in_force"], unique=False)
    op.create_table(
        "purposes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "quota_used",
        sa.Column("grant_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("grant_id", "day", "kind"),
    )
    op.create_index("quota_used_day", "quota_used", ["day"], unique=False)
    op.create_table(
        "systems",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("department", sa.String(length=64), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("systems_department", "systems", ["department", "id"], unique=False)
    op.execute("INSERT INTO feed (id, sequence) VALUES (1, 0)")
