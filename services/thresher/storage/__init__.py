"""Object storage: one small interface, file:// and s3:// behind it."""

from thresher.storage.base import ObjectExistsError, ObjectInfo, ObjectMissingError, ObjectStore, ObjectWriter
from thresher.storage.open import open_store

__all__ = [
    "ObjectExistsError",
    "ObjectInfo",
    "ObjectMissingError",
    "ObjectStore",
    "ObjectWriter",
    "open_store",
]
