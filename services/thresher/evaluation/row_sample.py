"""A seeded sample of a dense harvest's rows, the same rows at every site.

Shape suffixes: N rows of the sample, D width of a site.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from thresher.contracts.manifests import HarvestManifest, ShardCommit
from thresher.evaluation.stored_rows import FloatArray, IndexArray, dense_values, read_rows
from thresher.storage import ObjectStore

BLOCK_ROWS = 4096
MAX_BLOCKS = 32
"""Neighbouring rows are read together: a sample touches so many places of the harvest at most."""


@dataclass(frozen=True)
class RowSample:
    """Rows of some blocks, block after block in random order: a cut of the sample cuts few sequences."""

    x_by_site: Mapping[str, FloatArray]
    """x_ND."""
    min_position: int
    """Rows before this position were left out."""

    def __len__(self) -> int:
        return len(next(iter(self.x_by_site.values())))


def draw_sample(store: ObjectStore, manifest: HarvestManifest, num_rows: int, seed: int) -> RowSample:
    """Draw rows from up to 32 blocks of 4,096 neighbouring rows; fewer than asked for where those have no more.

    Position 0 of whole sequences is left out, as fits do: an attention sink, the same in every sequence.

    Args:
        manifest: of a dense harvest.
        num_rows: to draw.
        seed: the same seed draws the same rows.
    """
    assert manifest.encoding != "sparse", "codes are no rows of fixed width"
    rng = np.random.default_rng(seed)
    whole = manifest.selection.keeps_all and manifest.sequence_length > 1
    blocks = [(shard, first) for shard in manifest.shards for first in range(0, shard.num_rows, BLOCK_ROWS)]
    chosen = rng.permutation(len(blocks))[:MAX_BLOCKS]
    quota = -(-num_rows // len(chosen))
    parts: dict[str, list[FloatArray]] = {site: [] for site in manifest.sites}
    for index in chosen.tolist():
        shard, first = blocks[index]
        rows = _eligible(shard, first, manifest.sequence_length if whole else 1)
        picked = np.sort(rng.permutation(rows)[:quota])
        for site, summary in manifest.sites.items():
            if picked.size:
                table = read_rows(store, shard.sites[site], shard.num_rows, picked)
                parts[site].append(dense_values(table, summary.width))
    sample = {site: np.concatenate(own)[:num_rows] for site, own in parts.items()}
    return RowSample(sample, min_position=1 if whole else 0)


def _eligible(shard: ShardCommit, first: int, sequence_length: int) -> IndexArray:
    """Rows of a block, without the first of each sequence longer than one."""
    rows = np.arange(first, min(first + BLOCK_ROWS, shard.num_rows), dtype=np.int64)
    return rows if sequence_length == 1 else rows[rows % sequence_length != 0]
