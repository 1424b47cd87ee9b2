"""Disks of the simulation: the calls that change files are interposed, and what is durable is kept beside them.

The files themselves lie in a folder in memory: that is what processes see, the page cache. Beside it stands what the
platter holds, by the rules of POSIX as Linux keeps them: sectors of a file that were synced, and names whose folder
was. Where power is lost each sector and each name that was not synced survives or not. After a sync that failed the
pages count as clean and are not on the platter, as Linux has it. SQLite's calls are not seen one by one: what it has
committed with full synchronisation is durable, what it has not may be lost (`sqlite.org/atomiccommit.html`), and its
own files are killed at every call by `tests/durability/test_crashes.py`.
"""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECTOR = 512
DATABASES = (".db", ".db-journal")

REAL = {
    name: getattr(os, name)
    for name in (
        *("open", "close", "pwrite", "pread", "fsync", "fdatasync", "rename", "replace", "unlink", "mkdir", "rmdir"),
        *("ftruncate", "posix_fallocate", "statvfs", "scandir"),
    )
}


class File:
    """What a file holds: in the page cache, and on the platter."""

    def __init__(self, content: bytes = b"") -> None:
        self.cache = bytearray(content)
        self.platter = bytearray(content)
        self.dirty: dict[int, None] = {}
        """Sectors that differ from the platter's, as far as the kernel knows."""
        self.sized = True
        """Whether the platter knows its size."""

    def write(self, content: bytes, offset: int) -> None:
        end = offset + len(content)
        if end > len(self.cache):
            self.cache.extend(bytes(end - len(self.cache)))
            self.sized = False
        self.cache[offset:end] = content
        for sector in range(offset // SECTOR, (end + SECTOR - 1) // SECTOR):
            self.dirty[sector] = None

    def resize(self, size: int) -> None:
        if size != len(self.cache):
            del self.cache[size:]
            self.cache.extend(bytes(size - len(self.cache)))
            self.sized = False

    def sync(self) -> None:
        self._settle(self.dirty, is_sized=True)

    def sync_failed(self) -> None:
        """The kernel has told of it once, and takes the pages for clean."""
        self.dirty.clear()
        self.sized = True

    def lose(self, survives: Callable[[], bool]) -> None:
        """Power is lost."""
        self._settle({each: None for each in self.dirty if survives()}, is_sized=self.sized or survives())
        self.cache[:] = self.platter

    def _settle(self, sectors: dict[int, None], *, is_sized: bool) -> None:
        size = len(self.cache) if is_sized else len(self.platter)
        if size != len(self.platter):
            del self.platter[size:]
            self.platter.extend(bytes(size - len(self.platter)))
        for sector in sectors:
            at = sector * SECTOR
            content = self.cache[at : min(at + SECTOR, size)]
            self.platter[at : at + len(content)] = content
        self.dirty.clear()
        self.sized = True


class Folder:
    """Names: as processes see them, and as the platter has them."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.platter: dict[str, Any] = {}
        self.unsynced: list[tuple[int, dict[str, Any]]] = []
        """(number, changes) in their order: each happens as a whole or not; None is a name that goes."""

    def change(self, number: int, changes: dict[str, Any]) -> None:
        self.unsynced.append((number, changes))
        _apply(self.names, changes)

    def sync(self) -> None:
        self.lose(lambda _: True)

    def lose(self, survives: Callable[[int], bool]) -> None:
        for number, changes in self.unsynced:
            if survives(number):
                _apply(self.platter, changes)
        self.unsynced.clear()


def _empty(folder: str) -> None:
    with REAL["scandir"](folder) as found:
        for each in list(found):
            if each.is_dir(follow_symlinks=False):
                _empty(each.path)
                REAL["rmdir"](each.path)
            else:
                REAL["unlink"](each.path)


def _apply(names: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, node in changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """One disk: a folder whose changes are seen.

    Args:
        root: an empty folder in memory.
        call: asked at every call with its name: it may let others run, end the process, or raise what befalls it.
    """

    def __init__(self, root: Path, call: Callable[["Disk", str, str], str]) -> None:
        self.root = root
        self._prefix = f"{root}/"
        self._call = call
        self.top = Folder()
        self._numbers = 0
        self.free_bytes = 1 << 40

    # As `os` has them.

    def holds(self, path: Any) -> bool:
        return f"{path}/".startswith(self._prefix)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> tuple[int, Any]:
        """The real descriptor, and the file or folder it is of."""
        if f"{path}/" == self._prefix:
            return REAL["open"](path, flags), self.top
        folder, name = self._place(path)
        node = folder.names.get(name)
        if (node is None and flags & os.O_CREAT) or flags & os.O_TRUNC:
            self._call(self, "open", str(path))
            node = folder.names.get(name)
        if node is None and not flags & os.O_CREAT:
            raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
        fd = REAL["open"](path, flags, mode)
        if node is None:
            node = File()
            self._changed(folder, {name: node})
        if flags & os.O_TRUNC:
            node.resize(0)
        return fd, node

    def pwrite(self, fd: int, node: File, content: Any, offset: int) -> int:
        content = bytes(content)
        what = self._call(self, "pwrite" if offset + len(content) <= len(node.cache) else "grow", "")
        if what == "half" and len(content) > 1:
            content = content[: len(content) // 2]
        node.write(content, offset)
        return int(REAL["pwrite"](fd, content, offset))

    def sync(self, node: Any) -> None:
        try:
            self._call(self, "fsync", "")
        except OSError:
            if isinstance(node, File):
                node.sync_failed()
            raise
        node.sync()

    def allocate(self, fd: int, node: File, size: int) -> None:
        self._call(self, "fallocate", "")
        REAL["posix_fallocate"](fd, 0, size)
        node.resize(max(size, len(node.cache)))

    def truncate(self, fd: int, node: File, size: int) -> None:
        self._call(self, "ftruncate", "")
        REAL["ftruncate"](fd, size)
        node.resize(size)

    def rename(self, source: Any, target: Any) -> None:
        self._call(self, "rename", str(target))
        (folder, name), (other, new) = self._place(source), self._place(target)
        REAL["rename"](source, target)
        node = folder.names[name]
        if folder is other:
            self._changed(folder, {name: None, new: node})
        else:
            self._changed(other, {new: node})
            self._changed(folder, {name: None})

    def unlink(self, path: Any) -> None:
        folder, name = self._place(path)
        self._call(self, "unlink", str(path))
        REAL["unlink"](path)
        self._changed(folder, {name: None})

    def mkdir(self, path: Any, mode: int) -> None:
        folder, name = self._place(path)
        self._call(self, "mkdir", str(path))
        REAL["mkdir"](path, mode)
        self._changed(folder, {name: Folder()})

    def rmdir(self, path: Any) -> None:
        folder, name = self._place(path)
        self._call(self, "rmdir", str(path))
        REAL["rmdir"](path)
        self._changed(folder, {name: None})

    # A database: SQLite's calls are not seen.

    def committed(self, path: str, *, is_durable: bool) -> None:
        """What SQLite has committed to a file."""
        folder, name = self._place(path)
        node = folder.names.get(name)
        if not isinstance(node, File):
            node = File()
            folder.names[name] = folder.platter[name] = node
        node.cache[:] = Path(path).read_bytes()
        if is_durable:
            node.platter[:] = node.cache
            node.dirty.clear()
        else:
            node.dirty[-1] = None

    # Faults.

    def lose_power(self, chance: random.Random, way: str = "") -> str:
        """What was not synced survives or not; the folder holds afterwards what a machine finds that starts again."""
        way = way or chance.choice(
            ("nothing", "nothing", "everything", "each by itself", "each by itself", "the first names")
        )
        until = chance.randrange(self._numbers + 1)

        def survives() -> bool:
            return way == "everything" or (way not in {"nothing", "everything"} and chance.random() < 0.5)

        def name_survives(number: int) -> bool:
            return number < until if way == "the first names" else survives()

        self._lose(self.top, name_survives, survives)
        self.put_back(self.image())
        return way

    def _lose(self, folder: Folder, name_survives: Callable[[int], bool], survives: Callable[[], bool]) -> None:
        folder.lose(name_survives)
        folder.names = dict(folder.platter)
        for name, node in folder.names.items():
            if isinstance(node, Folder):
                self._lose(node, name_survives, survives)
            elif name.endswith(DATABASES):
                # SQLite's transaction is there or it is not.
                if node.dirty and survives():
                    node.platter[:] = node.cache
                node.dirty.clear()
                node.cache[:] = node.platter
            else:
                node.lose(survives)

    def image(self) -> dict[str, bytes | None]:
        """Path -> content as processes see it, None for a folder."""
        found: dict[str, bytes | None] = {}

        def look(folder: Folder, prefix: str) -> None:
            for name, node in folder.names.items():
                found[prefix + name] = None if isinstance(node, Folder) else bytes(node.cache)
                if isinstance(node, Folder):
                    look(node, f"{prefix}{name}/")

        look(self.top, "")
        return found

    def put_back(self, image: dict[str, bytes | None]) -> None:
        """The disk holds just this, all of it on the platter."""
        _empty(str(self.root))
        self.top = Folder()
        for path, content in image.items():
            *above, name = path.split("/")
            folder = self.top
            for each in above:
                folder = folder.names[each]
            node = Folder() if content is None else File(content)
            folder.names[name] = folder.platter[name] = node
            if content is None:
                REAL["mkdir"](self.root / path, 0o700)
            else:
                fd = REAL["open"](self.root / path, os.O_WRONLY | os.O_CREAT, 0o600)
                REAL["pwrite"](fd, content, 0)
                REAL["close"](fd)

    def node(self, path: Any) -> Any:
        """The file or folder at a path."""
        folder, name = self._place(path)
        return folder.names[name] if name else folder

    def _place(self, path: Any) -> tuple[Folder, str]:
        *above, name = str(path)[len(self._prefix) :].split("/")
        folder = self.top
        for each in above:
            folder = folder.names.get(each)  # type: ignore[assignment]
            if not isinstance(folder, Folder):
                raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path))
        return folder, name

    def _changed(self, folder: Folder, changes: dict[str, Any]) -> None:
        self._numbers += 1
        folder.change(self._numbers, changes)
