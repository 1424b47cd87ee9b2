"""What runs, what is wrong and what to do: one look at a gateway from outside, without asking it to act."""

import asyncio
import os
import shutil
import time
from typing import Any

from gateway.domain.calendar import china_day
from gateway.domain.errors import GatewayError
from gateway.ledger.log.notes import COSIGNATURE, ED25519, VerifierKey
from gateway.ledger.process.client import LedgerClient
from gateway.proxy.troubles import TROUBLES
from gateway.runtime.home import CLOSED, GatewayHome
from gateway.runtime.operation.calendar import ADVICE, calendar_reach
from gateway.runtime.operation.recovery.differences import list_differences
from gateway.runtime.operation.unreachable import find_unreachable, named
from gateway.runtime.probe import ask
from gateway.runtime.ring import open_ring
from gateway.runtime.settings import Settings
from gateway.runtime.start.exposure import findings
from gateway.runtime.telemetry.metrics import STALE_SECONDS, read_snapshots

ASK_SECONDS = 3.0
NOT_READY = {
    "state": (
        "the state cannot be read or written",
        "look whether the database answers and takes writes, or `state.db` is in its place and may be written",
    ),
    "workers": ("no worker has a lease on the state", "their logs and control's say why; they go on by themselves"),
    "records": ("no worker can record a use", "free or add disk; else the workers' logs say why"),
}
"""What a part of /readyz that does not work means, and what to do."""


def examine(home: GatewayHome) -> dict[str, Any]:
    """`running`, `origin`, `verifier_key`, `parts` as (part, state, detail) rows, and `faults` and `notices`."""
    settings = home.settings()
    addresses = home.addresses()
    seen = _Seen()
    origin, key = _log_identity(home, settings, seen)
    if addresses is None and home.is_running():
        seen.fault("gateway", "starting", "the gateway is starting or stopping", "wait a moment and look again")
    elif addresses is None:
        seen.fault("gateway", "down", "no gateway runs in this home", f"start it: gateway serve --home {home.root}")
    else:
        if addresses["data_plane"] == CLOSED:
            seen.fault("data plane", "closed", "no caller is served", "stop it and start without `--closed`")
        else:
            seen.add("data plane", "up", addresses["data_plane"])
        seen.add("control plane", "up", addresses["control"])
        if "checks" in addresses:
            seen.add("checks", "up", addresses["checks"])
        _processes(addresses, seen)
        _readiness(home, seen)
        _interfaces(home, seen)
        _ledger(home, seen)
    _state(home, settings, seen)
    _differences(home, seen)
    _hosts(home, settings, seen)
    _calendar(home, settings, seen)
    for each in findings(home, settings):
        seen.fault(each.part, "exposed", each.what, each.advice)
    _disk(home, settings, seen)
    return {
        "home": str(home.root),
        "running": addresses is not None,
        "addresses": addresses,
        "origin": origin,
        "verifier_key": key,
        "parts": seen.parts,
        "faults": seen.faults,
        "notices": seen.notices,
    }


class _Seen:
    def __init__(self) -> None:
        self.parts: list[tuple[str, str, str]] = []
        self.faults: list[dict[str, str]] = []
        self.notices: list[dict[str, str]] = []

    def add(self, part: str, state: str, detail: object) -> None:
        self.parts.append((part, state, str(detail)))

    def fault(self, part: str, state: str, what: str, advice: str) -> None:
        self.add(part, state, what)
        self.faults.append({"part": part, "what": what, "advice": advice})

    def notice(self, part: str, state: str, what: str, advice: str) -> None:
        """Something to know that is no fault of this gateway."""
        self.add(part, state, what)
        self.notices.append({"part": part, "what": what, "advice": advice})


def _log_identity(home: GatewayHome, settings: Settings, seen: _Seen) -> tuple[str, str | None]:
    origin = home.origin(settings)
    try:
        ring = open_ring(home, settings, frozenset({"log", "witness"}))
        key = VerifierKey(origin, ED25519, ring.log_signer(origin).public_bytes).text()
        name = home.witness_name(settings)
        witness = VerifierKey(name, COSIGNATURE, ring.witness_signer(name).public_bytes).text()
    except GatewayError as error:
        seen.fault("keys", "unreadable", error.detail, "restore the key ring, or set GATEWAY_PASSPHRASE")
        return origin, None
    seen.add("log", "known as", origin)
    seen.add("verifier key", "for auditors", key)
    seen.add("witness key", "for other nodes", witness)
    return origin, key


def _processes(addresses: dict[str, Any], seen: _Seen) -> None:
    for name, pid in addresses.get("children", {}).items():
        if pid and _is_alive(pid):
            seen.add(name, "up", f"pid {pid}")
        else:
            seen.fault(name, "down", f"the {name} process is not running", "its log says why; it is started again")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _readiness(home: GatewayHome, seen: _Seen) -> None:
    try:
        parts = ask(home.root).get("parts", {})
    except (OSError, ValueError):
        seen.fault("readiness", "unknown", "the control process does not answer", "its log says why")
        return
    failing = sorted(part for part, works in parts.items() if not works)
    for part in failing:
        what, advice = NOT_READY.get(part, (f"{part}: not working", "its log says why"))
        seen.fault("readiness", "not ready", what, advice)
    if not failing:
        seen.add("readiness", "ready", "a use can be served")


