"""Text, tokenised and split by document."""

from typing import Any, Literal

from thresher.contracts.manifests.record import FileEntry, Record

SplitName = Literal["fit", "explain", "report"]
SPLITS: tuple[SplitName, ...] = ("fit", "explain", "report")


class SplitRange(Record):
    """Sequences [start, stop) belong to the split; a document lies in one split only."""

    split: SplitName
    start: int
    stop: int


class SequenceFile(FileEntry):
    first_sequence: int
    num_sequences: int


class CorpusManifest(Record):
    corpus_id: str
    spec: dict[str, Any]
    tokenizer_sha256: str
    chat_template_sha256: str | None = None
    """Of the template that rendered conversations, or null if there are none."""
    sequence_length: int
    """Tokens a sequence; every sequence is full."""
    bos_token_id: int | None
    """Token put at position 0 of every sequence, or null if none is."""
    separator_token_id: int | None
    """Token put between two documents of a sequence, or null if none is."""
    special_token_ids: list[int]
    """Tokens that the tokenizer marks as special, ascending."""
    roles: list[str]
    """Roles that occur in the chats of the corpus, by name; empty for plain text."""
    num_documents: int
    num_sequences: int
    num_tokens: int
    splits: list[SplitRange]
    files: list[SequenceFile]

    def split(self, name: str) -> SplitRange:
        return next(item for item in self.splits if item.split == name)
