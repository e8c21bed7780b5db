"""JSON lines in an object store, which cannot append: written in parts, joined when the fit is published.

A part holds the records since the checkpoint before and is written before the next one, under the step of its first
record. A resumed run drops the parts behind its checkpoint and writes them again: no record is lost or there twice.
"""

import json
from collections.abc import Iterator

from thresher.dictionary.tracking.records import StepRecord, StepTiming
from thresher.storage import ObjectStore


class RecordLog:
    """One kind of record of one fit, under `{artifact}/training/`.

    Args:
        store: where to.
        artifact: of the dictionary.
        name: of the joined file, without its suffix.
    """

    def __init__(self, store: ObjectStore, artifact: str, name: str) -> None:
        self._store, self._pending = store, list[StepRecord | StepTiming]()
        self._stem = f"{artifact}/training/{name}"

    @property
    def key(self) -> str:
        """Of the joined file."""
        return f"{self._stem}.jsonl"

    def append(self, record: StepRecord | StepTiming) -> None:
        """Keep a record until the next part is written."""
        self._pending.append(record)

    def write_part(self) -> None:
        """Write the records kept, if there are any; to be followed by a checkpoint."""
        if self._pending:
            lines = "".join(f"{record.model_dump_json()}\n" for record in self._pending)
            self._store.put(f"{self._stem}-{self._pending[0].step:09d}.jsonl", lines.encode())
            self._pending.clear()

    def discard_after(self, step: int) -> None:
        """Go back to a checkpoint: forget what was recorded after its step."""
        self._pending.clear()
        for key, first in self._parts():
            if first > step:
                self._store.delete(key)

    def joined(self) -> bytes:
        """All records that were written, one line each, by step."""
        lines = [line for key, _ in self._parts() for line in self._store.get(key).splitlines()]
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(set(steps)), "each step has one record"
        return b"".join(line + b"\n" for line in lines)

    def remove_parts(self) -> None:
        """Once the joined file stands."""
        for key, _ in self._parts():
            self._store.delete(key)

    def _parts(self) -> Iterator[tuple[str, int]]:
        prefix = f"{self._stem}-"
        keys = sorted(info.key for info in self._store.list(prefix))
        yield from ((key, int(key.removeprefix(prefix).removesuffix(".jsonl"))) for key in keys)
