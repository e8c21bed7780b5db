"""The form in which a phrase is asked for, and how it is read back."""

from dataclasses import dataclass
from typing import Any

from thresher.labeling.endpoints.chat import without_thought
from thresher.labeling.explainers.phrase import (
    MAX_CHARACTERS,
    Phrase,
    parse_json_phrase,
    parse_labelled_line,
    parse_phrase,
    unparsable,
)
from thresher.labeling.explainers.spec import Structure
from thresher.labeling.templates import Template, load_template

JSON = load_template("answer-json-v1")
JSON_REASONED = load_template("answer-json-reasoned-v1")
REASONED = load_template("answer-reasoned-v1")
JSON_TOKENS = 24
"""Tokens that the object takes besides what it holds."""


@dataclass(frozen=True)
class AnswerForm:
    """A phrase alone, or in JSON; with reasoning before it, or without."""

    structure: Structure
    reasoning: bool

    @property
    def templates(self) -> tuple[Template, ...]:
        """What is said of the form, after the question."""
        if self.structure == "off":
            return (REASONED,) if self.reasoning else ()
        return (JSON_REASONED,) if self.reasoning else (JSON,)

    @property
    def num_extra_tokens(self) -> int:
        return 0 if self.structure == "off" else JSON_TOKENS

    @property
    def response_format(self) -> dict[str, Any] | None:
        """What the endpoint is told, as the API of OpenAI has it."""
        if self.structure == "off":
            return None
        if self.structure == "json_object":
            return {"type": "json_object"}
        schema = {"name": "label", "strict": True, "schema": self._schema()}
        return {"type": "json_schema", "json_schema": schema}

    def read(self, content: str) -> Phrase:
        """The phrase in the text of an answer, without what was thought."""
        said = without_thought(content)
        if said is None:
            return unparsable("The thinking came to no end.")
        if self.structure != "off":
            return parse_json_phrase(said)
        return parse_labelled_line(said) if self.reasoning else parse_phrase(said)

    def _schema(self) -> dict[str, Any]:
        label = {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS}
        properties = {"reasoning": {"type": "string"}, "label": label} if self.reasoning else {"label": label}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
