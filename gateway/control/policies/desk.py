"""What a control process does about policies: keeps those in force, examines candidates, counts shadows."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.policies import IN_FORCE_STEPS, PolicyEvent, PolicySet, Proved
from gateway.policy.law.layers import default_policies_root, parse_layers
from gateway.policy.live.shadow import NodeCounts, ShadowDifference, ShadowReport, ShadowTally, listed
from gateway.policy.offline.activating import PolicyKeeper, set_faults
from gateway.policy.offline.comparing import uncounted
from gateway.policy.offline.examining import Examined, Solve
from gateway.policy.proofs.kept import proof_digest, read_proofs
from gateway.policy.proofs.theorems import Theorem, read_theorems
from gateway.store import Store, StoreTransaction

log = logging.getLogger(__name__)


class Examine(Protocol):
    """Examines a candidate; see `gateway.policy.offline.examining`."""

    def __call__(
        self,
        candidate: PolicySet,
        current: PolicySet | None,
        now_unix: int,
        solve: Solve = (),
        *,
        thorough: bool = False,
    ) -> Examined:
        """What the examination found."""


ProofDemand = Literal["known", "possible", "required"]
"""Whether theorems are proved when policies are activated; see the setting `policies.proofs`."""

QUESTION_SECONDS = 0.5
"""How long a question waits for another, before who asks is told to ask again: who waits holds one of the threads that
all requests share."""

_reports = msgspec.msgpack.Decoder(ShadowReport)
_counts = msgspec.json.Decoder(NodeCounts)


class Counters(Protocol):
    """Where the workers' counters arrive."""

    def counters(self) -> dict[str, bytes]: ...


class ShadowSummary(msgspec.Struct, frozen=True):
    """What every worker of every node has counted for the last candidate in the shadow.

    Args:
        running: whether it is still in the shadow.
        set: the candidate's id.
        digest: its layers' digest.
        layers: its layers.
        by: who put it there.
        since: when, RFC 3339.
        until: when it was taken out, if it was.
        tally: how many verdicts came out how.
        nodes: node -> workers that count now or have counted.
        differences: each kind of difference once, at most as many as one worker lists.
        uncounted: its convergence rules for which what was drawn before is not counted.
    """

    running: bool
    set: str
    digest: str
    layers: tuple[str, ...]
    by: str
    since: str
    until: str | None
    tally: ShadowTally
    nodes: Mapping[str, tuple[str, ...]]
    differences: tuple[ShadowDifference, ...]
    uncounted: tuple[str, ...] = ()


class LayerStanding(msgspec.Struct, frozen=True):
    """A layer in force.

    Args:
        layer: its name.
        region: the region whose it is; None where it holds for all.
        since: the step that last changed it; None where the settings put it in force.
    """

    layer: str
    region: str | None
    since: PolicyEvent | None