def _interfaces(home: GatewayHome, seen: _Seen) -> None:
    """Interfaces in trouble within the last minute, as the workers published them."""
    found = {
        labels
        for snapshot in read_snapshots(home.run / "metrics", "worker-*")
        if snapshot.age_seconds(time.monotonic()) <= STALE_SECONDS
        for labels in snapshot.numbers.get("gateway_interface_trouble", {})
    }
    for _, interface, trouble in sorted(found):
        what, advice = TROUBLES[trouble]
        seen.notice(f"interface {interface}", trouble, what, advice)


def _ledger(home: GatewayHome, seen: _Seen) -> None:
    async def ask() -> Any:
        return await asyncio.wait_for(LedgerClient(home.ledger_socket).status(), ASK_SECONDS)

    try:
        status = asyncio.run(ask())
    except (GatewayError, TimeoutError, OSError):
        seen.fault("ledger", "silent", "the ledger process does not answer", "its log says why")
        return
    if status.fault:
        seen.fault("ledger", "stands still", status.fault, "keep the folder as it is and restore it from a backup")
    else:
        seen.add("ledger", "up", f"{status.size} entries in the log, {status.backlog} on their way")
    for each in status.set_aside:
        where = f"leaf {each.leaf}" if each.count == 1 else f"leaves {each.leaf} to {each.leaf + each.count - 1}"
        if each.is_unreadable:
            advice = "restore the log's file from a mirror or a backup, then remove `index/`: it is rebuilt"
        else:
            advice = "nothing is lost: it stands in the log, in no answer; tell who maintains the gateway"
        seen.fault("index", "set aside", f"{where}: {each.why}", advice)
    if (archive := status.archive) is not None:
        if archive.fault:
            advice = "uses go on, and it is tried again by itself; what is not there takes room on this disk"
            waits = f"; {archive.waiting_seconds:.0f} seconds are on this disk alone" if archive.waiting_seconds else ""
            seen.fault("archive", "waits", f"{archive.fault}{waits}", advice)
        else:
            seen.add("archive", "up", f"{archive.size} entries are in {archive.address}")
    for witness, fault in status.witnesses.items():
        if fault:
            advice = "ask whoever keeps it; uses go on, and it is asked again by itself"
            seen.fault(f"witness {witness}", "no cosignature", f"{witness}: {fault}", advice)
        else:
            seen.add(f"witness {witness}", "cosigns", f"{status.cosigned} entries are cosigned")


def _state(home: GatewayHome, settings: Settings, seen: _Seen) -> None:
    """SQLite goes on with a file that was taken away, and what is changed from then on is lost."""
    if not home.is_shared(settings) and settings.state.url is None and not (home.root / "state.db").exists():
        advice = "stop the gateway and put `state.db` back, or a backup of it in its place"
        seen.fault("state", "gone", f"`{home.root / 'state.db'}` is not there", advice)


def _calendar(home: GatewayHome, settings: Settings, seen: _Seen) -> None:
    """Working days that are not known deny what a policy asks of them, and make periods provisional."""
    try:
        reach = calendar_reach(home, settings, china_day(time.time()))
    except GatewayError:
        return  # the state cannot be read, or is being migrated: said by others
    if reach.is_short:
        seen.fault("calendar", "too short", reach.told(), ADVICE)
    elif reach.ends_soon:
        seen.notice("calendar", "ends soon", reach.told(), ADVICE)


def _differences(home: GatewayHome, seen: _Seen) -> None:
    """What a restored state lacks, and what an officer has yet to look at."""
    try:
        found = list_differences(home)
    except GatewayError:
        return  # the state cannot be read, or is being migrated: said by others
    held = [each for each in found if each["in_force"]]
    if held:
        what = f"{len(held)} acts on record are not in the restored state, and what they withdrew is held"
        seen.fault("restored", "held", what, f"see `gateway differences --home {home.root}`; lift each order")
    elif found:
        seen.add("restored", "looked at", f"{len(found)} acts on record are not in the state: `gateway differences`")


def _hosts(home: GatewayHome, settings: Settings, seen: _Seen) -> None:
    """Interfaces that are registered and not called, and hosts of before hosts were registered."""
    try:
        found = find_unreachable(home, settings)
    except GatewayError:
        return  # the state cannot be read, or is being migrated: said by others
    if found.interfaces:
        advice = "register what they lack (`gateway hosts`, `gateway certificates`), or withdraw them"
        seen.fault("interfaces", "not called", named(found.interfaces), advice)
    if found.inherited:
        advice = (
            "their departments claim and prove them (`gateway hosts claim`); they are called until somebody else does"
        )
        seen.notice("hosts", "inherited", named(found.inherited), advice)
    if found.unnamed is not None:
        seen.notice(found.unnamed.part, "not set", found.unnamed.what, found.unnamed.advice)


def _disk(home: GatewayHome, settings: Settings, seen: _Seen) -> None:
    free = shutil.disk_usage(home.root).free
    detail = f"{free >> 20} MiB free"
    if free < settings.ledger.low_water_bytes:
        seen.fault("disk", "low", f"{detail}, so no new use is accepted", "free or add space; it recovers by itself")
    else:
        seen.add("disk", "enough", detail)
