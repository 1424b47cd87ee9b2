"""An ASGI application on a socket of loopback, in a thread: what a client meets over real HTTP."""

import contextlib
import socket
import threading
from typing import Any

import uvicorn


class Loopback:
    """Binds at once, so that the application can be told its own URL; serves from `start` to `close`."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self, app: Any) -> None:
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", http="h11", ws="none"))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()


class Eavesdropper:
    """What the environment names as its proxy, for every scheme and program: it should hear of nobody."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self.heard = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which programs are told of a proxy; none is excepted from it."""
        url = f"http://127.0.0.1:{self._port}"
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        java = [
            f"-D{each}.proxy{part}" for each in ("http", "https") for part in ("Host=127.0.0.1", f"Port={self._port}")
        ]
        return {
            **dict.fromkeys(names, url),
            "no_proxy": "",
            "NO_PROXY": "",
            "NODE_USE_ENV_PROXY": "1",
            "JAVA_TOOL_OPTIONS": " ".join([*java, "-Dhttp.nonProxyHosts="]),
        }

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.heard += 1
                connection.close()

    def close(self) -> None:
        # A shut socket ends `accept`; closing it alone would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
