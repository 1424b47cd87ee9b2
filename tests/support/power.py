"""A disk that loses power: the calls below a folder are recorded, and cut at every point.

What survives a loss is decided by the rules of POSIX as Linux file systems keep them: a file's content that was synced,
and a name whose folder was synced. What was not may survive or not, each for itself; three ways are tried that between
them break every wrong order: nothing unsynced survives; every name does, and no content; all of it does.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAYS = ("nothing unsynced", "names alone", "everything")
"""What of the unsynced survives."""

Tree = dict[str, bytes | None]
"""Path below the folder -> content; None is a folder."""


class Disk:
    """Records what `os` is asked for below `root`, while it is asked.

    Args:
        root: durable itself, and empty.
        monkeypatch: pytest's.
        mark: asked at every call for what the test wants to know of that moment.
        lies: calls that say they have synced, and have not.
    """

    def __init__(
        self, root: Path, monkeypatch: Any, mark: Callable[[], Any], *, lies: frozenset[str] = frozenset()
    ) -> None:
        self._root = str(root)
        self._mark = mark
        self._lies = lies
        self._lock = threading.RLock()
        self._open: dict[int, str] = {}
        self._synced: dict[int, bytes] = {}
        self._names: dict[str, int | None] = {}
        self.cuts: list[tuple[str, Any, dict[str, Tree]]] = []
        for name in ("open", "close", "pwrite", "write", "fsync", "fdatasync", "rename", "replace", "unlink", "mkdir"):
            monkeypatch.setattr(os, name, self._around(name, getattr(os, name)))

    def _around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            with self._lock:
                before = self._open.get(args[0]) if isinstance(args[0], int) else None
                answer = real(*args, **options)
                if name == "open" and os.fspath(args[0]).startswith(self._root):
                    self._open[answer] = os.fspath(args[0])
                elif name == "close":
                    self._open.pop(args[0], None)
                elif name in {"fsync", "fdatasync"} - self._lies and before is not None:
                    self._sync(args[0], before)
                elif name in {"rename", "replace"}:
                    source, target = (os.fspath(each) for each in args[:2])
                    for fd, path in self._open.items():
                        if path == source:
                            self._open[fd] = target
                is_ours = before is not None or (
                    isinstance(args[0], (str, Path)) and str(args[0]).startswith(self._root)
                )
                if is_ours:
                    self.cuts.append((name, self._mark(), {way: self._survives(way) for way in WAYS}))
                return answer

        return call

    def _sync(self, fd: int, path: str) -> None:
        if not Path(path).is_dir():
            self._synced[os.fstat(fd).st_ino] = Path(path).read_bytes()
            return
        for known in [each for each in self._names if str(Path(each).parent) == path]:
            del self._names[known]
        for each in Path(path).iterdir():
            self._names[str(each)] = None if each.is_dir() else each.stat().st_ino

    def _survives(self, way: str) -> Tree:
        if way == "nothing unsynced":
            names = dict(self._names)
        else:
            names = {str(each): None if each.is_dir() else each.stat().st_ino for each in Path(self._root).rglob("*")}
        tree: Tree = {}
        for path in sorted(names):
            parent = str(Path(path).parent)
            if parent != self._root and parent[len(self._root) + 1 :] not in tree:
                continue  # a name in a folder that has none itself
            inode = names[path]
            content = None if inode is None else self._synced.get(inode, b"")
            if way == "everything" and inode is not None:
                content = Path(path).read_bytes()
            tree[path[len(self._root) + 1 :]] = content
        return tree


def put_back(tree: Tree, folder: Path) -> None:
    """What survived, in an empty folder."""
    folder.mkdir()
    for path, content in sorted(tree.items()):
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
