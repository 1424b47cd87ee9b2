"""A log as C2SP tlog-tiles serves it over HTTP: a gateway's own `/log/`, or another program's.

Whoever serves it may be the one who is checked, so each answer is bounded before it is read: in octets by what such a
file can hold at most, in seconds from the first octet to the last, and in tries. No redirect is followed, no
compressed answer is taken, no proxy of the environment is used, and what shows who asks goes to the address that was
given and nowhere else.

Source: c2sp.org/tlog-tiles. A partial tile that is not there is looked for in the full one.
"""

import ssl
import threading
import time
from urllib.parse import urlsplit

import httpx

from gateway.domain.errors import GatewayError
from gateway.ledger.log.bundles import parse_bundle
from gateway.ledger.log.minimum import MINIMUM_INDEX, parse_minimum_index
from gateway.ledger.log.notes import MAX_NOTE_BYTES
from gateway.ledger.log.tiles import HASH_BYTES, WIDTH, bundle_path, tile_path

MAX_BUNDLE_BYTES = WIDTH * (2 + 65_535)
MAX_MINIMUM_BYTES = 32
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
FILE_SECONDS = 120.0
"""From the request to the last octet: the largest bundle at 140 kB/s."""
PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further try of what a busy or broken server did not answer."""
MAX_PAUSE_SECONDS = 60.0
"""What a server may ask for by `Retry-After`."""
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "gateway-verify"}
_ENTRIES = "tile/entries/"
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class HttpLog:
    """Reads a log below `url`; see `walk.Source`.

    Args:
        url: what `checkpoint` and `tile/` are below, `http` or `https`.
        auth: goes with each request for entries and with no other.
        trust: what the server's certificate is checked against.
        transport: httpx's, for a server in this process.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: httpx.Auth | None = None,
        trust: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.where = url.rstrip("/")
        try:
            scheme, host = httpx.URL(self.where).scheme, urlsplit(self.where).hostname
        except (httpx.InvalidURL, ValueError) as error:
            raise GatewayError("invalid-input", f"`{url}` is no address") from error
        if scheme not in {"http", "https"} or not host:
            raise GatewayError("invalid-input", f"`{url}` is no address that begins with `https://` or `http://`")
        self._auth = auth
        self._closed = threading.Event()
        self._client = httpx.Client(
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
            verify=trust if scheme == "https" else False,  # no authorities are read for what shows no certificate
            transport=transport,
        )

    def checkpoint(self) -> bytes:
        """As `Source`."""
        try:
            return self._fetch("checkpoint", MAX_NOTE_BYTES)
        except GatewayError as error:
            if error.code != "not-found":
                raise
            return b""

    def tile(self, level: int, n: int, width: int = WIDTH) -> bytes:
        """As `Source`.

        Raises:
            GatewayError: `conflict` if it has another length.
        """
        path, content = self._whole_or_part(tile_path(level, n, width), tile_path(level, n), WIDTH * HASH_BYTES)
        if len(content) != width * HASH_BYTES and (path != tile_path(level, n) or len(content) != WIDTH * HASH_BYTES):
            raise GatewayError("conflict", f"`{path}` has {len(content)} bytes, not {width * HASH_BYTES}")
        return content[: width * HASH_BYTES]

    def entries(self, n: int, width: int = WIDTH) -> list[bytes]:
        """As `Source`."""
        path, content = self._whole_or_part(bundle_path(n, width), bundle_path(n), MAX_BUNDLE_BYTES)
        found = parse_bundle(content)
        return found[:width] if path == bundle_path(n) and len(found) == WIDTH else found

    def minimum_index(self) -> int:
        """As `Source`; 0 where the log serves none."""
        try:
            return parse_minimum_index(self._fetch(MINIMUM_INDEX, MAX_MINIMUM_BYTES), f"{self.where}/{MINIMUM_INDEX}")
        except GatewayError as error:
            if error.code != "not-found":
                raise
            return 0

    def has_below(self, _minimum: int) -> bool:
        """As `Source`: below the minimum index nothing is served."""
        return False

    def close(self) -> None:
        """Let the connections go; what waits for a further try gives up."""
        self._closed.set()
        self._client.close()

    def _whole_or_part(self, part: str, whole: str, most_bytes: int) -> tuple[str, bytes]:
        try:
            return part, self._fetch(part, most_bytes)
        except GatewayError as error:
            if error.code != "not-found" or part == whole:
                raise
        return whole, self._fetch(whole, most_bytes)

    def _fetch(self, path: str, most_bytes: int) -> bytes:
        """The body of a 200 answer.

        Raises:
            GatewayError: `not-found`; `credential-missing` or `act-not-permitted` where entries take a right;
                `conflict` where the answer cannot be such a file; `unavailable` where there is none after all tries.
        """
        why = ""
        auth = self._auth if path.startswith(_ENTRIES) else None
        for pause in (*PAUSES_SECONDS, None):
            try:
                with self._client.stream("GET", f"{self.where}/{path}", headers=_HEADERS, auth=auth) as answer:
                    if answer.status_code == 200:
                        return self._body(path, answer, most_bytes)
                    self._refuse(path, answer)
                    why, asked = f"it answered {answer.status_code}", answer.headers.get("Retry-After", "")
            except (httpx.TransportError, httpx.StreamError) as error:
                why, asked = type(error).__name__, ""
            if pause is None or self._closed.wait(_pause(pause, asked)):
                break
        raise GatewayError("unavailable", f"`{self.where}/{path}` could not be read ({why}): try again later")

    def _refuse(self, path: str, answer: httpx.Response) -> None:
        """Raise for an answer that a further try does not change."""
        status, where = answer.status_code, f"`{self.where}/{path}`"
        if status in {404, 410}:
            raise GatewayError("not-found", f"{where} is not there")
        if status == 401:
            raise GatewayError(
                "credential-missing",
                f"{where} takes an auditor's right: sign in there (`gateway sign-in --url`) or set `$GATEWAY_TOKEN`, "
                "or check the tree alone with `--tree-only`",
            )
        if status == 403:
            raise GatewayError("act-not-permitted", f"{where} is not for the one whose token this is")
        if answer.is_redirect:
            raise GatewayError("invalid-input", f"{where} leads elsewhere: give the address at which the log is served")
        if status not in _AGAIN:
            raise GatewayError("unavailable", f"{where} answered {status}")

    def _body(self, path: str, answer: httpx.Response, most_bytes: int) -> bytes:
        if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise GatewayError("conflict", f"`{self.where}/{path}` answered compressed, which nobody asked for")
        deadline = time.monotonic() + FILE_SECONDS
        body = bytearray()
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > most_bytes:
                raise GatewayError("conflict", f"`{self.where}/{path}` is larger than {most_bytes} bytes")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the whole took too long")
        return bytes(body)


def _pause(pause: float, asked: str) -> float:
    return min(MAX_PAUSE_SECONDS, float(asked)) if asked.isascii() and asked.isdigit() and len(asked) < 6 else pause
