"""What people call an artifact: `name@version`."""

import re

from thresher.contracts.errors import SpecError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(field: str, text: str) -> str:
    """A name that is safe as one part of a key and as one folder.

    Raises:
        SpecError: it is empty, or holds a slash, a space or anything else that a path would read.
    """
    if NAME.fullmatch(text) is None:
        raise SpecError(
            field,
            text,
            allowed="letters, digits, '.', '_' and '-', not starting with a mark",
            mend="Choose such a name.",
        )
    return text


def parse_reference(field: str, text: str) -> tuple[str, str]:
    """Split `name@version`.

    Raises:
        SpecError: either part is missing or is no name.
    """
    name, separator, version = text.partition("@")
    if not separator:
        raise SpecError(field, text, allowed="name@version", mend="Add the version, as in my-dictionary@1.")
    return check_name(field, name), check_name(field, version)


def version_order(version: str) -> list[tuple[bool, int | str]]:
    """Sort key of versions: numbers in them by their value, so that 10 follows 9."""
    parts = re.split(r"(\d+)", version)
    return [(part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts]
