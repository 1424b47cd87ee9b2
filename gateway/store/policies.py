"""The policies in force, as the state knows them: sets by id, and the steps that put them in force or in the shadow.

A set is kept as it was checked and never changed. What is in force is what the newest step says, so that every process
of every node that reads it reads the same, whole. Without any step the policies of the settings are in force.
"""

# ruff: noqa: A002 - `id` is the domain's name for it

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.sql import bindparam

from gateway.domain.changes import ChangeKind
from gateway.domain.errors import GatewayError
from gateway.domain.policies import IN_FORCE_STEPS, PolicyEvent, PolicySet, PolicyStep
from gateway.store import schema
from gateway.store.readings import Readings
from gateway.store.transaction import WriteBase

_SET = select(schema.policy_sets.c.body).where(schema.policy_sets.c.id == bindparam("id"))
_EVENTS = (
    select(schema.policy_events.c.body)
    .where(schema.policy_events.c.number < bindparam("before"))
    .order_by(schema.policy_events.c.number.desc())
    .limit(bindparam("limit"))
)
_NEWEST = (
    select(schema.policy_events.c.body)
    .where(schema.policy_events.c.step.in_(bindparam("steps", expanding=True)))
    .order_by(schema.policy_events.c.number.desc())
    .limit(1)
)
_REGIONS = select(schema.departments.c.region).distinct().order_by(schema.departments.c.region)
_LAST = 2**31 - 1

_events = msgspec.json.Decoder(PolicyEvent)
_sets = msgspec.json.Decoder(PolicySet)


class PolicyReadings(Readings):
    """Reads of policies."""

    def policies_in_force(self) -> PolicyEvent | None:
        """The step that put the present policies in force, or None: then those of the settings are."""
        return self._newest_step(*IN_FORCE_STEPS)

    def policies_before(self, present: PolicyEvent) -> PolicyEvent | None:
        """The newest step before `present` that put another set in force than it did, or None."""
        before = present.number
        while page := self.policy_events(before):
            for event in page:
                if event.step in IN_FORCE_STEPS and event.set != present.set:
                    return event
            before = page[-1].number
        return None

    def regions(self) -> tuple[str, ...]:
        """The division codes of all departments, each once."""
        return tuple(row[0] for row in self._rows(_REGIONS, {}))

    def policies_in_shadow(self) -> PolicyEvent | None:
        """The step that put the present candidate in the shadow, or None where there is none."""
        begun, ended = self.last_shadow()
        return begun if ended is None else None

    def last_shadow(self) -> tuple[PolicyEvent | None, PolicyEvent | None]:
        """The step that put the last candidate in the shadow, and the one that took it out again."""
        last = self._newest_step(PolicyStep.SHADOW, PolicyStep.SHADOW_END)
        if last is None or last.step is PolicyStep.SHADOW:
            return last, None
        return self._newest_step(PolicyStep.SHADOW), last

    def _newest_step(self, *steps: PolicyStep) -> PolicyEvent | None:
        rows = self._rows(_NEWEST, {"steps": [step.value for step in steps]})
        return _events.decode(rows[0][0]) if rows else None

    def policy_events(self, before: int | None = None, limit: int = 100) -> tuple[PolicyEvent, ...]:
        """Steps, newest first, from before the one of that number."""
        rows = self._rows(_EVENTS, {"before": _LAST if before is None else before, "limit": limit})
        return tuple(_events.decode(row[0]) for row in rows)

    def policy_event(self, number: int) -> PolicyEvent | None:
        """The step of that number."""
        return next((one for one in self.policy_events(number + 1, 1) if one.number == number), None)

    def policy_set(self, id: str) -> PolicySet | None:
        """The set of that id.

        Raises:
            GatewayError: `conflict` if what is kept under the id is not that set any more.
        """
        rows = self._rows(_SET, {"id": id})
        if not rows:
            return None
        try:
            found = _sets.decode(rows[0][0])
        except msgspec.MsgspecError as error:
            raise _damaged(id) from error
        if found.id != id:
            raise _damaged(id)
        return found


class PolicyTransaction(PolicyReadings, WriteBase):
    """A transaction that can also put policies in force."""

    def put_policy_set(self, policies: PolicySet) -> None:
        """Keep a set; one that is kept already stays as it is."""
        if self.policy_set(policies.id) is None:
            body = msgspec.json.encode(policies).decode()
            self._connection.execute(insert(schema.policy_sets).values(id=policies.id, body=body))

    def add_policy_event(self, event: PolicyEvent, *, withdraws: bool) -> None:
        """Take the next step; every worker of every node hears of it.

        Args:
            event: its set is kept; its number is the next one.
            withdraws: whether it can take access away, so that what streams is cut (INVARIANT: BARRIER).
        """
        body = msgspec.json.encode(event).decode()
        self._insert(schema.policy_events, {"number": event.number, "step": event.step.value, "body": body})
        if event.step is PolicyStep.SHADOW:
            self._connection.execute(delete(schema.shadow_counts).where(schema.shadow_counts.c.shadow < event.number))
        if event.step not in (PolicyStep.INITIAL, PolicyStep.PROPOSE):
            self.change(ChangeKind.POLICY, event.step.value, withdraws=withdraws)


def _damaged(id: str) -> GatewayError:
    return GatewayError("conflict", f"the policy set `{id[:16]}` in the state is not what was put there")
