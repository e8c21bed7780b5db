"""Does a store keep its promise that of many writers of one key exactly one wins?"""

import logging
import uuid

from thresher.storage.base import ConditionalWritesUnsupportedError, ObjectExistsError, ObjectStore

PROBE_PREFIX = ".probe"
logger = logging.getLogger(__name__)


class ConditionalWriteProbe:
    """Asks a store once, with two real writes of one new key, and keeps the answer."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._holds: bool | None = None

    def holds(self) -> bool:
        if self._holds is None:
            self._holds = _second_write_is_refused(self._store)
            if not self._holds:
                logger.warning(
                    "%s has no conditional writes: let one coordinator alone write manifests there.",
                    self._store.url,
                )
        return self._holds


def _second_write_is_refused(store: ObjectStore) -> bool:
    key = f"{PROBE_PREFIX}/{uuid.uuid4().hex}"
    try:
        store.put(key, b"first", if_absent=True)
        store.put(key, b"second", if_absent=True)
    except ObjectExistsError:
        return True
    except ConditionalWritesUnsupportedError:
        return False
    finally:
        store.delete(key)
    return False
