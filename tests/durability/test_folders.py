"""Folders on a disk that loses what was not synced: whoever makes them is killed, or fails, at every call."""

import os
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from gateway.domain.errors import GatewayError
from gateway.ledger.durable import make_directory, replace_file
from gateway.runtime.home import GatewayHome
from tests.simulation.ledger.disk import Folder
from tests.simulation.ledger.world import Killed, World


class Cut(World):
    """A world whose one process is stopped at a call."""

    def __init__(self, root, at, stopped):
        super().__init__(0, root)
        self.at, self.stopped, self.is_clean = at, stopped, False
        self.current = SimpleNamespace(files={})
        self.processes = [self.current]

    def call(self, disk, name, path):
        self.calls += 1
        if self.calls == self.at:
            self.is_clean = name == "fsync" and isinstance(self.stopped, OSError)
            raise self.stopped
        return ""


def forget(folder):
    """The kernel has told of a sync that failed, and takes every name for clean: none of them is on the platter."""
    folder.unsynced.clear()
    for each in folder.names.values():
        if isinstance(each, Folder):
            forget(each)


def made(folder):
    make_directory(folder / "journal" / "worker-1")


def made_by_home(folder):
    GatewayHome(folder)._make_folders()
    made(folder / "ledger")


@pytest.mark.parametrize("stopped", [Killed(), OSError("the disk does not answer")])
@pytest.mark.parametrize(("make", "holds"), [(made, "journal/worker-1"), (made_by_home, "ledger/journal/worker-1")])
def test_what_is_recorded_in_a_folder_survives_whoever_was_stopped_making_it(tmp_path_factory, make, holds, stopped):
    """INVARIANT RECORD-FIRST: stopped at any call; another makes it, and records; then power is lost."""
    for at in count(1):
        # A home's path is short: sockets lie in it.
        world = Cut(tmp_path_factory.mktemp("at"), at, stopped)
        disk = world.disk("disk")
        disk.put_back({"lost+found": b""})
        home = disk.root / "srv" / "gateway"
        with ExitStack() as stack:
            for name, what in world.interposed().items():
                stack.enter_context(patch.object(os, name, what))
            try:
                make(home)
            except (Killed, OSError, GatewayError):
                if world.is_clean:
                    forget(disk.top)
            else:
                break
            make(home)
            replace_file(home / holds / "record", b"answered")
            disk.lose_power(world.random, "nothing")
        assert (home / holds / "record").read_bytes() == b"answered", f"stopped at call {at}"
    assert at > 8


def test_folder_that_nobody_may_list_stands_in_nobodys_way():
    """As `/home` does where its names are nobody's business; what is below it is empty, as a new person's folder."""
    is_root = os.geteuid() == 0
    with TemporaryDirectory() as place:
        home = Path(place) / "home"
        home.mkdir()
        Path(place).chmod(0o111)
        try:
            if is_root:
                os.chown(home, 65534, 65534)
                os.seteuid(65534)
            make_directory(home / "ledger")
        finally:
            if is_root:
                os.seteuid(0)
            Path(place).chmod(0o700)
        assert (home / "ledger").is_dir()
