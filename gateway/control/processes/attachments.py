"""Which files a case takes: few types, each told by its first bytes and not by what is said of it."""

import hashlib
import re
from datetime import datetime

from gateway.domain.errors import GatewayError
from gateway.domain.processes.cases import Attachment

MAX_FILES = 16
"""Attachments of one case."""

_SIGNATURES = {
    "application/pdf": b"%PDF-",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
}
MEDIA_TYPES = (*_SIGNATURES, "text/plain")
"""What is taken: scanned papers, and plain text. Nothing that runs, holds macros or packs other files."""

_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,120}")


def attachment_of(content: bytes, name: str, media_type: str, officer: str, at: datetime) -> Attachment:
    """The attachment that a file is.

    Raises:
        GatewayError: `invalid-input` for a name that is none, an empty file, or a type that is not taken.
    """
    faults: list[dict[str, str | None]] = []
    if not _NAME.fullmatch(name) or not name.strip(". "):
        faults.append({"field": "name", "fault": "is no file's name of 1 to 120 letters"})
    if not content:
        faults.append({"field": None, "fault": "the file is empty"})
    elif media_type not in MEDIA_TYPES:
        faults.append({"field": "Content-Type", "fault": f"is none of {', '.join(MEDIA_TYPES)}"})
    elif not _is_what_it_says(content, media_type):
        faults.append({"field": None, "fault": f"the file does not begin as {media_type} does"})
    if faults:
        raise GatewayError("invalid-input", "the file is not taken", faults=faults)
    return Attachment(hashlib.sha256(content).hexdigest(), name, media_type, len(content), officer, at)


def _is_what_it_says(content: bytes, media_type: str) -> bool:
    if media_type in _SIGNATURES:
        return content.startswith(_SIGNATURES[media_type])
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return not any(ord(sign) < 32 and sign not in "\t\n\r" for sign in text)
