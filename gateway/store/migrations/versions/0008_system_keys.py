"""Whose a public key is: one system's. Keys that stood at several systems stay the first one's, by id."""

import hashlib
import json
from base64 import urlsafe_b64encode

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_REQUIRED = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}


def upgrade() -> None:
    """Create the table and note the keys and certificates of every system."""
    table = op.create_table(
        "system_keys",
        sa.Column("thumbprint", sa.String(length=64), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("thumbprint"),
    )
    op.create_index("system_keys_system", "system_keys", ["system"], unique=False)
    owners: dict[str, str] = {}
    for row in op.get_bind().execute(sa.text("SELECT id, body FROM systems ORDER BY id")):
        body = json.loads(row.body)
        for name in [*map(_thumbprint, body.get("keys", [])), *body.get("certificates", [])]:
            if name:
                owners.setdefault(name, row.id)
    if owners:
        op.bulk_insert(table, [{"thumbprint": name, "system": system} for name, system in owners.items()])


def _thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638; "" for what is no key."""
    required = _REQUIRED.get(jwk.get("kty", ""), ())
    if not required or not all(name in jwk for name in required):
        return ""
    canonical = json.dumps({name: jwk[name] for name in required}, separators=(",", ":"), sort_keys=True)
    return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
