"""A grant on its way: proposed and approved by the demand side, then approved by the supplier (Decree 809 Art. 20, 21).

| state | acts | next |
|---|---|---|
| proposed | propose anew, approve (demand side), withdraw | approved, withdrawn |
| approved | propose anew, approve (supplier), refuse, withdraw | proposed, issued, refused, withdrawn |
| issued, refused, withdrawn | propose anew | proposed |

INVARIANT: ACTS-NOT-FIELDS — an approval is an act of a signed-in person on the digest of what is approved, and falls
with a change of it. Who may is Cedar's answer; that an act fits the state is this table's.
"""

import hashlib
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.grants import Approval, Grant

NOBODY = Approval("", datetime(1970, 1, 1, tzinfo=UTC))
"""Stands where no approval was given yet."""


class ProposalState(StrEnum):
    """Where a proposal stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    ISSUED = "issued"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class Proposal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is proposed, and who approved it so far.

    Args:
        id: of the grant that it is to become, or of the one that it is to renew.
        grant: as it would be issued, but for its approvals.
        supplier: the supply department.
        proposed_by: the officer who proposed it.
        proposed_at: when.
        demand_approval: the demand side's, once given.
        supply_approval: the supplier's, where it came first: of less than was applied for.
        application: the application that it belongs to (`gateway.domain.processes.applications`), whose steps alone
            act on it; "" where it was proposed by itself.
        state: where it stands.
        reasons: of a refusal (Art. 21), or of a withdrawal.
    """

    id: str
    grant: Grant
    supplier: str
    proposed_by: str
    proposed_at: datetime
    demand_approval: Approval | None = None
    supply_approval: Approval | None = None
    application: str = ""
    state: ProposalState = ProposalState.PROPOSED
    reasons: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what is approved."""
        return digest_of(self.grant)

    def require(self, digest: str, *states: ProposalState) -> None:
        """What a person has read is what they act on, and it stands where the act needs it.

        Raises:
            GatewayError: `conflict`; `invalid-input` where the digest is another's.
        """
        if self.state not in states:
            raise GatewayError("conflict", f"proposal `{self.id}` is {self.state.value}")
        if digest != self.digest:
            fault = {"field": "digest", "fault": "is not of what is proposed now: read it again"}
            raise GatewayError("invalid-input", "what was proposed has changed", faults=[fault])

    def granted(self) -> Grant:
        """The grant that both sides approved."""
        assert self.demand_approval is not None
        assert self.supply_approval is not None
        approvals = {"demand_approval": self.demand_approval, "supply_approval": self.supply_approval}
        return msgspec.structs.replace(self.grant, **approvals)

    @property
    def is_open(self) -> bool:
        """Whether it may still become a grant."""
        return self.state in (ProposalState.PROPOSED, ProposalState.APPROVED)


def digest_of(grant: Grant) -> str:
    """SHA-256 (hex) over a grant without its approvals."""
    bare = msgspec.structs.replace(grant, demand_approval=NOBODY, supply_approval=NOBODY)
    return hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()
