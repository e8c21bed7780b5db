"""Which text, how it is tokenised, packed and split."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from thresher.activations.split_shares import SplitShares
from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.corpus.source_spec import Source, holds_conversations

Operational = {"operational": True}


class ChatSpec(Spec):
    """How conversations become text."""

    template_file: Annotated[str | None, Field(json_schema_extra=Operational)] = None
    """Jinja file to use in place of the tokenizer folder's chat template. Its text enters the id."""
    variables: dict[str, str | int | bool] = Field(default_factory=dict)
    """Handed to the template: date_string, enable_thinking and whatever else it reads."""


class CorpusSpec(Spec):
    """Tokenise documents, pack them into full sequences, split by document."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    sources: Annotated[list[Source], Field(min_length=1)]
    """Where the text comes from."""
    tokenizer: Annotated[str, Field(json_schema_extra=Operational)]
    """Folder with the tokenizer.json of the model to harvest. Its bytes enter the id."""
    sequence_length: Annotated[int, Field(ge=8)] = 256
    """Tokens a sequence; a last one that would not be full is left out."""
    max_tokens: Annotated[int, Field(ge=8)]
    """Stop when so many tokens are packed, over all splits; fewer if the sources hold fewer."""
    max_document_tokens: Annotated[int, Field(ge=1)] = 4096
    """Longer documents are cut here, so that no single one fills the corpus."""
    bos_token: str | None = None
    """Token at position 0 of every sequence, as the tokenizer writes it; none if null."""
    separator_token: str | None = None
    """Token between two documents of a sequence; none if null."""
    special_tokens_in_text: bool = False
    """Whether special tokens that stand in plain text are those tokens: for text that a chat template made elsewhere.
    Else they are text like any other, as they always are in messages."""
    chat: ChatSpec = ChatSpec()
    """How conversations become text, for sources with messages_field."""
    splits: SplitShares = SplitShares()
    """How documents are dealt out."""
    seed: int = 0
    """Decides the order of documents and which split each falls into."""

    @model_validator(mode="after")
    def _chat_has_messages(self) -> "CorpusSpec":
        if self.chat != ChatSpec() and not self.holds_conversations:
            raise SpecError(
                "chat",
                self.chat.model_dump(),
                mend="No source has a messages_field: name it, or remove chat.",
            )
        return self

    @property
    def holds_conversations(self) -> bool:
        return any(holds_conversations(source) for source in self.sources)

    def content_identity(self) -> dict[str, Any]:
        """What determines the corpus beside its documents: not where the sources lie, nor how they are stored."""
        return self.identity() | {
            "sources": [
                {"share": source.share, "conversations": holds_conversations(source)}
                for source in self.sources
            ]
        }
