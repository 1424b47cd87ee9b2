"""Nothing that may block runs on a worker's loop: the interpreter's own audit of a running gateway says so.

Names that are looked up, files that are opened, databases, processes and sleeps are events of `sys.addaudithook`. Those
on the loop's thread, once a worker is ready, are written down with their place.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.gateways import RunningGateway, running_gateway, wait_for

pytestmark = pytest.mark.deep

LISTENER = """
import asyncio, gc, os, sys, threading, traceback

BLOCKING = {
    "open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.truncate", "os.system", "shutil.copyfile",
    "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "sqlite3.connect", "subprocess.Popen",
    "time.sleep", "glob.glob", "import",
}
MAIN = threading.main_thread()
SINK = os.open(os.environ["HEARD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def hear(event, args):
    if event not in BLOCKING or threading.current_thread() is not MAIN or not gc.get_freeze_count():
        return
    if asyncio._get_running_loop() is None:
        return
    frame, places = sys._getframe(1), []
    while frame is not None and len(places) < 12:
        places.append(f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    os.write(SINK, f"{event} {args[:1]} {' < '.join(places)}\\n".encode())

if "worker" in sys.orig_argv:
    sys.addaudithook(hear)
"""


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, Path]]:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "sitecustomize.py").write_text(LISTENER)
    sink = folder / "heard"
    with running_gateway(folder / "var", PYTHONPATH=str(folder), HEARD=str(sink)) as gateway:
        yield gateway, sink


def test_nothing_blocks_a_workers_loop(heard: tuple[RunningGateway, Path]) -> None:
    """First calls and repeated ones, good and refused, changes of every kind, a policy load and a restarted control
    process: nothing of it opens a file, looks up a name or sleeps on the loop."""
    gateway, sink = heard
    person = gateway.population.persons[0]["id_number"]
    with gateway.client() as client:
        for _ in range(3):
            assert client.get("/public-security/persons", params={"id_number": person}).status_code == 200
        assert client.get("/nobody/nothing").status_code == 404
        with gateway.officer("civil-wu") as api:
            api.post("/v1/grants/G-2026-0002/suspension", {"violation": "x", "rectify_by": "2099-12-31"})
        client.get("/civil-affairs/marriages", params={"id_number": person})
        control = gateway.pid("control")
        os.kill(control, signal.SIGKILL)
        assert wait_for(lambda: (gateway.home.addresses() or {})["children"].get("control") not in {None, control}, 60)
        with contextlib.suppress(httpx.HTTPError):
            client.get("/public-security/persons", params={"id_number": person})
    httpx.get(f"{gateway.data_plane}/public-security/persons", headers={"Authorization": "Bearer x"}, trust_env=False)
    time.sleep(1.5)
    assert sink.exists(), "somebody listens"
    assert sink.read_text("utf-8").splitlines() == []
