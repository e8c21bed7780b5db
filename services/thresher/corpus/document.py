"""What every source is read into."""

from dataclasses import dataclass

from thresher.contracts.ids import canonical_json


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Document:
    doc_id: str
    content: str | tuple[Message, ...]
    """Text, or a conversation."""
    where: str
    """Where it was read, for people."""

    def content_bytes(self) -> bytes:
        """What two documents have in common if they say the same."""
        if isinstance(self.content, str):
            return self.content.encode()
        return canonical_json([[message.role, message.content] for message in self.content]).encode()

    @property
    def is_blank(self) -> bool:
        if isinstance(self.content, str):
            return not self.content.strip()
        return not any(message.content.strip() for message in self.content)
