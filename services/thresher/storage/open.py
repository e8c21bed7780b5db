"""From a root url to a store."""

from urllib.parse import unquote, urlsplit

from thresher.contracts.errors import SpecError
from thresher.storage.base import ObjectStore

ALLOWED = ("file:///absolute/folder", "s3://bucket/prefix")


def open_store(root: str) -> ObjectStore:
    """Open the store at a root url. Opening touches nothing; the first call does.

    S3 reads credentials, region and endpoint (AWS_ENDPOINT_URL) as boto3 does: environment, then profile.

    Raises:
        SpecError: the url is of neither kind, or holds a query or fragment.
    """
    parts = urlsplit(root)
    if parts.query or parts.fragment:
        raise SpecError("root", root, allowed=ALLOWED, mend="Write '?' as %3F and '#' as %23 in the path.")
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        from thresher.storage.file import FileStore

        return FileStore(unquote(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        from thresher.storage.s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"))
    raise SpecError("root", root, allowed=ALLOWED, mend="Give the root as one of these urls.")
