"""What failing file operations mean to the user of a store."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from thresher.contracts.errors import StoreError
from thresher.storage.base import ObjectMissingError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
NOT_ALLOWED = (errno.EACCES, errno.EROFS)


@contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError about the object `name`, its url."""
    try:
        yield
    except OSError as error:
        raise _store_error(error, name) from error


def _store_error(error: OSError, name: str) -> StoreError:
    if error.errno in NOT_THERE:
        return ObjectMissingError(f"{name} does not exist.")
    if error.errno in FULL_DISK:
        return StoreError(
            f"{name}: the disk is full (or a quota or file size limit is met). This object was given up and "
            "its partial file removed; every object finished before is kept. Free space, then run the same "
            "command again."
        )
    if error.errno in NOT_ALLOWED:
        return StoreError(f"{name}: {error.strerror}. Give this user access, or pick another root.")
    return StoreError(f"{name}: {error.strerror or error}. Check the folder and run the same command again.")
