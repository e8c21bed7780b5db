"""What dictionaries are compared by, from their manifests alone."""

from collections import defaultdict
from collections.abc import Sequence

from thresher.contracts import paths
from thresher.contracts.errors import MissingArtifactError
from thresher.contracts.ids import canonical_json
from thresher.contracts.manifests import DictionaryManifest, Record
from thresher.contracts.names import check_name, parse_reference, version_order
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

MANIFEST = "manifest.json"


class DictionaryPoint(Record):
    """One dictionary of a comparison."""

    dictionary: str
    """name@version."""
    architecture: str
    num_latents: int
    num_training_rows: int
    l0: float
    fvu: float
    fvu_without_outliers: float | None
    """Null where it was not measured."""
    dead_fraction: float
    relative_reconstruction_bias: float | None
    num_rows: int
    """Held-out rows that it was measured on."""
    measured_on: str
    """Which rows those are: only dictionaries measured on the same ones can be compared."""
    on_front: bool
    """No other dictionary measured on these rows has both no higher FVU and no higher L0, one of them lower."""


def read_points(store: ObjectStore, names: Sequence[str]) -> list[DictionaryPoint]:
    """Points of dictionaries by ascending L0, those of the same held-out rows together.

    Args:
        store: where they lie.
        names: name@version, or a name for all of its versions.

    Raises:
        SpecError: a name is none.
        MissingArtifactError: there is no such dictionary.
    """
    references = dict.fromkeys(
        reference for name in names for reference in ([name] if "@" in name else _versions(store, name))
    )
    manifests = [_manifest(store, reference) for reference in references]
    grouped: dict[str, list[DictionaryManifest]] = defaultdict(list)
    for manifest in manifests:
        grouped[_measured_on(manifest)].append(manifest)
    return [
        _point(manifest, rows, on_front=not any(_beats(other, manifest) for other in group))
        for rows, group in grouped.items()
        for manifest in sorted(group, key=lambda item: (item.metrics.l0, item.metrics.fvu))
    ]


def _versions(store: ObjectStore, name: str) -> list[str]:
    prefix = paths.dictionary(check_name("dictionary", name), "")
    parts = [info.key.removeprefix(prefix).split("/") for info in store.list(prefix)]
    versions = [part[0] for part in parts if part[1:] == [MANIFEST]]
    if not versions:
        raise MissingArtifactError(
            f"{store.url}/{prefix} holds no whole dictionary: fit one, or correct the name."
        )
    return [f"{name}@{version}" for version in sorted(versions, key=version_order)]


def _manifest(store: ObjectStore, reference: str) -> DictionaryManifest:
    artifact = paths.dictionary(*parse_reference("dictionary", reference))
    return read_record(store, paths.manifest(artifact), DictionaryManifest)


def _measured_on(manifest: DictionaryManifest) -> str:
    """Harvest, target, split and first position: what the held-out rows follow from."""
    target = manifest.spec.get("target") or manifest.site
    training = manifest.spec.get("training", {})
    where = target if isinstance(target, str) else _target_text(target)
    split, first = training.get("holdout_split", "report"), training.get("min_position")
    positions = "" if first is None else f", positions from {first} on"
    return f"{where} of harvest {manifest.harvest_id}, split {split}{positions}"


def _target_text(target: dict[str, object]) -> str:
    if target.get("kind") == "autoencoder":
        return str(target["site"])
    if target.get("kind") == "transcoder":
        return f"{target['input_site']} to {target['output_site']}"
    return canonical_json(target)


def _beats(one: DictionaryManifest, other: DictionaryManifest) -> bool:
    a, b = one.metrics, other.metrics
    return a.fvu <= b.fvu and a.l0 <= b.l0 and (a.fvu, a.l0) != (b.fvu, b.l0)


def _point(manifest: DictionaryManifest, measured_on: str, *, on_front: bool) -> DictionaryPoint:
    metrics = manifest.metrics
    return DictionaryPoint(
        dictionary=str(manifest.ref()),
        architecture=manifest.architecture,
        num_latents=manifest.num_latents,
        num_training_rows=manifest.num_training_rows,
        l0=metrics.l0,
        fvu=metrics.fvu,
        fvu_without_outliers=metrics.fvu_without_outliers,
        dead_fraction=metrics.dead_fraction,
        relative_reconstruction_bias=metrics.relative_reconstruction_bias,
        num_rows=metrics.num_rows,
        measured_on=measured_on,
        on_front=on_front,
    )
