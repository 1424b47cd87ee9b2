"""What evaluations look up: systems and interfaces of the state, from a thread; systems are kept until they change."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar

from gateway.domain.changes import Change, ChangeKind
from gateway.domain.directory import Interface, System
from gateway.domain.errors import GatewayError
from gateway.store import Store

MAX_SYSTEMS = 8192
MAX_ATTEMPTS = 5
T = TypeVar("T")

_OF_SYSTEMS = frozenset({ChangeKind.SYSTEM, ChangeKind.DEPARTMENT})


class StateBook:
    """Implements `gateway.authorizer.authzen.evaluating.Book`; belongs to one event loop.

    Args:
        store: the state.
        executor: where it is read.
    """

    def __init__(self, store: Store, executor: Executor) -> None:
        self._store = store
        self._executor = executor
        self._systems: dict[str, System] = {}
        self._changes = 0

    def system(self, id: str) -> System | Awaitable[System | None] | None:  # noqa: A002 - the domain's name
        """A registered system; `state-stale` where changes kept coming."""
        known = self._systems.get(id)
        return self._look_up(id) if known is None else known

    async def systems(self, department: str | None, cursor: str | None, limit: int) -> tuple[list[System], str | None]:
        """A page of systems, by id, and the next page's cursor."""
        page = await self._read(lambda: self._store.list_systems(cursor, limit, department=department))
        return list(page.items), page.cursor

    async def interfaces(
        self, dataset: str | None, cursor: str | None, limit: int
    ) -> tuple[list[Interface], str | None]:
        """A page of active interfaces, by supplier and id, and the next page's cursor."""
        page = await self._read(lambda: self._store.list_interfaces(cursor, limit, dataset=dataset))
        return list(page.items), page.cursor

    def drop(self, change: Change) -> None:
        """Forget what `change` touches, and what is being read now."""
        if change.kind in _OF_SYSTEMS:
            self.drop_all()

    def drop_all(self) -> None:
        """Forget everything."""
        self._changes += 1
        self._systems.clear()

    async def _look_up(self, id_: str) -> System | None:
        for _ in range(MAX_ATTEMPTS):
            changes = self._changes
            found = await self._read(lambda: self._store.system(id_))
            # INVARIANT: BARRIER: what was read before a change is not given out after it.
            if changes != self._changes:
                continue
            if found is not None:
                if len(self._systems) >= MAX_SYSTEMS:
                    self._systems.clear()
                self._systems[id_] = found
            return found
        raise GatewayError("state-stale", "the state keeps changing under this question")

    async def _read(self, read: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, read)
