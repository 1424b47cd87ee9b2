"""Transports that authenticate and repeat below the client: hooks and histories see the caller's answer alone.

Each answer is checked to its end: one that the connection's end delimits, or a gzip member that stops early, is no
whole answer, and `AnswerCut` says so in place of its end.
"""

import base64
import hashlib
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, cast

import httpx

from gateway.client.auth import SharingAuth, in_thread, sleep
from gateway.client.flow import GetNonce, GetToken, Read, Send, Wait
from gateway.client.problems import AnswerCut

_READ_WHOLE = frozenset({401, 429, 503})
_NOTHING: Any = None


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
                answer = sent = self._sent(step.request)
            elif isinstance(step, Wait):
                time.sleep(step.seconds)
            elif isinstance(step, GetNonce):
                self._auth.source.refresh_nonce()
            else:
                assert isinstance(step, Read)  # `_sent` has read it

    def _sent(self, request: httpx.Request) -> httpx.Response:
        answer = self._inner.handle_request(request)
        assert isinstance(answer.stream, httpx.SyncByteStream)
        if answer.status_code in _READ_WHOLE:
            try:
                content = b"".join(answer.stream)
            finally:
                answer.close()
            return _whole(request, answer, content)
        answer.request = request
        answer.stream = _Checked(answer.stream, _End(request, answer))
        return answer

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
                answer = sent = await self._sent(step.request)
            elif isinstance(step, Wait):
                await sleep(step.seconds)
            elif isinstance(step, GetNonce):
                await in_thread(self._auth.source.refresh_nonce)
            else:
                assert isinstance(step, Read)  # `_sent` has read it

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        if answer.status_code in _READ_WHOLE:
            try:
                content = b"".join([chunk async for chunk in answer.stream])
            finally:
                await answer.aclose()
            return _whole(request, answer, content)
        answer.request = request
        answer.stream = _CheckedAsync(answer.stream, _End(request, answer))
        return answer

    async def aclose(self) -> None:
        """Close connections, the token endpoint's too."""
        await self._inner.aclose()
        self._auth.close()


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


class _End:
    """Whether an answer's raw octets came to the answer's end."""

    def __init__(self, request: httpx.Request, answer: httpx.Response) -> None:
        headers = answer.headers
        self._request = request
        bodyless = request.method == "HEAD" or answer.status_code in {204, 304}
        version = answer.extensions.get("http_version", b"HTTP/1.1")
        delimited = "content-length" in headers or "transfer-encoding" in headers or not version.startswith(b"HTTP/1")
        self._is_open_ended = not bodyless and not delimited
        coding = headers.get("content-encoding", "").strip().lower()
        self._gzip = zlib.decompressobj(31) if coding in {"gzip", "x-gzip"} and not bodyless else None
        self._read = 0
        digest = headers.get("content-digest", "")
        wanted = next((part for part in digest.split(",") if part.strip().startswith("sha-256=:")), None)
        self._wanted = wanted.strip().removeprefix("sha-256=:").rstrip(":") if wanted and not bodyless else None
        self._sha256 = hashlib.sha256() if self._wanted is not None else None

    def take(self, chunk: bytes) -> None:
        self._read += len(chunk)
        if self._sha256 is not None:
            self._sha256.update(chunk)
        while self._gzip is not None and chunk:
            try:
                self._gzip.decompress(chunk)
            except zlib.error as error:
                raise AnswerCut("the answer's gzip is broken", request=self._request) from error
            chunk = self._gzip.unused_data
            if chunk:
                self._gzip = zlib.decompressobj(31)

    def check(self) -> None:
        if self._is_open_ended:
            raise AnswerCut(
                "the answer ends where its connection does: whether that is its end is not known", request=self._request
            )
        if self._gzip is not None and self._read and not self._gzip.eof:
            raise AnswerCut("the answer's gzip stops before its end", request=self._request)
        if self._sha256 is not None:
            found = base64.b64encode(self._sha256.digest()).decode("ascii")
            if found != self._wanted:
                raise AnswerCut("the answer is not what its digest says", request=self._request)


class _Checked(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, end: _End) -> None:
        self._stream = stream
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._end.take(chunk)
            yield chunk
        self._end.check()

    def close(self) -> None:
        self._stream.close()


class _CheckedAsync(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, end: _End) -> None:
        self._stream = stream
        self._end = end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._end.take(chunk)
            yield chunk
        self._end.check()

    async def aclose(self) -> None:
        await self._stream.aclose()
