"""Path to interface for the data plane, from memory where it is known and from a thread where it is not.

A slow answer is read once for each question, however many calls wait for it. What a change overtakes while it is on
its way is asked again: an answer read before a change is never given out after it (INVARIANT: BARRIER).
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import NamedTuple

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import Interface
from gateway.domain.errors import GatewayError
from gateway.domain.uses import Use
from gateway.proxy.ports import Reach

MAX_INTERFACES = 8192
"""Interfaces a worker remembers; a large city has published 1,392."""
MAX_ATTEMPTS = 5
"""How often an interface is read again because changes kept coming; then the caller is told to come back."""

Key = tuple[str, str]
_DECIDED = frozenset({ChangeKind.GRANT, ChangeKind.ORDER, ChangeKind.ENTRY, ChangeKind.POLICY})


class _Prepared(NamedTuple):
    interface: Interface
    reach: Reach | GatewayError


class Resolver:
    """`Resolve` for the data plane: active interfaces, remembered until a change names them.

    Args:
        read: reads an active interface from the state, or None; blocks.
        executor: where it is read.
        prepare: how the interface's supplier is called; blocks, raises where it may not be.
    """

    def __init__(
        self,
        read: Callable[[str, str], Interface | None],
        executor: Executor,
        prepare: Callable[[Interface], Reach],
    ) -> None:
        self._read = read
        self._executor = executor
        self._prepare = prepare
        self._known: dict[Key, _Prepared] = {}
        self._pending: dict[Key, asyncio.Future[_Prepared | None]] = {}
        self._changes = 0

    def __call__(self, supplier: str, interface: str) -> Interface | Awaitable[Interface]:
        """The interface; raises `interface-unknown` where there is none, `state-stale` where changes kept coming."""
        known = self._known.get((supplier, interface))
        return known.interface if known is not None else self._look_up((supplier, interface))

    def reach(self, interface: Interface) -> Reach:
        """How the supplier of an interface that this has given is called.

        Raises:
            GatewayError: what `prepare` raised; `state-stale` where the interface was changed since.
        """
        known = self._known.get(_key_of(interface))
        if known is None or known.interface is not interface:
            raise GatewayError("state-stale", "the interface was changed under this call")
        if isinstance(known.reach, GatewayError):
            raise known.reach
        return known.reach

    def _read_and_prepare(self, supplier: str, interface: str) -> _Prepared | None:
        """Blocks: the state, the names of hosts and files are read here, and never on the loop."""
        found = self._read(supplier, interface)
        if found is None:
            return None
        try:
            return _Prepared(found, self._prepare(found))
        except GatewayError as error:
            # What the state could not say just now is asked again at the next call, and not remembered.
            if error.code != "supplier-unreachable":
                raise
            return _Prepared(found, error)

    async def _look_up(self, key: Key) -> Interface:
        for _ in range(MAX_ATTEMPTS):
            changes = self._changes
            future = self._pending.get(key)
            if future is None:
                future = asyncio.get_running_loop().run_in_executor(self._executor, self._read_and_prepare, *key)
                self._pending[key] = future
            try:
                # Shielded: one caller that goes away does not take the answer from the others who wait for it.
                found = await asyncio.shield(future)
            finally:
                if self._pending.get(key) is future and future.done():
                    del self._pending[key]
            if changes != self._changes:
                continue
            if found is None:
                raise GatewayError("interface-unknown")
            if len(self._known) >= MAX_INTERFACES:
                self._known.clear()
            # One that was moved is reached by its old path as by its own: both remember the same.
            self._known[key] = self._known.setdefault(_key_of(found.interface), found)
            return self._known[key].interface
        raise GatewayError("state-stale", "the state keeps changing under this call")

    def drop(self, change: Change) -> None:
        """Forget what `change` touches, and what is being read now."""
        self._changes += 1
        self._pending.clear()
        if change.kind is ChangeKind.INTERFACE:
            supplier, _, interface = change.subject.partition("/")
            named = (supplier, interface)
            for path in [path for path, known in self._known.items() if named in (path, _key_of(known.interface))]:
                del self._known[path]
        elif change.kind in {ChangeKind.ENTRY, ChangeKind.DEPARTMENT}:
            self._known.clear()

    def drop_all(self) -> None:
        """Forget everything: the feed could not say what changed."""
        self._changes += 1
        self._pending.clear()
        self._known.clear()


def _key_of(interface: Interface) -> Key:
    return interface.supplier, interface.id


def is_touched(change: Change, use: Use) -> bool:
    """Whether `change` reaches the exchange that makes `use`, so that it must be cut where the change withdraws."""
    call, verdict = use.call, use.verdict
    pairs = (
        (change.grant, verdict.grant),
        (change.system, call.system),
        (change.department, call.department),
        (change.dataset, call.dataset),
        (change.supplier, use.supplier),
    )
    return all(wanted is None or wanted == found for wanted, found in pairs)


def is_decided(change: Change) -> bool:
    """Whether the policies know of what `change` withdraws, so that deciding anew tells.

    Who calls, by which credential, and where an interface leads and what it releases are looked up before they are
    asked.
    """
    return change.kind in _DECIDED
