"""Logs are one JSON object a line, with the process, the record and the trace, and never an exception's text."""

import errno
import json
import logging
import sys

from gateway.domain.errors import GatewayError
from gateway.runtime.telemetry.logs import JsonLines

LINES = JsonLines("worker-0")


def line(message: str, *arguments: object, error: BaseException | None = None, **extra: str) -> dict[str, object]:
    made = logging.LogRecord("gateway.x", logging.ERROR, __file__, 1, message, arguments, None)
    if error is not None:
        try:
            raise error
        except type(error):
            made.exc_info = sys.exc_info()
    made.__dict__.update(extra)
    text = LINES.format(made)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_line_names_process_record_and_trace() -> None:
    """What an administrator searches by stands in fields of its own; what was not given is left out."""
    told = line("a use has ended", record="r-1", trace="a" * 32, code="cut", other="not known here")
    assert told["process"] == "worker-0"
    assert (told["record"], told["trace"], told["code"]) == ("r-1", "a" * 32, "cut")
    assert set(told) == {"time", "level", "process", "logger", "message", "record", "trace", "code"}
    assert set(line("bare")) == {"time", "level", "process", "logger", "message"}


def test_message_of_several_lines_stays_one_line() -> None:
    """Nobody can forge a line by what he sends."""
    assert line("%s", 'one\n{"level": "info"}')["message"] == 'one\n{"level": "info"}'


def test_exception_is_told_by_its_kind_and_place_alone() -> None:
    """NO-VALUES: an exception may quote what was being worked on."""
    told = line("failed", error=ValueError("110101199003071234"))
    assert told["exception"] == "ValueError"
    assert "test_logs.py" in str(told["at"])
    assert "110101199003071234" not in json.dumps(told)


def test_an_error_of_the_system_names_its_file() -> None:
    """Also behind another one: a disk that is full, a file that is not there, a permission that is missing."""
    full = OSError(errno.ENOSPC, "110101199003071234", "/srv/gateway/ledger/tree/tile/0/000")
    told = line("failed", error=full)
    assert (told["exception"], told["error"], told["file"]) == ("OSError", "ENOSPC", full.filename)
    behind = GatewayError("records-unavailable")
    behind.__cause__ = PermissionError(errno.EACCES, "x", b"/srv/gateway/state.db")
    told = line("failed", error=behind)
    assert (told["exception"], told["error"], told["file"]) == ("GatewayError", "EACCES", "/srv/gateway/state.db")
    assert line("failed", error=ConnectionResetError(errno.ECONNRESET, "x"))["error"] == "ECONNRESET"
    assert "110101199003071234" not in json.dumps(line("failed", error=full))
    assert not {"error", "file"} & set(line("failed", error=OSError("110101199003071234")))
