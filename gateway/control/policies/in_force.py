"""How policies come to be in force: examined before the transaction, compared, recorded and told within it.

Where two persons are asked for, the first one's act keeps the set as a proposal, and the other's puts it in force,
examined anew: what stands has changed since.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
from fastapi import Request
from fastapi.responses import Response

from gateway.control.act.acting import Answer, Deed, is_permitted, matter_of_gateway, perform
from gateway.control.act.bodies import Body
from gateway.control.act.deeds import State
from gateway.control.act.preconditions import require_tag
from gateway.control.act.services import ControlServices
from gateway.control.policies.authority import (
    permitted_changes,
    require_changes,
    require_own_data,
    require_some_activation,
)
from gateway.control.policies.standing import PairsOf, StandingState
from gateway.domain.changes import Change, ChangeKind
from gateway.domain.errors import GatewayError
from gateway.domain.officers import Act, Matter, Officer
from gateway.domain.policies import IN_FORCE_STEPS, PolicyEvent, PolicySet, PolicyStep, Proposed, Proved
from gateway.domain.uses import EVERY_DEPARTMENT, RecordKind
from gateway.policy.law.layers import parse_layers
from gateway.policy.law.scopes import regions_of
from gateway.policy.offline.activating import can_withdraw
from gateway.policy.offline.authority import widening, with_layers_of
from gateway.policy.offline.comparing import compare
from gateway.policy.offline.examining import Loss
from gateway.store import Store, StoreTransaction

RECORDED_IDS = 100
"""Grants that lose, named in the record of an activation; all are counted."""

MAX_PAIRS = 200
"""Pairs of department and dataset that may change while a comparison runs, to be compared again under the lock."""

UNRELATED = frozenset({ChangeKind.KEY, ChangeKind.SYSTEM, ChangeKind.POLICY})
"""Kinds of change that no comparison depends on."""


class Said(Protocol):
    """What an officer says of an activation: see `activation.ActivationBody`."""

    no_loss: bool
    revives: bool
    thorough: bool
    reason: str | None


class Activation:
    """One activation or rollback: its examination before the transaction, and its step within.

    Args:
        services: the rooms.
        step: what is done.
        choose: the set to put in force, of what is in force now.
        said: what the officer says of it.
        proposal: the step that proposed it, if another did.
        if_match: `If-Match`: the id of the set that it is to replace.
    """

    def __init__(
        self,
        services: ControlServices,
        step: PolicyStep,
        choose: Callable[[PolicySet], PolicySet],
        said: Said,
        proposal: PolicyEvent | None = None,
        if_match: str | None = None,
    ) -> None:
        self._proposal = proposal
        self._if_match = if_match
        self._services = services
        self._step = step
        self._choose = choose
        self._said = said

    def perform(self, request: Request, officer: Officer, key: str | None, body: Body) -> Response:
        """Do it; see `gateway.control.act.acting`."""
        require_some_activation(self._services, officer)
        self._officer = officer
        answer = perform(
            self._services,
            request,
            officer,
            key,
            body.model_dump(),
            self._work,
            prepare=self._prepare,
            everywhere=True,
        )
        with contextlib.suppress(GatewayError):
            # Acts look for themselves; this is for who only reads. What fails here, the feed tries again.
            self._services.policies.keeper.refresh()
        return answer

    def _prepare(self) -> None:
        """What takes long and needs no lock: check and compare."""
        services = self._services
        services.policies.keeper.refresh()
        self._now = services.policies.keeper.now
        require_tag(self._if_match, lambda: self._now.policies.id)
        self._policies = self._choose(self._now.policies)
        if self._policies.id == self._now.policies.id:
            raise GatewayError("conflict", "these policies are in force already")
        self._changes = require_changes(services, self._officer, self._now.policies, self._policies)
        self._sequence = services.store.sequence()
        found = services.policies.examine(
            self._policies, self._now.policies, int(services.now()), thorough=self._said.thorough
        )
        assert found.loss is not None, "what is sound was compared"
        self._checked, self._loss, self._proving = found.checked, found.loss, found.proving
        self._require_proved()
        # What the examination has parsed is parsed here without harm.
        self._layers = parse_layers(self._policies.files, self._policies.layers)
        require_own_data(services.store, self._layers, self._changes)

    def _work(self, deed: Deed) -> Answer:
        now, loss = self._now, self._loss
        widened = widening(now.layers, self._layers)

        def asked(tx: StoreTransaction) -> Sequence[Matter]:
            return permitted_changes(
                self._services, deed.officer, now.policies, self._changes, tx, widened, self._proposal
            )

        deed.permit_all(Act.ACTIVATE_POLICIES, asked)
        if deed.tx.policies_in_force() != now.event:
            raise GatewayError("conflict", "other policies were put in force meanwhile; try again")
        self._require_said(loss)
        if self._proposal is not None:
            self._require_proposer(deed, self._proposal)
        elif self._services.policies.two_persons:
            return self._propose(deed)
        if now.event is None:
            # The set of the settings is kept, so that there is one to go back to.
            deed.tx.put_policy_set(now.policies)
            before = PolicyEvent(
                _next_number(deed.tx),
                PolicyStep.INITIAL,
                now.policies.id,
                now.layers.digest,
                now.layers.names,
                "",
                deed.now,
            )
            deed.tx.add_policy_event(before, withdraws=False)
        deed.tx.put_policy_set(self._policies)
        event = take_step(
            deed,
            self._step,
            self._policies.id,
            self._layers.digest,
            self._layers.names,
            self._said.reason,
            withdraws=can_withdraw(now.layers, self._layers),
            previous_digest=now.layers.digest,
            gaining=loss.gaining,
            losing=loss.losing,
            losing_grants=list(loss.grants_losing[:RECORDED_IDS]),
            proved=self._proving.proved,
            ever={one.action: one.change for one in self._proving.ever},
            approves=None if self._proposal is None else self._proposal.number,
            changed=tuple(one.what for one in self._changes),
        )
        return Answer({"activation": event, **self._found()})

    def _propose(self, deed: Deed) -> Answer:
        """Keep the set and what was said of it, for another person."""
        deed.tx.put_policy_set(self._policies)
        asked = Proposed(
            self._step,
            0 if self._now.event is None else self._now.event.number,
            no_loss=self._said.no_loss,
            revives=self._said.revives,
            thorough=self._said.thorough,
        )
        event = take_step(
            deed,
            PolicyStep.PROPOSE,
            self._policies.id,
            self._layers.digest,
            self._layers.names,
            self._said.reason,
            proposed=asked,
            changed=tuple(one.what for one in self._changes),
            previous_digest=self._now.layers.digest,
            gaining=self._loss.gaining,
            losing=self._loss.losing,
            proved=self._proving.proved,
        )
        return Answer({"proposal": event, **self._found()}, 202)

    def _require_proposer(self, deed: Deed, proposal: PolicyEvent) -> None:
        """What was proposed is still that, and who proposed it could still do so."""
        present = 0 if self._now.event is None else self._now.event.number
        if proposal.proposed is None or proposal.proposed.instead_of != present:
            raise GatewayError("conflict", "other policies are in force than when this was proposed: propose it anew")
        person = deed.tx.officer(proposal.by)
        lapsed = GatewayError("conflict", "who proposed these policies may not any more: propose them anew")
        if person is None:
            raise lapsed
        widened = widening(self._now.layers, self._layers)
        try:
            permitted_changes(self._services, person, self._now.policies, self._changes, deed.tx, widened)
        except GatewayError as error:
            raise lapsed from error

    def _found(self) -> dict[str, Any]:
        """What the examination found, as it is answered."""
        checked = {"policies": self._checked.policies, "cases": self._checked.cases}
        return {
            "before": self._now.layers.digest,
            "checked": checked,
            "proving": self._proving,
            "loss": _told(self._loss),
        }

    def _require_proved(self) -> None:
        """What is refuted is put in force for a reason alone, and nothing unproved where that is demanded."""
        proved, demand = self._proving.proved, self._services.policies.proofs
        if demand == "required" and (proved is None or proved.result != "proved"):
            why = "were not proved: " + self._proving.unasked if proved is None else "are not all proved"
            raise GatewayError(
                "conflict",
                f"theorems of these policies {why}; the setting `policies.proofs` asks for proofs",
                proving=msgspec.to_builtins(self._proving),
            )
        if proved is not None and proved.result == "refuted" and self._said.reason is None:
            fault = {"field": "reason", "fault": "is missing: why policies are put in force that break a theorem"}
            raise GatewayError(
                "invalid-input",
                f"refuted: {', '.join(proved.failed)}",
                faults=[fault],
                proving=msgspec.to_builtins(self._proving),
            )

    def _require_said(self, loss: Loss) -> None:
        """Nothing is lost without a reason, or where nothing may be; nothing begins to flow without a word."""
        words = f"{loss.losing} standing grants lose and {loss.unsettled} others may lose"
        if not loss.is_whole:
            raise GatewayError(
                "conflict",
                f"not everything that stands was compared, for it takes more than a few seconds; so far {words}: "
                "say `thorough`, and wait",
                loss=_told(loss),
            )
        if self._said.no_loss and (loss.takes_away or self._takes_away_since()):
            raise GatewayError("conflict", f"{words}, and nothing may (Decree 809 Art. 15, 39(2))", loss=_told(loss))
        if loss.takes_away and self._said.reason is None:
            fault = {"field": "reason", "fault": "is missing: what is taken away is told why"}
            raise GatewayError("invalid-input", f"{words}: give a reason", faults=[fault], loss=_told(loss))
        if loss.gives and not self._said.revives:
            raise GatewayError(
                "conflict",
                f"{loss.gaining} standing grants, or departments without one, obtain what they do not now: look at it, "
                "then say `revives`",
                loss=_told(loss),
            )

    def _takes_away_since(self) -> bool:
        """Whether the set takes anything from what was granted while the comparison ran."""
        services = self._services
        changes = services.store.changes_after(self._sequence, limit=MAX_PAIRS + 1)
        pairs = {_pair(change) for change in changes if change.kind not in UNRELATED}
        if None in pairs or len(changes) > MAX_PAIRS:
            raise GatewayError("conflict", "too much changed while the policies were compared; try again")
        standing = PairsOf(StandingState(services.store), [pair for pair in pairs if pair is not None])
        return compare(self._now.layers, self._layers, standing, int(services.now())).takes_away


def _pair(change: Change) -> tuple[str, str] | None:
    if change.department is None or change.dataset is None:
        return None
    return change.department, change.dataset


def set_before(
    services: ControlServices, officer: Officer, present: PolicySet, number: int | None, layer: str | None
) -> PolicySet:
    """The set to go back to: that of a step, or the one before the present.

    Of a layer that is named, and of the layers that are the officer's own where the officer does not put in force what
    holds for all, it goes back in those alone: what others put in force since stays in force.

    Raises:
        GatewayError: `invalid-input` where the step put none in force; `conflict` where nothing was before.
    """
    store = services.store
    present_event = services.policies.keeper.now.event
    chosen = _layers_gone_back_in(services, officer, layer)
    if number is not None:
        before = store.policy_event(number)
        if before is None or before.step not in IN_FORCE_STEPS:
            what = f"step {number} put no policies in force: `gateway policies history` has those that did"
            raise GatewayError("invalid-input", what)
        found = kept_set(store, before)
        return found if chosen is None else with_layers_of(present, found, chosen(present, found))
    number = None if present_event is None else present_event.number
    for event in _put_in_force(store, number):
        found = kept_set(store, event)
        back = found if chosen is None else with_layers_of(present, found, chosen(present, found))
        if back.id != present.id:
            return back
    raise GatewayError("conflict", "no other policies were in force before")


def _put_in_force(store: Store, before: int | None) -> Iterator[PolicyEvent]:
    """The steps before that one that put policies in force, newest first; none where there is none before."""
    while before is not None and (page := store.policy_events(before)):
        yield from (event for event in page if event.step in IN_FORCE_STEPS)
        before = page[-1].number


def _layers_gone_back_in(
    services: ControlServices, officer: Officer, layer: str | None
) -> Callable[[PolicySet, PolicySet], list[str]] | None:
    """Which layers of the present set and of the one to go back to; None is all there is in them."""
    if layer is not None:
        return lambda _present, _before: [layer]
    whole = matter_of_gateway(services.store)
    if is_permitted(services, officer, Act.ACTIVATE_POLICIES, msgspec.structs.replace(whole, whole=whole.region)):
        return None

    def own(present: PolicySet, before: PolicySet) -> list[str]:
        regions = {**regions_of(before.files, before.layers), **regions_of(present.files, present.layers)}
        return [
            name
            for name, region in regions.items()
            if is_permitted(
                services, officer, Act.ACTIVATE_POLICIES, Matter(region=region, layer=name, whole=whole.region)
            )
        ]

    return own


def kept_set(store: State, event: PolicyEvent) -> PolicySet:
    """The set of a step."""
    found = store.policy_set(event.set)
    if found is None:
        raise GatewayError("conflict", f"the policies of step {event.number} are not kept")
    return found


def take_step(
    deed: Deed,
    step: PolicyStep,
    policy_set: str,
    digest: str,
    layers: tuple[str, ...],
    reason: str | None,
    *,
    withdraws: bool = False,
    proved: Proved | None = None,
    proposed: Proposed | None = None,
    approves: int | None = None,
    changed: tuple[str, ...] | None = None,
    **recorded: Any,
) -> PolicyEvent:
    """Record the step and take it; the record says what is proved of the set."""
    if withdraws:
        deed.will_withdraw()
    more: dict[str, Any] = dict(recorded)
    if proposed is not None:
        more["proposes"] = proposed.step.value
    if approves is not None:
        more["approves"] = approves
    if changed is not None:
        more["changed"] = list(changed)
    record = deed.record(
        RecordKind.POLICY,
        department=EVERY_DEPARTMENT,
        step=step.value,
        policy_set=policy_set,
        digest=digest,
        layers=list(layers),
        reason=reason or "",
        proved=None if proved is None else msgspec.to_builtins(proved),
        **more,
    )
    event = PolicyEvent(
        _next_number(deed.tx),
        step,
        policy_set,
        digest,
        layers,
        deed.officer.id,
        deed.now,
        reason or "",
        record,
        proved,
        proposed,
        approves,
        changed,
    )
    deed.tx.add_policy_event(event, withdraws=withdraws)
    return event


def _next_number(tx: StoreTransaction) -> int:
    newest = tx.policy_events(limit=1)
    return newest[0].number + 1 if newest else 1


def _told(loss: Loss) -> dict[str, Any]:
    return {name: getattr(loss, name) for name in loss.__struct_fields__}
