"""The tables of the newest schema: keys and what is searched by as columns, the whole domain value as JSON in `body`.

Flags are integers 0 and 1, times are Unix seconds, so that one text of SQL serves SQLite and PostgreSQL.
The migrations under `migrations/` build exactly these tables; a test compares the two.

| table | one row is |
|---|---|
| departments, systems, purposes, interfaces, officers, orders | the newest value |
| datasets | a version of a directory entry; at most one version of an entry is released |
| grants | the newest version of a grant |
| grant_versions | a superseded version of a grant |
| sessions | a session of an officer, kept for a day after its end |
| enrolments | a one-time code, asked for or given, by which an officer sets a password; its digest alone |
| account_events | what somebody did about an officer's account, and whether its owner was told |
| provider_subjects | which person (`sub`) at an OpenID provider an officer is: one each way, and for good |
| provider_sessions | what an OpenID provider gave with a session: its name there, a sealed refresh token |
| authenticators | the secret of an officer's second factor, sealed by the key ring |
| legacy_keys | a key of an older platform's contract, its secret encrypted by the key ring |
| feed, changes | the feed's position (one row), and each committed change under its sequence |
| one_time, quota_used, answers, nodes, drawn, gathered | what processes share besides: see `coordination` |
| system_keys | whose a public key or certificate is: one system's, revoked or not, until it is withdrawn |
| nonce_secrets | what DPoP nonces are made with, sealed by the key ring |
| proposals | grants on their way, by the id of the grant |
| disposals | duties to dispose of what was drawn |
| cases, case_events, case_files | a case (`gateway.domain.processes`), what was done in it, its attachments |
| hosts | a claim of a department on a host that is on its way (`standing` 0), or the host that stands (1) |
| certificates | a supplier's certificates of one name; a private key among them is sealed by the key ring |
| supplier_credentials | what a supplier is shown of who calls, by name; its secret is sealed by the key ring |
| policy_sets, policy_events | the text of a set of policies, and each step that put one in force or in the shadow |
| shadow_counts | what one node has counted for a candidate in the shadow |
| texts | a text that records name by its digest, sealed with its salt; `mark` finds it again, `word` whoever said it |
| erased_texts | the digest of a text that was erased, and the record of the act |
| acts | records of acts that are committed, or were found without their act: see `belonging` |
| logs, homes | what the state knows of each node's log, and of the home it lives in |
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

HEAD = "0017"
"""The newest migration: a database at another revision is migrated, or refused if it is newer."""

metadata = MetaData()

departments = Table(
    "departments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("parent", String(64)),
    Column("region", String(6), nullable=False),
    Column("body", Text, nullable=False),
    Index("departments_region", "region", "id"),
    Index("departments_parent", "parent", "id"),
)

systems = Table(
    "systems",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("department", String(64), nullable=False),
    Column("active", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Index("systems_department", "department", "id"),
)

system_keys = Table(
    "system_keys",
    metadata,
    Column("thumbprint", String(64), primary_key=True),
    Column("system", String(64), nullable=False),
    Index("system_keys_system", "system"),
)

purposes = Table(
    "purposes",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("supplier", String(64), nullable=False),
    Column("sharing_attribute", String(16), nullable=False),
    Column("code", String(128), nullable=False),
    Column("name", Text, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("id", "version"),
    Index(
        "datasets_released",
        "id",
        unique=True,
        sqlite_where=text("state = 'released'"),
        postgresql_where=text("state = 'released'"),
    ),
    Index("datasets_state", "state", "id", "version", "name", "code"),
    Index("datasets_supplier", "supplier", "state", "id", "version"),
)

interfaces = Table(
    "interfaces",
    metadata,
    Column("supplier", String(64), nullable=False),
    Column("id", String(64), nullable=False),
    Column("dataset", String(128), nullable=False),
    Column("active", Integer, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("supplier", "id"),
    Index("interfaces_dataset", "dataset", "active"),
)

hosts = Table(
    "hosts",
    metadata,
    Column("id", String(300), nullable=False),
    Column("supplier", String(64), nullable=False),
    Column("standing", Integer, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("id", "supplier", "standing"),
    Index(
        "hosts_standing",
        "id",
        unique=True,
        sqlite_where=text("standing = 1"),
        postgresql_where=text("standing = 1"),
    ),
)

certificates = Table(
    "certificates",
    metadata,
    Column("supplier", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("supplier", "name"),
)

supplier_credentials = Table(
    "supplier_credentials",
    metadata,
    Column("supplier", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("supplier", "name"),
)

grants = Table(
    "grants",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("department", String(64), nullable=False),
    Column("dataset", String(128), nullable=False),
    Column("supplier", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("disputed", Integer, nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_until", BigInteger, nullable=False),
    Column("expires_day", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Index("grants_id", "id", unique=True),
    Index("grants_slice", "dataset", "department", "number"),
    Index("grants_department", "department", "state", "number", "valid_until", "supplier"),
    Index("grants_supplier", "supplier", "state", "number", "valid_until"),
    Index(
        "grants_state",
        "state",
        "number",
        sqlite_where=text("state <> 'issued'"),
        postgresql_where=text("state <> 'issued'"),
    ),
    Index("grants_begins", "valid_from", "number"),
    Index("grants_expiry", "state", "expires_day", "number", "valid_until", "valid_from"),
    Index(
        "grants_disputed",
        "disputed",
        "number",
        sqlite_where=text("disputed = 1"),
        postgresql_where=text("disputed = 1"),
    ),
)
"""`number` rises in the order of issue, and all indexes but the first two end in it: a new grant goes to the end of a
department's, a supplier's and a day's run, so a bulk import touches few pages. Most grants are issued, so those in
other states alone have an index of their own. `expires_day` is `valid_until` in days
since 1970, UTC. The trailing columns let a page be chosen from the index alone."""

grant_versions = Table(
    "grant_versions",
    metadata,
    Column("id", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("id", "version"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("reach", String(16), nullable=False),
    Column("target", String(128), nullable=False),
    Column("supplier", String(64)),
    Column("in_force", Integer, nullable=False),
    Column("rectify_by", String(10)),
    Column("body", Text, nullable=False),
    Index("orders_target", "reach", "target", "in_force"),
    Index("orders_in_force", "in_force", "id"),
)

officers = Table(
    "officers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("department", String(64), nullable=False),
    Column("secret_hash", Text),
    Column("body", Text, nullable=False),
    Index("officers_department", "department", "id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("officer", String(64), nullable=False),
    Column("method", String(16), nullable=False),
    Column("begun", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("ended_by", String(64), nullable=False),
    Index("sessions_officer", "officer", "begun"),
    Index("sessions_expires", "expires"),
)

enrolments = Table(
    "enrolments",
    metadata,
    Column("officer", String(64), primary_key=True),
    Column("expires", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("enrolments_expires", "expires"),
)

account_events = Table(
    "account_events",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("officer", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("told", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Index("account_events_officer", "officer", "told", "number"),
    Index("account_events_at", "at"),
)

provider_subjects = Table(
    "provider_subjects",
    metadata,
    Column("issuer", String(512), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("officer", String(64), nullable=False),
    PrimaryKeyConstraint("issuer", "subject"),
    Index("provider_subjects_officer", "issuer", "officer", unique=True),
)

provider_sessions = Table(
    "provider_sessions",
    metadata,
    Column("session", String(32), primary_key=True),
    Column("issuer", String(512), nullable=False),
    Column("sid", String(255), nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("sealed", Text, nullable=False),
    Index("provider_sessions_sid", "issuer", "sid"),
    Index("provider_sessions_expires", "expires"),
)

authenticators = Table(
    "authenticators",
    metadata,
    Column("officer", String(64), primary_key=True),
    Column("confirmed", Integer, nullable=False),
    Column("sealed", Text, nullable=False),
)

legacy_keys = Table(
    "legacy_keys",
    metadata,
    Column("contract", String(32), nullable=False),
    Column("id", String(128), nullable=False),
    Column("system", String(64), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("active", Integer, nullable=False),
    PrimaryKeyConstraint("contract", "id"),
    Index("legacy_keys_system", "system"),
)

feed = Table(
    "feed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)

one_time = Table(
    "one_time",
    metadata,
    Column("namespace", String(32), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("expires", BigInteger, nullable=False),
    PrimaryKeyConstraint("namespace", "digest"),
    Index("one_time_expires", "expires"),
)

quota_used = Table(
    "quota_used",
    metadata,
    Column("grant_id", String(64), nullable=False),
    Column("day", String(10), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("used", BigInteger, nullable=False),
    PrimaryKeyConstraint("grant_id", "day", "kind"),
    Index("quota_used_day", "day"),
)

answers = Table(
    "answers",
    metadata,
    Column("key", String(255), nullable=False),
    Column("officer", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("expires", BigInteger, nullable=False),
    PrimaryKeyConstraint("officer", "key"),
    Index("answers_expires", "expires"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("beat_ms", BigInteger, nullable=False),
    Column("acknowledged", BigInteger, nullable=False),
    Column("address", String(255), nullable=False, server_default=""),
    Column("listeners", Text, nullable=False, server_default=""),
)

drawn = Table(
    "drawn",
    metadata,
    Column("department", String(64), nullable=False),
    Column("day", String(10), nullable=False),
    Column("dataset", String(128), nullable=False),
    Column("purpose", String(64), nullable=False),
    PrimaryKeyConstraint("department", "day", "dataset", "purpose"),
)

gathered = Table(
    "gathered",
    metadata,
    Column("circle", String(64), nullable=False),
    Column("day", String(10), nullable=False),
    Column("department", String(64), nullable=False),
    Column("dataset", String(128), nullable=False),
    Column("knowing", String(8), nullable=False),
    PrimaryKeyConstraint("circle", "day", "department", "dataset", "knowing"),
)
"""What a department drew, for each department above it then: beside `drawn`, which neighbouring versions count by."""

nonce_secrets = Table(
    "nonce_secrets",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sealed", Text, nullable=False),
    Column("made", BigInteger, nullable=False),
)

disposals = Table(
    "disposals",
    metadata,
    Column("grant_id", String(64), primary_key=True),
    Column("department", String(64), nullable=False),
    Column("supplier", String(64), nullable=False),
    Column("due_on", String(10), nullable=False),
    Column("provisional", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("destroyed_record", String(128)),
    Column("destroyed_on", String(10)),
    Index("disposals_due", "due_on", "grant_id"),
)

cases = Table(
    "cases",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", String(64), nullable=False),
    Column("process", String(24), nullable=False),
    Column("state", String(24), nullable=False),
    Column("supplier", String(64)),
    Column("demand", String(64)),
    Column("dataset", String(128)),
    Column("grant_id", String(64)),
    Column("overseen", String(64)),
    Column("waits_supplier", Integer, nullable=False),
    Column("waits_demand", Integer, nullable=False),
    Column("waits_competent", Integer, nullable=False),
    Column("due_on", String(10)),
    Column("body", Text, nullable=False),
    Index("cases_id", "id", unique=True),
    Index("cases_process", "process", "number", "overseen"),
    Index("cases_state", "process", "state", "number", "overseen"),
    Index("cases_overseen", "overseen", "process", "number"),
    Index("cases_supplier", "supplier", "process", "number"),
    Index("cases_demand", "demand", "process", "number"),
    Index("cases_grant", "grant_id", "process"),
    *(
        Index(
            f"cases_waits_{party}",
            *((party,) if party != "competent" else ()),
            "due_on",
            "number",
            sqlite_where=text(f"waits_{party} = 1"),
            postgresql_where=text(f"waits_{party} = 1"),
        )
        for party in ("supplier", "demand", "competent")
    ),
    Index(
        "cases_due",
        "due_on",
        "number",
        sqlite_where=text("due_on IS NOT NULL"),
        postgresql_where=text("due_on IS NOT NULL"),
    ),
)
"""`number` rises in the order of opening; `waits_…` says whom a case waits for."""

case_events = Table(
    "case_events",
    metadata,
    Column("case_id", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("case_id", "number"),
)

case_files = Table(
    "case_files",
    metadata,
    Column("case_id", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("case_id", "digest"),
)

texts = Table(
    "texts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("mark", String(64), nullable=False),
    Column("word", String(64), nullable=False),
    Column("system", String(64), nullable=False),
    Column("department", String(64), nullable=False),
    Column("day", String(10), nullable=False),
    Column("named_until", String(10), nullable=False),
    Column("years", Integer, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("places", Text),
    Index("texts_mark", "mark", unique=True),
    Index("texts_word", "word"),
    Index("texts_day", "system", "day"),
    Index("texts_until", "named_until"),
)
"""`day` is when it came, `named_until` the last day on which a record may name it, which stays for `years`.
`places` names the rows of `WORDED` in which an officer's text stands besides."""

