"""Suppliers' hosts and certificates, each of one department.

Hosts of interfaces that stand are inherited where one department alone uses them. A host that interfaces of several
departments name is inherited by none of them: it is theirs to register.
"""

import json

import sqlalchemy as sa
from alembic import op

from gateway.domain.hosts import parse_upstream

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table and let what works today work on until its department registers it."""
    op.create_table(
        "hosts",
        sa.Column("id", sa.String(length=300), nullable=False),
        sa.Column("supplier", sa.String(length=64), nullable=False),
        sa.Column("standing", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", "supplier", "standing"),
    )
    op.create_index(
        "hosts_standing",
        "hosts",
        ["id"],
        unique=True,
        sqlite_where=sa.text("standing = 1"),
        postgresql_where=sa.text("standing = 1"),
    )
    op.create_table(
        "certificates",
        sa.Column("supplier", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("supplier", "name"),
    )
    connection = op.get_bind()
    found: dict[str, dict[str, dict[str, object]]] = {}
    for (body,) in connection.execute(sa.text("SELECT body FROM interfaces WHERE active = 1")):
        interface = json.loads(body)
        try:
            upstream = parse_upstream(interface["upstream"])
        except ValueError:
            continue
        host: dict[str, object] = {
            "supplier": interface["supplier"],
            "address": upstream.address,
            "port": upstream.port,
            "is_tls": upstream.is_tls,
            "certificate_name": interface.get("tls_name"),
            "state": "inherited",
        }
        found.setdefault(upstream.host, {}).setdefault(interface["supplier"], host)
    for id_, suppliers in found.items():
        if len(suppliers) == 1:
            ((supplier, host),) = suppliers.items()
            connection.execute(
                sa.text("INSERT INTO hosts (id, supplier, standing, body) VALUES (:id, :supplier, 1, :body)"),
                {"id": id_, "supplier": supplier, "body": json.dumps(host)},
            )
