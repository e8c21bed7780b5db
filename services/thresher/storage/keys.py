"""Which keys are allowed: relative, `/`-separated, nothing that could step out of the store's root."""

from thresher.contracts.errors import SpecError

HASH_DIGITS = 16


def check_key(key: str) -> str:
    """The key itself.

    Raises:
        SpecError: it is empty, absolute, or holds an empty segment, `.`, `..`, `\\` or a control character.
    """
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise _fault(key)
    return _check_characters(key)


def check_prefix(prefix: str) -> str:
    """The prefix itself: as a key, but it may be empty or end anywhere.

    Raises:
        SpecError: as for `check_key`.
    """
    folder, separator, _ = prefix.rpartition("/")
    if separator:
        check_key(folder)
    return _check_characters(prefix)


def _check_characters(text: str) -> str:
    if "\\" in text or not text.isprintable():
        raise _fault(text)
    return text


def _fault(key: str) -> SpecError:
    return SpecError(
        "key",
        key,
        allowed="relative keys such as corpora/0123/manifest.json",
        mend="Leave out '..', '.', empty segments, backslashes and control characters.",
    )


def hashed_key(stem: str, suffix: str, sha256: str) -> str:
    """The key of an object that is named by its bytes."""
    return f"{stem}-{sha256[:HASH_DIGITS]}{suffix}"
