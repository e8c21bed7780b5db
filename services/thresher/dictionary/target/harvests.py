"""The harvests that a target reads, and whether they fit it and each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from thresher.activations.dense_reader import check_dense_site, stored_bytes
from thresher.activations.split_rows import SplitRows
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import HarvestManifest, SplitName
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.rows_spec import BlockShuffle
from thresher.dictionary.target.spec import SiteOfHarvest
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

GIB = 1 << 30
WINDOWS_IN_MEMORY = 2


@dataclass(frozen=True)
class TargetHarvests:
    """Manifests of every harvest that a spec names."""

    spec: FitSpec
    by_id: Mapping[str, HarvestManifest]

    @property
    def mixed_ids(self) -> list[str]:
        """Of harvests that give rows of their own, the spec's first."""
        return [self.spec.harvest, *(item.harvest for item in self.spec.mixture)]

    @property
    def weights(self) -> list[float]:
        """Of each of those."""
        return [1.0, *(item.weight for item in self.spec.mixture)]

    @property
    def sites(self) -> list[SiteOfHarvest]:
        """Every site that is read, each once."""
        return list(dict.fromkeys([*self.spec.target.inputs, *self.spec.target.outputs]))

    def holder(self, item: SiteOfHarvest, mixed_id: str) -> HarvestManifest:
        """The harvest that holds a site, of the rows of one of the mixed harvests."""
        return self.by_id[item.harvest or mixed_id]

    def widths(self, items: tuple[SiteOfHarvest, ...] | list[SiteOfHarvest]) -> list[int]:
        """Of sites."""
        return [self.holder(item, self.spec.harvest).sites[item.site].width for item in items]

    @property
    def d_in(self) -> int:
        """Values of a row that is read."""
        widths = self.widths(list(self.spec.target.inputs))
        return widths[0] if self.spec.target.kind == "layer_group" else sum(widths)

    @property
    def d_out(self) -> int:
        """Values of a row that is reconstructed."""
        widths = self.widths(list(self.spec.target.outputs))
        return widths[0] if self.spec.target.kind == "layer_group" else sum(widths)

    @property
    def stored_bytes(self) -> int:
        """Size of all shards that the fit reads."""
        return sum(
            stored_bytes(self.holder(item, mixed_id), item.site)
            for mixed_id in self.mixed_ids
            for item in self.sites
        )

    def is_ranged(self, store: ObjectStore) -> bool:
        """Whether shards are read by ranges, since they are remote and do not fit the cache."""
        remote = store.local_path("probe") is None
        return remote and self.stored_bytes > self.spec.cache_gib * GIB

    @property
    def window_bytes(self) -> int:
        """Memory for the windows of a block shuffle; 0 without."""
        shuffle = self.spec.training.shuffle
        if not isinstance(shuffle, BlockShuffle):
            return 0
        pooled = self.spec.target.kind == "layer_group"
        total = 0
        for mixed_id in self.mixed_ids:
            row_bytes = [
                stored_bytes(held, item.site) / max(1, held.num_rows)
                for item in self.sites
                for held in [self.holder(item, mixed_id)]
            ]
            total += int(shuffle.window_rows * (max(row_bytes) if pooled else sum(row_bytes)))
        return WINDOWS_IN_MEMORY * total


def read_harvests(store: ObjectStore, spec: FitSpec) -> TargetHarvests:
    """Read the manifest of every harvest that the spec names.

    Raises:
        MissingArtifactError: there is no such harvest.
    """
    named = [spec.harvest, *(item.harvest for item in spec.mixture)]
    named += [item.harvest for item in (*spec.target.inputs, *spec.target.outputs) if item.harvest]
    return TargetHarvests(
        spec,
        {
            name: read_record(store, paths.manifest(paths.harvest(name)), HarvestManifest)
            for name in dict.fromkeys(named)
        },
    )


def check_target(harvests: TargetHarvests, store: ObjectStore) -> None:
    """Raise SpecError where the harvests cannot give what the target asks for, or not within the limits."""
    spec = harvests.spec
    _check_mixture(spec)
    for mixed_id in harvests.mixed_ids:
        for item in harvests.sites:
            check_dense_site(harvests.holder(item, mixed_id), item.site, field="target")
        for split in (spec.training.holdout_split, spec.training.fit_split):
            SplitRows(harvests.by_id[mixed_id], split, spec.training.min_position)
    own = harvests.by_id[spec.harvest]
    for item in harvests.sites:
        if item.harvest not in (None, spec.harvest):
            _check_aligned(own, harvests.by_id[str(item.harvest)], spec)
    _check_widths(harvests)
    _check_limits(harvests, store)


