"""The units are accepted by systemd's own checker and leave a compromised gateway little to do."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.runtime.settings import Settings, load_settings
from tests.support.deploy_tools import DEPLOY, needs, run, tool

UNITS = DEPLOY / "systemd"
EXPOSURE = {"gateway.service": 1.5, "gateway-backup.service": 1.0}
"""Most that `systemd-analyze security` may find, 0 (closed) to 10 (open)."""


def options(unit: str) -> list[tuple[str, str]]:
    """(name, value) of every line of a unit, in order; names may repeat."""
    lines = (UNITS / unit).read_text("utf-8").splitlines()
    return [
        (name, value) for name, _, value in (line.partition("=") for line in lines if "=" in line and line[0] != "#")
    ]


@needs("systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds no unknown option, bad value or missing dependency."""
    for unit in UNITS.glob("gateway*"):
        text = re.sub(r"/opt/sharing-gateway/\S+", "/bin/true", unit.read_text("utf-8"))
        (tmp_path / unit.name).write_text(text, "utf-8")
    said = run("systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir()))
    assert "gateway" not in said, said


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", EXPOSURE)
def test_units_are_closed(unit: str) -> None:
    """`systemd-analyze security` rates what a process taken over could still reach."""
    said = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE[unit] * 10:.0f}", UNITS / unit)
    found = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert found is not None
    assert float(found[1]) <= EXPOSURE[unit]


def test_settings_in_the_unit_are_settings(tmp_path: Path) -> None:
    """Every `GATEWAY_*` of a unit is a name that the gateway knows; the backup reads the service's environment too."""
    for unit, key in (("gateway.service", "%d/tls.key"), ("gateway-backup.service", "/etc/sharing-gateway/tls.key")):
        given = options(unit)
        environment = dict(value.split("=", 1) for name, value in given if name == "Environment")
        environment["GATEWAY_DATA_PLANE__TLS_KEY"] = environment["GATEWAY_DATA_PLANE__TLS_KEY"].replace("%d", "/run/d")
        read = load_settings(tmp_path / "none.toml", environment)
        assert read.data_plane.tls_key == Path(key.replace("%d", "/run/d"))
        assert ("EnvironmentFile", "-/etc/sharing-gateway/environment") in list(given)


def test_stop_waits_longer_than_the_drain() -> None:
    """systemd does not kill a gateway that still drains by its own default settings."""
    seconds = int(dict(options("gateway.service"))["TimeoutStopSec"])
    assert seconds > Settings().data_plane.drain_seconds + 4 * 10  # each child may take 10 s to end


def test_sysusers_line_names_the_units_user() -> None:
    """The user that the units run as is the one that is made."""
    made = (UNITS / "sysusers.conf").read_text("utf-8").splitlines()[-1].split()[1]
    assert {value for unit in EXPOSURE for name, value in options(unit) if name == "User"} == {made}


def test_units_have_no_option_twice_but_those_that_add_up() -> None:
    """A second line of most options silently replaces the first."""
    adding = {"Environment", "LoadCredential", "SystemCallFilter"}
    for unit in UNITS.glob("gateway*"):
        names = [name for name, _ in options(unit.name) if name not in adding]
        assert len(set(names)) == len(names), unit.name
        configparser.RawConfigParser(strict=False, delimiters=("=",)).read_string(unit.read_text("utf-8"))


def calls_of(group: str) -> set[str]:
    """The system calls of one of systemd's groups, with those of the groups it names."""
    found: set[str] = set()
    for line in run("systemd-analyze", "syscall-filter", group).splitlines()[1:]:
        name = line.strip()
        if name.startswith("@"):
            found |= calls_of(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


@pytest.mark.deep
@needs("systemd-analyze")
@needs("strace")
def test_whole_gateway_lives_within_what_the_unit_allows(tmp_path: Path) -> None:
    """The demo, with no page both writable and executable, makes only system calls that the unit's filter lets pass."""
    lists = [value for name, value in options("gateway.service") if name == "SystemCallFilter"]
    allowed = {call for group in lists[0].split() for call in calls_of(group)}
    allowed -= {call for group in lists[1].removeprefix("~").split() for call in calls_of(group)}
    # SQLite gives its journal the database's owner where it runs as root; the unit's user is not root.
    allowed |= {"fchown"} if os.geteuid() == 0 else set()
    refuse = "import ctypes, os, sys; assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0"  # PR_SET_MDWE
    confined = f"{refuse}; os.execv(sys.argv[1], sys.argv[1:])"
    kernel = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    start = [sys.executable, "-c", confined] if kernel >= (6, 3) else []
    counts = tmp_path / "counts"
    command = [*start, sys.executable, "-m", "gateway", "demo", "--once", "--home", str(tmp_path / "home")]
    done = subprocess.run(
        [str(tool("strace")), "-f", "-c", "-S", "name", "-o", str(counts), *command],
        capture_output=True,
        check=False,
        timeout=300,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in counts.read_text("utf-8").splitlines()]
    used = {row[-1] for row in rows if len(row) >= 5 and row[0][0].isdigit()} - {"total"}
    assert "fdatasync" in used
    assert used - allowed == set()
