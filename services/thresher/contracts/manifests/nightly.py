"""One night of labelling: what it did, at what cost, and what it left."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from thresher.contracts.manifests.record import FileEntry, Record

NightOutcome = Literal["complete", "time", "budget", "fault"]
"""Nothing was left that it could do; the time window closed; nothing left fits the budget; it could not go on."""

BatchOutcome = Literal["published", "stopped", "failed"]
"""A stopped one keeps its answers: whoever labels those features next does not pay for them again."""


class NightBatch(Record):
    """One label run of a night."""

    index: int
    dictionary: str
    """name@version."""
    corpus: str
    num_features: int
    outcome: BatchOutcome
    run_id: str | None
    """Null unless it was published."""
    fault: str | None = None
    """What failed, or why it was stopped."""
    states: dict[str, int] = Field(default_factory=dict)
    """Number of labels in each state."""
    estimated_tokens: float
    num_tokens_paid: int
    seconds: float


class NightlyManifest(Record):
    """Times are those of the night's journal, so that whoever finishes an interrupted night writes the same bytes."""

    night_id: str
    spec: dict[str, Any]
    epochs: list[int]
    """Of the fence: one for each process that worked on it."""
    started_at: datetime
    ended_at: datetime
    outcome: NightOutcome
    fault: str | None = None
    needs_found: dict[str, int]
    """Features that needed work at its begin, by kind of need."""
    needs_left: dict[str, int]
    """Those at its end."""
    states: dict[str, int]
    """Labels made, by state."""
    num_changed: int
    """Features whose current label is another than before."""
    num_tokens_paid: int
    batches: list[NightBatch]
    families: dict[str, str] = Field(default_factory=dict)
    """Id of the families that were made of each dictionary's labels."""
    report: FileEntry
    """As JSON."""
    text: FileEntry
    """As Markdown."""
    code_version: str
