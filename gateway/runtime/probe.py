"""Whether this gateway lives and can serve, asked over a socket of its own home: no port, no certificate, no name.

The control process answers each connection with one JSON line, `{"ready": bool, "parts": {…}}`, and closes it. Who asks
it is on this machine and may enter `run/`. As a program, for containers and pods, it loads nothing else of the house:

    python -m gateway.runtime.probe ready|live [HOME]     exit status 0 if so
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

ASK_SECONDS = 3.0
MAX_ANSWER_BYTES = 64 << 10


def probe_socket(root: Path) -> Path:
    """Where the control process of the home `root` answers."""
    return root.absolute() / "run" / "probe.sock"


def ask(root: Path, timeout_seconds: float = ASK_SECONDS) -> dict[str, Any]:
    """What the control process says of itself.

    Raises:
        OSError: where it does not answer in time.
        ValueError: where what answers is not one.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_seconds)
        connection.connect(str(probe_socket(root)))
        content = b""
        while chunk := connection.recv(MAX_ANSWER_BYTES):
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise ValueError("the answer is too long")
    said = json.loads(content)
    if not isinstance(said, dict):
        raise ValueError("the answer is no object")  # noqa: TRY004 -- of a program that speaks something else
    return said


def main(arguments: list[str]) -> int:
    """Exit status 0 where the gateway is `ready`, or `live`; 2 for another word."""
    if not arguments or arguments[0] not in {"ready", "live"}:
        sys.stderr.write("python -m gateway.runtime.probe ready|live [HOME]\n")
        return 2
    root = Path(arguments[1] if len(arguments) > 1 else os.environ.get("GATEWAY_HOME", "var"))
    try:
        said = ask(root)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"the control process of `{root}` does not answer: {error}\n")
        return 1
    failing = sorted(part for part, works in said.get("parts", {}).items() if not works)
    if arguments[0] == "ready" and not said.get("ready"):
        sys.stderr.write(f"not ready: {', '.join(failing)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