erased_texts = Table(
    "erased_texts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("record", String(128), nullable=False),
)

proposals = Table(
    "proposals",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("department", String(64), nullable=False),
    Column("supplier", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Index("proposals_department", "department", "state", "id"),
    Index("proposals_supplier", "supplier", "state", "id"),
)

policy_sets = Table(
    "policy_sets",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)

policy_events = Table(
    "policy_events",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("step", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Index("policy_events_step", "step", "number"),
)

shadow_counts = Table(
    "shadow_counts",
    metadata,
    Column("shadow", Integer, nullable=False),
    Column("node", String(128), nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("shadow", "node"),
)

acts = Table(
    "acts",
    metadata,
    Column("run", String(64), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("outcome", String(8), nullable=False),
    Column("body", Text),
    PrimaryKeyConstraint("run", "first"),
    Index("acts_outcome", "outcome", "run", "first"),
)

logs = Table(
    "logs",
    metadata,
    Column("origin", String(255), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", String(64), nullable=False),
    Column("settled", BigInteger, nullable=False),
)

homes = Table(
    "homes",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("incarnation", String(64), nullable=False),
    Column("restored", Integer, nullable=False),
)

WORDED = {
    table.name: column
    for table, column in (
        (account_events, "officer"),
        (case_events, "case_id"),
        (cases, "id"),
        (disposals, "grant_id"),
        (enrolments, "officer"),
        (orders, "id"),
        (policy_events, "number"),
        (proposals, "id"),
    )
}
"""Tables in which what an officer says stands for those it concerns, and the column by which such rows are found."""
