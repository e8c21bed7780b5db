"""One attempt to make one S3 object, whole or in parts."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypedDict, TypeVar

from botocore.exceptions import ClientError

from thresher.storage.base import ObjectInfo
from thresher.storage.s3_errors import MISSING_KEY, PRECONDITION_FAILED, error_code, s3_errors
from thresher.storage.s3_retry import RetryPolicy

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, CopySourceTypeDef

ResultT = TypeVar("ResultT")
WRITER_METADATA = "thresher-writer"


class Target(TypedDict):
    Bucket: str
    Key: str


def _copy_source(target: Target) -> "CopySourceTypeDef":
    return {"Bucket": target["Bucket"], "Key": target["Key"]}


@dataclass(frozen=True)
class S3Upload:
    """A random name of this writer goes into the object's metadata.

    By it a writer knows its own object where the answer to its first request was lost and the repetition is
    told 412 (it exists already) or 404 (no such upload): it has won after all.
    """

    client: "S3Client"
    target: Target
    key: str
    """As the store's user says it."""
    url: str
    retry: RetryPolicy
    writer: str = field(default_factory=lambda: uuid.uuid4().hex)

    def put(self, data: bytes, *, if_absent: bool = False) -> ObjectInfo:
        """Write the object whole."""
        put = partial(self.client.put_object, **self.target, Metadata={WRITER_METADATA: self.writer})
        if if_absent:
            put = partial(put, IfNoneMatch="*")

        def request(attempt: int) -> str:
            try:
                return put(Body=data)["ETag"]
            except ClientError as error:
                repeated = attempt > 0 and error_code(error) in PRECONDITION_FAILED
                if repeated and (own := self._own_etag()):
                    return own
                raise

        return ObjectInfo(self.key, len(data), self._run(request).strip('"'))

    def copy_from(self, source: "S3Upload") -> None:
        """Make the object of one that is in the store, without its bytes leaving it."""
        self._run(
            lambda _: self.client.copy(_copy_source(source.target), self.target["Bucket"], self.target["Key"])
        )

    def delete(self) -> None:
        """Remove the object."""
        self._run(lambda _: self.client.delete_object(**self.target))

    def start(self) -> str:
        """Begin an upload in parts; returns its id."""
        metadata = {WRITER_METADATA: self.writer}
        return self._run(
            lambda _: self.client.create_multipart_upload(**self.target, Metadata=metadata)["UploadId"]
        )

    def upload_part(self, upload_id: str, number: int, data: bytes) -> "CompletedPartTypeDef":
        """Send part `number`, counted from 1."""
        tag = self._run(
            lambda _: self.client.upload_part(
                **self.target, UploadId=upload_id, PartNumber=number, Body=data
            )["ETag"]
        )
        return {"PartNumber": number, "ETag": tag}

    def complete(self, upload_id: str, parts: "list[CompletedPartTypeDef]") -> None:
        """Make the object of the parts appear."""

        def request(attempt: int) -> None:
            try:
                self.client.complete_multipart_upload(
                    **self.target, UploadId=upload_id, MultipartUpload={"Parts": parts}
                )
            except ClientError as error:
                repeated = attempt > 0 and error_code(error) == "NoSuchUpload"
                if not (repeated and self._own_etag()):
                    raise

        self._run(request)

    def abort(self, upload_id: str) -> None:
        """Drop the parts sent so far."""
        self._run(lambda _: self.client.abort_multipart_upload(**self.target, UploadId=upload_id))

    def _run(self, request: Callable[[int], ResultT]) -> ResultT:
        with s3_errors(self.url, self.client.meta.endpoint_url):
            return self.retry.run(self.url, request)

    def _own_etag(self) -> str | None:
        """Of the object that stands there, if this writer made it."""
        try:
            found = self.client.head_object(**self.target)
        except ClientError as error:
            if error_code(error) in MISSING_KEY:
                return None
            raise
        return found["ETag"] if found["Metadata"].get(WRITER_METADATA) == self.writer else None
