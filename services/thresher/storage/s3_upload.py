"""One attempt to make one S3 object, whole or in parts; of many conditional writers exactly one wins."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict, TypeVar

from botocore.exceptions import ClientError

from thresher.storage.base import ObjectExistsError, ObjectInfo
from thresher.storage.s3_errors import CONFLICT, MISSING_KEY, PRECONDITION_FAILED, error_code, s3_errors
from thresher.storage.s3_retry import RetryPolicy

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, HeadObjectOutputTypeDef

ResultT = TypeVar("ResultT")
WRITER_METADATA = "thresher-writer"


class Target(TypedDict):
    Bucket: str
    Key: str


class Condition(TypedDict, total=False):
    IfNoneMatch: str


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
    if_absent: bool
    retry: RetryPolicy
    writer: str = field(default_factory=lambda: uuid.uuid4().hex)

    def put(self, data: bytes) -> ObjectInfo:
        """Write the object whole."""

        def request(attempt: int) -> str:
            try:
                return self.client.put_object(
                    **self.target, **self._condition(), Body=data, Metadata={WRITER_METADATA: self.writer}
                )["ETag"]
            except ClientError as error:
                lost = attempt > 0 and error_code(error) in PRECONDITION_FAILED
                if lost and (found := self._head()) and self._is_own(found):
                    return found["ETag"]
                raise

        return ObjectInfo(self.key, len(data), self._run(request).strip('"'))

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
                    **self.target,
                    **self._condition(),
                    UploadId=upload_id,
                    MultipartUpload={"Parts": parts},
                )
            except ClientError as error:
                self._judge_completion(error, attempt)

        self._run(request)

    def abort(self, upload_id: str) -> None:
        """Drop the parts sent so far."""
        self._run(lambda _: self.client.abort_multipart_upload(**self.target, UploadId=upload_id))

    def _judge_completion(self, error: ClientError, attempt: int) -> None:
        code = error_code(error)
        found = self._head() if code in (*PRECONDITION_FAILED, *CONFLICT, "NoSuchUpload") else None
        if found and attempt > 0 and self._is_own(found):
            return
        if found and self.if_absent:
            raise ObjectExistsError(f"{self.url} exists already.") from error
        raise error

    def _run(self, request: Callable[[int], ResultT]) -> ResultT:
        with s3_errors(self.url, self.client.meta.endpoint_url):
            return self.retry.run(self.url, request)

    def _condition(self) -> Condition:
        return {"IfNoneMatch": "*"} if self.if_absent else {}

    def _head(self) -> "HeadObjectOutputTypeDef | None":
        try:
            return self.client.head_object(**self.target)
        except ClientError as error:
            if error_code(error) in MISSING_KEY:
                return None
            raise

    def _is_own(self, found: "HeadObjectOutputTypeDef") -> bool:
        return found["Metadata"].get(WRITER_METADATA) == self.writer
