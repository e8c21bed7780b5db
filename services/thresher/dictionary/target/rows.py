"""Opens the rows of a target: where they lie, side by side, pooled and mixed, and in what order they are read.

Shape suffixes: N rows, D width of the input.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from thresher.activations.block_shuffle import BlockOrder
from thresher.activations.dense_reader import DenseSite
from thresher.activations.loader import read_pairs
from thresher.activations.mixture import MixedOrder
from thresher.activations.row_source import AlignedRows, RowSource, SiteColumns, StackedRows
from thresher.activations.shard_cache import ShardCache
from thresher.activations.shuffle import EndlessOrder, RowOrder
from thresher.activations.split_rows import SplitRows
from thresher.contracts.manifests import DictionaryTarget, SplitName, TargetSite
from thresher.dictionary.target.harvests import GIB, TargetHarvests
from thresher.dictionary.target.pair_layout import PairLayout
from thresher.dictionary.target.rows_spec import BlockShuffle
from thresher.dictionary.target.spec import SiteOfHarvest
from thresher.storage import ObjectStore

SCALE_ROWS = 16_384
"""Rows of each site that the factors of a layer group are measured on."""


class TargetRows:
    """The rows to train on and those held out. Use as a context manager.

    Raises:
        IntegrityError: a shard is damaged.
    """

    def __init__(self, store: ObjectStore, harvests: TargetHarvests) -> None:
        self._store, self._harvests, self._spec = store, harvests, harvests.spec
        self._ranged = harvests.is_ranged(store)
        self._cache = ShardCache(Path(self._spec.cache_dir), int(self._spec.cache_gib * GIB))
        self._exits = ExitStack()
        self._mapped: dict[tuple[str, str], DenseSite] = {}
        self.factors: Mapping[str, float] = {}
        """What rows of each site of a layer group are multiplied by, so that their mean norm is sqrt(D)."""
        with ExitStack() as opening:
            opening.push(self._exits)
            self.factors = self._pooling_factors()
            training = self._spec.training
            self.fit, self.order = self._open(training.fit_split)
            self.holdout, _ = self._open(training.holdout_split)
            opening.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    @property
    def layout(self) -> PairLayout:
        """How the rows of a pair are made up."""
        target = self._spec.target
        return PairLayout(
            tuple(self.fit.input_widths),
            tuple(self.fit.output_widths),
            reconstructs_input=self.fit.is_reconstruction,
            skip=target.kind == "transcoder" and target.skip,
        )

    def described(self) -> DictionaryTarget:
        """For the dictionary's manifest."""
        target = self._spec.target
        return DictionaryTarget(
            kind=target.kind, inputs=self._described(target.inputs), outputs=self._described(target.outputs)
        )

    def _described(self, items: Sequence[SiteOfHarvest]) -> list[TargetSite]:
        found = []
        for item in items:
            held = self._harvests.holder(item, self._spec.harvest)
            width = held.sites[item.site].width
            factor = self.factors.get(item.site, 1.0)
            found.append(
                TargetSite(site=item.site, harvest_id=held.harvest_id, width=width, input_scale=factor)
            )
        return found

    def _open(self, split: SplitName) -> tuple[RowSource, RowOrder]:
        parts = [self._of_harvest(mixed_id, split) for mixed_id in self._harvests.mixed_ids]
        orders = [self._order(len(part)) for part in parts]
        if len(parts) == 1:
            return parts[0], orders[0]
        stacked = StackedRows(parts)
        firsts = stacked.starts[:-1].tolist()
        return stacked, MixedOrder(orders, firsts, self._harvests.weights)

    def _of_harvest(self, mixed_id: str, split: SplitName) -> RowSource:
        target = self._spec.target
        inputs = [self._columns(item, mixed_id, split) for item in target.inputs]
        if target.kind == "layer_group":
            return StackedRows([AlignedRows([columns]) for columns in inputs])
        if target.kind == "transcoder":
            return AlignedRows(inputs, [self._columns(item, mixed_id, split) for item in target.outputs])
        return AlignedRows(inputs)

    def _columns(self, item: SiteOfHarvest, mixed_id: str, split: SplitName) -> SiteColumns:
        manifest = self._harvests.holder(item, mixed_id)
        rows = SplitRows(manifest, split, self._spec.training.min_position)
        return SiteColumns(self._site(item, mixed_id), rows, self.factors.get(item.site, 1.0))

    def _site(self, item: SiteOfHarvest, mixed_id: str) -> DenseSite:
        """Mapped sites are shared by the splits; ranged ones hold what one reader expects."""
        manifest = self._harvests.holder(item, mixed_id)
        key = (manifest.harvest_id, item.site)
        if key in self._mapped:
            return self._mapped[key]
        site = DenseSite(self._store, manifest, item.site, self._cache, ranged=self._ranged)
        self._exits.enter_context(site)
        if not self._ranged:
            self._mapped[key] = site
        return site

    def _order(self, num_rows: int) -> RowOrder:
        training = self._spec.training
        if isinstance(training.shuffle, BlockShuffle):
            shuffle = training.shuffle
            return BlockOrder(num_rows, training.seed, shuffle.block_rows, shuffle.window_blocks)
        return EndlessOrder(num_rows, training.seed)

    def _pooling_factors(self) -> dict[str, float]:
        """Measured on the fit's own harvest; six digits, so that a resumed run finds the same number."""
        if self._spec.target.kind != "layer_group":
            return {}
        factors = {}
        for item in self._spec.target.inputs:
            columns = self._columns(item, self._spec.harvest, self._spec.training.fit_split)
            source = AlignedRows([columns])
            count = min(len(source), SCALE_ROWS)
            x_ND = read_pairs(source, self._order(len(source)), count).x_BD.double()
            norm = float(x_ND.norm(dim=1).mean())
            factors[item.site] = float(f"{x_ND.shape[1] ** 0.5 / norm:.6g}") if norm else 1.0
        return factors
