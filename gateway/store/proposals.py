"""Reads of grants on their way (`gateway.domain.proposals`); a subclass says where rows come from."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Executable, or_, select

from gateway.domain.proposals import Proposal
from gateway.store import schema
from gateway.store.readings import Rows

_DECODER = msgspec.json.Decoder(Proposal)

MAX_LISTED = 1000


class Proposals:
    """Reads of proposals, by id and by department."""

    def _rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Rows:
        raise NotImplementedError

    def proposal(self, id: str) -> Proposal | None:  # noqa: A002 - the domain's name
        """The proposal of that id."""
        table = schema.proposals
        rows = self._rows(select(table.c.body).where(table.c.id == id), {})
        return _DECODER.decode(rows[0][0]) if rows else None

    def proposals_of(self, department: str) -> tuple[Proposal, ...]:
        """Those on which a department is on either side, by id; `MAX_LISTED` at most."""
        table = schema.proposals
        mine = or_(table.c.department == department, table.c.supplier == department)
        statement = select(table.c.body).where(mine).order_by(table.c.id).limit(MAX_LISTED)
        return tuple(_DECODER.decode(row[0]) for row in self._rows(statement, {}))


def proposal_columns(proposal: Proposal) -> dict[str, Any]:
    """The row of `proposals` that holds a proposal, without its id."""
    return {
        "department": proposal.grant.department,
        "supplier": proposal.supplier,
        "state": proposal.state.value,
        "body": msgspec.json.encode(proposal).decode(),
    }
