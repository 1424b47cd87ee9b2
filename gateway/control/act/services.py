"""What the control plane's routes need, wired once."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.control.act.addresses import AddressOf, direct_address
from gateway.control.act.nodes import NodeRoads, mark_of
from gateway.control.act.recorded import Unsettled
from gateway.control.barrier.barrier import Barrier
from gateway.control.barrier.hub import Hub
from gateway.control.policies.desk import PolicyDesk
from gateway.control.sign_in.oauth import OAuthServices
from gateway.control.sign_in.sign_in import OfficerSignIn
from gateway.control.suppliers.checks import HostChecks
from gateway.control.suppliers.tried import Trials
from gateway.domain.errors import GatewayError
from gateway.identity.callers.security_log import FailureBudget
from gateway.identity.keys.texts import OpenText, SealedText
from gateway.ledger.journal.acts import ActJournal
from gateway.ledger.process.client import LedgerClient
from gateway.ledger.witness.witness import Witness
from gateway.policy import Engine
from gateway.store import Store

COMPLAINTS_AN_HOUR = 20
"""Of one address, which may be that of many people behind a proxy."""


def _no_unseal(_sealed: str, _context: str) -> bytes:
    raise GatewayError("unavailable", "nothing is sealed here")


def _no_text(_digest: str, _sealed: str) -> OpenText:
    raise GatewayError("unavailable", "no key ring opens texts here")


def _no_sealing(_text: str) -> SealedText:
    raise GatewayError("unavailable", "no key ring seals texts here")


def _no_mark(_secret: str) -> str:
    raise GatewayError("unavailable", "no key ring marks secrets here")


def _no_seal(_secret: bytes, _context: str) -> str:
    raise GatewayError("unavailable", "no key ring seals secrets here")


@dataclass(frozen=True, slots=True)
class ControlServices:
    """The parts of the house that the control plane speaks to.

    Args:
        store: the state.
        engine: decides what officers may do, and explains what callers may.
        acts: where acts are recorded before they stand.
        ledger: answers questions about records.
        sign_in: tells who sends a request, and whether it is still they.
        oauth: what the token endpoint needs; None leaves it out.
        barrier: what withdrawing acts wait on.
        hub: this process's hub, for its workers' counters; None where none runs.
        now: Unix seconds.
        tree: the folder of the log's checkpoint and tiles.
        spool: a folder for exports on their way; emptied by whoever made it.
        policies_root: where layers are read that a comparison names without their files.
        policies: keeps the policies in force, examines candidates, and counts shadows.
        metrics: the text of /metrics.
        may_scrape: whether what a scraper presents is the gateway's scrape credential.
        readiness: part -> whether it works; any False makes /readyz answer 503.
        witness: cosigns other nodes' logs; None where this node witnesses none.
        roads: the roads to the other nodes; None where this one is alone.
        hosts: what suppliers' hosts are judged by.
        trials: tries interfaces before callers do; None where nothing can be tried.
        seal: seals a secret for storage, bound to a context.
        unseal: what `seal` sealed in that context; raises `GatewayError`.
        open_text: digest and sealed text of the state to the text; raises `GatewayError`.
        seal_text: a text to its digest and what the state holds of it.
        word_of: a text to what tells it again in the state, whoever said it.
        secret_mark: a secret to what tells it again and does not tell it, for keys of idempotency.
        unsettled: acts on record of which it is not known yet whether they stand.
        pruning: held while records go, one plan at a time.
        address: where a request comes from.
        intake: how many complaints, and wrong codes of complaints, of one address are taken in.
        pseudonyms: a data subject's identifier to the pseudonyms it may stand under in records (one a year kept).
    """

    store: Store
    engine: Engine
    acts: ActJournal
    ledger: LedgerClient
    sign_in: OfficerSignIn
    barrier: Barrier
    now: Callable[[], float]
    tree: Path
    spool: Path
    policies_root: Path
    policies: PolicyDesk
    oauth: OAuthServices | None = None
    hub: Hub | None = None
    metrics: Callable[[], str] = str
    may_scrape: Callable[[str], bool] = lambda _presented: False
    readiness: Callable[[], Mapping[str, bool]] = dict
    witness: Witness | None = None
    roads: NodeRoads | None = None
    hosts: HostChecks = field(default_factory=HostChecks)
    trials: Trials | None = None
    seal: Callable[[bytes, str], str] = _no_seal
    unseal: Callable[[str, str], bytes] = _no_unseal
    open_text: Callable[[str, str], OpenText] = _no_text
    seal_text: Callable[[str], SealedText] = _no_sealing
    word_of: Callable[[str], str] = _no_mark
    secret_mark: Callable[[str], str] = _no_mark
    unsettled: Unsettled = field(default_factory=Unsettled)
    pruning: asyncio.Lock = field(default_factory=asyncio.Lock)
    address: AddressOf = direct_address
    intake: FailureBudget = field(
        default_factory=lambda: FailureBudget(time.monotonic, per_second=COMPLAINTS_AN_HOUR / 3600, burst=10)
    )
    pseudonyms: Callable[[bytes], tuple[str, ...]] = lambda _identifier: ()

    @property
    def mark(self) -> str:
        """This node's mark in the names of what is its own; "" where it is alone."""
        return mark_of(self.roads.node) if self.roads is not None else ""
