"""Where an object store is, and how it is reached."""

import re

import msgspec

from gateway.domain.errors import GatewayError

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\x21-\x7e]*))?")


class Target(msgspec.Struct, frozen=True):
    """A bucket, and the folder in it that one log's objects lie in.

    Args:
        bucket: its name.
        prefix: what each key begins with, empty or with `/` at its end.
        endpoint: the store's URL; "" is the region's own of AWS.
        region: of the bucket; "" is what the environment says.
        path_style: whether the bucket stands in the path and not in the host's name.
        credentials: an AWS credentials file; "" takes those of the environment or the instance.
        authority: PEM authorities of the store's certificate; "" takes the system's.
        encryption: what the store is asked to encrypt by (`AES256`, `aws:kms`); "" is the bucket's own rule.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    path_style: bool = False
    credentials: str = ""
    authority: str = ""
    encryption: str = ""

    @property
    def address(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse_address(text: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`.

    Raises:
        GatewayError: `invalid-input` if it is none.
    """
    match = _ADDRESS.fullmatch(text)
    prefix = (match[2] or "").rstrip("/") if match else ""
    if match is None or ".." in match[1] or any(part in {"", ".", ".."} for part in prefix.split("/") if prefix):
        raise GatewayError("invalid-input", f"`{text}` is no address of the form `s3://bucket/prefix`")
    return match[1], f"{prefix}/" if prefix else ""
