"""What every manifest and record is made of."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of everything read back from storage: unknown keys mean another format, and are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FileEntry(Record):
    key: str
    """Key of the object, relative to the store's root."""
    size: int
    """Bytes."""
    sha256: str
