"""Names for ids: departments, entries and purposes, which every officer may read; asked for once a minute."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from gateway.console.api import Api, RefusedError

KEPT_SECONDS = 60.0
KEPT_NAMES = 8192

_PLACES = {"department": "/v1/departments/{}", "dataset": "/v1/datasets/{}", "purpose": "/v1/purposes/{}"}


class Names:
    """What ids are called, kept for all readers.

    Args:
        ticks: a clock that nobody can set, in seconds.
    """

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._kept: OrderedDict[tuple[str, str], tuple[float, Any]] = OrderedDict()

    async def of(self, api: Api, kind: str, ids: Iterable[str | None]) -> dict[str, dict[str, Any]]:
        """What stands in the directory for each id of a kind; an id that it does not have is left out."""
        wanted = sorted({each for each in ids if each})
        found = await asyncio.gather(*(self._one(api, kind, each) for each in wanted))
        return {id_: entry for id_, entry in zip(wanted, found, strict=True) if entry}

    async def departments(self, api: Api) -> list[dict[str, Any]]:
        """Every department where they fit one page, to choose from; else none."""
        kept: list[dict[str, Any]] | None = self._fresh(("departments", ""))
        if kept is None:
            page = (await api.get("/v1/departments", limit=300)).json
            kept = [] if page["next"] else page["items"]
            self._keep(("departments", ""), kept)
        return kept

    async def kept(self, api: Api, path: str) -> Any:
        """An answer that is the same for every officer."""
        found = self._fresh(("path", path))
        if found is None:
            found = (await api.get(path)).json
            self._keep(("path", path), found)
        return found

    async def _one(self, api: Api, kind: str, id_: str) -> dict[str, Any]:
        found: dict[str, Any] | None = self._fresh((kind, id_))
        if found is None:
            try:
                found = (await api.get(_PLACES[kind].format(id_))).json
            except RefusedError:
                return {}
            if kind == "dataset":
                found = found["released"] or found["versions"][-1]
            self._keep((kind, id_), found)
        return found

    def _fresh(self, key: tuple[str, str]) -> Any:
        at, value = self._kept.get(key, (0.0, None))
        return value if value is not None and self._ticks() - at < KEPT_SECONDS else None

    def _keep(self, key: tuple[str, str], value: Any) -> None:
        self._kept[key] = (self._ticks(), value)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_NAMES:
            self._kept.popitem(last=False)
