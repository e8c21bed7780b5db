"""An object store in a bucket of S3, or of anything that speaks its protocol."""

import os
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import ClientError

from thresher.contracts.errors import StoreError
from thresher.storage.base import ObjectInfo, ObjectMissingError
from thresher.storage.keys import check_key, check_prefix, hashed_key
from thresher.storage.probe import ConditionalWriteProbe
from thresher.storage.s3_client import make_client
from thresher.storage.s3_errors import error_code, s3_errors
from thresher.storage.s3_retry import RetryPolicy
from thresher.storage.s3_upload import S3Upload, Target
from thresher.storage.s3_writer import S3Writer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

ResultT = TypeVar("ResultT")


class S3Store:
    """The `ObjectStore` of the keys under `prefix` in `bucket`.

    The client is made on first use. A copy in another process (pickled or forked) makes its own.
    """

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket, self._prefix = bucket, check_prefix(prefix)
        self._probe = ConditionalWriteProbe(self)
        self._client: S3Client | None = None
        self._client_pid = 0
        self._has_bucket = False

    def __reduce__(self) -> tuple[type["S3Store"], tuple[str, str]]:
        return S3Store, (self._bucket, self._prefix)

    @property
    def url(self) -> str:
        return "/".join(filter(None, (f"s3://{self._bucket}", self._prefix)))

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        assert start >= 0
        assert stop is None or stop >= start
        if stop == start:
            self._require(key)
            return b""
        return self._run(key, lambda client: _get_range(client, self._target(key), start, stop))

    def head(self, key: str) -> ObjectInfo | None:
        target = self._target(key)
        try:
            answer = self._run(key, lambda client: client.head_object(**target))
        except ObjectMissingError:
            self._require_bucket()
            return None
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"].strip('"'))

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> ObjectInfo:
        return self._upload(key).put(data, if_absent=if_absent)

    def open_write(self, key: str) -> S3Writer:
        return S3Writer(self._upload(key))

    def open_hashed(self, stem: str, suffix: str) -> S3Writer:
        def named(sha256: str) -> S3Upload:
            return self._upload(hashed_key(stem, suffix, sha256))

        return S3Writer(self._upload(f"{stem}.{uuid.uuid4().hex}.partial"), named)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        # Sorted here: SeaweedFS, and S3's directory buckets, list folder by folder.
        return iter(sorted(self._list_unsorted(prefix), key=lambda info: info.key))

    def delete(self, key: str) -> None:
        target = self._target(key)
        self._run(key, lambda client: client.delete_object(**target))

    def local_path(self, key: str) -> Path | None:
        return None

    def has_conditional_writes(self) -> bool:
        return self._probe.holds()

    def _list_unsorted(self, prefix: str) -> Iterator[ObjectInfo]:
        skip = len(self._full(""))
        token: str | None = None
        while True:
            page = self._run(prefix, partial(_list_page, self._bucket, self._full(prefix), token))
            for item in page.get("Contents", ()):
                yield ObjectInfo(item["Key"][skip:], item["Size"], item["ETag"].strip('"'))
            token = page.get("NextContinuationToken")
            if not token:
                return

    def _upload(self, key: str) -> S3Upload:
        target, name = self._target(key), self._name(key)
        return S3Upload(self._connected(name), target, key, name, RetryPolicy.from_environment())

    def _run(self, key: str, request: "Callable[[S3Client], ResultT]") -> ResultT:
        name = self._name(key)
        client, retry = self._connected(name), RetryPolicy.from_environment()
        with s3_errors(name, client.meta.endpoint_url):
            return retry.run(name, lambda _: request(client))

    def _connected(self, name: str) -> "S3Client":
        if self._client is None or self._client_pid != os.getpid():
            try:
                with s3_errors(name, "the configured endpoint"):
                    self._client, self._client_pid = make_client(), os.getpid()
            except ValueError as error:  # so botocore refuses an endpoint that is no url
                raise StoreError(f"{name}: {error}. Check the AWS_* settings.") from error
        return self._client

    def _require(self, key: str) -> None:
        if self.head(key) is None:
            raise ObjectMissingError(f"{self._name(key)} does not exist.")

    def _require_bucket(self) -> None:
        """The answer to HEAD has no body, so that a missing bucket looks like a missing key."""
        if not self._has_bucket:
            self._run("", lambda client: client.list_objects_v2(Bucket=self._bucket, MaxKeys=1))
            self._has_bucket = True

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _target(self, key: str) -> Target:
        return {"Bucket": self._bucket, "Key": self._full(check_key(key))}

    def _name(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url


def _list_page(
    bucket: str, prefix: str, token: str | None, client: "S3Client"
) -> "ListObjectsV2OutputTypeDef":
    # Not StartAfter: with 'a/3' some servers skip all that lies under 'a/3/'.
    if token:
        return client.list_objects_v2(Bucket=bucket, Prefix=prefix, ContinuationToken=token)
    return client.list_objects_v2(Bucket=bucket, Prefix=prefix)


def _get_range(client: "S3Client", target: Target, start: int, stop: int | None) -> bytes:
    if start == 0 and stop is None:
        return client.get_object(**target)["Body"].read()
    last = "" if stop is None else stop - 1
    try:
        return client.get_object(**target, Range=f"bytes={start}-{last}")["Body"].read()
    except ClientError as error:
        if error_code(error) in ("InvalidRange", "416"):
            return b""
        raise
