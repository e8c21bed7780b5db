"""Versions of named, immutable artifacts: found, taken and kept apart."""

from collections.abc import Callable

from thresher.contracts.errors import AlreadyExistsError
from thresher.contracts.manifests import Record
from thresher.contracts.names import check_name
from thresher.storage.artifacts import create_record, read_record
from thresher.storage.base import ObjectStore


class VersionClaim(Record):
    """Written once under a version, before any work: whose the version is."""

    identity: str
    """Content id of what is made under the version."""


def claim_version(
    store: ObjectStore,
    prefix_of: Callable[[str], str],
    claim_key: str,
    identity: str,
    requested: str | None,
) -> str:
    """Take a version for an artifact, or find the one that it has already.

    Claims are conditional creates: runs of one identity all get the same version, runs of different ones each
    get their own.

    Args:
        store: where versions lie.
        prefix_of: from a version to the key prefix of its artifact, as `paths.dictionary` with a name bound.
        claim_key: where the claim lies under that prefix.
        identity: content id of the artifact.
        requested: the version to take; None takes the one made from this identity before, or else the next
            free number.

    Raises:
        AlreadyExistsError: the requested version belongs to another identity; names the next free one.
        SpecError: the requested version cannot be part of a key.
    """
    if requested is not None:
        holder = _claim(store, f"{prefix_of(check_name('version', requested))}/{claim_key}", identity)
        if holder != identity:
            free = _next_number(claimed_versions(store, prefix_of, claim_key))
            raise AlreadyExistsError(
                f"{prefix_of(requested)} was made from another spec and is immutable. "
                f"Ask for version {free}, which is free, or for none."
            )
        return requested
    while True:
        claimed = claimed_versions(store, prefix_of, claim_key)
        own = sorted(version for version, holder in claimed.items() if holder == identity)
        if own:
            return own[0]
        version = _next_number(claimed)
        if _claim(store, f"{prefix_of(version)}/{claim_key}", identity) == identity:
            return version


def claimed_versions(store: ObjectStore, prefix_of: Callable[[str], str], claim_key: str) -> dict[str, str]:
    """Identity by version, of every version that is claimed."""
    parent = prefix_of("")
    claimed = {}
    for info in store.list(parent):
        version, separator, key = info.key.removeprefix(parent).partition("/")
        if separator and key == claim_key:
            claimed[version] = read_record(store, info.key, VersionClaim).identity
    return claimed


def _claim(store: ObjectStore, key: str, identity: str) -> str:
    return create_record(store, key, VersionClaim(identity=identity)).identity


def _next_number(claimed: dict[str, str]) -> str:
    return str(1 + max((int(version) for version in claimed if version.isdecimal()), default=0))
