"""What a night did, entry by entry, in the fence's log: enough to go on with it after a kill at any moment."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from thresher.contracts.manifests import NightBatch, NightlyManifest, Record
from thresher.labeling.nightly.fence import Fence, FenceEntry
from thresher.labeling.nightly.needs import Need

FENCE_NAME = "nightly"
"""One for a root: whatever their specs, two nights never commit beside each other."""


class Begun(Record):
    """A night began."""

    kind: Literal["begun"] = "begun"
    night_id: str
    identity_id: str
    """Of its spec."""
    spec: dict[str, Any]
    started_at: datetime
    deadline: datetime | None


class Planned(Record):
    """A batch is about to start: which features, and what it may spend."""

    kind: Literal["planned"] = "planned"
    index: int
    dictionary: str
    corpus: str
    tries: int
    attempt: int
    needs: list[Need]
    max_tokens: int | None
    """The limit that its label spec was given."""
    estimated_tokens: float

    def stopped(self, reason: str) -> NightBatch:
        """What it came to where nobody goes on with it. What it paid is not counted: its process is gone."""
        return NightBatch(
            index=self.index,
            dictionary=self.dictionary,
            corpus=self.corpus,
            num_features=len(self.needs),
            outcome="stopped",
            run_id=None,
            fault=reason,
            estimated_tokens=self.estimated_tokens,
            num_tokens_paid=0,
            seconds=0.0,
        )


class Settled(Record):
    """A batch came to its end."""

    kind: Literal["settled"] = "settled"
    batch: NightBatch


class Ended(Record):
    """The night is over: its manifest, as it is to be published."""

    kind: Literal["ended"] = "ended"
    manifest: NightlyManifest


Entry = Annotated[Begun | Planned | Settled | Ended, Field(discriminator="kind")]
ENTRY: TypeAdapter[Begun | Planned | Settled | Ended] = TypeAdapter(Entry)


@dataclass
class Night:
    """A night as its entries tell it."""

    begun: Begun
    epochs: list[int]
    """Holders that worked on it, by their claim."""
    planned: list[Planned] = field(default_factory=list)
    settled: dict[int, NightBatch] = field(default_factory=dict)
    ended: Ended | None = None

    @property
    def open_batch(self) -> Planned | None:
        """One that was planned and did not come to its end."""
        return next((batch for batch in self.planned if batch.index not in self.settled), None)

    @property
    def num_tokens_paid(self) -> int:
        return sum(batch.num_tokens_paid for batch in self.settled.values())

    @property
    def run_ids(self) -> list[str]:
        """Runs that were published, in order."""
        return [batch.run_id for _, batch in sorted(self.settled.items()) if batch.run_id is not None]

    def add(self, entry: Begun | Planned | Settled | Ended) -> None:
        if isinstance(entry, Planned):
            self.planned.append(entry)
        elif isinstance(entry, Settled):
            self.settled[entry.batch.index] = entry.batch
        elif isinstance(entry, Ended):
            self.ended = entry


class Journal:
    """The entries of the last night, and the right to write more.

    Raises:
        FenceLostError: on every write, once another holder has claimed.
    """

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self.night = _last_night(fence.history())
        if self.night is not None and fence.epoch not in self.night.epochs and self.night.ended is None:
            self.night.epochs.append(fence.epoch)

    def begin(self, begun: Begun) -> Night:
        self._fence.commit(begun.model_dump(mode="json"))
        self.night = Night(begun, [self._fence.epoch])
        return self.night

    def write(self, entry: Planned | Settled | Ended) -> None:
        assert self.night is not None, "a night begins first"
        self._fence.commit(entry.model_dump(mode="json"))
        self.night.add(entry)


def _last_night(newest_first: Iterable[FenceEntry]) -> Night | None:
    later: list[FenceEntry] = []
    for item in newest_first:
        later.append(item)
        if item.payload["kind"] == "begun":
            break
    else:
        return None
    in_order = [(item.epoch, ENTRY.validate_python(item.payload)) for item in reversed(later)]
    begun = in_order[0][1]
    assert isinstance(begun, Begun)
    night = Night(begun, sorted({epoch for epoch, _ in in_order}))
    for _, entry in in_order[1:]:
        night.add(entry)
    return night
