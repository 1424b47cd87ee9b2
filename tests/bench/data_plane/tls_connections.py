"""TLS connections opened and closed against a worker's memory: uvloop's TLS beside asyncio's.

    .venv/bin/python tests/bench/data_plane/tls_connections.py [--connections 20000]

MagicStack/uvloop issue 565 reports a leak for TLS connections. One data plane with uvloop's TLS and one with asyncio's
`SSLProtocol` on uvloop's plain transports, each in a process of its own, take connections that are opened,
used for one refused request and closed; resident memory is read after every tenth of them. What
counts is the growth of the second half, when every cache is warm. Results are printed and kept in
tests/bench/results/tls_connections.json.
"""

import argparse
import asyncio
import contextlib
import json
import platform
import signal
import ssl
import subprocess
import sys
import tempfile
from asyncio import sslproto
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import uvloop

from gateway.proxy import DataPlane
from gateway.proxy.downstream import CallerConnection
from gateway.proxy.tls import ClientCertificates, caller_context
from tests.bench.data_plane.measure import resident_mib
from tests.support.certificates import Authority
from tests.support.proxy_ports import House

RESULTS = Path(__file__).parents[1] / "results" / "tls_connections.json"


class Forgetful(list[Any]):
    """Keeps nothing: what the port would note for a test is not what is measured."""

    def append(self, _: Any) -> None: ...


def over_tls(plane: DataPlane, context: ssl.SSLContext, loop: asyncio.AbstractEventLoop) -> Any:
    """A caller's connection under asyncio's TLS on a plain transport of any loop."""
    return sslproto.SSLProtocol(loop, CallerConnection(plane), context, None, server_side=True)  # type: ignore[arg-type]


async def serve(folder: Path, *, loops_own: bool) -> None:
    """A data plane that prints its port and runs until SIGTERM."""
    context = caller_context(
        folder / "server.pem", client_certificates=ClientCertificates.OPTIONAL, client_ca=folder / "ca.pem"
    )
    house = House()
    house.heads, house.peers = Forgetful(), Forgetful()
    plane = house.plane()
    if loops_own:
        server = await plane.serve("127.0.0.1", 0, tls=context)
    else:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: over_tls(plane, context, loop), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()


def open_and_close(port: int, context: ssl.SSLContext, count: int) -> None:
    """So many connections, one after the other, each with one refused request."""
    import socket  # noqa: PLC0415 - the serving process needs it not

    for _ in range(count):
        with (
            socket.create_connection(("127.0.0.1", port), 30) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            # Else the request waits for the acknowledgement of the handshake's end, which the other side delays.
            secured.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured.sendall(b"GET /a/b HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
            while secured.recv(4096):
                pass


def measure(loop: str, folder: Path, connections: int) -> dict[str, Any]:
    """Memory of one server over `connections` connections."""
    command = [sys.executable, __file__, "--serve", loop, "--folder", str(folder)]
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "client.pem")
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
        stack.callback(process.terminate)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        pool = stack.enter_context(ThreadPoolExecutor(4))
        memory = [resident_mib([process.pid])]
        for _ in range(10):
            list(pool.map(lambda _: open_and_close(port, context, connections // 40), range(4)))
            memory.append(round(resident_mib([process.pid]), 2))
            print(f"{loop}: {memory[-1]} MiB", flush=True)
    half = connections // 2
    grown = (memory[-1] - memory[5]) * 2**20
    return {"connections": connections, "mib": memory, "bytes_a_connection": round(grown / half)}


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=20_000)
    parser.add_argument("--serve", choices=("uvloop", "asyncio"))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.folder, loops_own=options.serve == "uvloop"))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority()
        authority.write_ca(folder / "ca.pem")
        authority.write("127.0.0.1", folder / "server.pem")
        authority.write("marriage-desk", folder / "client.pem")
        found = {loop: measure(loop, folder, options.connections) for loop in ("uvloop", "asyncio")}
    kept = {"python": platform.python_version(), "uvloop": uvloop.__version__, "openssl": ssl.OPENSSL_VERSION, **found}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    print(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
