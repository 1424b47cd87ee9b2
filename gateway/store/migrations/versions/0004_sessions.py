"""Officers' accounts: sessions, one-time codes, what happened to an account, who an officer is at a provider."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables; whoever was signed in before signs in again, since their tokens name no session.

    A gateway in which nobody audits gets its first auditor, since auditors alone appoint auditors from now on.
    """
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("begun", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("sessions_officer", "sessions", ["officer", "begun"], unique=False)
    op.create_index("sessions_expires", "sessions", ["expires"], unique=False)
    op.create_table(
        "provider_subjects",
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject"),
    )
    op.create_index("provider_subjects_officer", "provider_subjects", ["issuer", "officer"], unique=True)
    op.create_table(
        "enrolments",
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("officer"),
    )
    op.create_index("enrolments_expires", "enrolments", ["expires"], unique=False)
    op.create_table(
        "account_events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("officer", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("account_events_officer", "account_events", ["officer", "told", "number"], unique=False)
    op.create_index("account_events_at", "account_events", ["at"], unique=False)
    _appoint_first_auditor()


def _appoint_first_auditor() -> None:
    connection = op.get_bind()
    officers = [json.loads(row[0]) for row in connection.execute(sa.text("SELECT body FROM officers"))]
    known = {officer["id"]: officer for officer in officers}
    if "registrar" not in known or "auditor" in known or any("auditor" in each["roles"] for each in officers):
        return
    first = known["registrar"]
    auditor = {**first, "id": "auditor", "roles": ["auditor"], "name": "first auditor"}
    connection.execute(
        sa.text("INSERT INTO officers (id, department, body) VALUES ('auditor', :department, :body)"),
        {"department": first["department"], "body": json.dumps(auditor, separators=(",", ":"))},
    )
