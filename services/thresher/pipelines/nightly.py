"""A night of labelling, and what people want of it at the end: its labels in the catalog, its report on the screen."""

import sys

from thresher.contracts.errors import ThresherError
from thresher.contracts.manifests import FamiliesManifest, LabelManifest, NightlyManifest
from thresher.labeling.nightly.run import nightly
from thresher.labeling.nightly.spec import NightlySpec
from thresher.pipelines.cataloguing import catalogue_families, catalogue_labels, catalogue_night
from thresher.storage import open_store


class NightFaultError(ThresherError):
    """The night is reported, but something kept it from going on."""


class CatalogCommitter:
    """Enters what a night publishes into the catalog."""

    def __init__(self, root: str) -> None:
        self._root = root

    def labels(self, manifest: LabelManifest) -> None:
        catalogue_labels(self._root, manifest)

    def families(self, manifest: FamiliesManifest) -> None:
        catalogue_families(self._root, manifest)

    def night(self, manifest: NightlyManifest) -> None:
        catalogue_night(self._root, manifest)


def run_nightly(spec: NightlySpec) -> NightlyManifest:
    """Do a night's work; raises as nightly does.

    Raises:
        NightFaultError: it could not go on; what it did stands.
    """
    manifest = nightly(spec, CatalogCommitter(spec.root))
    print(open_store(spec.root).get(manifest.text.key).decode(), file=sys.stderr)
    if manifest.outcome == "fault":
        raise NightFaultError(f"Night {manifest.night_id} could not go on: {manifest.fault}")
    return manifest
