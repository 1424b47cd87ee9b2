"""Record and act agree again: at each start, what is on record since they last did is compared with the state.

An act's record is durable before its transaction commits, and that transaction notes the record. So a record that the
state has not noted tells either of an act that never stood (the process was killed in between): it gets a `void`
record; or of one that a state put back from a backup has lost. What such an act withdrew is held by orders of the same
reach until an officer lifts each of them, who was dismissed is dismissed again, and what was erased is erased again.
An act without its record cannot exist.

No caller is served meanwhile: the control process grants no lease before this is done.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from gateway.control.act.recorded import Unsettled
from gateway.control.grants.orders import matter_of_reach
from gateway.domain.errors import GatewayError
from gateway.domain.grants import GrantState
from gateway.domain.officers import Role
from gateway.domain.orders import Order, OrderKind, Reach
from gateway.domain.texts import Phrase
from gateway.domain.uses import RecordKind
from gateway.ledger.journal.acts import ActJournal, void_of
from gateway.ledger.witness.adopting import ToldAct, told_acts
from gateway.ledger.witness.mirror import checkpoint_of
from gateway.runtime.start.incarnation import Position
from gateway.store import Difference, KnownLog, Store, StoreTransaction

log = logging.getLogger("gateway.reconciling")

WRITER = "control"


class Reconciled(msgspec.Struct, frozen=True):
    """What was found: records voided, and differences of a state that was put back."""

    voided: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def held(self) -> tuple[Difference, ...]:
        """Those of which something is held."""
        return tuple(each for each in self.differences if each.outcome == "held")


def reconcile(
    store: Store, acts: ActJournal, ledger: Path, origin: str, word_of: Callable[[str], str], *, put_back: bool
) -> Reconciled:
    """Compare the records since the last comparison with the state; see this module.

    Args:
        store: the state.
        acts: the journal of officers' acts, open: nothing else writes acts of this node.
        ledger: the ledger's folder.
        origin: the log's name.
        word_of: a text to what tells it again in the state: what was erased is found wherever it stands.
        put_back: whether the state is known to be older than the log.

    Durability: records and state are synced on return.

    Raises:
        GatewayError: if the log cannot be read, or the comparison not be recorded.
    """
    known = store.known_log(origin)
    newest = checkpoint_of(ledger / "tree")
    told: dict[str, ToldAct] = {}
    voided: set[str] = set()
    # A state that knows no log is of a release whose records bear no position: there is nothing to compare.
    first = known.settled if known else 0 if put_back else None
    for act in told_acts(ledger, WRITER, first):
        if act.voids:
            voided.add(act.voids)
        else:
            told[act.id] = act
    # A state of before there were notes of acts has none of them; then nothing was told with a position either.
    missing = told.keys() - voided - store.has_acts(told)
    open_acts = sorted((told[record] for record in missing), key=lambda act: (act.time, act.id))
    # An act's record bears the feed's position before it: one beyond the present end says that the state went back.
    at = store.sequence()
    put_back = put_back or any((act.position or 0) > at for act in told.values())
    found = _hold(store, acts, open_acts, word_of) if put_back else Reconciled(_void(store, acts, open_acts))
    if newest is not None:
        settle(store, ledger, origin, leaf=newest.size)
    return found


def after_failover(
    store: Store, acts: ActJournal, ledger: Path, origin: str, position: Position, word_of: Callable[[str], str]
) -> None:
    """Another server's history of the state was met: hold again what it lacks of this node's acts.

    A standby that was behind its primary has lost what was committed last, also stops. Where the feed ends before what
    this home knows to have been committed, its records are compared with the state as at a start.

    Raises:
        GatewayError: as `reconcile`; until it succeeds, no lease is granted.
    """
    if position.known() > store.sequence():
        found = reconcile(store, acts, ledger, origin, word_of, put_back=True)
        log.error("the server that took over lacks the last acts: %d of this node's are held", len(found.held))
        position.begin(store.sequence())


def settle(
    store: Store, ledger: Path, origin: str, leaf: int | None = None, *, unsettled: Unsettled | None = None
) -> None:
    """Keep the log's newest checkpoint in the state; acts recorded in it stand, or are void, by now.

    The writer's lock is held while the checkpoint is read: no act of this node is between record and commit.

    Args:
        store: the state.
        ledger: the ledger's folder.
        origin: the log's name.
        leaf: up to which records are settled, where that is less than the checkpoint.
        unsettled: the acts of this process that are on record and of which it is not known whether they stand: while
            there are any, nothing is settled.
    """
    with store.transaction() as tx:
        if unsettled:
            return
        newest = checkpoint_of(ledger / "tree")
        if newest is None or newest.origin != origin:
            return
        held = tx.known_log(origin)
        settled = newest.size if leaf is None else leaf
        if held is None or (newest.size, settled) != (held.size, held.settled):
            tx.know_log(KnownLog(origin, newest.size, newest.root, settled))


def _void(store: Store, acts: ActJournal, missing: list[ToldAct]) -> tuple[str, ...]:
    for act in missing:
        log.warning("record `%s` tells of an act that did not come to stand: it is voided", act.id)
        acts.append(
            RecordKind.CONSULTATION,
            void_of(act.id, msgspec.structs.asdict(act), Phrase("not committed: found at start")),
        )
        with store.transaction() as tx:
            tx.note_acts([act.id], "void")
    return tuple(act.id for act in missing)


def _hold(store: Store, acts: ActJournal, missing: list[ToldAct], word_of: Callable[[str], str]) -> Reconciled:
    found = []
    for act in missing:
        with store.transaction() as tx:
            orders = tuple(_orders_for(tx, act))
            _dismiss_again(tx, act)
            if act.erases:
                # What was erased stays erased: a backup from before is no way back to it.
                tx.erase_texts(act.erases, act.id, word_of)
            outcome = "held" if orders or act.erases else "lost"
            difference = Difference(
                act.id, outcome, act.act, act.officer, act.time, act.kind, act.withdraws, tuple(o.id for o in orders)
            )
            tx.note_difference(difference)
            if orders:
                tx.note_acts(acts.append_all(RecordKind.ORDER, [_told(tx, act, order) for order in orders]))
        log.warning("record `%s` tells of `%s`, which the state put back does not have: %s", act.id, act.act, outcome)
        found.append(difference)
    return Reconciled((), tuple(found))


def _told(tx: StoreTransaction, act: ToldAct, order: Order) -> dict[str, Any]:
    matter = matter_of_reach(tx, order)
    named = {"department": matter.demand, "supplier": matter.supplier, "dataset": matter.dataset}
    return {
        **{name: value for name, value in named.items() if value},
        "officer_department": act.officer_department,
        "act": "hold",
        "step": "hold again",
        "officer": act.officer,
        "order": order.id,
        "reach": order.reach.value,
        "target": order.target,
        "reason": Phrase(order.reason),
        "tells_again": act.id,
        "position": tx.began_at,
        "withdraws": list(act.withdraws),
        **({"grant": order.target} if order.reach is Reach.GRANT else {}),
    }


def _orders_for(tx: StoreTransaction, act: ToldAct) -> Iterable[Order]:
    """Put and yield the orders that hold what `act` withdrew, as far as this state has it at all."""
    made: set[tuple[Reach, str, str | None]] = set()
    scopes = [scope for scope in act.withdraws if not _is_of_a_grant_too(scope, act.withdraws)]
    for number, (reach, target, supplier) in enumerate(each for scope in scopes for each in _reaches(tx, scope)):
        if (reach, target, supplier) in made:
            continue
        made.add((reach, target, supplier))
        order = Order(
            id=f"held-{act.id}-{number}",
            kind=OrderKind.SUSPENSION,
            reach=reach,
            target=target,
            reason=f"held again: record {act.id} tells of an act that the state put back from a backup does not have",
            ordered_by=act.officer,
            ordered_at=datetime.fromtimestamp(time.time(), UTC),
            supplier=supplier,
        )
        if reach is Reach.GRANT:
            grant = tx.grant(target)
            if grant is None or grant.state is not GrantState.ISSUED:
                continue  # it was issued since, or does not stand anyway
            tx.set_grant_state(grant.id, grant.version, GrantState.SUSPENDED)
        try:
            tx.put_order(order)
        except GatewayError as error:
            if error.code != "not-found":
                raise
            continue
        yield order


def _is_of_a_grant_too(scope: dict[str, str], scopes: Iterable[dict[str, str]]) -> bool:
    """Whether a scope is one department's use of one dataset, of which another scope names the grant.

    A suspension held on that grant stops every road of that department to that data, and nobody else's.
    """
    if "grant" in scope or not {"department", "dataset"} <= scope.keys():
        return False
    pair = (scope["department"], scope["dataset"])
    return any("grant" in other and (other.get("department"), other.get("dataset")) == pair for other in scopes)


def _reaches(tx: StoreTransaction, scope: dict[str, str]) -> list[tuple[Reach, str, str | None]]:
    """What an order must reach to hold what a change of this scope took away."""
    if "grant" in scope:
        return [(Reach.GRANT, scope["grant"], None)]
    supplier = scope.get("supplier")
    if "system" in scope:
        return [(Reach.SYSTEM, scope["system"], supplier)]
    if "dataset" in scope:
        return [(Reach.DATASET, scope["dataset"], None)]
    if "department" in scope:
        return [(Reach.DEPARTMENT, scope["department"], supplier)]
    if supplier:
        return [(Reach.SUPPLIER, supplier, None)]
    return [(Reach.SUPPLIER, each, None) for each in tx.suppliers_of_data()]


def _dismiss_again(tx: StoreTransaction, act: ToldAct) -> None:
    """Bring an officer's powers to what the record says: they are no change of the feed, and nothing holds them."""
    if act.kind != RecordKind.DIRECTORY.value or not act.of or act.state not in {"active", "dismissed"}:
        return
    person = tx.officer(act.of)
    if person is not None:
        roles = tuple(Role(role) for role in act.roles if role in set(Role))
        changed = msgspec.structs.replace(
            person, active=act.state == "active", roles=roles or person.roles, region=act.region or person.region
        )
        tx.put_officer(changed)
