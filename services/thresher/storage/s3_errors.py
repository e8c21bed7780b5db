"""What failing S3 calls mean to the user of a store. No message holds a credential."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from thresher.contracts.errors import StoreError
from thresher.storage.base import ConditionalWritesUnsupportedError, ObjectExistsError, ObjectMissingError

CREDENTIALS_MEND = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to ones that may use it."
MISSING_KEY = ("NoSuchKey", "404", "NotFound")
BAD_CREDENTIALS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
REFUSED = ("403", "401", "AccessDenied", "Forbidden", "Unauthorized")
PRECONDITION_FAILED = ("PreconditionFailed", "412")
CONFLICT = ("ConditionalRequestConflict", "409")


@contextmanager
def s3_errors(name: str, endpoint: str) -> Iterator[None]:
    """Turn boto3's errors of the block into StoreErrors about `name`, the url of an object or store."""
    try:
        yield
    except ClientError as error:
        raise _client_error(error, name, _host(endpoint)) from error
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise StoreError(f"{name}: no complete S3 credentials were found. {CREDENTIALS_MEND}") from error
    except (BotoConnectionError, HTTPClientError) as error:
        raise StoreError(
            f"{name}: cannot reach {_host(endpoint)} ({type(error).__name__}). Check the network and "
            "AWS_ENDPOINT_URL, then run the same command again: what was finished is kept."
        ) from error
    except BotoCoreError as error:
        raise StoreError(f"{name}: {type(error).__name__}: {error}. Check the AWS_* settings.") from error


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _client_error(error: ClientError, name: str, host: str) -> StoreError:
    code = error_code(error)
    if code in MISSING_KEY:
        return ObjectMissingError(f"{name} does not exist.")
    if code in PRECONDITION_FAILED:
        return ObjectExistsError(f"{name} exists already.")
    if code == "NotImplemented":
        return ConditionalWritesUnsupportedError(f"{name}: {host} has no conditional writes.")
    if code == "NoSuchBucket":
        return StoreError(f"{name}: there is no such bucket at {host}. Create it, or correct the root.")
    if code in BAD_CREDENTIALS:
        return StoreError(f"{name}: {host} does not accept the credentials ({code}). {CREDENTIALS_MEND}")
    if code in REFUSED:
        return StoreError(f"{name}: {host} refuses access ({code}). {CREDENTIALS_MEND}")
    if code == "RequestTimeTooSkewed":
        return StoreError(f"{name}: this machine's clock differs too much from that of {host}. Set it right.")
    message = error.response.get("Error", {}).get("Message", "")
    return StoreError(f"{name}: {host} answered {code} to {error.operation_name}. {message}")


def _host(endpoint: str) -> str:
    """Without a user and password that the endpoint may hold."""
    parts = urlsplit(endpoint)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
