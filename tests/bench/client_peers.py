"""Habits of peers against ours, run: `python tests/bench/client_peers.py` writes results/client_peers.md.

Each peer is installed as it is published, into an environment of its own (`--environment`, made where it is not there),
and meets one server on loopback that expires, refuses, hangs and cuts. Nothing is told from documentation. What a peer
has no such thing for is `-`: stripe and plain httpx get no tokens.
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTESTANTS = Path(__file__).with_name("client_contestants.py")
PEERS = {
    "ours": ["httpx", "cryptography"],
    "google-auth": ["google-auth[requests]"],
    "Authlib": ["Authlib", "httpx"],
    "boto3": ["boto3"],
    "stripe": ["stripe"],
    "httpx": ["httpx"],
}
HABITS = {
    "herd": "token requests of 50 threads that begin at once",
    "hang": "longest of 5 calls, seconds, time-out 1 s, token endpoint silent",
    "unavailable": "token requests / longest wait, seconds, of 20 threads, endpoint at 503",
    "retry-after": "seconds until a call that was told `Retry-After: 2` is sent again",
    "post": "times a POST is sent that is answered 503 each time, made or not unknown",
    "half": "half of an answer without a length, ended in good order",
    "redirect": "credential at another origin after a redirect",
    "log": "what was asked, in the log at INFO",
    "import": "import, ms of processor time / modules / MB installed",
}
CONTENT = json.dumps({"TableNames": [], "object": "list", "data": [], "has_more": False, "url": "/"}).encode()
REFUSED = {"type": "/problems/rate-limited", "title": "no", "status": 429, "__type": "ThrottlingException"}
LIMIT_SECONDS = 15


class Server(ThreadingHTTPServer):
    """Token endpoint and service with one habit at a time to be met."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, habit: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.habit = habit
        self.lock = threading.Lock()
        self.tokens = 0
        self.calls: list[float] = []
        self.elsewhere: list[bool] = []
        self.other: Server | None = None
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def _serve(self) -> None:
        server = self.server
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith(("/token", "/creds")):
            with server.lock:
                server.tokens += 1
            if server.habit == "hang":
                server.over.wait(LIMIT_SECONDS + 5)
            elif server.habit == "unavailable":
                self._answer(503, b"{}")
            else:
                time.sleep(0.2)
                token = {"access_token": "t", "token_type": "Bearer", "expires_in": 3600, "AccessKeyId": "a"}
                end = {"SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
                self._answer(200, json.dumps(token | end).encode())
            return
        with server.lock:
            server.calls.append(time.monotonic())
            turn = len(server.calls)
            server.elsewhere.append("Authorization" in self.headers)
        if server.habit == "retry-after" and turn == 1:
            self._answer(429, json.dumps(REFUSED).encode(), "application/problem+json", ("Retry-After", "2"))
        elif server.habit == "post":
            self._answer(503, b"{}")
        elif server.habit == "redirect" and server.other is not None:
            self._answer(302, b"", "text/plain", ("Location", server.other.url + self.path))
        elif server.habit == "half":
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b'{"data": [1], "TableNames": []}\n')  # and as much again that never comes
        else:
            self._answer(200, CONTENT)

    def _answer(self, status: int, content: bytes, kind: str = "application/json", *fields: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))), *fields):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def environment(folder: Path, peer: str) -> Path:
    """A Python that has the peer and what it needs, and nothing else."""
    place = folder / peer
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[peer]]
        subprocess.run(command, check=True)
    return python


def meet(python: Path, peer: str, habit: str) -> str:
    """What one peer does, in one cell of the table."""
    server, other = Server(habit), Server("")
    server.other = other
    for each in (server, other):
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
    path = {"PYTHONPATH": str(ROOT)} if peer == "ours" else {}
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [str(python), str(CONTESTANTS), peer, habit, server.url],
            env={**clean, **path},
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * LIMIT_SECONDS,
        )
        said = done.stdout.strip() or (done.stderr.strip().splitlines() or ["nothing"])[-1][:60]
    except subprocess.TimeoutExpired:
        said = f"over {time.monotonic() - began:.0f} s"
    finally:
        server.over.set()
        for each in (server, other):
            each.shutdown()
            each.server_close()
    if said == "-":
        return said
    if habit == "herd":
        return str(server.tokens)
    if habit == "unavailable":
        return f"{server.tokens} / {said}"
    if habit == "retry-after":
        return f"{server.calls[1] - server.calls[0]:.1f}" if len(server.calls) > 1 else "never: " + said
    if habit == "post":
        return str(len(server.calls))
    if habit == "redirect":
        return "sent there" if any(other.elsewhere) else "not sent" + ("" if other.elsewhere else ", not followed")
    if habit == "import":
        site = next((python.parents[1] / "lib").glob("python*/site-packages"))
        size = sum(
            file.stat().st_size
            for file in site.rglob("*")
            if file.is_file() and not {"pip", "setuptools", "_distutils_hack"} & set(file.parts)
        )
        return f"{said} / {size / 1e6:.0f}"
    return said


def table(rows: dict[str, dict[str, str]]) -> str:
    """The cells as Markdown."""
    lines = ["| | " + " | ".join(PEERS) + " |", "|---" * (len(PEERS) + 1) + "|"]
    lines += ["| " + " | ".join([HABITS[habit], *cells.values()]) + " |" for habit, cells in rows.items()]
    return "\n".join(lines)


def main() -> int:
    """Run what was asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--environment", type=Path, default=Path(tempfile.gettempdir()) / "gateway-client-peers")
    parser.add_argument("--habits", nargs="*", default=list(HABITS), choices=list(HABITS))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--report", type=Path, default=Path(__file__).parent / "results" / "client_peers.md")
    parser.add_argument("--quick", action="store_true", help="the same")
    given = parser.parse_args()
    socket.setdefaulttimeout(60)
    pythons = {peer: environment(given.environment, peer) for peer in given.peers}
    rows: dict[str, dict[str, str]] = {}
    for habit in given.habits:
        rows[habit] = {peer: meet(python, peer, habit) for peer, python in pythons.items()}
    lines = [table(rows), "", f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}.", ""]
    for peer, python in pythons.items():
        command = [str(python), "-m", "pip", "freeze", "--disable-pip-version-check"]
        frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        wanted = {name.partition("[")[0].lower() for name in PEERS[peer]}
        lines.append(f"- {peer}: " + ", ".join(each for each in frozen if each.partition("==")[0].lower() in wanted))
    text = "\n".join(lines) + "\n"
    print(text, end="")
    given.report.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
