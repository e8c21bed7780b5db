"""What dictionaries are compared by, from their manifests alone."""

from collections import defaultdict
from collections.abc import Sequence

from thresher.contracts import paths
from thresher.contracts.errors import MissingArtifactError, SpecError
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
    num_training_rows: int | None
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
    on_front: bool = False
    """No other dictionary measured on these rows has both no higher FVU and no higher L0, one of them lower."""


def read_points(store: ObjectStore, names: Sequence[str]) -> list[DictionaryPoint]:
    """Points of dictionaries by ascending L0, those of the same held-out rows together.

    Args:
        store: where they lie.
        names: name@version, or a name for all of its versions.

    Raises:
        SpecError: a name is none, or a dictionary was never measured.
        MissingArtifactError: there is no such dictionary.
    """
    references = dict.fromkeys(
        reference for name in names for reference in ([name] if "@" in name else _versions(store, name))
    )
    points = [_point(_manifest(store, reference)) for reference in references]
    grouped: dict[str, list[DictionaryPoint]] = defaultdict(list)
    for point in points:
        grouped[point.measured_on].append(point)
    return [
        point.model_copy(update={"on_front": not any(_beats(other, point) for other in group)})
        for group in grouped.values()
        for point in sorted(group, key=lambda item: (item.l0, item.fvu))
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
    """Harvests, target, split and first position: what the held-out rows follow from."""
    training = manifest.spec.get("training", manifest.spec)
    split, first = training.get("holdout_split", "report"), training.get("min_position")
    positions = "" if first is None else f", positions from {first} on"
    where = f"{manifest.site} ({manifest.target.kind})"
    return f"{where} of harvest {', '.join(manifest.harvest_ids)}, split {split}{positions}"


def _beats(one: DictionaryPoint, other: DictionaryPoint) -> bool:
    return one.fvu <= other.fvu and one.l0 <= other.l0 and (one.fvu, one.l0) != (other.fvu, other.l0)


def _point(manifest: DictionaryManifest) -> DictionaryPoint:
    metrics = manifest.metrics
    if metrics is None:
        mend = "It was imported without a harvest, and so never measured: import it with one."
        raise SpecError("dictionary", str(manifest.ref()), mend=mend)
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
        measured_on=_measured_on(manifest),
    )
