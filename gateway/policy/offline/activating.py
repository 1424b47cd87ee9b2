"""Putting a set of policies in force: whether it is one, what it can take away, and keeping an engine at what is.

Which set is in force stands in the state, as the newest step (`gateway.domain.policies`). Each process keeps its engine
at that: when it starts, and whenever the change feed says that the policies changed. A worker then decides nothing
until it holds the new set, so that no call is decided by the old one after the change was acknowledged.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.policies import PolicyEvent, PolicySet
from gateway.policy.law.layers import (
    ARTICLES_FILE,
    SCHEMA_FILE,
    STATED_FILES,
    TABLES_FOLDER,
    Layers,
    parse_layers,
)
from gateway.policy.law.scopes import LAYER_FILE
from gateway.policy.law.settled import Settled
from gateway.policy.live.engine import Engine

log = logging.getLogger(__name__)

MAX_LAYERS = 16
MAX_FILES = 500
MAX_FILE_BYTES = 256 << 10
MAX_SET_BYTES = 4 << 20
"""The shipped set has 21 files of 60 KiB together."""

RETRY_SECONDS = 0.25
"""How long until a state that could not be read is asked again for the policies in force."""

_LAYER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_STATED = "|".join(map(re.escape, (LAYER_FILE, *STATED_FILES)))
_FILE = re.compile(rf"(?P<layer>[^/]+)/(?:{_NAME}\.cedar|{_STATED}|{TABLES_FOLDER}/{_NAME}\.yaml)")


class PolicyBook(Protocol):
    """What the state says about policies."""

    def policies_in_force(self) -> PolicyEvent | None: ...
    def policies_in_shadow(self) -> PolicyEvent | None: ...
    def policy_set(self, id: str) -> PolicySet | None: ...  # noqa: A002 - the domain's name


def set_faults(policies: PolicySet) -> list[dict[str, Any]]:
    """What makes of texts under names no set of policies: names, sizes, numbers. Empty if nothing does.

    Whether the texts say anything is for the check.
    """
    faults = []
    layers, files = policies.layers, policies.files
    if not layers or len(layers) > MAX_LAYERS or len(set(layers)) != len(layers):
        faults.append(_fault("layers", f"are 1 to {MAX_LAYERS} names, each once"))
    faults += [_fault("layers", f"`{name}` is no layer's name") for name in layers if not _LAYER.fullmatch(name)]
    if len(files) > MAX_FILES:
        faults.append(_fault("files", f"are more than {MAX_FILES}"))
    total = 0
    for name, text in files.items():
        match = _FILE.fullmatch(name)
        if name not in (SCHEMA_FILE, ARTICLES_FILE) and (match is None or match["layer"] not in layers):
            faults.append(_fault(name, "is no file of a policy set: schema, articles, or of one of its layers"))
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            faults.append(_fault(name, "is not UTF-8"))
            continue
        total += size
        if size > MAX_FILE_BYTES:
            faults.append(_fault(name, f"has more than {MAX_FILE_BYTES} bytes"))
    if total > MAX_SET_BYTES:
        faults.append(_fault("files", f"have more than {MAX_SET_BYTES} bytes together"))
    return faults


def _fault(field: str, fault: str) -> dict[str, Any]:
    return {"field": field, "fault": fault}


def can_withdraw(old: Layers, new: Layers) -> bool:
    """Whether going from `old` to `new` can take from any use what it has now.

    It cannot where nothing but permits without masks came and nothing but forbids went. Rights of officers do not
    count: no answer streams under them.
    """
    before = {policy.id: policy for policy in old.policies.values() if policy.for_uses}
    after = {policy.id: policy for policy in new.policies.values() if policy.for_uses}
    came = [policy for name, policy in after.items() if name not in before or policy.est != before[name].est]
    went = [policy for name, policy in before.items() if name not in after or policy.est != after[name].est]
    return any(one.effect == "forbid" or one.masks for one in came) or any(one.effect == "permit" for one in went)


class InForce(msgspec.Struct, frozen=True):
    """What is in force.

    Args:
        event: the step that put it in force; None where it is the set of the settings.
        policies: the set.
        layers: its layers.
    """

    event: PolicyEvent | None
    policies: PolicySet
    layers: Layers


NOTHING_SETTLED = Settled()
"""Of a gateway whose settings name no decision."""


class PolicyKeeper:
    """Keeps the engine of one process at the policies in force, and at the candidate in the shadow.

    Args:
        book: the state.
        initial: reads the set of the settings, in force where the state names none.
        settled: what the settings say besides, and policies read.

    Raises:
        GatewayError: `conflict` if what the state keeps is damaged; `invalid-input` if it does not load.
    """

    def __init__(self, book: PolicyBook, initial: Callable[[], PolicySet], settled: Settled = NOTHING_SETTLED) -> None:
        self._book = book
        self._settled = settled
        self._initial = initial
        self._engine: Engine | None = None
        self._settling = threading.Lock()
        """Held while the state is read and what it says is taken, so that no older reading is taken after a newer."""
        self._lock = threading.Lock()
        """Held for an instant, also on a loop."""
        self._changes = 0
        self._loading = False
        self._shadow: PolicyEvent | None = None
        self.now = self._load(book.policies_in_force(), None)

    def attach(self, engine: Engine) -> None:
        """Keep this engine, which was made with `now.layers`; its shadow begins now."""
        self._engine = engine
        self.refresh()

    def refresh(self) -> None:
        """Bring the engine to what the state says now; blocks. Does nothing where it is there already.

        Raises:
            GatewayError: if the state cannot be read or the set does not load; the engine then stays as it was.
        """
        self._settle()

    def changed(self, on_failed: Callable[[BaseException], None]) -> None:
        """Policies were changed: decide nothing under the old ones any more, and load the new ones in a thread.

        When it returns, no verdict of the old policies is given out. Quick; may be called on a loop.

        Args:
            on_failed: called in the thread, if what is in force cannot be loaded; nothing is decided any more then.
        """
        assert self._engine is not None
        with self._lock:
            self._changes += 1
            self._engine.hold()
            if self._loading:
                return
            self._loading = True
        threading.Thread(target=self._load_on, args=(on_failed,), name="policies", daemon=True).start()

    def _load_on(self, on_failed: Callable[[BaseException], None]) -> None:
        while True:
            try:
                if self._settle():
                    return
            except GatewayError as error:
                log.error("the policies in force cannot be loaded (%s): every call is denied", error.code)
                if error.code != "unavailable":
                    on_failed(error)
                    return
                time.sleep(RETRY_SECONDS)
            except BaseException as error:  # noqa: BLE001 - whatever it is, nobody goes back to the old policies
                on_failed(error)
                return

    def _settle(self) -> bool:
        """Read and take what is in force; False where that has changed meanwhile."""
        assert self._engine is not None
        with self._settling:
            with self._lock:
                changes = self._changes
            now = self._load(self._book.policies_in_force(), self.now)
            shadow = self._book.policies_in_shadow()
            if shadow != self._shadow:
                # Before anything is decided again: a verdict that is kept from then on was put to the candidate too.
                self._engine.shadow(*self._candidate(shadow))
                self._shadow = shadow
            with self._lock:
                # INVARIANT: BARRIER: what was read before a change is not taken after it.
                if changes != self._changes:
                    return False
                if now is not self.now or self._loading:
                    self._engine.activate(now.layers)
                self._loading = False
                self.now = now
            return True

    def _load(self, event: PolicyEvent | None, known: InForce | None) -> InForce:
        if known is not None and event == known.event:
            return known
        if event is not None:
            return InForce(event, *self._kept(event))
        policies = self._initial()
        return InForce(None, policies, self._parsed(policies))

    def _parsed(self, policies: PolicySet) -> Layers:
        layers = parse_layers(policies.files, policies.layers)
        layers.settled = self._settled
        return layers

    def _kept(self, event: PolicyEvent) -> tuple[PolicySet, Layers]:
        policies = self._book.policy_set(event.set)
        if policies is None:
            raise GatewayError("conflict", f"the state does not keep the policy set `{event.set[:16]}` it names")
        layers = self._parsed(policies)
        if layers.digest != event.digest:
            raise GatewayError("conflict", f"the policy set `{event.set[:16]}` is not what was put in force")
        return policies, layers

    def _candidate(self, event: PolicyEvent | None) -> tuple[Layers | None, int]:
        """The candidate and its step; what does not load is no candidate, and changes nothing."""
        if event is None:
            return None, 0
        try:
            _, layers = self._kept(event)
        except GatewayError as error:
            if error.code == "unavailable":
                raise
            log.error("the candidate in the shadow cannot be loaded (%s) and is left out", error.code)
            return None, 0
        return layers, event.number
