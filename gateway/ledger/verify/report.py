"""What the offline verifier reports, and how it fails."""

import msgspec

from gateway.domain.errors import GatewayError


class ProvenRecord(msgspec.Struct, frozen=True):
    """What a proven entry says of itself.

    Args:
        id: the record it is of; both entries of a use bear the same.
        kind: of the entry: `use.opened`, `use.closed`, `order`, …
        time: when it was written, RFC 3339 in China Standard Time.
        grant: the grant it names; None where it names none, as the closing of a use.
    """

    id: str
    kind: str
    time: str
    grant: str | None


class Checked(msgspec.Struct, frozen=True):
    """What was verified.

    Args:
        what: `record`, `export` or `log`.
        origin: the log.
        size: leaves at the checkpoint it rests on.
        entries: entries that were hashed.
        checked: what holds, one sentence each.
        not_checked: what this cannot show, one sentence each.
        record: of a record's proof, which record it is.
    """

    what: str
    origin: str
    size: int
    entries: int
    checked: tuple[str, ...]
    not_checked: tuple[str, ...]
    record: ProvenRecord | None = None


class VerificationFailed(GatewayError):  # noqa: N818 — says what happened, like the module
    """Something does not hold: where, and what.

    Args:
        where: the file, leaf or line.
        what: one sentence.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__("verification-failed", f"{where}: {what}")
        self.where = where
        self.what = what

    def __reduce__(self) -> tuple[type["VerificationFailed"], tuple[str, str]]:
        return VerificationFailed, (self.where, self.what)
