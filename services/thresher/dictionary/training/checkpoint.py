"""Checkpoints in the object store: a resumed fit goes on with the bits it was interrupted with.

A checkpoint is an object named by its step. A small record, written after it, says which one is the last;
older ones are removed only then. Whatever instant a run dies at, the record names a whole checkpoint.
"""

import hashlib

from safetensors.torch import load, save

from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import FileEntry, Record
from thresher.dictionary.training.trainer import TrainingState
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record, record_bytes

WRITE_BYTES = 16 << 20


class CheckpointRecord(Record):
    """The last checkpoint of a fit."""

    fit_id: str
    step: int
    variance: float
    tensors: FileEntry


class Checkpoints:
    """The checkpoints of one fit, under `{artifact}/training/`."""

    def __init__(self, store: ObjectStore, artifact: str, fit_id: str) -> None:
        self._store, self._fit_id = store, fit_id
        self._record_key = f"{artifact}/training/checkpoint.json"
        self._prefix = f"{artifact}/training/step-"

    def save(self, state: TrainingState) -> None:
        key = f"{self._prefix}{state.step:09d}.safetensors"
        data = memoryview(save(state.tensors))
        with self._store.open_write(key) as writer:
            for start in range(0, len(data), WRITE_BYTES):
                writer.write(data[start : start + WRITE_BYTES])
        record = CheckpointRecord(
            fit_id=self._fit_id,
            step=state.step,
            variance=state.variance,
            tensors=FileEntry(key=key, size=len(data), sha256=writer.sha256),
        )
        self._store.put(self._record_key, record_bytes(record))
        self._remove_before(key)

    def last_step(self) -> int:
        """Step of the last checkpoint, 0 before the first."""
        record = find_record(self._store, self._record_key, CheckpointRecord)
        return 0 if record is None else record.step

    def load_last(self) -> TrainingState | None:
        """State of the last checkpoint, or None before the first.

        Raises:
            IntegrityError: its bytes are not what its record says.
        """
        record = find_record(self._store, self._record_key, CheckpointRecord)
        if record is None:
            return None
        assert record.fit_id == self._fit_id, "a version holds the checkpoints of one fit"
        data = self._store.get(record.tensors.key)
        if hashlib.sha256(data).hexdigest() != record.tensors.sha256:
            raise IntegrityError(
                f"{self._store.url}/{record.tensors.key}: sha256 differs from its record. "
                f"Delete {self._record_key} to begin again."
            )
        return TrainingState(record.step, record.variance, load(data))

    def remove(self) -> None:
        """Once the dictionary is published."""
        self._store.delete(self._record_key)
        for info in list(self._store.list(self._prefix)):
            self._store.delete(info.key)

    def _remove_before(self, key: str) -> None:
        for info in list(self._store.list(self._prefix)):
            if info.key < key:
                self._store.delete(info.key)
