"""Transports that authenticate and repeat below the client: hooks and histories see the caller's answer alone.

Each answer is checked to its end: by its framing, by the closing line that the gateway is asked for where an answer has
no length, by a digest, by gzip's own end. What stops before that is no whole answer, and `AnswerCut` says so in place
of its end.
"""

import base64
import hashlib
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx

from gateway.client import loops
from gateway.client.auth import SharingAuth
from gateway.client.flow import GetNonce, GetToken, Read, Send, Unsent, Wait
from gateway.client.problems import AnswerCut

_BROKEN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_READ_WHOLE = frozenset({401, 429, 503})
_NOTHING: Any = None
_CLOSING = b'\n{"sharing-closing":'
LINE_BYTES = 128
"""The most that a closing line is long."""


class MadeAnew(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that a function makes, anew for each time it is sent.

    Args:
        make: returns bytes, or an iterable of them.
    """

    is_made_anew = True

    def __init__(self, make: Callable[[], "bytes | Iterable[bytes]"]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[bytes]:
        made = self._make()
        yield from [made] if isinstance(made, bytes) else made

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


class SharingTransport(httpx.BaseTransport):
    """Sends calls by `inner`, authenticated by `auth`."""

    def __init__(self, inner: httpx.BaseTransport, auth: SharingAuth) -> None:
        self._inner = inner
        self._auth = auth

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The caller's answer."""
        if not self._auth.is_for_gateway(request):
            return self._inner.handle_request(request)
        flow, sent, answer = self._auth.flow(request), _NOTHING, _NOTHING
        while True:
            try:
                step = flow.send(sent)
            except StopIteration:
                return cast("httpx.Response", answer)
            sent = None
            if isinstance(step, GetToken):
                sent = self._auth.source.token(step.seconds)
            elif isinstance(step, Send):
                try:
                    answer = sent = self._sent(step.request)
                except _BROKEN as error:
                    sent = _unsent(step.request, error)
            elif isinstance(step, Wait):
                time.sleep(step.seconds)
            elif isinstance(step, GetNonce):
                self._auth.source.refresh_nonce()
            else:
                assert isinstance(step, Read)  # `_sent` has read it

    def _sent(self, request: httpx.Request) -> httpx.Response:
        _ask_for_closing(request)
        answer = self._inner.handle_request(request)
        assert isinstance(answer.stream, httpx.SyncByteStream)
        answer.request = request
        answer.stream = _Checked(answer.stream, _Ending(request, answer))
        if answer.status_code not in _READ_WHOLE:
            return answer
        try:
            return _whole(request, answer, b"".join(answer.stream))
        finally:
            answer.close()

    def close(self) -> None:
        """Close connections, the token endpoint's too."""
        self._inner.close()
        self._auth.close()


class AsyncSharingTransport(httpx.AsyncBaseTransport):
    """Sends calls by `inner`, authenticated by `auth`, on asyncio's loop or trio's."""

    def __init__(self, inner: httpx.AsyncBaseTransport, auth: SharingAuth) -> None:
        self._inner = inner
        self._auth = auth

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The caller's answer."""
        if not self._auth.is_for_gateway(request):
            return await self._inner.handle_async_request(request)
        flow, sent, answer = self._auth.flow(request), _NOTHING, _NOTHING
        while True:
            try:
                step = flow.send(sent)
            except StopIteration:
                return cast("httpx.Response", answer)
            sent = None
            if isinstance(step, GetToken):
                sent = await self._auth.source.token_async(step.seconds)
            elif isinstance(step, Send):
                try:
                    answer = sent = await self._sent(step.request)
                except _BROKEN as error:
                    sent = _unsent(step.request, error)
            elif isinstance(step, Wait):
                await loops.sleep(step.seconds)
            elif isinstance(step, GetNonce):
                await loops.in_thread(self._auth.source.refresh_nonce)
            else:
                assert isinstance(step, Read)  # `_sent` has read it

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        _ask_for_closing(request)
        answer = await self._inner.handle_async_request(request)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        answer.request = request
        answer.stream = _CheckedAsync(answer.stream, _Ending(request, answer))
        if answer.status_code not in _READ_WHOLE:
            return answer
        try:
            return _whole(request, answer, b"".join([chunk async for chunk in answer.stream]))
        finally:
            await answer.aclose()

    async def aclose(self) -> None:
        """Close connections, the token endpoint's too."""
        await self._inner.aclose()
        self._auth.close()


def _unsent(request: httpx.Request, error: httpx.TransportError) -> Unsent:
    """What may be sent again; else `error` itself is raised."""
    is_unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
    if isinstance(error, AnswerCut) or not (is_unsent or request.method in {"GET", "HEAD"}):
        raise error
    return Unsent(error)


def _ask_for_closing(request: httpx.Request) -> None:
    """Have the end of an answer without a length told; not where a proxy might code the line away with its content."""
    if request.headers.get("Accept-Encoding") == "identity":
        request.headers["Sharing-Closing"] = "line"


def _whole(request: httpx.Request, answer: httpx.Response, content: bytes) -> httpx.Response:
    """`answer` with its raw content at hand."""
    made = httpx.Response(
        answer.status_code,
        headers=answer.headers,
        stream=httpx.ByteStream(content),
        request=request,
        extensions=answer.extensions,
    )
    made.read()
    return made


class _Ending:
    """Whether an answer's raw octets came to the answer's end, and what of them is the answer's.

    The gateway is asked for a closing line behind an answer that has no length: it names the digest of all before it,
    and the number of rows. The line is checked and taken out, so that nobody above sees it.
    """

    def __init__(self, request: httpx.Request, answer: httpx.Response) -> None:
        headers = answer.headers
        self._request = request
        self._answer = answer
        bodyless = request.method == "HEAD" or answer.status_code in {204, 304}
        version = answer.extensions.get("http_version", b"HTTP/1.1")
        delimited = "content-length" in headers or "transfer-encoding" in headers or not version.startswith(b"HTTP/1")
        self._closes = headers.get("sharing-closing", "").lower() == "line" and not bodyless
        self._is_open_ended = not bodyless and not delimited and not self._closes
        coding = headers.get("content-encoding", "").strip().lower()
        self._gzip = zlib.decompressobj(31) if coding in {"gzip", "x-gzip"} and not bodyless else None
        self._read = 0
        self._held = b""
        digest = headers.get("content-digest", "")
        wanted = next((part for part in digest.split(",") if part.strip().startswith("sha-256=:")), None)
        self._wanted = wanted.strip().removeprefix("sha-256=:").rstrip(":") if wanted and not bodyless else None
        self._sha256 = hashlib.sha256() if self._wanted is not None or self._closes else None

    @contextmanager
    def whole(self) -> Iterator[None]:
        """While it is read: a connection that breaks has cut it."""
        try:
            yield
        except (httpx.RemoteProtocolError, httpx.ReadError) as error:
            raise error if isinstance(error, AnswerCut) else self._cut("the connection broke") from error

    def take(self, chunk: bytes) -> bytes:
        """More octets; returns those that are certainly the answer's."""
        if self._closes:
            held = self._held + chunk
            chunk, self._held = held[:-LINE_BYTES], held[-LINE_BYTES:]
        self._see(chunk)
        return chunk

    def finish(self) -> bytes:
        """No more come; returns the last of the answer's.

        Raises:
            AnswerCut: where that was not its end.
        """
        rest = self._closed() if self._closes else b""
        if self._is_open_ended:
            raise self._cut("the answer ends where its connection does: whether that is its end is not known")
        if self._gzip is not None and self._read and not self._gzip.eof:
            raise self._cut("the answer's gzip stops before its end")
        if self._sha256 is not None and base64.b64encode(self._sha256.digest()).decode("ascii") != self._wanted:
            raise self._cut("the answer is not what its digest says")
        return rest

    def _closed(self) -> bytes:
        """What stands before the closing line."""
        rest, _, line = self._held.rpartition(_CLOSING)
        try:
            told = json.loads(_CLOSING + line)["sharing-closing"]
            self._wanted = told["sha-256"]
            self._answer.extensions["sharing_rows"] = told.get("rows")
        except (ValueError, LookupError, TypeError, AttributeError):
            raise self._cut("the answer stops before its closing line") from None
        self._see(rest)
        return rest

    def _see(self, chunk: bytes) -> None:
        self._read += len(chunk)
        if self._sha256 is not None:
            self._sha256.update(chunk)
        while self._gzip is not None and chunk:
            try:
                self._gzip.decompress(chunk)
            except zlib.error as error:
                raise self._cut("the answer's gzip is broken") from error
            chunk = self._gzip.unused_data
            if chunk:
                self._gzip = zlib.decompressobj(31)

    def _cut(self, words: str) -> AnswerCut:
        return AnswerCut(words, request=self._request)


class _Checked(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, ending: _Ending) -> None:
        self._stream = stream
        self._ending = ending

    def __iter__(self) -> Iterator[bytes]:
        with self._ending.whole():
            for chunk in self._stream:
                yield self._ending.take(chunk)
        yield self._ending.finish()

    def close(self) -> None:
        self._stream.close()


class _CheckedAsync(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, ending: _Ending) -> None:
        self._stream = stream
        self._ending = ending

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._ending.whole():
            async for chunk in self._stream:
                yield self._ending.take(chunk)
        yield self._ending.finish()

    async def aclose(self) -> None:
        await self._stream.aclose()
