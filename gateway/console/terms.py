"""The words for what the API names by values: standings, acts, kinds, fields, and the faults that people meet most."""

from collections.abc import Mapping


def N_(text: str) -> str:  # noqa: N802 - gettext's own name for a text that is translated where it is shown
    """Mark a text for the catalogues."""
    return text


STANDINGS: Mapping[str, str] = {
    "active": N_("active"),
    "not-yet-valid": N_("not yet valid"),
    "expired": N_("expired"),
    "issued": N_("issued"),
    "suspended": N_("suspended"),
    "terminated": N_("terminated"),
    "closed": N_("closed"),
    "disposed": N_("disposed of"),
    "superseded": N_("superseded"),
}
MODES: Mapping[str, str] = {
    "query": N_("query"),
    "verify": N_("verification"),
    "batch": N_("batch exchange"),
    "download": N_("file download"),
}
ORDER_KINDS: Mapping[str, str] = {
    "suspension": N_("suspension"),
    "emergency": N_("emergency suspension"),
    "termination": N_("termination"),
}
ROLES: Mapping[str, str] = {
    "supplier": N_("supply department"),
    "demand": N_("demand department"),
    "competent": N_("competent department"),
    "auditor": N_("auditor"),
    "operator": N_("operator"),
    "paper": N_("entry from paper"),
}
ASSURANCES: Mapping[str, str] = {
    "legacy": N_("signed header fields"),
    "bearer": N_("bearer token"),
    "bound": N_("bound token"),
    "dpop": N_("token bound by a key"),
    "mtls": N_("client certificate"),
}
KINDS: Mapping[str, str] = {
    "use": N_("use"),
    "use.refused": N_("refused use"),
    "effect": N_("effect of use"),
    "storage": N_("storage"),
    "destruction": N_("destruction"),
    "order": N_("order"),
    "grant": N_("act on a grant"),
    "directory": N_("act on the directory"),
    "policy": N_("act on policies"),
    "key": N_("act on keys"),
    "export": N_("export"),
    "consultation": N_("reading or sign-in"),
    "prune": N_("removal after retention"),
    "recovered": N_("recovered after a failure"),
    "erasure": N_("erasure of a caller's words"),
}
VERDICTS: Mapping[str, str] = {"permit": N_("permitted"), "deny": N_("refused")}
EFFECTS: Mapping[str, str] = {"permit": N_("permits"), "forbid": N_("forbids")}
POSSIBLE: Mapping[str, str] = {
    "possible": N_("It can, for example:"),
    "never": N_("Never."),
    "not-found": N_("No permit was found for any kind of call; this is not proved."),
    "unknown": N_("Not known: no permit was found, and not every kind of call was looked at."),
}
POSSIBLE_BY: Mapping[str, str] = {
    "gateway": N_("No policy is asked."),
    "no-permit": N_("There is no permit at all."),
    "solver": N_("Proved of every request there can be."),
}
UNPROVED: Mapping[str, str] = {
    "no-solver": N_("The programs that prove are missing here."),
    "not-proved": N_("The solver proved nothing of it."),
}
PROVED: Mapping[str, str] = {"proved": N_("all proved"), "refuted": N_("refuted"), "unknown": N_("not all proved")}
ENDINGS: Mapping[str, str] = {
    "complete": N_("complete"),
    "cut": N_("cut off"),
    "overrun": N_("longer than announced"),
    "supplier-failed": N_("the supplier failed"),
    "supplier-slow": N_("the supplier was too slow"),
    "supplier-timeout": N_("the supplier did not answer in time"),
    "supplier-unreachable": N_("the supplier was not reached"),
    "internal": N_("failed inside the gateway"),
}
REACHES: Mapping[str, str] = {
    "grant": N_("grant"),
    "system": N_("system"),
    "department": N_("department"),
    "dataset": N_("dataset"),
    "supplier": N_("supply department"),
}
ATTRIBUTES: Mapping[str, str] = {
    "unconditional": N_("unconditional sharing"),
    "conditional": N_("conditional sharing"),
    "non-shareable": N_("not shared"),
}
CYCLES: Mapping[str, str] = {
    "real-time": N_("in real time"),
    "day": N_("daily"),
    "week": N_("weekly"),
    "month": N_("monthly"),
    "quarter": N_("quarterly"),
    "year": N_("yearly"),
}
ENTRY_STATES: Mapping[str, str] = {
    "submitted": N_("submitted"),
    "released": N_("released"),
    "rejected": N_("rejected"),
    "superseded": N_("superseded"),
    "withdrawn": N_("withdrawn"),
}
PARTS: Mapping[str, str] = {"state": N_("State"), "workers": N_("Processes that serve calls"), "records": N_("Records")}
KEY_STATES: Mapping[str, str] = {
    "active": N_("in use"),
    "retiring": N_("verifies only"),
    "expired": N_("expired"),
}
BOUNDS: Mapping[str, str] = {
    "departments": N_("Departments"),
    "levels": N_("Levels of government"),
    "regions": N_("Regions"),
    "matters": N_("Departments with one of these matters"),
}
LEVELS: Mapping[str, str] = {
    "national": N_("national"),
    "province": N_("province"),
    "city": N_("city"),
    "county": N_("county"),
    "township": N_("township"),
}
FIELDS: Mapping[str, str] = {
    "name": N_("Name"),
    "sharing_attribute": N_("Sharing attribute"),
    "grade": N_("Grade"),
    "classification": N_("Classification"),
    "conditions": N_("Conditions of use"),
    "scope": N_("Scope of use"),
    "recipients": N_("May be shared with"),
    "update_cycle": N_("Updated"),
    "state": N_("State"),
    "version": N_("Version"),
    "items": N_("Data items"),
    "purposes": N_("Purposes"),
    "valid_until": N_("Valid until"),
    "disputed": N_("In dispute"),
}
"""What a stale page shows the difference in."""

FAULTS = (
    N_("is missing"),
    N_("has passed"),
    N_("lies in the future"),
    N_("is not right"),
    N_("is not the same"),
    N_("is no day: write it as 2026-06-30"),
    N_("has a form that is not allowed here"),
    N_("is missing: an emergency names its incident (Art. 35)"),
    N_("is missing: a suspension names the violation (Art. 27 ¶2)"),
    N_("is missing: a suspension sets a date (Art. 27 ¶2)"),
    N_("is missing: a record of consultation without a violation (Art. 27 ¶3)"),
    N_("is missing: a filing reference without a violation (Art. 27 ¶3)"),
)
"""Sentences of the API that forms meet; another one stands as the API says it."""

POWERS: Mapping[str, tuple[str, str]] = {
    "supply department": ("supplier", "supplier"),
    "demand department": ("demand", "department"),
    "competent department of the supplier's region": ("competent", ""),
    "competent department of the demand's region": ("competent", ""),
}
"""Whom the table of a grant's life names, as the role and the side of the grant that it stands for; "" is any."""
