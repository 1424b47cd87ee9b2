"""A real S3 server with object lock (versitygw), and a proxy before it that does what stores do at their worst."""

import http.client
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from gateway.ledger.archive.target import Target
from tests.support.gateways import wait_for

ACCESS, SECRET = "test-access", "test-secret-of-a-test"
TOOLS = Path(__file__).parents[2] / "build" / "tools" / "bin"
_FAULT = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%b</Code><Message>as told</Message></Error>'


def program() -> str:
    """The server's program; the test is skipped, with the reason, where there is none."""
    found = shutil.which("versitygw") or (str(TOOLS / "versitygw") if (TOOLS / "versitygw").exists() else None)
    if found is None:
        pytest.skip("no S3 server here: `deploy/tools object-store` builds versitygw in some minutes")
    return found


class S3Server:
    """The server, its buckets `locked` (versions and object lock) and `plain`, and its client for tests."""

    def __init__(self, folder: Path) -> None:
        import boto3  # noqa: PLC0415 -- an extra
        from botocore.config import Config  # noqa: PLC0415 -- an extra

        folders = [folder / "versions", folder / "data"]
        for each in folders:
            each.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process = subprocess.Popen(
            [program(), *f"--port 127.0.0.1:{self.port} -q posix --versioning-dir".split(), *folders],
            env={**os.environ, "ROOT_ACCESS_KEY_ID": ACCESS, "ROOT_SECRET_ACCESS_KEY": SECRET},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.credentials = folder / "credentials"
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n", encoding="utf-8"
        )
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )
        assert wait_for(self._answers, 60), "the S3 server did not start"
        self.client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
        self.client.create_bucket(Bucket="plain")

    def target(self, bucket: str = "locked", *, port: int | None = None) -> Target:
        """How the gateway reaches it, or what stands before it at `port`."""
        return Target(
            bucket,
            endpoint=f"http://127.0.0.1:{port or self.port}",
            region="us-east-1",
            path_style=True,
            credentials=str(self.credentials),
        )

    def versions(self, bucket: str = "locked") -> list[dict[str, Any]]:
        """Every version of every object."""
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=bucket)
        return [version for page in pages for version in page.get("Versions", [])]

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self._process.terminate()
        self._process.wait(30)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            assert self._process.poll() is None, "the S3 server ended"
            return False


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A running server; skipped where its program, or the client, is not there."""
    pytest.importorskip("boto3", reason="the extra `archive` is not installed")
    server = S3Server(folder)
    try:
        yield server
    finally:
        server.stop()


class Request(NamedTuple):
    """A request on its way to the store."""

    method: str
    path: str
    body: bytes


class Reply(NamedTuple):
    """What the store answered, or what is answered in its place."""

    status: int
    headers: dict[str, str]
    body: bytes


Fault = Callable[[Request, Callable[..., Reply]], Reply | None]
"""Given a request and a way of asking the store (with another body, if one is given), the answer to give; None ends the
connection without one."""


class FaultyStore:
    """A proxy before a server; `fault` decides each answer, and is None where the store's own is given."""

    def __init__(self, server: S3Server) -> None:
        self.fault: Fault | None = None
        self.asked: list[Request] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, body)
                store.asked.append(request)

                def ask(body: bytes = body) -> Reply:
                    upstream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                    try:
                        apart = {"expect", "content-length"}
                        headers = {name: value for name, value in self.headers.items() if name.lower() not in apart}
                        # The signature is over the host that the client asked, so that is what the store is told.
                        upstream.request(self.command, self.path, body, headers)
                        answer = upstream.getresponse()
                        return Reply(answer.status, dict(answer.getheaders()), answer.read())
                    finally:
                        upstream.close()

                reply = store.fault(request, ask) if store.fault else ask()
                if reply is None:
                    self.close_connection = True
                    return
                self.send_response_only(reply.status)
                for name, value in reply.headers.items():
                    if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                        self.send_header(name, value)
                stated = {name.lower(): value for name, value in reply.headers.items()}
                length = stated.get("content-length") or str(len(reply.body))
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)
                    self.close_connection = length != str(len(reply.body))

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass  # noqa: N815 -- the names it asks for

            def handle_expect_100(self) -> bool:
                self.send_response_only(100)
                self.end_headers()
                return True

            def log_message(self, *_said: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def refusal(status: int, code: bytes) -> Reply:
    """An error of the protocol."""
    return Reply(status, {"Content-Type": "application/xml"}, _FAULT % code)
