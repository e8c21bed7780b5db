"""What is published together, and under which name."""

from pydantic import Field, field_validator

from thresher.config import Spec
from thresher.contracts.names import check_name, parse_reference


class PublishSpec(Spec):
    """One release: a dictionary, its features over a corpus, and a run of labels."""

    root: str = Field(json_schema_extra={"operational": True})
    """Url of the store."""
    name: str
    """What people pull it by."""
    version: str | None = None
    """The release's version; null takes the one this was published under before, or else the next free number."""
    dictionary: str
    """name@version of the dictionary."""
    corpus: str
    """Id of the corpus that the features were computed over."""
    label_run: str
    """Id of the label run."""

    @field_validator("name")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return check_name("name", name)

    @field_validator("dictionary")
    @classmethod
    def _is_reference(cls, dictionary: str) -> str:
        parse_reference("dictionary", dictionary)
        return dictionary
