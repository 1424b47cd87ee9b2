"""Which policies are in force: checked sets kept by digest, one of them active, and the way back.

    <folder>/<digest>/schema.cedarschema, articles.yaml, <layer>/...   a set as it was checked, never changed
    <folder>/active.json                                               what was activated, newest last

A set is put on the shelf only if its check finds nothing. Activating is one rename: whoever reads `active.json` sees
the old set or the new one, whole. Rolling back activates the set that was active before; it is an activation like any
other and stands in the history.

Durability: when `put` or `activate` returns, what it wrote survives a loss of power.
"""

import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

import msgspec

from gateway.domain.errors import GatewayError
from gateway.policy.articles import ARTICLES_FILE
from gateway.policy.checking import check
from gateway.policy.layers import SCHEMA_FILE, Layers, load_layers

ACTIVE_FILE = "active.json"
MAX_HISTORY = 1_000


class Activation(msgspec.Struct, frozen=True):
    """One activation.

    Args:
        digest: of the layers that came into force.
        layers: their names, in order.
        by: the officer who activated them.
        at: when.
    """

    digest: str
    layers: tuple[str, ...]
    by: str
    at: datetime


class PolicyShelf:
    """Checked policy sets in a folder, and which of them is active.

    One process writes at a time (the control process); any may read.

    Args:
        folder: made if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, root: Path, layers: tuple[str, ...]) -> str:
        """Check the layers below `root` and keep a copy of them; their digest.

        Raises:
            GatewayError: `invalid-input` with every finding of the check under `faults`; nothing is kept then.
        """
        checked = check(root, layers)
        if not checked.is_sound:
            faults = [{"field": finding.subject, "fault": finding.what} for finding in checked.findings]
            raise GatewayError("invalid-input", "the policies are not sound and are not put in force", faults=faults)
        place = self._folder / checked.digest
        if place.is_dir():
            return checked.digest
        self._folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".put-", dir=self._folder))
        try:
            for file in (root / SCHEMA_FILE, root / ARTICLES_FILE):
                shutil.copyfile(file, made / file.name)
            for layer in layers:
                shutil.copytree(root / layer, made / layer)
            # The copy is what will be loaded, so it is the copy that must be what was checked.
            if load_layers(made, layers).digest != checked.digest:
                raise GatewayError("conflict", "the policies were changed while they were read")
            for path in (*sorted(made.rglob("*")), made):
                _sync(path)
            made.rename(place)
            _sync(self._folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return checked.digest

    def activate(self, digest: str, layers: tuple[str, ...], by: str, at: datetime) -> tuple[Activation, Layers]:
        """Make a set on the shelf the active one; it, and its layers for `Engine.activate`.

        Raises:
            GatewayError: `not-found` if no such set is on the shelf; `conflict` if its files are no longer what was
                put there.
        """
        if not (self._folder / digest).is_dir():
            raise GatewayError("not-found", f"no policy set `{digest[:16]}` is on the shelf")
        loaded = self._load(digest, layers)
        activation = Activation(digest, layers, by, at)
        history = [*self.history(), activation][-MAX_HISTORY:]
        written = self._folder / f".{ACTIVE_FILE}.new"
        written.write_bytes(msgspec.json.encode(history))
        _sync(written)
        written.replace(self._folder / ACTIVE_FILE)
        _sync(self._folder)
        return activation, loaded

    def roll_back(self, by: str, at: datetime) -> tuple[Activation, Layers]:
        """Activate the set that was active before the present one.

        Raises:
            GatewayError: `conflict` if there was none before.
        """
        history = self.history()
        before = next((one for one in reversed(history) if one.digest != history[-1].digest), None)
        if before is None:
            raise GatewayError("conflict", "no other policy set was active before")
        return self.activate(before.digest, before.layers, by, at)

    def active(self) -> Layers | None:
        """The layers in force, or None if none was ever activated.

        Raises:
            GatewayError: `conflict` if their files are no longer what was put there.
        """
        history = self.history()
        return self._load(history[-1].digest, history[-1].layers) if history else None

    def history(self) -> list[Activation]:
        """Activations, newest last."""
        try:
            return msgspec.json.decode((self._folder / ACTIVE_FILE).read_bytes(), type=list[Activation])
        except FileNotFoundError:
            return []
        except msgspec.MsgspecError as error:
            raise GatewayError("conflict", f"`{ACTIVE_FILE}` on the shelf is damaged") from error

    def _load(self, digest: str, layers: tuple[str, ...]) -> Layers:
        loaded = load_layers(self._folder / digest, layers)
        if loaded.digest != digest:
            raise GatewayError("conflict", f"the policy set `{digest[:16]}` was changed on the shelf")
        return loaded


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
