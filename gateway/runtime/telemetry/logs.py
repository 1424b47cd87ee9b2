"""Logs: one JSON object a line on standard error, with the process, and the record and trace where there is one.

Messages hold no data values and no credentials (INVARIANT: NO-VALUES): callers pass ids, counts and codes.
"""

import datetime as dt
import errno
import json
import logging
import os
import sys

CONTEXT = ("record", "trace", "code", "worker")
"""Attributes of a log record (given by `extra=`) that are written beside the message."""

_CHAIN = 8
"""Errors that are looked at from the last one back."""


class JsonLines(logging.Formatter):
    """A log record as one line of JSON.

    Args:
        process: the name of this process.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": at,
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in CONTEXT if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            # The kind and the place, never the exception's text: it may quote what was being worked on.
            line["exception"] = record.exc_info[0].__name__
            line["at"] = _places(record)
            line |= _of_system(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def _of_system(error: BaseException | None) -> dict[str, str]:
    """What the operating system said, and of which file: of the first error in the chain that is its own."""
    for _ in range(_CHAIN):
        if isinstance(error, OSError) and error.errno is not None:
            told = {"error": errno.errorcode.get(error.errno, str(error.errno))}
            return {**told, "file": os.fsdecode(error.filename)} if isinstance(error.filename, (str, bytes)) else told
        error = (error.__cause__ or error.__context__) if error is not None else None
    return {}


def _places(record: logging.LogRecord) -> list[str]:
    places = []
    trace = record.exc_info[2] if record.exc_info else None
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-8:]


def configure_logs(level: str, process: str) -> None:
    """Send every logger's records of at least `level` to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # httpx and uvicorn log URLs, whose queries hold identifiers.
    for chatty in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