class PolicyDesk:
    """The policies of one control process.

    Args:
        store: the state.
        keeper: keeps this process's engine at what is in force.
        examine: examines a candidate.
        node: this node's name; what its workers count stands under it.
        counters: where its workers' counters arrive; None where no worker hangs on this process.
        proofs: whether theorems are proved when policies are activated.
        two_persons: whether who wants policies in force proposes them, and another person approves.
    """

    def __init__(
        self,
        store: Store,
        keeper: PolicyKeeper,
        examine: Examine,
        *,
        node: str,
        counters: Counters | None = None,
        proofs: ProofDemand = "known",
        two_persons: bool = False,
    ) -> None:
        self._store = store
        self._examine = examine
        self._node = node
        self._counters = counters
        self._gathering = threading.Lock()
        self._gathered: tuple[int, NodeCounts] = (0, NodeCounts())
        self.keeper = keeper
        self.proofs = proofs
        self.two_persons = two_persons
        self._layers_since: tuple[tuple[int, str], tuple[LayerStanding, ...]] = ((-1, ""), ())
        self._stated: tuple[str, tuple[Theorem, ...]] = ("", ())
        self._one_question = threading.Lock()

    def require_current(self, tx: StoreTransaction) -> None:
        """Within a transaction: decide it by the policies that are in force for it, whoever put them there when."""
        if tx.policies_in_force() != self.keeper.now.event:
            self.keeper.refresh()

    def examine(
        self, candidate: PolicySet, current: PolicySet | None, now_unix: int, *, thorough: bool = False
    ) -> Examined:
        """The candidate's examination; blocks, and where it compares may take as long as there are grants.

        Args:
            candidate: as an officer sent it.
            current: what to compare it with over everything that stands, or None.
            now_unix: the second from which it is looked at.
            thorough: whether everything that stands is compared, and not only as much as a few seconds allow.

        Raises:
            GatewayError: `invalid-input` with every fault if it is no set or its check found anything; `conflict`
                while another is examined.
        """
        faults = set_faults(candidate)
        if not faults:
            known = None if current is None else self.known(candidate)
            found = self._examine(candidate, current, now_unix, self._asked(current, known), thorough=thorough)
            faults = [{"field": each.where, "fault": f"{each.what} ({each.kind})"} for each in found.checked.findings]
            if not faults:
                proved = found.proving.proved or known
                return msgspec.structs.replace(found, proving=msgspec.structs.replace(found.proving, proved=proved))
        raise GatewayError("invalid-input", "the policies are not sound and are not put in force", faults=faults)

    def _asked(self, current: PolicySet | None, known: Proved | None) -> Solve:
        """What the solver is asked: nothing of a candidate for the shadow, which decides nothing."""
        if self.proofs == "known" or current is None:
            return ()
        return {"compare"} if known is not None else {"prove", "compare"}

    @contextmanager
    def one_question(self) -> Iterator[None]:
        """While one question is looked at that may take seconds: one at a time, so that others' requests go on.

        Raises:
            GatewayError: `conflict` while another is.
        """
        if not self._one_question.acquire(timeout=QUESTION_SECONDS):
            raise GatewayError("conflict", "another question of this kind is being looked at; try again")
        try:
            yield
        finally:
            self._one_question.release()

    def standing(self) -> tuple[LayerStanding, ...]:
        """Each layer in force, in order, with the step that last changed it."""
        now = self.keeper.now
        number = 0 if now.event is None else now.event.number
        if self._layers_since[0] != (number, now.policies.id):
            since = self._last_changed(now.layers.names)
            found = tuple(
                LayerStanding(name, now.layers.regions.get(name), since.get(name)) for name in now.layers.names
            )
            self._layers_since = ((number, now.policies.id), found)
        return self._layers_since[1]

    def _last_changed(self, layers: Sequence[str]) -> dict[str, PolicyEvent]:
        """The newest step that changed each layer; of a layer that none did, the oldest that put it in force."""
        found: dict[str, PolicyEvent] = {}
        oldest: dict[str, PolicyEvent] = {}
        before = None
        while len(found) < len(layers) and (page := self._store.policy_events(before)):
            for event in page:
                for layer in layers if event.step in IN_FORCE_STEPS else ():
                    if event.changed is not None and layer in event.changed:
                        found.setdefault(layer, event)
                    elif layer in event.layers:
                        oldest[layer] = event
            before = page[-1].number
        return {**oldest, **found}

    def theorems(self) -> tuple[Theorem, ...]:
        """What is stated of the policies in force."""
        policies = self.keeper.now.policies
        if self._stated[0] != policies.id:
            self._stated = (policies.id, read_theorems(policies))
        return self._stated[1]

    def known(self, policies: PolicySet) -> Proved | None:
        """What is known of a set's proofs: from when these policies were released, or from an earlier activation."""
        digest = proof_digest(policies)
        for each in read_proofs(default_policies_root()):
            if each.of == digest:
                return each
        before = None
        while page := self._store.policy_events(before):
            for event in page:
                if event.proved is not None and event.proved.of == digest:
                    return event.proved
            before = page[-1].number
        return None

    def gather(self) -> None:
        """Keep what this node's workers have counted for the candidate in the shadow; does nothing without one.

        Durability: what was gathered survives the end of any worker and of this process, not a loss of power.
        """
        begun, _ = self._store.last_shadow() if self._counters is not None else (None, None)
        if begun is None or self._counters is None:
            return
        with self._gathering:
            number, known = self._gathered
            if number != begun.number:
                kept = self._store.shadow_counts(begun.number).get(self._node)
                known = NodeCounts() if kept is None else _counts.decode(kept)
            counts = known
            for worker, content in sorted(self._counters.counters().items()):
                report = _report(content)
                if report is not None and report.shadow == begun.number:
                    counts = counts.heard(worker, report)
            if counts != known:
                self._store.count_shadow(begun.number, self._node, msgspec.json.encode(counts).decode())
            self._gathered = (begun.number, counts)

    def shadow(self) -> ShadowSummary | None:
        """What was counted for the last candidate, over all nodes; None if there never was one."""
        self.gather()
        begun, ended = self._store.last_shadow()
        if begun is None:
            return None
        counts = {node: _counts.decode(body) for node, body in self._store.shadow_counts(begun.number).items()}
        return ShadowSummary(
            ended is None,
            begun.set,
            begun.digest,
            begun.layers,
            begun.by,
            begun.at.isoformat(),
            None if ended is None else ended.at.isoformat(),
            sum((each.tally for each in counts.values()), ShadowTally()),
            {node: tuple(sorted(each.workers)) for node, each in counts.items()},
            listed(*(each.differences for each in counts.values())),
            self.uncounted(self._store.policy_set(begun.set)),
        )

    def uncounted(self, candidate: PolicySet | None) -> tuple[str, ...]:
        """The convergence rules of a candidate that nothing counts for which was drawn before it is in force."""
        if candidate is None:
            return ()
        return uncounted(self.keeper.now.layers, parse_layers(candidate.files, candidate.layers))


def _report(content: bytes) -> ShadowReport | None:
    try:
        return _reports.decode(content)
    except msgspec.MsgspecError:
        log.error("a worker's counts for the candidate in the shadow cannot be read")
        return None
