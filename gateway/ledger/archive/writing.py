"""Objects put once, under lock, and confirmed by what the store says of them afterwards."""

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.ledger.archive.reading import StoreReader

COMPLIANCE = "COMPLIANCE"
_SLACK = timedelta(seconds=1)
_NO_LIFECYCLE = frozenset({"NoSuchLifecycleConfiguration", "NotImplemented", "MethodNotAllowed", "501", "405"})

Same = Callable[[bytes, bytes], bool]
"""Whether two contents say the same: a later compressor may write the same otherwise."""


class StoreWriter(StoreReader):
    """Puts objects; nothing is ever deleted. Any thread may call."""

    def check_bucket(self) -> None:
        """Raise `unavailable` unless the bucket locks objects, and no rule of its own takes them away.

        A lock outlives such a rule, but what it hides is not found under its name any more.
        """
        bucket = self.target.bucket
        try:
            answer = self._call("", lambda: self._client.get_object_lock_configuration(Bucket=bucket))
        except GatewayError as error:
            if "ObjectLockConfigurationNotFound" not in error.detail:
                raise
            answer = {}
        if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise GatewayError("unavailable", f"bucket `{bucket}` has no object lock: make one that has, and name it")
        rules = self._lifecycle()
        early = sorted(
            str(rule.get("ID", "without a name"))[:64]
            for rule in rules
            if rule.get("Status") == "Enabled" and {"Expiration", "NoncurrentVersionExpiration"} & set(rule)
        )
        if early:
            raise GatewayError(
                "unavailable",
                f"bucket `{bucket}` deletes by its own rule (`{'`, `'.join(early)}`): records go by retention alone; "
                "take the rule off this bucket",
            )

    def put_once(self, key: str, content: bytes, until: datetime | None, same: Same = bytes.__eq__) -> None:
        """Put an object that is not there, or find that the same is; confirmed on return.

        Args:
            key: its name below the prefix.
            content: its content.
            until: the moment its lock ends; None locks nothing, for its time is over.
            same: whether what stands there already says the same, if its bytes are others.

        Raises:
            GatewayError: `conflict` where something else stands there; `unavailable`.
        """
        try:
            self._put(key, content, until, IfNoneMatch="*")
        except GatewayError as error:
            if error.code != "precondition-failed":
                raise
        self._confirm(key, content, until, same)

    def put_fenced(self, key: str, content: bytes, until: datetime | None, etag: str) -> str:
        """Replace the object that has `etag` ("" is none) by `content`; its own ETag.

        Raises:
            GatewayError: `precondition-failed` where another stands there by now; `unavailable`.
        """
        answer = self._put(key, content, until, **({"IfMatch": etag} if etag else {"IfNoneMatch": "*"}))
        return str(answer["ETag"])

    def put_over(self, key: str, content: bytes, until: datetime | None) -> None:
        """Put an object over what has its name; what was there stays as an older version, as long as it is locked."""
        self._put(key, content, until)
        self._confirm(key, content, until, bytes.__eq__)

    def get_tagged(self, key: str, most_bytes: int) -> tuple[bytes, str]:
        """Content and ETag of an object; b"" and "" where it is not there."""
        try:
            etag = str(self._head(key)["ETag"])
            return self.get(key, most_bytes), etag
        except GatewayError as error:
            if error.code != "not-found":
                raise
            return b"", ""

    def _put(self, key: str, content: bytes, until: datetime | None, **conditions: str) -> Any:
        options: dict[str, Any] = dict(conditions)
        if until is not None:
            options |= {"ObjectLockMode": COMPLIANCE, "ObjectLockRetainUntilDate": until}
        if self.target.encryption:
            options["ServerSideEncryption"] = self.target.encryption
        return self._call(
            key,
            lambda: self._client.put_object(
                Bucket=self.target.bucket, Key=self._key(key), Body=content, ChecksumSHA256=_digest(content), **options
            ),
        )

    def _confirm(self, key: str, content: bytes, until: datetime | None, same: Same) -> None:
        """Read checksum and lock back; a lock that ends too early is made longer, which is all that a lock allows."""
        head = self._head(key)
        if head.get("ChecksumSHA256") != _digest(content):
            # Not every store says it, and a compressor of another release packs the same otherwise.
            stands = self.get(key, int(head["ContentLength"]))
            if not same(stands, content):
                raise GatewayError(
                    "conflict", f"`{self._named(key)}` holds other bytes than the log's: nothing is put over it"
                )
        if until is None or _is_locked(head, until):
            return
        self._call(
            key,
            lambda: self._client.put_object_retention(
                Bucket=self.target.bucket,
                Key=self._key(key),
                VersionId=head.get("VersionId"),
                Retention={"Mode": COMPLIANCE, "RetainUntilDate": until},
            ),
        )
        if not _is_locked(self._head(key), until):
            raise GatewayError("unavailable", f"`{self._named(key)}` was put, and the store does not say it is locked")

    def _head(self, key: str) -> Any:
        return self._call(
            key,
            lambda: self._client.head_object(Bucket=self.target.bucket, Key=self._key(key), ChecksumMode="ENABLED"),
        )

    def _lifecycle(self) -> list[dict[str, Any]]:
        from botocore.exceptions import ClientError  # noqa: PLC0415 -- an extra

        def ask() -> list[dict[str, Any]]:
            try:
                answer = self._client.get_bucket_lifecycle_configuration(Bucket=self.target.bucket)
            except ClientError as error:
                if str(error.response["Error"].get("Code")) in _NO_LIFECYCLE:
                    return []
                raise
            return list(answer.get("Rules", []))

        return self._call("", ask)


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def _is_locked(head: Any, until: datetime) -> bool:
    stated = head.get("ObjectLockRetainUntilDate")
    return (
        head.get("ObjectLockMode") == COMPLIANCE
        and isinstance(stated, datetime)
        and stated.astimezone(UTC) >= until - _SLACK
    )
