"""From a record, a line of JSON or a row of a table, to a document."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thresher.contracts.errors import SpecError
from thresher.corpus.document import Document, Message
from thresher.corpus.source_spec import RecordSource
from thresher.corpus.sources.files import SourceFile

SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
"""Who speaks in {from, value} conversations, as the role that chat templates know."""
ROLE_NAME = re.compile(r"[\w-]{1,64}")


@dataclass(frozen=True)
class Record:
    number: int
    """From 0, in its file; makes the default id."""
    where: str
    """Such as `Line 3 of file:///…`."""
    values: Mapping[str, Any]


def record_fault(source: RecordSource, field: str, record: Record, what: str, mend: str) -> SpecError:
    return SpecError(f"sources.{field}", getattr(source, field), mend=f"{record.where} {what}: {mend}")


def to_document(source: RecordSource, file: SourceFile, record: Record) -> Document:
    """Take the fields that the source names.

    Raises:
        SpecError: a field is missing or of another type.
    """
    field = "messages_field" if source.messages_field else "text_field"
    if source.content_field not in record.values:
        raise record_fault(source, field, record, "has no such field", "correct the name.")
    value = record.values[source.content_field]
    content = _messages(source, record, value) if source.messages_field else _text(source, record, value)
    return Document(source.id_prefix + _doc_id(source, file, record), content, record.where)


def _doc_id(source: RecordSource, file: SourceFile, record: Record) -> str:
    given = record.values.get(source.id_field) if source.id_field else None
    if given is None:
        return f"{file.name}:{record.number}"
    if not isinstance(given, str | int):
        raise record_fault(source, "id_field", record, "has no text or number there", "name another field.")
    return _encodable(source, "id_field", record, str(given))


def _text(source: RecordSource, record: Record, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise record_fault(
            source, "text_field", record, f"has {_kind(value)} there, not text", "name a field of text."
        )
    return _encodable(source, "text_field", record, value)


def _encodable(source: RecordSource, field: str, record: Record, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise record_fault(
            source, field, record, f"holds half a surrogate pair at {error.start}", "mend or drop it."
        ) from error
    return text


def _messages(source: RecordSource, record: Record, value: object) -> tuple[Message, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise record_fault(
            source,
            "messages_field",
            record,
            f"has {_kind(value)} there, not a list of messages",
            "name a field of conversations.",
        )
    return tuple(_message(source, record, index, item) for index, item in enumerate(value))


def _message(source: RecordSource, record: Record, index: int, item: object) -> Message:
    values: Mapping[str, Any] = item if isinstance(item, dict) else {}
    if values.get("tool_calls"):
        raise record_fault(
            source, "messages_field", record, f"calls tools in message {index}", "leave such records out."
        )
    speaks_roles = "role" in values
    role = values.get("role") if speaks_roles else values.get("from")
    content = values.get("content") if speaks_roles else values.get("value")
    if not isinstance(role, str) or not isinstance(content, str):
        raise record_fault(
            source,
            "messages_field",
            record,
            f"has no text for role and content (or from and value) in message {index}",
            "mend the record or name another field.",
        )
    if not ROLE_NAME.fullmatch(role):
        raise record_fault(
            source,
            "messages_field",
            record,
            f"names the role {role[:64]!r} in message {index}",
            "a role is a word: templates write it between their marks.",
        )
    return Message(
        role if speaks_roles else SPEAKERS.get(role, role),
        _encodable(source, "messages_field", record, content),
    )


def _kind(value: object) -> str:
    return type(value).__name__
