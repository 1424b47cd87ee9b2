"""An ASGI application on a socket of loopback, in a thread: what a client meets over real HTTP."""

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
