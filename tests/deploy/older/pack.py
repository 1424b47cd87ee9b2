"""Keep the home that a version leaves behind: `python -m tests.deploy.older.pack COMMIT [NAME]`.

The commit's own code makes the home and lives in it (`live.py`), with the packages that are installed here; what it
leaves is packed as `homes/NAME.tar.xz`, where NAME is the commit's day and short id. Do it once for each version that
has landed, before the next one does: `test_older_releases` opens them all with the present code.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
HOMES = HERE / "homes"
SEALED = {"GATEWAY_PASSPHRASE": "kept", "GATEWAY_LEDGER__ORIGIN": "sharing-gateway/older"}
"""The keys in a kept home are sealed by a word that stands here: they protect nothing."""
LEFT_OUT = ("run", "next.tmp")


def git(*arguments: str) -> bytes:
    """What git prints, asked in this clone."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True, timeout=60).stdout


def unpack_source(commit: str, folder: Path) -> None:
    """Put the source of a commit in `folder`."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", commit))) as packed:
        packed.extractall(folder, filter="data")


def live(source: Path, home: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Let the code in `source` make `home` and live in it; what it came to.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    done = subprocess.run(
        [sys.executable, str(HERE / "live.py"), str(home)],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    lived: dict[str, Any] = json.loads(done.stdout)
    return lived


def pack(home: Path, kept: Path) -> None:
    """Pack what lasts of a home: no logs, no sockets, no file that is only reserved."""

    def lasts(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        path = Path(member.name)
        is_left = path.suffix == ".log" or any(part in LEFT_OUT for part in path.parts)
        if is_left or not (member.isfile() or member.isdir()):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(kept, "w:xz", preset=9) as packed:
        packed.add(home, arcname=".", filter=lasts)


def main(commit: str, name: str = "") -> None:
    """Keep the home of one commit."""
    name = name or git("show", "-s", "--format=%cs-%h", commit).decode().strip()
    folder = Path(tempfile.mkdtemp())
    try:
        source, home = folder / "source", folder / "home"
        source.mkdir()
        unpack_source(commit, source)
        lived = live(source, home, SEALED)
        (home / "lived.json").write_text(json.dumps(lived), "utf-8")
        HOMES.mkdir(exist_ok=True)
        pack(home, HOMES / f"{name}.tar.xz")
    finally:
        shutil.rmtree(folder)
    print(f"{name}: {(HOMES / f'{name}.tar.xz').stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
