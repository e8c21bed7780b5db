"""Who owns a version of a dictionary: the fit or the import that claimed it first."""

from thresher.contracts import paths
from thresher.storage import ObjectStore
from thresher.storage.versions import claim_version

CLAIM_KEY = "training/claim.json"


def claim_dictionary(store: ObjectStore, name: str, identity: str, requested: str | None) -> str:
    """The version of `name` that belongs to what has this content id; raises as claim_version does."""
    return claim_version(
        store, lambda version: paths.dictionary(name, version), CLAIM_KEY, identity, requested
    )