def _check_mixture(spec: FitSpec) -> None:
    named = [spec.harvest, *(item.harvest for item in spec.mixture)]
    if len(set(named)) != len(named):
        raise SpecError("mixture", named, mend="Name each harvest once, the fit's own not again.")
    others = [item.harvest for item in spec.target.inputs if item.harvest]
    if spec.mixture and others:
        raise SpecError(
            "mixture",
            [item.harvest for item in spec.mixture],
            allowed=[],
            mend="A crosscoder of several harvests pairs their rows one to one: leave the mixture out.",
        )


def _check_aligned(own: HarvestManifest, other: HarvestManifest, spec: FitSpec) -> None:
    """Rows of the same number have the same address in both."""

    def ranges(manifest: HarvestManifest, split: SplitName) -> list[tuple[int, int]]:
        return sorted((item.start, item.stop) for item in manifest.splits if item.split == split)

    splits = (spec.training.fit_split, spec.training.holdout_split)
    compared = {
        "corpus": (own.corpus_id or "imported rows", other.corpus_id),
        "sequence length": (own.sequence_length, other.sequence_length),
        "selection": (own.selection, other.selection),
        **{f"sequences of split {split}": (ranges(own, split), ranges(other, split)) for split in splits},
    }
    for what, (wanted, found) in compared.items():
        if wanted != found:
            raise SpecError(
                "target.sites",
                other.harvest_id,
                allowed=f"harvests with the {what} of {own.harvest_id}: {wanted}",
                mend=f"It has {found}, so that rows are not of the same places: harvest the same corpus alike.",
            )
    for split in splits:
        counts = [len(SplitRows(manifest, split, spec.training.min_position)) for manifest in (own, other)]
        assert counts[0] == counts[1], "the same sequences and selection give the same rows"


def _check_widths(harvests: TargetHarvests) -> None:
    spec = harvests.spec
    for mixed_id in harvests.mixed_ids[1:]:
        for item in harvests.sites:
            wanted, found = (
                harvests.holder(item, name).sites[item.site].width for name in (spec.harvest, mixed_id)
            )
            if wanted != found:
                raise SpecError(
                    "mixture",
                    mixed_id,
                    allowed=f"harvests whose {item.site} is {wanted} wide",
                    mend=f"There it is {found} wide: mix harvests of one model.",
                )
    widths = dict(zip((item.site for item in harvests.sites), harvests.widths(harvests.sites), strict=True))
    if spec.target.kind == "layer_group" and len(set(widths.values())) > 1:
        raise SpecError(
            "target.sites",
            widths,
            allowed="sites of one width",
            mend="Pool sites of one width, or set them side by side with kind: crosscoder.",
        )


def _check_limits(harvests: TargetHarvests, store: ObjectStore) -> None:
    spec = harvests.spec
    shuffle = spec.training.shuffle
    if isinstance(shuffle, BlockShuffle) and shuffle.window_rows < spec.training.batch_rows:
        raise SpecError(
            "training.shuffle",
            shuffle.window_rows,
            allowed=f"windows of at least batch_rows = {spec.training.batch_rows}",
            mend="Raise window_blocks.",
        )
    if not harvests.is_ranged(store):
        return
    size_gib = harvests.stored_bytes / GIB
    if not isinstance(shuffle, BlockShuffle):
        raise SpecError(
            "training.shuffle",
            shuffle.kind,
            allowed=["blocks"],
            mend=f"The target's shards take {size_gib:,.3g} GiB and cache_gib is {spec.cache_gib:g}: raise cache_gib, "
            "or set training.shuffle to {kind: blocks}, which reads each byte once an epoch.",
        )
    needed_gib = harvests.window_bytes / GIB
    if needed_gib > spec.memory_gib:
        raise SpecError(
            "memory_gib",
            spec.memory_gib,
            allowed=f"at least {needed_gib:.2g}, for two windows of {shuffle.window_rows:,} rows",
            mend="Raise it, or lower window_blocks.",
        )
