"""Before a fit begins: whether it can be made, its content id, its version."""

from dataclasses import dataclass

from thresher import __version__
from thresher.activations.dense_reader import verify_site
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import DictionaryManifest
from thresher.dictionary.baselines.spec import BaselineSpec
from thresher.dictionary.claim import claim_dictionary
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.harvests import TargetHarvests, check_target, read_harvests
from thresher.dictionary.training.warm_start import check_initial
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record, read_record, record_bytes


@dataclass(frozen=True)
class CheckedFit:
    """A fit that can be made, and the harvests that it is made of."""

    spec: FitSpec
    fit_id: str
    harvests: TargetHarvests


@dataclass(frozen=True)
class ClaimedFit:
    """A fit that has a version of its own."""

    spec: FitSpec
    fit_id: str
    version: str

    @property
    def artifact(self) -> str:
        return paths.dictionary(self.spec.name, self.version)

    @property
    def num_rows(self) -> int:
        """Rows that it trains on, counting every epoch."""
        return self.spec.training.num_steps * self.spec.training.batch_rows

    def find(self, store: ObjectStore) -> DictionaryManifest | None:
        """What was made, or None as long as it is not whole."""
        return find_record(store, paths.manifest(self.artifact), DictionaryManifest)

    def read(self, store: ObjectStore) -> DictionaryManifest:
        """What was made; MissingArtifactError as long as it is not whole."""
        return read_record(store, paths.manifest(self.artifact), DictionaryManifest)


def check_fit(store: ObjectStore, spec: FitSpec) -> CheckedFit:
    """Raise what a fit would fail of, before anything is written.

    Raises:
        SpecError: the spec does not fit the harvest, the workers or the dictionary to start from.
        MissingArtifactError: there is no such harvest or dictionary.
    """
    harvests = read_harvests(store, spec)
    check_target(harvests, store)
    spec.architecture.check_widths(harvests.d_in, harvests.sites[0].site)
    if isinstance(spec.architecture, BaselineSpec) and spec.target.kind in ("transcoder", "crosscoder"):
        raise SpecError(
            "target.kind",
            spec.target.kind,
            allowed=["autoencoder", "layer_group"],
            mend=f"A {spec.architecture.kind} baseline is made from the rows of single sites: use one of these.",
        )
    if spec.training.batch_rows < spec.num_workers:
        raise SpecError(
            "num_workers",
            spec.num_workers,
            allowed=f"up to batch_rows = {spec.training.batch_rows}",
            mend="Lower it.",
        )
    return CheckedFit(spec, fit_id_of(spec, read_initial(store, spec, harvests)), harvests)


def claim_fit(store: ObjectStore, checked: CheckedFit) -> ClaimedFit:
    """Give the fit its version: the one it has already, or else the one that it asks for, or the next.

    Raises:
        AlreadyExistsError: the version was made from another spec.
    """
    spec = checked.spec
    version = claim_dictionary(store, spec.name, checked.fit_id, spec.version)
    claimed = ClaimedFit(spec, checked.fit_id, version)
    if claimed.find(store) is None:
        store.put(paths.spec(claimed.artifact), record_bytes(spec))
    return claimed


def verify_rows(store: ObjectStore, harvests: TargetHarvests) -> None:
    """Raise IntegrityError where a shard of the rows is damaged."""
    for mixed_id in harvests.mixed_ids:
        for item in harvests.sites:
            verify_site(store, harvests.holder(item, mixed_id), item.site)


def fit_id_of(spec: FitSpec, initial: DictionaryManifest | None = None) -> str:
    """Content id of what the spec makes; the harvest's id within it stands for everything upstream."""
    start = {} if initial is None else {"initial_weights_sha256": initial.weights().sha256}
    return content_id("fit", {"spec": spec.identity(), "code_version": __version__, **start})


def read_initial(store: ObjectStore, spec: FitSpec, harvests: TargetHarvests) -> DictionaryManifest | None:
    """The dictionary to start from, checked against the fit.

    Raises:
        SpecError: it is of another target or shape.
        MissingArtifactError: there is none of that name.
    """
    if spec.initial is None:
        return None
    encoder, manifest = load_encoder(store, spec.initial)
    if manifest.target.kind != spec.target.kind:
        raise SpecError(
            "initial",
            f"{spec.initial}, a {manifest.target.kind}",
            allowed=f"dictionaries whose target is of kind {spec.target.kind}",
            mend="Start from another.",
        )
    check_initial(
        encoder,
        d_in=harvests.d_in,
        d_out=harvests.d_out,
        num_latents=spec.architecture.num_latents,
        skip=spec.target.kind == "transcoder" and spec.target.skip,
        centres_input=spec.target.kind in ("autoencoder", "layer_group"),
    )
    return manifest
