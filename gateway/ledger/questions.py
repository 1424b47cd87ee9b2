"""Questions to the ledger process over a Unix socket, and the client that asks them.

A message is a 4-byte big-endian length and one JSON document. A connection bears one question `{"op", "args"}`; the
answer is any number of `{"progress": [done, of]}` and then `{"value": …}` or `{"error": {"code", "detail"}}`.
The socket belongs to the gateway's user alone; who may ask what was decided before the question came here.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import Struct
from typing import Any, TypeVar

import msgspec

from gateway.domain.errors import PROBLEMS, GatewayError

T = TypeVar("T")

MAX_MESSAGE_BYTES = 64 << 20
_LENGTH = Struct(">I")
_THREADS = 4

Progress = Callable[[int, int], None]
Handler = Callable[[dict[str, Any], Progress], Any]


class _Question(msgspec.Struct):
    op: str
    args: dict[str, Any] = {}


class _Fault(msgspec.Struct):
    code: str
    detail: str = ""


class _Answer(msgspec.Struct, omit_defaults=True):
    value: msgspec.Raw = msgspec.Raw()
    error: _Fault | None = None
    progress: tuple[int, int] | None = None


class QuestionServer:
    """Serves questions on a thread of its own, each in one of a few workers.

    Args:
        path: of the Unix socket.
        handlers: operation -> what answers it, called on a worker thread.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger-question")
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-questions", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop taking questions; those under way are finished."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._workers.shutdown(wait=True)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._failure = error
            self._ready.set()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._converse, self._path)
        self._path.chmod(0o600)
        self._ready.set()
        await self._stopped.wait()
        server.close()
        self._path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = msgspec.json.decode(await _receive(reader), type=_Question)
            answer = await self._answer(question, writer)
            _send(writer, answer)
            await writer.drain()
        except (OSError, EOFError, msgspec.DecodeError):
            pass  # the asker is gone or speaks something else; it learns nothing
        finally:
            writer.close()

    async def _answer(self, question: _Question, writer: asyncio.StreamWriter) -> _Answer:
        handler = self._handlers.get(question.op)
        if handler is None:
            return _Answer(error=_Fault("not-found", f"no such question: `{question.op}`"))

        def progress(done: int, of: int) -> None:
            self._loop.call_soon_threadsafe(_send, writer, _Answer(progress=(done, of)))

        try:
            value = await self._loop.run_in_executor(self._workers, handler, question.args, progress)
            return _Answer(value=msgspec.Raw(msgspec.json.encode(value)))
        except GatewayError as error:
            return _Answer(error=_Fault(error.code, error.detail))
        except msgspec.ValidationError as error:
            return _Answer(error=_Fault("invalid-input", str(error)))
        except Exception:  # noqa: BLE001 — one bad question must not end the server; no exception text leaves
            return _Answer(error=_Fault("internal"))


async def ask(path: Path, op: str, args: Mapping[str, Any], kind: type[T], progress: Progress | None = None) -> T:
    """Ask one question and return its answer as `kind`.

    Raises:
        GatewayError: what the ledger answered, or `unavailable` if it is not running.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise GatewayError("unavailable", "the ledger process does not answer") from error
    try:
        _send(writer, _Question(op, msgspec.to_builtins(dict(args))))
        await writer.drain()
        while True:
            answer = msgspec.json.decode(await _receive(reader), type=_Answer)
            if answer.progress is not None:
                if progress is not None:
                    progress(*answer.progress)
                continue
            if answer.error is not None:
                code = answer.error.code if answer.error.code in PROBLEMS else "internal"
                raise GatewayError(code, answer.error.detail)
            return msgspec.json.decode(answer.value, type=kind)
    except (OSError, EOFError, msgspec.DecodeError) as error:
        raise GatewayError("unavailable", "the ledger process broke off its answer") from error
    finally:
        writer.close()


async def _receive(reader: asyncio.StreamReader) -> bytes:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_MESSAGE_BYTES:
        raise EOFError
    return await reader.readexactly(length)


def _send(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    content = msgspec.json.encode(message)
    writer.write(_LENGTH.pack(len(content)) + content)
