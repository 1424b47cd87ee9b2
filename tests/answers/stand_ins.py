"""What varies from run to run, and every secret, replaced by what is alike in every run, one for one.

A record's id, an order's, an export's name, a key, a digest, a signature is replaced wherever it stands by the same
stand-in of the same form and length: the first one met by the first, and so on. So an example's links still hold
together, and a story told twice is told alike.
"""

import base64
import hashlib
import re
from typing import Any

ROWS = 3
LINES = 40
BYTES = 768
_FORMS = re.compile(
    r"""
      (?P<token>   \b eyJ [\w-]+ \. [\w-]+ \. [\w-]+ )
    | (?P<sealed>  (?<!\S) v1\.[\w-]+\.[\w=-]{40,} (?!\S) )
    | (?P<code>    (?<= code= ) v1\.[\w.%=-]{40,} )
    | (?P<base32>  (?<![0-9A-Za-z]) [A-Z2-7]{32} (?![0-9A-Za-z]) )
    | (?P<run>     (?<![0-9a-z]) [0-9a-v]{12} (?= -\d ) )
    | (?P<verifier> (?<= \+ ) [0-9a-f]{8} \+ [A-Za-z0-9+/]{44} )
    | (?P<order>   (?<= [a-z]-\d{8}- ) [0-9a-f]{12} )
    | (?P<hex>     (?<![0-9A-Za-z]) (?: [0-9a-f]{64} | [0-9a-f]{32} ) (?![0-9A-Za-z]) )
    | (?P<base64>  (?<!\S) (?: [A-Za-z0-9+/]{4} ){10,} (?: [A-Za-z0-9+/]{2}== | [A-Za-z0-9+/]{3}= )? (?!\S) )
    | (?P<kid>     (?<!\S) [0-9a-f]{12} (?!\S) )
    | (?P<key>     (?<![\w-]) (?= [\w-]*[A-Z] ) [\w-]{43} (?![\w-]) )
    | (?P<query>   (?<= state= | nonce= ) [0-9A-Za-z]+ )
    """,
    re.VERBOSE | re.ASCII,
)
_MEASURED = {"milliseconds": 3, "freed_bytes": 5000}


class StandIns:
    """The stand-ins of one story."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}
        self._met: dict[str, int] = {}

    def text(self, text: str) -> str:
        """`text` with stand-ins, each as long as what it stands for, but for tokens."""
        return _FORMS.sub(lambda match: self._stand_in(str(match.lastgroup), match[0]), text)

    def value(self, value: Any) -> Any:
        """A JSON value with stand-ins, its lists and texts cut."""
        if isinstance(value, dict):
            return {self.text(name): _MEASURED.get(name, self.value(each)) for name, each in value.items()}
        if isinstance(value, list):
            return [self.value(each) for each in value][:ROWS]
        return cut(self.text(value)) if isinstance(value, str) else value

    def content(self, content: bytes, *, is_noise: bool) -> str:
        """The first bytes of a binary answer, in base64, with stand-ins.

        Args:
            content: the bytes.
            is_noise: whether all of them vary.
        """
        stable = _noise("bytes", len(content)) if is_noise else self.text(content.decode("latin-1")).encode("latin-1")
        return base64.b64encode(stable[:BYTES]).decode()

    def _stand_in(self, form: str, found: str) -> str:
        if found not in self._of:
            self._met[form] = self._met.get(form, 0) + 1
            self._of[found] = _made(form, found, f"{form} {self._met[form]}")
        return self._of[found]


def cut(text: str) -> str:
    """The first lines of a long text."""
    lines = text.split("\n")
    return text if len(lines) <= LINES else "\n".join([*lines[:LINES], "…"])


def with_few_files(document: Any) -> Any:
    """Of a set of files as text the first two, and of each the first lines."""
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, dict):
        return document
    return {**document, "files": {name: cut(text) for name, text in sorted(files.items())[:2]}}


def _made(form: str, found: str, seed: str) -> str:
    number = int(seed.rpartition(" ")[2])
    if form == "token":
        return "<a signed token>"
    if form == "sealed":
        return "<sealed by the gateway>"
    if form == "code":
        return "v1.a-code-that-is-good-once"
    if form == "base32":
        return base64.b32encode(_noise(seed, 20)).decode()
    if form == "run":
        return f"{found[:8]}{number:04d}"
    if form in {"order", "hex", "kid"}:
        return _noise(seed, len(found)).hex()[: len(found)]
    if form == "verifier":
        return f"{_noise(seed, 4).hex()}+{base64.b64encode(_noise(seed, 33)).decode()}"
    if form == "base64":
        return base64.b64encode(_noise(seed, len(base64.b64decode(found)))).decode()
    letters = base64.urlsafe_b64encode(_noise(seed, len(found))).decode()[: len(found)]
    return letters if form == "key" else letters.replace("-", "x").replace("_", "y")


def _noise(seed: str, length: int) -> bytes:
    blocks = (hashlib.sha256(f"{seed}/{block}".encode()).digest() for block in range(length // 32 + 1))
    return b"".join(blocks)[:length]
