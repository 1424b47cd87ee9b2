"""PgBouncer before a PostgreSQL server of the tests, on a Unix socket of its own; skipped where it is not installed."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.gateways import wait_for
from tests.support.postgres import Postgres


@contextlib.contextmanager
def pgbouncer(server: Postgres, pool_mode: str) -> Iterator[Callable[[str], str]]:
    """A running pooler; gives the URL of a database of `server` through it."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not Path(program).exists():
        pytest.skip("no pgbouncer here: the package of this name brings it")
    folder = Path(tempfile.mkdtemp(prefix="bouncer-"))
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(folder, user.pw_uid, user.pw_gid)
    (folder / "ini").write_text(
        f"[databases]\n* = host={server.home} user=gateway\n[pgbouncer]\npool_mode = {pool_mode}\nauth_type = any\n"
        f"unix_socket_dir = {folder}\nlisten_port = 6432\nlisten_addr =\nmax_client_conn = 100\n"
        "default_pool_size = 20\n",
        "utf-8",
    )
    (folder / "ini").chmod(0o644)
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen([program, "-q", str(folder / "ini")], stdout=log, stderr=log, **as_user)  # type: ignore[call-overload]
    try:
        assert wait_for((folder / ".s.PGSQL.6432").exists, 60), "pgbouncer did not start"
        yield lambda name: f"postgresql://gateway@/{name}?host={folder}&port=6432"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink()
