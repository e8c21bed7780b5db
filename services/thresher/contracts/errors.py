"""The error a user is meant to read: what was given, what is allowed, how to mend it."""

from collections.abc import Sequence


class ThresherError(Exception):
    """A failure with words for the user. The command prints it without a traceback and exits with 1."""


class SpecError(ThresherError, ValueError):
    """A value the user gave cannot be used. The command exits with 2.

    Args:
        field: dotted name of the field, option or argument at fault.
        value: what was given.
        allowed: the values or the range that would do, if they can be listed.
        mend: what to do about it, as an instruction.
    """

    def __init__(self, field: str, value: object, *, allowed: Sequence[object] | str = (), mend: str) -> None:
        self.field, self.value, self.allowed, self.mend = field, value, allowed, mend
        known = allowed if isinstance(allowed, str) else ", ".join(str(item) for item in allowed)
        super().__init__(f"{field}: cannot use {value!r}. " + (f"Allowed: {known}. " if known else "") + mend)


class IntegrityError(ThresherError):
    """Stored bytes are not what their manifest says: names the object and what differs."""


class MissingArtifactError(ThresherError):
    """Something upstream that a stage needs is not in the store (or not whole yet)."""


class AlreadyExistsError(ThresherError):
    """An immutable artifact of that name is there already, made from another spec."""


class StoreError(ThresherError):
    """The object store refused or could not be reached; says which store and how to mend it."""


class EndpointError(ThresherError):
    """The language model endpoint refused or could not be reached."""


class ClusterError(ThresherError):
    """The Ray cluster refused or could not be reached."""
