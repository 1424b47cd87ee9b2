"""Questions to the ledger process over a Unix socket, and the client that asks them.

A message is a 4-byte big-endian length and one JSON document. A connection bears one question `{"op", "args"}`; the
answer is any number of `{"progress": [done, of]}` and then `{"value": …}` or `{"error": {"code", "detail"}}`.
The socket belongs to the gateway's user alone; who may ask what was decided before the question came here.

What takes long runs in a lane of its own, so that it holds up nothing but its own kind; a lane that is full refuses.
Who closes the connection has no use for the answer any more: a question that waits is dropped, one at work ends where
it next reports progress.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from struct import Struct
from typing import Any, TypeVar

import msgspec

from gateway.domain.errors import PROBLEMS, GatewayError

log = logging.getLogger("gateway.ledger")

T = TypeVar("T")

MAX_MESSAGE_BYTES = 64 << 20
_LENGTH = Struct(">I")

Progress = Callable[[int, int], None]
Handler = Callable[[dict[str, Any], Progress], Any]


class Lane(msgspec.Struct, frozen=True):
    """How many questions of one kind are answered at once.

    Args:
        name: of its threads, and to people.
        threads: so many are at work at once.
        waiting: so many more may wait; further ones are refused.
    """

    name: str
    threads: int
    waiting: int


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
    """Serves questions on a thread of its own, each in one of its lane's workers.

    Args:
        path: of the Unix socket.
        lanes: lane -> operation -> what answers it, called on a worker thread.
    """

    def __init__(self, path: Path, lanes: Mapping[Lane, Mapping[str, Handler]]) -> None:
        self._path = path
        self._lanes = [_Workers(lane) for lane in lanes]
        self._handlers = {
            op: (workers, handler)
            for workers, handlers in zip(self._lanes, lanes.values(), strict=True)
            for op, handler in handlers.items()
        }
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._conversing: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-questions", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop taking questions; those under way end as if their askers had left."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        for workers in self._lanes:
            workers.close()

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
        server = await asyncio.start_unix_server(self._accept, self._path)
        self._path.chmod(0o600)
        self._ready.set()
        await self._stopped.wait()
        server.close()
        self._path.unlink(missing_ok=True)
        for conversing in self._conversing:
            conversing.cancel()
        await asyncio.gather(*self._conversing, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversing = self._loop.create_task(self._converse(reader, writer))
        self._conversing.add(conversing)
        conversing.add_done_callback(self._conversing.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = msgspec.json.decode(await _receive(reader), type=_Question)
            answer = await self._answer(question, reader, writer)
            _send(writer, answer)
            await writer.drain()
        except (OSError, EOFError, msgspec.DecodeError):
            pass  # the asker is gone or speaks something else; it learns nothing
        finally:
            writer.close()

    async def _answer(self, question: _Question, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Answer:
        workers, handler = self._handlers.get(question.op, (None, None))
        if workers is None or handler is None:
            return _Answer(error=_Fault("not-found", f"no such question: `{question.op}`"))
        has_left = threading.Event()

        def progress(done: int, of: int) -> None:
            if has_left.is_set():
                raise _AskerLeft
            self._loop.call_soon_threadsafe(_send, writer, _Answer(progress=(done, of)))

        try:
            work = workers.submit(handler, question.args, progress)
            value = await _unless_left(reader, work, has_left)
            return _Answer(value=msgspec.Raw(msgspec.json.encode(value)))
        except _AskerLeft:
            raise
        except GatewayError as error:
            return _Answer(error=_Fault(error.code, error.detail))
        except msgspec.ValidationError as error:
            return _Answer(error=_Fault("invalid-input", str(error)))
        except Exception:
            # One bad question must not end the server. Its cause stands in the log; no exception text leaves.
            log.exception("a question could not be answered")
            return _Answer(error=_Fault("internal"))


class _AskerLeft(EOFError):  # noqa: N818 - no error: there is only nobody to answer
    """Nobody waits for the answer any more."""


class _Workers:
    """The threads of a lane; any thread may submit."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._pool = ThreadPoolExecutor(lane.threads, thread_name_prefix=f"ledger-{lane.name}")
        self._room = threading.BoundedSemaphore(lane.threads + lane.waiting)

    def submit(self, handler: Handler, args: dict[str, Any], progress: Progress) -> Future[Any]:
        """What `handler` will answer; raises `rate-limited` where the lane is full."""
        if not self._room.acquire(blocking=False):
            raise GatewayError("rate-limited", f"too many {self._lane.name} are under way: wait for one to end")
        work = self._pool.submit(handler, args, progress)
        work.add_done_callback(lambda _: self._room.release())
        return work

    def close(self) -> None:
        """Wait for what is at work."""
        self._pool.shutdown(wait=True)


async def _unless_left(reader: asyncio.StreamReader, work: Future[Any], has_left: threading.Event) -> Any:
    """What `work` answers; where the asker leaves first, or this is cancelled, `work` is told by `has_left`.

    Raises:
        EOFError: the asker has left.
    """
    answered = asyncio.wrap_future(work)
    leaving = asyncio.ensure_future(reader.read(1))  # an asker says nothing more: what is read is the end
    try:
        await asyncio.wait({answered, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answered.done():
            return answered.result()
        raise _AskerLeft
    finally:
        has_left.set()
        leaving.cancel()
        # One that is at work is not waited for: its end is its thread's, which nobody here needs.
        answered.cancel()


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
