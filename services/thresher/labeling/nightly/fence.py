"""One holder at a time, and that one alone commits: a log in the store whose entries have consecutive names.

Every entry, a claim as well as a commit, is a conditional create (If-None-Match: *) of the next name. A holder that was
paused while another claimed finds the next name taken, whatever its clock says, and can commit nothing more: the
claim raised the epoch, and stands where its own entry would have to. So the store alone decides, atomically with the
commit; the heartbeat only tells a newcomer whether waiting is polite. Entries are never deleted: a stale holder could
create a deleted name again.
"""

import itertools
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from thresher.contracts import paths
from thresher.contracts.errors import StoreError, ThresherError
from thresher.contracts.manifests import Record
from thresher.storage import ObjectExistsError, ObjectStore
from thresher.storage.artifacts import read_record, record_bytes

POLLS_A_LEASE = 8
BEATS_A_LEASE = 4
logger = logging.getLogger(__name__)


class FenceHeldError(ThresherError):
    """Another holder is at work."""


class FenceLostError(ThresherError):
    """Another holder took over: nothing more may be committed."""


class FenceEntry(Record):
    """One line of the log."""

    sequence: int
    epoch: int
    """Raised by each claim."""
    holder: str
    kind: Literal["claim", "commit", "release"]
    lease_s: float
    """How long the holder's heartbeat may be silent before another may take over."""
    payload: dict[str, Any]
    """What is committed; empty for a claim and a release."""


class Fence:
    """The right to commit, as long as nobody else claims it. Made by `hold`."""

    def __init__(self, store: ObjectStore, name: str, claim: FenceEntry) -> None:
        self._store, self._name, self._claim = store, name, claim
        self._tail = claim.sequence
        self._lock = threading.Lock()
        self.when_lost: Callable[[str], None] = lambda reason: None
        """Called by the heartbeat, with the reason, once it sees that another has claimed."""

    @property
    def epoch(self) -> int:
        return self._claim.epoch

    @property
    def lease_s(self) -> float:
        return self._claim.lease_s

    @property
    def heartbeat_key(self) -> str:
        return _heartbeat_key(self._name, self.epoch)

    def commit(self, payload: dict[str, Any]) -> FenceEntry:
        """Append to the log.

        Raises:
            FenceLostError: another holder has claimed since; nothing was written.
        """
        return self._append("commit", payload)

    def release(self) -> None:
        """Let the next holder in without waiting. Raises: as commit."""
        self._append("release", {})

    def check(self) -> None:
        """Raises FenceLostError if another holder has claimed since."""
        with self._lock:
            if self._store.head(_entry_key(self._name, self._tail + 1)) is not None:
                raise self._lost()

    def history(self) -> Iterator[FenceEntry]:
        """Every commit before now, the newest first."""
        for sequence in range(self._tail, 0, -1):
            entry = _read(self._store, self._name, sequence)
            if entry.kind == "commit":
                yield entry

    def _append(self, kind: Literal["commit", "release"], payload: dict[str, Any]) -> FenceEntry:
        with self._lock:
            entry = self._claim.model_copy(
                update={"sequence": self._tail + 1, "kind": kind, "payload": payload}
            )
            if not _create(self._store, self._name, entry):
                raise self._lost()
            self._tail = entry.sequence
            return entry

    def _lost(self) -> FenceLostError:
        other = _read(self._store, self._name, self._tail + 1)
        return FenceLostError(
            f"{other.holder} took over {self._name} (epoch {other.epoch}) while this process, of epoch {self.epoch}, "
            "did not answer. Nothing more is committed here; the other goes on from what was."
        )


@contextmanager
def hold(store: ObjectStore, name: str, lease_s: float) -> Iterator[Fence]:
    """Claim the fence for the block, with a heartbeat; released at its end, also after an error.

    Waits up to the other's lease to see whether a holder that did not release is alive.

    Raises:
        FenceHeldError: another holder is alive.
        StoreError: the store does not keep conditional writes.
    """
    fence = claim(store, name, lease_s)
    stopped = threading.Event()
    beat = threading.Thread(target=_beat, args=(store, fence, stopped), daemon=True)
    beat.start()
    try:
        yield fence
    finally:
        stopped.set()
        beat.join()
        _let_go(store, fence)


def claim(store: ObjectStore, name: str, lease_s: float) -> Fence:
    """Raise the epoch. Raises: as hold."""
    if not store.has_conditional_writes():
        raise StoreError(f"{store.url} does not keep conditional writes, which a fence is made of.")
    tail = _tail(store, name)
    last = _read(store, name, tail) if tail else None
    if last is not None and last.kind != "release":
        _wait_for_silence(store, name, last)
    entry = FenceEntry(
        sequence=tail + 1,
        epoch=1 if last is None else last.epoch + 1,
        holder=f"{socket.gethostname()}, process {os.getpid()} ({uuid.uuid4().hex[:8]})",
        kind="claim",
        lease_s=lease_s,
        payload={},
    )
    if not _create(store, name, entry):
        raise FenceHeldError(f"{_read(store, name, tail + 1).holder} holds {name}: wait for it to end.")
    return Fence(store, name, entry)


def _wait_for_silence(store: ObjectStore, name: str, last: FenceEntry) -> None:
    """Returns once the holder gave no sign for a whole lease, by this machine's clock alone."""
    beat_key, next_key = _heartbeat_key(name, last.epoch), _entry_key(name, last.sequence + 1)
    first = store.head(beat_key)
    until_s = time.monotonic() + last.lease_s
    while time.monotonic() < until_s:
        time.sleep(last.lease_s / POLLS_A_LEASE)
        if store.head(beat_key) != first or store.head(next_key) is not None:
            raise FenceHeldError(
                f"{last.holder} holds {name} and is alive: wait for it to end, or stop it and run this again."
            )


def _beat(store: ObjectStore, fence: Fence, stopped: threading.Event) -> None:
    for count in itertools.count():
        try:
            fence.check()
            store.put(fence.heartbeat_key, str(count).encode())
        except FenceLostError as error:
            fence.when_lost(str(error))
            return
        except StoreError as error:
            logger.warning("No heartbeat: %s", error)
        if stopped.wait(fence.lease_s / BEATS_A_LEASE):
            return


def _let_go(store: ObjectStore, fence: Fence) -> None:
    """What fails here costs the next holder a lease of waiting, or is that holder's already."""
    with suppress(FenceLostError, StoreError):
        fence.release()
        store.delete(fence.heartbeat_key)


def _create(store: ObjectStore, name: str, entry: FenceEntry) -> bool:
    """Whether the entry stands in the log now; its holder's name tells it from any other's."""
    try:
        store.put(_entry_key(name, entry.sequence), record_bytes(entry), if_absent=True)
    except ObjectExistsError:
        return _read(store, name, entry.sequence) == entry  # an earlier try whose answer was lost
    return True


def _tail(store: ObjectStore, name: str) -> int:
    """Number of the last entry; 0 if there is none."""
    keys = [info.key for info in store.list(f"{paths.fence(name)}/log/")]
    return int(keys[-1].rpartition("/")[2].removesuffix(".json")) if keys else 0


def _read(store: ObjectStore, name: str, sequence: int) -> FenceEntry:
    return read_record(store, _entry_key(name, sequence), FenceEntry)


def _entry_key(name: str, sequence: int) -> str:
    return f"{paths.fence(name)}/log/{sequence:010d}.json"


def _heartbeat_key(name: str, epoch: int) -> str:
    return f"{paths.fence(name)}/heartbeats/{epoch:010d}"
