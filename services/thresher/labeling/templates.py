"""Versioned prompt files: a change of words is a new file, since scores of two prompts do not compare."""

import re
from dataclasses import dataclass
from importlib.resources import files

from thresher.contracts.ids import sha256_hex

PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Template:
    """The text of a prompt with `{name}` places, and its hash."""

    text: str
    sha256: str

    def fill(self, **values: str) -> str:
        """Put values in their places. Each place needs one; braces inside a value stay as they are."""
        return PLACE.sub(lambda place: values[place[1]], self.text)

    def split_last(self) -> "tuple[str, Template]":
        """All but the last paragraph, as it stands, and the last one, which is asked several times."""
        examples, blank, last = self.text.rpartition("\n\n")
        return examples + blank, Template(last, self.sha256)


def load_template(name: str) -> Template:
    """Read `prompts/{name}.txt` of the package."""
    text = (files("thresher.labeling") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    return Template(text.removesuffix("\n"), sha256_hex(text.encode()))
