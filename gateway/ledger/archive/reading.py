"""Objects of a store, read: bounded in size and time, each fault told as one sentence.

The client is boto3 (the extra `archive`): of the clients there are it alone is kept by who keeps the protocol, sets an
object's lock when it is put, writes under conditions, and finds credentials in a file, the environment or the instance.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from gateway.domain.errors import GatewayError
from gateway.ledger.archive.target import Target

T = TypeVar("T")

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 20.0
OBJECT_SECONDS = 120.0
"""From the first octet of an object to its last."""
TRIES = 3
_CHUNK_BYTES = 1 << 16
_SENTENCES = {
    "RequestTimeTooSkewed": "the store's clock and this machine's differ by too much: put the clock right",
    "InvalidAccessKeyId": "the store does not know the credentials: check them",
    "SignatureDoesNotMatch": "the store does not take the credentials: check key and secret",
    "NoSuchBucket": "the bucket is not there",
    "AccessDenied": "the store refuses it (403): check what these credentials may do",
    "403": "the store refuses it (403): check credentials, and what they may do",
    "BadDigest": "what arrived at the store was not what was sent: it was not stored",
    "XAmzContentChecksumMismatch": "what arrived at the store was not what was sent: it was not stored",
}
_ABSENT = frozenset({"NoSuchKey", "404", "NoSuchVersion"})


class StoreReader:
    """Reads objects; any thread may call.

    Args:
        target: where.
        tries: how often a request is tried.

    Raises:
        GatewayError: `unavailable` where the extra is not installed, or there are no credentials.
    """

    def __init__(self, target: Target, *, tries: int = TRIES) -> None:
        try:
            import boto3  # noqa: PLC0415 -- an extra
            import botocore.session  # noqa: PLC0415 -- an extra
            from botocore.config import Config  # noqa: PLC0415 -- an extra
        except ImportError as error:
            advice = "pip install 'sharing-gateway[archive]'"
            raise GatewayError("unavailable", f"an object store needs the extra `archive`: {advice}") from error
        self.target = target
        session = botocore.session.get_session()
        if target.credentials:
            session.set_config_variable("credentials_file", target.credentials)
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=SILENCE_SECONDS,
            retries={"mode": "standard", "total_max_attempts": tries},
            s3={"addressing_style": "path"} if target.path_style else None,
            proxies={},
            request_checksum_calculation="when_required",
            max_pool_connections=32,
        )
        try:
            self._client: Any = boto3.Session(botocore_session=session).client(
                "s3",
                endpoint_url=target.endpoint or None,
                region_name=target.region or session.get_config_variable("region") or "us-east-1",
                verify=target.authority or None,
                config=config,
            )
        except Exception as error:  # what a bad profile, file or endpoint raises is of many kinds
            raise GatewayError(
                "unavailable", f"`{target.address}`: {type(error).__name__}: check the settings"
            ) from error

    def get(self, key: str, most_bytes: int) -> bytes:
        """An object's content, checked against the checksum that the store holds of it.

        Raises:
            GatewayError: `not-found`; `conflict` where it is larger, or not what its checksum says; `unavailable`.
        """

        def read() -> bytes:
            answer = self._client.get_object(Bucket=self.target.bucket, Key=self._key(key), ChecksumMode="ENABLED")
            body, content = answer["Body"], bytearray()
            deadline = time.monotonic() + OBJECT_SECONDS
            try:
                while chunk := body.read(_CHUNK_BYTES):
                    content += chunk
                    if len(content) > most_bytes:
                        raise GatewayError("conflict", f"`{self._named(key)}` is larger than {most_bytes} bytes")
                    if time.monotonic() > deadline:
                        raise GatewayError("unavailable", f"`{self._named(key)}` came too slowly: try again later")
            finally:
                body.close()
            return bytes(content)

        return self._call(key, read)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def _key(self, key: str) -> str:
        return self.target.prefix + key

    def _named(self, key: str) -> str:
        return f"s3://{self.target.bucket}/{self._key(key)}"

    def _call(self, key: str, call: Callable[[], T]) -> T:
        """What `call` returns; each fault of client or store as a `GatewayError`."""
        from botocore.exceptions import (  # noqa: PLC0415 -- an extra
            BotoCoreError,
            ClientError,
            FlexibleChecksumError,
            NoCredentialsError,
        )

        named = self._named(key) if key else self.target.address
        try:
            return call()
        except ClientError as error:
            raise _refusal(named, error.response) from error
        except FlexibleChecksumError as error:
            raise GatewayError("conflict", f"`{named}` is not what its checksum says") from error
        except NoCredentialsError as error:
            raise GatewayError("unavailable", f"`{named}`: no credentials for the store were found") from error
        except (BotoCoreError, OSError) as error:
            raise GatewayError(
                "unavailable", f"`{named}`: the store does not answer ({type(error).__name__})"
            ) from error


def _refusal(named: str, response: dict[str, Any]) -> GatewayError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _ABSENT:
        return GatewayError("not-found", f"`{named}` is not there")
    if status == 412:
        return GatewayError("precondition-failed", f"`{named}` is there already, or is another by now")
    said = _SENTENCES.get(code) or f"the store answered {status}" + (f" {code[:64]}" if code.isalnum() else "")
    return GatewayError("unavailable", f"`{named}`: {said}")
