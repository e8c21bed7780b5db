"""boto3's S3 client as the store wants it: bounded waits, no retries of its own (see s3_retry)."""

from typing import TYPE_CHECKING, Literal

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
MAX_CONNECTIONS = 32


def make_client() -> "S3Client":
    """Credentials, region and endpoint as boto3 finds them: environment, profile, instance.

    The client may be used by many threads, but not by a forked child.
    """
    session = boto3.Session()  # boto3's default session may not be used by many threads
    client = session.client("s3", config=_config("auto"))
    if "amazonaws.com" in client.meta.endpoint_url:
        return client
    # Elsewhere a bucket seldom has a host name of its own.
    return session.client("s3", config=_config("path"))


def _config(addressing_style: Literal["auto", "path"]) -> Config:
    return Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=MAX_CONNECTIONS,
        # Bodies are guarded by their CRC32 on the way and by sha256 in every manifest: signing them too, as boto3 does
        # over plain http, would hash each byte once more on both sides.
        s3={"payload_signing_enabled": False, "addressing_style": addressing_style},
    )
