"""Who calls, and how well that is proven."""

from enum import StrEnum

import msgspec

from gateway.domain.directory import SystemDates


class Assurance(StrEnum):
    """How strongly a credential is bound to its sender, weakest first."""

    LEGACY = "legacy"
    BEARER = "bearer"
    DPOP = "dpop"
    MTLS = "mtls"

    @property
    def rank(self) -> int:
        """0 (legacy) to 3 (mtls): policies compare ranks."""
        return _RANKS[self]


_RANKS = {Assurance.LEGACY: 0, Assurance.BEARER: 1, Assurance.DPOP: 2, Assurance.MTLS: 3}


class Caller(msgspec.Struct, frozen=True):
    """A demand department's system, proven by a credential.

    Args:
        system: the system's id.
        department: its department's id.
        assurance: how well the credential is bound to the sender.
        credential: what names the credential in records: a token's `jti` or a legacy key's id; never a secret.
        expires_unix: the second after which the credential no longer holds.
        purpose: the one purpose a legacy key is bound to, else None.
        keepers: ids of the officers who keep the system's keys.
        dates: when the system was registered and until when it is certified; None where that is not known.
    """

    system: str
    department: str
    assurance: Assurance
    credential: str
    expires_unix: int
    purpose: str | None = None
    keepers: tuple[str, ...] = ()
    dates: SystemDates | None = None

    def is_keeper(self, operator: str) -> bool:
        """Whether who operates, by the name that the call gives, is one who keeps the system's keys."""
        return bool(operator) and operator.strip().casefold() in self.keepers
