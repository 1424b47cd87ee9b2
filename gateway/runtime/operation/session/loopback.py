"""The listener on loopback that a browser is sent back to after a sign-in (RFC 8252 §7.3, §8.3).

It stands before the browser is opened and until the answer came, so that nobody else can have its port meanwhile. What
does not bear the one `state` is refused and changes nothing: another user of this machine can knock, and no more.
"""

import hmac
import http.server
import threading
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

PATH = "/signed-in"
MOST_TARGET = 8192
_DONE = "You are signed in. This window can be closed. 登录成功,可以关闭此窗口。"
_NOT_DONE = "You are not signed in: see the terminal. 未登录:请查看终端。"
_STRANGE = "This is not the answer that is waited for."


class Listener:
    """Listens on 127.0.0.1, at a port that the system chooses, until closed.

    Args:
        state: what the one right answer bears.
        issuer: and whom it names (RFC 9207).
    """

    def __init__(self, state: str, issuer: str) -> None:
        self._state = state
        self._issuer = issuer
        self._answer: dict[str, str] | None = None
        self._came = threading.Event()
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 5.0
            server_version = sys_version = ""

            def do_GET(self) -> None:
                text = listener.take(self.path, self.headers.get("Host", ""))
                body = text.encode("utf-8")
                self.send_response(200 if text is _DONE else 400)
                for name, value in (
                    ("Content-Type", "text/plain; charset=utf-8"),
                    ("Content-Length", str(len(body))),
                    ("Cache-Control", "no-store"),
                    ("Referrer-Policy", "no-referrer"),
                    ("Connection", "close"),
                ):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the same
                """Nothing: the target bears a code."""

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = False
            allow_reuse_port = False
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self.redirect_uri = f"http://127.0.0.1:{self.port}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, target: str, host: str) -> str:
        """Look at a request; what its sender is told."""
        parts = urlsplit(target)
        if len(target) > MOST_TARGET or parts.path != PATH or host != f"127.0.0.1:{self.port}":
            return _STRANGE
        pairs = parse_qsl(parts.query, max_num_fields=8)
        found = dict(pairs)
        is_ours = hmac.compare_digest(found.get("state", "").encode(), self._state.encode())
        if len(found) != len(pairs) or not is_ours or found.get("iss") != self._issuer or self._came.is_set():
            return _STRANGE
        self._answer = found
        self._came.set()
        return _DONE if "code" in found else _NOT_DONE

    def wait(self, seconds: float) -> dict[str, str] | None:
        """The answer; None where none came in that time."""
        return self._answer if self._came.wait(seconds) else None
